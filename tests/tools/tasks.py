"""Calls that run in a greenlet of their own, for tests in which somebody waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent

from .timing import let_hub_run


class Task(gevent.Greenlet):
    """A call in a greenlet; what it raises is kept for `result`, where gevent would report it to the hub."""

    def __init__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.call = (function, args, kwargs)
        self.error: BaseException | None = None

    def _run(self) -> Any:
        function, args, kwargs = self.call
        try:
            return function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 (gevent would throw KeyboardInterrupt into main)
            self.error = error
            return None

    def result(self, timeout: float = 5) -> Any:
        """What the call returned, or raise what it raised; it must end within ``timeout`` seconds."""
        self.join(timeout)
        assert self.ready(), f"{self.call[0]} has not returned"
        if self.error is not None:
            raise self.error
        return self.value

    def fault(self, timeout: float = 5) -> BaseException:
        """What the call raised; it must raise within ``timeout`` seconds."""
        self.join(timeout)
        assert self.ready(), f"{self.call[0]} has not returned"
        assert self.error is not None, f"{self.call[0]} returned {self.value!r}"
        return self.error


def start(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Task:
    """Begin the call at once, up to where it first waits."""
    task = Task(function, *args, **kwargs)
    task.start()
    gevent.sleep(0)
    return task


def start_waiting(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Task:
    """As `start`, and make sure that it waits for something that has not happened yet."""
    task = start(function, *args, **kwargs)
    let_hub_run(3)
    assert not task.ready(), f"{function} did not wait: {task.value!r} {task.error!r}"
    return task


def interrupt(function: Callable[..., Any], *args: Any) -> None:
    """Call what waits, and throw a Timeout in, which must leave as it came."""
    with gevent.Timeout(0.02) as timeout:
        try:
            result = function(*args)
        except gevent.Timeout as error:
            assert error is timeout
            return
    raise AssertionError(f"{function} did not wait: {result!r}")
