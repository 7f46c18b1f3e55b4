"""Everybody wakes: however a connection ends, each greenlet that waits for it goes on at once and hears the same."""

from __future__ import annotations

import gevent
import pytest
from gevent import ssl
from gevent.event import Event
from tools.tasks import start, start_waiting
from tools.timing import let_hub_run, wait_until
from tools.wire import BINARY, RSV1, TEXT

from geventws.compression import Compressor
from geventws.deflate import Parameters, PerMessageDeflate
from geventws.events import State
from geventws.exceptions import ConnectionClosed, ConnectionClosedError
from geventws.frames import Side

ALLOWED = 0.05
NARROW = 4096
BIG = 300_000

tcp_and_tls = pytest.mark.parametrize("transport", ["tcp", "tls"])
tcp_only = pytest.mark.parametrize("transport", ["tcp"])


def fragments():
    while True:
        yield bytes(50_000)


def receive_all(ws):
    for _ in ws:
        pass
    return ws.recv()  # an iteration ends without an exception where the connection was closed well


RECEIVING = {
    "recv": lambda ws: ws.recv(),
    "recv with a timeout": lambda ws: ws.recv(timeout=60),
    "iterator": receive_all,
    "stream": lambda ws: [list(ws.recv_streaming()), ws.recv()],
}


def block_everybody(ws, receive):
    """A greenlet in each call that can wait. All have to end with ConnectionClosed."""
    waiting = [start_waiting(receive, ws)]
    waiting += [start_waiting(ws.ping().get) for _ in range(3)]
    waiting += [start_waiting(ws.ping(b"same").get)]
    ws.send(bytes(BIG))
    waiting += [start_waiting(ws.send, fragments())]  # which is in the middle of a message
    waiting += [start_waiting(ws.send, b"in line") for _ in range(5)]
    waiting += [start_waiting(ws.send, b"in line", timeout=60)]
    waiting += [start_waiting(ws.send, fragments())]
    waiting += [start_waiting(ws.flush), start_waiting(ws.flush, 60)]
    return waiting


def wait_for_everybody(ws, *groups):
    """Nobody may need more than `ALLOWED` once the connection has ended, by the hub's clock."""
    wait_until(lambda: ws.state is State.CLOSED)
    waiting = [task for group in groups for task in group]
    gevent.joinall(waiting, timeout=ALLOWED)
    let_hub_run(3)
    asleep = [task.call for task in waiting if not task.ready()]
    assert not asleep


def hear_the_same(ws, waiting):
    errors = [task.fault(0) for task in waiting]
    assert all(isinstance(error, ConnectionClosed) for error in errors), errors
    told = {(type(error), error.code, error.reason, error.rcvd, error.sent) for error in errors}
    assert len(told) == 1, told
    assert (errors[0].code, errors[0].reason) == (ws.close_code, ws.close_reason)
    assert len({id(error) for error in errors}) == len(errors), "an exception is shared, and so is its traceback"


# What ends the connection: the options that it needs, and what happens.


def half_close(peer):
    try:
        peer.half_close()
    except ssl.SSLError:  # for want of room to read what the other side goes on sending
        peer.truncate()


def close_frame(ws, peer):
    peer.send_close(4001, "bye")
    wait_until(lambda: ws.state is not State.OPEN)
    peer.close()


def close_frame_and_silence(ws, peer):
    peer.send_close(1000)


def end_of_stream(ws, peer):
    half_close(peer)


def truncation(ws, peer):
    peer.truncate()


def reset(ws, peer):
    peer.reset()


def violation(ws, peer):
    peer.send(0x3, b"")


def bad_text(ws, peer):
    peer.send(TEXT, b"\xff")


def too_big(ws, peer):
    peer.send(BINARY, b"", length=2**40, width=64)


def terminate(ws, peer):
    ws.terminate()


def terminate_in_the_hub(ws, peer):
    gevent.get_hub().loop.run_callback(ws.terminate)


def close_without_answer(ws, peer):
    start(ws.close, 1001)


def close_with_answer(ws, peer):
    start(ws.close)
    peer.send_close(1000)
    half_close(peer)


def interrupted_close(ws, peer):
    start_waiting(ws.close).kill(block=False)


