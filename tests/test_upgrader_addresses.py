"""The address of a client that an Upgrader sees, and how many connections it may have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import gevent
import pytest
from gevent import Timeout, socket
from gevent.event import Event
from tools import raw_http, wire
from tools.links import reset, tcp_pair, unix_pair
from tools.timing import wait_until

from geventws.http11 import Request, RequestParser, Response
from geventws.upgrader import Upgrader
from geventws.websocket import WebSocket

Pair = tuple[Any, Any]


def asking(client: str | None = None, path: str = "/", header: str = "X-Forwarded-For") -> Request:
    """A request for a WebSocket, of which a proxy says that it is this client's."""
    request = RequestParser().feed(raw_http.request(path, {header: client} if client else None))
    assert request is not None
    return request


@pytest.fixture
def make() -> Iterator[Callable[[Callable[[], Pair]], Pair]]:
    """Connected pairs (client's socket, server's socket) that end with the test."""
    opened: list[Any] = []

    def make(link: Callable[[], Pair]) -> Pair:
        pair = link()
        opened.extend(pair)
        return pair

    yield make
    for sock in opened:
        sock.close()


@pytest.fixture
def status(make: Callable[..., Pair]) -> Iterator[Callable[..., int]]:
    """Sends an Upgrader a request, and gives the status of the answer; the connection stays open."""
    upgrades = []

    def ask(upgrader: Upgrader, request: Request, link: Callable[[], Pair] = unix_pair) -> int:
        client, server = make(link)
        upgrades.append((client, gevent.spawn(upgrader.upgrade, request, server)))
        return raw_http.read_response(client)[0].status

    yield ask
    for client, upgrade in upgrades:
        client.close()
        ws = upgrade.get(timeout=5)
        if ws is not None:
            ws.terminate()


# The address


@pytest.mark.parametrize("link, expected", [(tcp_pair, "127.0.0.1"), (unix_pair, None)])
def test_without_trusted_proxies_the_client_is_the_other_end(status: Any, link: Any, expected: str | None) -> None:
    request = asking("192.0.2.1")
    assert status(Upgrader(), request, link) == 101
    assert request.client_address == expected


@pytest.mark.parametrize(
    "options, link, expected",
    [
        ({"trusted_proxies": 1}, tcp_pair, "192.0.2.1"),
        ({"trusted_proxies": ["127.0.0.0/8"]}, tcp_pair, "192.0.2.1"),
        ({"trusted_proxies": ["10.0.0.0/8"]}, tcp_pair, "127.0.0.1"),
        ({"trusted_proxies": ["unix"]}, tcp_pair, "127.0.0.1"),
        ({"trusted_proxies": ["unix"]}, unix_pair, "192.0.2.1"),
        ({"trusted_proxies": 2}, tcp_pair, "6.6.6.6"),
        ({"trusted_proxies": 3}, tcp_pair, "127.0.0.1"),
        ({"trusted_proxies": 1, "forwarded_header": "X-Real-IP"}, tcp_pair, "127.0.0.1"),
    ],
)
def test_the_client_is_who_trusted_proxies_say(status: Any, options: Any, link: Any, expected: str) -> None:
    seen: list[str | None] = []
    upgrader = Upgrader(process_request=lambda request: seen.append(request.client_address), **options)
    request = asking("6.6.6.6, 192.0.2.1")
    assert status(upgrader, request, link) == 101
    assert [*seen, request.client_address] == [expected, expected]


def test_a_websocket_tells_the_address_of_its_client(make: Any) -> None:
    client, server = make(tcp_pair)
    ws = Upgrader(trusted_proxies=1).upgrade(asking("192.0.2.1"), server)
    assert ws is not None
    assert (ws.client_address, ws.remote_address) == ("192.0.2.1", client.getsockname())
    ws.terminate()


def test_process_request_may_say_who_the_client_is(make: Any) -> None:
    def know(request: Request) -> None:
        request.client_address = "192.0.2.9"

    _client, server = make(tcp_pair)
    ws = Upgrader(process_request=know).upgrade(asking(), server)
    assert ws is not None
    assert ws.client_address == "192.0.2.9"
    ws.terminate()


# The number of connections


def test_there_are_no_more_from_an_address_than_allowed(status: Any) -> None:
    upgrader = Upgrader(max_connections_per_address=2, trusted_proxies=1)
    assert [status(upgrader, asking("192.0.2.1")) for _ in range(3)] == [101, 101, 429]
    assert status(upgrader, asking("192.0.2.2")) == 101
    assert [status(upgrader, asking(f"2001:db8::{number}")) for number in range(3)] == [101, 101, 429]


