# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The work that is done for every byte or for every frame, in C.

kernels.py has the same functions in plain Python and says what they do.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

from sys import getsizeof

cdef extern from "Python.h":
    str PyUnicode_DecodeUTF8(const char *text, Py_ssize_t size, const char *errors)
    str PyUnicode_DecodeLatin1(const char *text, Py_ssize_t size, const char *errors)
    const char *PyUnicode_AsUTF8(object text) except NULL
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    int PyUnicode_KIND(object text)

cdef extern from "time.h" nogil:
    ctypedef long time_t
    struct timespec:
        time_t tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec *time)
    int CLOCK_MONOTONIC

cdef extern from *:
    """
    #include <sys/socket.h>
    #ifndef MSG_NOSIGNAL
    #define MSG_NOSIGNAL 0
    #endif
    """

cdef extern from "sys/socket.h" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    Py_ssize_t recv(int fd, void *buffer, size_t size, int flags)
    Py_ssize_t send(int fd, const void *buffer, size_t size, int flags)
    Py_ssize_t sendmsg(int fd, msghdr *message, int flags)
    int MSG_NOSIGNAL

Buffer = bytes | bytearray | memoryview
Field = tuple[str, str, str]

cdef enum:
    MASKED = 0x80
    MAX_IOVECS = 64
    OVERHEAD = 64


cpdef double now() noexcept:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec + time.tv_nsec * 1e-9


cdef void xor(unsigned char *target, const unsigned char *source, Py_ssize_t size, const unsigned char *key, int phase) \
        noexcept nogil:
    """Eight bytes at a time, in a loop that the compiler makes wider still where it knows what overlaps."""
    cdef unsigned char pattern[8]
    cdef uint64_t wide, word
    cdef Py_ssize_t i
    for i in range(8):
        pattern[i] = key[(i + phase) & 3]
    memcpy(&wide, pattern, 8)
    if source == target:
        for i in range(size >> 3):
            memcpy(&word, target + 8 * i, 8)
            word ^= wide
            memcpy(target + 8 * i, &word, 8)
    else:
        for i in range(size >> 3):
            memcpy(&word, source + 8 * i, 8)
            word ^= wide
            memcpy(target + 8 * i, &word, 8)
    for i in range(size & ~7, size):
        target[i] = source[i] ^ pattern[i & 7]


cpdef object unmask(bytearray data, Py_ssize_t start, Py_ssize_t stop, unsigned int key, int phase):
    cdef unsigned char *part = place(data, start, stop)
    cdef unsigned char bytes_of_key[4]
    spread(key, bytes_of_key)
    xor(part, part, stop - start, bytes_of_key, phase)


cpdef bytes unmasked(bytearray data, Py_ssize_t start, Py_ssize_t stop, unsigned int key):
    cdef const unsigned char *part = place(data, start, stop)
    cdef bytes copy = PyBytes_FromStringAndSize(NULL, stop - start)
    cdef unsigned char bytes_of_key[4]
    spread(key, bytes_of_key)
    xor(<unsigned char *>PyBytes_AS_STRING(copy), part, stop - start, bytes_of_key, 0)
    return copy


cdef unsigned char *place(bytearray data, Py_ssize_t start, Py_ssize_t stop) except NULL:
    if not 0 <= start <= stop <= PyByteArray_GET_SIZE(data):
        raise IndexError("not a part of the buffer")
    return <unsigned char *>PyByteArray_AS_STRING(data) + start


cdef void spread(unsigned int key, unsigned char *bytes_of_key) noexcept nogil:
    cdef int i
    for i in range(4):
        bytes_of_key[i] = key >> (8 * i) & 0xFF


