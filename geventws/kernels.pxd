cpdef double now() noexcept
cpdef object unmask(bytearray data, Py_ssize_t start, Py_ssize_t stop, unsigned int key, int phase)
cpdef bytes unmasked(bytearray data, Py_ssize_t start, Py_ssize_t stop, unsigned int key)
cpdef bytes mask(object payload, bytes key)
cpdef bytes encode_header(int first, unsigned long long length, object key)
cpdef bytes encode_frame(int first, object payload, object key)
cpdef Py_ssize_t encode_into(bytearray target, Py_ssize_t offset, int first, bytes payload, object key) except -1
cpdef bytes to_bytes(bytearray data, Py_ssize_t start, Py_ssize_t stop)
cpdef str to_str(bytearray data, Py_ssize_t start, Py_ssize_t stop, str errors)
cpdef tuple plain_head(bytes data, dict lines, dict names)
cpdef Py_ssize_t weight(object item) except -1
cpdef Py_ssize_t receive(object sock, int fd, bytearray buffer) except -2
cpdef Py_ssize_t transmit(object sock, int fd, object chunk) except -2
cpdef Py_ssize_t transmit_part(object sock, int fd, bytearray buffer, Py_ssize_t size) except -2
cpdef Py_ssize_t transmit_many(object sock, int fd, list chunks) except -2
