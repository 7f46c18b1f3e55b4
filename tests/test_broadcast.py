"""One message to many connections, in both roles and over each transport."""

from __future__ import annotations

import logging
import random
import threading
from sys import getrefcount

import gevent
import pytest
from gevent import get_hub
from tools import circumstances
from tools.endpoint import make_peer, make_websocket
from tools.links import tcp_pair, unix_pair
from tools.tasks import start, start_waiting
from tools.timing import burn, stopwatch, wait_until
from tools.wire import BINARY, CONTINUATION, PING, RSV1, TEXT

from geventws import PreparedMessage, State, broadcast
from geventws.broadcast import LONGEST_DEFLATED, MAX_QUEUED
from geventws.compression import Compressor
from geventws.deflate import Parameters, PerMessageDeflate
from geventws.exceptions import ConcurrencyError, ConnectionClosedError, InvalidState

NARROW = 4096
WORDS = "again and again " * 100
BIG = bytes(range(256)) * 2000
TAKEOVER = Parameters()
FRESH = Parameters(server_no_context_takeover=True, client_no_context_takeover=True)


@pytest.fixture
def unix_pairs(open_websocket):
    """Makes servers' WebSockets with their peers over unix sockets, where the kernel takes little that nobody reads."""
    peers = []

    def make(count=1, buffers=None, **arguments):
        made = []
        for _ in range(count):
            client, server = unix_pair(buffers)
            peers.append(make_peer(client, "server", deflate=arguments.get("deflate")))
            made.append((open_websocket(server, "server", **arguments), peers[-1]))
        return made

    yield make
    for peer in peers:
        peer.close()


