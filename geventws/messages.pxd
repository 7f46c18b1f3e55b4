from geventws.kernels cimport encode_frame

cdef int _FIN
cdef int _RSV1
cdef int _TEXT
cdef int _BINARY

cdef class PreparedMessage:
    cdef readonly bint text
    cdef readonly Py_ssize_t size
    cdef readonly bytes frame
    cdef dict _deflated

    cpdef bint is_deflated(self, object compressor) except -1
    cpdef bytes deflated(self, object compressor)

cdef Py_ssize_t _header_size(bytes frame) except -1
cpdef bytes payload_in(bytes frame)
cpdef bytes payload_of(object message)
