"""The byte stream under the hub, without a WebSocket on top."""

from __future__ import annotations

import gevent
import pytest
from gevent import get_hub
from tools.timing import let_hub_run, wait_until

from geventws.transport import CORK_LIMIT, HIGH_WATER, LOW_WATER, Gathering, Owner, Transport

NARROW = 4096


class Recorder(Owner):
    """An owner that writes down what it is told."""

    def __init__(self):
        self.received = b""
        self.ended = []
        self.failures = []
        self.drains = 0

    def bytes_received(self, data, size):
        self.received += data[:size]

    def stream_ended(self, error):
        self.ended.append(error)

    def write_failed(self, error):
        self.failures.append(error)

    def drained(self):
        self.drains += 1


@pytest.fixture
def make(make_link):
    """Makes (transport, its owner, the other end's socket)."""
    opened = []
    gathering = Gathering()

    def make_transport(buffers=None):
        mine, other = make_link(buffers)
        owner = Recorder()
        opened.append(Transport(mine, owner, get_hub(), bytearray(65536), gathering))
        return opened[-1], owner, other

    yield make_transport
    for transport in opened:
        transport.close()


def read(sock, size):
    data = b""
    while len(data) < size:
        piece = sock.recv(65536)
        assert piece, "the stream has ended"
        data += piece
    return data


def test_it_reads_only_while_it_is_told_to(make):
    transport, owner, other = make()
    other.sendall(b"early")
    let_hub_run()
    assert owner.received == b""
    transport.start_reading()
    wait_until(lambda: owner.received == b"early")
    transport.stop_reading()
    other.sendall(b"late")
    let_hub_run()
    assert owner.received == b"early"
    transport.start_reading()
    wait_until(lambda: owner.received == b"earlylate")


def test_more_than_one_buffer_is_read_whole(make):
    transport, owner, other = make()
    data = bytes(range(256)) * 2000
    transport.start_reading()
    sending = gevent.spawn(other.sendall, data)
    wait_until(lambda: len(owner.received) == len(data), 5)
    assert owner.received == data
    sending.join()


def test_poll_reads_without_the_hub(make):
    transport, owner, other = make()
    transport.start_reading()
    other.sendall(b"x")
    while not owner.received:
        transport.poll()
    assert owner.received == b"x"


def test_the_end_of_the_stream_is_told(make):
    transport, owner, other = make()
    transport.start_reading()
    other.close()
    wait_until(lambda: owner.ended)
    assert owner.ended[0] is None


def test_chunks_leave_in_order(make):
    transport, _, other = make()
    transport.write(b"one ")
    transport.write(b"two ", b"three ")
    transport.write(memoryview(b"four"))
    assert read(other, 18) == b"one two three four"
    assert transport.buffered == 0


def test_what_the_kernel_does_not_take_drains_from_the_hub(make):
    transport, owner, other = make(NARROW)
    data = bytes(range(256)) * 4000
    transport.write(data)
    assert HIGH_WATER < transport.buffered <= len(data)
    assert owner.drains == 0
    assert read(other, len(data)) == data
    wait_until(lambda: owner.drains)
    assert transport.buffered <= LOW_WATER


def test_corked_data_waits_for_flush(make):
    transport, _, other = make()
    transport.corked = True
    transport.write(b"one ")
    transport.write(b"two")
    assert transport.buffered == 7
    transport.corked = False
    transport.flush()
    assert read(other, 7) == b"one two"


def test_corked_data_is_written_when_there_is_much_of_it(make):
    transport, _, other = make()
    transport.corked = True
    transport.write(bytes(CORK_LIMIT))
    assert read(other, CORK_LIMIT) == bytes(CORK_LIMIT)


def gather(transport, data):
    """Write a short chunk as frames are; whether it was gathered."""
    gathering = transport.reserve()
    if gathering is None:
        transport.write(data)
        return False
    end = gathering.size + len(data)
    gathering.buffer[gathering.size : end] = data
    transport.commit(end)
    return True