class TestMessages:
    @pytest.mark.parametrize(
        ("message", "text", "frame"),
        [
            ("é", None, (TEXT, "é".encode())),
            (b"\xff", None, (BINARY, b"\xff")),
            (bytearray(b"ab"), None, (BINARY, b"ab")),
            (b"ab", True, (TEXT, b"ab")),
            ("ab", False, (BINARY, b"ab")),
            (PreparedMessage("ab"), None, (TEXT, b"ab")),
            (BIG, None, (BINARY, BIG)),
        ],
        ids=["text", "binary", "buffer", "as text", "as binary", "prepared", "long"],
    )
    def test_everybody_gets_it(self, make_pair, message, text, frame):
        pairs = [make_pair() for _ in range(3)]
        assert broadcast([ws for ws, _ in pairs], message, text=text) == 3
        for _, peer in pairs:
            assert peer.read_frame()[:4] == (*frame, True, 0)

    def test_each_client_masks_with_a_key_of_its_own(self, make_pair, role):
        pairs = [make_pair() for _ in range(8)]
        for size in (5, 5000):
            broadcast([ws for ws, _ in pairs], bytes(size))
            keys = {peer.read_frame().key for _, peer in pairs}
            assert len(keys) == (8 if role == "client" else 1)

    def test_both_roles_may_be_among_the_clients(self, open_websocket):
        (client, server_end), (client_end, server) = tcp_pair(), tcp_pair()
        peers = [make_peer(server_end, "client"), make_peer(client_end, "server")]
        websockets = [open_websocket(client, "client"), open_websocket(server, "server")]
        assert broadcast(websockets, "news") == 2
        assert [peer.read_message() for peer in peers] == ["news", "news"]
        for peer in peers:
            peer.close()

    def test_the_callers_buffer_may_be_changed_at_once(self, make_pair):
        ws, peer = make_pair(buffers=NARROW)
        data = bytearray(BIG)
        broadcast([ws], data)
        data[:] = bytes(len(data))
        assert peer.read_message() == BIG

    def test_messages_keep_their_order_among_the_connections_own(self, pair):
        ws, peer = pair
        for number in range(0, 100, 2):
            ws.send(str(number))
            broadcast([ws], str(number + 1))
        assert [peer.read_message() for _ in range(100)] == [str(number) for number in range(100)]

    def test_nobody_is_everybody(self):
        assert broadcast([], "news") == 0

    def test_any_iterable_will_do(self, pair):
        ws, peer = pair
        assert broadcast({ws: "name"}, "dict") == 1
        assert broadcast((ws for _ in range(1)), "generator") == 1
        assert [peer.read_message(), peer.read_message()] == ["dict", "generator"]

    def test_those_that_are_not_open_are_passed_over(self, make_pair):
        (closed, _), (closing, closing_peer), (open_, peer) = make_pair(), make_pair(), make_pair()
        closed.terminate()
        closing_peer.send_close()
        closing_peer.read_close()
        assert broadcast([closed, closing, open_], "news") == 1
        assert peer.read_message() == "news"

    def test_a_connection_whose_peer_is_gone_is_not_counted(self, make_pair):
        (gone, gone_peer), (open_, peer) = make_pair(), make_pair()
        gone_peer.reset()
        wait_until(lambda: broadcast([gone, open_], "news") == 1)
        assert peer.read_message() == "news"


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "error", "match"),
        [
            ({"message": 5}, TypeError, "a message is text"),
            ({"message": ["a", "b"]}, TypeError, "no iterable"),
            ({"message": "\ud800"}, UnicodeEncodeError, "surrogates"),
            ({"message": b"\xff", "text": True}, UnicodeDecodeError, "invalid start"),
            ({"message": PreparedMessage("a"), "text": True}, ValueError, "text or binary already"),
            ({"on_slow": "wait"}, ValueError, "on_slow"),
            ({"on_slow": None}, ValueError, "on_slow"),
            ({"max_queued": -1}, ValueError, "max_queued"),
            ({"max_queued": "1"}, TypeError, "max_queued"),
        ],
        ids=repr,
    )
    def test_a_wrong_argument_sends_nothing(self, unix_pairs, arguments, error, match):
        [(ws, peer)] = unix_pairs()
        with pytest.raises(error, match=match):
            broadcast([ws], **{"message": "wrong", **arguments})
        ws.send("next")
        assert peer.read_message() == "next"

    def test_what_is_no_websocket_sends_nothing_to_the_others(self, unix_pairs):
        [(ws, peer)] = unix_pairs()
        with pytest.raises(TypeError, match="clients are WebSockets, not 'x'"):
            broadcast([ws, "x"], "wrong")
        with pytest.raises(TypeError, match="not one"):
            broadcast(ws, "wrong")
        ws.send("next")
        assert peer.read_message() == "next"

    @circumstances.threads
    def test_connections_of_another_thread_are_refused_before_a_byte_is_written(self, unix_pairs):
        """It has a hub of its own, whose connections are not to be touched from here."""
        [(ws, peer)] = unix_pairs()
        seen = []

        def other_thread():
            left, right = tcp_pair()
            other, other_peer = make_websocket(left, "server"), make_peer(right, "server")
            for clients in ([ws], [other, ws], [ws, other]):
                with pytest.raises(ConcurrencyError, match="another thread's"):
                    broadcast(clients, "wrong")
            broadcast([other], "here")
            seen.append(other_peer.read_message())
            other.terminate()
            other_peer.close()
            get_hub().destroy()

        thread = threading.Thread(target=other_thread)
        thread.start()
        thread.join()
        assert seen == ["here"]
        ws.send("next")
        assert peer.read_message() == "next"


