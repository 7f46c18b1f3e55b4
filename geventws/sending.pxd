from geventws.connection cimport Connection
from geventws.kernels cimport encode_frame, encode_into, now
from geventws.messages cimport PreparedMessage, payload_in, payload_of
from geventws.protocol cimport Protocol
from geventws.switching cimport getcurrent, thread_id
from geventws.transport cimport Gathering, Transport

cdef object _OPEN
cdef object _CLOSED
cdef Py_ssize_t _JOIN_LIMIT
cdef Py_ssize_t _HIGH_WATER
cdef int _RSV1
cdef int _WHOLE_TEXT
cdef int _WHOLE_BINARY

cdef class SendingConnection(Connection):
    @cython.locals(transport=Transport, gathering=Gathering)
    cdef _write_frame(self, int first, bytes payload)
    @cython.locals(transport=Transport, protocol=Protocol, frame=bytes)
    cpdef object _offer(self, PreparedMessage message, object compress, Py_ssize_t limit, bint at_once)
    cdef object _deflates(self, PreparedMessage message, object compress)
    cdef bytes _frame_of(self, PreparedMessage message, object compress)
    cdef _write_shared(self, bytes frame)
    cdef _give_up_context(self, bytes frame)
