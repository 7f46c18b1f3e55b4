"""Copying both ways between WebSockets, sockets and files."""

from __future__ import annotations

import io
import os
import socket as std_socket
import sys
from contextlib import suppress

import gevent
import pytest
from gevent import socket
from gevent.fileobject import FileObject
from gevent.subprocess import PIPE, Popen
from tools.endpoint import wait_for_messages
from tools.links import reset, tcp_pair, tls_pair, unix_pair
from tools.tasks import start, start_waiting
from tools.timing import let_hub_run, wait_until
from tools.wire import BINARY, CLOSE, TEXT

from geventws.exceptions import ConnectionClosedError, ConnectionClosedOK
from geventws.protocol import HELD_LIMIT
from geventws.stream import Relayed, relay
from geventws.websocket import State


@pytest.fixture
def transport():
    """One is enough here: relay knows nothing of it."""
    return "unix"


@pytest.fixture
def sockets():
    """Two connected sockets: one for relay, one for the test."""
    pair = unix_pair()
    for sock in pair:
        sock.settimeout(5)
    yield pair
    for sock in pair:
        sock.close()


@pytest.fixture
def pipe():
    """Makes (reader, writer) of a pipe as gevent's files."""
    opened = []

    def make(**options):
        reader, writer = os.pipe()
        opened.extend([FileObject(reader, "rb", **options), FileObject(writer, "wb", **options)])
        return opened[-2:]

    yield make
    for file in opened:
        with suppress(OSError):
            file.close()


def read_all(sock):
    return b"".join(iter(lambda: sock.recv(65536), b""))


class TestWebSocketAndSocket:
    def test_bytes_go_both_ways(self, pair, sockets):
        ws, peer = pair
        inner, outer = sockets
        relaying = start_waiting(relay, ws, inner)
        peer.binary(b"one")
        peer.text(" zwölf")
        assert outer.recv(3) == b"one"
        assert outer.recv(100) == " zwölf".encode()
        outer.sendall(b"answer")
        assert peer.read_message() == b"answer"
        peer.send_close()
        assert relaying.result() == Relayed(10, 6)
        assert outer.recv(1) == b""

    def test_the_order_of_the_ends_is_that_of_the_counts(self, pair, sockets):
        ws, peer = pair
        peer.binary(b"one")
        peer.send_close()
        assert relay(sockets[0], ws) == (0, 3)

    def test_a_message_is_passed_on_before_it_is_complete(self, pair, sockets):
        ws, peer = pair
        relaying = start_waiting(relay, ws, sockets[0])
        peer.send(BINARY, b"begun", fin=False)
        assert sockets[1].recv(100) == b"begun"
        peer.send(CLOSE)
        assert isinstance(relaying.fault(), ConnectionClosedOK)

    def test_the_sockets_end_closes_the_connection_and_what_still_comes_is_passed_on(self, pair, sockets):
        ws, peer = pair
        inner, outer = sockets
        relaying = start_waiting(relay, ws, inner)
        outer.sendall(b"all")
        outer.shutdown(socket.SHUT_WR)
        assert peer.read_message() == b"all"
        assert peer.read_close() == (1000, "")
        peer.binary(b"late")
        peer.send_close()
        assert read_all(outer) == b"late"
        assert relaying.result() == (4, 3)

    def test_the_connections_end_ends_all(self, pair, sockets):
        ws, peer = pair
        inner, outer = sockets
        relaying = start_waiting(relay, ws, inner)
        peer.send_close(1001)
        assert relaying.result() == (0, 0)
        assert outer.recv(1) == b""
        assert inner.fileno() >= 0, "it is left to the caller"

    def test_a_slow_socket_makes_the_peer_wait(self, make_pair):
        ws, peer = make_pair(buffers=4096)
        inner, outer = unix_pair(4096)
        outer.settimeout(5)
        relaying = start_waiting(relay, ws, inner)
        sending = start_waiting(peer.send_bytes, peer.frame(BINARY, bytes(10_000)) * 100)
        let_hub_run(100)
        assert not sending.ready()
        assert ws._protocol.held < 2 * HELD_LIMIT + 10_000
        left = 1_000_000
        while left:
            left -= len(outer.recv(65536))
        sending.result()
        peer.send_close()
        relaying.result()
        inner.close()
        outer.close()

    def test_a_slow_peer_makes_the_socket_wait(self, make_pair):
        ws, peer = make_pair(buffers=4096)
        inner, outer = unix_pair(4096)
        outer.settimeout(5)
        relaying = start_waiting(relay, ws, inner)
        sending = start_waiting(outer.sendall, bytes(1_000_000))
        let_hub_run(100)
        assert not sending.ready()
        assert ws.buffered_amount < 200_000
        left = 1_000_000
        while left:
            left -= len(peer.read_message())
        peer.send_close()
        relaying.result()
        inner.close()
        outer.close()

    def test_a_socket_that_fails_fails_the_connection(self, pair):
        ws, peer = pair
        inner, outer = tcp_pair()
        relaying = start_waiting(relay, ws, inner)
        reset(outer)
        assert isinstance(relaying.fault(), ConnectionResetError)
        assert peer.read_close() == (1011, "")
        inner.close()

    def test_a_connection_that_fails_ends_the_socket(self, pair, sockets):
        ws, peer = pair
        inner, outer = sockets
        relaying = start_waiting(relay, ws, inner)
        peer.close()
        assert isinstance(relaying.fault(), ConnectionClosedError)
        assert outer.recv(1) == b""
        with pytest.raises(BrokenPipeError):
            outer.sendall(b"1")

    def test_over_tls_the_end_of_one_direction_is_not_passed_on(self, pair, client_context, server_context, sockets):
        secure, remote = tls_pair(client_context, server_context)
        remote.settimeout(5)
        relaying = start_waiting(relay, sockets[0], secure)
        sockets[1].sendall(b"question")
        sockets[1].shutdown(socket.SHUT_WR)
        assert remote.recv(100) == b"question"
        let_hub_run()
        remote.sendall(b"answer")
        assert sockets[1].recv(100) == b"answer"
        remote.close()
        assert relaying.result() == (8, 6)
        secure.close()

    def test_a_socket_that_knows_nothing_of_gevent_does_not_hold_the_hub(self, pair):
        ws, peer = pair
        inner, outer = std_socket.socketpair()
        inner.settimeout(7)
        relaying = start_waiting(relay, ws, inner)
        peer.binary(b"1")
        let_hub_run()
        assert outer.recv(1, std_socket.MSG_DONTWAIT) == b"1"
        outer.sendall(b"2")
        assert peer.read_message() == b"2"
        peer.send_close()
        assert relaying.result() == (1, 1)
        assert inner.gettimeout() == 7
        inner.close()
        outer.close()


