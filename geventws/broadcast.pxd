cimport cython

from geventws.hubs cimport Backlog
from geventws.kernels cimport now
from geventws.messages cimport PreparedMessage
from geventws.websocket cimport WebSocket

cdef double _HOLD

@cython.locals(websockets=list, ws=WebSocket)
cdef list _checked(object clients)
@cython.locals(ws=WebSocket, count=Py_ssize_t, at_once=bint, end=double, taken=object)
cdef Py_ssize_t _offer_to_all(list websockets, PreparedMessage message, object compress, Py_ssize_t max_queued, list slow) except -1
