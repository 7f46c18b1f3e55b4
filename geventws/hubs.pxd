from geventws.transport cimport Gathering

cdef class Shared:
    cdef object __weakref__
    cdef public object hub
    cdef public bytearray buffer
    cdef public Gathering gathering
    cdef public object masking_keys
    cdef public object heartbeats
    cdef public object reports
    cdef public double ran_at
    cdef public unsigned long thread
    cdef dict _offloads