class TestAmongFrames:
    """A broadcast goes in between messages, never into one."""

    def test_it_follows_the_frame_that_the_kernel_has_half_of(self, make_pair):
        ws, peer = make_pair(buffers=NARROW)
        ws.send(BIG)
        broadcast([ws], "behind")
        ws.ping(b"last")
        assert [peer.read_frame()[1] for _ in range(3)] == [BIG, b"behind", b"last"]

    def test_it_follows_the_last_fragment_of_a_message_that_has_begun(self, pair):
        ws, peer = pair

        def fragments():
            yield "a"
            for number in range(3):
                assert broadcast([ws], str(number)) == 1
                assert ws.buffered_amount > 0
            yield "b"

        ws.send(fragments())
        assert ws.buffered_amount == 0
        ws.send("next")
        assert [peer.read_message() for _ in range(5)] == ["ab", "0", "1", "2", "next"]
        assert CONTINUATION in {frame.opcode for frame in peer.checker.frames}

    def test_it_leaves_before_those_who_wait_behind_the_fragments(self, pair):
        ws, peer = pair
        go_on = gevent.event.Event()

        def fragments():
            yield "a"
            go_on.wait()
            yield "b"

        first = start(ws.send, fragments())
        second = start_waiting(ws.send, "waited")
        broadcast([ws], "shared")
        go_on.set()
        first.result()
        second.result()
        assert [peer.read_message() for _ in range(3)] == ["ab", "shared", "waited"]

    def test_what_waits_behind_a_message_that_is_broken_off_is_dropped(self, pair):
        ws, peer = pair

        def fragments():
            yield "a"
            broadcast([ws], "never")
            raise LookupError

        with pytest.raises(LookupError):
            ws.send(fragments())
        assert ws.buffered_amount == 0
        assert peer.read_close()[0] == 1011
        assert peer.checker.messages == []

    @pytest.mark.parametrize("more", [b"", BIG], ids=["which the kernel takes at once", "which it does not"])
    def test_flush_waits_for_what_waits_behind_the_fragments(self, make_pair, more):
        ws, peer = make_pair(buffers=NARROW)
        go_on = gevent.event.Event()

        def fragments():
            yield b"a"
            go_on.wait()
            yield b"b"

        sending = start(ws.send, fragments())
        assert broadcast([ws], b"behind" + more) == 1
        with pytest.raises(TimeoutError):
            ws.flush(timeout=0)
        flushing = start_waiting(ws.flush)
        go_on.set()
        sending.result()
        assert [peer.read_message() for _ in range(2)] == [b"ab", b"behind" + more]
        flushing.result()
        assert ws.buffered_amount == 0

    def test_flush_writes_what_came_behind_the_fragments_and_is_corked(self, pair):
        ws, peer = pair
        go_on = gevent.event.Event()

        def fragments():
            yield "a"
            go_on.wait()

        with ws.cork():
            sending = start(ws.send, fragments())
            broadcast([ws], "behind")
            flushing = start_waiting(ws.flush)
            go_on.set()
            sending.result()
            flushing.result()
            assert [peer.read_message() for _ in range(2)] == ["a", "behind"]

    def test_flush_in_the_fragments_does_not_wait_for_what_waits_behind_them(self, pair):
        ws, peer = pair

        def fragments():
            yield "a"
            broadcast([ws], "behind")
            ws.flush(timeout=5)
            yield "b"

        ws.send(fragments())
        assert [peer.read_message() for _ in range(2)] == ["ab", "behind"]

    def test_flush_tells_that_what_waited_behind_the_fragments_was_dropped(self, pair):
        ws, peer = pair
        go_on = gevent.event.Event()

        def fragments():
            yield "a"
            go_on.wait()
            raise LookupError

        sending = start(ws.send, fragments())
        broadcast([ws], "never")
        flushing = start_waiting(ws.flush)
        go_on.set()
        assert isinstance(sending.fault(), LookupError)
        assert peer.finish_close()[0] == 1011
        peer.close()
        assert isinstance(flushing.fault(), ConnectionClosedError)
        assert ws.buffered_amount == 0

    def test_flush_is_content_where_the_connection_is_closed_behind_what_waited(self, pair):
        ws, peer = pair
        go_on = gevent.event.Event()

        def fragments():
            yield "a"
            go_on.wait()

        def send_and_close():
            ws.send(fragments())
            ws.close()

        closing = start(send_and_close)
        broadcast([ws], "behind")
        flushing = start_waiting(ws.flush)
        go_on.set()
        flushing.result()
        assert peer.read_close()[0] == 1000
        assert peer.checker.messages == ["a", "behind"]
        peer.finish_close()
        peer.close()
        closing.result()

    def test_what_waits_behind_the_fragments_counts_for_the_bound(self, pair):
        ws, peer = pair

        def fragments():
            yield "a"
            assert broadcast([ws], bytes(1000), on_slow="drop", max_queued=1500) == 1
            assert broadcast([ws], bytes(1000), on_slow="drop", max_queued=1500) == 1
            assert broadcast([ws], bytes(1000), on_slow="drop", max_queued=1500) == 0

        ws.send(fragments())
        assert [peer.read_message() for _ in range(3)] == ["a", bytes(1000), bytes(1000)]

    def test_replies_that_are_gathered_leave_before_it(self, pair):
        ws, peer = pair
        peer.send_bytes(peer.frame(TEXT, b"1") + peer.frame(TEXT, b"2"))
        for number in (1, 2):
            ws.send(f"reply to {ws.recv()}")
            broadcast([ws], f"shared {number}")
        expected = ["reply to 1", "shared 1", "reply to 2", "shared 2"]
        assert [peer.read_message() for _ in range(4)] == expected

    def test_it_keeps_its_place_in_what_is_corked(self, pair):
        ws, peer = pair
        with ws.cork():
            ws.send("one")
            broadcast([ws], "two")
            ws.send("three")
            assert ws.buffered_amount > 0
        assert [peer.read_message() for _ in range(3)] == ["one", "two", "three"]

    def test_another_connections_gathered_frames_are_not_its(self, make_pair):
        (one, one_peer), (other, other_peer) = make_pair(), make_pair()
        with one.cork():
            one.send("gathered")
            broadcast([other, one], "shared")
            other.send("more")
        assert [one_peer.read_message() for _ in range(2)] == ["gathered", "shared"]
        assert [other_peer.read_message() for _ in range(2)] == ["shared", "more"]


