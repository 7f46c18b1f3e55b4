"""What all connections of one hub share: the buffer they read into, the heartbeat timer, masking keys, zlib threads."""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from gevent import get_hub, sleep

from .frames import MaskingKeys
from .heartbeat import Heartbeats
from .kernels import now
from .offload import Offload
from .reports import Reports
from .stacks import keep_stacks
from .switching import thread_id
from .transport import Gathering, Transport

if TYPE_CHECKING:
    from gevent.hub import Hub

_PAUSE = 0.0001
HOLD = 0.008
"""For how long the hub is held at a stretch by writing to many, in seconds."""
YIELD_AFTER = 0.005
"""A receiving greenlet lets the hub run when it has not done so for this long, in seconds, even if messages wait."""
READ_SIZE = 262144
"""How many bytes are read at once at the most. Messages that are read whole are not copied together."""


class Backlog:
    """Transports that were given more than there was time to write: the hub writes it, a slice at a time."""

    __slots__ = ("_loop", "_timer", "_transports")

    def __init__(self, hub: Hub) -> None:
        self._loop = hub.loop
        self._timer: Any = None
        self._transports: deque[Transport] = deque()

    def add(self, transport: Transport) -> None:
        """Have a transport flushed soon."""
        self._transports.append(transport)
        if self._timer is None:
            self._start()

    def _start(self) -> None:
        # A timer, since the hub looks at every descriptor before it; a callback might come first, see `let_hub_run`.
        self._timer = self._loop.timer(0)
        self._timer.start(self._write)

    def _write(self) -> None:
        self._timer.close()
        self._timer = None
        end = now() + HOLD
        try:
            while self._transports and now() < end:
                self._transports.popleft().flush()
        finally:
            if self._transports:
                self._start()


class Shared:
    """The common property of a hub's connections.

    Attributes:
        hub: the hub.
        buffer: where everything that is received lands first.
        gathering: where short frames are put together before they are written.
        reports: what happened in the hub and is told outside of it.
        backlog: what is written a slice at a time.
        ran_at: when the hub last ran, as far as the connections know (in the time of `kernels.now`).
        thread: the number of the hub's thread; 0 in a forked child, where no thread may use these connections.
    """

    __slots__ = (
        "__weakref__",
        "_offloads",
        "backlog",
        "buffer",
        "gathering",
        "heartbeats",
        "hub",
        "masking_keys",
        "ran_at",
        "reports",
        "thread",
    )

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.buffer = bytearray(READ_SIZE)
        self.gathering = Gathering()
        self.backlog = Backlog(hub)
        self.masking_keys = MaskingKeys()
        self.heartbeats = Heartbeats(hub)
        self.reports = Reports()
        self.ran_at = now()
        self.thread = thread_id()
        self._offloads: dict[int, Offload] = {}

    def offload(self, limit: int) -> Offload:
        """The threads for large zlib jobs, at most ``limit`` at once."""
        offload = self._offloads.get(limit)
        if offload is None:
            offload = self._offloads[limit] = Offload(self.hub, limit)
        return offload

    def leave_to_parent(self) -> None:
        """In a forked child: the connections are the parent's, and nothing reads from or writes to them here."""
        self.thread = 0
        self.gathering.inherited = True
        self.heartbeats.stop()
        if getattr(self.hub, "geventws_shared", None) is self:
            del self.hub.geventws_shared


_all_shared: WeakSet[Shared] = WeakSet()
_fork_is_watched = False


def shared() -> Shared:
    """What the connections of the calling thread's hub share; made at the first call."""
    hub: Any = get_hub()
    # It lives and dies with the hub, which is why the hub holds it.
    found: Shared | None = getattr(hub, "geventws_shared", None)
    if found is None:
        found = hub.geventws_shared = Shared(hub)
        keep_stacks()
        _watch_fork()
        _all_shared.add(found)
    return found


def _watch_fork() -> None:
    """Nothing can take this back, so it is done once in a process and its children, and not before it is needed."""
    global _fork_is_watched
    if not _fork_is_watched:
        _fork_is_watched = True
        os.register_at_fork(after_in_child=_leave_all_to_parent)


def _leave_all_to_parent() -> None:
    for common in list(_all_shared):
        common.leave_to_parent()
    _all_shared.clear()


def let_hub_run() -> None:
    """Let the hub look at every descriptor before the calling greenlet goes on.

    ``sleep(0)`` does not do that: gevent runs callbacks, that greenlet's among them, up to 50 times before it looks.
    """
    sleep(max(_PAUSE, get_hub().loop.approx_timer_resolution))
