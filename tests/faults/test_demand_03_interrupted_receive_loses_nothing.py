"""An interrupted receive loses nothing: whatever is thrown into it, the next one gets the whole message."""

from __future__ import annotations

import random
import zlib

import gevent
import pytest
from tools.faults import ERRORS, attempt, thrown_later
from tools.numbered import numbered, numbers
from tools.scale import times
from tools.tasks import start
from tools.timing import let_hub_run
from tools.wire import BINARY, CONTINUATION, PING, RSV1, split_at

from geventws.deflate import Parameters

COUNT = times(700)


def stream_of(peer, count, compressed):
    """Numbered messages of all kinds, one after the other, with pings in between."""
    chance = random.Random(count)
    deflater = zlib.compressobj(wbits=-15)
    stream = []
    for number in range(count):
        payload, bits = numbered(number, chance.choice([16, 40, 300, 3000])), {}
        if compressed and chance.random() < 0.8:
            payload = (deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
            bits = {"rsv": RSV1}
        if chance.random() < 0.4:
            cut = chance.randrange(len(payload))
            stream += [peer.frame(BINARY, payload[:cut], fin=False, **bits), peer.frame(PING, b"between")]
            stream.append(peer.frame(CONTINUATION, payload[cut:]))
        else:
            stream.append(peer.frame(BINARY, payload, **bits))
    return b"".join(stream)


def trickle(peer, stream):
    """Send the stream in small pieces, and let others run after each."""
    chance = random.Random(len(stream))
    offsets = sorted({chance.randrange(1, len(stream)) for _ in range(len(stream) // 60)})
    for piece in split_at(stream, offsets):
        peer.send_bytes(piece)
        let_hub_run(1)


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
def test_at_random_moments(make_pair, compressed):
    ws, peer = make_pair(deflate=Parameters() if compressed else None)
    sending = start(trickle, peer, stream_of(peer, COUNT, compressed))
    chance = random.Random(1)
    seen, interrupts = [], 0
    while len(seen) < COUNT:
        made = ERRORS[interrupts % len(ERRORS)]()
        try:
            with thrown_later(gevent.getcurrent(), made, chance.random() * 0.0005):
                message = ws.recv()
            seen.append(message)
        except BaseException as raised:  # noqa: BLE001 (what is thrown in is the point)
            # The loop of the test itself may be hit as well, with the message in its hand.
            assert raised is made
            interrupts += 1
    sending.result()
    assert numbers(seen) == list(range(COUNT))
    assert interrupts > 0


def test_by_its_own_timeout(make_pair):
    ws, peer = make_pair()
    sending = start(trickle, peer, stream_of(peer, COUNT, False))
    chance = random.Random(2)
    seen, timeouts = [], 0
    while len(seen) < COUNT:
        try:
            seen.append(ws.recv(timeout=chance.choice([0, 0.0001, 0.001])))
        except TimeoutError:
            timeouts += 1
    sending.result()
    assert numbers(seen) == list(range(COUNT))
    assert timeouts > 0


def test_at_every_switch_point(make_pair):
    """The reader is thrown out whenever it waits; it always comes back, and gets each message once."""
    ws, peer = make_pair()
    count = 30
    sending = start(trickle, peer, stream_of(peer, count, False))
    seen, thrown = [], 0
    while len(seen) < count:
        outcome = attempt(ws.recv, 1, MemoryError())
        thrown += outcome.thrown
        if outcome.error is None:
            seen.append(outcome.result)
        let_hub_run(1)
    sending.result()
    assert numbers(seen) == list(range(count))
    assert thrown > 5


def test_killed_readers_leave_the_message_to_the_next_one(make_pair):
    ws, peer = make_pair()
    frame = peer.frame(BINARY, numbered(1, 300))
    for offset in range(0, len(frame), 7):
        peer.send_bytes(frame[:offset])
        reader = start(ws.recv)
        gevent.sleep(0.0005)
        reader.kill()
        peer.send_bytes(frame[offset:])
        assert numbers([ws.recv()]) == [1]


def test_a_kill_that_comes_with_the_message_does_not_take_it_along(make_pair):
    """The message is there and the reader is killed before it runs: both happen in one turn of the hub."""
    ws, peer = make_pair()
    for number in range(30):
        reader = start(ws.recv)
        peer.send(BINARY, numbered(number))
        if number % 2:
            gevent.sleep(0)
        reader.kill(block=False)
        reader.join()
        got = reader.value if isinstance(reader.value, bytes) else ws.recv()
        assert numbers([got]) == [number]


@pytest.mark.parametrize("error", ERRORS, ids=["Timeout", "GreenletExit", "KeyboardInterrupt", "MemoryError", "plain"])
def test_streaming_goes_on_after_every_interrupt(make_pair, error):
    """A frame comes in pieces, and before each piece the one who waits for it is thrown out."""
    ws, peer = make_pair()
    payload = numbered(1, 1000)
    fragments = ws.recv_streaming()
    got = []
    cuts = list(range(50, 500, 50))
    first = split_at(peer.frame(BINARY, payload[:500], fin=False), cuts)
    for piece in first + split_at(peer.frame(CONTINUATION, payload[500:]), cuts):
        made = error()
        assert attempt(lambda: next(fragments), 1, made).error is made
        peer.send_bytes(piece)
        got.append(next(fragments))
    got += fragments
    assert b"".join(got) == payload
    peer.binary(numbered(2))
    assert numbers([ws.recv()]) == [2]


def test_iteration_goes_on_after_every_interrupt(make_pair):
    ws, peer = make_pair()
    sending = start(lambda: (trickle(peer, stream_of(peer, 50, False)), peer.send_close()))
    seen, attempts, thrown, ended = [], 0, 0, False
    while not ended:
        attempts += 1
        let_hub_run(1)
        outcome = attempt(lambda: next(iter(ws), None), attempts % 2, MemoryError())
        thrown += outcome.thrown
        if outcome.error is None:
            ended = outcome.result is None
            seen.append(outcome.result)
    sending.result()
    assert numbers(seen[:-1]) == list(range(50))
    assert thrown > 5
