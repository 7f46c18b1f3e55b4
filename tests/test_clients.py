"""The connections that a server holds, and a message to all of them."""

from __future__ import annotations

import gevent
import pytest

from geventws import State, Upgrader, WebSocketApp, WebSocketServer, connect
from geventws.exceptions import InvalidState


@pytest.fixture
def server():
    """Each client is told how many there are, once it is among them."""

    def handler(ws):
        ws.send(str(len(server.clients)))
        for message in ws:
            ws.data["count"] = server.broadcast(message, exclude=ws)

    server = WebSocketServer(("127.0.0.1", 0), handler)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def clients(server):
    url = f"ws://127.0.0.1:{server.address[1]}"
    opened = [connect(url) for _ in range(3)]
    assert [ws.recv(timeout=5) for ws in opened] == ["1", "2", "3"]
    yield opened
    for ws in opened:
        ws.close()


def test_a_message_goes_to_all(server, clients):
    assert server.broadcast("news") == 3
    assert [ws.recv(timeout=5) for ws in clients] == ["news"] * 3


def test_the_sender_may_be_left_out(server, clients):
    clients[0].send("from one")
    assert [ws.recv(timeout=5) for ws in clients[1:]] == ["from one"] * 2
    with pytest.raises(TimeoutError):
        clients[0].recv(timeout=0)


@pytest.mark.parametrize("kind", [list, set, iter, tuple])
def test_several_may_be_left_out(server, clients, kind):
    addresses = {ws.local_address for ws in clients[:2]}
    assert server.broadcast("few", exclude=kind([ws for ws in server.clients if ws.remote_address in addresses])) == 1
    assert clients[2].recv(timeout=5) == "few"


def test_the_arguments_are_those_of_the_function(server, clients):
    assert server.broadcast(b"text", text=True, compress=False, on_slow="drop", max_queued=0) == 3
    assert [ws.recv(timeout=5) for ws in clients] == ["text"] * 3
    with pytest.raises(ValueError, match="on_slow"):
        server.broadcast("x", on_slow="wait")


def test_connections_that_come_and_go_do_no_harm(server):
    """One greenlet broadcasts, others connect and leave."""
    url = f"ws://127.0.0.1:{server.address[1]}"

    def visit():
        for _ in range(5):
            with connect(url) as ws:
                ws.recv(timeout=5)
                ws.recv(timeout=5)

    visitors = [gevent.spawn(visit) for _ in range(5)]
    while not all(visitor.ready() for visitor in visitors):
        assert server.broadcast("tick") <= len(server.clients)
        gevent.sleep(0.001)
    for visitor in visitors:
        visitor.get()
    assert all(ws.state is not State.OPEN or ws.buffered_amount == 0 for ws in server.clients)


@pytest.mark.parametrize("make", [Upgrader, lambda **options: WebSocketApp(print, **options)], ids=["upgrader", "app"])
def test_whoever_holds_clients_can_broadcast(make):
    holder = make()
    assert holder.broadcast("nobody is there") == 0
    assert holder.clients.tracked


@pytest.mark.parametrize("make", [Upgrader, lambda **options: WebSocketApp(print, **options)], ids=["upgrader", "app"])
def test_without_tracking_nobody_knows_the_clients(make):
    with pytest.raises(InvalidState, match="track_clients is False"):
        make(track_clients=False).broadcast("news")
