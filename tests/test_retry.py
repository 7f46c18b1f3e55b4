from __future__ import annotations

import ssl
from itertools import islice
from statistics import mean

import pytest

from geventws import retry
from geventws.exceptions import (
    ConnectionClosed,
    ConnectionClosedError,
    HandshakeError,
    InvalidHeader,
    InvalidStatus,
    InvalidURL,
    ProtocolError,
    ProxyError,
    Violation,
)
from geventws.frames import CloseFrame
from geventws.http11 import Response
from geventws.retry import backoff, delay_after, is_transient, retry_after
from geventws.socks import RefusedCredentials

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
LATER = {
    "IMF-fixdate": "Sun, 06 Nov 1994 08:51:07 GMT",
    "RFC 850": "Sunday, 06-Nov-94 08:51:07 GMT",
    "asctime": "Sun Nov  6 08:51:07 1994",
    "offset": "Sun, 06 Nov 1994 09:51:07 +0100",
}


def closed(code: int | None) -> ConnectionClosed:
    return ConnectionClosedError(None if code is None else CloseFrame(code), None)


def refused(status: int, **headers: str) -> InvalidStatus:
    return InvalidStatus(Response(status, headers={name.replace("_", "-"): value for name, value in headers.items()}))


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(("number", "bound"), [(0, 1), (1, 2), (2, 4), (5, 32), (6, 60), (20, 60)])
def test_each_delay_is_between_0_and_a_bound_that_doubles_up_to_a_minute(number: int, bound: float) -> None:
    drawn = [next(islice(backoff(), number, None)) for _ in range(2000)]
    assert 0 <= min(drawn) < bound / 20
    assert bound * 0.95 < max(drawn) <= bound
    assert mean(drawn) == pytest.approx(bound / 2, rel=0.1)


def test_the_figures_of_the_backoff_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry.random, "uniform", lambda low, high: high)
    assert list(islice(backoff(initial=0.5, factor=3, cap=10), 5)) == [0.5, 1.5, 4.5, 10, 10]
    assert next(backoff(initial=100, cap=10)) == 10


@pytest.mark.parametrize("code", [None, 1000, 1001, 1005, 1011, 1012, 1013, 1014, 3008, 4000, 4999])
def test_these_close_codes_are_transient(code: int | None) -> None:
    assert is_transient(closed(code))


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 1009, 1010, 3000, 3003])
def test_these_close_codes_are_fatal(code: int) -> None:
    assert not is_transient(closed(code))


def test_a_peer_that_broke_the_protocol_would_do_it_again() -> None:
    assert not is_transient(caused(closed(None), ProtocolError(Violation.MESSAGE_TOO_BIG)))


def test_a_connection_that_the_network_broke_is_transient() -> None:
    assert is_transient(caused(closed(None), ConnectionResetError()))


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 511, 599])
def test_these_statuses_are_transient(status: int) -> None:
    assert is_transient(refused(status))
    assert is_transient(ProxyError("no", Response(status)))


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404, 407, 426, 501, 505])
def test_these_statuses_are_fatal(status: int) -> None:
    assert not is_transient(refused(status))
    assert not is_transient(ProxyError("no", Response(status)))


def test_a_server_that_says_when_to_come_back_may_be_asked_again() -> None:
    assert is_transient(refused(403, Retry_After="5"))
    assert not is_transient(refused(403, Retry_After="when I like"))
    assert not is_transient(refused(301, Retry_After="5"))


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        FileNotFoundError(),
        ssl.SSLEOFError(),
        HandshakeError("the server closed the connection without an answer"),
        ProxyError("the connection failed"),
        ProxyError("host unreachable", reply=4),
        ProxyError("rejected or failed", reply=91),
    ],
    ids=repr,
)
def test_these_errors_are_transient(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        InvalidURL("no scheme"),
        InvalidHeader("Upgrade", None, response=Response(101)),
        HandshakeError("the server redirects from wss to ws", Response(302)),
        ssl.SSLCertVerificationError(),
        caused(ProxyError("the TLS handshake failed"), ssl.SSLCertVerificationError()),
        ProxyError("forbidden", reply=2),
        caused(ProxyError("all of them failed"), caused(ProxyError("who?"), RefusedCredentials("who?"))),
        ValueError(),
        TypeError(),
        RuntimeError(),
    ],
    ids=repr,
)
def test_these_errors_are_fatal(error: Exception) -> None:
    assert not is_transient(error)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0), ("120", 120), ("007", 7), ("3601", 3600), ("9" * 5000, 3600)],
    ids=lambda x: str(x)[:9],
)
def test_seconds_to_wait(value: str, seconds: float) -> None:
    assert retry_after(Response(503, headers={"Retry-After": value})) == seconds


@pytest.mark.parametrize("value", LATER.values(), ids=LATER)
def test_a_date_is_compared_with_that_of_the_answer(value: str) -> None:
    assert retry_after(Response(503, headers={"Retry-After": value, "Date": DATE})) == 90


def test_a_date_of_an_answer_without_one_is_compared_with_the_clock() -> None:
    assert retry_after(Response(503, headers={"Retry-After": DATE})) == 0
    assert retry_after(Response(503, headers={"Retry-After": DATE.replace("1994", "9994")})) == 3600


def test_a_date_before_that_of_the_answer_asks_for_no_wait() -> None:
    assert retry_after(Response(503, headers={"Retry-After": DATE, "Date": LATER["RFC 850"]})) == 0


@pytest.mark.parametrize("value", ["", "-5", "1.5", "soon", "٣", "Sun, 06 Nov 999999999999 08:49:37 GMT"], ids=ascii)
def test_what_is_no_retry_after_is_none(value: str) -> None:
    response = Response(503)
    response.headers = response.headers.unchecked([("Retry-After", value)])
    assert retry_after(response) is None


def test_without_a_wish_of_the_server_the_delay_is_the_usual_one() -> None:
    for error in (closed(None), closed(1000), closed(4000), refused(503), HandshakeError("no answer"), OSError()):
        assert delay_after(error, 1.5) == 1.5


def test_the_usual_delay_comes_on_top_of_a_retry_after() -> None:
    assert delay_after(refused(503, Retry_After="20"), 1.5) == 21.5
    assert delay_after(ProxyError("busy", Response(503, headers={"Retry-After": "20"})), 1.5) == 21.5


@pytest.mark.parametrize(("code", "low", "high"), [(1012, 5, 30), (1013, 30, 60)])
def test_the_delay_after_a_code_that_asks_for_one_is_random_between_its_bounds(
    code: int, low: float, high: float
) -> None:
    drawn = [delay_after(closed(code), 1.0) for _ in range(2000)]
    tenth = (high - low) / 10
    assert low <= min(drawn) < low + tenth
    assert high - tenth < max(drawn) <= high
    assert delay_after(closed(code), 100.0) == 100.0
