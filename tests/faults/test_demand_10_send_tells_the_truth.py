"""send() tells the truth: what it took is in the kernel or in a bounded queue, and buffered_amount is exact."""

from __future__ import annotations

import random

import pytest
from broken import read_all
from tools.numbered import numbered, numbers
from tools.tasks import start, start_waiting
from tools.timing import wait_until
from tools.wire import PING

from geventws.deflate import Parameters
from geventws.transport import HIGH_WATER


def wire_size(role, length):
    """How long a frame with this payload is (RFC 6455 section 5.2)."""
    return length + (2 if length < 126 else 4 if length < 65536 else 10) + (4 if role == "client" else 0)


@pytest.mark.parametrize("size", [10, 60_000, 300_000, 3_000_000])
def test_what_is_not_buffered_is_in_the_kernel_to_the_byte(make_pair, role, size):
    """The connection is cut at once: the peer gets all that the kernel had, and not a byte more."""
    ws, peer = make_pair(buffers=16384)
    peer.text("begin")
    assert ws.recv() == "begin"  # and the tickets of TLS before it: what lies unread makes a reset of the end
    ws.send(bytes(size))
    held = ws.buffered_amount
    ws.terminate()
    received = 0
    while data := peer.read_some():
        received += len(data)
    assert received == wire_size(role, size) - held
    assert size < 60_000 or held > 0


def test_it_counts_messages_and_control_frames(make_pair, role):
    ws, peer = make_pair(buffers=4096)
    ws.send(bytes(200_000))
    before = ws.buffered_amount
    assert before > HIGH_WATER
    ws.ping(b"12345")
    assert ws.buffered_amount == before + wire_size(role, 5)
    ws.pong(bytes(125))
    assert ws.buffered_amount == before + wire_size(role, 5) + wire_size(role, 125)
    assert len(peer.read_message()) == 200_000
    wait_until(lambda: ws.buffered_amount == 0)


def test_it_counts_what_is_corked(pair, role):
    ws, _ = pair
    with ws.cork():
        for number in range(1, 6):
            ws.send(bytes(100))
            assert ws.buffered_amount == number * wire_size(role, 100)
    assert ws.buffered_amount == 0


@pytest.mark.parametrize("transport", ["unix"], indirect=True)  # where the kernel takes no more while nobody reads
def test_a_newer_pong_takes_the_place_of_an_older_one(make_pair, role):
    ws, peer = make_pair(buffers=4096)
    ws.send(bytes(300_000))
    before = ws.buffered_amount
    for size in (10, 100, 1):
        peer.send(PING, bytes(size))
        peer.text("next")
        assert ws.recv() == "next"
        assert ws.buffered_amount == before + wire_size(role, size)


def test_any_number_of_pings_does_not_make_it_grow(make_pair):
    ws, peer = make_pair(buffers=4096)
    ws.send(bytes(300_000))
    before = ws.buffered_amount
    for _ in range(500):
        peer.send(PING, bytes(125))
    peer.text("next")
    assert ws.recv() == "next"
    assert ws.buffered_amount < before + 10 * 131


def test_it_counts_compressed_sizes(make_pair):
    ws, peer = make_pair(buffers=4096, deflate=Parameters())
    ws.send(random.Random(1).randbytes(200_000), compress=False)
    before = ws.buffered_amount
    assert before > 0
    with pytest.raises(TimeoutError):
        ws.send(bytes(1_000_000), timeout=0.01)
    assert ws.buffered_amount == before
    ws.ping()
    assert len(peer.read_message()) == 200_000


def test_the_queue_is_bounded_by_the_high_water_mark_and_one_message(make_pair):
    ws, peer = make_pair(buffers=4096)
    size = 10_000
    sent = []

    def send():
        for number in range(100):
            ws.send(numbered(number, size))
            sent.append(number)
            assert ws.buffered_amount <= HIGH_WATER + size + 14

    sending = start_waiting(send)
    assert 0 < len(sent) < 50
    assert numbers([peer.read_message() for _ in range(100)]) == list(range(100))
    sending.result()


def test_what_send_took_arrives_without_any_further_call(make_pair):
    """No single write: what the kernel did not take at once follows while nobody does anything with the connection."""
    ws, peer = make_pair(buffers=4096)
    ws.send(numbered(1, 1_000_000))
    assert numbers([peer.read_message()]) == [1]


def test_after_flush_nothing_is_held(make_pair):
    ws, peer = make_pair(buffers=4096)
    reading = start(read_all, peer)
    for number in range(10):
        ws.send(numbered(number, 50_000))
        ws.flush()
        assert ws.buffered_amount == 0
    ws.terminate()
    reading.result()
    assert numbers(peer.checker.messages) == list(range(10))


def test_a_closed_connection_holds_nothing(make_pair):
    ws, _ = make_pair(buffers=4096)
    ws.send(bytes(1_000_000))
    ws.terminate()
    assert ws.buffered_amount == 0


def test_a_send_that_failed_has_taken_nothing(make_pair):
    ws, peer = make_pair(buffers=4096)
    ws.send(numbered(1, 300_000))
    before = ws.buffered_amount
    for wrong in (5, "\ud800", object()):
        with pytest.raises((TypeError, ValueError)):
            ws.send(wrong)
    with pytest.raises(TimeoutError):
        ws.send(numbered(2), timeout=0)
    assert ws.buffered_amount == before
    assert numbers([peer.read_message()]) == [1]
    wait_until(lambda: ws.buffered_amount == 0)
    ws.send(numbered(3))
    assert numbers([peer.read_message()]) == [3]
