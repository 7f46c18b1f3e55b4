"""A client that stays connected: one open WebSocket after the other, with pauses in between."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from gevent import get_hub
from gevent.event import Event

from .client import connect
from .events import State
from .exceptions import ConcurrencyError, ConnectionClosed, ConnectionClosedOK
from .frames import CloseCode, CloseFrame
from .headers import Headers, HeadersLike
from .kernels import now
from .options import check_wait, checked_function
from .outbox import Outbox
from .retry import backoff, delay_after, is_transient
from .url import parse_url
from .websocket import WebSocket

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger("geventws")

SETTLED_AFTER = 30.0
"""A connection that was opened this long ago counts as a success: the delays begin anew after it, in seconds."""

Delays = Iterable[float] | Callable[[], Iterable[float]]
ShouldRetry = Callable[[Exception, int], bool | float | None]


def reconnect(
    url: str | Callable[[], str],
    *,
    delays: Delays | None = None,
    should_retry: ShouldRetry | None = None,
    headers: HeadersLike | Callable[[], HeadersLike] = None,
    outbox: Outbox | None = None,
    **options: Any,
) -> Connections:
    """Stay connected: an iterator over open WebSockets, each made by `connect` when the one before has ended.

    The body of a ``for`` loop uses a connection for as long as it likes; when it ends or continues, a connection that
    is still open is closed with 1000, and after a pause there is the next one, also where the server had closed it
    well. A ``break``, and whatever leaves the body, ends it all: the connection is closed when the iterator goes away,
    or at the end of its ``with`` statement.

    Args:
        url: as for `connect`, or a function that returns it, called for each attempt.
        delays: how long the pauses are in seconds, for one failure after the other: an iterable that can be gone
            through again, or a function that returns one. Where they end, the last error is raised. By default
            `retry.backoff`. They begin anew after a connection that was opened `SETTLED_AFTER` seconds ago.
        should_retry: called with each error of `connect` or of what makes its arguments, and with the ConnectionClosed
            of each connection that ended before the body did, and with the number of failures in a row, this one
            counted. False gives up, True tries again after the usual pause, a number after so many seconds; None leaves
            it to `retry.is_transient`.
        headers: as for `connect`, or a function that returns them, called for each attempt.
        outbox: is attached to each connection, so that it sends what was put into it.
        options: those of `connect`, but ``sock``.

    Raises:
        InvalidURL, ValueError, TypeError: an argument makes no sense; those of `connect` are looked at when the first
            connection is made.

    The pause after a refusal with Retry-After is that much longer; after the close code 1012 it is at least a random
    5 to 30 s, after 1013 at least 30 to 60 s.
    """
    if not callable(url):
        parse_url(url)
    if not callable(headers):
        headers = Headers(headers)
    if options.get("sock") is not None:
        raise ValueError("sock is for connect: it is good for one connection")
    if outbox is not None and not isinstance(outbox, Outbox):
        raise TypeError(f"outbox is an Outbox or None, not {outbox!r}")
    checked_function("should_retry", should_retry)
    return Connections(url, _checked_delays(delays), should_retry, headers, outbox, options)


class Connections(Iterator[WebSocket]):
    """What `reconnect` returns; a context manager, whose end closes the connection with 1000, or 1011 on an exception.

    An exception that leaves while the next connection is waited for, such as a gevent.Timeout, does not end the
    iteration. It has ended where the failure is not transient, where the delays have ended, and after `close`: the
    error is raised once, a connection that was closed well raises none.
    """

    _websocket: WebSocket | None = None

    def __init__(
        self,
        url: str | Callable[[], str],
        delays: Callable[[], Iterable[float]],
        should_retry: ShouldRetry | None,
        headers: HeadersLike | Callable[[], HeadersLike],
        outbox: Outbox | None,
        options: dict[str, Any],
    ) -> None:
        self._url = url
        self._delays = delays
        self._should_retry = should_retry
        self._headers = headers
        self._outbox = outbox
        self._options = options
        self._left = iter(delays())
        self._failures = 0
        self._due = 0.0
        self._opened_at = 0.0
        self._ended = Event()
        self._busy = False
        self._loop: Any = None
        self._where = "the server"

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> WebSocket:
        if self._busy:
            raise ConcurrencyError("another greenlet waits for the next connection")
        self._busy = True
        try:
            self._leave()
            return self._next()
        finally:
            self._busy = False

    def close(self, code: int = 1000, reason: str = "") -> None:
        """End the iteration, from any greenlet, and close the open connection as `WebSocket.close` does.

        A greenlet that waits for the next connection goes on behind its loop; at once, or once an attempt under way is
        over. Raises ValueError or TypeError where the code or the reason is not allowed.
        """
        CloseFrame.checked(code, reason)
        self._ended.set()
        if self._websocket is not None:
            self._websocket.close(code, reason)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._websocket is not None:
            self._websocket.__exit__(kind, error, traceback)

    def __del__(self) -> None:
        """A loop was left, and there is no ``with`` statement. This may run in any thread."""
        if self._websocket is not None and self._websocket.state is State.OPEN:
            # A loop that is gone, and the connection with it: libev's and libuv's each say so in their own way.
            with suppress(ValueError, AttributeError):
                self._loop.run_callback_threadsafe(self._websocket.start_close, CloseFrame(CloseCode.NORMAL_CLOSURE))

    def _leave(self) -> None:
        """Close the connection that was given last; raises where its end is that of the iteration."""
        if self._websocket is None:
            return
        websocket = self._websocket
        is_ours = websocket.state is State.OPEN and websocket.close_code is None
        websocket.close()
        self._websocket = None
        if self._ended.is_set():
            raise StopIteration
        if now() - self._opened_at >= SETTLED_AFTER:
            self._failures = 0
            self._left = iter(self._delays())
        try:
            websocket.flush()  # raises how it has ended
        except ConnectionClosed as error:
            is_well = isinstance(error, ConnectionClosedOK)
            if self._goes_on_after(error, is_ours and (is_well or error.rcvd is None)):
                return
            self._ended.set()
            if is_well:
                raise StopIteration from None
            raise

    def _next(self) -> WebSocket:
        while not self._ended.wait(max(0.0, self._due - now())):
            try:
                websocket = self._open()
            except Exception as error:
                if not self._goes_on_after(error, False):
                    self._ended.set()
                    raise
                continue
            if self._ended.is_set():
                websocket.close()
                break
            self._websocket = websocket
            self._opened_at = now()
            self._loop = get_hub().loop
            if self._outbox is not None:
                self._outbox.attach(websocket)
            return websocket
        raise StopIteration

    def _open(self) -> WebSocket:
        url = self._url() if callable(self._url) else self._url
        self._where = str(parse_url(url)).partition("?")[0]  # a query may hold what is for nobody's eyes
        return connect(url, headers=self._headers() if callable(self._headers) else self._headers, **self._options)

    def _goes_on_after(self, error: Exception, is_ours: bool) -> bool:
        """Whether there is another attempt, whose time is set then; no question where this side has ended it."""
        self._failures += 1
        delay = self._usual_delay(error) if is_ours else self._delay_after(error)
        if delay is None:
            return False
        self._due = now() + delay
        if not is_ours:
            what = "the connection to %s ended" if isinstance(error, ConnectionClosed) else "no connection to %s"
            level = logging.INFO if isinstance(error, ConnectionClosedOK) else logging.WARNING
            logger.log(level, what + " (%s); the next attempt is in %.1f s", self._where, error, delay)
        return True

    def _delay_after(self, error: Exception) -> float | None:
        answer = None if self._should_retry is None else self._should_retry(error, self._failures)
        if answer is None:
            answer = is_transient(error)
        if isinstance(answer, bool):
            return self._usual_delay(error) if answer else None
        return _checked_delay("should_retry", answer)

    def _usual_delay(self, error: Exception) -> float | None:
        for delay in self._left:
            return delay_after(error, _checked_delay("delays", delay))
        return None


def _checked_delays(delays: Delays | None) -> Callable[[], Iterable[float]]:
    if delays is None:
        return backoff
    if callable(delays):
        return delays
    if not isinstance(delays, Iterable) or isinstance(delays, str | bytes):
        raise TypeError(f"delays is an iterable of numbers or a function that returns one, not {delays!r}")
    if isinstance(delays, Iterator):
        raise TypeError("delays is gone through more than once: an iterator has to come from a function")
    return lambda: delays


def _checked_delay(name: str, delay: float) -> float:
    """What a function or an iterable of the caller's has given for a delay; raises ValueError or TypeError."""
    check_wait(name, delay)
    if delay is None or delay < 0 or math.isinf(delay):
        raise ValueError(f"{name} has given {delay!r} for a number of seconds")
    return delay