def test_what_is_gathered_leaves_at_once_without_a_cork(make):
    transport, _, other = make()
    assert gather(transport, b"one ")
    assert gather(transport, b"two")
    assert transport.buffered == 0
    assert read(other, 7) == b"one two"


def test_gathered_and_other_chunks_leave_in_order(make):
    transport, _, other = make()
    transport.corked = True
    assert gather(transport, b"1")
    assert gather(transport, b"2")
    transport.write(b"3", b"4")
    assert gather(transport, b"5")
    transport.write_latest(b"6")
    assert gather(transport, b"7")
    assert transport.buffered == 7
    transport.flush()
    assert transport.buffered == 0
    assert read(other, 7) == b"1234567"


def test_a_connection_that_holds_its_cork_does_not_hold_the_others(make):
    first, _, first_other = make()
    second, _, second_other = make()
    first.corked = second.corked = True
    assert gather(first, b"a")
    assert not gather(second, b"b")
    second.corked = False
    second.flush()
    assert read(second_other, 1) == b"b"
    first.flush()
    assert read(first_other, 1) == b"a"
    assert gather(second, b"c")
    assert read(second_other, 1) == b"c"


def test_gathered_data_that_the_kernel_does_not_take_follows_later(make):
    transport, _, other = make(NARROW)
    sent = b""
    while not transport.buffered:
        assert gather(transport, b"x" * 4000)
        sent += b"x" * 4000
    assert not gather(transport, b"last")
    assert read(other, len(sent) + 4) == sent + b"last"


def test_much_gathered_data_is_written_before_it_is_too_much(make):
    transport, _, other = make()
    transport.corked = True
    reading = gevent.spawn(read, other, 60 * 4000)
    for _ in range(60):
        gather(transport, b"x" * 4000)
        assert transport.buffered < CORK_LIMIT + 4000
    transport.corked = False
    transport.flush()
    assert len(reading.get()) == 60 * 4000


def test_what_was_gathered_goes_with_the_connection(make):
    first, _, _ = make()
    second, _, second_other = make()
    first.corked = True
    gather(first, b"lost")
    first.close()
    assert first.buffered == 0
    assert gather(second, b"kept")
    assert read(second_other, 4) == b"kept"


def test_the_latest_takes_the_place_of_the_one_that_waits(make):
    transport, _, other = make()
    transport.corked = True
    transport.write(b"[")
    for text in (b"first", b"second", b"3rd"):
        transport.write_latest(text)
    transport.write(b"]")
    assert transport.buffered == 5
    transport.flush()
    assert read(other, 5) == b"[3rd]"
    transport.write_latest(b"4")
    transport.flush()
    assert read(other, 1) == b"4"


def test_shutdown_ends_the_stream_behind_what_was_written(make):
    transport, _, other = make(NARROW)
    transport.write(bytes(300_000))
    transport.shutdown()
    assert read(other, 300_000) == bytes(300_000)
    assert other.recv(1) == b""


def test_a_broken_stream_is_told_once_and_swallows_the_rest(make):
    transport, owner, other = make(NARROW)
    other.close()
    for _ in range(20):
        transport.write(bytes(100_000))
        let_hub_run()
        if owner.failures:
            break
    assert len(owner.failures) == 1
    transport.write(b"more")
    transport.shutdown()
    assert transport.buffered == 0
    assert len(owner.failures) == 1


def test_closing_loses_what_waits_and_tells_nobody(make):
    transport, owner, _ = make(NARROW)
    transport.start_reading()
    transport.write(bytes(1_000_000))
    transport.close()
    transport.close()
    transport.write(b"x")
    transport.start_reading()
    let_hub_run()
    assert transport.closed
    assert not transport.reading
    assert transport.buffered == 0
    assert (owner.ended, owner.failures, owner.drains) == ([], [], 0)


def test_an_error_thrown_into_a_write_ends_the_stream(make):
    transport, owner, _ = make()

    class Unwritable:
        def __len__(self):
            return 10

    with pytest.raises(TypeError):
        transport.write(Unwritable())
    assert transport.closed
    assert owner.ended == [None]
