from geventws.kernels cimport now
from geventws.receiving cimport ReceivingConnection
from geventws.switching cimport getcurrent

cdef object _OPEN
cdef object _CLOSED

cdef class WebSocket(ReceivingConnection):
    cdef public object url
    cdef public object request
    cdef public object response
    cdef public object data
