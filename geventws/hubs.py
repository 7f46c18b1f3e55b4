"""What all connections of one hub share: the buffer they read into, the heartbeat timer, masking keys, zlib threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gevent import get_hub, sleep

from .frames import MaskingKeys
from .heartbeat import Heartbeats
from .kernels import now
from .offload import Offload
from .transport import Gathering

if TYPE_CHECKING:
    from gevent.hub import Hub

_PAUSE = 0.0001
READ_SIZE = 262144
"""How many bytes are read at once at the most. Messages that are read whole are not copied together."""


class Shared:
    """The common property of a hub's connections.

    Attributes:
        hub: the hub.
        buffer: where everything that is received lands first.
        gathering: where short frames are put together before they are written.
        ran_at: when the hub last ran, as far as the connections know (in the time of `kernels.now`).
    """

    __slots__ = ("_offloads", "buffer", "gathering", "heartbeats", "hub", "masking_keys", "ran_at")

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.buffer = bytearray(READ_SIZE)
        self.gathering = Gathering()
        self.masking_keys = MaskingKeys()
        self.heartbeats = Heartbeats(hub)
        self.ran_at = now()
        self._offloads: dict[int, Offload] = {}

    def offload(self, limit: int) -> Offload:
        """The threads for large zlib jobs, at most ``limit`` at once."""
        offload = self._offloads.get(limit)
        if offload is None:
            offload = self._offloads[limit] = Offload(self.hub, limit)
        return offload


def shared() -> Shared:
    """What the connections of the calling thread's hub share; made at the first call."""
    hub: Any = get_hub()
    # It lives and dies with the hub, which is why the hub holds it.
    found: Shared | None = getattr(hub, "geventws_shared", None)
    if found is None:
        found = hub.geventws_shared = Shared(hub)
    return found


def let_hub_run() -> None:
    """Let the hub look at every descriptor before the calling greenlet goes on.

    ``sleep(0)`` does not do that: gevent runs callbacks, that greenlet's among them, up to 50 times before it looks.
    """
    sleep(max(_PAUSE, get_hub().loop.approx_timer_resolution))
