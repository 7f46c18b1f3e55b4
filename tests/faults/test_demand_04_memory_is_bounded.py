"""Memory per connection is bounded by the bytes held, whatever the peer sends and however it cuts it.

What is counted is all that Python allocates: a message of max_size, and 64 KiB for everything else; more only for
a text, and for messages that nobody takes.
"""

from __future__ import annotations

import struct

import pytest
from tools import raw_http, wire
from tools.links import tcp_pair
from tools.measuring import memory
from tools.timing import let_hub_run
from tools.wire import BINARY, CONTINUATION, PING, TEXT

from geventws import accelerated
from geventws.http11 import MAX_HEAD_SIZE
from geventws.websocket import State

LIMIT = 131072
SLACK = 65536
ENOUGH = LIMIT + SLACK
READ = 262144
UNREAD = 65536 + LIMIT + READ
"""What a connection holds where nobody reads: messages for 64 KiB, one more, and the rest of the read with it."""


@pytest.fixture
def connected(open_websocket):
    """Makes connections: a server's WebSocket, and a socket that its client writes to."""
    made = []

    def make():
        client, server = tcp_pair()
        made.append(client)
        client.settimeout(5)
        return open_websocket(server, "server", max_size=LIMIT, max_fragments=200_000, close_timeout=1), client

    make()[0].terminate()  # what a hub has once
    let_hub_run()
    yield make
    for client in made:
        client.close()


def frame(opcode, payload=b"", **bits):
    return wire.frame(opcode, payload, key=b"\1\2\3\4", **bits)


def send(sock, data, piece):
    """Send in pieces, each of which the other side reads on its own; it may have closed."""
    try:
        for start in range(0, len(data), piece):
            sock.sendall(data[start : start + piece])
            let_hub_run(1)
    except ConnectionError:
        pass


BEGUN = frame(BINARY, bytes(1000), fin=False)
INPUTS = {
    "a header byte by byte": (frame(BINARY, length=LIMIT), 1),
    "a message byte by byte": (frame(BINARY, bytes(300), length=LIMIT), 1),
    "an incomplete frame": (frame(BINARY, bytes(LIMIT - 1), length=LIMIT), 1000),
    "an incomplete frame in one piece": (frame(BINARY, bytes(LIMIT - 1), length=LIMIT), LIMIT * 2),
    "empty fragments": (BEGUN + frame(CONTINUATION, fin=False) * 30_000, 30_000),
    "fragments of one byte": (BEGUN + frame(CONTINUATION, b"x", fin=False) * 30_000, 30_000),
    "an endless message": (BEGUN + frame(CONTINUATION, bytes(1000), fin=False) * 1000, 30_000),
    "an endless text": (frame(TEXT, b"x", fin=False) + frame(CONTINUATION, b"x" * 1000, fin=False) * 1000, 30_000),
    "a length of 2^63 - 1": (frame(BINARY, bytes(5000), length=2**63 - 1), 100),
    "a length of 2^63": (b"\x82\xff" + struct.pack("!Q", 2**63) + bytes(5000), 100),
    "pings": (frame(PING, bytes(125)) * 3000, 30_000),
    "pings between fragments": (BEGUN + (frame(PING, bytes(125)) + frame(CONTINUATION, fin=False)) * 3000, 30_000),
}


@pytest.mark.parametrize("what", INPUTS)
def test_of_a_message_that_never_ends(connected, what):
    data, piece = INPUTS[what]
    _ws, client = connected()
    with memory() as seen:
        send(client, data, piece)
        let_hub_run()
    # The test's own pieces, and in plain Python copies of what is unmasked at once.
    own = min(piece, 30_000 if accelerated else LIMIT) * 2
    assert seen.peak <= ENOUGH + own


@pytest.mark.parametrize("size", [0, 1, 100, 10_000, 65_000, LIMIT])
def test_of_messages_that_nobody_takes(connected, size):
    ws, client = connected()
    count = 2_000_000 // (size + 50)
    flood = frame(BINARY, bytes(size)) * count
    client.settimeout(0.05)
    with memory() as seen:
        try:
            client.sendall(flood)
        except TimeoutError:
            pass
        let_hub_run()
        assert ws._protocol.is_suspended()
    assert seen.peak <= UNREAD + SLACK


HALVES = frame(BINARY, bytes(LIMIT // 2), fin=False) + frame(CONTINUATION, bytes(LIMIT // 2))


@pytest.mark.parametrize("data", [frame(BINARY, bytes(LIMIT)), HALVES], ids=["one frame", "two frames"])
def test_of_a_message_when_it_is_handed_out(connected, data):
    ws, client = connected()
    with memory() as seen:
        send(client, data, 10_000)
        assert len(ws.recv(5)) == LIMIT
    assert seen.peak <= ENOUGH + 20_000


@pytest.mark.parametrize("character", ["x", "\xfc", "\u4e16", "\U0001f600"])
def test_of_a_text_when_it_is_handed_out(connected, character):
    """A str has up to four bytes for each byte of UTF-8; Python's decoder has the bytes and one more copy beside it."""
    ws, client = connected()
    text = character * (LIMIT // len(character.encode()))
    data = frame(TEXT, text.encode())
    with memory() as seen:
        send(client, data, 10_000)
        assert ws.recv(5) == text
    assert seen.peak <= 6 * LIMIT + SLACK


def test_of_a_hundred_connections_at_once(connected):
    pairs = [connected() for _ in range(100)]
    begun = frame(BINARY, bytes(20_000), length=LIMIT)
    with memory() as seen:
        for _, client in pairs:
            client.sendall(begun)
        let_hub_run()
    assert seen.peak <= 100 * (20_000 + 20_000 // 8 + 2048) + SLACK


def test_of_a_hundred_connections_that_announce_much(connected):
    pairs = [connected() for _ in range(100)]
    with memory() as seen:
        for _, client in pairs:
            client.sendall(frame(BINARY, b"x", length=LIMIT))
        let_hub_run()
    assert seen.peak <= 100 * 1024 + SLACK
    assert all(ws.state is State.OPEN for ws, _ in pairs)


@pytest.mark.parametrize("line", [b"X-Header: value\r\n", b"X: " + b"v" * 8000 + b"\r\n", b"x" * 1000])
def test_of_an_endless_head(serving, line):
    server = serving.start()
    serving.open(server).close()
    sock = serving.dial(server)
    head = raw_http.request()[:-2] + line * 200
    with memory() as seen:
        send(sock, head, 500)
        let_hub_run()
    assert seen.peak <= 3 * MAX_HEAD_SIZE + SLACK


def test_of_a_hundred_heads_that_never_end(serving):
    server = serving.start()
    serving.open(server).close()
    socks = [serving.dial(server) for _ in range(100)]
    head = raw_http.request()[:-2] + b"X: " + b"v" * 4000
    with memory() as seen:
        for sock in socks:
            send(sock, head, 1000)
    assert seen.peak <= 100 * 3 * len(head) + SLACK
