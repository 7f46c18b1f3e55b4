cimport cython

from geventws.heartbeat cimport Pulse
from geventws.hubs cimport Shared
from geventws.kernels cimport now
from geventws.protocol cimport Protocol
from geventws.switching cimport getcurrent, switch, thread_id
from geventws.transport cimport Owner, Transport

cdef object _OPEN
cdef object _CLOSED

cdef class Connection(Owner):
    cdef object __weakref__
    cdef Shared _shared
    cdef public Protocol _protocol
    cdef public Transport _transport
    cdef object _hub
    cdef object _side
    cdef public object _settings
    cdef public object _options
    cdef bint _auto_cork
    cdef object _send_timeout
    cdef public object agreement
    cdef public object local_address
    cdef public object remote_address
    cdef public object latency
    cdef public double last_received
    cdef public double _opened_at
    cdef double _ended_at
    cdef public long long _messages_sent
    cdef public long long _payload_sent
    cdef long long _wire_received
    cdef public object _on_closed
    cdef object _on_ping
    cdef object _on_pong
    cdef object _reader
    cdef list _senders
    cdef object _holder
    cdef object _turn
    cdef list _behind
    cdef Py_ssize_t _behind_size
    cdef object _closed_event
    cdef object _flushed
    cdef int _corks
    cdef bint _auto_corked
    cdef bint _dispatching
    cdef double _cork_began
    cdef dict _pings
    cdef bint _paused
    cdef object _os_error
    cdef str _why
    cdef object _closing_timer
    cdef double _deadline
    cdef object _last_event
    cdef bint _lingering
    cdef bint _yielding
    cdef bint _offloaded
    cdef bint _rests
    cdef Pulse _pulse

    @cython.locals(events=list)
    cpdef bytes_received(self, bytearray data, Py_ssize_t size)
    cpdef stream_ended(self, object error)
    cpdef write_failed(self, object error)
    cpdef drained(self)
    cdef _deliver(self)
    cdef _uncork_later(self)
    cpdef _uncork(self)
    @cython.locals(protocol=Protocol)
    cdef _update_reading(self)
    @cython.locals(protocol=Protocol)
    cdef _resume_parsing(self)
    cdef _handle(self, list events)
    cdef _check_thread(self)
    cdef _refuse_thread(self)
    cdef _must_not_be_hub(self)
    cdef _finish_late(self)
    @cython.locals(protocol=Protocol)
    cdef bint _is_finished(self) except -1