class TestTwoWebSockets:
    def test_messages_stay_what_they_are(self, make_pair):
        (one, near), (other, far) = make_pair(), make_pair()
        relaying = start_waiting(relay, one, other)
        near.text("zwölf")
        near.binary(b"")
        near.send_bytes(near.message_frames(TEXT, [b"a", b"b"]))
        assert [far.read_message() for _ in range(3)] == ["zwölf", b"", "ab"]
        far.binary(b"answer")
        assert near.read_message() == b"answer"
        near.send_close()
        assert relaying.result() == (8, 6)
        assert far.read_close() == (1000, "")

    @pytest.mark.parametrize(("code", "sent"), [(1000, 1000), (1001, 1001), (None, 1000)])
    def test_a_good_close_is_passed_on(self, make_pair, code, sent):
        (one, near), (other, far) = make_pair(), make_pair()
        far.send_close(code, "bye" if code else "")
        assert relay(one, other) == (0, 0)
        assert near.read_close() == (sent, "bye" if code else "")

    @pytest.mark.parametrize(("code", "sent"), [(4001, (4001, "why")), (1008, (1008, "why")), (0, (1011, ""))])
    def test_any_other_end_is_an_error_and_passed_on_too(self, make_pair, code, sent):
        (one, near), (other, far) = make_pair(), make_pair()
        relaying = start_waiting(relay, one, other)
        if code:
            near.send_close(code, "why")
        else:
            near.half_close()
        assert isinstance(relaying.fault(), ConnectionClosedError)
        assert far.read_close() == sent

    def test_what_is_sent_to_one_that_closes_is_no_error(self, make_pair):
        (one, near), (other, far) = make_pair(), make_pair()
        far.send_close()
        near.text("too late")
        wait_until(lambda: other.state is not State.OPEN)
        wait_for_messages(one)
        assert relay(one, other) == (0, 0)
        assert near.read_close() == (1000, "")


