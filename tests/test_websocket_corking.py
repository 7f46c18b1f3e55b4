"""What is sent together leaves together: `cork`, and auto_cork's answers to messages that came together."""

from __future__ import annotations

import gevent
import pytest
from tools.endpoint import wait_for_messages
from tools.tasks import start, start_waiting
from tools.timing import burn, let_hub_run
from tools.wire import BINARY, PING, TEXT


class TestCork:
    def test_what_is_sent_inside_leaves_at_its_end(self, pair):
        ws, peer = pair
        with ws.cork():
            ws.send("a")
            ws.ping(b"p")
            ws.send(b"b")
            gathered = ws.buffered_amount
            let_hub_run()
            assert ws.buffered_amount == gathered > 0
        assert ws.buffered_amount == 0
        assert [peer.read_message(), peer.read_message()] == ["a", b"b"]
        assert [frame.opcode for frame in peer.checker.frames] == [TEXT, PING, BINARY]

    def test_it_leaves_earlier_when_it_is_much(self, pair):
        ws, peer = pair
        with ws.cork():
            ws.send(bytes(65536))
            assert peer.read_message() == bytes(65536)

    def test_it_can_be_nested(self, pair):
        ws, peer = pair
        with ws.cork():
            with ws.cork():
                ws.send("a")
            assert ws.buffered_amount > 0
        assert ws.buffered_amount == 0
        assert peer.read_message() == "a"

    def test_an_exception_inside_does_not_hold_it_back(self, pair):
        ws, peer = pair
        with pytest.raises(LookupError), ws.cork():
            ws.send("a")
            raise LookupError
        assert peer.read_message() == "a"
        ws.send("b")
        assert peer.read_message() == "b"

    def test_flush_writes_what_is_corked(self, pair):
        ws, peer = pair
        with ws.cork():
            ws.send("a")
            ws.flush()
            assert peer.read_message() == "a"

    def test_close_writes_what_is_corked(self, pair):
        ws, peer = pair
        with ws.cork():
            ws.send("a")
            closing = start_waiting(ws.close)
        assert peer.read_message() == "a"
        peer.finish_close()
        peer.close()
        closing.result()

    def test_two_greenlets_may_cork(self, pair):
        ws, peer = pair
        with ws.cork():
            ws.send("a")
            start(self.cork_and_send, ws, "b").result()
            assert ws.buffered_amount > 0
        assert [peer.read_message(), peer.read_message()] == ["a", "b"]

    @staticmethod
    def cork_and_send(ws, message):
        with ws.cork():
            ws.send(message)


class TestAutoCork:
    """Answers to messages that came together leave together, and none is held back by a wait."""

    @staticmethod
    def batch(ws, peer, count=3):
        peer.send_bytes(b"".join(peer.frame(TEXT, b"%d" % number) for number in range(count)))
        wait_for_messages(ws, count)

    def test_answers_to_a_batch_leave_when_it_is_empty(self, pair):
        ws, peer = pair
        self.batch(ws, peer)
        waiting = []
        for _ in range(3):
            ws.send("re: " + ws.recv())
            waiting.append(ws.buffered_amount > 0)
        assert waiting == [True, True, False]
        assert [peer.read_message() for _ in range(3)] == ["re: 0", "re: 1", "re: 2"]

    def test_they_leave_when_the_receiver_is_woken_for_a_batch(self, pair):
        ws, peer = pair
        gathered = []

        def serve():
            for message in ws:
                ws.send(message)
                gathered.append(ws.buffered_amount)

        serving = start_waiting(serve)
        peer.send_bytes(b"".join(peer.frame(TEXT, b"%d" % number) for number in range(3)))
        assert [peer.read_message() for _ in range(3)] == ["0", "1", "2"]
        assert gathered[0] > 0
        assert gathered[-1] == 0
        peer.send_close()
        serving.result()

    @pytest.mark.parametrize("wait", [lambda: gevent.sleep(0.2), lambda: gevent.sleep(0), lambda: let_hub_run(1)])
    def test_they_leave_when_the_greenlet_waits_for_anything_else(self, pair, wait):
        ws, peer = pair
        self.batch(ws, peer)
        ws.send("re: " + ws.recv())
        assert ws.buffered_amount > 0
        wait()
        let_hub_run(2)
        assert ws.buffered_amount == 0
        assert peer.read_message() == "re: 0"

    def test_they_leave_when_the_receivers_greenlet_ends(self, pair):
        ws, peer = pair

        def serve_one():
            ws.send("re: " + ws.recv())

        serving = start_waiting(serve_one)
        peer.send_bytes(peer.frame(TEXT, b"0") + peer.frame(TEXT, b"1"))
        serving.result()
        assert peer.read_message() == "re: 0"

    def test_a_slow_handler_does_not_delay_its_answers(self, pair):
        ws, peer = pair
        self.batch(ws, peer, 4)
        ws.send("re: " + ws.recv())
        assert ws.buffered_amount > 0
        burn(0.001)
        ws.recv()
        assert ws.buffered_amount == 0
        assert peer.read_message() == "re: 0"

    def test_much_leaves_at_once(self, pair):
        ws, peer = pair
        self.batch(ws, peer)
        ws.recv()
        ws.send(bytes(65536))
        assert peer.read_message() == bytes(65536)

    def test_control_frames_and_close_keep_their_order(self, pair):
        ws, peer = pair
        self.batch(ws, peer)
        ws.send("re: " + ws.recv())
        ws.ping(b"p")
        closing = start_waiting(ws.close)
        assert peer.finish_close() == (1000, "")
        assert [frame.opcode for frame in peer.checker.frames][:2] == [TEXT, PING]
        peer.close()
        closing.result()

    def test_another_greenlets_messages_are_not_held_back(self, pair):
        ws, peer = pair
        self.batch(ws, peer)
        ws.recv()
        start(ws.send, "other").result()
        assert peer.read_message() == "other"

    def test_it_can_be_turned_off(self, make_pair):
        ws, peer = make_pair(auto_cork=False)
        self.batch(ws, peer)
        for _ in range(3):
            ws.send("re: " + ws.recv())
            assert ws.buffered_amount == 0
        assert [peer.read_message() for _ in range(3)] == ["re: 0", "re: 1", "re: 2"]

    def test_an_explicit_cork_holds_longer(self, pair):
        ws, peer = pair
        self.batch(ws, peer, 2)
        with ws.cork():
            ws.send("re: " + ws.recv())
            ws.send("re: " + ws.recv())
            let_hub_run()
            assert ws.buffered_amount > 0
        assert ws.buffered_amount == 0
        assert [peer.read_message(), peer.read_message()] == ["re: 0", "re: 1"]
