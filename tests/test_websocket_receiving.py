"""What a WebSocket receives, in both roles and over each transport."""

from __future__ import annotations

import gevent
import pytest
from gevent import get_hub
from tools import wire
from tools.endpoint import wait_for_messages
from tools.tasks import start, start_waiting
from tools.timing import burn, let_hub_run, stopwatch, wait_until
from tools.wire import BINARY, CONTINUATION, PING, PONG, TEXT

from geventws.exceptions import ConcurrencyError, ConnectionClosedError, ConnectionClosedOK, InvalidState
from geventws.hubs import YIELD_AFTER


class TestRecv:
    def test_text_is_str_and_binary_is_bytes(self, pair):
        ws, peer = pair
        peer.text("smörgås")
        peer.binary(b"\x00\xff")
        assert ws.recv() == "smörgås"
        message = ws.recv()
        assert message == b"\x00\xff"
        assert type(message) is bytes

    def test_empty_messages_are_messages(self, pair):
        ws, peer = pair
        peer.text("")
        peer.binary(b"")
        assert [ws.recv(), ws.recv()] == ["", b""]

    @pytest.mark.parametrize("size", [125, 126, 127, 65535, 65536, 200_000])
    def test_every_form_of_the_length_is_read(self, pair, size):
        ws, peer = pair
        sending = start(peer.binary, bytes(range(256)) * (size // 256) + bytes(size % 256))
        message = ws.recv()
        assert len(message) == size
        assert message == bytes(range(256)) * (size // 256) + bytes(size % 256)
        sending.result()

    def test_fragments_are_put_together_around_control_frames(self, pair):
        ws, peer = pair
        peer.send(TEXT, "é".encode()[:1], fin=False)
        peer.ping(b"1")
        peer.send(CONTINUATION, b"", fin=False)
        peer.pong(b"2")
        peer.send(CONTINUATION, "é".encode()[1:] + b"!")
        assert ws.recv() == "é!"

    def test_the_input_may_be_split_anywhere(self, pair):
        ws, peer = pair
        stream = peer.frame(TEXT, "één".encode()) + peer.message_frames(BINARY, [b"a" * 130, b"", b"b"])
        stream += peer.frame(PING, b"p") + peer.frame(TEXT)
        for pieces in wire.splits(stream, seed=len(stream), rounds=5):
            peer.send_pieces(pieces)
            assert [ws.recv(), ws.recv(), ws.recv()] == ["één", b"a" * 130 + b"b", ""]

    def test_it_waits_for_a_message(self, pair):
        ws, peer = pair
        receiving = start_waiting(ws.recv)
        peer.text("late")
        assert receiving.result() == "late"

    def test_it_waits_no_longer_than_its_timeout_and_loses_nothing(self, pair):
        ws, peer = pair
        frame = peer.frame(TEXT, b"hello")
        peer.send_bytes(frame[:4])
        with stopwatch() as watch, pytest.raises(TimeoutError, match=r"0\.02 s"):
            ws.recv(timeout=0.02)
        assert 0.015 < watch.seconds < 1
        peer.send_bytes(frame[4:])
        assert ws.recv() == "hello"

    def test_a_message_that_is_here_needs_no_waiting(self, pair):
        ws, peer = pair
        peer.text("one")
        peer.text("two")
        assert ws.recv() == "one"
        wait_for_messages(ws)
        assert ws.recv(timeout=0) == "two"

    def test_a_timeout_of_zero_takes_what_the_kernel_holds(self, pair):
        ws, peer = pair
        with stopwatch() as watch, pytest.raises(TimeoutError):
            ws.recv(timeout=0)
        assert watch.seconds < 0.5
        peer.text("here")
        assert ws.recv(timeout=0) == "here"

    def test_decode_chooses_the_type(self, pair):
        ws, peer = pair
        for _ in range(2):
            peer.text("é")
            peer.binary("é".encode())
        assert [ws.recv(decode=True), ws.recv(decode=True)] == ["é", "é"]
        assert [ws.recv(decode=False), ws.recv(decode=False)] == ["é".encode(), "é".encode()]

    def test_binary_that_is_no_text_cannot_be_decoded(self, pair):
        ws, peer = pair
        peer.binary(b"\xff")
        peer.text("next")
        with pytest.raises(UnicodeDecodeError):
            ws.recv(decode=True)
        assert ws.recv() == "next"

    def test_a_second_receiver_is_refused_and_the_first_one_unharmed(self, pair):
        ws, peer = pair
        first = start_waiting(ws.recv)
        with pytest.raises(ConcurrencyError):
            ws.recv()
        with pytest.raises(ConcurrencyError):
            ws.recv(timeout=0)
        peer.text("for the first")
        assert first.result() == "for the first"

    def test_receivers_may_take_turns(self, pair):
        ws, peer = pair
        seen = []
        for text in ("a", "b", "c"):
            peer.text(text)
            seen.append(start(ws.recv).result())
        assert seen == ["a", "b", "c"]

    def test_in_the_hub_it_takes_what_is_here_and_does_not_wait(self, pair):
        ws, peer = pair
        peer.text("here")
        wait_for_messages(ws)
        seen = []

        def in_hub():
            seen.append(ws.recv())
            with pytest.raises(InvalidState):
                ws.recv()
            with pytest.raises(InvalidState):
                ws.recv(timeout=1)
            seen.append("done")

        get_hub().loop.run_callback(in_hub)
        wait_until(lambda: len(seen) == 2)
        assert seen == ["here", "done"]

    def test_json_is_parsed(self, pair):
        ws, peer = pair
        peer.json({"a": [1, "é", None]})
        assert ws.recv_json() == {"a": [1, "é", None]}
        peer.text("{")
        with pytest.raises(ValueError, match="Expecting"):
            ws.recv_json()
        with pytest.raises(TimeoutError):
            ws.recv_json(timeout=0)

    def test_a_busy_receiver_lets_the_hub_run(self, pair):
        ws, peer = pair
        count = 400
        peer.send_bytes(peer.frame(TEXT, b"x") * count)
        wait_for_messages(ws, count)
        received = 0
        seen = set()

        def look():
            while True:
                seen.add(received)
                gevent.sleep(0)

        looking = start(look)
        for _ in range(count):
            ws.recv()
            received += 1
            burn(0.0002)
        looking.kill()
        # 80 ms of work without any wait: the other greenlet had its turns in between.
        assert len(seen - {0, count}) >= 5


class TestIteration:
    def test_it_gives_messages_and_ends_quietly_on_a_normal_close(self, pair):
        ws, peer = pair
        peer.text("a")
        peer.binary(b"b")
        peer.send_close(1000)
        assert list(ws) == ["a", b"b"]

    @pytest.mark.parametrize("code", [1001, None])
    def test_going_away_and_no_code_are_normal_too(self, pair, code):
        ws, peer = pair
        peer.send_close(code)
        assert list(ws) == []

    def test_it_raises_on_any_other_end(self, pair):
        ws, peer = pair
        peer.text("a")
        peer.send_close(1011, "oops")
        seen = []
        with pytest.raises(ConnectionClosedError, match="oops"):
            seen.extend(ws)
        assert seen == ["a"]

    def test_an_interrupted_iteration_can_be_taken_up(self, pair):
        ws, peer = pair
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
            next(iter(ws))
        peer.text("kept")
        assert next(iter(ws)) == "kept"

    def test_a_slow_receiver_holds_nobody_while_messages_wait(self, pair):
        """Between two messages the hub looks at its timers and descriptors, not only at its callbacks."""
        ws, peer = pair
        peer.send_bytes(peer.frame(TEXT, b"hi") * 20)
        wait_for_messages(ws, 20)
        ticks = []
        with get_hub().loop.timer(0.001, 0.001) as timer:
            timer.start(ticks.append, 1)
            for _ in range(20):
                ws.recv()
                burn(2 * YIELD_AFTER)
            timer.stop()
        assert len(ticks) >= 15


class TestStreaming:
    def test_fragments_come_before_the_message_has_ended(self, pair):
        ws, peer = pair
        fragments = ws.recv_streaming()
        peer.send(BINARY, b"one", fin=False)
        assert next(fragments) == b"one"
        waiting = start_waiting(next, fragments)
        peer.send(CONTINUATION, b"two", fin=False)
        assert waiting.result() == b"two"
        peer.send(CONTINUATION, b"three")
        assert b"".join(fragments) == b"three"
        with pytest.raises(StopIteration):
            next(fragments)

    def test_a_frame_is_given_out_as_it_arrives(self, pair):
        ws, peer = pair
        fragments = ws.recv_streaming()
        frame = peer.frame(BINARY, bytes(range(100)), key=b"abcd" if peer.client else None)
        peer.send_bytes(frame[:50])
        first = next(fragments)
        assert 0 < len(first) < 100
        peer.send_bytes(frame[50:])
        assert first + b"".join(fragments) == bytes(range(100))

    def test_text_is_cut_between_characters(self, pair):
        ws, peer = pair
        text = "aé€😀" * 3
        data = text.encode()
        for cut in range(len(data) + 1):
            peer.send_bytes(peer.message_frames(TEXT, [data[:cut], data[cut:]]))
            fragments = list(ws.recv_streaming())
            assert all(isinstance(fragment, str) for fragment in fragments)
            assert "".join(fragments) == text

    def test_a_message_that_is_whole_already_is_given_out(self, pair):
        ws, peer = pair
        peer.text("first")
        peer.text("second")
        assert ws.recv() == "first"
        assert "".join(ws.recv_streaming()) == "second"

    def test_a_message_that_has_begun_already_is_taken_from_its_beginning(self, pair):
        ws, peer = pair
        peer.send(TEXT, "beg€".encode()[:-1], fin=False)
        let_hub_run()
        fragments = ws.recv_streaming()
        first = next(fragments)
        peer.send(CONTINUATION, "€".encode()[-1:] + b"in")
        assert first + "".join(fragments) == "beg€in"

    def test_the_next_message_is_received_as_usual(self, pair):
        ws, peer = pair
        peer.send_bytes(peer.message_frames(TEXT, [b"a", b"b"]) + peer.message_frames(TEXT, [b"c", b"d"]))
        assert "".join(ws.recv_streaming()) == "ab"
        assert ws.recv() == "cd"
        peer.text("e")
        assert list(ws.recv_streaming()) == ["e"]

    @pytest.mark.parametrize("opcode", [TEXT, BINARY])
    def test_decode_chooses_the_type(self, pair, opcode):
        ws, peer = pair
        data = "é€".encode()
        for decode, kind in ((True, str), (False, bytes)):
            peer.send_bytes(peer.message_frames(opcode, [data[:1], data[1:3], data[3:]]))
            fragments = list(ws.recv_streaming(decode=decode))
            assert {type(fragment) for fragment in fragments} == {kind}
            joined = kind().join(fragments)
            assert joined == (data.decode() if decode else data)

    def test_control_frames_between_fragments_are_answered(self, pair):
        ws, peer = pair
        peer.send(BINARY, b"a", fin=False)
        peer.ping(b"now")
        fragments = ws.recv_streaming()
        assert next(fragments) == b"a"
        assert peer.read_frame().payload == b"now"
        peer.send(CONTINUATION, b"b")
        assert list(fragments)[-1] == b"b"

    def test_nobody_else_may_receive_meanwhile(self, pair):
        ws, peer = pair
        fragments = ws.recv_streaming()
        peer.send(BINARY, b"a", fin=False)
        assert next(fragments) == b"a"
        peer.send(CONTINUATION, b"b")
        wait_for_messages(ws)
        with pytest.raises(ConcurrencyError):
            ws.recv()
        assert list(fragments) == [b"b"]

    def test_an_interrupted_one_goes_on(self, pair):
        ws, peer = pair
        fragments = ws.recv_streaming()
        peer.send(BINARY, b"a", fin=False)
        assert next(fragments) == b"a"
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
            next(fragments)
        peer.send(CONTINUATION, b"b")
        assert list(fragments) == [b"b"]

    def test_one_that_was_given_up_is_taken_up_by_the_next_call(self, pair):
        ws, peer = pair
        peer.send(BINARY, b"a", fin=False)
        for fragment in ws.recv_streaming():
            assert fragment == b"a"
            break
        peer.send(CONTINUATION, b"b")
        assert list(ws.recv_streaming()) == [b"b"]

    def test_one_that_was_interrupted_before_it_began_leaves_recv_alone(self, pair):
        ws, peer = pair
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
            next(ws.recv_streaming())
        peer.send_bytes(peer.message_frames(TEXT, [b"a", b"b"]))
        assert ws.recv() == "ab"

    def test_it_raises_when_the_connection_ends_inside_the_message(self, pair):
        ws, peer = pair
        fragments = ws.recv_streaming()
        peer.send(BINARY, b"a", fin=False)
        assert next(fragments) == b"a"
        peer.send_close(1001)
        with pytest.raises(ConnectionClosedOK):
            next(fragments)

    def test_it_raises_where_there_is_no_message(self, pair):
        ws, peer = pair
        peer.send_close(1000)
        with pytest.raises(ConnectionClosedOK):
            next(ws.recv_streaming())

    def test_a_limit_holds_for_the_whole_message(self, make_pair):
        ws, peer = make_pair(max_size=10)
        fragments = ws.recv_streaming()
        peer.send(BINARY, bytes(6), fin=False)
        assert next(fragments) == bytes(6)
        peer.send(CONTINUATION, bytes(5))
        with pytest.raises(ConnectionClosedError):
            next(fragments)
        assert peer.read_close()[0] == 1009

    def test_wrong_text_fails_at_the_first_bad_byte(self, pair):
        ws, peer = pair
        fragments = ws.recv_streaming()
        peer.send(TEXT, b"good", fin=False)
        assert next(fragments) == "good"
        peer.send(CONTINUATION, b"\xff", fin=False)
        with pytest.raises(ConnectionClosedError):
            next(fragments)
        assert peer.read_close()[0] == 1007


class TestReadingWithoutReceiver:
    def test_pings_are_answered_while_nobody_receives(self, pair):
        _, peer = pair
        for data in (b"", b"x" * 125):
            peer.ping(data)
            frame = peer.read_frame()
            assert (frame.opcode, frame.payload) == (PONG, data)

    def test_a_ping_inside_a_message_is_answered_at_once(self, pair):
        _, peer = pair
        peer.send(TEXT, b"a", fin=False)
        peer.ping(b"p")
        assert peer.read_frame().payload == b"p"

    def test_a_close_is_answered_while_nobody_receives(self, pair):
        ws, peer = pair
        peer.send_close(3001, "done")
        assert peer.read_close() == (3001, "done")
        wait_until(lambda: ws.state.name != "OPEN")

    def test_pongs_nobody_asked_for_are_ignored(self, pair):
        ws, peer = pair
        peer.pong(b"unasked")
        peer.text("next")
        assert ws.recv() == "next"
        assert ws.latency is None

    def test_a_ping_after_the_close_frame_is_ignored(self, pair):
        ws, peer = pair
        peer.send_bytes(peer.frame(wire.CLOSE, wire.close_payload(1000)) + peer.frame(PING, b"late"))
        assert peer.read_close() == (1000, "")
        peer.half_close()
        assert ws.wait_closed(1)
        peer.read_reset()
        assert [frame.opcode for frame in peer.checker.frames] == [wire.CLOSE]

    def test_too_many_messages_that_nobody_takes_stop_the_reading(self, make_pair):
        ws, peer = make_pair(buffers=8192, peer_timeout=0.3)
        message = bytes(10_000)
        sent = 0
        with pytest.raises(TimeoutError):
            for _ in range(1000):
                peer.binary(message)
                sent += 1
        assert 5 < sent < 100
        peer.timeout = 5
        # The send that timed out was cut, so the stream cannot go on; what was sent whole is all there.
        assert [ws.recv() for _ in range(sent)] == [message] * sent


class TestPauseAndResume:
    def test_a_paused_connection_does_not_read(self, pair):
        ws, peer = pair
        ws.pause()
        assert ws.paused
        peer.text("later")
        peer.ping(b"later")
        with pytest.raises(TimeoutError):
            ws.recv(timeout=0.02)
        assert peer.checker.frames == []
        ws.resume()
        assert not ws.paused
        assert ws.recv() == "later"
        assert peer.read_frame().payload == b"later"

    def test_what_was_read_before_can_be_received(self, pair):
        ws, peer = pair
        peer.text("before")
        wait_for_messages(ws)
        ws.pause()
        assert ws.recv() == "before"
        assert ws.paused

    def test_pausing_or_resuming_twice_is_pausing_or_resuming_once(self, pair):
        ws, peer = pair
        ws.pause()
        ws.pause()
        ws.resume()
        ws.resume()
        peer.text("x")
        assert ws.recv() == "x"

    def test_the_peer_has_to_wait(self, make_pair):
        ws, peer = make_pair(buffers=8192, peer_timeout=0.1)
        ws.pause()
        with pytest.raises(TimeoutError):
            peer.binary(bytes(5_000_000))
        ws.terminate()

    def test_sending_goes_on(self, pair):
        ws, peer = pair
        ws.pause()
        ws.send("x")
        assert peer.read_message() == "x"

    def test_a_closed_connection_can_be_paused_and_resumed_without_effect(self, pair):
        ws, _ = pair
        ws.terminate()
        ws.pause()
        ws.resume()
        assert not ws.paused