class TestHalfClose:
    def test_the_answer_may_come_after_the_end_of_the_question(self, pair, sockets):
        ws, peer = pair
        inner, outer = sockets
        relaying = start_waiting(relay, ws, inner, half_close=True)
        outer.sendall(b"question")
        outer.shutdown(socket.SHUT_WR)
        assert [peer.read_message(), peer.read_message()] == [b"question", b""]
        let_hub_run()
        peer.binary(b"answer")
        peer.text("!")
        peer.binary(b"")
        assert read_all(outer) == b"answer!"
        assert peer.finish_close() == (1000, "")
        assert relaying.result() == (7, 8)

    def test_the_peers_direction_may_end_first(self, pair, sockets):
        ws, peer = pair
        inner, outer = sockets
        relaying = start_waiting(relay, inner, ws, half_close=True)
        peer.binary(b"question")
        peer.binary(b"")
        assert read_all(outer) == b"question"
        outer.sendall(b"answer")
        outer.shutdown(socket.SHUT_WR)
        assert peer.read_message() == b"answer"
        assert peer.finish_close() == (1000, "")
        assert relaying.result() == (6, 8)

    def test_a_close_ends_both(self, pair, sockets):
        ws, peer = pair
        relaying = start_waiting(relay, ws, sockets[0], half_close=True)
        peer.send_close()
        assert relaying.result() == (0, 0)
        assert sockets[1].recv(1) == b""

    def test_nothing_follows_the_end(self, pair, sockets):
        ws, peer = pair
        relaying = start_waiting(relay, ws, sockets[0], half_close=True)
        peer.binary(b"")
        peer.binary(b"more")
        with pytest.raises(ConnectionError, match="behind"):
            relaying.result()
        assert peer.read_close() == (1011, "")

    def test_it_is_for_one_websocket(self, make_pair, sockets):
        for ends in [(make_pair()[0], make_pair()[0]), sockets]:
            with pytest.raises(ValueError, match="half_close"):
                relay(*ends, half_close=True)


class TestFiles:
    def test_a_process(self, pair):
        ws, peer = pair
        code = "import sys; print('ready', end='', flush=True); sys.stdout.write(sys.stdin.read().upper())"
        with Popen([sys.executable, "-c", code], stdin=PIPE, stdout=PIPE) as process:
            relaying = start(relay, (process.stdout, process.stdin), ws)
            assert peer.read_message() == b"ready"
            peer.text("question")
            peer.send_close()
            assert relaying.result() == (5, 8)
            assert process.stdin.closed
            assert process.wait(5) == 0

    def test_the_end_of_a_processs_output_closes_the_connection(self, pair):
        ws, peer = pair
        with Popen([sys.executable, "-c", "print('all', end='')"], stdin=PIPE, stdout=PIPE) as process:
            relaying = start(relay, ws, (process.stdout, process.stdin))
            assert peer.read_message() == b"all"
            assert peer.finish_close() == (1000, "")
            assert relaying.result() == (0, 3)

    def test_sockets_and_pipes(self, sockets, pipe):
        (there, into), (out, back) = pipe(), pipe()
        relaying = start_waiting(relay, (there, back), sockets[0])
        into.write(b"question")
        into.close()
        assert read_all(sockets[1]) == b"question"
        sockets[1].sendall(b"answer")
        sockets[1].shutdown(socket.SHUT_WR)
        assert out.read() == b"answer"
        assert relaying.result() == (8, 6)

    def test_what_a_file_of_a_connection_has_read_or_written_comes_first(self, pair, sockets):
        ws, peer = pair
        peer.binary(b"headbody")
        file = ws.makefile("rwb")
        assert file.read(4) == b"head"
        file.write(b"first")
        relaying = start_waiting(relay, file, sockets[0])
        assert peer.read_message() == b"first"
        assert sockets[1].recv(100) == b"body"
        peer.send_close()
        assert relaying.result() == (4, 0)
        assert file.closed

    def test_two_files_of_a_connection_are_one_end(self, pair, sockets):
        ws, peer = pair
        relaying = start_waiting(relay, (ws.makefile("rb"), ws.makefile("wb", 0)), sockets[0])
        peer.binary(b"1")
        assert sockets[1].recv(100) == b"1"
        peer.send_close()
        assert relaying.result() == (1, 0)

    def test_files_of_two_connections_are_files(self, make_pair, sockets):
        (one, near), (other, far) = make_pair(), make_pair()
        relaying = start_waiting(relay, sockets[0], (one.makefile("rb"), other.makefile("wb")))
        near.binary(b"1")
        assert sockets[1].recv(100) == b"1"
        sockets[1].sendall(b"2")
        assert far.read_message() == b"2"
        near.send_close()
        assert sockets[1].recv(100) == b""
        sockets[1].shutdown(socket.SHUT_WR)
        assert relaying.result() == (1, 1)
        assert far.read_close() == (1000, "")

    def test_a_file_for_both_directions(self, pair, sockets):
        ws, peer = pair
        file = sockets[0].makefile("rwb")
        relaying = start_waiting(relay, ws, file)
        peer.binary(b"1")
        assert sockets[1].recv(100) == b"1"
        sockets[1].sendall(b"2")
        assert peer.read_message() == b"2"
        peer.send_close()
        assert relaying.result() == (1, 1)
        file.close()

    def test_a_reader_that_wants_no_more_is_no_failure(self, pair, pipe):
        ws, peer = pair
        (there, into), (out, back) = pipe(), pipe()
        relaying = start_waiting(relay, ws, (there, back))
        out.close()
        peer.binary(b"1")
        peer.binary(b"2")
        into.write(b"answer")
        into.close()
        assert peer.read_message() == b"answer"
        assert peer.finish_close() == (1000, "")
        assert relaying.result() == (0, 6)

    def test_between_files_that_ends_the_direction(self, sockets, pipe):
        (there, into), (out, back) = pipe(), pipe()
        relaying = start_waiting(relay, sockets[0], (there, back))
        out.close()
        sockets[1].sendall(b"1")
        let_hub_run()
        into.write(b"2")
        into.close()
        assert sockets[1].recv(100) == b"2"
        assert relaying.result() == (0, 1)

    def test_a_writer_is_closed_where_the_connection_fails(self, pair, pipe):
        ws, peer = pair
        (there, _), (out, back) = pipe(), pipe()
        relaying = start_waiting(relay, ws, (there, back))
        peer.close()
        assert isinstance(relaying.fault(), ConnectionClosedError)
        assert out.read() == b""

    def test_closing_a_full_pipe_is_not_waited_for(self, pair, pipe):
        ws, peer = pair
        (there, _), (_, back) = pipe(), pipe()
        relaying = start_waiting(relay, ws, (there, back))
        peer.binary(bytes(200_000))
        let_hub_run()
        relaying.kill(timeout=5)
        assert relaying.ready()
        assert back.closed

    @pytest.mark.parametrize("result", [3, None])
    def test_writers_may_take_a_part_or_tell_nothing(self, pair, pipe, result):
        class Writer:
            written = b""

            def write(self, data):
                taken = bytes(data[:result])
                self.written += taken
                return result and len(taken)

            def close(self):
                pass

        ws, peer = pair
        peer.binary(b"12345678")
        peer.send_close()
        writer = Writer()
        assert relay(ws, (pipe()[0], writer)) == (8, 0)
        assert writer.written == b"12345678"

    def test_files_that_do_not_wait_are_told(self, pair, make_pair, pipe):
        class Never(io.RawIOBase):
            def readable(self):
                return True

            def readinto(self, buffer):
                return None

            def write(self, data):
                return None

        with pytest.raises(BlockingIOError, match="read from"):
            relay(pair[0], (Never(), io.BytesIO()))
        ws, peer = make_pair()
        peer.binary(b"1")
        with pytest.raises(BlockingIOError, match="written to"):
            relay(ws, (pipe()[0], Never()))


