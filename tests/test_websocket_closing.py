"""How a connection ends: the closing handshake of both sides, and the ends without one."""

from __future__ import annotations

import gc
import sys
import weakref

import gevent
import gevent.event
import pytest
from gevent import get_hub
from tools.endpoint import make_peer, make_websocket, wait_for_messages
from tools.peer import Peer
from tools.tasks import start, start_waiting
from tools.timing import burn, let_hub_run, stopwatch
from tools.wire import CLOSE, TEXT

from geventws.deflate import Parameters
from geventws.events import State
from geventws.exceptions import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK
from geventws.frames import CloseFrame
from geventws.hubs import YIELD_AFTER

NARROW = 4096


def close_and_answer(ws, peer, *arguments):
    """Close in a greenlet, let the peer answer and end TCP; what the peer saw."""
    closing = start(ws.close, *arguments)
    seen = peer.finish_close(*arguments[:1] or (1000,))
    peer.half_close()
    peer.read_eof()
    closing.result()
    return seen


class TestClose:
    @pytest.mark.parametrize("arguments, frame", [((), (1000, "")), ((1001, "é"), (1001, "é")), ((4999,), (4999, ""))])
    def test_it_sends_a_close_frame_and_waits_for_the_end(self, pair, arguments, frame):
        ws, peer = pair
        closing = start_waiting(ws.close, *arguments)
        assert ws.state is State.CLOSING
        assert peer.read_close() == frame
        assert not closing.ready()
        peer.send_close(frame[0], frame[1])
        peer.half_close()
        peer.read_eof()
        closing.result()
        assert ws.state is State.CLOSED
        assert (ws.close_code, ws.close_reason) == frame

    def test_what_was_sent_before_comes_before(self, make_pair):
        ws, peer = make_pair(buffers=NARROW)
        ws.send(bytes(300_000))
        ws.ping(b"p")
        closing = start_waiting(ws.close)
        assert peer.read_message() == bytes(300_000)
        assert peer.finish_close() == (1000, "")
        peer.half_close()
        peer.read_eof()
        closing.result()

    def test_nothing_can_be_sent_afterwards(self, pair):
        ws, peer = pair
        close_and_answer(ws, peer)
        for call in (lambda: ws.send("x"), ws.ping, ws.pong, ws.flush, ws.recv):
            with pytest.raises(ConnectionClosedOK):
                call()

    def test_messages_that_come_before_the_answer_can_be_received(self, pair):
        ws, peer = pair
        closing = start_waiting(ws.close)
        peer.text("one")
        peer.text("two")
        peer.finish_close()
        peer.close()
        closing.result()
        assert list(ws) == ["one", "two"]

    def test_the_reader_goes_on_until_the_answer(self, pair):
        ws, peer = pair
        seen = []
        reading = start_waiting(lambda: seen.extend(ws))
        closing = start_waiting(ws.close)
        peer.text("late")
        peer.finish_close()
        peer.close()
        closing.result()
        reading.result()
        assert seen == ["late"]

    def test_a_ping_that_comes_before_the_answer_is_not_answered(self, pair):
        ws, peer = pair
        closing = start_waiting(ws.close)
        peer.ping(b"x")
        peer.finish_close()
        peer.half_close()
        peer.read_eof()
        closing.result()

    @pytest.mark.parametrize(
        "arguments, error",
        [
            ((1005,), ValueError),
            ((1006,), ValueError),
            ((1015,), ValueError),
            ((999,), ValueError),
            ((5000,), ValueError),
            ((1000, "x" * 124), ValueError),
            ((1000, "é" * 62), ValueError),
            ((1000, "\ud800"), ValueError),
            (("1000",), TypeError),
            ((1000, b"bye"), TypeError),
            ((1000, None), TypeError),
        ],
    )
    def test_a_wrong_code_or_reason_is_refused_and_nothing_is_sent(self, pair, arguments, error):
        ws, peer = pair
        with pytest.raises(error):
            ws.close(*arguments)
        assert ws.state is State.OPEN
        ws.send("still open")
        assert peer.read_message() == "still open"

    def test_a_second_close_waits_for_the_first(self, pair):
        ws, peer = pair
        closing = [start_waiting(ws.close, 1000 + number) for number in range(3)]
        assert peer.finish_close() == (1000, "")
        peer.half_close()
        peer.read_eof()
        for task in closing:
            task.result()
        ws.close()

    def test_in_the_hub_it_does_not_wait(self, pair):
        ws, peer = pair
        get_hub().loop.run_callback(ws.close, 1001, "from the hub")
        assert peer.finish_close(1001) == (1001, "from the hub")
        peer.close()
        assert ws.wait_closed(2)

    def test_a_peer_that_never_answers_is_waited_for_no_longer_than_close_timeout(self, make_pair):
        ws, peer = make_pair(close_timeout=0.1)
        with stopwatch() as watch:
            ws.close()
        assert 0.09 < watch.seconds < 0.5
        assert ws.state is State.CLOSED
        assert (ws.close_code, ws.close_reason) == (1006, "")
        with pytest.raises(ConnectionClosedError, match=r"closing handshake took more than 0\.1 s") as caught:
            ws.recv()
        assert (caught.value.sent, caught.value.rcvd) == ((1000, ""), None)
        peer.read_reset()

    def test_without_a_timeout_it_waits_for_the_peer(self, make_pair):
        ws, peer = make_pair(close_timeout=None)
        closing = start_waiting(ws.close)
        gevent.sleep(0.05)
        assert not closing.ready()
        peer.finish_close()
        peer.close()
        closing.result()

    def test_an_interrupted_close_goes_on_without_its_caller(self, pair):
        ws, peer = pair
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
            ws.close(1001)
        assert peer.finish_close(1001) == (1001, "")
        peer.close()
        assert ws.wait_closed(2)
        with pytest.raises(ConnectionClosedOK):
            ws.recv()


