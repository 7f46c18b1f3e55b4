"""Bytes that come with the opening handshake are kept: wherever the network cuts them, the first frames are received.

The cuts are real: the other side reads what is before a cut on its own. Where nothing is cut, all comes in one read.
"""

from __future__ import annotations

import random
from functools import partial

import pytest
from gevent import socket
from tools import raw_http, wire
from tools.checker import StreamChecker
from tools.numbered import numbered, numbers
from tools.tasks import start
from tools.timing import let_hub_run, wait_until
from tools.wire import BINARY, CLOSE, CONTINUATION, PING, RSV1, TEXT

from geventws.client import connect
from geventws.compression import Compressor
from geventws.deflate import Parameters, PerMessageDeflate
from geventws.exceptions import ConnectionClosedError
from geventws.frames import Side
from geventws.http11 import RequestParser
from geventws.server import WebSocketServer

MESSAGES = ["héllo", bytes(range(130)), "", "in three parts", b"last"]
PARTS = [b"in ", b"three", b" parts"]


def first_frames(masked):
    """Frames of every kind, with each form of a header that fits, and a close frame behind them."""
    frame = partial(wire.frame, key=b"\x01\x80\xfe\x37" if masked else None)
    return b"".join(
        [
            frame(TEXT, MESSAGES[0].encode()),
            frame(BINARY, MESSAGES[1]),
            frame(TEXT),
            frame(TEXT, PARTS[0], fin=False),
            frame(PING, b"between"),
            frame(CONTINUATION, PARTS[1], fin=False),
            frame(CONTINUATION, PARTS[2]),
            frame(BINARY, MESSAGES[4]),
            frame(CLOSE, wire.close_payload(4000, "done")),
        ]
    )


REQUEST = raw_http.request()
FROM_CLIENT = REQUEST + first_frames(masked=True)
FROM_SERVER = raw_http.answer(raw_http.KEY) + first_frames(masked=False)  # the length is the same with each key


def cuts_near_the_head(stream, head):
    """The first byte, and a few around the end of the head."""
    return sorted({1, len(stream) - 1, *(head + offset for offset in range(-5, 8)), head + 20})


