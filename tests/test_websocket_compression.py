"""permessage-deflate on an open connection (RFC 7692), in both roles; the peer's checker inflates what comes."""

from __future__ import annotations

import random
import zlib

import gevent
import pytest
from tools.tasks import start, start_waiting
from tools.timing import let_hub_run
from tools.wire import BINARY, CONTINUATION, PING, RSV1, TEXT

from geventws.deflate import Parameters, PerMessageDeflate
from geventws.exceptions import ConnectionClosedError, Violation

AGREED = Parameters()
NO_CONTEXT = Parameters(server_no_context_takeover=True, client_no_context_takeover=True)
SMALL = Parameters(server_max_window_bits=9, client_max_window_bits=9)
SMALLEST = Parameters(server_max_window_bits=8, client_max_window_bits=8)
SETTINGS = {"default": AGREED, "no context": NO_CONTEXT, "9 bits": SMALL, "8 bits": SMALLEST}
TEXTS = ["again and again " * 100, "é" * 3000, "again and again " * 100]
LARGE = random.Random(1).randbytes(150_000) + bytes(300_000)


def deflated(data, deflater=None):
    """A message's compressed payload, with a context of its own where none is given."""
    deflater = deflater or zlib.compressobj(wbits=-15)
    return (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.fixture(params=SETTINGS.values(), ids=SETTINGS.keys())
def compressed_pair(request, make_pair):
    """Peers that compress nothing by themselves are as good as any: what they send is compressed by the test."""
    return make_pair(deflate=request.param)


class TestSending:
    def test_messages_are_compressed_and_can_be_inflated(self, compressed_pair):
        ws, peer = compressed_pair
        for text in TEXTS:
            ws.send(text)
        ws.send(b"binary " * 1000)
        assert [peer.read_message() for _ in range(4)] == [*TEXTS, b"binary " * 1000]
        assert all(frame.rsv == RSV1 for frame in peer.checker.frames)
        assert sum(len(frame.payload) for frame in peer.checker.frames) < 1000

    def test_context_is_taken_over_unless_agreed_otherwise(self, make_pair):
        block = random.Random(2).randbytes(2000)
        sizes = {}
        for name in ("default", "no context"):
            ws, peer = make_pair(deflate=SETTINGS[name])
            for _ in range(2):
                ws.send(block)
                assert peer.read_message() == block
            sizes[name] = len(peer.checker.frames[1].payload)
        assert sizes["default"] < 100 < 2000 <= sizes["no context"]

    def test_short_messages_are_not_compressed(self, make_pair):
        ws, peer = make_pair(deflate=AGREED, settings=PerMessageDeflate(threshold=100))
        ws.send("a" * 99)
        ws.send("a" * 100)
        assert [peer.read_frame().rsv for _ in range(2)] == [0, RSV1]

    @pytest.mark.parametrize("compress, rsv", [(True, RSV1), (False, 0)])
    def test_each_message_can_be_decided(self, make_pair, compress, rsv):
        ws, peer = make_pair(deflate=AGREED)
        for message in ("", "short", "long" * 1000):
            ws.send(message, compress=compress)
            assert peer.read_frame().rsv == rsv
        assert peer.checker.messages == ["", "short", "long" * 1000]

    def test_without_the_extension_nothing_is_compressed(self, pair):
        ws, peer = pair
        ws.send("a" * 5000, compress=True)
        assert peer.read_frame()[1:4] == (b"a" * 5000, True, 0)

    def test_a_large_message_is_compressed_in_a_thread_without_holding_the_hub(self, make_pair):
        ws, peer = make_pair(deflate=AGREED)
        sending = start(ws.send, LARGE)
        assert not sending.ready()
        assert peer.read_message() == LARGE
        sending.result()
        assert peer.checker.frames[0].rsv == RSV1

    def test_large_and_small_messages_keep_their_order(self, compressed_pair):
        ws, peer = compressed_pair
        messages = [b"x" * size for size in (200_000, 10, 70_000, 2000, 300_000, 0)]
        sending = [start(ws.send, message) for message in messages]
        assert [peer.read_message() for _ in messages] == messages
        for task in sending:
            task.result()

    def test_control_frames_are_not_compressed_nor_held_up(self, make_pair):
        ws, peer = make_pair(deflate=AGREED)
        sending = start(ws.send, LARGE)
        ws.ping(b"p" * 100)
        frame = peer.read_frame()
        assert frame[:4] == (PING, b"p" * 100, True, 0)
        assert peer.read_message() == LARGE
        sending.result()

    def test_fragments_are_compressed_as_one_message(self, compressed_pair):
        ws, peer = compressed_pair
        ws.send("part " * 500 for _ in range(5))
        assert peer.read_message() == "part " * 2500
        assert peer.checker.frames[0].rsv == RSV1
        assert {frame.rsv for frame in peer.checker.frames[1:]} == {0}
        ws.send(["part " * 500])
        assert peer.read_message() == "part " * 500

    def test_fragments_can_be_left_uncompressed(self, make_pair):
        ws, peer = make_pair(deflate=AGREED)
        ws.send(["a" * 5000, "b" * 5000], compress=False)
        assert peer.read_message() == "a" * 5000 + "b" * 5000
        assert {frame.rsv for frame in peer.checker.frames} == {0}

    @pytest.mark.parametrize("level", [0, 1, 9])
    def test_zlibs_options_are_obeyed(self, make_pair, level):
        settings = PerMessageDeflate(
            compress_options={"level": level, "memLevel": 9, "strategy": zlib.Z_DEFAULT_STRATEGY}
        )
        ws, peer = make_pair(deflate=AGREED, settings=settings)
        ws.send("abcdefgh" * 1000)
        assert peer.read_message() == "abcdefgh" * 1000
        assert (len(peer.checker.frames[0].payload) > 8000) is (level == 0)

    def test_an_interrupted_compression_does_no_harm_to_later_messages(self, make_pair):
        ws, peer = make_pair(deflate=AGREED)
        ws.send("context " * 1000)
        with pytest.raises(gevent.Timeout), gevent.Timeout(0):
            ws.send(LARGE)
        ws.send("context " * 1000)
        assert [peer.read_message(), peer.read_message()] == ["context " * 1000] * 2

    def test_a_connection_that_ends_meanwhile_ends_the_send(self, make_pair):
        ws, _ = make_pair(deflate=AGREED)
        sending = start(ws.send, LARGE)
        ws.terminate()
        assert isinstance(sending.fault(), ConnectionClosedError)

    def test_in_the_hub_a_large_message_is_sent_or_refused_whole(self, make_pair):
        from gevent import get_hub

        ws, peer = make_pair(deflate=AGREED)
        seen = []

        def in_hub():
            try:
                ws.send(LARGE)
            except Exception as error:  # noqa: BLE001
                seen.append(error)
            ws.send("next")

        get_hub().loop.run_callback(in_hub)
        message = peer.read_message()
        if message == LARGE:
            message = peer.read_message()
        else:
            assert len(seen) == 1
        assert message == "next"


class TestReceiving:
    def test_messages_are_inflated_with_the_context_of_those_before(self, make_pair):
        ws, peer = make_pair(deflate=AGREED)
        deflater = zlib.compressobj(wbits=-15)
        for text in TEXTS:
            peer.send(TEXT, deflated(text.encode(), deflater), rsv=RSV1)
            peer.text("between")
            assert [ws.recv(), ws.recv()] == [text, "between"]

    def test_each_message_may_have_a_context_of_its_own(self, compressed_pair):
        ws, peer = compressed_pair
        for _ in range(3):
            peer.send(TEXT, deflated(b"short " * 20, zlib.compressobj(wbits=-9)), rsv=RSV1)
            assert ws.recv() == "short " * 20

    def test_the_input_may_be_split_anywhere(self, make_pair):
        ws, peer = make_pair(deflate=AGREED)
        body = deflated("é€".encode() * 20)
        stream = peer.frame(TEXT, body[:5], rsv=RSV1, fin=False) + peer.frame(PING) + peer.frame(CONTINUATION, body[5:])
        peer.send_bytewise(stream)
        assert ws.recv() == "é€" * 20

    def test_an_empty_message_may_be_compressed(self, make_pair):
        ws, peer = make_pair(deflate=AGREED)
        peer.send(TEXT, b"\x00", rsv=RSV1)
        peer.send(BINARY, deflated(b""), rsv=RSV1)
        assert [ws.recv(), ws.recv()] == ["", b""]

    def test_a_stream_may_end_inside_a_message_and_at_its_end(self, make_pair):
        ws, peer = make_pair(deflate=AGREED)
        final = zlib.compressobj(wbits=-15)
        ended = final.compress(b"ended ") + final.flush()
        peer.send(BINARY, ended + b"\x00", rsv=RSV1)
        peer.send(BINARY, ended + deflated(b"and begun again"), rsv=RSV1)
        peer.send(BINARY, deflated(b"next"), rsv=RSV1)
        assert [ws.recv(), ws.recv(), ws.recv()] == [b"ended ", b"ended and begun again", b"next"]

    def test_a_large_message_is_inflated_whole(self, make_pair):
        ws, peer = make_pair(deflate=AGREED, max_size=None)
        data = bytes(40_000_000)
        peer.send(BINARY, deflated(data), rsv=RSV1)
        peer.text("next")
        assert ws.recv() == data
        assert ws.recv() == "next"

    def test_a_bomb_ends_in_1009(self, make_pair):
        ws, peer = make_pair(deflate=AGREED, max_size=100_000)
        peer.send(BINARY, deflated(bytes(50_000_000)), rsv=RSV1)
        with pytest.raises(ConnectionClosedError) as caught:
            ws.recv()
        assert caught.value.__cause__.violation is Violation.MESSAGE_TOO_BIG
        assert peer.read_close()[0] == 1009

    @pytest.mark.parametrize("size, passes", [(100_000, True), (100_001, False)])
    def test_the_limit_is_that_of_the_inflated_message(self, make_pair, size, passes):
        ws, peer = make_pair(deflate=AGREED, max_size=100_000)
        peer.send(BINARY, deflated(bytes(size)), rsv=RSV1)
        if passes:
            assert ws.recv() == bytes(size)
        else:
            assert peer.read_close()[0] == 1009

    @pytest.mark.parametrize(
        "frames, violation",
        [
            ([(TEXT, b"\xff\xff\xff", {"rsv": RSV1})], Violation.INVALID_DEFLATE_DATA),
            ([(TEXT, deflated(b"\xff"), {"rsv": RSV1})], Violation.INVALID_UTF8),
            ([(PING, b"x", {"rsv": RSV1})], Violation.UNEXPECTED_RSV_1),
            (
                [(TEXT, b"x", {"rsv": RSV1, "fin": False}), (CONTINUATION, b"y", {"rsv": RSV1})],
                Violation.UNEXPECTED_RSV_1,
            ),
        ],
        ids=["broken data", "no UTF-8", "a compressed ping", "RSV1 on a continuation"],
    )
    def test_what_is_wrong_fails_the_connection(self, make_pair, frames, violation):
        ws, peer = make_pair(deflate=AGREED)
        for opcode, payload, bits in frames:
            peer.send(opcode, payload, **bits)
        with pytest.raises(ConnectionClosedError) as caught:
            ws.recv()
        assert caught.value.__cause__.violation is violation
        assert peer.read_close()[0] == violation.close_code

    def test_fragments_can_be_streamed(self, make_pair):
        ws, peer = make_pair(deflate=AGREED)
        body = deflated("é".encode() * 5000)
        peer.send_bytes(peer.frame(TEXT, body[:10], rsv=RSV1, fin=False) + peer.frame(CONTINUATION, body[10:]))
        assert "".join(ws.recv_streaming()) == "é" * 5000

    def test_an_end_during_inflating_is_noticed(self, make_pair):
        ws, peer = make_pair(deflate=AGREED, max_size=None)
        receiving = start_waiting(ws.recv)
        peer.send(BINARY, deflated(bytes(30_000_000)), rsv=RSV1)
        let_hub_run(5)
        ws.terminate()
        receiving.join(5)
        assert receiving.ready()
        assert receiving.error is None or isinstance(receiving.error, ConnectionClosedError)


class TestBothSides:
    @pytest.mark.parametrize("parameters", SETTINGS.values(), ids=SETTINGS.keys())
    def test_what_one_sends_the_other_receives(self, link, open_websocket, parameters):
        client = open_websocket(link[0], "client", deflate=parameters, max_size=None)
        server = open_websocket(link[1], "server", deflate=parameters, max_size=None)
        chance = random.Random(5)
        messages = [bytes(chance.choices(b"abc", k=chance.choice([0, 5, 1000, 1023, 1024, 66_000]))) for _ in range(60)]
        for sender, receiver in ((client, server), (server, client)):
            sending = start(lambda sender=sender: [sender.send(message) for message in messages])
            assert [receiver.recv() for _ in messages] == messages
            sending.result()
