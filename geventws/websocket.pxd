cimport cython

from geventws.connection cimport Connection
from geventws.kernels cimport now
from geventws.protocol cimport Protocol
from geventws.transport cimport Transport

cdef object _OPEN

cdef class WebSocket(Connection):
    cdef public object url
    cdef public object request
    cdef public object response
    cdef public object environ
    cdef public object data

    @cython.locals(protocol=Protocol, time=double)
    cpdef object _next_item(self, object timeout, bint streams)
    @cython.locals(transport=Transport)
    cdef _cork_batch(self, double time, bint more)
    cdef _write_frame(self, int first, object payload)
    cdef tuple _to_payload(self, object message, object text)

cdef class _Messages:
    cdef WebSocket _websocket
