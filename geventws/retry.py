"""Whether to connect again, and after how long: transient failures, backoff with jitter, what the server asks for."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from ssl import SSLCertVerificationError
from typing import TYPE_CHECKING

from .exceptions import ConnectionClosed, HandshakeError, InvalidURL, ProtocolError, ProxyError
from .frames import CloseCode
from .socks import RefusedCredentials

if TYPE_CHECKING:
    from .http11 import Response

LONGEST_RETRY_AFTER = 3600.0
"""The most that a Retry-After is followed, in seconds."""
_CODE_DELAYS = {CloseCode.SERVICE_RESTART: (5.0, 30.0), CloseCode.TRY_AGAIN_LATER: (30.0, 60.0)}
"""Between how many seconds a client waits after a close code. The mail to which the IANA registry refers for both
(hybi, msg09670) has the 5 to 30 for 1012; for 1013 it wants a user to decide, in whose place a longer wait stands."""
_FATAL_CODES = {
    CloseCode.PROTOCOL_ERROR,
    CloseCode.UNSUPPORTED_DATA,
    CloseCode.INVALID_DATA,
    CloseCode.POLICY_VIOLATION,
    CloseCode.MESSAGE_TOO_BIG,
    CloseCode.MANDATORY_EXTENSION,
    3000,  # unauthorized
    3003,  # forbidden
}
_TRANSIENT_STATUSES = {408, 425, 429}
_FATAL_SERVER_ERRORS = {501, 505}
_FATAL_REPLIES = {2, 7, 8, 92, 93}
"""Of a SOCKS proxy: forbidden, and not supported (RFC 1928 section 6); identd does not know the user (SOCKS4)."""
_FATAL_CAUSES = (SSLCertVerificationError, ProtocolError, RefusedCredentials)


def backoff(initial: float = 1.0, factor: float = 2.0, cap: float = 60.0) -> Iterator[float]:
    """Delays in seconds, without end: exponential backoff with full jitter.

    Each is a random number between 0 and a bound. The bound is ``initial`` at first and grows by ``factor``, up to
    ``cap``. Whom one event has cut off so comes back spread over all of that time.
    """
    bound = min(initial, cap)
    while True:
        yield random.uniform(0, bound)
        bound = min(bound * factor, cap)


def is_transient(error: BaseException) -> bool:
    """Whether another attempt may succeed after this error of `connect`, or this end of a connection.

    So it is for an OSError, a timeout among them, but not for a certificate that is not trusted; for the statuses 408,
    425, 429 and 5xx, but 501 and 505, and for any of 400 and more with Retry-After; where no valid answer came; where a
    proxy cannot be reached or has one of these statuses; and for all close codes but 1002, 1003, 1007 to 1010, 3000 and
    3003. Anything else would only happen again.
    """
    if any(isinstance(cause, _FATAL_CAUSES) for cause in _causes(error)) or isinstance(error, InvalidURL):
        return False
    if isinstance(error, ConnectionClosed):
        return error.code not in _FATAL_CODES
    if isinstance(error, ProxyError) and error.reply is not None:
        return error.reply not in _FATAL_REPLIES
    if isinstance(error, HandshakeError):
        return error.response is None or _is_transient_answer(error.response)
    return isinstance(error, OSError)


def delay_after(error: BaseException, usual: float) -> float:
    """How long to wait after a failure, in seconds: the usual delay, or as much more as the server has asked for.

    The usual delay comes on top of a Retry-After, so that not all who were told the same come at once.
    """
    if isinstance(error, ConnectionClosed):
        bounds = _CODE_DELAYS.get(error.code)  # type: ignore[call-overload]
        return usual if bounds is None else max(usual, random.uniform(*bounds))
    if isinstance(error, HandshakeError) and error.response is not None:
        return usual + (retry_after(error.response) or 0.0)
    return usual


def retry_after(response: Response) -> float | None:
    """The seconds of a Retry-After header (RFC 7231 section 7.1.3), `LONGEST_RETRY_AFTER` at most; None without one.

    A date is compared with that of the answer itself, where it has one: the two clocks need not agree.
    """
    value = response.headers.get("Retry-After")
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        seconds = float(value)
    else:
        moment = _date(value)
        if moment is None:
            return None
        answered = _date(response.headers.get("Date") or "") or datetime.now(timezone.utc)
        seconds = (moment - answered).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def _date(value: str) -> datetime | None:
    """An HTTP-date (RFC 7231 section 7.1.1.1), in UTC where it does not say so; None where it is none."""
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _is_transient_answer(response: Response) -> bool:
    status = response.status
    if status in _TRANSIENT_STATUSES or (status >= 500 and status not in _FATAL_SERVER_ERRORS):
        return True
    return status >= 400 and retry_after(response) is not None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
