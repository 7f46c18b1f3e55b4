cimport cython

from geventws.kernels cimport now, receive, to_bytes, transmit, transmit_many, transmit_part

cdef class Owner:
    cpdef bytes_received(self, bytearray data, Py_ssize_t size)
    cpdef stream_ended(self, object error)
    cpdef write_failed(self, object error)
    cpdef drained(self)

cdef Owner _NOBODY
cdef Py_ssize_t _CORK_LIMIT
cdef Py_ssize_t _TLS_CHUNK

cdef class Gathering:
    cdef public bytearray buffer
    cdef public Py_ssize_t size
    cdef public Transport transport
    cdef public bint inherited

cdef class Transport:
    cdef public object sock
    cdef public Py_ssize_t buffered
    cdef public long long sent
    cdef public object frame_log
    cdef public bint corked
    cdef public bint closed
    cdef public bint reading
    cdef int _fd
    cdef object _pending
    cdef object _raw
    cdef Owner _owner
    cdef bytearray _buffer
    cdef object _loop
    cdef object _read_watcher
    cdef object _write_watcher
    cdef list _queue
    cdef Gathering _gathering
    cdef bytearray _latest
    cdef object _write_error
    cdef bint _blocked
    cdef double _progress_at
    cdef bint _shutdown

    cpdef start_reading(self)
    cpdef stop_reading(self)
    cpdef poll(self)
    cdef Py_ssize_t _receive_tls(self) except -2
    cpdef write(self, object chunk, object second=*)
    @cython.locals(sent=Py_ssize_t)
    cdef _send_at_once(self, object chunk)
    cpdef put(self, object chunk)
    cpdef flush(self)
    @cython.locals(sent=Py_ssize_t)
    cdef _write_out(self)
    cdef _put(self, object chunk)
    cpdef Gathering reserve(self)
    cpdef commit(self, Py_ssize_t size)
    cdef _settle(self, Py_ssize_t sent)
    @cython.locals(sent=Py_ssize_t)
    cdef _send_gathered(self)
    @cython.locals(count=Py_ssize_t, size=Py_ssize_t)
    cdef Py_ssize_t _send_tls(self) except -2
    @cython.locals(whole=Py_ssize_t)
    cdef _written(self, Py_ssize_t sent)
    cdef _drop(self)
    cdef _watch_writable(self, bint blocked)