class TestInTheHub:
    def test_it_may_be_called_there(self, make_pair):
        pairs = [make_pair(buffers=NARROW) for _ in range(2)]
        pairs[0][0].send(BIG)
        counts = []
        get_hub().loop.run_callback(lambda: counts.append(broadcast([ws for ws, _ in pairs], "news")))
        wait_until(lambda: counts)
        assert counts == [2]
        assert pairs[1][1].read_message() == "news"
        assert [pairs[0][1].read_message() for _ in range(2)] == [BIG, "news"]

    def test_it_never_waits(self, make_pair):
        ws, peer = make_pair(buffers=NARROW)
        switches = []
        with stopwatch() as watch:
            gevent.spawn(switches.append, 1)
            for _ in range(10):
                broadcast([ws], bytes(30_000))
        assert not switches
        assert watch.seconds < 1
        assert len(peer.read_message()) == 30_000


def tedious_key():
    burn(0.009)
    return b"abcd"


@pytest.mark.parametrize("role", ["client"], indirect=True)
class TestSlices:
    """What takes long is written by the hub afterwards. Keys that take 9 ms each make it take long."""

    @pytest.fixture
    def tedious_pairs(self, make_pair):
        return [make_pair(masking_keys=tedious_key) for _ in range(4)]

    def test_what_was_not_written_at_once_follows_by_itself_in_its_place(self, tedious_pairs):
        websockets = [ws for ws, _ in tedious_pairs]
        assert broadcast(websockets, "shared") == 4
        assert [ws.buffered_amount > 0 for ws in websockets] == [False, True, True, True]
        websockets[3].send("own")
        assert websockets[3].buffered_amount == 0
        wait_until(lambda: not websockets[2].buffered_amount)
        assert [peer.read_message() for _, peer in tedious_pairs] == ["shared"] * 4
        assert tedious_pairs[3][1].read_message() == "own"

    def test_broadcasts_reach_everybody_in_the_same_order(self, tedious_pairs):
        for number in range(3):
            broadcast([ws for ws, _ in tedious_pairs], str(number))
        for _, peer in tedious_pairs:
            assert [peer.read_message() for _ in range(3)] == ["0", "1", "2"]

    def test_who_has_not_been_written_to_yet_is_not_slow(self, tedious_pairs):
        websockets = [ws for ws, _ in tedious_pairs]
        for _ in range(3):
            assert broadcast(websockets, bytes(1000), max_queued=0) == 4
        assert all(ws.state is State.OPEN for ws in websockets)

    def test_a_connection_that_ends_meanwhile_does_no_harm(self, tedious_pairs):
        broadcast([ws for ws, _ in tedious_pairs], "shared")
        tedious_pairs[2][0].terminate()
        assert tedious_pairs[3][1].read_message() == "shared"

    def test_compressed_ones_give_up_their_context_too(self, make_pair):
        pairs = [
            make_pair(masking_keys=tedious_key, deflate=TAKEOVER, settings=PerMessageDeflate(threshold=0)) for _ in "ab"
        ]
        websockets = [ws for ws, _ in pairs]
        for ws in websockets:
            ws.send(WORDS)
        broadcast(websockets, WORDS + "shared")
        assert websockets[1].buffered_amount > 0
        for ws, peer in pairs:
            ws.send(WORDS)
            assert [peer.read_message() for _ in range(3)] == [WORDS, WORDS + "shared", WORDS]


def fill(ws):
    """Send until the kernel takes no more."""
    while not ws.buffered_amount:
        ws.send(bytes(10_000))


