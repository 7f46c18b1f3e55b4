"""The server survives exhaustion: it goes on within a second of relief, and never loses its listening socket."""

from __future__ import annotations

import errno
import json
import os
from contextlib import ExitStack

import pytest
from gevent import socket
from programs import DEADLINE, Program
from tools import raw_http
from tools.timing import stopwatch, wait_until

from geventws import WebSocketServer, connect
from geventws.handlers import echo

CLIENTS = 40
SERVER = """
import json, logging, os, resource, sys
from geventws import WebSocketServer
from geventws.handlers import echo

server = WebSocketServer(("127.0.0.1", 0), echo, **json.loads(sys.argv[1]))
server.start()
logging.basicConfig(format="%(message)s")
limit = len(os.listdir("/proc/self/fd")) + 20
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
print(f"listening on ws://127.0.0.1:{server.address[1]}", flush=True)
server.serve_forever()
"""
pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")


def served(**options):
    return Program("-c", SERVER, json.dumps(options))


class Crowd:
    """Connections to a server, of which not all are accepted."""

    def __init__(self, address):
        self.address = address
        self.sockets = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for sock in self.sockets:
            sock.close()

    def dial(self):
        """A connection that the kernel has completed, and its request."""
        sock = socket.create_connection(self.address)
        self.sockets.append(sock)
        sock.sendall(raw_http.request())
        return sock

    def leave(self, count):
        for sock in self.sockets[:count]:
            sock.close()
        del self.sockets[:count]


def is_answered(sock, timeout):
    try:
        return raw_http.read_response(sock, timeout=timeout)[0].status == 101
    except TimeoutError:
        return False


def place(url):
    host, _, port = url.removeprefix("ws://").partition(":")
    return host, int(port)


def echoed(url):
    with connect(url) as ws:
        ws.send("hello")
        return ws.recv(timeout=DEADLINE)


def test_a_process_without_descriptors_goes_on_when_it_has_some():
    with served() as program:
        url = program.address()
        for _ in range(3):
            with Crowd(place(url)) as crowd:
                answered = [is_answered(crowd.dial(), 5) for _ in range(15)]
                waiting = [crowd.dial() for _ in range(CLIENTS)]
                assert answered == [True] * 15
                assert not is_answered(waiting[-1], 0.1)
                crowd.leave(15 + CLIENTS - 1)
                with stopwatch() as watch:
                    assert is_answered(waiting[-1], DEADLINE)
                assert watch.seconds < 1
        assert echoed(url) == "hello"


def test_long_exhaustion_delays_nobody_for_longer_than_a_second():
    """The pauses grow while it lasts, and must not have grown beyond that."""
    assert WebSocketServer.max_delay <= 0.5
    with served() as program:
        url = program.address()
        with Crowd(place(url)) as crowd:
            first = [crowd.dial() for _ in range(CLIENTS)]
            assert not is_answered(first[-1], 1.2)
            crowd.leave(CLIENTS - 1)
            with stopwatch() as watch:
                assert is_answered(first[-1], DEADLINE)
            assert watch.seconds < 1


def test_beyond_max_connections_there_is_503_and_then_room_again():
    with served(max_connections=5) as program:
        url = program.address()
        for _ in range(3):
            with Crowd(place(url)) as crowd:
                statuses = [raw_http.read_response(crowd.dial(), timeout=DEADLINE)[0].status for _ in range(8)]
                assert statuses == [101] * 5 + [503] * 3
                crowd.leave(1)
                with stopwatch() as watch:
                    while raw_http.read_response(crowd.dial(), timeout=DEADLINE)[0].status != 101:
                        pass
                assert watch.seconds < 1


def test_connections_wait_while_a_pool_is_full_and_come_in_at_once():
    with served(spawn=3) as program:
        url = program.address()
        with Crowd(place(url)) as crowd:
            assert [is_answered(crowd.dial(), 5) for _ in range(3)] == [True] * 3
            waiting = [crowd.dial() for _ in range(3)]
            assert not is_answered(waiting[0], 0.1)
            crowd.leave(3)
            with stopwatch() as watch:
                assert [is_answered(sock, DEADLINE) for sock in waiting] == [True] * 3
            assert watch.seconds < 1


@pytest.fixture
def server():
    with WebSocketServer(("127.0.0.1", 0), echo) as server:
        server.start()
        yield server


class Failing:
    """A listening socket of which accepting fails with these errors, one after the other."""

    def __init__(self, sock, *codes):
        self._sock = sock
        self.codes = list(codes)

    def __getattr__(self, name):
        return getattr(self._sock, name)

    def _accept(self):
        if self.codes:
            raise OSError(code := self.codes.pop(0), os.strerror(code))
        return self._sock._accept()


TRANSIENT = [errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH]
LASTING = [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EPERM]


@pytest.mark.parametrize("code", TRANSIENT + LASTING, ids=errno.errorcode.get)
def test_whatever_accept_fails_with_the_server_goes_on(server, caplog, code):
    server.socket = Failing(server.socket, *[code] * 5)
    with stopwatch() as watch:
        assert echoed(f"ws://127.0.0.1:{server.address[1]}") == "hello"
    assert watch.seconds < 1
    assert not server.socket.codes
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == (code in LASTING)


def test_an_error_that_nobody_expects_does_not_end_it_either(server, hub_errors):
    server.socket = Failing(server.socket)
    server.socket._accept = iter_errors(MemoryError(), server.socket._sock._accept)
    assert echoed(f"ws://127.0.0.1:{server.address[1]}") == "hello"
    assert [type(error) for _, error in hub_errors] == [MemoryError]
    hub_errors.clear()


def iter_errors(error, then):
    left = [error]

    def accept():
        if left:
            raise left.pop()
        return then()

    return accept


def test_many_resets_before_they_are_accepted_are_passed_over(server):
    server.stop_accepting()
    with ExitStack() as stack:
        for _ in range(50):
            sock = stack.enter_context(socket.create_connection(server.address))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    server.start_accepting()
    assert echoed(f"ws://127.0.0.1:{server.address[1]}") == "hello"
    wait_until(lambda: not server._connections and not server._arrivals)
    assert server.started
