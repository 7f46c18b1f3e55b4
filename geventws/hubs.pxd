from geventws.heartbeat cimport Heartbeats
from geventws.kernels cimport now
from geventws.transport cimport Gathering, Transport

cdef class Backlog:
    cdef object _loop
    cdef object _timer
    cdef object _transports

    cpdef add(self, Transport transport)

cdef class Shared:
    cdef object __weakref__
    cdef public object hub
    cdef public bytearray buffer
    cdef public Gathering gathering
    cdef public Backlog backlog
    cdef public object masking_keys
    cdef public Heartbeats heartbeats
    cdef public object reports
    cdef public double ran_at
    cdef public unsigned long thread
    cdef dict _offloads
