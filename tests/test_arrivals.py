"""Connections whose request has not come yet: the hub reads their heads, within a deadline."""

from __future__ import annotations

import gevent
import pytest
from tools.links import reset, tcp_pair
from tools.timing import EARLY, let_hub_run, stopwatch, wait_until
from tools.wire import splits

from geventws.arrivals import Arrivals

HEAD = b"GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\r\n"


class Server:
    """What a server would do with the connections."""

    def __init__(self, timeout=10):
        self.arrived = []
        self.refused = []
        self.arrivals = Arrivals(timeout, self._arrived, self._refused)
        self.sockets = []

    def connect(self):
        """The client's end of a new connection."""
        client, server = tcp_pair()
        server.settimeout(0)
        self.arrivals.add(server, client.getsockname())
        self.sockets += [client, server]
        return client

    def _arrived(self, sock, address, request, head):
        self.arrived.append((sock, address, request, head))

    def _refused(self, sock, address, error):
        self.refused.append((sock, address, error))


@pytest.fixture
def make_server():
    servers = []

    def make(**arguments):
        servers.append(Server(**arguments))
        return servers[-1]

    yield make
    for server in servers:
        server.arrivals.close()
        for sock in server.sockets:
            sock.close()


def test_a_request_that_is_there_already_is_not_waited_for(make_server):
    server = make_server()
    client, connection = tcp_pair()
    server.sockets += [client, connection]
    connection.settimeout(0)
    client.sendall(HEAD)
    server.arrivals.add(connection, client.getsockname())
    assert len(server.arrivals) == 1
    gevent.sleep(0)  # runs what the hub is to do next, and looks at no descriptor
    assert [request.path for _, _, request, _ in server.arrived] == ["/chat"]
    assert not server.arrivals


def test_a_connection_that_is_given_up_at_once_is_not_read(make_server):
    server = make_server()
    client = server.connect()
    client.sendall(HEAD)
    server.arrivals.close()
    let_hub_run()
    assert not server.arrived
    assert not server.arrivals


def test_a_request_is_handed_on_with_what_came_behind_it(make_server):
    server = make_server()
    client = server.connect()
    client.sendall(HEAD + b"\x81\x00")
    wait_until(lambda: server.arrived)
    (sock, address, request, head), *others = server.arrived
    assert (request.path, request.headers["Upgrade"], head) == ("/chat", "websocket", b"\x81\x00")
    assert address == client.getsockname()
    assert sock.getpeername() == address
    assert not others
    assert len(server.arrivals) == 0


def test_a_request_may_come_in_any_pieces(make_server):
    for pieces in splits(HEAD + b"frames", rounds=20):
        server = make_server()
        client = server.connect()
        for piece in pieces:
            client.sendall(piece)
            let_hub_run(2)
        wait_until(lambda server=server: server.arrived)
        sock, _, request, behind = server.arrived[0]
        client.close()
        while data := sock.recv(100):
            behind += data
        assert (request.path, behind) == ("/chat", b"frames")


def test_a_socket_that_was_handed_on_is_not_read_any_more(make_server):
    server = make_server()
    client = server.connect()
    client.sendall(HEAD)
    wait_until(lambda: server.arrived)
    client.sendall(b"frames")
    let_hub_run()
    assert server.sockets[1].recv(100) == b"frames"


def test_a_malformed_head_is_refused(make_server):
    server = make_server()
    server.connect().sendall(b"hello\r\n\r\n")
    wait_until(lambda: server.refused)
    sock, _, error = server.refused[0]
    assert error.response.status == 400
    assert sock.fileno() >= 0
    assert len(server.arrivals) == 0


def test_one_that_is_too_slow_is_refused(make_server):
    server = make_server(timeout=0.05)
    with stopwatch() as watch:
        server.connect().sendall(b"GET")
        wait_until(lambda: server.refused)
    _, _, error = server.refused[0]
    assert error.response.status == 408
    assert str(error) == "the request took too long: the deadline of 0.05 s has passed"
    assert watch.seconds >= 0.05 - EARLY


def test_each_has_a_deadline_of_its_own(make_server):
    server = make_server(timeout=0.1)
    seen = [server.connect().getsockname() for _ in range(3)]
    wait_until(lambda: len(server.refused) == 3)
    assert [address for _, address, _ in server.refused] == seen


def test_dripping_does_not_stretch_the_deadline(make_server):
    server = make_server(timeout=0.05)
    client = server.connect()
    with stopwatch() as watch:
        client.sendall(b"GET / HTTP/1.1\r\n")
        while not server.refused:
            client.sendall(b"a: b\r\n")
            let_hub_run(1)
            assert watch.seconds < 5
    assert server.refused[0][2].response.status in (408, 431)


def test_without_a_timeout_there_is_no_timer(make_server):
    server = make_server(timeout=None)
    client = server.connect()
    let_hub_run()
    assert server.arrivals._timer is None
    client.sendall(HEAD)
    wait_until(lambda: server.arrived)


@pytest.mark.parametrize("seen", [True, False], ids=["begun", "unseen"])
@pytest.mark.parametrize("end", [lambda sock: sock.close(), reset], ids=["closed", "reset"])
def test_one_that_goes_away_is_forgotten(make_server, end, seen):
    server = make_server()
    client = server.connect()
    client.sendall(b"GET")
    if seen:
        let_hub_run()
    end(client)
    wait_until(lambda: not server.arrivals)
    assert server.sockets[1].fileno() == -1
    assert (server.arrived, server.refused) == ([], [])


def test_closing_gives_up_all(make_server):
    server = make_server()
    clients = [server.connect() for _ in range(3)]
    server.arrivals.close()
    assert len(server.arrivals) == 0
    assert [client.recv(1) for client in clients] == [b""] * 3
