"""No ending leaks: whichever way a connection ends, descriptors, greenlets, watchers and objects are as before.

And it is freed by its last reference, not by the garbage collector, which rests meanwhile.
"""

from __future__ import annotations

import gc
import logging
import os
import tracemalloc
import weakref
from collections import Counter
from contextlib import suppress

import gevent
import pytest
from serving import echo
from tools import raw_http
from tools.leaks import Snapshot
from tools.links import reset
from tools.proxying import Listener
from tools.scale import DONE, SCALE, times
from tools.timing import let_hub_run, wait_until

from geventws import accelerated
from geventws.client import connect
from geventws.exceptions import ConnectionClosed, HandshakeError, ProxyError
from geventws.proxy import HTTPConnectAgent

CYCLES = 25 if SCALE == 1 else times(100)
WARM_UP = 5


class Site:
    """A server, a client's context, and the WebSockets that there have been."""

    def __init__(self, serving, client_context, server_context):
        self.serving = serving
        self.client_context = client_context
        self.plain = serving.start(self.handle, close_timeout=1, open_timeout=2)
        self.secure = serving.start(self.handle, close_timeout=1, ssl_context=server_context)
        self.proxy = Listener(lambda sock: sock.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"))
        self.seen = []
        self.program = echo

    def handle(self, ws):
        self.seen.append(weakref.ref(ws))
        self.program(ws)

    def connect(self, **options):
        ws = connect(f"ws://127.0.0.1:{self.plain.address[1]}/", close_timeout=1, **options)
        self.seen.append(weakref.ref(ws))
        return ws

    def peer(self):
        sock = gevent.socket.create_connection(self.plain.address, timeout=5)
        sock.sendall(raw_http.request())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(1)
        return sock


def fail(ws):
    raise ValueError("a fault of the handler")


def receive_all(ws):
    with suppress(ConnectionClosed):
        for _ in ws:
            pass


def closed_by_the_client(site):
    with site.connect() as ws:
        ws.send("x")
        ws.recv()


def closed_by_the_server(site):
    site.program = lambda ws: ws.send("x")
    receive_all(site.connect())


def reset_by_the_client(site):
    reset(site.peer())


def end_within_a_frame(site):
    with site.peer() as sock:
        sock.sendall(b"\x82\xfe\x01")


def silence(site):
    site.program = lambda ws: (ws.pause(), gevent.sleep(0.02))
    ws = site.connect(ping_interval=0.001, ping_timeout=0.002)
    with suppress(ConnectionClosed):
        ws.recv()


def timeout(site):
    ws = site.connect()
    with suppress(gevent.Timeout), gevent.Timeout(0.001):
        ws.recv()
    with suppress(TimeoutError):
        ws.recv(timeout=0.001)
    ws.close()


def kill(site):
    ws = site.connect()
    waiting = gevent.spawn(ws.recv)
    gevent.sleep(0)
    waiting.kill()
    waiting = gevent.spawn(receive_all, ws)
    gevent.sleep(0)
    ws.terminate()
    waiting.join()


def killed_handler(site):
    ws = site.connect()
    wait_until(lambda: site.plain._connections)
    gevent.killall(list(site.plain._connections))
    receive_all(ws)


def violation(site):
    with site.peer() as sock:
        sock.sendall(b"\xff\xff")
        while sock.recv(100):
            pass


def error_of_the_handler(site):
    site.program = fail
    receive_all(site.connect())


def refusal(site):
    with suppress(HandshakeError):
        site.connect(origin="http://elsewhere.example")
    with gevent.socket.create_connection(site.plain.address, timeout=5) as sock:
        sock.sendall(raw_http.request(headers={"Sec-WebSocket-Version": "99"}))
        while sock.recv(1000):
            pass


def tls_abort(site):
    with gevent.socket.create_connection(site.secure.address, timeout=5) as sock:
        sock.sendall(b"\x16\x03\x01\x00\x05hello")
        with suppress(ConnectionError):
            sock.recv(100)
    with suppress(OSError):
        connect(f"wss://127.0.0.1:{site.secure.address[1]}/")  # which does not trust it


def closed_over_tls(site):
    with connect(f"wss://localhost:{site.secure.address[1]}/", ssl_context=site.client_context) as ws:
        site.seen.append(weakref.ref(ws))
        ws.send("x")
        ws.recv()


def proxy_failure(site):
    with suppress(ProxyError):
        connect("ws://elsewhere.example/", proxy=HTTPConnectAgent(f"http://127.0.0.1:{site.proxy.port}"))


def cut_short_compressed(site):
    ws = site.connect(compression=True)
    ws.send("x" * 200_000)
    ws.terminate()


def fork(site):
    ws = site.connect()
    child = gevent.os.fork()
    if child == 0:
        os._exit(0)
    gevent.os.waitpid(child, 0)
    gevent.os._watched_children.pop(child, None)  # gevent remembers for a minute how it ended
    ws.close()


ENDINGS = [
    closed_by_the_client,
    closed_by_the_server,
    reset_by_the_client,
    end_within_a_frame,
    silence,
    timeout,
    kill,
    killed_handler,
    violation,
    error_of_the_handler,
    refusal,
    tls_abort,
    closed_over_tls,
    proxy_failure,
    cut_short_compressed,
    pytest.param(fork, marks=pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")),
]


@pytest.fixture
def site(serving, client_context, server_context):
    made = Site(serving, client_context, server_context)
    yield made
    made.proxy.stop()


def idle(site):
    return not (site.plain._connections or site.plain._arrivals or site.secure._connections)


def kinds():
    return Counter(type(thing) for thing in gc.get_objects())


def grown(before, count):
    """The types of which there are as many more as there were cycles, or nearly."""
    return {kind: now - before[kind] for kind, now in kinds().items() if now - before[kind] > count // 2 + 5}


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_is_left(site, ending, caplog, monkeypatch):
    def cycles(count):
        for _ in range(count):
            site.program = echo
            ending(site)
        wait_until(lambda: idle(site))
        let_hub_run()

    caplog.set_level(logging.CRITICAL, "geventws")  # pytest keeps what is logged, with the frames of its traceback
    monkeypatch.setattr(Listener, "_serve", _serve_and_forget)
    cycles(WARM_UP)
    site.seen.clear()
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):  # what others fill once, such as caches, does not grow each time, as a leak does
            snapshot, before = Snapshot(), kinds()
            cycles(CYCLES)
            alive = [ws for ws in site.seen if ws() is not None]
            assert not alive, f"{len(alive)} of {len(site.seen)} WebSockets are alive"
            site.seen.clear()
            assert not snapshot.settle()
            left = grown(before, CYCLES)
            if not left:
                break
        assert not left
    finally:
        gc.enable()
    DONE[f"cycles of {ending.__name__}"] += CYCLES


def _serve_and_forget(self, sock):
    with suppress(OSError, EOFError), sock:
        self._play(sock)
    self._sockets.remove(sock)
    self._greenlets.remove(gevent.getcurrent())


def test_memory_after_many_connections_is_what_it_was_before(serving):
    """What is reserved once, such as the ranges of a freelist, is so in the warming up."""
    server = serving.start(close_timeout=1)

    def cycles(count):
        for _ in range(count):
            cycle()
        wait_until(lambda: not server._connections)
        let_hub_run()
        gc.collect()

    def cycle():
        with connect(f"ws://127.0.0.1:{server.address[1]}/") as ws:
            ws.send(b"x" * 3000)
            ws.recv()

    cycles(20)
    tracemalloc.start()
    try:
        cycles(5)
        before, _ = tracemalloc.get_traced_memory()
        cycles(times(50))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    caches = 16384 if accelerated else 131072  # what masks in plain Python keeps some patterns
    assert after - before < caches + 64 * times(50)
