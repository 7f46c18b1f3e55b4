"""The tools of the tests, tested: a judge that forgives or a fault that is not thrown would hide real faults."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import get_hub, socket, ssl
from gevent.select import select
from tools import wire
from tools.checker import Deflate, StreamChecker, StreamError
from tools.faults import (
    ERRORS,
    LineFault,
    SwitchFault,
    attempt,
    functions_in,
    functions_of,
    start_attempt,
    thrown_later,
)
from tools.leaks import Snapshot
from tools.links import half_close, read_tickets, reset, tcp_pair, tls_pair, truncate
from tools.peer import Peer
from tools.timing import EARLY, let_hub_run, stopwatch, wait_until
from tools.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, RSV1, RSV2, RSV3, TEXT, Frame, close_payload, frame

KEY = b"\x37\xfa\x21\x3d"


class TestWire:
    """RFC 6455 section 5.7 gives these bytes."""

    def test_unmasked_text(self) -> None:
        assert frame(TEXT, b"Hello") == bytes.fromhex("810548656c6c6f")

    def test_masked_text(self) -> None:
        assert frame(TEXT, b"Hello", key=KEY) == bytes.fromhex("818537fa213d7f9f4d5158")

    def test_fragments(self) -> None:
        assert frame(TEXT, b"Hel", fin=False) == bytes.fromhex("010348656c")
        assert frame(CONTINUATION, b"lo") == bytes.fromhex("80026c6f")

    def test_lengths(self) -> None:
        assert frame(BINARY, bytes(256))[:4] == bytes.fromhex("827e0100")
        assert frame(BINARY, bytes(65536))[:10] == bytes.fromhex("827f0000000000010000")

    def test_a_longer_form_of_the_length_can_be_forced(self) -> None:
        assert frame(BINARY, b"x", width=16) == b"\x82\x7e\x00\x01x"
        assert frame(BINARY, b"x", width=64) == b"\x82\x7f" + bytes(7) + b"\x01x"

    def test_another_length_can_be_announced(self) -> None:
        assert frame(BINARY, b"x", length=5) == b"\x82\x05x"

    def test_bits_can_be_set(self) -> None:
        assert frame(TEXT, fin=False, rsv=RSV1 | RSV3)[0] == 0x51

    @pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 127, 4096])
    def test_xor_is_its_own_inverse(self, size: int) -> None:
        data = random.randbytes(size)
        assert wire.xor(data, KEY) == bytes(byte ^ KEY[i % 4] for i, byte in enumerate(data))
        assert wire.xor(wire.xor(data, KEY), KEY) == data

    def test_splits_lose_nothing(self) -> None:
        data = bytes(range(100))
        ways = list(wire.splits(data))
        assert len(ways) == 12
        assert all(b"".join(pieces) == data and all(pieces) for pieces in ways)

    def test_splits_of_a_byte(self) -> None:
        assert list(wire.splits(b"x")) == [[b"x"], [b"x"]]


def _raw_deflate(data: bytes, bits: int = 15) -> bytes:
    deflater = zlib.compressobj(wbits=-bits)
    return deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH)


class TestCheckerAccepts:
    @pytest.mark.parametrize("masked", [False, True])
    def test_messages_with_control_frames_between_fragments(self, masked: bool) -> None:
        key = KEY if masked else None
        stream = b"".join(
            [
                frame(TEXT, "smörgås".encode(), key=key),
                frame(BINARY, b"ab", fin=False, key=key),
                frame(PING, b"p", key=key),
                frame(CONTINUATION, b"", fin=False, key=key),
                frame(PONG, b"q", key=key),
                frame(CONTINUATION, b"c" * 200, key=key),
                frame(BINARY, b"d" * 70000, key=key),
                frame(CLOSE, close_payload(1000, "bye"), key=key),
            ]
        )
        for pieces in ([stream], [stream[i : i + 1] for i in range(len(stream))]):
            checker = StreamChecker(masked=masked)
            for piece in pieces:
                checker.feed(piece)
            checker.finish()
            assert checker.messages == ["smörgås", b"ab" + b"c" * 200, b"d" * 70000]
            assert checker.closed == (1000, "bye")
            assert [seen.opcode for seen in checker.frames] == [1, 2, 9, 0, 10, 0, 2, 8]

    def test_what_another_library_sends(self) -> None:
        pytest.importorskip("websockets")
        from websockets.client import ClientProtocol
        from websockets.extensions.permessage_deflate import PerMessageDeflate
        from websockets.protocol import State
        from websockets.uri import parse_uri

        protocol = ClientProtocol(parse_uri("ws://localhost/"), state=State.OPEN)
        protocol.extensions = [PerMessageDeflate(False, False, 15, 12)]
        chance = random.Random(1)
        sent: list[str | bytes] = []
        for size in (0, 1, 125, 126, 65535, 65536, 200000):
            sent += [chance.randbytes(size), "é" * size]
            protocol.send_binary(chance.randbytes(0) + sent[-2])  # type: ignore[operator]
            protocol.send_text(sent[-1].encode())  # type: ignore[union-attr]
        protocol.send_ping(b"x")
        protocol.send_close(1001, "away")
        checker = StreamChecker(masked=True, deflate=Deflate(window_bits=12))
        for piece in protocol.data_to_send():
            checker.feed(piece)
        assert checker.messages == sent
        assert checker.closed == (1001, "away")

    def test_an_empty_close_frame(self) -> None:
        checker = StreamChecker(masked=False)
        checker.feed(frame(CLOSE))
        checker.finish()
        assert checker.closed == (1005, "")

    def test_a_message_cut_by_a_close_frame(self) -> None:
        checker = StreamChecker(masked=False)
        checker.feed(frame(TEXT, b"a", fin=False) + frame(CLOSE, close_payload(1001)))
        checker.finish()

    def test_compressed_messages_with_and_without_context(self) -> None:
        deflater = zlib.compressobj(wbits=-15)
        data = b"again and again " * 10
        first, second = (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH) for _ in range(2))
        checker = StreamChecker(masked=False, deflate=Deflate())
        checker.feed(frame(BINARY, first[:-4], rsv=RSV1) + frame(BINARY, second[:-4], rsv=RSV1) + frame(BINARY, b"x"))
        assert checker.messages == [data, data, b"x"]

    def test_a_compressed_message_in_fragments(self) -> None:
        body = _raw_deflate(b"hello")[:-4]
        checker = StreamChecker(masked=False, deflate=Deflate())
        checker.feed(frame(TEXT, body[:2], rsv=RSV1, fin=False) + frame(CONTINUATION, body[2:]))
        assert checker.messages == ["hello"]

    def test_in_frame_tells_of_a_partial_frame(self) -> None:
        checker = StreamChecker(masked=False)
        checker.feed(b"\x81\x05Hel")
        assert checker.in_frame
        checker.feed(b"lo")
        assert not checker.in_frame


WRONG = {
    "a mask where none belongs": frame(TEXT, b"x", key=KEY),
    "a length of 1 in 16 bits": frame(TEXT, b"x", width=16),
    "a length of 1 in 64 bits": frame(TEXT, b"x", width=64),
    "a length of 65535 in 64 bits": frame(BINARY, bytes(65535), width=64),
    "a length of 2**63": frame(BINARY, length=1 << 63),
    "RSV1 without compression": frame(TEXT, b"x", rsv=RSV1),
    "RSV2": frame(TEXT, b"x", rsv=RSV2),
    "RSV3": frame(TEXT, b"x", rsv=RSV3),
    "RSV1 on a control frame": frame(PING, b"x", rsv=RSV1),
    "opcode 3": frame(3),
    "opcode 7": frame(7),
    "opcode 11": frame(11),
    "opcode 15": frame(15),
    "a fragmented ping": frame(PING, fin=False),
    "a ping of 126 bytes": frame(PING, bytes(126)),
    "a continuation of nothing": frame(CONTINUATION, b"x"),
    "a message inside a message": frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"),
    "RSV on a continuation": frame(TEXT, b"x", fin=False) + frame(CONTINUATION, b"y", rsv=RSV1),
    "text that is not UTF-8": frame(TEXT, b"\xff"),
    "text that ends inside a character": frame(TEXT, "é".encode()[:1]),
    "a surrogate": frame(TEXT, b"\xed\xa0\x80"),
    "half a close code": frame(CLOSE, b"\x03"),
    "a close reason that is not UTF-8": frame(CLOSE, close_payload(1000) + b"\xff"),
    "a frame after the close frame": frame(CLOSE) + frame(PING),
    **{
        f"close code {code}": frame(CLOSE, close_payload(code)) for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000)
    },
}


class TestCheckerRefuses:
    @pytest.mark.parametrize("stream", WRONG.values(), ids=WRONG.keys())
    def test_each_fault(self, stream: bytes) -> None:
        with pytest.raises(StreamError):
            StreamChecker(masked=False).feed(stream)
        checker = StreamChecker(masked=False)
        with pytest.raises(StreamError):
            _ = [checker.feed(stream[i : i + 1]) for i in range(len(stream))]

    def test_a_client_frame_without_a_mask(self) -> None:
        with pytest.raises(StreamError, match="masked"):
            StreamChecker(masked=True).feed(frame(TEXT, b"x"))

    def test_bytes_that_follow_the_close_frame_later(self) -> None:
        checker = StreamChecker(masked=False)
        checker.feed(frame(CLOSE))
        checker.feed(b"")
        with pytest.raises(StreamError, match="after the close frame"):
            checker.feed(b"\x00")

    def test_an_end_inside_a_frame(self) -> None:
        checker = StreamChecker(masked=False)
        checker.feed(frame(TEXT, b"hello")[:-1])
        with pytest.raises(StreamError, match="inside a frame"):
            checker.finish()

    def test_an_end_inside_a_message(self) -> None:
        checker = StreamChecker(masked=False)
        checker.feed(frame(TEXT, b"hello", fin=False))
        with pytest.raises(StreamError, match="inside a message"):
            checker.finish()

    def test_a_deflate_tail_that_was_left_on(self) -> None:
        with pytest.raises(StreamError, match="tail"):
            StreamChecker(masked=False, deflate=Deflate()).feed(frame(TEXT, _raw_deflate(b"x"), rsv=RSV1))

    def test_an_empty_compressed_payload(self) -> None:
        with pytest.raises(StreamError, match="no deflate block"):
            StreamChecker(masked=False, deflate=Deflate()).feed(frame(TEXT, b"", rsv=RSV1))

    def test_a_broken_deflate_stream(self) -> None:
        with pytest.raises(StreamError, match="inflated"):
            StreamChecker(masked=False, deflate=Deflate()).feed(frame(TEXT, b"\xff\xff\xff", rsv=RSV1))

    def test_a_deflate_stream_that_is_ended(self) -> None:
        deflater = zlib.compressobj(wbits=-15)
        body = deflater.compress(b"x") + deflater.flush()
        with pytest.raises(StreamError, match="ended"):
            StreamChecker(masked=False, deflate=Deflate()).feed(frame(TEXT, body, rsv=RSV1))

    def test_a_window_larger_than_agreed(self) -> None:
        block = random.Random(2).randbytes(3000)
        body = _raw_deflate(block + block)[:-4]
        StreamChecker(masked=False, deflate=Deflate(15)).feed(frame(BINARY, body, rsv=RSV1))
        with pytest.raises(StreamError, match="inflated"):
            StreamChecker(masked=False, deflate=Deflate(9)).feed(frame(BINARY, body, rsv=RSV1))

    def test_context_taken_over_against_the_agreement(self) -> None:
        deflater = zlib.compressobj(wbits=-15)
        block = random.Random(3).randbytes(500)
        first, second = (deflater.compress(block) + deflater.flush(zlib.Z_SYNC_FLUSH) for _ in range(2))
        checker = StreamChecker(masked=False, deflate=Deflate(no_context_takeover=True))
        checker.feed(frame(BINARY, first[:-4], rsv=RSV1))
        with pytest.raises(StreamError, match="inflated"):
            checker.feed(frame(BINARY, second[:-4], rsv=RSV1))


@pytest.fixture
def peers(link: tuple[Any, Any]) -> tuple[Peer, Peer]:
    client, server = link
    read_tickets(client)
    return Peer(client, client=True), Peer(server, client=False)


class TestPeer:
    def test_speaks_to_itself(self, peers: tuple[Peer, Peer]) -> None:
        client, server = peers
        client.text("hello")
        client.ping(b"1")
        client.send_bytes(client.message_frames(BINARY, [b"a", b"", b"b"]))
        client.send_close(1001, "away")
        assert server.read_frame() == Frame(TEXT, b"hello", key=server.checker.frames[0].key)
        assert server.read_message() == "hello"
        assert server.read_message() == b"ab"
        assert server.finish_close() == (1001, "away")
        assert client.read_close() == (1000, "")

    def test_each_byte_and_each_piece_arrives(self, peers: tuple[Peer, Peer]) -> None:
        client, server = peers
        server.send_bytewise(frame(TEXT, b"one"))
        server.send_pieces(wire.split_at(frame(TEXT, b"two"), [2]))
        assert [client.read_message(), client.read_message()] == ["one", "two"]

    def test_what_it_reads_is_judged(self, peers: tuple[Peer, Peer]) -> None:
        client, server = peers
        client.send(TEXT, b"x", key=None)
        with pytest.raises(StreamError, match="masked"):
            server.read_message()

    def test_sees_the_end(self, peers: tuple[Peer, Peer]) -> None:
        client, server = peers
        client.text("last")
        client.close()
        server.read_eof()
        assert server.read_frame().payload == b"last"
        with pytest.raises(EOFError):
            server.read_frame()

    @pytest.mark.parametrize("read", ["read_frame", "read_message", "read_close"])
    def test_every_read_ends_with_the_stream(self, peers: tuple[Peer, Peer], read: str) -> None:
        client, server = peers
        client.close()
        with pytest.raises(EOFError):
            getattr(server, read)()

    def test_an_end_inside_a_frame_is_a_fault(self, peers: tuple[Peer, Peer]) -> None:
        client, server = peers
        client.send_bytes(client.frame(TEXT, b"hello")[:-1])
        client.close()
        with pytest.raises(StreamError, match="inside a frame"):
            server.read_eof()

    def test_can_still_read_after_a_half_close(self, peers: tuple[Peer, Peer]) -> None:
        client, server = peers
        client.half_close()
        server.read_eof()
        server.text("still here")
        assert client.read_message() == "still here"

    def test_a_reset_breaks_the_other_side(self, client_context: Any, server_context: Any) -> None:
        left, right = tcp_pair()
        client, server = Peer(left, client=True), Peer(right, client=False)
        server.text("unread")
        client.reset()
        with pytest.raises(ConnectionResetError):
            server.read_some()
        server.read_reset()
        server.close()

    def test_waits_no_longer_than_its_timeout(self, link: tuple[Any, Any]) -> None:
        peer = Peer(link[0], client=True, timeout=0.01)
        with pytest.raises(TimeoutError):
            peer.read_frame()


def _wait_three_times(seen: list[int]) -> str:
    for i in range(3):
        gevent.sleep(0)
        seen.append(i)
    return "done"


class TestSwitchFault:
    def test_counts_the_switch_points(self) -> None:
        outcome = attempt(lambda: _wait_three_times([]))
        assert (outcome.result, outcome.error, outcome.switches, outcome.thrown) == ("done", None, 3, False)

    @pytest.mark.parametrize("nth", [1, 2, 3])
    @pytest.mark.parametrize("make", ERRORS)
    def test_throws_at_the_chosen_one(self, nth: int, make: Any) -> None:
        seen: list[int] = []
        error = make()

        def wait() -> None:
            for i in range(3):
                with get_hub().loop.timer(0.001) as timer:
                    get_hub().wait(timer)
                seen.append(i)

        outcome = attempt(wait, nth, error)
        assert outcome.error is error
        assert outcome.thrown
        assert seen == list(range(nth - 1))

    def test_throws_nothing_beyond_the_last(self) -> None:
        outcome = attempt(lambda: _wait_three_times([]), 4, MemoryError())
        assert outcome.result == "done"
        assert not outcome.thrown

    def test_throws_nothing_into_one_that_has_gone_on(self) -> None:
        # The callback that ends sleep(0) was registered before the one that would throw.
        outcome = attempt(lambda: gevent.sleep(0), 1, MemoryError())
        assert (outcome.error, outcome.switches, outcome.thrown) == (None, 1, False)

    def test_leaves_other_greenlets_alone(self) -> None:
        other = gevent.spawn(_wait_three_times, [])
        outcome = attempt(lambda: gevent.sleep(0.001), 1, RuntimeError())
        assert outcome.thrown
        assert other.get() == "done"

    def test_two_at_once(self) -> None:
        errors = [MemoryError(), KeyboardInterrupt()]
        attempts = [start_attempt(lambda: gevent.sleep(0.001), 1, error) for error in errors]
        assert [running.get().error for running in attempts] == errors

    def test_hands_the_tracer_back(self) -> None:
        import greenlet

        before = greenlet.gettrace()
        with SwitchFault(gevent.getcurrent()) as fault:
            gevent.sleep(0)
        assert greenlet.gettrace() is before
        assert fault.switches == 1

    def test_a_later_throw_comes_and_can_be_called_off(self) -> None:
        error = MemoryError()
        me = gevent.getcurrent()
        with pytest.raises(MemoryError) as caught, thrown_later(me, error, 0.001):
            gevent.sleep(5)
        assert caught.value is error
        with thrown_later(me, error, 0.001):
            pass
        gevent.sleep(0.005)


class _Sample:
    def __init__(self) -> None:
        self.value = 0

    def step(self) -> int:
        self.value += 1
        self.value += 1
        return self.value

    @property
    def double(self) -> int:
        return self.value * 2

    @staticmethod
    def constant() -> int:
        return 7


class TestLineFault:
    def test_counts_lines(self) -> None:
        with LineFault([_Sample.step]) as fault:
            _Sample().step()
        assert (fault.lines, fault.place) == (3, "")

    @pytest.mark.parametrize("nth", [1, 2, 3])
    def test_raises_in_front_of_the_chosen_line(self, nth: int) -> None:
        sample, error = _Sample(), KeyboardInterrupt()
        with LineFault([sample.step], nth, error) as fault, pytest.raises(KeyboardInterrupt) as caught:
            sample.step()
        assert caught.value is error
        assert sample.value == nth - 1
        assert fault.place.startswith("step:")

    def test_leaves_other_greenlets_alone(self) -> None:
        with LineFault([_Sample.step], 2, MemoryError()) as fault:
            assert attempt(_Sample().step).result == 2
        assert fault.lines == 0

    def test_finds_the_functions_of_a_class(self) -> None:
        assert {function.__name__ for function in functions_of(_Sample)} == {"__init__", "step", "double", "constant"}

    def test_finds_the_functions_of_a_module(self) -> None:
        found = {function.__qualname__ for function in functions_in(sys.modules[__name__])}
        assert {"_Sample.step", "_wait_three_times"} <= found
        assert not {"attempt", "functions_of"} & found, "those are imported"


class TestLeaks:
    def test_a_waiting_greenlet_is_seen(self) -> None:
        before = Snapshot()
        waiting = gevent.spawn(gevent.sleep, 60)
        gevent.sleep(0)
        left = before.leftovers()
        assert waiting in left
        assert [type(other).__name__ for other in left if other is not waiting] == ["timer"]
        waiting.kill()
        assert before.leftovers() == []

    def test_an_active_watcher_is_seen(self) -> None:
        left, right = tcp_pair()
        before = Snapshot()
        watcher = get_hub().loop.io(left.fileno(), 1)
        watcher.start(lambda: None)
        assert before.leftovers() == [watcher]
        watcher.stop()
        assert before.leftovers() == []
        timer = get_hub().loop.timer(60, ref=False)
        timer.start(lambda: None)
        assert before.leftovers() == [timer]
        timer.stop()
        watcher.close()
        timer.close()
        left.close()
        right.close()

    def test_an_open_descriptor_is_seen(self) -> None:
        before = Snapshot()
        sock = socket.socket()
        assert [told.split(":")[:2] for told in before.leftovers()] == [[f"fd {sock.fileno()}", " socket"]]
        sock.close()
        assert before.leftovers() == []

    def test_what_is_about_to_end_is_given_time(self) -> None:
        before = Snapshot()
        ending = gevent.spawn(gevent.sleep, 0.01)
        assert before.settle() == []
        assert ending.dead

    def test_what_stays_is_told_at_the_deadline(self) -> None:
        before = Snapshot()
        staying = gevent.spawn(gevent.sleep, 60)
        assert staying in before.settle(0.01)
        staying.kill()


class TestHubErrors:
    def test_are_recorded(self, hub_errors: list[Any]) -> None:
        error = RuntimeError("of a greenlet")

        def fail() -> None:
            raise error

        gevent.spawn(fail).join()
        assert [seen for _, seen in hub_errors] == [error]
        hub_errors.clear()


CHECKED = """
import gevent
def test_greenlet(): gevent.spawn(gevent.sleep, 60); gevent.sleep(0)
def test_hub(): gevent.get_hub().loop.run_callback(lambda: 1 / 0); gevent.sleep(0)
def test_socket(): global kept; kept = gevent.socket.socket()
def test_watcher(): global w; w = gevent.get_hub().loop.timer(60); w.start(print)
def test_fine(): gevent.spawn(gevent.sleep, 0)
def test_stays_after_failing(): gevent.spawn(gevent.sleep, 60); assert False
"""


def run_with_conftest(folder: Path, tests: str, **environment: str) -> str:
    """What pytest says of these tests, with this conftest.py."""
    here = Path(__file__).parent
    (folder / "test_sample.py").write_text(tests)
    (folder / "conftest.py").write_text(f"import sys; sys.path.insert(0, {str(here)!r})\nfrom conftest_ import *\n")
    (folder / "conftest_.py").write_text((here / "conftest.py").read_text())
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", str(folder)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=25, cwd=folder, env={**os.environ, **environment}
    ).stdout


class TestConftest:
    def test_fails_the_tests_that_leave_something_behind(self, tmp_path: Path) -> None:
        output = run_with_conftest(tmp_path, CHECKED)
        told = {line.split("::")[1].split()[0]: line.split()[0] for line in output.splitlines() if "::" in line}
        for name in ("test_greenlet", "test_hub", "test_socket", "test_watcher"):
            assert f"ERROR test_sample.py::{name}" in output, output
        assert told["test_fine"] == "PASSED"
        assert "FAILED test_sample.py::test_stays_after_failing" in output

    @pytest.mark.parametrize("name", ["http_proxy", "ALL_PROXY", "no_proxy"])
    def test_hides_the_proxies_of_the_environment(self, tmp_path: Path, name: str) -> None:
        tests = f"import os\ndef test_proxy(): assert {name!r} not in os.environ"
        assert "1 passed" in run_with_conftest(tmp_path, tests, **{name: "http://127.0.0.1:1"})


class TestTiming:
    def test_wait_until_lets_others_run(self) -> None:
        seen: list[int] = []
        running = gevent.spawn(_wait_three_times, seen)
        wait_until(lambda: len(seen) == 3)
        running.join()

    def test_wait_until_gives_up(self) -> None:
        with stopwatch() as watch, pytest.raises(AssertionError, match="did not come true"):
            wait_until(lambda: False, timeout=0.02)
        assert 0.02 - EARLY <= watch.seconds < 1

    def test_let_hub_run_reads_what_is_there(self) -> None:
        left, right = tcp_pair()
        reading = gevent.spawn(right.recv, 10)
        gevent.sleep(0)
        left.sendall(b"x")
        let_hub_run()
        assert reading.value == b"x"
        left.close()
        right.close()


class TestLinks:
    def test_both_ends_are_connected(self, link: tuple[Any, Any]) -> None:
        client, server = link
        client.sendall(b"question")
        assert server.recv(100) == b"question"
        server.sendall(b"answer")
        assert client.recv(100) == b"answer"

    def test_a_narrow_link_holds_little(self, make_link: Any) -> None:
        client, _ = make_link(buffers=4096)
        client.settimeout(0)
        sent = 0
        with suppress(BlockingIOError):
            while sent < 2_000_000 and (size := client.send(bytes(1000))):  # gevent's TLS sends 0 bytes when full
                sent += size
        assert sent < 500_000

    def test_half_close_ends_one_direction(self, link: tuple[Any, Any]) -> None:
        client, server = link
        half_close(client)
        assert server.recv(10) == b""
        server.sendall(b"x")
        assert client.recv(10) == b"x"

    def test_read_tickets_leaves_nothing_unread(self, client_context: Any, server_context: Any) -> None:
        client, server = tls_pair(client_context, server_context)
        assert select([client], [], [], 0)[0] == [client]
        read_tickets(client)
        assert select([client], [], [], 0)[0] == []
        client.close()
        assert server.recv(10) == b""
        server.close()

    def test_truncate_ends_tls_without_notice(self, client_context: Any, server_context: Any) -> None:
        client, server = tls_pair(client_context, server_context)
        server.suppress_ragged_eofs = False
        truncate(client)
        with pytest.raises(ssl.SSLEOFError):
            server.recv(10)
        client.close()
        server.close()

    def test_reset_is_seen_at_once(self) -> None:
        left, right = tcp_pair()
        reset(left)
        with pytest.raises(ConnectionResetError):
            right.recv(10)
        right.close()

    def test_a_client_without_a_certificate_is_refused(
        self,
        mutual_server_context: Any,
        mutual_client_context: Any,
        client_context: Any,
        hub_errors: list[Any],
    ) -> None:
        for end in tls_pair(mutual_client_context, mutual_server_context):
            end.close()
        left, right = tcp_pair()
        accepting = gevent.spawn(mutual_server_context.wrap_socket, right, server_side=True)
        secure = client_context.wrap_socket(left, server_hostname="localhost")
        accepting.join()
        assert isinstance(accepting.exception, ssl.SSLError)
        hub_errors.clear()
        secure.close()
