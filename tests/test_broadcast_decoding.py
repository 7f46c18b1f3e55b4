"""Shared and own messages in any order, through any window, are read by every library as they were sent."""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tools.checker import StreamError
from tools.endpoint import make_peer, make_websocket
from tools.links import unix_pair
from tools.wire import BINARY, RSV1, TEXT

from geventws import PreparedMessage, broadcast
from geventws.compression import Decompressor
from geventws.deflate import Parameters, PerMessageDeflate
from geventws.frames import Side

WORDS = [f"{word} {random.Random(word).randbytes(6).hex()} " for word in ("price", "volume", "bid", "ask", "symbol")]
COUNT = range(3)
SESSION = st.fixed_dictionaries(
    {
        "bits": st.integers(8, 15),
        "takeover": st.booleans(),
        "level": st.sampled_from([1, 2, 6]),
        "client": st.booleans(),
    }
)
MESSAGE = st.lists(st.sampled_from(WORDS), min_size=4, max_size=40).map("".join)
STEP = st.one_of(
    st.tuples(st.just("own"), st.sampled_from(COUNT), MESSAGE),
    st.tuples(st.just("shared"), st.just(None), MESSAGE),
    st.tuples(st.just("uncompressed"), st.just(None), MESSAGE),
    st.tuples(st.just("prepared"), st.sampled_from(COUNT), st.sampled_from(COUNT)),
    st.tuples(st.just("shared in the middle"), st.sampled_from(COUNT), MESSAGE),
)
PREPARED = [PreparedMessage(WORDS[number] * 20) for number in COUNT]


class Session(NamedTuple):
    ws: object
    peer: object
    parameters: Parameters
    expected: list[str]


def opened(bits, takeover, level, client):
    left, right = unix_pair()
    parameters = Parameters(not takeover, not takeover, bits, bits)
    role = "client" if client else "server"
    compression = PerMessageDeflate(threshold=0, compress_options={"level": level})
    ws = make_websocket(left, role, deflate=parameters, settings=compression)
    return Session(ws, make_peer(right, role, deflate=parameters), parameters, [])


def take(step, sessions):
    """Do one step, and note who is to receive what."""
    kind, number, message = step
    session = None if number is None else sessions[number]
    everybody = [session.ws for session in sessions]
    if kind == "own":
        session.ws.send(message)
        session.expected.append(message)
    elif kind == "prepared":
        session.ws.send(PREPARED[message])
        session.expected.append(WORDS[message] * 20)
    elif kind == "shared in the middle":

        def fragments():
            yield message
            broadcast(everybody, message + "shared")
            yield message

        session.ws.send(fragments())
        session.expected.append(message * 2)
        for each in sessions:
            each.expected.append(message + "shared")
    else:
        broadcast(everybody, message, compress=kind == "shared")
        for each in sessions:
            each.expected.append(message)


def read_by_geventws(frames, session):
    side = Side.SERVER if session.peer.checker.masked else Side.CLIENT
    decompressor = Decompressor(session.parameters, PerMessageDeflate(), side)
    for frame in frames:
        decompressor.feed(frame.payload, frame.fin)
        message = b""
        while decompressor.pending:
            message += decompressor.read(1 << 20)
        yield message


def read_by_websockets(frames, session):
    extensions = pytest.importorskip("websockets.extensions.permessage_deflate")
    from websockets.frames import Frame, Opcode

    bits, fresh = session.parameters.server_max_window_bits, session.parameters.server_no_context_takeover
    decoder = extensions.PerMessageDeflate(fresh, fresh, bits, 15)
    for frame in frames:
        yield bytes(decoder.decode(Frame(Opcode(frame.opcode), frame.payload, frame.fin, frame.rsv == RSV1)).data)


def texts(session, read):
    """The messages, where another library reads the compressed ones."""
    messages = []
    for frame in session.peer.checker.frames:
        if frame.opcode in (TEXT, BINARY):
            messages.append([])
        messages[-1].append(frame)
    compressed = [frame for message in messages if message[0].rsv == RSV1 for frame in message]
    inflated = read(compressed, session)
    return [
        b"".join(next(inflated) if message[0].rsv == RSV1 else frame.payload for frame in message).decode()
        for message in messages
    ]


@settings(deadline=None, max_examples=60)
@given(st.lists(SESSION, min_size=3, max_size=3), st.lists(STEP, min_size=12, max_size=30))
def test_every_library_reads_what_was_sent(kinds, steps):
    sessions = [opened(**kind) for kind in kinds]
    try:
        for step in steps:
            take(step, sessions)
        for session in sessions:
            # The checker inflates with zlib itself, and lets nothing refer back further than was agreed.
            assert [session.peer.read_message() for _ in session.expected] == session.expected
            for read in (read_by_geventws, read_by_websockets):
                assert texts(session, read) == session.expected
    finally:
        for session in sessions:
            session.ws.terminate()
            session.peer.close()


def test_without_the_renewal_the_next_message_would_be_wrong():
    """The test above can fail: it does for a sender that goes on with its context."""
    session = opened(15, True, 2, False)
    try:
        ws, peer = session.ws, session.peer
        compressor = ws._protocol.compressor
        first = last = random.Random(1).randbytes(500).hex()
        shared = random.Random(2).randbytes(400).hex()
        ws.send(first)
        kept = compressor._context
        broadcast([ws], shared)
        assert compressor._context is None
        compressor._context = kept
        ws.send(last)
        assert [peer.read_message(), peer.read_message()] == [first, shared]
        try:
            assert peer.read_message() != last
        except StreamError:
            pass  # or it cannot be inflated at all
    finally:
        ws.terminate()
        peer.close()
