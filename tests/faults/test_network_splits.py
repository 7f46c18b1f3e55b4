"""However a network cuts a stream, what comes of it is the same: at every offset, at every two, in random pieces.

No socket takes part here: what is fed are the parsers of heads and of frames.
"""

from __future__ import annotations

import random
from itertools import combinations

import pytest
from streams import MESSAGES, decoding, one_of_each, stream_of
from tools import raw_http, wire
from tools.scale import DONE, times

from geventws.frames import Side
from geventws.http11 import RequestParser, ResponseParser
from geventws.proxy_protocol import ProxiedRequestParser

COMPRESSED = pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])


def outcome(side, compressed, pieces):
    """The messages and the events."""
    protocol = decoding(side, compressed)
    events = []
    for piece in pieces:
        events += protocol.receive(bytearray(piece), len(piece))
    return [protocol.take() for _ in range(len(protocol.messages))], events


@pytest.mark.parametrize("side", Side)
@COMPRESSED
def test_every_split_offset_of_more_than_4_kib(side, compressed):
    stream = stream_of(side, compressed)
    assert len(stream) > 4096
    whole = outcome(side, compressed, [stream])
    assert whole[0][:-1] == MESSAGES
    for offset in range(1, len(stream)):
        assert outcome(side, compressed, [stream[:offset], stream[offset:]]) == whole
    DONE["network faults: a cut of frames"] += len(stream) - 1


@pytest.mark.parametrize("side", Side)
@COMPRESSED
def test_every_two_split_offsets(side, compressed):
    """Among them all pieces of one byte, and all places in which two frames, or parts of them, come together."""
    stream = one_of_each(side, compressed)
    whole = outcome(side, compressed, [stream])
    assert len(whole[0]) == 5
    count = 0
    for first, second in combinations(range(1, len(stream)), 2):
        assert outcome(side, compressed, [stream[:first], stream[first:second], stream[second:]]) == whole
        count += 1
    DONE["network faults: two cuts of frames"] += count


@pytest.mark.parametrize("side", Side)
@COMPRESSED
def test_random_pieces(side, compressed):
    stream = stream_of(side, compressed)
    whole = outcome(side, compressed, [stream])
    chance = random.Random(2)
    for _ in range(times(300)):
        pieces = wire.split_at(stream, chance.sample(range(1, len(stream)), chance.randint(2, 60)))
        assert outcome(side, compressed, pieces) == whole
    DONE["network faults: random cuts of frames"] += times(300)


BEHIND = wire.frame(wire.TEXT, b"early")
HEADS = {
    "a request": (RequestParser, raw_http.request()),
    "an answer": (ResponseParser, raw_http.answer(raw_http.KEY)),
    "a request behind a proxy's header": (
        ProxiedRequestParser,
        b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 443\r\n" + raw_http.request(),
    ),
    "a proxy's answer": (ResponseParser, b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n"),
}


@pytest.mark.parametrize("what", HEADS)
def test_every_two_split_offsets_of_a_head(what):
    """The head is given at its last byte, and what is behind it is kept."""
    make, head = HEADS[what]
    parser = make()
    expected = parser.feed(head)
    assert expected is not None
    data = head + BEHIND
    count = 0
    for first, second in combinations(range(1, len(data)), 2):
        parser, seen, rest = make(), None, b""
        for piece, end in ((data[:first], first), (data[first:second], second), (data[second:], len(data))):
            if seen is None:
                seen = parser.feed(piece)
                assert (seen is not None) is (end >= len(head))
                rest = b"" if seen is None else parser.rest
            else:
                rest += piece
        assert (seen, rest) == (expected, BEHIND)
        count += 1
    DONE["network faults: two cuts of a head"] += count
