from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from tools.links import unix_pair
from tools.peer import Peer
from tools.timing import EARLY, stopwatch, wait_until

from geventws.draining import Drain
from geventws.exceptions import HandshakeError
from geventws.frames import CloseFrame

FRAME = CloseFrame.checked(1012, "")

Join = Callable[[], tuple[Any, Peer]]


@pytest.fixture
def drain() -> Drain:
    return Drain()


@pytest.fixture
def join(drain: Drain, open_websocket: Callable[..., Any]) -> Iterator[Join]:
    """Opens connections that belong to the drain; gives WebSocket and peer."""
    peers: list[Peer] = []

    def join() -> tuple[Any, Peer]:
        client, server = unix_pair()
        ws = open_websocket(server, "server", close_timeout=1)
        peers.append(Peer(client, client=True))
        drain.add(ws)
        return ws, peers[-1]

    yield join
    for peer in peers:
        peer.close()


def closed(joined: list[tuple[Any, Peer]]) -> int:
    return sum(ws._protocol.close_sent is not None for ws, _ in joined)


def answer(peer: Peer) -> None:
    assert peer.finish_close(1012) == (1012, "")
    peer.read_eof()
    peer.close()


def test_all_connections_are_closed_with_the_code(drain: Drain, join: Join) -> None:
    joined = [join() for _ in range(3)]
    answering = [gevent.spawn(answer, peer) for _, peer in joined]
    drain.close(FRAME, 0)
    assert drain.wait(5)
    for greenlet in answering:
        greenlet.get()
    assert not drain.open


def test_all_are_told_at_once_where_they_need_not_be_spread(drain: Drain, join: Join) -> None:
    joined = [join() for _ in range(3)]
    turns: list[int] = []
    gevent.get_hub().loop.run_callback(turns.append, 1)
    drain.close(FRAME, 0)
    assert (closed(joined), turns) == (3, [])


def test_connections_are_closed_one_after_the_other(drain: Drain, join: Join) -> None:
    joined = [join() for _ in range(20)]
    with stopwatch() as watch:
        closing = gevent.spawn(drain.close, FRAME, 0.3)
        wait_until(lambda: closed(joined))
        early = closed(joined)
        closing.get()
    assert 1 <= early < 20
    assert 0.05 - EARLY < watch.seconds < 0.3 + 0.2
    assert all(peer.read_close() == (1012, "") for _, peer in joined)


def test_connections_that_have_ended_are_passed_over(drain: Drain, join: Join) -> None:
    ws, _ = join()
    ws.terminate()
    assert drain.open == []
    with stopwatch() as watch:
        drain.close(FRAME, 5)
    assert watch.seconds < 1


def test_connections_are_not_kept_alive(drain: Drain, join: Join) -> None:
    join()[0].terminate()
    assert len(drain._websockets) <= 1
    gevent.sleep(0)
    join()
    assert len(drain.open) == 1


def test_wait_gives_up(drain: Drain, join: Join) -> None:
    join()
    drain.close(FRAME, 0)
    assert not drain.wait(0.01)
    assert drain.wait(None)


def test_no_more_connections_are_opened_until_it_is_reopened(drain: Drain) -> None:
    drain.check()
    drain.close(FRAME, 0)
    with pytest.raises(HandshakeError) as caught:
        drain.check()
    assert caught.value.response is not None
    assert (caught.value.response.status, caught.value.response.headers["Retry-After"]) == (503, "5")
    drain.reopen()
    drain.check()


def test_connection_that_is_opened_too_late_is_closed_at_once(drain: Drain, join: Join) -> None:
    drain.close(FRAME, 0)
    _, peer = join()
    assert peer.read_close() == (1012, "")
