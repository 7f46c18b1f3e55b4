"""What a WebSocket sends, in both roles and over each transport."""

from __future__ import annotations

import array
import ctypes
import json
import threading

import gevent
import pytest
from gevent import get_hub
from tools import circumstances
from tools.endpoint import make_peer, make_websocket
from tools.links import tcp_pair
from tools.tasks import start, start_waiting
from tools.timing import stopwatch, wait_until
from tools.wire import BINARY, CONTINUATION, PING, PONG, TEXT

from geventws.exceptions import ConcurrencyError, ConnectionClosedError, ConnectionClosedOK, InvalidState

BIG = bytes(range(256)) * 2000
"""More than the kernel takes of a narrow link, and more than the high-water mark."""
NARROW = 4096


class TestMessages:
    def test_str_is_text(self, pair):
        ws, peer = pair
        ws.send("smörgås")
        assert peer.read_frame()[:4] == (TEXT, "smörgås".encode(), True, 0)

    @pytest.mark.parametrize(
        "message",
        [
            b"\x00\xffab",
            bytearray(b"\x00\xffab"),
            memoryview(b"\x00\xffab"),
            memoryview(b"\x00-\xff-a-b-")[::2],
            array.array("B", [0, 255, 97, 98]),
            array.array("H", b"\x00\xffab"),
            (ctypes.c_char * 4)(*b"\x00\xffab"),
        ],
        ids=lambda message: type(message).__name__,
    )
    def test_any_buffer_is_binary(self, pair, message):
        ws, peer = pair
        ws.send(message)
        assert peer.read_frame()[:4] == (BINARY, b"\x00\xffab", True, 0)

    def test_a_numpy_array_is_binary(self, pair):
        ws, peer = pair
        ws.send(pytest.importorskip("numpy").frombuffer(b"\x00\xffab", dtype="u1").reshape(2, 2))
        assert peer.read_frame()[:4] == (BINARY, b"\x00\xffab", True, 0)

    @pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 4095, 4096, 4097, 65535, 65536, 300_000])
    def test_every_size_arrives_whole(self, pair, size):
        ws, peer = pair
        message = (bytes(range(256)) * (size // 256 + 1))[:size]
        ws.send(message)
        assert peer.read_message() == message

    def test_text_chooses_the_type(self, pair):
        ws, peer = pair
        ws.send("é".encode(), text=True)
        ws.send("é", text=False)
        ws.send(bytearray(b"b"), text=True)
        ws.send(["é", b"!"], text=True)
        ws.send(["é", b"!"], text=False)
        assert [peer.read_message() for _ in range(5)] == ["é", "é".encode(), "b", "é!", "é!".encode()]

    def test_a_buffer_may_be_changed_after_it_was_sent(self, make_pair):
        ws, peer = make_pair(buffers=NARROW)
        data = bytearray(BIG)
        ws.send(data)
        data[:] = bytes(len(data))
        assert peer.read_message() == BIG

    def test_messages_keep_their_order(self, pair):
        ws, peer = pair
        for number in range(100):
            ws.send(str(number))
        assert [peer.read_message() for _ in range(100)] == [str(number) for number in range(100)]

    def test_json_is_text(self, pair):
        ws, peer = pair
        value = {"a": [1, "é", None, 1.5]}
        ws.send_json(value)
        frame = peer.read_frame()
        assert frame.opcode == TEXT
        assert json.loads(frame.payload) == value
        with pytest.raises(TypeError):
            ws.send_json({1, 2})

    def test_a_client_masks_with_keys_that_differ_and_a_server_does_not(self, pair, role):
        ws, peer = pair
        for _ in range(20):
            ws.send("same")
        keys = [peer.read_frame().key for _ in range(20)]
        assert len(set(keys)) == (20 if role == "client" else 1)
        assert (keys[0] is None) is (role == "server")

    def test_masking_keys_are_made_by_the_given_function(self, make_pair, role):
        keys = iter([b"abcd", b"\0\0\0\0", b"efgh"])
        ws, peer = make_pair(masking_keys=lambda: next(keys))
        for message in ("one", b"two", b"3" * 5000):
            ws.send(message)
        frames = [peer.read_frame() for _ in range(3)]
        assert [frame.payload for frame in frames] == [b"one", b"two", b"3" * 5000]
        if role == "client":
            assert [frame.key for frame in frames] == [b"abcd", b"\0\0\0\0", b"efgh"]

    def test_what_is_derived_from_text_or_bytes_is_sent_as_they_are(self, pair):
        ws, peer = pair

        class Text(str):
            pass

        class Binary(bytes):
            pass

        ws.send(Text("text"))
        ws.send(Binary(b"binary"))
        ws.send([Binary(b"a"), Binary(b"b")])
        ws.ping(Binary(b"ping"))
        assert [peer.read_message() for _ in range(3)] == ["text", b"binary", b"ab"]


class TestFragments:
    @pytest.mark.parametrize("make", [list, tuple, iter], ids=["list", "tuple", "iterator"])
    def test_an_iterable_is_one_message_in_fragments(self, pair, make):
        ws, peer = pair
        ws.send(make(["a", "é", "c"]))
        assert peer.read_message() == "aéc"
        opcodes = [frame.opcode for frame in peer.checker.frames]
        assert opcodes[0] == TEXT
        assert set(opcodes[1:]) == {CONTINUATION}
        assert len(opcodes) >= 3

    def test_buffers_are_a_binary_message(self, pair):
        ws, peer = pair
        ws.send([b"a", bytearray(b"b"), memoryview(b"c")])
        assert peer.read_message() == b"abc"

    @pytest.mark.parametrize("text, message", [(None, b""), (False, b""), (True, "")])
    def test_no_fragments_are_an_empty_message(self, pair, text, message):
        ws, peer = pair
        ws.send([], text=text)
        assert peer.read_message() == message

    def test_a_character_may_be_cut_between_fragments(self, pair):
        ws, peer = pair
        text = "añ€😀"
        ws.send((text.encode()[i : i + 1] for i in range(len(text.encode()))), text=True)
        assert peer.read_message() == text

    @pytest.mark.parametrize("wrong", [[b"a", b"\xff"], [b"a\xc3", b"b"], [b"a\xc3"]])
    def test_fragments_that_are_no_utf8_together_fail_the_connection(self, pair, wrong):
        ws, peer = pair
        with pytest.raises(UnicodeDecodeError):
            ws.send(wrong, text=True)
        assert peer.read_close()[0] == 1011

    def test_each_fragment_leaves_before_the_next_one_is_made(self, pair):
        ws, peer = pair
        seen = []

        def parts():
            for part in ("a", "b", "c"):
                yield part
                seen.append(peer.read_frame().payload)

        ws.send(parts())
        assert seen == [b"a", b"b", b"c"]

    def test_no_other_message_comes_between_but_control_frames_do(self, pair):
        ws, peer = pair

        def parts():
            yield "a"
            gevent.sleep(0.01)
            ws.ping(b"between")
            yield "b"

        first = start(ws.send, parts())
        second = start(ws.send, "other")
        first.result()
        second.result()
        assert [peer.read_message(), peer.read_message()] == ["ab", "other"]
        opcodes = [frame.opcode for frame in peer.checker.frames]
        assert 0 < opcodes.index(PING) < opcodes.index(TEXT, 1)

    @pytest.mark.parametrize("wrong", [["a", b"b"], [b"a", "b"], ["a", 5], ["a", ["b"]]])
    def test_a_wrong_fragment_fails_the_connection_that_has_half_a_message(self, pair, wrong):
        ws, peer = pair
        with pytest.raises(TypeError):
            ws.send(wrong)
        assert peer.finish_close()[0] == 1011
        peer.close()
        with pytest.raises(ConnectionClosedError):
            ws.send("more")

    @pytest.mark.parametrize("wrong", [[5], [None], [["a"]]])
    def test_a_wrong_first_fragment_does_no_harm(self, pair, wrong):
        ws, peer = pair
        with pytest.raises(TypeError):
            ws.send(wrong)
        ws.send("next")
        assert peer.read_message() == "next"

    def test_what_the_iterable_raises_leaves_as_it_is(self, pair):
        ws, peer = pair
        error = LookupError("mine")

        def parts():
            yield "a"
            raise error

        with pytest.raises(LookupError) as caught:
            ws.send(parts())
        assert caught.value is error
        assert peer.read_close()[0] == 1011

    def test_an_iterable_that_sends_on_the_same_connection_is_told_so(self, pair):
        ws, peer = pair

        def fragments():
            ws.send("in between")
            yield "never"

        with pytest.raises(ConcurrencyError, match="itself sends"):
            ws.send(fragments())
        ws.send("next")
        assert peer.read_message() == "next"

    def test_an_iterable_that_fails_at_once_does_no_harm(self, pair):
        ws, peer = pair

        def parts():
            raise LookupError
            yield

        with pytest.raises(LookupError):
            ws.send(parts())
        ws.send("next")
        assert peer.read_message() == "next"

    def test_it_waits_for_a_slow_peer(self, make_pair):
        ws, peer = make_pair(buffers=NARROW)
        made = []

        def parts():
            for number in range(100):
                made.append(number)
                yield bytes(20_000)

        sending = start_waiting(ws.send, parts())
        assert len(made) < 50
        assert peer.read_message() == bytes(2_000_000)
        sending.result()

    def test_a_slow_peer_in_the_middle_is_a_timeout_and_ends_the_connection(self, make_pair):
        ws, peer = make_pair(buffers=NARROW, close_timeout=0.1)
        with pytest.raises(TimeoutError):
            ws.send((bytes(20_000) for _ in range(100)), timeout=0.05)
        with pytest.raises(ConnectionClosedError):
            ws.send("more")
        peer.read_reset()
        assert peer.checker.messages == []


class TestRefusals:
    @pytest.mark.parametrize("wrong", [5, None, 1.5, object(), {"a": 1}, {}, True], ids=repr)
    def test_what_is_no_message_is_a_type_error_and_nothing_is_sent(self, pair, wrong):
        ws, peer = pair
        with pytest.raises(TypeError):
            ws.send(wrong)
        ws.send("next")
        assert peer.read_message() == "next"

    def test_text_that_is_no_utf8_is_refused(self, pair):
        ws, peer = pair
        with pytest.raises(UnicodeEncodeError):
            ws.send("\ud800")
        with pytest.raises(UnicodeDecodeError):
            ws.send(b"\xff", text=True)
        ws.send("next")
        assert peer.read_message() == "next"

    def test_after_the_end_nothing_can_be_sent(self, pair):
        ws, peer = pair
        peer.send_close(1000)
        peer.read_close()
        for call in (lambda: ws.send("x"), lambda: ws.send(["x"]), ws.ping, ws.pong):
            with pytest.raises(ConnectionClosedOK):
                call()


class TestBackPressure:
    def test_a_small_message_needs_no_waiting_for_a_slow_peer(self, make_pair):
        ws, peer = make_pair(buffers=NARROW)
        ws.send(BIG)
        assert ws.buffered_amount > 0
        assert peer.read_message() == BIG
        wait_until(lambda: ws.buffered_amount == 0)

    def test_above_the_high_water_mark_it_waits(self, make_pair):
        ws, peer = make_pair(buffers=NARROW)
        ws.send(BIG)
        sending = start_waiting(ws.send, "second")
        assert peer.read_message() == BIG
        assert peer.read_message() == "second"
        sending.result()

    def test_who_came_first_goes_first(self, make_pair):
        ws, peer = make_pair(buffers=NARROW)
        ws.send(BIG)
        tasks = [start_waiting(ws.send, str(number)) for number in range(5)]
        assert peer.read_message() == BIG
        assert [peer.read_message() for _ in range(5)] == [str(number) for number in range(5)]
        for task in tasks:
            task.result()

    @pytest.mark.parametrize("how", ["timeout", "send_timeout"])
    def test_a_timeout_has_sent_nothing_of_the_message(self, make_pair, how):
        ws, peer = make_pair(buffers=NARROW, send_timeout=0.02 if how == "send_timeout" else None)
        ws.send(BIG)
        with stopwatch() as watch, pytest.raises(TimeoutError, match=r"0\.02"):
            ws.send("lost", timeout=0.02 if how == "timeout" else None)
        assert 0.015 < watch.seconds < 1
        assert peer.read_message() == BIG
        wait_until(lambda: not ws.buffered_amount)
        ws.send("next")
        assert peer.read_message() == "next"

    def test_a_timeout_of_zero_sends_at_once_or_not_at_all(self, make_pair):
        ws, peer = make_pair(buffers=NARROW)
        ws.send("first", timeout=0)
        ws.send(BIG, timeout=0)
        with pytest.raises(TimeoutError):
            ws.send("lost", timeout=0)
        assert [peer.read_message(), peer.read_message()] == ["first", BIG]
        wait_until(lambda: not ws.buffered_amount)
        ws.send("next", timeout=0)
        assert peer.read_message() == "next"

    def test_an_argument_goes_before_the_option(self, make_pair):
        ws, peer = make_pair(buffers=NARROW, send_timeout=0.01)
        ws.send(BIG)
        sending = start(ws.send, "patient", timeout=5)
        gevent.sleep(0.05)
        assert not sending.ready()
        assert [peer.read_message(), peer.read_message()] == [BIG, "patient"]
        sending.result()

    def test_one_that_gives_up_does_not_hold_up_those_behind(self, make_pair):
        ws, peer = make_pair(buffers=NARROW)
        ws.send(BIG)
        first = start_waiting(ws.send, "first", timeout=0.01)
        second = start_waiting(ws.send, "second")
        assert isinstance(first.fault(), TimeoutError)
        assert [peer.read_message(), peer.read_message()] == [BIG, "second"]
        second.result()

    def test_pings_and_pongs_do_not_wait(self, make_pair):
        ws, peer = make_pair(buffers=NARROW)
        ws.send(BIG)
        ws.ping(b"ping")
        ws.pong(b"pong")
        assert [peer.read_frame()[:2] for _ in range(3)] == [(BINARY, BIG), (PING, b"ping"), (PONG, b"pong")]

    def test_flush_waits_until_the_kernel_has_it_all(self, make_pair):
        ws, peer = make_pair(buffers=NARROW)
        ws.send(BIG)
        flushing = start_waiting(ws.flush)
        assert peer.read_message() == BIG
        flushing.result()
        assert ws.buffered_amount == 0

    def test_flush_waits_no_longer_than_its_timeout(self, make_pair):
        ws, peer = make_pair(buffers=NARROW)
        ws.send(BIG)
        with pytest.raises(TimeoutError):
            ws.flush(timeout=0.01)
        with pytest.raises(TimeoutError):
            ws.flush(timeout=0)
        assert peer.read_message() == BIG

    def test_flush_after_the_end_raises(self, make_pair):
        ws, _ = make_pair(buffers=NARROW)
        ws.send(BIG)
        flushing = start_waiting(ws.flush)
        ws.terminate()
        assert isinstance(flushing.fault(), ConnectionClosedError)
        with pytest.raises(ConnectionClosedError):
            ws.flush()

    def test_flush_of_nothing_returns_at_once(self, pair):
        ws, _ = pair
        ws.flush()
        ws.flush(timeout=0)


class TestInTheHub:
    def in_hub(self, function):
        done = []
        get_hub().loop.run_callback(lambda: done.append(function()))
        wait_until(lambda: done)
        return done[0]

    def test_it_sends_pings_and_corks_without_waiting(self, pair):
        ws, peer = pair

        def work():
            ws.send("from the hub")
            ws.send(["a", "b"])
            ws.ping(b"p")
            ws.pong(b"q")
            with ws.cork():
                ws.send("corked")
            ws.flush()

        self.in_hub(work)
        assert [peer.read_message() for _ in range(3)] == ["from the hub", "ab", "corked"]

    def test_what_would_have_to_wait_is_refused_before_a_byte_is_written(self, make_pair):
        ws, peer = make_pair(buffers=NARROW)
        ws.send(BIG)
        before = ws.buffered_amount

        def work():
            for call in (lambda: ws.send("x"), lambda: ws.send(["x"]), ws.flush, ws.wait_closed):
                with pytest.raises(InvalidState):
                    call()
            return True

        assert self.in_hub(work)
        assert ws.buffered_amount <= before
        assert peer.read_message() == BIG
        ws.send("next")
        assert peer.read_message() == "next"

    def test_after_a_close_it_is_refused_without_waiting(self, pair):
        ws, peer = pair
        closing = start_waiting(ws.close)

        def work():
            for call in (lambda: ws.send("x"), ws.ping, ws.pong):
                with pytest.raises(ConnectionClosedError):
                    call()
            return True

        assert self.in_hub(work)
        peer.finish_close()
        peer.close()
        closing.result()


class TestThreads:
    @circumstances.threads
    def test_one_hub_in_each_thread_works(self, make_pair, transport):
        """A connection belongs to the hub of the thread that made it; two threads serve independently."""
        ws, peer = make_pair()
        seen = []

        def other_thread():
            left, right = tcp_pair()
            other, other_peer = make_websocket(left, "client"), make_peer(right, "client")
            other_peer.text("there")
            seen.append(other.recv())
            other.terminate()
            other_peer.close()
            gevent.get_hub().destroy()

        thread = threading.Thread(target=other_thread)
        thread.start()
        peer.text("here")
        assert ws.recv() == "here"
        thread.join()
        assert seen == ["there"]
