"""Heartbeats for all connections of a hub, on one timer (RFC 6455 sections 5.5.2 and 5.5.3).

A connection from which nothing was received for ``ping_interval`` seconds is sent a ping. When then nothing is
received for ``ping_timeout`` seconds, the peer is taken for dead. Any received byte counts as life, so that a busy
connection is never pinged.

While a connection does not read, the pong would lie unread. What it can still see then is whether the peer takes what
is written: where something waits to be written and nothing was taken for both times together, the peer is dead too.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, Protocol

from .kernels import now

if TYPE_CHECKING:
    from gevent.hub import Hub


SHORTEST_TIMER = 0.001
"""libuv has no shorter timers, in seconds."""
_FORGET = 64
"""How many stopped pulses are kept at the least before they are looked for."""
_HELD = 0.05
"""A timer that comes so late, in seconds, tells that the hub was held."""


class Patient(Protocol):
    """What a heartbeat needs to know of a connection, and to do to it. All calls come from the hub."""

    last_received: float

    @property
    def is_listening(self) -> bool:
        """Whether the connection reads at present; while it does not, silence tells nothing."""

    @property
    def stuck_since(self) -> float | None:
        """Since when the peer has taken nothing of what waits to be written; None where nothing waits."""

    def send_heartbeat(self) -> None:
        """Send a ping."""

    def peer_is_dead(self, why: str) -> None:
        """End the connection."""


class Pulse:
    """The heartbeat of one connection.

    Attributes:
        due: when there is something to do for it.
    """

    __slots__ = ("_interval", "_patient", "_pinged_at", "_timeout", "due")

    def __init__(self, patient: Patient, interval: float, timeout: float | None) -> None:
        self._patient: Patient | None = patient
        self._interval = interval
        self._timeout = timeout
        self._pinged_at = 0.0  # the ping that is not answered yet; 0 for none
        self.due = 0.0

    def __lt__(self, other: Pulse) -> bool:
        return self.due < other.due

    @property
    def stopped(self) -> bool:
        return self._patient is None

    def stop(self) -> None:
        self._patient = None

    def beat(self, time: float) -> float | None:
        """Do what is due; returns when to come back, or None when there is nothing more to do."""
        patient = self._patient
        if patient is None:
            return None
        if not patient.is_listening:
            return self._beat_without_reading(patient, time)
        if self._pinged_at and self._timeout is not None:
            if patient.last_received < self._pinged_at:
                end = self._pinged_at + self._timeout
                if time < end:
                    return min(end, time + self._interval)
                patient.peer_is_dead(f"the peer was silent for {self._timeout} s after a ping")
                return None
            self._pinged_at = 0.0
        due = patient.last_received + self._interval
        if self._pinged_at:
            due = max(due, self._pinged_at + self._interval)
        if time < due:
            return due
        self._pinged_at = time
        patient.send_heartbeat()
        return time + (self._interval if self._timeout is None else min(self._interval, self._timeout))

    def _beat_without_reading(self, patient: Patient, time: float) -> float | None:
        """What the peer sent meanwhile lies unread in the kernel."""
        self._pinged_at = 0.0
        since = patient.stuck_since
        if since is None or self._timeout is None:
            return time + self._interval
        patience = self._interval + self._timeout
        if time < since + patience:
            return min(since + patience, time + self._interval)
        patient.peer_is_dead(f"the peer took nothing for {patience} s")
        return None


class Heartbeats:
    """The pulses of a hub's connections, in the order in which they are due.

    ``clock`` tells the time in seconds.
    """

    def __init__(self, hub: Hub, clock: Callable[[], float] = now) -> None:
        self._loop = hub.loop
        self._clock = clock
        self._timer: Any = None
        self._armed_for = 0.0
        self._pulses: list[Pulse] = []
        self._stopped = 0
        self._put_off = False
        self._beating: Pulse | None = None

    def add(self, patient: Patient, interval: float, timeout: float | None) -> Pulse:
        """Begin to watch a connection."""
        pulse = Pulse(patient, interval, timeout)
        pulse.due = self._clock() + interval
        heappush(self._pulses, pulse)
        self._arm()
        return pulse

    def remove(self, pulse: Pulse) -> None:
        """Stop to watch a connection."""
        if pulse.stopped:
            return
        pulse.stop()
        if pulse is self._beating:
            return
        self._stopped += 1
        if self._stopped > max(_FORGET, len(self._pulses) // 2):
            self._pulses = [other for other in self._pulses if not other.stopped]
            heapify(self._pulses)
            self._stopped = 0
        if not self._pulses or self._stopped >= len(self._pulses):
            self._pulses.clear()
            self._stopped = 0
            self._disarm()

    def stop(self) -> None:
        """Do nothing more for any connection: they are another process's."""
        self._pulses.clear()
        self._stopped = 0
        self._disarm()

    def _run(self) -> None:
        time = self._clock()
        held = time - self._armed_for > _HELD
        self._armed_for = 0.0
        self._put_off = held and not self._put_off
        if self._put_off:
            # Timers come before descriptors. What the peers have said meanwhile is read before they are judged.
            self._arm()
            return
        while self._pulses and self._pulses[0].due <= time:
            pulse = heappop(self._pulses)
            if pulse.stopped:
                self._stopped -= 1
                continue
            self._beating = pulse
            try:
                due = pulse.beat(time)
            finally:
                self._beating = None
            if due is not None and not pulse.stopped:
                pulse.due = due
                heappush(self._pulses, pulse)
        if self._pulses:
            self._arm()
        else:
            self._disarm()

    def _arm(self) -> None:
        due = self._pulses[0].due
        if self._armed_for and self._armed_for <= due:
            return
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
        # The timer must not keep the loop alive (ref=False): what it watches over does.
        self._timer = self._loop.timer(max(SHORTEST_TIMER, due - self._clock()), ref=False)
        self._armed_for = due
        self._timer.start(self._run)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None
        self._armed_for = 0.0
