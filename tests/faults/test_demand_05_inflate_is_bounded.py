"""Inflating is bounded before it grows: a bomb stops at the limit, holds the hub for no time, and costs no memory."""

from __future__ import annotations

import zlib

import pytest
from serving import MS, echo
from tools import raw_http
from tools.measuring import HubHeld, memory
from tools.tasks import start
from tools.timing import let_hub_run
from tools.wire import BINARY, CONTINUATION, PING, RSV1, TEXT

from geventws.compression import Decompressor
from geventws.deflate import Parameters
from geventws.exceptions import ConnectionClosedError

MIB = 2**20


@pytest.fixture
def transport():
    return "tcp"


def bomb(mebibytes):
    """A deflate stream of so many MiB of zeros: one block, again and again."""
    deflater = zlib.compressobj(9, wbits=-15)
    deflater.compress(bytes(MIB))
    deflater.flush(zlib.Z_FULL_FLUSH)
    block = deflater.compress(bytes(MIB)) + deflater.flush(zlib.Z_FULL_FLUSH)
    return block * mebibytes


def fragments(peer, data, size):
    """A compressed message in frames of ``size`` bytes that does not end."""
    stream = b"".join(
        peer.frame(CONTINUATION if start_ else BINARY, data[start_ : start_ + size], fin=False, rsv=0 if start_ else 4)
        for start_ in range(0, len(data), size)
    )
    assert RSV1 == 4
    return stream


@pytest.fixture
def bombed(make_pair, monkeypatch):
    """Makes a WebSocket that was sent a bomb; counts what is inflated."""
    inflated = []
    read = Decompressor.read

    def counted(self, *arguments):
        result = read(self, *arguments)
        inflated.append(len(result))
        return result

    monkeypatch.setattr(Decompressor, "read", counted)

    def make(mebibytes, max_size, size=60_000):
        ws, peer = make_pair(deflate=Parameters(), max_size=max_size, close_timeout=1)
        return ws, peer, fragments(peer, bomb(mebibytes), size), inflated

    return make


@pytest.mark.parametrize("max_size", [MIB, 8 * MIB])
@pytest.mark.parametrize("role", ["server"], indirect=True)
def test_a_bomb_of_4_gib_stops_at_the_limit(bombed, max_size):
    ws, peer, stream, inflated = bombed(4096, max_size)
    receiving = start(ws.recv)
    reading = start(peer.read_close)

    def send():
        try:
            peer.send_bytes(stream)
        except ConnectionError:
            pass  # it was closed before all was sent

    with memory() as seen, HubHeld() as held:
        start(send).result(20)
        error = receiving.fault(20)
    assert isinstance(error, ConnectionClosedError)
    assert error.sent.code == 1009
    assert reading.result()[0] == 1009
    assert sum(inflated) <= max_size + 1
    assert seen.peak <= 2 * max_size + MIB  # what a thread has inflated is put behind what there was
    assert held.longest <= 0.1  # tracemalloc counts every allocation


@pytest.mark.parametrize("role", ["client"], indirect=True)
def test_a_bomb_does_not_hold_the_hub(bombed):
    ws, peer, stream, _ = bombed(64, 16 * MIB)
    receiving = start(ws.recv)
    with HubHeld() as held:
        peer.send_bytes(stream)
        assert receiving.fault(20).sent.code == 1009
    assert held.longest <= max(0.02, 10 * MS)


def test_a_bomb_in_one_frame_is_refused_by_its_length(make_pair):
    _ws, peer = make_pair(deflate=Parameters(), max_size=1000)
    peer.send_bytes(peer.frame(BINARY, b"x", rsv=RSV1, length=5000))
    assert peer.read_close()[0] == 1009
    peer.half_close()


@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, CONTINUATION])
@pytest.mark.parametrize("rsv", [1, 2, 4, 7])
def test_rsv_bits_that_were_not_negotiated_are_a_protocol_error(make_pair, opcode, rsv):
    _ws, peer = make_pair()
    peer.send_bytes(peer.frame(opcode, b"", rsv=rsv))
    assert peer.read_close()[0] == 1002
    peer.half_close()


BAD = [
    "permessage-deflate; server_max_window_bits=7",
    "permessage-deflate; server_max_window_bits=16",
    "permessage-deflate; server_max_window_bits=-1",
    "permessage-deflate; server_max_window_bits=99999999999999999999",
    "permessage-deflate; server_max_window_bits",
    "permessage-deflate; client_max_window_bits=0",
    "permessage-deflate; client_max_window_bits=015",
    "permessage-deflate; client_max_window_bits=8; client_max_window_bits=8",
    "permessage-deflate; server_no_context_takeover=1",
    "permessage-deflate; unknown",
]


@pytest.mark.parametrize("offer", BAD)
def test_bad_parameters_are_refused_before_zlib_sees_them(serving, offer, monkeypatch):
    """RFC 7692 section 7.1: an offer that is not valid is declined, the connection is opened without it."""
    server = serving.start(compression=True)
    monkeypatch.setattr(zlib, "decompressobj", None)
    monkeypatch.setattr(zlib, "compressobj", None)
    sock = serving.dial(server)
    sock.sendall(raw_http.request(headers={"Sec-WebSocket-Extensions": offer}))
    response, _ = raw_http.read_response(sock)
    assert response.status in (101, 400)
    assert "Sec-WebSocket-Extensions" not in response.headers


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x06", b"\x00\x01", b"\x05\xe0\x81\x91", b"\x00" * 50])
def test_what_zlib_cannot_read_fails_that_connection_only(make_pair, serving, data):
    server = serving.start(echo)
    other = serving.open(server)
    _ws, peer = make_pair(deflate=Parameters())
    peer.send(BINARY, data, rsv=RSV1)
    peer.send(BINARY, data, rsv=RSV1)
    assert peer.read_close()[0] in (1002, 1007)
    peer.half_close()
    let_hub_run()
    other.text("still here")
    assert other.read_message() == "still here"
