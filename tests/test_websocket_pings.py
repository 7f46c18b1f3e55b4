"""Pings and pongs, of the program and of the peer, and the heartbeats."""

from __future__ import annotations

import gevent
import pytest
from tools.endpoint import make_websocket
from tools.leaks import Snapshot
from tools.tasks import start, start_waiting
from tools.timing import stopwatch, wait_until
from tools.wire import CLOSE, PING, PONG, TEXT

from geventws.exceptions import ConcurrencyError, ConnectionClosedError, ConnectionClosedOK


class TestPing:
    def test_the_result_is_the_latency(self, pair):
        ws, peer = pair
        result = ws.ping()
        frame = peer.read_frame()
        assert frame.opcode == PING
        assert not result.ready()
        with stopwatch() as watch:
            gevent.sleep(0.01)
        peer.pong(frame.payload)
        latency = result.get(timeout=5)
        assert watch.seconds <= latency < 2
        assert ws.latency == latency

    @pytest.mark.parametrize("data", ["é", b"x" * 125, bytearray(b"ab"), memoryview(b"ab"), b""])
    def test_it_carries_data(self, pair, data):
        ws, peer = pair
        result = ws.ping(data)
        frame = peer.read_frame()
        assert frame.payload == (data.encode() if isinstance(data, str) else bytes(data))
        peer.pong(frame.payload)
        assert result.get(timeout=5) > 0

    def test_by_default_the_data_differ(self, pair):
        ws, peer = pair
        for _ in range(20):
            ws.ping()
        assert len({peer.read_frame().payload for _ in range(20)}) == 20

    def test_a_pong_answers_all_earlier_pings(self, pair):
        ws, peer = pair
        results = [ws.ping(data) for data in (b"1", b"2", b"3")]
        peer.pong(b"2")
        assert results[0].get(timeout=5) >= results[1].get(timeout=5) > 0
        assert not results[2].ready()
        peer.pong(b"3")
        assert results[2].get(timeout=5) > 0

    def test_a_pong_with_other_data_answers_nothing(self, pair):
        ws, peer = pair
        result = ws.ping(b"1")
        peer.pong(b"other")
        peer.text("m")
        assert ws.recv() == "m"
        assert not result.ready()

    def test_two_with_the_same_data_cannot_wait_at_once(self, pair):
        ws, peer = pair
        result = ws.ping(b"1")
        with pytest.raises(ConcurrencyError):
            ws.ping(b"1")
        peer.pong(b"1")
        result.get(timeout=5)
        ws.ping(b"1")

    @pytest.mark.parametrize("method", ["ping", "pong"])
    def test_a_control_frame_has_at_most_125_bytes(self, pair, method):
        ws, peer = pair
        with pytest.raises(ValueError, match="125"):
            getattr(ws, method)(b"x" * 126)
        with pytest.raises(TypeError):
            getattr(ws, method)(5)
        ws.send("next")
        assert peer.read_message() == "next"

    def test_a_pong_may_be_sent_unasked(self, pair):
        ws, peer = pair
        ws.pong()
        ws.pong("é")
        assert [peer.read_frame()[:2] for _ in range(2)] == [(PONG, b""), (PONG, "é".encode())]

    def test_the_end_of_the_connection_is_an_error_of_the_result(self, pair):
        ws, peer = pair
        results = [ws.ping(), ws.ping()]
        peer.send_close(1001, "bye")
        peer.read_close()
        peer.close()
        for result in results:
            with pytest.raises(ConnectionClosedOK, match="bye"):
                result.get(timeout=5)