class TestSlowClients:
    def test_by_default_they_are_closed_with_1013_behind_what_waits(self, unix_pairs):
        [(slow, slow_peer), (quick, peer)] = unix_pairs(2)
        fill(slow)
        sent = 0
        while slow.state is State.OPEN:
            assert slow.buffered_amount <= MAX_QUEUED + 100_010
            count = broadcast([slow, quick], bytes(100_000))
            sent += 1
            assert peer.read_message() == bytes(100_000)
        assert count == 1
        assert sent == 12  # what is slow has more than 1 MiB; eleven messages of 100,000 bytes are more
        assert broadcast([slow, quick], "next") == 1
        assert slow_peer.read_close() == (1013, "too slow")
        assert slow_peer.checker.messages[-11:] == [bytes(100_000)] * 11
        slow_peer.send_close(1013)
        slow_peer.read_eof()

    def test_one_that_never_reads_is_ended_after_close_timeout(self, unix_pairs):
        [(slow, _)] = unix_pairs(close_timeout=0.02)
        fill(slow)
        assert broadcast([slow], "news", max_queued=0) == 0
        assert slow.state is State.CLOSING
        assert slow.wait_closed(timeout=5)
        with pytest.raises(ConnectionClosedError) as caught:
            slow.send("x")
        assert caught.value.sent == (1013, "too slow")

    def test_drop_leaves_the_message_out_and_the_connection_alone(self, unix_pairs):
        [(slow, slow_peer), (quick, peer)] = unix_pairs(2)
        fill(slow)
        assert broadcast([slow, quick], "lost", on_slow="drop", max_queued=0) == 1
        assert peer.read_message() == "lost"
        while slow.buffered_amount:
            slow_peer.read_message()
        assert broadcast([slow, quick], "next", on_slow="drop", max_queued=0) == 2
        assert slow.state is State.OPEN
        while (message := slow_peer.read_message()) == bytes(10_000):
            pass
        assert message == "next"

    def test_a_function_is_called_by_the_caller_once_the_others_have_been_served(self, unix_pairs):
        [(one, _), (quick, peer), (other, _)] = unix_pairs(3)
        for ws in (one, other):
            fill(ws)
        called = []

        def on_slow(ws):
            gevent.sleep(0)
            called.append((ws, gevent.getcurrent()))
            if len(called) == 1:
                assert peer.read_message() == "news"

        assert broadcast([one, quick, other], "news", on_slow=on_slow, max_queued=0) == 1
        assert called == [(one, gevent.getcurrent()), (other, gevent.getcurrent())]
        assert {ws.state for ws in (one, other)} == {State.OPEN}

    def test_what_the_function_raises_is_logged_and_the_others_have_their_turn(self, unix_pairs, caplog):
        pairs = unix_pairs(2)
        for ws, _ in pairs:
            fill(ws)
        called = []

        def on_slow(ws):
            called.append(ws)
            raise LookupError("mine")

        with caplog.at_level(logging.ERROR, "geventws"):
            assert broadcast([ws for ws, _ in pairs], "news", on_slow=on_slow, max_queued=0) == 0
        assert called == [ws for ws, _ in pairs]
        assert [record.getMessage()[:14] for record in caplog.records] == ["on_slow failed"] * 2

    @pytest.mark.parametrize("error", [gevent.Timeout(1), gevent.GreenletExit(), KeyboardInterrupt()], ids=repr)
    def test_a_kill_or_a_timeout_in_the_function_leaves_as_it_came(self, unix_pairs, error):
        [(ws, _)] = unix_pairs()
        fill(ws)

        def on_slow(ws):
            raise error

        with pytest.raises(type(error)) as caught:
            broadcast([ws], "news", on_slow=on_slow, max_queued=0)
        assert caught.value is error

    def test_the_clients_may_change_while_it_runs(self, unix_pairs):
        pairs = unix_pairs(3)
        fill(pairs[0][0])
        clients = {ws for ws, _ in pairs}
        assert broadcast(clients, "news", on_slow=clients.remove, max_queued=0) == 2
        assert clients == {ws for ws, _ in pairs[1:]}

    def test_corked_replies_do_not_make_a_client_slow(self, unix_pairs):
        [(ws, peer)] = unix_pairs()
        with ws.cork():
            ws.send("reply")
            assert broadcast([ws], "shared", max_queued=0) == 1
        assert [peer.read_message() for _ in range(2)] == ["reply", "shared"]

    def test_one_whose_peer_turns_out_to_be_gone_is_passed_over(self, unix_pairs):
        [(ws, peer)] = unix_pairs()
        peer.reset()
        with ws.cork():
            ws.send("reply")
            assert broadcast([ws], "shared", max_queued=0) == 0

    def test_many_share_one_copy_of_what_waits(self, unix_pairs):
        pairs = unix_pairs(3)
        for ws, _ in pairs:
            fill(ws)
        ready = PreparedMessage(bytes(100_000))
        before = getrefcount(ready.frame)
        broadcast([ws for ws, _ in pairs], ready)
        after = getrefcount(ready.frame)
        assert after == before + 3