class TestWhoClosedFirst:
    """`rcvd_then_sent` of what tells of the end."""

    def told(self, ws):
        with pytest.raises(ConnectionClosed) as caught:
            ws.recv()
        return caught.value.rcvd_then_sent

    def test_it_was_this_side(self, pair):
        ws, peer = pair
        close_and_answer(ws, peer)
        assert self.told(ws) is False

    def test_it_was_the_peer(self, pair):
        ws, peer = pair
        peer.send_close(1000)
        assert self.told(ws) is True

    def test_it_was_the_peer_even_where_a_close_of_ours_has_another_code(self, pair):
        ws, peer = pair
        peer.send_bytes(peer.frame(TEXT, b"last") + peer.frame(CLOSE, b"\x03\xe8"))
        assert ws.recv() == "last"
        ws.start_close(CloseFrame(4000, "mine"))  # before the hub has answered with the code that came
        assert peer.read_close() == (4000, "mine")
        assert self.told(ws) is True

    def test_it_was_this_side_where_the_frames_crossed(self, pair):
        ws, peer = pair
        ws.start_close(CloseFrame(4000))
        peer.send_close(1000)
        peer.half_close()
        assert self.told(ws) is False

    def test_it_was_nobody_where_a_close_frame_is_missing(self, pair):
        ws, peer = pair
        peer.half_close()
        assert self.told(ws) is None


class TestCloseByThePeer:
    @pytest.mark.parametrize(
        "code, error",
        [(1000, ConnectionClosedOK), (1001, ConnectionClosedOK), (None, ConnectionClosedOK)]
        + [(code, ConnectionClosedError) for code in (1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 3000, 4000)],
    )
    def test_it_is_answered_with_the_same_code_and_told(self, pair, code, error):
        ws, peer = pair
        reason = "" if code is None else "why"
        peer.text("last")
        peer.send_close(code, reason)
        assert ws.recv() == "last"
        with pytest.raises(ConnectionClosed) as caught:
            ws.recv()
        seen = (code or 1005, reason)
        assert type(caught.value) is error
        assert (caught.value.rcvd, caught.value.sent) == (seen, seen)
        assert peer.read_close() == seen
        assert (ws.close_code, ws.close_reason) == seen

    def test_each_later_call_tells_the_same(self, pair):
        ws, peer = pair
        peer.send_close(4000, "why")
        for _ in range(3):
            with pytest.raises(ConnectionClosedError, match="4000"):
                ws.recv()
        with pytest.raises(ConnectionClosedError, match="4000"):
            ws.send("x")

    def test_what_waits_to_be_written_precedes_the_answer(self, make_pair):
        ws, peer = make_pair(buffers=NARROW)
        ws.send(bytes(200_000))
        peer.send_close()
        assert peer.read_message() == bytes(200_000)
        assert peer.read_close() == (1000, "")

    def test_a_message_that_is_cut_by_the_close_frame_is_dropped(self, pair):
        ws, peer = pair
        peer.send(TEXT, b"half", fin=False)
        peer.send_close()
        assert list(ws) == []


