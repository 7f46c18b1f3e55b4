cimport cython

from geventws.kernels cimport now
from geventws.protocol cimport Protocol
from geventws.sending cimport SendingConnection
from geventws.switching cimport getcurrent, switch, thread_id
from geventws.transport cimport Transport

cdef object _OPEN
cdef double _YIELD_AFTER
cdef double _WRITE_AFTER

cdef class ReceivingConnection(SendingConnection):
    @cython.locals(protocol=Protocol, messages=list, time=double, whole=bint)
    cpdef object _next_item(self, object timeout, bint streams)
    cdef _yield_to_hub(self)
    @cython.locals(messages=list)
    cdef _wait_for_item(self, object timeout, bint streams)
    @cython.locals(protocol=Protocol)
    cdef _suspend_reader(self)
    cdef _suspend_reader_for(self, object timeout)
    cdef _poll(self)
    @cython.locals(transport=Transport)
    cdef _cork_batch(self, double time, bint more)

cdef class _Messages:
    cdef ReceivingConnection _websocket