class TestCompression:
    @pytest.mark.parametrize("deflate", [TAKEOVER, FRESH], ids=["takeover", "fresh"])
    def test_it_is_shared_with_own_messages_around_it(self, make_pair, deflate):
        pairs = [make_pair(deflate=deflate) for _ in range(3)]
        for number in range(3):
            for ws, _ in pairs:
                ws.send(f"{WORDS}{number} own {id(ws)}")
            assert broadcast([ws for ws, _ in pairs], f"{WORDS}{number} shared") == 3
        for ws, peer in pairs:
            for number in range(3):
                assert peer.read_message() == f"{WORDS}{number} own {id(ws)}"
                assert peer.read_message() == f"{WORDS}{number} shared"
            assert {frame.rsv for frame in peer.checker.frames} == {RSV1}

    def test_it_is_compressed_once_for_each_window(self, make_pair, monkeypatch, role):
        windows = (9, 15, 12, 15, 12, 9, 15)
        pairs = [
            make_pair(deflate=Parameters(server_max_window_bits=bits, client_max_window_bits=bits)) for bits in windows
        ]
        plain = make_pair()
        compressed = []
        compress = Compressor.compress

        def counted(self, *arguments):
            compressed.append(self.method[0])
            return compress(self, *arguments)

        monkeypatch.setattr(Compressor, "compress", counted)
        assert broadcast([ws for ws, _ in [*pairs, plain]], WORDS) == 8
        assert sorted(compressed) == [9, 12, 15]
        assert [peer.read_message() for _, peer in [*pairs, plain]] == [WORDS] * 8
        assert plain[1].checker.frames[0].rsv == 0

    @pytest.mark.parametrize(
        ("size", "compress", "rsv"),
        [
            (1023, None, 0),
            (1024, None, RSV1),
            (LONGEST_DEFLATED, None, RSV1),
            (LONGEST_DEFLATED + 1, None, 0),
            (LONGEST_DEFLATED + 1, True, RSV1),
            (10, True, RSV1),
            (2000, False, 0),
        ],
    )
    def test_what_is_compressed(self, make_pair, size, compress, rsv):
        ws, peer = make_pair(deflate=TAKEOVER)
        broadcast([ws], bytes(size), compress=compress)
        assert peer.read_frame().rsv == rsv

    def test_a_long_one_that_was_compressed_before_is_compressed(self, make_pair):
        ws, peer = make_pair(deflate=TAKEOVER)
        ready = PreparedMessage(bytes(LONGEST_DEFLATED + 1))
        ws.send(ready)
        broadcast([ws], ready)
        assert [peer.read_frame().rsv for _ in range(2)] == [RSV1, RSV1]

    def test_behind_compressed_fragments_the_context_is_given_up(self, make_pair):
        ws, peer = make_pair(deflate=TAKEOVER)

        own, shared = (random.Random(number).randbytes(800).hex() for number in range(2))

        def fragments():
            yield own
            broadcast([ws], shared)
            yield own

        for _ in range(2):
            ws.send(fragments())
        ws.send(own)
        assert [peer.read_message() for _ in range(5)] == [own * 2, shared, own * 2, shared, own]

    def test_while_a_thread_compresses_it_waits_behind_that_message(self, make_pair):
        ws, peer = make_pair(deflate=TAKEOVER)
        long = WORDS * 1000
        sending = start(ws.send, long)
        assert not sending.ready()
        broadcast([ws], WORDS)
        sending.result()
        ws.send(WORDS)
        assert [peer.read_message() for _ in range(3)] == [long, WORDS, WORDS]
        assert {frame.rsv for frame in peer.checker.frames} == {RSV1}

    def test_it_counts_on_each_connection_as_if_that_had_compressed_it(self, make_pair):
        pairs = [make_pair(deflate=TAKEOVER) for _ in range(2)]
        broadcast([ws for ws, _ in pairs], WORDS)
        counted = [ws.stats() for ws, _ in pairs]
        assert [stats.messages_sent for stats in counted] == [1, 1]
        compressors = [ws._protocol.compressor for ws, _ in pairs]
        assert [compressor.taken for compressor in compressors] == [len(WORDS)] * 2
        assert compressors[0].given == compressors[1].given == len(pairs[0][1].read_frame().payload)

    def test_control_frames_may_be_anywhere(self, make_pair):
        ws, peer = make_pair(deflate=TAKEOVER)
        ws.ping(b"before")
        broadcast([ws], WORDS)
        ws.ping(b"after")
        assert peer.read_message() == WORDS
        assert peer.checker.frames[0].opcode == PING


