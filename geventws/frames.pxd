cimport cython

cdef class FrameHeader:
    cdef public int first
    cdef public bint masked
    cdef public unsigned int key
    cdef public long long length
    cdef public Py_ssize_t size

    @cython.locals(first=int, second=int, length="long long", position=Py_ssize_t, i=Py_ssize_t)
    cpdef bint read(self, bytearray data, Py_ssize_t offset, Py_ssize_t end) except -1

cpdef check_control(int first, long long length)
