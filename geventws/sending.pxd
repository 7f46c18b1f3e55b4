from geventws.connection cimport Connection
from geventws.kernels cimport now
from geventws.transport cimport Transport

cdef object _OPEN
cdef object _CLOSED

cdef class SendingConnection(Connection):
    cdef _write_frame(self, int first, object payload)
    cdef tuple _to_payload(self, object message, object text)
