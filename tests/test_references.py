"""What a debug build of CPython counts: no reference is left by what is done again and again. `tox -e debug` has one.

A count that grows tells of a reference that compiled code has taken and not given back, to whatever object: also to
None or a type, of which there are never more, and which no look at the heap shows.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import gevent
import pytest
from tools.timing import let_hub_run, wait_until

from geventws import ConnectionClosed, WebSocket, WebSocketServer, broadcast, connect

pytestmark = pytest.mark.only_where(hasattr(sys, "gettotalrefcount"))

ROUNDS = 200
GENERATOR = type(WebSocket.cork.__wrapped__(None))  # type: ignore[attr-defined]
"""Each of Cython's generators leaves a reference to their type, which costs no memory."""
TEXT = "grüße " * 20
LARGE = bytes(100_000)


@pytest.fixture
def server() -> Iterator[WebSocketServer]:
    """One that echoes, but what is empty: that it takes for a request to close."""
    with WebSocketServer(("127.0.0.1", 0), echo, close_timeout=1) as server:
        server.start()
        yield server


def echo(ws: Any) -> None:
    for message in ws:
        if not message:
            return
        ws.send(message)


def connected(server: WebSocketServer, **options: Any) -> Any:
    return connect(f"ws://127.0.0.1:{server.address[1]}/", close_timeout=1, **options)


def references_left(once: Callable[[], object]) -> int:
    """By how much the count grows in so many rounds; the least of three, since others fill their caches meanwhile."""
    return min(_counted(once) for _ in range(4))


def _counted(once: Callable[[], object]) -> int:
    before = _settled_count()
    for _ in range(ROUNDS):
        once()
    return _settled_count() - before


def _settled_count() -> int:
    let_hub_run()
    gc.collect()
    count: int = sys.gettotalrefcount()  # type: ignore[attr-defined]
    return count - sys.getrefcount(GENERATOR)


def one_text(ws: Any) -> None:
    ws.send(TEXT)
    ws.recv()


def one_large(ws: Any) -> None:
    ws.send(LARGE)
    ws.recv()


def several_at_once(ws: Any) -> None:
    with ws.cork():
        for _ in range(5):
            ws.send(b"x")
    for _ in range(5):
        ws.recv()


def fragments(ws: Any) -> None:
    ws.send(iter([TEXT, TEXT, TEXT]))
    ws.recv()


def a_stream(ws: Any) -> None:
    ws.send(LARGE)
    for _ in ws.recv_streaming():
        pass


def a_ping(ws: Any) -> None:
    ws.ping().get(timeout=5)


def a_timeout(ws: Any) -> None:
    with suppress(TimeoutError):
        ws.recv(timeout=0)
    with suppress(gevent.Timeout), gevent.Timeout(0.0001):
        ws.recv()


def a_refused_argument(ws: Any) -> None:
    for wrong in (None, 7, "\ud800"):
        with suppress(TypeError, ValueError):
            ws.send(wrong)


def a_killed_receive(ws: Any) -> None:
    waiting = gevent.spawn(ws.recv)
    gevent.sleep(0)
    waiting.kill()


def a_broadcast(ws: Any) -> None:
    broadcast([ws], TEXT)
    ws.recv()


DEEDS = (
    *(one_text, one_large, several_at_once, fragments, a_stream, a_ping),
    *(a_timeout, a_refused_argument, a_killed_receive, a_broadcast),
)


@pytest.mark.parametrize("compression", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("deed", DEEDS)
def test_what_a_connection_does_leaves_no_reference(
    server: WebSocketServer, deed: Callable[[Any], None], compression: bool
) -> None:
    with connected(server, compression=compression) as ws:
        assert references_left(lambda: deed(ws)) < ROUNDS // 2


def closed_by_the_client(ws: Any) -> None:
    ws.close()


def closed_by_the_server(ws: Any) -> None:
    ws.send("")
    with suppress(ConnectionClosed):
        ws.recv()


def terminated(ws: Any) -> None:
    ws.send(LARGE)
    ws.terminate()


@pytest.mark.parametrize("ending", [closed_by_the_client, closed_by_the_server, terminated])
def test_a_connection_leaves_no_reference(server: WebSocketServer, ending: Callable[[Any], None]) -> None:
    def once() -> None:
        with connected(server) as ws:
            one_text(ws)
            ending(ws)
        wait_until(lambda: not server._connections)

    assert references_left(once) < ROUNDS // 2


def test_a_reference_that_is_left_is_counted() -> None:
    """The count can grow."""
    kept: list[None] = []
    assert references_left(lambda: kept.append(None)) >= ROUNDS
