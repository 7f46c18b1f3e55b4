"""Everybody wakes: when a connection ends for any cause, each greenlet that waits goes on, and hears the same."""

from __future__ import annotations

import time

import gevent
import pytest
from tools.tasks import start, start_waiting
from tools.timing import let_hub_run

from geventws.exceptions import ConnectionClosed, ConnectionClosedError
from geventws.protocol import State

WITHIN = 0.05


CAUSES = {
    "a close frame": lambda ws, peer: peer.send_close(4000, "bye"),
    "the end of TCP": lambda ws, peer: peer.close(),
    "a reset": lambda ws, peer: peer.reset(),
    "a violation": lambda ws, peer: peer.send(3),
    "terminate": lambda ws, peer: ws.terminate(),
    "terminate in the hub": lambda ws, peer: gevent.get_hub().loop.run_callback(ws.terminate),
    "a close that nobody answers": lambda ws, peer: start(ws.close),
    "a dead peer": lambda ws, peer: None,
}


def iterate(ws):
    """An iterator of messages, whose end may be quiet."""
    for _ in ws:
        pass


def waiters(ws):
    """Calls that wait for the connection, all of those that can wait at once."""
    ws.send(bytes(2_000_000))
    return {
        "send": start_waiting(ws.send, b"x"),
        "another send": start_waiting(ws.send, b"x"),
        "send in fragments": start_waiting(ws.send, [b"x", b"y"]),
        "flush": start_waiting(ws.flush),
        "ping": start_waiting(ws.ping().get),
        "another ping": start_waiting(ws.ping().get),
        "wait_closed": start_waiting(ws.wait_closed),
        "wait_closed with a timeout": start_waiting(ws.wait_closed, 30),
    }


READERS = {
    "recv": lambda ws: ws.recv(),
    "recv with a timeout": lambda ws: ws.recv(timeout=30),
    "iteration": iterate,
    "streaming": lambda ws: list(ws.recv_streaming()),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("cause", CAUSES)
def test_all_of_them_within_a_moment_and_with_the_same_error(make_pair, cause, reader):
    heartbeat = 0.05 if cause == "a dead peer" else None
    ws, peer = make_pair(buffers=4096, close_timeout=0.1, ping_interval=heartbeat, ping_timeout=0.05)
    tasks = waiters(ws)
    tasks[reader] = start_waiting(READERS[reader], ws)
    CAUSES[cause](ws, peer)
    assert ws.wait_closed(3)
    ended = time.monotonic()
    gevent.joinall(list(tasks.values()), timeout=WITHIN)
    late = [name for name, task in tasks.items() if not task.ready()]
    assert not late, f"still waiting after {time.monotonic() - ended} s: {late}"
    told = {name: task.error for name, task in tasks.items() if not name.startswith("wait_closed")}
    assert all(isinstance(error, ConnectionClosedError) for error in told.values()), told
    seen = {(error.code, error.reason, error.rcvd, error.sent, type(error.__cause__)) for error in told.values()}
    assert len(seen) == 1, seen
    assert all(task.value is True for name, task in tasks.items() if name.startswith("wait_closed"))
    assert ws.state is State.CLOSED
    peer.close()


def test_errors_are_told_apart_so_that_tracebacks_do_not_grow(pair):
    """Each call raises an exception of its own."""
    ws, _ = pair
    ws.terminate()
    errors = []
    for _ in range(3):
        with pytest.raises(ConnectionClosedError) as caught:
            ws.recv()
        errors.append(caught.value)
    assert len({id(error) for error in errors}) == 3


def test_the_end_is_told_exactly_once(make_pair):
    ended = []
    ws, peer = make_pair(on_closed=ended.append, close_timeout=0.1)
    ws.ping()
    peer.send_close(4000)
    peer.send(3)
    peer.close()
    ws.close()
    ws.terminate()
    let_hub_run()
    assert ended == [ws]


def test_a_sender_hears_of_a_clean_close_that_was_begun_while_it_waited(make_pair):
    """Not an error: this side closed well, and what had not been sent was not sent."""
    ws, peer = make_pair(buffers=4096)
    ws.send(bytes(300_000))
    sending = start_waiting(ws.send, b"too late")
    closing = start_waiting(ws.close)
    assert peer.finish_close() == (1000, "")
    peer.close()
    closing.result()
    error = sending.fault()
    assert isinstance(error, ConnectionClosed)
    assert (error.code, error.sent) == (1000, (1000, ""))
    assert peer.checker.messages == [bytes(300_000)]


def test_a_thousand_reads_of_a_dead_connection_do_not_spin_the_hub(pair):
    ws, _ = pair
    ws.terminate()
    began = time.monotonic()
    for _ in range(1000):
        with pytest.raises(ConnectionClosedError):
            ws.recv(timeout=1)
    assert time.monotonic() - began < 1