class TestEndOfTCP:
    def test_a_server_ends_tcp_first_and_a_client_waits_for_it(self, pair, role):
        """RFC 6455 section 7.1.1."""
        ws, peer = pair
        peer.send_close()
        assert peer.read_close() == (1000, "")
        if role == "server":
            peer.read_eof()
        else:
            peer.sock.settimeout(0.05)
            with pytest.raises(TimeoutError):
                peer.read_some()
            assert ws.state is State.CLOSING
        peer.close()
        assert ws.wait_closed(2)

    def test_a_peer_that_keeps_tcp_open_is_left_soon(self, pair):
        ws, peer = pair
        peer.send_close()
        peer.read_close()
        with stopwatch() as watch:
            assert ws.wait_closed(5)
        assert watch.seconds < 2
        assert ws.close_code == 1000

    def test_it_is_left_even_when_it_goes_on_sending(self, pair):
        ws, peer = pair
        peer.send_close()
        peer.read_close()

        def drip():
            while True:
                peer.send_bytes(b"x" * 1000)
                gevent.sleep(0.01)

        dripping = start(drip)
        assert ws.wait_closed(3)
        assert isinstance(dripping.fault(), OSError)
        assert ws.close_code == 1000

    @pytest.mark.parametrize("how", ["half_close", "truncate", "close"])
    def test_an_end_without_a_close_frame_is_an_error(self, pair, how):
        ws, peer = pair
        peer.text("last")
        getattr(peer, how)()
        assert ws.recv() == "last"
        with pytest.raises(ConnectionClosedError) as caught:
            ws.recv()
        assert (caught.value.code, caught.value.rcvd, caught.value.sent) == (1006, None, None)
        assert (ws.close_code, ws.close_reason) == (1006, "")
        assert ws.state is State.CLOSED

    def test_an_end_inside_a_frame_is_an_error(self, pair):
        ws, peer = pair
        peer.send_bytes(peer.frame(TEXT, b"whole") + peer.frame(TEXT, b"cut off")[:-1])
        peer.half_close()
        assert ws.recv() == "whole"
        with pytest.raises(ConnectionClosedError):
            ws.recv()

    def test_a_reset_is_an_error_with_its_cause(self, pair, transport):
        ws, peer = pair
        receiving = start_waiting(ws.recv)
        if transport == "unix":
            ws.send("unread")  # which is what makes a unix socket tell of a reset
        peer.reset()
        error = receiving.fault()
        assert isinstance(error, ConnectionClosedError)
        if transport != "tls":  # before 3.13, Python's ssl takes a reset for an end
            assert isinstance(error.__cause__, OSError)

    def test_a_failed_write_still_lets_what_came_before_be_read(self, pair):
        ws, peer = pair
        ws.pause()
        peer.text("sent before")
        let_hub_run()
        peer.close()
        let_hub_run()

        def send_until_it_fails():
            while True:
                ws.send("x" * 1000)
                gevent.sleep(0.001)

        assert isinstance(start(send_until_it_fails).fault(), ConnectionClosedError)
        ws.resume()
        seen = []
        with pytest.raises(ConnectionClosedError):
            seen.extend(iter(ws.recv, None))
        assert seen in (["sent before"], [])


