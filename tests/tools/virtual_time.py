"""A loop whose time moves only when it is told to, for what lives on one timer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Timer:
    def __init__(self, loop: Loop, after: float) -> None:
        self.loop = loop
        self.due = loop.now + after
        self.callback: Callable[[], object] | None = None
        self.closed = False

    def start(self, callback: Callable[[], object]) -> None:
        self.callback = callback
        self.loop.timers.append(self)

    def stop(self) -> None:
        self.callback = None

    def close(self) -> None:
        self.closed = True
        self.loop.timers.remove(self)


class Loop:
    """It has one timer at a time, and that must not keep it alive; it begins at 1000 seconds."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[Timer] = []

    def timer(self, after: float, ref: bool = True) -> Timer:
        assert ref is False, "a heartbeat must not keep the loop alive"
        assert not self.timers, "one timer serves all connections"
        return Timer(self, after)

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self.timers and self.timers[0].due <= end:
            self.now = max(self.now, self.timers[0].due)
            callback: Any = self.timers[0].callback
            callback()
        self.now = end


class Hub:
    def __init__(self) -> None:
        self.loop: Any = Loop()
