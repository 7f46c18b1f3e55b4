# cython: language_level=3
"""Switching between greenlets, and which thread runs, in C. switching.py has the same functions and says what they do."""

from cpython.object cimport PyObject

cdef extern from "greenlet/greenlet.h":
    ctypedef struct PyGreenlet
    void PyGreenlet_Import()
    object PyGreenlet_Switch(PyGreenlet *target, PyObject *arguments, PyObject *keywords)
    object PyGreenlet_GetCurrent "(PyObject *) PyGreenlet_GetCurrent"()

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident()

PyGreenlet_Import()


cpdef object getcurrent():
    return PyGreenlet_GetCurrent()


cpdef unsigned long thread_id() noexcept:
    return PyThread_get_thread_ident()


cpdef object switch(object target):
    return PyGreenlet_Switch(<PyGreenlet *>target, NULL, NULL)