class TestTerminate:
    def test_it_ends_tcp_at_once_without_a_close_frame(self, pair):
        ws, peer = pair
        with stopwatch() as watch:
            ws.terminate()
        assert watch.seconds < 0.1
        assert ws.state is State.CLOSED
        assert ws.close_code == 1006
        peer.read_reset()
        assert peer.checker.closed is None

    def test_once_or_twice_or_after_close_is_the_same(self, pair):
        ws, _ = pair
        ws.terminate()
        ws.terminate()
        ws.close()
        assert ws.wait_closed(0)
        with pytest.raises(ConnectionClosedError, match="terminated"):
            ws.recv()

    def test_it_ends_a_close_that_waits(self, pair):
        ws, _ = pair
        closing = start_waiting(ws.close)
        ws.terminate()
        closing.result()
        assert ws.close_code == 1006

    def test_what_was_received_can_still_be_taken(self, pair):
        ws, peer = pair
        peer.text("kept")
        wait_for_messages(ws)
        ws.terminate()
        assert ws.recv() == "kept"
        with pytest.raises(ConnectionClosedError):
            ws.recv()

    def test_in_the_hub_it_works_too(self, pair):
        ws, _ = pair
        receiving = start_waiting(ws.recv)
        get_hub().loop.run_callback(ws.terminate)
        assert isinstance(receiving.fault(), ConnectionClosedError)


class TestWaitClosed:
    def test_it_tells_whether_it_has_ended(self, pair):
        ws, peer = pair
        assert ws.wait_closed(0.01) is False
        assert ws.wait_closed(0) is False
        waiting = start_waiting(ws.wait_closed)
        peer.close()
        assert waiting.result() is True
        assert ws.wait_closed() is True

    def test_it_does_not_close(self, pair):
        ws, peer = pair
        ws.wait_closed(0.01)
        ws.send("open")
        assert peer.read_message() == "open"


class TestContextManager:
    def test_it_closes_with_1000(self, pair):
        ws, peer = pair

        def work():
            with ws as same:
                assert same is ws
                ws.send("inside")

        working = start(work)
        assert peer.read_message() == "inside"
        assert peer.finish_close() == (1000, "")
        peer.close()
        working.result()
        assert ws.state is State.CLOSED

    def test_on_an_exception_it_closes_with_1011_and_lets_it_pass(self, pair):
        ws, peer = pair
        error = LookupError("mine")

        def work():
            with ws:
                raise error

        working = start(work)
        assert peer.finish_close(1011)[0] == 1011
        peer.close()
        assert working.fault() is error

    @pytest.mark.parametrize("error", [gevent.GreenletExit, KeyboardInterrupt, SystemExit, gevent.Timeout])
    def test_a_kill_or_a_timeout_is_not_delayed_by_the_peer(self, pair, error):
        ws, peer = pair
        raised = error()

        def work():
            with ws:
                raise raised

        with stopwatch() as watch:
            assert start(work).fault() is raised
        assert watch.seconds < 0.5
        assert peer.finish_close(1011)[0] == 1011
        peer.close()
        assert ws.wait_closed(2)

    def test_it_may_end_when_the_connection_has_ended(self, pair):
        ws, _ = pair
        with ws:
            ws.terminate()

    def test_a_closed_connection_leaves_the_exception_that_told_of_it(self, pair):
        ws, peer = pair
        peer.send_close(4000)
        with pytest.raises(ConnectionClosedError, match="4000"), ws:
            ws.recv()