class TestInterruption:
    @pytest.mark.parametrize("kind", [gevent.Timeout, gevent.GreenletExit])
    def test_it_leaves_as_it_came_and_both_ends_are_ended(self, pair, sockets, kind):
        ws, peer = pair
        relaying = start_waiting(relay, ws, sockets[0])
        error = kind()
        relaying.kill(error, block=False)
        assert relaying.fault() is error
        assert peer.read_close() == (1011, "")
        assert sockets[1].recv(1) == b""
        assert ws.state is not State.OPEN

    def test_it_may_come_before_anything_was_done(self, pair, sockets):
        with gevent.Timeout(0.001) as timeout, pytest.raises(gevent.Timeout) as raised:
            relay(pair[0], sockets[0])
        assert raised.value is timeout


class TestArguments:
    def test_what_is_no_end_is_refused(self, pair, sockets):
        ws, _ = pair
        for end in (None, "text", (io.BytesIO(),), (io.BytesIO(), None), (), (io.BytesIO(), io.BytesIO(), ws)):
            with pytest.raises(TypeError, match="an end is"):
                relay(ws, end)

    def test_text_files_are_refused(self, pair):
        ws, _ = pair
        for end in (io.StringIO(), ws.makefile("rw"), (io.BytesIO(), sys.__stdout__)):
            with pytest.raises(TypeError, match="binary file"):
                relay(ws, end)

    def test_nothing_is_done_then(self, pair):
        inner, outer = std_socket.socketpair()
        inner.settimeout(7)
        with pytest.raises(TypeError):
            relay(inner, None)
        assert inner.gettimeout() == 7
        inner.close()
        outer.close()
