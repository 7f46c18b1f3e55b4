cdef class Shared:
    cdef public object hub
    cdef public bytearray buffer
    cdef public object masking_keys
    cdef public object heartbeats
    cdef public double ran_at
    cdef dict _offloads
