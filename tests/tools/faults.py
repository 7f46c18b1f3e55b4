"""Errors thrown into a greenlet exactly where it waits, or raised at a chosen line of chosen functions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import gevent
import greenlet
from gevent import get_hub

from .scale import DONE

ERRORS: tuple[Callable[[], BaseException], ...] = (
    gevent.Timeout,
    gevent.GreenletExit,
    KeyboardInterrupt,
    MemoryError,
    lambda: RuntimeError("a plain error"),
)
"""Makers of what may be thrown into a greenlet at any time. The Timeout has no timer, which would have to be closed."""


class SwitchFault:
    """Throws ``error`` into ``target`` at the ``nth`` time (from 1) that it switches away, which is where it waits.

    Use it as a context manager. With ``nth`` 0 it only counts. The error is thrown by the very next callback of the
    hub. When the greenlet has gone on before that, nothing is thrown.

    Attributes:
        switches: how many times the target has switched away.
        thrown: whether the error was thrown.
    """

    def __init__(self, target: greenlet.greenlet, nth: int = 0, error: BaseException | None = None) -> None:
        self.target = target
        self.nth = nth
        self.error = error
        self.switches = 0
        self.thrown = False
        self._away = False
        self._outer: Any = None

    def __enter__(self) -> SwitchFault:
        self._outer = greenlet.settrace(self._trace)
        return self

    def __exit__(self, *exc_info: object) -> None:
        greenlet.settrace(self._outer)

    def _trace(self, event: str, args: Any) -> None:
        if self._outer is not None:
            self._outer(event, args)
        if event not in ("switch", "throw"):
            return
        origin, entered = args
        if entered is self.target:
            self._away = False
        elif origin is self.target and not self.target.dead:
            self._away = True
            self.switches += 1
            if self.switches == self.nth:
                get_hub().loop.run_callback(self._throw)

    def _throw(self) -> None:
        if self._away and self.switches == self.nth and not self.target.dead:
            assert self.error is not None
            self.thrown = True
            DONE["errors thrown in at a switch"] += 1
            self.target.throw(self.error)


class Outcome(NamedTuple):
    """How an attempt ended."""

    result: Any
    error: BaseException | None
    switches: int
    thrown: bool


def attempt(function: Callable[[], Any], nth: int = 0, error: BaseException | None = None) -> Outcome:
    """Run the function in a greenlet of its own and throw ``error`` at its ``nth`` switch point; waits for its end."""
    running = start_attempt(function, nth, error)
    return running.get(timeout=30)


def start_attempt(function: Callable[[], Any], nth: int = 0, error: BaseException | None = None) -> gevent.Greenlet:
    """As `attempt`, but gives the greenlet at once; its value is the `Outcome`."""

    def run() -> Outcome:
        with SwitchFault(gevent.getcurrent(), nth, error) as fault:
            result, caught = None, None
            try:
                result = function()
            except BaseException as raised:  # noqa: BLE001 (gevent would throw KeyboardInterrupt into main)
                caught = raised
        return Outcome(result, caught, fault.switches, fault.thrown)

    return gevent.spawn(run)


class LineFault:
    """Raises ``error`` in front of the ``nth`` line (from 1) that the current greenlet runs in one of the functions.

    Use it as a context manager. With ``nth`` 0 it only counts. It stands for what a signal handler or the memory
    allocator can do between any two lines.

    Attributes:
        lines: how many lines of the functions ran.
        place: "function:line" where the error was raised; empty while it was not.
    """

    def __init__(
        self, functions: Iterable[Callable[..., Any]], nth: int = 0, error: BaseException | None = None
    ) -> None:
        self.codes = {_code(function) for function in functions}
        self.greenlet = greenlet.getcurrent()
        self.nth = nth
        self.error = error
        self.lines = 0
        self.place = ""
        self._outer: Any = None

    def __enter__(self) -> LineFault:
        self._outer = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.settrace(self._outer)

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if frame.f_code in self.codes else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line" and greenlet.getcurrent() is self.greenlet:
            self.lines += 1
            if self.lines == self.nth:
                assert self.error is not None
                self.place = f"{frame.f_code.co_name}:{frame.f_lineno}"
                DONE["errors raised in front of a line"] += 1
                raise self.error
        return self._line


def _code(function: Callable[..., Any]) -> CodeType:
    while isinstance(function, MethodType) or hasattr(function, "__wrapped__"):
        function = getattr(function, "__func__", None) or function.__wrapped__
    assert isinstance(function, FunctionType)
    return function.__code__


def functions_of(cls: type) -> list[Callable[..., Any]]:
    """The functions that a class defines itself, those of its properties included."""
    found: list[Callable[..., Any]] = []
    for value in vars(cls).values():
        if isinstance(value, property):
            found += [part for part in (value.fget, value.fset) if part]
        elif isinstance(value, (staticmethod, classmethod)):
            found.append(value.__func__)
        elif isinstance(value, FunctionType):
            found.append(value)
    return found


def functions_in(module: ModuleType) -> list[Callable[..., Any]]:
    """The functions that a module defines, and those of its classes."""
    found: list[Callable[..., Any]] = []
    for value in vars(module).values():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if isinstance(value, FunctionType):
            found.append(value)
        elif isinstance(value, type):
            found += functions_of(value)
    return found


@contextmanager
def thrown_later(target: greenlet.greenlet, error: BaseException, seconds: float) -> Iterator[None]:
    """Throw the error into the target after so many seconds, unless the body has ended."""

    def throw() -> None:
        DONE["errors thrown in at a random moment"] += 1
        target.throw(error)

    timer = get_hub().loop.timer(seconds)
    timer.start(throw)
    try:
        yield
    finally:
        timer.stop()
        timer.close()