CAUSES = [
    close_frame,
    close_frame_and_silence,
    end_of_stream,
    truncation,
    reset,
    violation,
    bad_text,
    too_big,
    terminate,
    terminate_in_the_hub,
    close_without_answer,
    close_with_answer,
    interrupted_close,
]


def check(make_pair, cause, receive, **options):
    ended = []
    ws, peer = make_pair(
        buffers=NARROW, close_timeout=0.02, on_closed=lambda ws: ended.append(ws.close_code), **options
    )
    waiting = block_everybody(ws, receive)
    watching = [start_waiting(ws.wait_closed) for _ in range(2)]
    watching += [start_waiting(ws.wait_closed, 60)]
    cause(ws, peer)
    wait_for_everybody(ws, waiting, watching)
    hear_the_same(ws, waiting)
    assert [task.result(0) for task in watching] == [True] * 3
    assert ended == [ws.close_code]
    peer.close()


@tcp_and_tls
@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.__name__)
def test_whatever_ends_the_connection(make_pair, cause):
    check(make_pair, cause, RECEIVING["recv"])


@tcp_only
@pytest.mark.parametrize(
    "receive, role", [("iterator", "client"), ("stream", "server"), ("recv with a timeout", "client")]
)
@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.__name__)
def test_in_whatever_way_it_receives(make_pair, cause, receive):
    check(make_pair, cause, RECEIVING[receive])


@tcp_only
@pytest.mark.parametrize("receive", RECEIVING)
def test_when_the_peer_is_found_dead(make_pair, receive):
    check(make_pair, lambda ws, peer: None, RECEIVING[receive], ping_interval=0.02, ping_timeout=0.02)


def test_when_a_message_is_broken_off(make_pair):
    """The sender of the message that is broken off hears its own error, all the others that the connection failed."""

    ws, peer = make_pair(buffers=NARROW, close_timeout=0.02)
    breaking = start_waiting(ws.send, fragments())
    waiting = [start_waiting(ws.recv), start_waiting(ws.send, b"in line"), start_waiting(ws.flush)]
    breaking.kill(RuntimeError("mine"), block=False)
    wait_for_everybody(ws, waiting, [breaking])
    assert str(breaking.fault(0)) == "mine"
    hear_the_same(ws, waiting)
    peer.close()


@pytest.mark.parametrize("count", [1, 10])
def test_closers_too(make_pair, count):
    ws, peer = make_pair(buffers=NARROW)
    waiting = block_everybody(ws, RECEIVING["recv"])
    closing = [start_waiting(ws.close) for _ in range(count)]
    peer.reset()
    wait_for_everybody(ws, waiting, closing)
    for task in closing:
        task.result(0)
    hear_the_same(ws, waiting)


def test_receivers_senders_and_pingers_do_not_wait_for_the_end_of_tcp(make_pair):
    """Once the peer's close frame has come nothing more can be sent or received, though TCP goes on for a while."""
    ws, peer = make_pair(buffers=NARROW, close_timeout=5)
    receiving = start_waiting(ws.recv)
    ws.send(bytes(BIG))
    sending = [start_waiting(ws.send, fragments()), start_waiting(ws.send, b"in line")]
    peer.send_close(4001, "bye")
    wait_until(lambda: ws.state is not State.OPEN)
    gevent.joinall([receiving, *sending], timeout=ALLOWED)
    let_hub_run(3)
    hear_the_same(ws, [receiving, *sending])
    assert ws.state is State.CLOSING
    peer.close()


@tcp_only
def test_calls_that_come_later_do_not_wait(make_pair):
    ws, peer = make_pair()
    peer.send_close(4001, "bye")
    peer.close()
    wait_until(lambda: ws.state is State.CLOSED)
    calls = [ws.recv, ws.flush, ws.ping, ws.pong, lambda: ws.send(b"x"), lambda: ws.send([b"x"])]
    later = [start(call) for call in [*calls, *(lambda kind=kind: kind(ws) for kind in RECEIVING.values())]]
    hear_the_same(ws, later)


