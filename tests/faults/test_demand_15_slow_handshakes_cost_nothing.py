"""Slow or fat handshakes cost nothing: no greenlet, no time of others, and no more than one deadline allows."""

from __future__ import annotations

import resource
import time
from contextlib import suppress

import gevent
import pytest
from serving import echo
from tools import circumstances, raw_http
from tools.links import reset
from tools.measuring import HubHeld
from tools.proxying import ESTABLISHED, Listener, read_request
from tools.scale import times
from tools.tasks import start, start_waiting
from tools.timing import let_hub_run, stopwatch

from geventws import accelerated
from geventws.client import connect
from geventws.http11 import MAX_HEAD_LINES, MAX_HEAD_SIZE, RequestParser, ResponseParser
from geventws.proxy import HTTPConnectAgent

SLOW = min(times(200), 2000)
"""How many clients dribble; each takes two descriptors here."""


@pytest.fixture
def slow_clients(serving):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    made = []
    yield lambda server: [made.append(serving.dial(server)) or made[-1] for _ in range(SLOW)]
    for sock in made:
        reset(sock)
    let_hub_run()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def dribble(socks, stop):
    head = raw_http.request("/" + "x" * 10_000)
    for index in range(len(head)):
        for number, sock in enumerate(socks):
            if stop:
                return
            if number % 50 == 0:
                gevent.sleep(0)
            with suppress(ConnectionError):
                sock.send(head[index : index + 1])
        gevent.sleep(0)


def greenlets():
    import gc

    return sum(isinstance(thing, gevent.Greenlet) and not thing.dead for thing in gc.get_objects())


def test_dribbling_clients_delay_no_good_one(serving, slow_clients):
    server = serving.start()
    serving.open(server).close()
    let_hub_run()
    before = greenlets()
    socks = slow_clients(server)
    let_hub_run()
    assert len(server._arrivals) == SLOW
    assert greenlets() == before
    stop = []
    dribbling = start_waiting(dribble, socks, stop)
    with HubHeld() as held:
        for _ in range(3):
            peer = serving.open(server)
            peer.text("quick")
            assert peer.read_message() == "quick"
            peer.close()
    # gevent's libuv loop is plain Python: where the parser is too, a byte from each takes longer.
    assert held.longest <= (0.1 if circumstances.is_libuv() and not accelerated else 0.05)
    stop.append(True)
    dribbling.result()
    assert len(server._arrivals) == SLOW


def test_dribbling_tls_clients_delay_no_good_one(serving, slow_clients, server_context):
    """Their TLS handshakes wait in greenlets of their own, never where connections are accepted."""
    server = serving.start(ssl_context=server_context)
    for sock in slow_clients(server)[:: max(1, SLOW // 50)]:
        sock.send(b"\x16\x03\x01")
    peer = serving.open(server)
    peer.text("quick")
    assert peer.read_message() == "quick"
    peer.half_close()


def test_each_is_given_up_at_its_deadline(serving, slow_clients):
    server = serving.start(open_timeout=0.2)
    socks = slow_clients(server)
    stop = []
    dribbling = start(dribble, socks, stop)
    let_hub_run()
    with gevent.Timeout(10):
        while server._arrivals:
            gevent.sleep(0.01)
    stop.append(True)
    dribbling.result()
    assert not server._arrivals
    assert not server.clients


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * MAX_HEAD_SIZE,
        raw_http.request()[:-2] + b"X: " + b"v" * MAX_HEAD_SIZE,
        raw_http.request()[:-2] + b"X: v\r\n" * MAX_HEAD_LINES,
    ],
    ids=["request line", "field", "lines"],
)
def test_fat_heads_are_refused_as_soon_as_they_are_too_long(serving, head):
    """They do not end: what is there is enough to see it."""
    server = serving.start()
    sock = serving.dial(server)
    sock.sendall(head)
    response, _ = raw_http.read_response(sock)
    assert response.status in (414, 431)
    assert response.headers["Connection"] == "close"


