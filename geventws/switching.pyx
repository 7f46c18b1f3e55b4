# cython: language_level=3
"""Switching between greenlets, in C. switching.py has the same functions and says what they do."""

from cpython.object cimport PyObject

cdef extern from "greenlet/greenlet.h":
    ctypedef struct PyGreenlet
    void PyGreenlet_Import()
    object PyGreenlet_Switch(PyGreenlet *target, PyObject *arguments, PyObject *keywords)
    object PyGreenlet_GetCurrent()

PyGreenlet_Import()


cpdef object getcurrent():
    return PyGreenlet_GetCurrent()


cpdef object switch(object target):
    return PyGreenlet_Switch(<PyGreenlet *>target, NULL, NULL)
