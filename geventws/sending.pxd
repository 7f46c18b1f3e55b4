from geventws.connection cimport Connection
from geventws.kernels cimport encode_frame, encode_into, now
from geventws.switching cimport getcurrent, thread_id
from geventws.transport cimport Gathering, Transport

cdef object _OPEN
cdef object _CLOSED
cdef Py_ssize_t _JOIN_LIMIT
cdef Py_ssize_t _HIGH_WATER
cdef int _WHOLE_TEXT
cdef int _WHOLE_BINARY

cdef class SendingConnection(Connection):
    @cython.locals(transport=Transport, gathering=Gathering)
    cdef _write_frame(self, int first, bytes payload)

cdef bytes _to_bytes(object message)
