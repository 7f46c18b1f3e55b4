"""What a network may do to a stream: cut it anywhere, end it or reset it behind any byte, of the handshake or a frame.

Whole messages are received, parts of one are not; everybody who waits is told; nothing is left.
"""

from __future__ import annotations

import random
import zlib

import pytest
from gevent import socket
from serving import echo
from tools import raw_http, wire
from tools.endpoint import make_websocket
from tools.links import reset, unix_pair
from tools.proxying import Listener, read_request
from tools.scale import DONE, times
from tools.timing import wait_until
from tools.wire import BINARY, CONTINUATION, PING, RSV1, TEXT

from geventws.client import connect
from geventws.compression import Decompressor
from geventws.deflate import Parameters, PerMessageDeflate
from geventws.exceptions import ConnectionClosed, HandshakeError
from geventws.frames import Side
from geventws.protocol import Protocol

MESSAGES = ["Grüße, 世界", bytes(range(200)), "", "in three parts: \U0001f600", b"x" * 3300, "last"]


def deflated(data):
    deflater = zlib.compressobj(wbits=-15)
    return (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


def stream_of(side, compressed=False):
    """More than 4 KiB of frames of all kinds, as the peer of this side sends them."""
    key = b"\x37\xfa\x21\x3d" if side is Side.SERVER else None
    frames = []
    for message in MESSAGES:
        payload = message.encode() if isinstance(message, str) else message
        opcode = TEXT if isinstance(message, str) else BINARY
        bits = {"rsv": RSV1} if compressed else {}
        if compressed:
            payload = deflated(payload)
        if message == MESSAGES[3]:
            frames += [wire.frame(opcode, payload[:7], fin=False, key=key, **bits), wire.frame(PING, b"ping", key=key)]
            frames += [wire.frame(CONTINUATION, payload[7:9], fin=False, key=key)]
            frames += [wire.frame(CONTINUATION, payload[9:], key=key)]
        else:
            frames.append(wire.frame(opcode, payload, key=key, **bits))
    # Payload that does not get shorter makes the stream long enough where it is compressed.
    frames.append(wire.frame(BINARY, random.Random(1).randbytes(4000), key=key))
    return b"".join(frames)


def received(side, compressed, pieces):
    parameters = Parameters() if compressed else None
    decompressor = Decompressor(parameters, PerMessageDeflate(), side) if parameters else None
    protocol = Protocol(side, masking_keys=lambda: b"abcd", decompressor=decompressor)
    events = []
    for piece in pieces:
        events += protocol.receive(bytearray(piece), len(piece))
    return [protocol.take() for _ in range(len(protocol.messages))], events


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
def test_every_split_offset_gives_the_same(side, compressed):
    stream = stream_of(side, compressed)
    assert len(stream) > 4096
    whole = received(side, compressed, [stream])
    assert whole[0][:-1] == MESSAGES
    for offset in range(1, len(stream)):
        assert received(side, compressed, [stream[:offset], stream[offset:]]) == whole
    DONE["network faults: splits"] += len(stream) - 1


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
def test_random_pieces_give_the_same(side, compressed):
    stream = stream_of(side, compressed)
    whole = received(side, compressed, [stream])
    chance = random.Random(2)
    for _ in range(times(300)):
        pieces = wire.split_at(stream, chance.sample(range(1, len(stream)), chance.randint(2, 60)))
        assert received(side, compressed, pieces) == whole
    DONE["network faults: splits"] += times(300)


def whole_messages(side, stream, offset):
    """How many messages are whole in so many bytes of the stream."""
    return received(side, False, [stream[:offset]])[0]


@pytest.mark.parametrize("end", ["end", "reset"])
@pytest.mark.parametrize("role", ["client", "server"])
def test_the_stream_may_end_behind_any_byte_of_a_frame(role, end):
    side = Side(role)
    stream = stream_of(side)
    offsets = [*range(450), *range(450, len(stream), max(1, 97 // times(1)))]
    for offset in offsets:
        mine, other = unix_pair()
        ws = make_websocket(mine, role)
        other.sendall(stream[:offset])
        if end == "end":
            other.close()
        else:
            reset(other)
        seen = []
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                seen.append(ws.recv(timeout=5))
        assert seen == whole_messages(side, stream, offset)
        assert caught.value.rcvd is None
        ws.terminate()
    DONE[f"network faults: an {end} within frames"] += len(offsets)


@pytest.mark.parametrize("end", ["end", "reset"])
def test_a_server_survives_an_end_behind_any_byte_of_the_request(serving, end):
    server = serving.start(echo, close_timeout=1)
    request = raw_http.request() + wire.frame(TEXT, b"early", key=b"abcd")
    for offset in range(len(request)):
        sock = socket.create_connection(server.address, timeout=5)
        sock.sendall(request[:offset])
        if end == "reset":
            reset(sock)
        sock.close()
    wait_until(lambda: not server._connections and not server._arrivals)
    DONE[f"network faults: an {end} within requests"] += len(request)
    peer = serving.open(server)
    peer.text("still here")
    assert peer.read_message() == "still here"
    peer.close()


@pytest.mark.parametrize("end", ["end", "reset"])
def test_a_client_is_told_of_an_end_behind_any_byte_of_the_answer(end):
    length = len(raw_http.answer(raw_http.KEY))
    offsets = iter(range(length))

    def play(sock):
        key = read_request(sock).split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0].decode()
        sock.sendall(raw_http.answer(key)[: next(offsets)])
        if end == "reset":
            reset(sock)

    listener = Listener(play)
    for _ in range(length):
        with pytest.raises((OSError, HandshakeError)):
            connect(f"ws://127.0.0.1:{listener.port}/", open_timeout=5)
    listener.stop()
    DONE[f"network faults: an {end} within answers"] += length
