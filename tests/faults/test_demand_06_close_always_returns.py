"""close() always returns within close_timeout + 0.2 s, whatever state the connection and the peer are in."""

from __future__ import annotations

import time

import gevent
import pytest
from tools.tasks import start, start_waiting
from tools.timing import let_hub_run
from tools.wire import BINARY

from geventws.deflate import Parameters
from geventws.exceptions import ConnectionClosed
from geventws.protocol import State

CLOSE_TIMEOUT = 0.1
SLACK = 0.2
FULL = bytes(2_000_000)


def close_in_time(ws):
    began = time.monotonic()
    ws.close()
    assert time.monotonic() - began < CLOSE_TIMEOUT + SLACK
    assert ws.state is State.CLOSED


@pytest.fixture
def narrow_pair(make_pair):
    return make_pair(buffers=4096, close_timeout=CLOSE_TIMEOUT)


def ended_by_close(task):
    """The task's call ended with ConnectionClosed soon after the connection had ended."""
    assert isinstance(task.fault(0.5), ConnectionClosed)


def test_an_idle_peer(narrow_pair):
    ws, _ = narrow_pair
    close_in_time(ws)


def test_a_full_send_buffer(narrow_pair):
    ws, _ = narrow_pair
    ws.send(FULL)
    close_in_time(ws)


def test_another_greenlet_in_send(narrow_pair):
    ws, _ = narrow_pair
    ws.send(FULL)
    senders = [start_waiting(ws.send, b"x") for _ in range(3)]
    close_in_time(ws)
    for sending in senders:
        ended_by_close(sending)


def test_another_greenlet_inside_a_message_of_fragments(narrow_pair):
    ws, _ = narrow_pair
    sending = start_waiting(ws.send, (bytes(50_000) for _ in range(100)))
    close_in_time(ws)
    ended_by_close(sending)


def test_a_sender_whose_fragments_never_come(narrow_pair):
    ws, _ = narrow_pair

    def parts():
        yield b"first"
        gevent.sleep(60)

    sending = start_waiting(ws.send, parts())
    close_in_time(ws)
    sending.kill()


def test_a_large_message_that_is_being_compressed(make_pair):
    ws, _ = make_pair(deflate=Parameters(), close_timeout=CLOSE_TIMEOUT)
    sending = start(ws.send, bytes(1_000_000))
    close_in_time(ws)
    sending.join(1)
    assert sending.ready()


def test_another_greenlet_in_recv(narrow_pair):
    ws, _ = narrow_pair
    receiving = start_waiting(ws.recv)
    close_in_time(ws)
    ended_by_close(receiving)


def test_a_paused_reader(narrow_pair):
    ws, peer = narrow_pair
    ws.pause()
    peer.text("unread")
    close_in_time(ws)


def test_a_paused_reader_whose_peer_answers(make_pair):
    ws, peer = make_pair(close_timeout=5)
    ws.pause()
    answering = start(peer.finish_close)
    closing = start(ws.close)
    answering.result()
    peer.close()
    closing.result(1)
    assert ws.close_code == 1000


@pytest.mark.parametrize("count, size", [(1, 100), (50, 20_000)])
def test_unread_messages(make_pair, count, size):
    ws, peer = make_pair(close_timeout=CLOSE_TIMEOUT)
    sending = start(lambda: [peer.binary(bytes(size)) for _ in range(count)])
    let_hub_run()
    close_in_time(ws)
    sending.join(1)


def test_unread_messages_and_a_peer_that_answers_behind_them(make_pair):
    """The answer is found although nobody takes the messages in front of it."""
    ws, peer = make_pair(close_timeout=5)

    def talk():
        for _ in range(60):
            peer.binary(bytes(20_000))
        peer.finish_close()
        peer.close()

    talking = start(talk)
    let_hub_run()
    start(ws.close).result(2)
    talking.result()
    assert ws.close_code == 1000


def test_a_peer_that_never_stops_sending(narrow_pair):
    ws, peer = narrow_pair

    def flood():
        while True:
            peer.send(BINARY, bytes(1000))
            gevent.sleep(0)

    flooding = start(flood)
    close_in_time(ws)
    assert isinstance(flooding.fault(), OSError)


def test_a_peer_that_drips_its_close_frame(narrow_pair):
    ws, peer = narrow_pair
    frame = peer.frame(8, b"\x03\xe8" + b"x" * 100)

    def drip():
        for index in range(len(frame)):
            peer.send_bytes(frame[index : index + 1])
            gevent.sleep(0.02)

    dripping = start(drip)
    close_in_time(ws)
    assert isinstance(dripping.fault(), OSError)


@pytest.mark.parametrize("how", ["close", "reset", "half_close", "truncate"])
def test_a_peer_that_goes(narrow_pair, how):
    ws, peer = narrow_pair
    getattr(peer, how)()
    close_in_time(ws)


@pytest.mark.parametrize("how", ["close", "reset", "half_close", "truncate"])
def test_a_peer_that_goes_while_close_waits(narrow_pair, how):
    ws, peer = narrow_pair
    closing = start_waiting(close_in_time, ws)
    getattr(peer, how)()
    closing.result(1)


def test_a_peer_that_answers_and_keeps_tcp_open(narrow_pair):
    ws, peer = narrow_pair
    answering = start(peer.finish_close)
    close_in_time(ws)
    answering.result()
    assert ws.close_code == 1000


def test_a_peer_that_sends_a_close_frame_and_nothing_more(narrow_pair):
    ws, peer = narrow_pair
    peer.send_close()
    let_hub_run()
    close_in_time(ws)


def test_a_peer_that_breaks_the_protocol(narrow_pair):
    ws, peer = narrow_pair
    peer.send(3)
    let_hub_run()
    close_in_time(ws)


def test_twice(narrow_pair):
    ws, _ = narrow_pair
    close_in_time(ws)
    began = time.monotonic()
    ws.close()
    assert time.monotonic() - began < 0.05


def test_from_many_greenlets(narrow_pair):
    ws, _ = narrow_pair
    ws.send(FULL)
    closers = [start(close_in_time, ws) for _ in range(10)]
    for closing in closers:
        closing.result(CLOSE_TIMEOUT + SLACK)


def test_after_an_interrupted_close_the_deadline_is_still_the_first_one(narrow_pair):
    ws, _ = narrow_pair
    began = time.monotonic()
    with gevent.Timeout(CLOSE_TIMEOUT / 2, False):
        ws.close()
    ws.close()
    assert time.monotonic() - began < CLOSE_TIMEOUT + SLACK


def test_out_of_a_cork(narrow_pair):
    ws, peer = narrow_pair
    with ws.cork():
        ws.send("corked")
        close_in_time(ws)
    peer.read_reset()
    assert peer.checker.messages == ["corked"]
    assert peer.checker.closed == (1000, "")