class Wire:
    """Reaches the listeners of one kind of transport, as a server and as a client."""

    def __init__(self, transport, folder, server_context, client_context):
        self.transport = transport
        self.path = str(folder / "socket")
        self.server_context = server_context if transport == "tls" else None
        self.client_context = client_context

    def listen(self):
        unix = self.transport == "unix"
        listener = socket.socket(socket.AF_UNIX if unix else socket.AF_INET, socket.SOCK_STREAM)
        listener.bind(self.path if unix else ("127.0.0.1", 0))
        listener.listen()
        return listener

    def accept(self, listener):
        sock, _ = listener.accept()
        return self.server_context.wrap_socket(sock, server_side=True) if self.server_context else sock

    def dial(self, address):
        sock = socket.socket(socket.AF_UNIX if self.transport == "unix" else socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(5)
        sock.connect(address)
        if self.transport == "tls":
            sock = self.client_context.wrap_socket(sock, server_hostname="localhost")
        else:
            no_delay(sock)
        return sock

    def url(self, address):
        if self.transport == "unix":
            return f"ws+unix:{address}:/"
        return f"{'wss' if self.transport == 'tls' else 'ws'}://localhost:{address[1]}/"


def no_delay(sock):
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def send_apart(sock, pieces):
    """Send each piece when the one before has been read."""
    for piece in pieces:
        sock.sendall(piece)
        let_hub_run(2)


@pytest.fixture
def way(transport, tmp_path, server_context, client_context):
    return Wire(transport, tmp_path, server_context, client_context)


def receive_all(ws):
    """The messages, and the close code behind them."""
    messages = []
    try:
        while True:
            messages.append(ws.recv(timeout=5))
    except ConnectionClosedError as error:
        return messages, error.code


@pytest.fixture
def serve(way):
    """Plays a client: sends the pieces to a server, and gives what the handler received and what came back."""
    received = []
    listener = way.listen()
    address = listener.getsockname()
    server = WebSocketServer(
        listener, lambda ws: received.append(receive_all(ws)), ssl_context=way.server_context, compression=True
    )
    server.start()

    def play(pieces, apart=True):
        sock = way.dial(address)
        with sock:
            if apart:
                send_apart(sock, pieces)
            else:
                for piece in pieces:
                    sock.sendall(piece)
            response, rest = raw_http.read_response(sock)
            assert response.status == 101
            checker = StreamChecker(masked=False)
            checker.feed(rest)
            while checker.closed is None and (data := sock.recv(65536)):
                checker.feed(data)
        assert [frame.payload for frame in checker.frames if frame.opcode == wire.PONG] == [b"between"]
        assert checker.closed == (4000, "done")
        wait_until(lambda: received)
        return received.pop()

    yield play
    server.stop(timeout=1)


@pytest.fixture
def ask(way):
    """Plays a server: answers a client's request with a stream that is cut, and gives what the client received."""
    listener = way.listen()
    address = listener.getsockname()

    def answer(frames, cuts, apart, lines, stays):
        sock = way.accept(listener)
        with sock:
            sock.settimeout(5)
            no_delay(sock)
            parser = RequestParser()
            while (request := parser.feed(sock.recv(65536))) is None:
                pass
            stream = raw_http.answer(request.headers["Sec-WebSocket-Key"], *lines) + frames
            pieces = wire.split_at(stream, cuts(stream) if callable(cuts) else cuts)
            if apart:
                send_apart(sock, pieces)
            else:
                for piece in pieces:
                    sock.sendall(piece)
            while stays and sock.recv(65536):
                pass

    def play(cuts, *, frames=None, apart=True, lines=(), stays=True, **options):
        answering = start(answer, first_frames(masked=False) if frames is None else frames, cuts, apart, lines, stays)
        ws = connect(way.url(address), ssl_context=way.client_context if way.server_context else None, **options)
        try:
            return receive_all(ws)
        finally:
            ws.terminate()
            answering.join(5)

    yield play
    listener.close()


EXPECTED = (MESSAGES, 4000)
tcp_only = pytest.mark.parametrize("transport", ["tcp"])
tls_and_unix = pytest.mark.parametrize("transport", ["tls", "unix"])
tls_only = pytest.mark.parametrize("transport", ["tls"])


class TestServer:
    def test_of_a_stream_that_comes_whole(self, serve):
        assert serve([FROM_CLIENT]) == EXPECTED

    @tcp_only
    def test_of_a_stream_that_is_cut_anywhere(self, serve):
        for cut in range(1, len(FROM_CLIENT)):
            assert serve([FROM_CLIENT[:cut], FROM_CLIENT[cut:]]) == EXPECTED, cut

    @tls_and_unix
    def test_of_a_stream_that_is_cut_near_the_end_of_the_head(self, serve):
        for cut in cuts_near_the_head(FROM_CLIENT, len(REQUEST)):
            assert serve([FROM_CLIENT[:cut], FROM_CLIENT[cut:]]) == EXPECTED, cut

    @tls_only
    def test_of_tls_records_that_come_together(self, serve):
        for cut in cuts_near_the_head(FROM_CLIENT, len(REQUEST)):
            assert serve([FROM_CLIENT[:cut], FROM_CLIENT[cut:]], apart=False) == EXPECTED, cut

    @tcp_only
    def test_of_a_stream_that_comes_byte_by_byte_or_in_random_pieces(self, serve):
        for pieces in wire.splits(FROM_CLIENT, rounds=50):
            assert serve(pieces) == EXPECTED


class TestClient:
    def test_of_a_stream_that_comes_whole(self, ask):
        assert ask([]) == EXPECTED

    @tcp_only
    def test_of_a_stream_that_is_cut_anywhere(self, ask):
        for cut in range(1, len(FROM_SERVER)):
            assert ask([cut]) == EXPECTED, cut

    @tls_and_unix
    def test_of_a_stream_that_is_cut_near_the_end_of_the_head(self, ask):
        for cut in cuts_near_the_head(FROM_SERVER, len(raw_http.answer(raw_http.KEY))):
            assert ask([cut]) == EXPECTED, cut

    @tls_only
    def test_of_tls_records_that_come_together(self, ask):
        for cut in cuts_near_the_head(FROM_SERVER, len(raw_http.answer(raw_http.KEY))):
            assert ask([cut], apart=False) == EXPECTED, cut

    @tcp_only
    def test_of_a_stream_that_comes_byte_by_byte_or_in_random_pieces(self, ask):
        chance = random.Random(1)
        assert ask(list(range(1, len(FROM_SERVER)))) == EXPECTED
        for _ in range(50):
            assert ask(chance.sample(range(1, len(FROM_SERVER)), 5)) == EXPECTED


def test_what_was_read_before_and_what_tls_still_holds_are_received(make_link, open_websocket, role):
    """A program that reads the handshake itself may stop reading anywhere, also within a TLS record."""
    stream = first_frames(masked=role == "server")
    for size in range(0, len(stream), 7):
        links = dict(zip(("client", "server"), make_link(), strict=True))
        sock = links.pop(role)
        (other,) = links.values()
        other.sendall(stream)
        ws = open_websocket(sock, role, head=sock.recv(size) if size else b"")
        assert start(receive_all, ws).result() == EXPECTED, size


@pytest.mark.parametrize("count", [100, 3000])
def test_many_messages_that_come_with_the_request_are_all_received(serve, count):
    """More than a connection holds of messages that nobody has taken, and more than it reads at once."""
    messages = [numbered(number, 100) for number in range(count)]
    frames = b"".join(wire.frame(BINARY, message, key=b"\x01\x02\x03\x04") for message in messages)
    end = wire.frame(PING, b"between", key=bytes(4))
    end += wire.frame(CLOSE, wire.close_payload(4000, "done"), key=bytes(4))
    received, code = serve([REQUEST + frames + end])
    assert numbers(received) == list(range(count))
    assert code == 4000


@pytest.mark.parametrize("count", [100, 3000])
def test_many_messages_that_come_with_the_answer_are_all_received(ask, count):
    frames = b"".join(wire.frame(BINARY, numbered(number, 100)) for number in range(count))
    frames += wire.frame(CLOSE, wire.close_payload(4000, "done"))
    received, code = ask([], frames=frames)
    assert numbers(received) == list(range(count))
    assert code == 4000


@tcp_only
def test_a_large_message_that_begins_with_the_request_is_received_whole(serve):
    message = numbered(1, 900_000)
    frame = wire.frame(BINARY, message, key=b"\x01\x02\x03\x04")
    end = wire.frame(PING, b"between", key=bytes(4))
    end += wire.frame(CLOSE, wire.close_payload(4000, "done"), key=bytes(4))
    stream = REQUEST + frame + end
    for cut in (len(REQUEST) + 1, len(REQUEST) + 15, 16384, 65536, 500_000):
        assert serve([stream[:cut], stream[cut:]]) == ([message], 4000)


@tcp_only
def test_compressed_messages_that_come_with_the_answer_are_inflated(ask):
    compressor = Compressor(Parameters(), PerMessageDeflate(), Side.SERVER)
    texts = ["again and again " * 30, "again and again " * 30, "é" * 500]
    frames = b"".join(wire.frame(TEXT, compressor.compress(text.encode()), rsv=RSV1) for text in texts)
    frames += wire.frame(CLOSE, wire.close_payload(4000))
    lines = ("Sec-WebSocket-Extensions: permessage-deflate",)
    head = len(raw_http.answer(raw_http.KEY, *lines))
    for cut in range(head - 3, head + len(frames)):
        assert ask([cut], frames=frames, lines=lines, compression=True) == (texts, 4000), cut


@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_messages_are_received_though_the_server_ended_the_stream_with_its_answer(ask):
    frames = wire.frame(TEXT, b"one") + wire.frame(TEXT, b"two")
    for cut in range(12):
        received = ask(lambda stream, cut=cut: [len(stream) - cut], frames=frames, stays=False)
        assert received == (["one", "two"], 1006), cut