class TestPingsOfThePeer:
    def test_on_ping_and_on_pong_are_called_in_order_with_the_messages(self, pair):
        ws, peer = pair
        seen = []
        ws.on_ping = lambda data: seen.append(("ping", data))
        ws.on_pong = lambda data: seen.append(("pong", data))
        for opcode, payload in ((PING, b"1"), (TEXT, b"a"), (PONG, b"2"), (TEXT, b"b")):
            peer.send(opcode, payload)
        seen.append(ws.recv())
        seen.append(ws.recv())
        assert seen == [("ping", b"1"), "a", ("pong", b"2"), "b"]
        assert peer.read_frame().payload == b"1"

    def test_a_hook_is_called_while_recv_waits_for_a_message(self, pair):
        ws, peer = pair
        seen = []
        ws.on_ping = seen.append
        receiving = start_waiting(ws.recv)
        peer.ping(b"x")
        wait_until(lambda: seen == [b"x"])
        assert not receiving.ready()
        peer.text("m")
        assert receiving.result() == "m"

    def test_what_a_hook_raises_leaves_from_recv_and_nothing_is_lost(self, pair):
        ws, peer = pair

        def fail(data):
            raise LookupError(data)

        ws.on_ping = fail
        peer.send_bytes(peer.frame(PING, b"x") + peer.frame(TEXT, b"kept"))
        with pytest.raises(LookupError):
            ws.recv()
        assert ws.recv() == "kept"

    def test_a_hook_can_be_taken_away(self, pair):
        ws, peer = pair
        ws.on_ping = ws.on_pong = print
        ws.on_ping = ws.on_pong = None
        assert (ws.on_ping, ws.on_pong) == (None, None)
        peer.ping(b"x")
        peer.text("m")
        assert ws.recv() == "m"

    def test_without_auto_pong_the_program_answers(self, make_pair):
        ws, peer = make_pair(auto_pong=False)
        ws.on_ping = ws.pong
        peer.ping(b"x")
        peer.text("m")
        assert ws.recv() == "m"
        frame = peer.read_frame()
        assert (frame.opcode, frame.payload) == (PONG, b"x")

    def test_without_auto_pong_nothing_is_answered_by_itself(self, make_pair):
        ws, peer = make_pair(auto_pong=False)
        peer.ping(b"x")
        peer.text("m")
        assert ws.recv() == "m"
        ws.send("after")
        assert peer.read_message() == "after"
        assert len(peer.checker.frames) == 1

    def test_only_the_newest_ping_is_answered_when_the_peer_does_not_read(self, make_pair):
        ws, peer = make_pair(buffers=4096)
        ws.send(bytes(300_000))
        assert ws.buffered_amount > 0
        for number in range(2000):
            peer.ping(b"%d" % number)
        peer.text("end")
        assert ws.recv() == "end"
        assert ws.buffered_amount < 310_000
        sending = start_waiting(ws.send, "last")
        while peer.read_message() != "last":
            pass
        sending.result()
        pongs = [frame.payload for frame in peer.checker.frames if frame.opcode == PONG]
        assert pongs[-1] == b"1999"
        assert len(pongs) < 2000


