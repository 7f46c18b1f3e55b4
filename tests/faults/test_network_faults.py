"""What a network may do to a connection: end it, half or whole, reset it or stall behind any byte.

Whole messages are received, parts of one are not; everybody who waits is told; nothing is left.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from gevent import socket
from serving import echo
from streams import decoding, stream_of
from tools import raw_http, wire
from tools.endpoint import make_websocket
from tools.links import half_close, reset, unix_pair
from tools.proxying import Listener, read_request
from tools.scale import DONE
from tools.timing import let_hub_run, wait_until
from tools.wire import TEXT

from geventws.client import connect
from geventws.deflate import Parameters
from geventws.exceptions import ConnectionClosed, HandshakeError
from geventws.frames import Side


def whole_messages(side, compressed, stream):
    """For each number of bytes, how many messages are whole in the stream's first so many; and all the messages."""
    protocol = decoding(side, compressed)
    counts = [0]
    for byte in stream:
        protocol.receive(bytearray((byte,)), 1)
        counts.append(len(protocol.messages))
    return counts, [protocol.take() for _ in range(len(protocol.messages))]


ENOUGH = 4200
"""The first so many bytes of a stream are more than 4 KiB, and have all but its last message in them."""
ENDS = {"end": lambda sock: sock.close(), "half-close": half_close, "reset": reset}


def receive_all(ws):
    """The messages, and what said that there will be no more."""
    seen = []
    try:
        while True:
            seen.append(ws.recv(timeout=5))
    except ConnectionClosed as error:
        return seen, error


@pytest.mark.parametrize(
    ("end", "compressed"),
    [("end", False), ("end", True), ("half-close", False), ("reset", False), ("reset", True)],
    ids=["end-plain", "end-compressed", "half-close-plain", "reset-plain", "reset-compressed"],
)
def test_the_stream_may_end_behind_any_byte_of_a_frame(role, end, compressed):
    side = Side(role)
    stream = stream_of(side, compressed)[:ENOUGH]
    counts, messages = whole_messages(side, compressed, stream)
    assert counts[-1] == len(messages) == 6
    for offset, count in enumerate(counts):
        mine, other = unix_pair()
        ws = make_websocket(mine, role, deflate=Parameters() if compressed else None)
        other.sendall(stream[:offset])
        ENDS[end](other)
        seen, error = receive_all(ws)
        assert seen == messages[:count]
        assert error.rcvd is None
        ws.terminate()
        other.close()
    DONE[f"network faults: {end} within frames"] += len(counts)


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
def test_the_stream_may_stall_behind_any_byte_of_a_frame(role, compressed):
    """What is whole by then can be received, the rest when it goes on."""
    side = Side(role)
    stream = stream_of(side, compressed)
    counts, messages = whole_messages(side, compressed, stream)
    step = 1000
    for begin in range(step):
        offsets = [*range(begin, len(stream), step), len(stream)]
        mine, other = unix_pair()
        ws = make_websocket(mine, role, deflate=Parameters() if compressed else None)
        seen = []
        for start, stop in pairwise([0, *offsets]):
            other.sendall(stream[start:stop])
            let_hub_run(1)
            while len(seen) < counts[stop]:
                seen.append(ws.recv(timeout=0))
            with pytest.raises(TimeoutError):
                ws.recv(timeout=0)
        assert seen == messages
        ws.terminate()
        other.close()
    DONE["network faults: stall within frames"] += len(stream)


@pytest.mark.parametrize("end", ["end", "reset"])
def test_a_server_survives_an_end_behind_any_byte_of_the_request(serving, end):
    server = serving.start(echo, close_timeout=1)
    request = raw_http.request() + wire.frame(TEXT, b"early", key=b"abcd")
    for offset in range(len(request)):
        sock = socket.create_connection(server.address, timeout=5)
        sock.sendall(request[:offset])
        if end == "reset":
            reset(sock)
        sock.close()
    wait_until(lambda: not server._connections and not server._arrivals)
    DONE[f"network faults: {end} within requests"] += len(request)
    peer = serving.open(server)
    peer.text("still here")
    assert peer.read_message() == "still here"
    peer.close()


@pytest.mark.parametrize("end", ["end", "reset"])
def test_a_client_is_told_of_an_end_behind_any_byte_of_the_answer(end):
    length = len(raw_http.answer(raw_http.KEY))
    offsets = iter(range(length))

    def play(sock):
        key = read_request(sock).split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0].decode()
        sock.sendall(raw_http.answer(key)[: next(offsets)])
        if end == "reset":
            reset(sock)

    listener = Listener(play)
    for _ in range(length):
        with pytest.raises((OSError, HandshakeError)):
            connect(f"ws://127.0.0.1:{listener.port}/", open_timeout=5)
    listener.stop()
    DONE[f"network faults: {end} within answers"] += length
