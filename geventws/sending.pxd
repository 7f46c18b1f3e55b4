from geventws.connection cimport Connection
from geventws.kernels cimport now
from geventws.transport cimport Transport

cdef object _OPEN
cdef object _CLOSED
cdef Py_ssize_t _JOIN_LIMIT
cdef Py_ssize_t _HIGH_WATER
cdef int _WHOLE_TEXT
cdef int _WHOLE_BINARY

cdef class SendingConnection(Connection):
    cdef _write_frame(self, int first, object payload)

cdef bytes _to_bytes(object message)
