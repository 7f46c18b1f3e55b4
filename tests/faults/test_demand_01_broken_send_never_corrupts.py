"""A broken send never corrupts: whatever is thrown into it, the rest of the frame follows, or the connection is failed.

Each test breaks a call, then sends another message, and lets the strict checker read the whole stream: what the peer
sees is whole messages and nothing else, and the last one is there unless the connection was failed.
"""

from __future__ import annotations

import random

import gevent
import pytest
from broken import BIG, MIDDLE, SMALL, judge, parts, read_all, send_after
from tools.faults import ERRORS, attempt, thrown_later
from tools.numbered import numbered, numbers
from tools.scale import times
from tools.tasks import start

from geventws.deflate import Parameters

OPERATIONS = {
    "send": lambda ws: ws.send(numbered(2, MIDDLE)),
    "small send": lambda ws: ws.send(numbered(2, SMALL)),
    "fragments": lambda ws: ws.send(parts(numbered(2, BIG), 20_000)),
    "ping": lambda ws: ws.ping(b"ping"),
    "pong": lambda ws: ws.pong(b"pong"),
    "flush": lambda ws: ws.flush(),
    "close": lambda ws: ws.close(1001, "going"),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_at_every_switch_point(make_pair, transport, operation):
    for make in ERRORS if transport == "unix" else ERRORS[:2]:
        for nth in range(1, 40):
            ws, peer = make_pair(buffers=4096, close_timeout=1)
            ws.send(numbered(1, BIG))
            reading = start(read_all, peer)
            error = make()
            outcome = attempt(lambda ws=ws: OPERATIONS[operation](ws), nth, error)
            assert not outcome.thrown or outcome.error is error
            sent_after = start(send_after, ws).result(10)
            reading.result()
            judge(peer, sent_after, f"{operation} at switch {nth}")
            if not outcome.thrown:
                break
        else:
            pytest.fail("there is no end of switch points")
        assert nth > 1 or operation in ("ping", "pong")


@pytest.mark.parametrize("operation", ["send", "fragments"])
def test_while_a_large_message_is_compressed_in_a_thread(make_pair, operation):
    message = numbered(2, BIG)
    calls = {"send": message, "fragments": parts(message, 90_000)}
    for nth in range(1, 20):
        ws, peer = make_pair(deflate=Parameters(), close_timeout=1)
        ws.send(numbered(1, MIDDLE))
        reading = start(read_all, peer)
        outcome = attempt(lambda ws=ws: ws.send(calls[operation]), nth, MemoryError())
        sent_after = start(send_after, ws).result(10)
        reading.result()
        judge(peer, sent_after, f"{operation} at switch {nth}")
        if not outcome.thrown:
            break
    assert nth > 1


def test_at_random_moments_with_a_slow_reader(make_pair):
    """Errors at random moments of sends of all sizes, each followed by another send on the same connection."""
    chance = random.Random(1)
    ws, peer = make_pair(buffers=4096)
    reading = start(read_all, peer)
    whole, broken = set(), 0
    for number in range(times(240)):
        message = numbered(number, chance.choice([SMALL, MIDDLE, BIG]))
        error = ERRORS[number % len(ERRORS)]()
        try:
            with thrown_later(gevent.getcurrent(), error, chance.random() * 0.004):
                ws.send(message)
                ws.flush()
            whole.add(number)
        except BaseException as raised:  # noqa: BLE001 (what is thrown in is the point)
            assert raised is error
            broken += 1
    ws.flush(timeout=10)
    ws.terminate()
    reading.result()
    seen = numbers(peer.checker.messages)
    assert seen == sorted(set(seen))
    assert whole <= set(seen)
    assert not peer.checker.in_frame
    assert broken > 5