cdef Py_ssize_t write_header(unsigned char *target, int first, unsigned long long length, object key) except -1:
    """RFC 6455 section 5.2; at most 14 bytes."""
    cdef int mask_bit = 0 if key is None else MASKED
    cdef Py_ssize_t size
    cdef int i
    target[0] = first
    if length < 126:
        target[1] = mask_bit | <int>length
        size = 2
    elif length < 0x10000:
        target[1] = mask_bit | 126
        target[2] = length >> 8
        target[3] = length & 0xFF
        size = 4
    else:
        target[1] = mask_bit | 127
        for i in range(8):
            target[2 + i] = length >> (56 - 8 * i) & 0xFF
        size = 10
    if key is not None:
        memcpy(target + size, check_key(key), 4)
        size += 4
    return size


cdef const unsigned char *check_key(object key) except NULL:
    if not isinstance(key, bytes) or PyBytes_GET_SIZE(key) != 4:
        raise ValueError("a masking key is four bytes")
    return <const unsigned char *>PyBytes_AS_STRING(key)


cpdef bytes encode_header(int first, unsigned long long length, object key):
    cdef unsigned char header[14]
    cdef Py_ssize_t size = write_header(header, first, length, key)
    return PyBytes_FromStringAndSize(<char *>header, size)


cpdef bytes encode_frame(int first, object payload, object key):
    cdef Py_buffer view
    cdef unsigned char header[14]
    cdef unsigned char *target
    cdef Py_ssize_t size
    cdef bytes frame
    PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
    try:
        size = write_header(header, first, view.len, key)
        frame = PyBytes_FromStringAndSize(NULL, size + view.len)
        target = <unsigned char *>PyBytes_AS_STRING(frame)
        memcpy(target, header, size)
        if key is None:
            memcpy(target + size, view.buf, view.len)
        else:
            xor(target + size, <const unsigned char *>view.buf, view.len, check_key(key), 0)
    finally:
        PyBuffer_Release(&view)
    return frame


cpdef Py_ssize_t encode_into(bytearray target, Py_ssize_t offset, int first, bytes payload, object key) except -1:
    cdef Py_ssize_t length = PyBytes_GET_SIZE(payload)
    cdef unsigned char header[14]
    cdef unsigned char *free
    cdef Py_ssize_t size = write_header(header, first, length, key)
    if not 0 <= offset <= PyByteArray_GET_SIZE(target) - size - length:
        raise IndexError("there is no room for the frame")
    free = <unsigned char *>PyByteArray_AS_STRING(target) + offset
    memcpy(free, header, size)
    if key is None:
        memcpy(free + size, PyBytes_AS_STRING(payload), length)
    else:
        xor(free + size, <const unsigned char *>PyBytes_AS_STRING(payload), length, check_key(key), 0)
    return offset + size + length


cpdef bytes mask(object payload, bytes key):
    cdef Py_buffer view
    cdef bytes masked
    PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
    try:
        masked = PyBytes_FromStringAndSize(NULL, view.len)
        xor(<unsigned char *>PyBytes_AS_STRING(masked), <const unsigned char *>view.buf, view.len, check_key(key), 0)
    finally:
        PyBuffer_Release(&view)
    return masked


cpdef bytes to_bytes(bytearray data, Py_ssize_t start, Py_ssize_t stop):
    return PyBytes_FromStringAndSize(<char *>place(data, start, stop), stop - start)


cpdef str to_str(bytearray data, Py_ssize_t start, Py_ssize_t stop, str errors):
    return PyUnicode_DecodeUTF8(<char *>place(data, start, stop), stop - start, PyUnicode_AsUTF8(errors))


cpdef tuple plain_head(bytes data, dict lines, dict names):
    cdef const char *text = PyBytes_AS_STRING(data)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef Py_ssize_t start = 0, end
    cdef object first = None, line, field
    cdef list fields = []
    while True:
        end = start
        while end < size and 0x20 <= text[end] < 0x7F:
            end += 1
        if size - end < 2 or text[end] != c"\r" or text[end + 1] != c"\n":
            return None
        if end == start:
            return None if first is None else (first, fields, end + 2)
        line = PyUnicode_DecodeLatin1(text + start, end - start, NULL)
        if first is None:
            first = line
        else:
            field = lines.get(line)
            if field is None:
                field = read_field(text + start, end - start, names)
                if field is None:
                    return None
            fields.append(field)
        start = end + 2