@tcp_only
def test_while_a_received_message_is_inflated_in_a_thread(make_pair, role):
    ended = []
    ws, peer = make_pair(deflate=Parameters(), max_size=None, on_closed=ended.append)
    receiving = start_waiting(ws.recv)
    other = Side.SERVER if role == "client" else Side.CLIENT
    payload = Compressor(Parameters(), PerMessageDeflate(), other).compress(bytes(20_000_000))
    peer.send(BINARY, payload, rsv=RSV1)
    wait_until(lambda: ws._protocol.job is not None)
    ws.terminate()
    wait_for_everybody(ws, [receiving])
    hear_the_same(ws, [receiving])
    assert ended == [ws]
    wait_until(lambda: ws._protocol.job is None)


@tcp_only
def test_while_a_message_that_is_sent_is_compressed_in_a_thread(make_pair, compression):
    """The thread cannot be interrupted, so its sender wakes when it is done, and those behind it at once."""
    ws, _ = make_pair(deflate=Parameters())
    sending = [start_waiting(ws.send, bytes(BIG)) for _ in range(3)]
    ws.terminate()
    wait_for_everybody(ws, sending[1:])
    assert not sending[0].ready()
    compression.set()
    sending[0].join(5)
    hear_the_same(ws, sending)


@tcp_only
@pytest.mark.parametrize("cause", [terminate, reset, violation], ids=lambda cause: cause.__name__)
def test_whatever_the_first_who_wake_do_to_the_others(make_pair, cause):
    """A greenlet that has woken may kill those that are about to wake; they die of that, or had woken before."""
    ws, peer = make_pair(buffers=NARROW, close_timeout=0.02)
    others = []

    def receive():
        try:
            ws.recv()
        finally:
            kill_others()

    def send():
        try:
            ws.send(b"in line")
        finally:
            kill_others()

    def kill_others():
        for task in others:
            task.kill(block=False)

    ws.send(bytes(BIG))
    killing = [start_waiting(send), start_waiting(receive)]
    others += [start_waiting(ws.send, fragments()), *(start_waiting(ws.send, b"x") for _ in range(3))]
    others += [start_waiting(ws.flush), start_waiting(ws.ping().get), start_waiting(ws.wait_closed)]
    cause(ws, peer)
    wait_for_everybody(ws, killing, others)
    hear_the_same(ws, killing)
    for task in others:
        assert task.error is None or isinstance(task.error, (gevent.GreenletExit, ConnectionClosed))
    peer.close()


@tcp_only
def test_those_who_wake_may_do_anything_with_the_connection(make_pair):
    ws, peer = make_pair(buffers=NARROW)
    heard = []

    def try_again(call):
        for again in (call, ws.flush, lambda: ws.send(b"x"), lambda: ws.send([b"x"]), ws.ping):
            try:
                again()
            except ConnectionClosedError as error:
                heard.append(error.code)
        ws.terminate()
        ws.close()
        assert ws.wait_closed()

    ws.send(bytes(BIG))
    calls = [ws.recv, ws.flush, ws.ping().get, lambda: ws.send(b"x"), lambda: ws.send(fragments())]
    waiting = [start_waiting(try_again, call) for call in calls]
    peer.reset()
    wait_for_everybody(ws, waiting)
    for task in waiting:
        task.result(0)
    assert heard == [1006] * 5 * len(calls)


@tcp_only
def test_those_who_stopped_waiting_before_are_left_alone(make_pair):
    ws, peer = make_pair(buffers=NARROW)
    elsewhere = Event()
    gave_up = []

    def give_up(call):
        try:
            gave_up.append(call())
        except TimeoutError as error:
            gave_up.append(error)
        return elsewhere.wait()

    ws.send(bytes(BIG))
    calls = [
        lambda: ws.recv(timeout=0.005),
        lambda: ws.send(b"x", timeout=0.005),
        lambda: ws.send(fragments(), timeout=0.005),
        lambda: ws.flush(0.005),
        lambda: ws.wait_closed(0.005),
    ]
    waiting = [start_waiting(give_up, call) for call in calls]
    wait_until(lambda: len(gave_up) == len(calls))
    peer.reset()
    wait_until(lambda: ws.state is State.CLOSED)
    let_hub_run()
    assert not any(task.ready() for task in waiting)
    elsewhere.set()
    assert [task.result() for task in waiting] == [True] * len(calls)
