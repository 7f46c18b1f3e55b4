"""How files over a WebSocket begin, end and are given up, in both roles."""

from __future__ import annotations

import gc
from io import UnsupportedOperation

import pytest
from tools.tasks import interrupt, start, start_waiting
from tools.timing import let_hub_run
from tools.wire import BINARY

from geventws.events import State
from geventws.exceptions import ConnectionClosedOK
from geventws.rawfile import WebSocketIO


@pytest.fixture
def transport():
    """One is enough here: files know nothing of it."""
    return "unix"


@pytest.fixture(params=[("b", 0), ("b", -1), ("", -1)], ids=["raw", "binary", "text"])
def kind(request):
    return request.param


def data_for(kind):
    return b"data" if kind[0] else "data"


def test_closing_a_writer_says_so_and_leaves_reading_to_go_on(pair, kind):
    ws, peer = pair
    mode, buffering = kind
    reader, writer = ws.makefile("r" + mode, buffering), ws.makefile("w" + mode, buffering)
    writer.write(data_for(kind))
    writer.close()
    writer.close()
    assert writer.closed
    assert peer.read_message() in ("data", b"data")
    assert peer.read_close() == (1000, "")
    reading = start_waiting(reader.read)
    peer.text("the rest")
    peer.send_close()
    assert reading.result() in ("the rest", b"the rest")


def test_closing_a_duplex_waits_for_the_peer(pair, kind):
    ws, peer = pair
    file = ws.makefile("rw" + kind[0], kind[1])
    file.write(data_for(kind))
    closing = start_waiting(file.close)
    assert peer.finish_close() == (1000, "")
    peer.close()
    closing.result()
    assert file.closed
    assert ws.state is State.CLOSED


def test_closing_a_reader_does_nothing_to_the_connection(pair, kind):
    ws, peer = pair
    with ws.makefile("r" + kind[0], kind[1]) as file:
        pass
    assert file.closed
    ws.send("still open")
    assert peer.read_message() == "still open"


def test_write_eof_closes_one_direction_of_a_duplex(pair, kind):
    ws, peer = pair
    file = ws.makefile("rw" + kind[0], kind[1])
    file.write(data_for(kind))
    file.write_eof()
    assert peer.read_message() in ("data", b"data")
    peer.text("the rest")
    assert peer.finish_close() == (1000, "")
    assert file.read() in ("the rest", b"the rest")


def test_an_exception_inside_tells_the_peer_that_there_was_more(pair, kind):
    ws, peer = pair
    with pytest.raises(ZeroDivisionError), ws.makefile("w" + kind[0], kind[1]) as file:
        file.write(data_for(kind))
        raise ZeroDivisionError
    assert file.closed
    assert peer.read_close() == (1011, "the stream was broken off")
    assert len(peer.checker.messages) == (1 if kind[1] == 0 else 0)


def test_an_exception_inside_of_a_reader_does_nothing_to_the_connection(pair, kind):
    ws, _ = pair
    with pytest.raises(ZeroDivisionError), ws.makefile("r" + kind[0], kind[1]):
        raise ZeroDivisionError
    assert ws.state is State.OPEN


def test_an_exception_behind_its_end_changes_nothing(pair, kind):
    ws, peer = pair
    with pytest.raises(ZeroDivisionError), ws.makefile("w" + kind[0], kind[1]) as file:
        file.close()
        raise ZeroDivisionError
    assert peer.read_close() == (1000, "")


def test_an_interrupted_close_can_be_made_again(make_pair):
    ws, peer = make_pair(buffers=4096)
    file = ws.makefile("wb")
    ws.send(bytes(500_000))
    file.write(b"data")
    interrupt(file.close)
    assert not file.closed
    assert len(peer.read_message()) == 500_000
    file.close()
    assert peer.read_message() == b"data"
    assert peer.read_close() == (1000, "")


def test_what_cannot_be_sent_any_more_is_an_error_of_close(pair):
    ws, peer = pair
    file = ws.makefile("wb")
    file.write(b"data")
    peer.send_close()
    peer.close()
    ws.wait_closed()
    with pytest.raises(ConnectionClosedOK):
        file.close()
    assert file.closed


def test_nothing_is_dropped_while_the_connection_closes(make_pair):
    ws, peer = make_pair(buffers=4096)
    file = ws.makefile("rwb")
    peer.binary(b"1")
    assert file.read(1) == b"1"
    file.write_eof()
    messages = [peer.frame(BINARY, bytes([number]) * 1000) for number in range(200)]
    sending = start_waiting(peer.send_bytes, b"".join(messages))
    let_hub_run(100)
    received = b"".join(iter(lambda: file.read1(500), b"")) if sending.ready() else b""
    while len(received) < 200_000:
        received += file.read1(500)
    sending.result()
    peer.finish_close()
    assert file.read() == b""
    assert received == b"".join(bytes([number]) * 1000 for number in range(200))


def test_closing_with_much_unread_finds_the_peers_close_frame(make_pair):
    ws, peer = make_pair(buffers=4096)
    file = ws.makefile("rwb")
    peer.binary(b"1")
    assert file.read(1) == b"1"
    file.write_eof()
    sending = start_waiting(peer.send_bytes, b"".join(peer.frame(BINARY, bytes(1000)) for _ in range(200)))
    closing = start(file.close)
    sending.result()
    peer.finish_close()
    peer.close()
    closing.result()
    assert ws.close_code == 1000


def test_a_dropped_file_does_nothing(pair, kind):
    ws, peer = pair
    file = ws.makefile("rw" + kind[0], kind[1])
    del file
    gc.collect()
    ws.send("still open")
    assert peer.read_message() == "still open"


@pytest.mark.parametrize("mode", ["wb", "w"])
def test_a_dropped_file_that_was_not_flushed_is_told(pair, mode):
    file = pair[0].makefile(mode)
    file.write(b"four" if mode == "wb" else "four")
    with pytest.warns(ResourceWarning, match="4 bytes"):
        del file


def test_detaching_flushes_and_loses_nothing(pair):
    ws, peer = pair
    file = ws.makefile("rwb")
    peer.binary(b"12345")
    file.write(b"data")
    assert file.read(2) == b"12"
    raw = file.detach()
    assert peer.read_message() == b"data"
    assert (type(raw), raw.read(100), repr(file)) == (WebSocketIO, b"345", "<BinaryFile, detached>")
    with pytest.raises(ValueError, match="detached"):
        file.read()
    file.close()
    with pytest.raises(ZeroDivisionError), ws.makefile() as file:
        file.detach()
        raise ZeroDivisionError
    assert not raw.closed


def test_text_cannot_be_detached(pair):
    with pytest.raises(UnsupportedOperation):
        pair[0].makefile("r").detach()