def test_a_refusal_says_why(make: Any) -> None:
    upgrader = Upgrader(max_connections_per_address=1, trusted_proxies=1, process_request=lambda request: Response(204))
    upgrader._limits.enter("192.0.2.1")  # type: ignore[union-attr]
    client, server = make(unix_pair)
    upgrade = gevent.spawn(upgrader.upgrade, asking("192.0.2.1"), server)
    response, _ = raw_http.read_response(client)
    assert (response.status, response.reason, response.headers["Retry-After"]) == (429, "Too Many Requests", "5")
    assert response.body == b"there are 1 connections from this address already\n"
    client.close()
    upgrade.get(timeout=5)


def test_those_at_unix_sockets_are_not_counted_by_address(status: Any) -> None:
    upgrader = Upgrader(max_connections_per_address=1)
    assert [status(upgrader, asking()) for _ in range(3)] == [101, 101, 101]


def test_one_that_is_being_opened_counts(status: Any, make: Any) -> None:
    waiting = Event()
    upgrader = Upgrader(
        max_connections_per_address=1, trusted_proxies=1, process_request=lambda request: waiting.wait() and None
    )
    _client, server = make(unix_pair)
    opening = gevent.spawn(upgrader.upgrade, asking("192.0.2.1"), server)
    gevent.sleep(0)
    assert status(upgrader, asking("192.0.2.1")) == 429
    opening.kill()
    waiting.set()
    assert status(upgrader, asking("192.0.2.1")) == 101


# What ends a connection, and gives its place back


def closes(ws: WebSocket, client: Any) -> None:
    client.sendall(wire.frame(wire.CLOSE, wire.close_payload(1000), key=b"abcd"))


def ends_in_a_frame(ws: WebSocket, client: Any) -> None:
    client.sendall(wire.frame(wire.TEXT, b"hello", key=b"abcd")[:-1])
    client.close()


def breaks_the_protocol(ws: WebSocket, client: Any) -> None:
    client.sendall(wire.frame(wire.TEXT, b"hello"))


def is_closed(ws: WebSocket, client: Any) -> None:
    closing = gevent.spawn(ws.close)
    gevent.sleep(0)
    closes(ws, client)
    closing.get(timeout=5)


ENDS: list[Callable[[WebSocket, Any], None]] = [
    closes,
    ends_in_a_frame,
    breaks_the_protocol,
    is_closed,
    lambda ws, client: reset(client),
    lambda ws, client: client.close(),
    lambda ws, client: ws.terminate(),
]


@pytest.mark.parametrize("end", ENDS)
def test_every_end_of_a_connection_gives_its_place_back(make: Any, end: Callable[[WebSocket, Any], None]) -> None:
    upgrader = Upgrader(max_connections=1, max_connections_per_address=1, close_timeout=0.05)
    for _ in range(3):
        client, server = make(tcp_pair)
        ws = upgrader.upgrade(asking(), server)
        assert ws is not None
        raw_http.read_response(client)
        end(ws, client)
        assert ws.wait_closed(timeout=5)
        wait_until(lambda: upgrader._limits._count == 0)  # type: ignore[union-attr]
        assert not upgrader._limits._counts  # type: ignore[union-attr]


class Late(WebSocket):
    """Fails when it is connected already."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.terminate()
        raise RuntimeError


def fail(*arguments: Any) -> Any:
    raise RuntimeError


def time_out(*arguments: Any) -> Any:
    raise Timeout


@pytest.mark.parametrize(
    "options, path",
    [
        ({"path": "/chat"}, "/other"),
        ({"origins": ["https://example.com"], "path": "/chat"}, "/"),
        ({"process_request": lambda request: Response(403)}, "/"),
        ({"process_request": fail}, "/"),
        ({"process_request": time_out}, "/"),
        ({"process_response": fail}, "/"),
        ({"on_handshake_error": fail, "path": "/chat"}, "/"),
        ({"websocket_class": Late}, "/"),
    ],
)
@pytest.mark.usefixtures("caplog")
def test_a_request_that_fails_gives_its_place_back(make: Any, options: dict[str, Any], path: str) -> None:
    upgrader = Upgrader(max_connections=1, max_connections_per_address=1, **options)
    for _ in range(3):
        client, server = make(tcp_pair)
        client.shutdown(socket.SHUT_WR)
        with suppress(RuntimeError, Timeout):
            assert upgrader.upgrade(asking(path=path), server) is None
        assert (upgrader._limits._count, upgrader._limits._counts) == (0, {})  # type: ignore[union-attr]


def test_nothing_is_counted_where_nothing_is_limited() -> None:
    assert Upgrader()._limits is None


@pytest.mark.parametrize(
    "options, error",
    [
        ({"max_connections_per_address": 0}, ValueError),
        ({"max_connections_per_address": "1"}, TypeError),
        ({"trusted_proxies": 0}, ValueError),
        ({"trusted_proxies": "10.0.0.0/8"}, TypeError),
        ({"trusted_proxies": ["nowhere"]}, ValueError),
        ({"trusted_proxies": 1, "forwarded_header": "a b"}, ValueError),
    ],
)
def test_arguments_that_make_no_sense_are_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Upgrader(**options)