cdef object read_field(const char *line, Py_ssize_t size, dict names):
    """A field's name in lower case, its name and its value; None where it is not plain."""
    cdef Py_ssize_t colon = 0, start
    cdef object name, known
    while colon < size and is_plain(line[colon]):
        colon += 1
    if colon == 0 or colon == size or line[colon] != c":":
        return None
    start = colon + 1
    while start < size and line[start] == c" ":
        start += 1
    while size > start and line[size - 1] == c" ":
        size -= 1
    name = PyUnicode_DecodeLatin1(line, colon, NULL)
    known = names.get(name)
    if known is None:
        known = (name.lower(), name)
    return (known[0], known[1], PyUnicode_DecodeLatin1(line + start, size - start, NULL))


cdef bint is_plain(char character) noexcept:
    return (
        c"a" <= character <= c"z" or c"A" <= character <= c"Z" or c"0" <= character <= c"9"
        or character == c"-" or character == c"_"
    )


cpdef Py_ssize_t weight(object item) except -1:
    if type(item) is bytes:
        return PyBytes_GET_SIZE(item) + OVERHEAD
    if type(item) is str:
        return PyUnicode_GET_LENGTH(item) * PyUnicode_KIND(item) + OVERHEAD
    return getsizeof(item)


cpdef Py_ssize_t receive(object sock, int fd, bytearray buffer) except -2:
    cdef Py_ssize_t size
    while True:
        size = recv(fd, PyByteArray_AS_STRING(buffer), PyByteArray_GET_SIZE(buffer), 0)
        if size >= 0:
            return size
        if failed():
            return -1


cpdef Py_ssize_t transmit(object sock, int fd, object chunk) except -2:
    cdef Py_buffer view
    cdef Py_ssize_t size
    PyObject_GetBuffer(chunk, &view, PyBUF_SIMPLE)
    try:
        while True:
            size = send(fd, view.buf, view.len, MSG_NOSIGNAL)
            if size >= 0 or failed():
                return size
    finally:
        PyBuffer_Release(&view)


cpdef Py_ssize_t transmit_part(object sock, int fd, bytearray buffer, Py_ssize_t size) except -2:
    cdef Py_ssize_t sent
    if not 0 <= size <= PyByteArray_GET_SIZE(buffer):
        raise IndexError("not a part of the buffer")
    while True:
        sent = send(fd, PyByteArray_AS_STRING(buffer), size, MSG_NOSIGNAL)
        if sent >= 0 or failed():
            return sent


cpdef Py_ssize_t transmit_many(object sock, int fd, list chunks) except -2:
    cdef Py_buffer views[MAX_IOVECS]
    cdef iovec vectors[MAX_IOVECS]
    cdef msghdr message
    cdef Py_ssize_t size
    cdef int count = 0
    memset(&message, 0, sizeof(message))
    try:
        for chunk in chunks:
            if count == MAX_IOVECS:
                break
            PyObject_GetBuffer(chunk, &views[count], PyBUF_SIMPLE)
            vectors[count].iov_base = views[count].buf
            vectors[count].iov_len = views[count].len
            count += 1
        message.msg_iov = vectors
        message.msg_iovlen = count
        while True:
            size = sendmsg(fd, &message, MSG_NOSIGNAL)
            if size >= 0 or failed():
                return size
    finally:
        while count:
            count -= 1
            PyBuffer_Release(&views[count])


cdef bint failed() except -1:
    """After a call that failed: True where it would have to wait, False where a signal came between."""
    if errno == EAGAIN:  # which is EWOULDBLOCK on every system with epoll or kqueue
        return True
    if errno != EINTR:
        PyErr_SetFromErrno(OSError)
    return False
