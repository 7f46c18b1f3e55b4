"""The last message arrives: what came before the end can be received, and what was sent before close() precedes it.

Each test ends with ConnectionClosed, or with the peer's end of the stream, so that the last message is really the last.
"""

from __future__ import annotations

import random
import zlib
from contextlib import closing
from itertools import count

import gevent
import pytest
from tools.numbered import identify, numbered, numbers
from tools.scale import DONE, times
from tools.tasks import start, start_waiting
from tools.timing import let_hub_run, wait_until
from tools.wire import BINARY, CLOSE, PING, PONG, RSV1, close_payload, split_at

from geventws.client import connect
from geventws.deflate import Parameters, PerMessageDeflate
from geventws.events import State
from geventws.exceptions import ConnectionClosed
from geventws.server import WebSocketServer

NARROW = 4096
SIZES = (16, 100, 125, 126, 1000, 5000)
COMPRESSION = pytest.mark.parametrize("deflate", [None, Parameters()], ids=["plain", "compressed"])
tcp_and_tls = pytest.mark.parametrize("transport", ["tcp", "tls"])
tcp_only = pytest.mark.parametrize("transport", ["tcp"])


def compressible(number, size):
    """A numbered message that deflate can do something about."""
    return numbered(number, 50) * (size // 50 + 1)


class Script:
    """What a peer sends: numbered messages, compressed one after the other where that was agreed."""

    def __init__(self, peer, deflate, chance):
        self.peer = peer
        self.chance = chance
        self.deflater = zlib.compressobj(wbits=-15) if deflate else None

    def message(self, data):
        if self.deflater is None:
            return self.peer.frame(BINARY, data)
        data = self.deflater.compress(data) + self.deflater.flush(zlib.Z_SYNC_FLUSH)
        return self.peer.frame(BINARY, data[:-4], rsv=RSV1)

    def messages(self, amount):
        return b"".join(self.message(numbered(number, self.chance.choice(SIZES))) for number in range(amount))

    def close(self):
        return self.peer.frame(CLOSE, close_payload(4000, "done"))


def receive_all(ws):
    """What is received before ConnectionClosed, and its code."""
    received = []
    try:
        while True:
            received.append(ws.recv(timeout=5))
    except ConnectionClosed as error:
        return received, error.code


def iterate(ws):
    received = []
    try:
        received.extend(ws)
        return received, ws.close_code
    except ConnectionClosed as error:
        return received, error.code


def receive_streams(ws):
    received = []
    try:
        while True:
            received.append(b"".join(ws.recv_streaming()))
    except ConnectionClosed as error:
        return received, error.code


RECEIVING = [receive_all, iterate, receive_streams]
ENDS = ["close frame", "close frame and end", "end", "truncation"]


def end_stream(peer, end):
    if end == "truncation":
        peer.truncate()
    elif end != "close frame":
        peer.half_close()


class TestReceived:
    """What the peer sent before its close frame, or before it ended the stream."""

    @tcp_and_tls
    @COMPRESSION
    @pytest.mark.parametrize("end", ENDS)
    def test_in_one_piece_or_in_many(self, make_pair, end, deflate):
        chance = random.Random(end)
        for run in range(6):
            ws, peer = make_pair(deflate=deflate)
            script = Script(peer, deflate, chance)
            amount = chance.randint(1, 6)
            stream = script.messages(amount) + (script.close() if "close" in end else b"")
            pieces = split_at(stream, chance.sample(range(1, len(stream)), min(run, 6)))
            receive = RECEIVING[run % 3]
            early = start(receive, ws) if run % 2 else None
            peer.send_pieces(pieces)
            end_stream(peer, end)
            received, code = (early or start(receive, ws)).result()
            assert numbers(received) == list(range(amount))
            assert code == (4000 if "close" in end else 1006)
            peer.close()

    @tcp_only
    @COMPRESSION
    @pytest.mark.parametrize("end", ENDS)
    def test_by_a_reader_that_comes_when_all_is_over(self, make_pair, end, deflate):
        """It is more than a connection holds, so that the rest waits in the kernel or with the peer."""
        ws, peer = make_pair(deflate=deflate)
        script = Script(peer, deflate, random.Random(end))
        stream = script.messages(150) + (script.close() if "close" in end else b"")
        sending = start(peer.send_bytes, stream)
        wait_until(lambda: ws._protocol.is_suspended())
        let_hub_run()
        receiving = start(receive_all, ws)
        sending.result()
        end_stream(peer, end)
        received, code = receiving.result()
        assert numbers(received) == list(range(150))
        assert code == (4000 if "close" in end else 1006)
        peer.close()

    @tcp_only
    @pytest.mark.parametrize("end", ENDS)
    def test_after_a_pause(self, make_pair, end):
        ws, peer = make_pair()
        ws.pause()
        script = Script(peer, None, random.Random(end))
        peer.send_bytes(script.messages(20) + (script.close() if "close" in end else b""))
        end_stream(peer, end)
        let_hub_run()
        ws.resume()
        received, code = receive_all(ws)
        assert numbers(received) == list(range(20))
        assert code == (4000 if "close" in end else 1006)

    @tcp_only
    @pytest.mark.parametrize("end", ENDS)
    def test_a_large_last_message_that_is_inflated_in_a_thread(self, make_pair, end):
        deflate = Parameters()
        ws, peer = make_pair(deflate=deflate, max_size=None)
        script = Script(peer, deflate, random.Random(0))
        last = compressible(1, 2_000_000)
        stream = script.message(numbered(0)) + script.message(last) + (script.close() if "close" in end else b"")
        receiving = start(receive_all, ws)
        peer.send_bytes(stream)
        end_stream(peer, end)
        received, code = receiving.result()
        assert received == [numbered(0), last]
        assert code == (4000 if "close" in end else 1006)
        peer.close()

    def test_though_the_peer_left_before_the_pings_between_were_answered(self, make_pair):
        """The answers cannot be written any more, which is no reason to give up what can be read."""
        ws, peer = make_pair()
        script = Script(peer, None, random.Random(0))
        stream = b"".join(
            script.message(numbered(number, 5000)) + peer.frame(PING, b"%d" % number) for number in range(40)
        )
        sending = start(peer.send_bytes, stream + script.close())
        wait_until(lambda: ws._protocol.is_suspended() or sending.ready())
        receiving = start(receive_all, ws)
        sending.result()
        peer.half_close()
        received, code = receiving.result()
        assert numbers(received) == list(range(40))
        assert code == 4000
        peer.read_close()
        assert all(frame.opcode in (PONG, CLOSE) for frame in peer.checker.frames)

    def test_after_the_connection_has_ended(self, make_pair):
        ws, peer = make_pair()
        peer.send_bytes(Script(peer, None, random.Random(0)).messages(5))
        peer.half_close()
        wait_until(lambda: ws.state is State.CLOSED)
        received, code = receive_all(ws)
        assert numbers(received) == list(range(5))
        assert code == 1006

    def test_when_both_sides_close_at_once(self, make_pair):
        ws, peer = make_pair()
        script = Script(peer, None, random.Random(0))
        closing_ = start_waiting(ws.close)
        peer.send_bytes(script.messages(10) + script.close())
        assert peer.read_close() == (1000, "")
        peer.half_close()
        closing_.result()
        received, code = receive_all(ws)
        assert numbers(received) == list(range(10))
        assert code == 4000


def read_slowly(peer):
    """To the end of the stream, which must be in order."""
    while peer.read_some(3000):
        gevent.sleep(0)
    peer.checker.finish()


def answer_close(peer):
    read_until_close(peer)
    peer.send_close()
    peer.half_close()
    peer.read_eof()


def read_until_close(peer):
    while peer.checker.closed is None:
        assert peer.read_some(3000), "the stream has ended without a close frame"
        gevent.sleep(0)


class TestSent:
    """What was sent before the close frame."""

    @tcp_and_tls
    @COMPRESSION
    def test_before_close(self, make_pair, deflate):
        chance = random.Random(3)
        for run in range(6):
            ws, peer = make_pair(buffers=NARROW if run % 2 else None, deflate=deflate)
            amount = chance.randint(1, 8)
            for number in range(amount):
                ws.send(numbered(number, chance.choice(SIZES)))
            answering = start(answer_close, peer)
            ws.close()
            answering.result()
            assert numbers(peer.checker.messages) == list(range(amount))
            assert peer.checker.closed == (1000, "")

    @tcp_only
    @COMPRESSION
    @pytest.mark.parametrize("how", ["with", "fragments", "answers", "answer to the close frame"])
    def test_however_the_connection_is_closed(self, make_pair, deflate, how):
        ws, peer = make_pair(deflate=deflate)
        if how == "with":
            ending = start(send_and_leave, ws)
        elif how == "fragments":
            message = numbered(0, 90_000)
            ws.send(message[start_:][:30_000] for start_ in range(0, 90_000, 30_000))
            ending = start(ws.close)
        elif how == "answers":
            peer.send_bytes(b"".join(peer.frame(BINARY, b"ask") for _ in range(3)))
            ending = start(answer_and_close, ws)
        else:
            ws.send(numbered(0))
            peer.send_close()
            ending = start(ws.wait_closed)
        if how == "answer to the close frame":
            read_until_close(peer)
            peer.half_close()
            peer.read_eof()
        else:
            start(answer_close, peer).result()
        ending.result()
        assert numbers(peer.checker.messages) == (list(range(3)) if how == "answers" else [0])

    @tcp_and_tls
    def test_in_a_cork_that_is_still_open(self, make_pair):
        ws, peer = make_pair()
        with ws.cork():
            for number in range(3):
                ws.send(numbered(number))
            answering = start(answer_close, peer)
            ws.close()
            answering.result()
            assert numbers(peer.checker.messages) == [0, 1, 2]

    @tcp_and_tls
    @COMPRESSION
    def test_large_messages_to_a_slow_peer(self, make_pair, deflate):
        ws, peer = make_pair(buffers=NARROW, deflate=deflate)
        answering = start(answer_close, peer)
        for number in range(3):
            ws.send(numbered(number, 150_000))
        ws.close()
        answering.result()
        assert numbers(peer.checker.messages) == [0, 1, 2]

    @tcp_and_tls
    @COMPRESSION
    @pytest.mark.parametrize("seed", range(2))
    def test_exactly_those_whose_send_returned(self, make_pair, deflate, seed):
        """Several greenlets send while another one closes at any moment: no message is lost or told wrongly."""
        chance = random.Random(seed)
        ws, peer = make_pair(buffers=NARROW, deflate=deflate)
        sent = [set() for _ in range(4)]

        def send_on(sender):
            for number in count():
                ws.send(numbered(number, chance.choice([16, 1000, 20_000, 80_000]), sender))
                sent[sender].add((sender, number))

        sending = [start(send_on, sender) for sender in range(4)]
        answering = start(answer_close, peer)
        wait_until(lambda: len(peer.checker.messages) >= 4 * seed)
        ws.close()
        answering.result()
        for task in sending:
            assert isinstance(task.fault(), ConnectionClosed)
        seen = [identify(message) for message in peer.checker.messages]
        assert len(seen) == len(set(seen))
        assert set(seen) == set().union(*sent)


def send_and_leave(ws):
    with ws:
        ws.send(numbered(0))


def send_until_closed(ws, sent):
    for number in range(40):  # no more than is kept of what comes after close()
        ws.send(numbered(number, 500))
        sent.append(number)
        gevent.sleep(0)
    ws.wait_closed()
    ws.recv()


def answer_and_close(ws):
    for number in range(3):
        ws.recv(timeout=5)
        ws.send(numbered(number))
    ws.close()


@pytest.fixture
def connect_both(make_link, open_websocket):
    """Makes two connections of this library that are each other's peer: a client's and a server's."""
    return lambda **options: [
        open_websocket(sock, role, **options) for sock, role in zip(make_link(), ("client", "server"), strict=True)
    ]


RUNS = {"tcp": times(60), "tls": times(10), "unix": times(30)}


class TestBothEnds:
    @COMPRESSION
    @pytest.mark.parametrize("sender", ["client", "server"])
    def test_all_arrives_of_what_is_sent_before_close(self, connect_both, transport, sender, deflate):
        chance = random.Random(5)
        for run in range(RUNS[transport]):
            client, server = connect_both(deflate=deflate)
            mine, other = (client, server) if sender == "client" else (server, client)
            amount = chance.randint(1, 10)
            receiving = start(RECEIVING[run % 3], other)
            for number in range(amount):
                mine.send(numbered(number, chance.choice(SIZES)))
            mine.close()
            received, code = receiving.result()
            assert numbers(received) == list(range(amount))
            assert (code, mine.close_code) == (1000, 1000)
        DONE["connections that were closed behind their last message"] += RUNS[transport]

    @COMPRESSION
    @pytest.mark.parametrize("closer", ["client", "server"])
    def test_all_arrives_of_what_was_sent_before_the_answer(self, connect_both, closer, deflate):
        """One side closes while the other one sends: what that one's send took still arrives."""
        for run in range(10):
            client, server = connect_both(deflate=deflate)
            mine, other = (client, server) if closer == "client" else (server, client)
            sent = []
            sending = start(send_until_closed, other, sent)
            wait_until(lambda sent=sent, run=run: len(sent) > run)
            mine.close()
            assert isinstance(sending.fault(), ConnectionClosed)
            received, code = receive_all(mine)
            assert numbers(received) == sent
            assert code == 1000

    @pytest.mark.parametrize("compression", [False, True, PerMessageDeflate(threshold=0)])
    @pytest.mark.parametrize("amount", [1, 50])
    def test_the_messages_of_a_handler_that_returns_at_once(self, compression, amount):
        def handler(ws):
            for number in range(amount):
                ws.send(numbered(number, 2000))

        server = WebSocketServer(("127.0.0.1", 0), handler, compression=compression)
        server.start()
        for run in range(20):
            with closing(connect(f"ws://127.0.0.1:{server.address[1]}/", compression=compression)) as ws:
                received, code = RECEIVING[run % 3](ws)
                assert numbers(received) == list(range(amount))
                assert code == 1000
        server.stop()

    @pytest.mark.parametrize("amount", [1, 50])
    def test_the_messages_of_a_client_that_leaves_at_once(self, amount):
        received = []
        server = WebSocketServer(("127.0.0.1", 0), lambda ws: received.append(receive_all(ws)))
        server.start()
        for _ in range(20):
            with connect(f"ws://127.0.0.1:{server.address[1]}/") as ws:
                for number in range(amount):
                    ws.send(numbered(number, 2000))
            wait_until(lambda: received)
            messages, code = received.pop()
            assert numbers(messages) == list(range(amount))
            assert code == 1000
        server.stop()