HEADS = {
    "one long field": lambda size: b"X: " + b"v" * size + b"\r\n",
    "many fields": lambda size: b"X-Name: v\r\n" * min(size // 11, MAX_HEAD_LINES - 10),
    "empty values": lambda size: b"X:" + b" " * size + b"v\r\n",
    "commas": lambda size: b"Connection: Upgrade" + b"," * size + b"\r\n",
    "parameters": lambda size: b"Sec-WebSocket-Extensions: x" + b";a=b" * (size // 4) + b"\r\n",
    "quoted": lambda size: b'Sec-WebSocket-Extensions: x; a="' + b"\\a" * (size // 2) + b'"\r\n',
    "subprotocols": lambda size: b"Sec-WebSocket-Protocol: a" + b",b" * (size // 2) + b"\r\n",
}


def cost(function):
    best = 1.0
    for _ in range(5):
        begin = time.thread_time()
        with suppress(Exception):
            function()
        best = min(best, time.thread_time() - begin)
    return best


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("piece", [1, 20_000])
def test_parsing_is_linear(kind, piece):
    """A quadratic parser would take a hundred times as long for ten times the size; linear is ten times."""

    def parse(size):
        head = raw_http.request()[:-2] + HEADS[kind](size) + b"\r\n"
        parser = RequestParser()
        for start_ in range(0, len(head), piece):
            parser.feed(head[start_ : start_ + piece])

    parse(100)
    short, long = cost(lambda: parse(1500)), cost(lambda: parse(15_000))
    assert long <= 30 * short + 0.002


def test_parsing_an_answer_is_linear():
    def parse(size):
        parser = ResponseParser()
        for byte in b"HTTP/1.1 101 x\r\nX: " + b"v" * size + b"\r\n\r\n":
            parser.feed(bytes((byte,)))

    parse(100)
    assert cost(lambda: parse(15_000)) <= 30 * cost(lambda: parse(1500)) + 0.002


def drip(sock, data=b"x"):
    with suppress(OSError):
        while True:
            sock.sendall(data)
            gevent.sleep(0.02)


def silent(sock):
    sock.recv(100_000)
    gevent.sleep(30)


def dripping_answer(sock):
    read_request(sock)
    sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\n")
    drip(sock, b"X: y\r\n")


def dripping_proxy(sock):
    read_request(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\n")
    drip(sock, b"X: y\r\n")


def silent_behind_the_proxy(sock):
    read_request(sock)
    gevent.sleep(0.1)
    sock.sendall(ESTABLISHED)
    silent(sock)


STAGES = {
    "silent": ("ws", silent, False),
    "dripping answer": ("ws", dripping_answer, False),
    "silent TLS": ("wss", silent, False),
    "silent proxy": ("ws", silent, True),
    "dripping proxy": ("wss", dripping_proxy, True),
    "silent TLS behind a proxy": ("wss", silent_behind_the_proxy, True),
    "silent behind a proxy": ("ws", silent_behind_the_proxy, True),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_client_has_one_deadline_over_all_steps(stage):
    scheme, play, proxied = STAGES[stage]
    listener = Listener(play)
    try:
        url = f"{scheme}://localhost:{listener.port}/"
        proxy = HTTPConnectAgent(f"http://127.0.0.1:{listener.port}") if proxied else None
        with stopwatch() as watch, pytest.raises(TimeoutError):
            connect(url, proxy=proxy, open_timeout=0.3)
        assert 0.29 <= watch.seconds <= 1.5
    finally:
        listener.stop()


def test_good_clients_need_no_more_turns_of_the_hub_beside_slow_ones(serving, slow_clients):
    def turns(server):
        handler = start(serving.open, server)
        count = 0
        while not handler.ready():
            let_hub_run(1)
            count += 1
        handler.result().close()
        return count

    server = serving.start(echo)
    alone = max(turns(server) for _ in range(3))
    slow_clients(server)
    let_hub_run()
    assert min(turns(server) for _ in range(3)) <= alone + 2