class TestLastEvent:
    """What ends the connection waits for the greenlet that was waiting to answer the messages before it."""

    @staticmethod
    def echo(ws):
        for message in ws:
            ws.send(message)

    def test_messages_before_a_violation_can_be_answered(self, pair):
        ws, peer = pair
        echoing = start_waiting(self.echo, ws)
        peer.send_bytes(peer.frame(TEXT, b"1") + peer.frame(TEXT, b"2") + peer.frame(3))
        assert [peer.read_message(), peer.read_message()] == ["1", "2"]
        assert peer.read_close()[0] == 1002
        peer.close()
        assert isinstance(echoing.fault(), ConnectionClosedError)

    def test_messages_before_a_close_frame_can_be_answered(self, pair):
        ws, peer = pair
        echoing = start_waiting(self.echo, ws)
        peer.send_bytes(peer.frame(TEXT, b"1") + peer.frame(TEXT, b"2") + peer.frame(CLOSE, b"\x03\xe8"))
        assert [peer.read_message(), peer.read_message()] == ["1", "2"]
        assert peer.read_close() == (1000, "")
        peer.half_close()
        assert echoing.result() is None

    def test_a_slow_greenlet_that_lets_the_hub_run_can_still_answer(self, pair):
        """Between two messages it yields, since the hub has not run for so long."""
        ws, peer = pair

        def echo_slowly():
            for message in ws:
                burn(2 * YIELD_AFTER)
                ws.send(message)

        echoing = start_waiting(echo_slowly)
        peer.send_bytes(b"".join(peer.frame(TEXT, b"%d" % number) for number in range(4)) + peer.frame(3))
        assert [peer.read_message() for _ in range(4)] == ["0", "1", "2", "3"]
        assert peer.read_close()[0] == 1002
        peer.close()
        assert isinstance(echoing.fault(), ConnectionClosedError)

    def test_a_greenlet_that_does_something_else_delays_nothing(self, pair):
        ws, peer = pair
        hold = gevent.event.Event()
        busy = start_waiting(lambda: (ws.recv(), hold.wait(5)))
        peer.send_bytes(peer.frame(TEXT, b"1") + peer.frame(TEXT, b"2") + peer.frame(3))
        assert peer.read_close()[0] == 1002
        assert ws.recv() == "2"
        hold.set()
        busy.result()
        peer.close()

    def test_messages_that_came_with_the_handshake_can_be_answered(self, link, role, open_websocket):
        client, server = link
        mine, other = (client, server) if role == "client" else (server, client)
        peer = Peer(other, client=role == "server")
        ws = open_websocket(mine, role, head=peer.frame(TEXT, b"1") + peer.frame(3))
        with pytest.raises(ConnectionClosedError):
            self.echo(ws)
        assert peer.read_message() == "1"
        assert peer.read_close()[0] == 1002
        peer.close()

    def test_messages_that_came_with_a_handshake_long_ago_can_be_answered(self, link, role, open_websocket):
        client, server = link
        mine, other = (client, server) if role == "client" else (server, client)
        peer = Peer(other, client=role == "server")
        ws = open_websocket(mine, role, head=peer.frame(TEXT, b"1") + peer.frame(3))
        burn(2 * YIELD_AFTER)
        with pytest.raises(ConnectionClosedError):
            self.echo(ws)
        assert peer.read_message() == "1"
        assert peer.read_close()[0] == 1002
        peer.close()


def close_well(ws, peer):
    close_and_answer(ws, peer)


def close_by_the_peer(ws, peer):
    peer.send_close(1000)
    with pytest.raises(ConnectionClosedOK):
        ws.recv()
    peer.half_close()
    peer.read_eof()


def terminate(ws, peer):
    ws.terminate()


def lose_the_peer(ws, peer):
    peer.close()
    with pytest.raises(ConnectionClosedError):
        ws.recv()


def violate_the_protocol(ws, peer):
    peer.send(0x3, b"")
    with pytest.raises(ConnectionClosedError):
        ws.recv()
    peer.half_close()
    peer.read_eof()


def be_silent(ws, peer):
    with pytest.raises(ConnectionClosedError):
        ws.recv()


class TestFreed:
    ENDINGS = (close_well, close_by_the_peer, terminate, lose_the_peer, violate_the_protocol, be_silent)

    @pytest.mark.parametrize("end", ENDINGS)
    def test_an_ended_connection_is_freed_without_the_garbage_collector(self, make_link, role, end):
        """However many connections end, none waits for a collection, and no descriptor or buffer with it."""
        mine, other = make_link() if role == "client" else reversed(make_link())
        silence = {"ping_interval": 0.01, "ping_timeout": 0.01} if end is be_silent else {}
        ws = make_websocket(mine, role, deflate=Parameters(), **silence)
        peer = make_peer(other, role, deflate=Parameters())
        ws.send(bytes(5000))
        parts = [weakref.ref(ws), weakref.ref(ws.request)]
        transport = ws._transport
        gc.collect()
        gc.disable()
        try:
            end(ws, peer)
            ws.wait_closed()
            let_hub_run()
            del ws
            assert [part() for part in parts] == [None, None]
            assert sys.getrefcount(transport) <= 2
        finally:
            gc.enable()
