cimport cython

cdef double _HELD
cdef Py_ssize_t _FORGET

cdef class Pulse:
    cdef public double due
    cdef object _patient
    cdef object _interval
    cdef object _timeout
    cdef double _pinged_at

    cpdef stop(self)
    cpdef object beat(self, double time)
    cdef object _beat_without_reading(self, object patient, double time)

cdef class Heartbeats:
    cdef object _loop
    cdef object _clock
    cdef object _timer
    cdef double _armed_for
    cdef readonly list _pulses
    cdef Py_ssize_t _stopped
    cdef bint _put_off
    cdef Pulse _beating

    cpdef Pulse add(self, object patient, object interval, object timeout)
    cpdef remove(self, Pulse pulse)
    @cython.locals(due=double)
    cdef _arm(self)
    cdef _disarm(self)