class TestSendingWhatIsPrepared:
    @pytest.mark.parametrize("message", ["é" * 10, b"\0\xff" * 10, bytes(20_000)], ids=["text", "binary", "long"])
    def test_it_arrives_each_time(self, pair, message):
        ws, peer = pair
        ready = PreparedMessage(message)
        for _ in range(3):
            ws.send(ready)
        assert [peer.read_message() for _ in range(3)] == [message] * 3

    def test_text_cannot_be_said_again(self, pair):
        ws, peer = pair
        with pytest.raises(ValueError, match="text or binary already"):
            ws.send(PreparedMessage("a"), text=True)
        ws.send("next")
        assert peer.read_message() == "next"

    def test_it_is_no_fragment(self, pair):
        ws, _ = pair
        with pytest.raises(TypeError, match="fragments are text or buffers"):
            ws.send([PreparedMessage("a")])

    @pytest.mark.parametrize("deflate", [TAKEOVER, FRESH], ids=["takeover", "fresh"])
    @pytest.mark.parametrize("size", [2000, 200_000])
    def test_it_is_compressed_once_among_own_messages(self, make_pair, deflate, size, monkeypatch):
        pairs = [make_pair(deflate=deflate) for _ in range(2)]
        text = (WORDS * 200)[:size]
        ready = PreparedMessage(text)
        counted = []
        compress = Compressor.compress
        monkeypatch.setattr(Compressor, "compress", lambda *a: counted.append(len(a[1])) or compress(*a))
        for ws, _ in pairs:
            ws.send(WORDS)
            ws.send(ready)
            ws.send(WORDS)
            ws.send(ready, compress=False)
        assert counted.count(size) == 1
        for _, peer in pairs:
            assert [peer.read_message() for _ in range(4)] == [WORDS, text, WORDS, text]
            assert [frame.rsv for frame in peer.checker.frames] == [RSV1, RSV1, RSV1, 0]

    def test_it_waits_as_any_message_does(self, make_pair):
        ws, peer = make_pair(buffers=NARROW)
        ws.send(BIG)
        with pytest.raises(TimeoutError):
            ws.send(PreparedMessage("lost"), timeout=0.01)
        sending = start_waiting(ws.send, PreparedMessage("second"))
        assert [peer.read_message(), peer.read_message()] == [BIG, "second"]
        sending.result()

    def test_after_the_end_it_raises(self, pair):
        ws, _ = pair
        ws.terminate()
        with pytest.raises(ConnectionClosedError):
            ws.send(PreparedMessage("late"))

    def test_an_end_while_it_is_compressed_in_a_thread_raises(self, make_pair):
        ws, _ = make_pair(deflate=TAKEOVER)
        sending = start(ws.send, PreparedMessage(WORDS * 5000))
        ws.terminate()
        assert isinstance(sending.fault(), ConnectionClosedError)

    def test_in_the_hub_a_long_one_is_not_compressed_for_the_first_time(self, make_pair):
        ws, peer = make_pair(deflate=TAKEOVER)
        ready = PreparedMessage(WORDS * 100)
        raised = []

        def work():
            with pytest.raises(InvalidState):
                ws.send(ready)
            raised.append(True)

        get_hub().loop.run_callback(work)
        wait_until(lambda: raised)
        ws.send(ready)
        get_hub().loop.run_callback(ws.send, ready)
        assert [peer.read_message() for _ in range(2)] == [WORDS * 100] * 2