class TestHeartbeat:
    """Times are short here, and the upper bounds wide: what is tested is that it happens, and not before its time."""

    def test_a_silent_peer_is_pinged_after_the_interval(self, make_pair):
        with stopwatch() as watch:
            ws, peer = make_pair(ping_interval=0.05)
            frame = peer.read_frame()
        assert frame.opcode == PING
        assert 0.045 < watch.seconds < 1
        peer.pong(frame.payload)
        wait_until(lambda: ws.latency is not None)
        assert 0 < ws.latency < 1

    def test_pings_go_on_while_they_are_answered(self, make_pair):
        ws, peer = make_pair(ping_interval=0.02, ping_timeout=0.1)
        seen = set()
        for _ in range(5):
            frame = peer.read_frame()
            assert frame.opcode == PING
            seen.add(frame.payload)
            peer.pong(frame.payload)
        assert len(seen) == 5
        ws.send("alive")
        assert peer.read_message() == "alive"

    def test_a_ping_comes_after_each_interval_of_silence_though_the_timeout_is_longer(self, make_pair):
        _, peer = make_pair(ping_interval=0.05, ping_timeout=1.5)
        for _ in range(3):
            with stopwatch() as watch:
                frame = peer.read_frame()
            assert watch.seconds < 0.7
            peer.pong(frame.payload)

    def test_a_dead_peer_ends_the_connection(self, make_pair):
        with stopwatch() as watch:
            ws, peer = make_pair(ping_interval=0.05, ping_timeout=0.05)
            receiving = start_waiting(ws.recv)
            error = receiving.fault()
        assert isinstance(error, ConnectionClosedError)
        assert "silent" in str(error)
        assert 0.09 < watch.seconds < 1
        assert (ws.close_code, error.rcvd) == (1006, None)
        peer.read_reset()

    def test_a_dead_peer_ends_a_send_that_waits(self, make_pair):
        ws, _ = make_pair(buffers=4096, ping_interval=0.05, ping_timeout=0.05)
        ws.send(bytes(1_000_000))
        sending = start_waiting(ws.send, "more")
        assert isinstance(sending.fault(2), ConnectionClosedError)

    def test_a_dead_peer_ends_a_send_that_waits_while_its_messages_lie_untaken(self, make_pair):
        ws, peer = make_pair(buffers=4096, ping_interval=0.05, ping_timeout=0.05)
        for _ in range(3):
            peer.binary(bytes(30_000))
        wait_until(lambda: not ws._transport.reading)
        with pytest.raises(ConnectionClosedError, match="the peer took nothing for"):
            ws.send(bytes(300_000))
            ws.send("waits")

    def test_a_dead_peer_is_found_while_nobody_looks(self, make_pair):
        ws, _ = make_pair(ping_interval=0.02, ping_timeout=0.02)
        gevent.sleep(0.3)
        assert ws.close_code == 1006

    def test_any_byte_is_life(self, make_pair):
        ws, peer = make_pair(ping_interval=0.05, ping_timeout=0.05)
        stream = peer.frame(TEXT, bytes(100))
        for index in range(20):
            peer.send_bytes(stream[index : index + 1])
            gevent.sleep(0.02)
        peer.send_bytes(stream[20:])
        assert ws.recv() == "\0" * 100
        assert len([frame for frame in peer.checker.frames if frame.opcode == PING]) == 0

    def test_an_answer_other_than_the_pong_is_life_too(self, make_pair):
        ws, peer = make_pair(ping_interval=0.05, ping_timeout=0.2)
        for _ in range(3):
            assert peer.read_frame().opcode == PING
            peer.text("no pong")
            assert ws.recv() == "no pong"
        assert ws.latency is None

    def test_without_an_interval_there_is_none(self, make_pair):
        ws, peer = make_pair(ping_interval=None, ping_timeout=0.01)
        gevent.sleep(0.05)
        ws.send("first")
        assert peer.read_frame().opcode == TEXT

    def test_without_a_timeout_a_silent_peer_is_pinged_for_ever(self, make_pair):
        ws, peer = make_pair(ping_interval=0.02, ping_timeout=None)
        assert [peer.read_frame().opcode for _ in range(5)] == [PING] * 5
        assert ws.close_code is None

    def test_what_a_paused_connection_does_not_read_is_not_silence(self, make_pair):
        ws, peer = make_pair(ping_interval=0.02, ping_timeout=0.02)
        ws.pause()
        gevent.sleep(0.1)
        peer.text("patience")
        ws.resume()
        assert ws.recv() == "patience"

    def test_a_ping_of_the_program_is_told_from_a_heartbeat(self, make_pair):
        ws, peer = make_pair(ping_interval=0.03, ping_timeout=1)
        result = ws.ping(b"mine")
        assert peer.read_frame().payload == b"mine"
        heartbeat = peer.read_frame()
        assert heartbeat.payload != b"mine"
        # The newer one answers both (RFC 6455 section 5.5.3).
        peer.pong(heartbeat.payload)
        assert result.get(timeout=5) > 0

    def test_a_ping_is_sent_while_a_long_send_waits(self, make_pair):
        ws, peer = make_pair(buffers=4096, ping_interval=0.05, ping_timeout=5)
        ws.send(bytes(500_000))
        sending = start_waiting(ws.send, bytes(1000))
        gevent.sleep(0.1)
        assert [peer.read_message(), peer.read_message()] == [bytes(500_000), bytes(1000)]
        sending.result()
        assert PING in [frame.opcode for frame in peer.checker.frames]

    def test_all_connections_of_a_hub_share_one_timer(self, role):
        links = [gevent.socket.socketpair() for _ in range(20)]
        before = Snapshot()
        websockets = [make_websocket(sock, role, ping_interval=30) for sock, _ in links]
        timers = [thing for thing in before.leftovers() if "timer" in type(thing).__name__]
        assert len(timers) == 1
        for ws, (_, other) in zip(websockets, links, strict=True):
            ws.terminate()
            other.close()

    def test_a_slow_handshake_of_closing_is_not_pinged(self, make_pair):
        ws, peer = make_pair(ping_interval=0.02, close_timeout=0.2)
        closing = start(ws.close)
        closing.result()
        peer.read_reset()
        assert [frame.opcode for frame in peer.checker.frames] == [CLOSE]
