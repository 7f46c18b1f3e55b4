"""Any number of greenlets may send, ping and close at once: every message is whole, each greenlet's are in order."""

from __future__ import annotations

import random

import gevent
import pytest
from broken import read_all
from tools.numbered import identify, numbered
from tools.tasks import start
from tools.wire import PING, TEXT

from geventws.deflate import Parameters

SENDERS, EACH = 25, 20
SIZES = [16, 16, 16, 100, 1000, 5000, 70_000]


def per_sender(messages):
    found = {}
    for message in messages:
        sender, number = identify(message)
        found.setdefault(sender, []).append(number)
    return found


def in_fragments(message):
    """The message in three parts, with a wait before each."""
    for start_at in range(0, len(message), len(message) // 3 + 1):
        gevent.sleep(0)
        yield message[start_at : start_at + len(message) // 3 + 1]


@pytest.mark.parametrize("deflate", [None, Parameters()], ids=["plain", "compressed"])
def test_all_messages_arrive_whole_and_in_order_at_a_slow_reader(make_pair, deflate):
    ws, peer = make_pair(buffers=16384, deflate=deflate)

    def send(sender):
        chance = random.Random(sender)
        for number in range(EACH):
            message = numbered(number, chance.choice(SIZES), sender)
            ws.send(in_fragments(message) if chance.random() < 0.1 else message)
            if chance.random() < 0.2:
                ws.ping()

    def read():
        while len(peer.checker.messages) < SENDERS * EACH or peer.checker.in_frame:
            assert peer.read_some(8000)
            gevent.sleep(0)

    reading = start(read)
    senders = [start(send, sender) for sender in range(SENDERS)]
    for sending in senders:
        sending.result(20)
    reading.result(20)
    assert per_sender(peer.checker.messages) == {sender: list(range(EACH)) for sender in range(SENDERS)}
    assert PING in {frame.opcode for frame in peer.checker.frames}


def test_large_messages_of_three_greenlets_are_not_mixed(make_pair):
    """What breaks the other libraries for gevent: 3 greenlets, 6 sends of 2 MiB each, a slow reader."""
    ws, peer = make_pair()

    def send(sender):
        for number in range(6):
            ws.send(numbered(number, 700_000, sender))

    reading = start(lambda: [peer.read_message() for _ in range(18)])
    senders = [start(send, sender) for sender in range(3)]
    for sending in senders:
        sending.result(20)
    assert per_sender(reading.result(20)) == {sender: list(range(6)) for sender in range(3)}


def test_some_close_while_others_send(make_pair):
    ws, peer = make_pair(buffers=4096)
    reading = start(read_all, peer)
    sent = []

    def send(sender):
        for number in range(50):
            ws.send(numbered(number, 2000, sender))
            sent.append((sender, number))

    senders = [start(send, sender) for sender in range(5)]
    gevent.sleep(0.01)
    closers = [start(ws.close, 1000 + number) for number in range(3)]
    for closing in closers:
        closing.result()
    for sending in senders:
        sending.join(5)
        assert sending.ready()
    reading.result()
    assert peer.checker.closed == (1000, "")
    # What send() took before the close frame precedes it, and nothing else is there.
    assert [identify(message) for message in peer.checker.messages] == sent


def test_control_frames_go_in_only_between_frames(make_pair):
    """The peer pings while large messages leave; its own answers and the program's pings must not cut them."""
    ws, peer = make_pair(buffers=4096)
    sending = start(lambda: [ws.send(numbered(number, 100_000)) for number in range(5)])

    def ping():
        for number in range(200):
            peer.send(PING, b"%d" % number)
            ws.ping()
            gevent.sleep(0)

    pinging = start(ping)
    assert [identify(peer.read_message())[1] for _ in range(5)] == list(range(5))
    sending.result()
    pinging.result()
    ws.send("end")
    while peer.read_frame()[:2] != (TEXT, b"end"):
        pass
    opcodes = [frame.opcode for frame in peer.checker.frames]
    assert opcodes.count(PING) == 200


def test_greenlets_that_give_up_or_are_killed_leave_the_others_in_order(make_pair):
    ws, peer = make_pair(buffers=4096)
    chance = random.Random(3)
    reading = start(read_all, peer)
    done = []

    def send(sender):
        for number in range(20):
            ws.send(numbered(number, chance.choice(SIZES), sender), timeout=chance.choice([None, None, 0.002]))
            done.append((sender, number))

    senders = [start(send, sender) for sender in range(12)]
    for sending in senders[::3]:
        gevent.sleep(0.002)
        sending.kill(block=False)
    for sending in senders:
        sending.join(10)
        assert sending.ready()
    ws.flush(timeout=10)
    ws.terminate()
    reading.result()
    seen = [identify(message) for message in peer.checker.messages]
    assert seen == done
    assert not peer.checker.in_frame
    assert any(sending.error is None and not sending.successful() for sending in senders) or len(done) < 240
