cimport cython

from geventws.frames cimport FrameHeader
from geventws.kernels cimport encode_frame, encode_header, mask, to_bytes, to_str, unmask, unmasked, weight

cdef Py_ssize_t _HELD_LIMIT
cdef Py_ssize_t _TAKEN_LIMIT
cdef int _REST_AFTER
cdef int _FIN
cdef int _RSV1
cdef int _RSV2_RSV3
cdef int _WHOLE_TEXT
cdef int _WHOLE_BINARY

cdef class Protocol:
    cdef public object state
    cdef public list messages
    cdef public Py_ssize_t taken
    cdef public Py_ssize_t held
    cdef public long long messages_received
    cdef public long long payload_received
    cdef public bint streaming
    cdef public bint as_stream
    cdef public bint report_control
    cdef public bint resting
    cdef public object job
    cdef public object error
    cdef public object close_rcvd
    cdef public object close_sent
    cdef public bint rcvd_then_sent
    cdef public object compressor
    cdef public object decompressor
    cdef public object masking_keys
    cdef bint _dropping
    cdef bint _masks
    cdef bint _unmasks
    cdef long long _max_size
    cdef long long _max_fragments
    cdef long long _max_fragment_size
    cdef long long _max_whole
    cdef bint _validate
    cdef str _errors
    cdef bytearray _tail
    cdef Py_ssize_t _tail_start
    cdef FrameHeader _header
    cdef long long _remaining
    cdef unsigned int _key
    cdef int _phase
    cdef bint _final
    cdef bint _fragmented
    cdef bint _text
    cdef bint _compressed
    cdef long long _size
    cdef long long _wire_size
    cdef long long _fragments
    cdef object _gathered
    cdef long long _room
    cdef object _decoder

    cpdef bint is_suspended(self)
    @cython.locals(offset=Py_ssize_t)
    cpdef list receive(self, bytearray data, Py_ssize_t size)
    @cython.locals(messages=list, taken=Py_ssize_t, count=Py_ssize_t)
    cpdef object take(self)
    @cython.locals(first=int, start=Py_ssize_t, stop=Py_ssize_t, whole=bint, slow=int, header=FrameHeader)
    cdef Py_ssize_t _walk(self, bytearray data, Py_ssize_t offset, Py_ssize_t end, list events) except -1
    cdef Py_ssize_t _look_at(self, bytearray data, Py_ssize_t offset, Py_ssize_t end, list events) except -1
    cpdef list go_on(self)
    cdef bint _is_over(self) except -1
    cdef _whole_message(self, bytearray data, Py_ssize_t start, Py_ssize_t stop, FrameHeader header)
    @cython.locals(first=int, length="long long")
    cdef _begin_frame(self, FrameHeader header)
    @cython.locals(stop=Py_ssize_t)
    cdef Py_ssize_t _read_payload(self, bytearray data, Py_ssize_t offset, Py_ssize_t end) except -1
    cdef _payload(self, bytearray data, Py_ssize_t start, Py_ssize_t stop)
    cdef _accept_inflated(self, bytes data, bint more=*)
    cdef _accept(self, object data, bint last)
    cdef object _gather(self, object data)
    @cython.locals(end="long long")
    cdef _make_room(self, object gathered)
    cdef bytes _take_gathered(self, object gathered)
    cdef str _to_str(self, bytearray data, Py_ssize_t start, Py_ssize_t stop)
    cdef str _decoded(self, object data)
    cdef _put(self, object item)
    cpdef bytes encode(self, int first, object payload)
    cpdef object masking_key(self)
