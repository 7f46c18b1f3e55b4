"""What the tests of broken sends have in common: a slow reader, one more message, and a judgement of the stream."""

from __future__ import annotations

from contextlib import suppress

import gevent
from tools.numbered import numbered, numbers

from geventws.exceptions import ConnectionClosed

BIG, MIDDLE, SMALL = 200_000, 30_000, 100
"""Sizes of messages: more than a narrow link takes, more than is copied into one piece, and little."""


def parts(message, size):
    return [message[start : start + size] for start in range(0, len(message), size)]


def read_all(peer):
    """Read as slowly as a peer can until the stream ends, or a close frame has come; each read is judged."""
    with suppress(ConnectionError):
        while peer.read_some(2000) and peer.checker.closed is None:
            gevent.sleep(0)
    peer.close()


def send_after(ws, timeout=5):
    """Send one more message and end; whether it could be sent."""
    try:
        ws.send(numbered(9), timeout=timeout)
        ws.flush(timeout=timeout)
    except ConnectionClosed:
        return False
    finally:
        ws.terminate()
    return True


def judge(peer, sent_after, broke):
    """Message 1 was sent, the call with message 2 was broken, then message 9 was sent, or refused."""
    seen = numbers(peer.checker.messages)
    assert seen == sorted(set(seen)), broke
    assert set(seen) <= {1, 2, 9}, broke
    assert (9 in seen) is sent_after, broke
    if sent_after:
        assert seen[0] == 1, broke
        assert not peer.checker.in_frame, broke
