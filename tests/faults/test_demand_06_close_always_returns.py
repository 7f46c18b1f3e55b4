"""close() always returns within close_timeout + 0.2 s, whatever the peer and the connection's other greenlets do.

The time is the hub's: a machine that stands still for a moment makes no close late.
"""

from __future__ import annotations

import gevent
import pytest
from gevent.event import Event
from tools.endpoint import wait_for_messages
from tools.links import unix_pair
from tools.tasks import start, start_waiting
from tools.timing import let_hub_run, wait_until
from tools.wire import BINARY

from geventws.deflate import Parameters
from geventws.events import State
from geventws.exceptions import ConnectionClosed

CLOSE_TIMEOUT = 0.02
ALLOWED = CLOSE_TIMEOUT + 0.2
NARROW = 4096
BIG = 300_000

tcp_and_tls = pytest.mark.parametrize("transport", ["tcp", "tls"])
tcp_only = pytest.mark.parametrize("transport", ["tcp"])


def returns_in_time(*closings, allowed=ALLOWED):
    """Whether calls of close that have just begun return; they raise here what they raise."""
    gevent.joinall(closings, timeout=allowed)
    let_hub_run(3)
    late = [closing for closing in closings if not closing.ready()]
    assert not late, f"{len(late)} of {len(closings)} closes have not returned"
    for closing in closings:
        closing.result()


def fill(ws):
    """Send until nothing more fits, neither into the kernel nor into the queue."""
    while ws.buffered_amount <= 65536:
        ws.send(bytes(BIG))


def fragments(count=100):
    for _ in range(count):
        yield bytes(50_000)


# What the peer does. None of these gives the closing handshake the end that it should have.


def is_silent(peer):
    pass


def floods(peer):
    def flood():
        data = peer.frame(BINARY, bytes(1000)) * 20
        while True:
            peer.send_bytes(data)
            gevent.sleep(0)

    assert isinstance(start(flood).fault(), OSError)


def sends_pings(peer):
    def flood():
        while True:
            peer.ping(b"still here")
            gevent.sleep(0.001)

    assert isinstance(start(flood).fault(), OSError)


def stops_inside_a_frame(peer):
    peer.send_bytes(peer.frame(BINARY, b"never whole")[:-1])


def stops_inside_a_message(peer):
    peer.send(BINARY, b"never whole", fin=False)


def breaks_the_protocol_and_stays(peer):
    peer.send(0x3, b"")


def answers_and_stays(peer):
    peer.finish_close()


def answers_and_goes_on_sending(peer):
    peer.finish_close()
    floods(peer)


def answers_and_leaves_out_close_notify(peer):
    peer.finish_close()
    peer.truncate()


def ends_without_a_close_frame(peer):
    peer.half_close()


def truncates(peer):
    peer.truncate()


def resets(peer):
    peer.reset()


PEERS = [
    is_silent,
    floods,
    sends_pings,
    stops_inside_a_frame,
    stops_inside_a_message,
    breaks_the_protocol_and_stays,
    answers_and_stays,
    answers_and_goes_on_sending,
    answers_and_leaves_out_close_notify,
    ends_without_a_close_frame,
    truncates,
    resets,
]


@tcp_and_tls
@pytest.mark.parametrize("behaviour", PEERS, ids=lambda behaviour: behaviour.__name__)
def test_whatever_the_peer_does(make_pair, behaviour):
    ws, peer = make_pair(close_timeout=CLOSE_TIMEOUT)
    playing = start(behaviour, peer)
    returns_in_time(start(ws.close))
    assert ws.state is State.CLOSED
    playing.result()


# What the connection is busy with, and a peer that reads nothing. Each gives the greenlets that wait for it.


def nothing(ws, peer):
    return []


def full_queue(ws, peer):
    fill(ws)
    return []


def senders_in_line(ws, peer):
    fill(ws)
    return [start_waiting(ws.send, bytes(100)) for _ in range(5)]


def sender_with_a_timeout(ws, peer):
    fill(ws)
    return [start_waiting(ws.send, bytes(100), timeout=60)]


def sender_inside_a_message(ws, peer):
    return [start_waiting(ws.send, fragments()), start_waiting(ws.send, b"behind it")]


def flush(ws, peer):
    fill(ws)
    return [start_waiting(ws.flush)]


def receiver(ws, peer):
    return [start_waiting(ws.recv)]


def receiver_with_a_timeout(ws, peer):
    return [start_waiting(ws.recv, timeout=60)]


def stream(ws, peer):
    peer.send(BINARY, b"begin", fin=False)
    return [start_waiting(list, ws.recv_streaming())]


def ping(ws, peer):
    return [start_waiting(ws.ping().get)]


def pause(ws, peer):
    ws.pause()
    return []


def pause_with_messages_in_the_kernel(ws, peer):
    ws.pause()
    peer.binary(bytes(100))
    return []


def unread_messages(ws, peer):
    start(peer.send_bytes, peer.frame(BINARY, bytes(1000)) * 200)
    wait_until(lambda: ws._protocol.is_suspended())
    return []


def open_cork(ws, peer):
    ws.cork().__enter__()
    ws.send(b"corked")
    return []


def everything(ws, peer):
    waiting = [*ping(ws, peer), *receiver(ws, peer), *senders_in_line(ws, peer), *flush(ws, peer)]
    return [*waiting, start_waiting(ws.send, fragments())]


BUSY = [
    nothing,
    full_queue,
    senders_in_line,
    sender_with_a_timeout,
    sender_inside_a_message,
    flush,
    receiver,
    receiver_with_a_timeout,
    stream,
    ping,
    pause,
    pause_with_messages_in_the_kernel,
    unread_messages,
    open_cork,
    everything,
]


@tcp_and_tls
@pytest.mark.parametrize("state", BUSY, ids=lambda state: state.__name__)
def test_whatever_the_connection_is_busy_with(make_pair, state):
    ws, peer = make_pair(buffers=NARROW, close_timeout=CLOSE_TIMEOUT)
    waiting = state(ws, peer)
    returns_in_time(start(ws.close))
    assert ws.state is State.CLOSED
    for task in waiting:
        assert isinstance(task.fault(0.2), ConnectionClosed)
    peer.close()


@tcp_only
@pytest.mark.parametrize("state", BUSY, ids=lambda state: state.__name__)
def test_after_the_peer_began_to_close_and_went_silent(make_pair, state):
    ws, peer = make_pair(buffers=NARROW, close_timeout=CLOSE_TIMEOUT)
    waiting = state(ws, peer)
    peer.sock.settimeout(0.01)  # a peer whose messages are not taken cannot send its close frame either
    start(peer.send_close).join()
    returns_in_time(start(ws.close))
    assert ws.state is State.CLOSED
    for task in waiting:
        task.join(0.2)
        assert task.ready()
    peer.close()


@tcp_only
@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("unread", [0, 1, 200])
def test_as_soon_as_the_peer_has_answered(make_pair, paused, unread):
    """Neither a pause nor messages that nobody takes keep the answer from being found."""
    ws, peer = make_pair(close_timeout=5)
    if paused:
        ws.pause()
    peer.send_bytes(peer.frame(BINARY, bytes(1000)) * unread)
    let_hub_run()
    closing = start_waiting(ws.close)
    peer.finish_close()
    peer.half_close()
    returns_in_time(closing, allowed=0.2)
    assert ws.close_code == 1000


@tcp_only
def test_a_sender_whose_iterable_never_goes_on_does_not_hold_it(make_pair):
    ws, peer = make_pair(close_timeout=CLOSE_TIMEOUT)
    more = Event()

    def stuck():
        yield b"first"
        more.wait()
        yield b"second"

    sending = start_waiting(ws.send, stuck())
    returns_in_time(start(ws.close))
    more.set()
    assert isinstance(sending.fault(), ConnectionClosed)
    peer.read_reset()


@tcp_only
def test_a_message_that_is_compressed_in_a_thread_does_not_hold_it(make_pair, compression):
    ws, peer = make_pair(close_timeout=CLOSE_TIMEOUT, deflate=Parameters())
    sending = start_waiting(ws.send, bytes(BIG))
    returns_in_time(start(ws.close))
    compression.set()
    assert isinstance(sending.fault(), ConnectionClosed)
    peer.read_reset()


@tcp_only
@pytest.mark.parametrize("count", [2, 50])
def test_in_any_number_of_greenlets_at_once(make_pair, count):
    ws, peer = make_pair(buffers=NARROW, close_timeout=CLOSE_TIMEOUT)
    fill(ws)
    returns_in_time(*[start(ws.close, 1000 + number % 2, str(number)) for number in range(count)])
    assert ws.state is State.CLOSED
    peer.close()


@tcp_only
def test_a_second_call_begins_no_new_time_limit(make_pair):
    ws, _ = make_pair(close_timeout=0.3)
    for _ in range(5):
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.05):
            ws.close()
    returns_in_time(start(ws.close), allowed=0.2)


@tcp_only
def test_of_a_connection_that_was_closed_before(make_pair):
    ws, _ = make_pair(close_timeout=CLOSE_TIMEOUT)
    ws.close()
    returns_in_time(start(ws.close), start(ws.close, 1001), allowed=0)


@tcp_only
def test_a_call_that_was_killed_leaves_the_close_to_the_hub(make_pair):
    ws, peer = make_pair(buffers=NARROW, close_timeout=CLOSE_TIMEOUT)
    fill(ws)
    closing = start_waiting(ws.close)
    closing.kill(block=False)
    returns_in_time(start(ws.wait_closed))
    peer.close()


@tcp_only
def test_by_the_greenlet_that_receives(make_pair):
    ws, peer = make_pair(close_timeout=CLOSE_TIMEOUT)

    def close_on_a_message():
        for _ in ws:
            ws.close()

    receiving = start_waiting(close_on_a_message)
    peer.text("go")
    receiving.join(ALLOWED)
    let_hub_run(3)
    assert isinstance(receiving.fault(0), ConnectionClosed)


@tcp_only
def test_by_a_function_that_is_called_with_pings(make_pair):
    ws, peer = make_pair(close_timeout=CLOSE_TIMEOUT)
    ws.on_ping = lambda data: ws.close()
    receiving = start_waiting(ws.recv)
    peer.ping(b"go")
    receiving.join(ALLOWED)
    let_hub_run(3)
    assert isinstance(receiving.fault(0), ConnectionClosed)


@tcp_only
def test_at_the_end_of_a_with_block(make_pair):
    ws, peer = make_pair(buffers=NARROW, close_timeout=CLOSE_TIMEOUT)

    def work():
        with ws:
            fill(ws)

    returns_in_time(start(work))
    peer.close()


@tcp_only
def test_at_once_where_the_time_limit_is_0(make_pair):
    ws, peer = make_pair(buffers=NARROW, close_timeout=0)
    fill(ws)
    returns_in_time(start(ws.close), allowed=0.05)
    peer.close()


def test_a_hundred_connections_close_in_the_time_of_one(open_websocket):
    links = [unix_pair(NARROW) for _ in range(100)]
    sockets = [
        open_websocket(mine, ("client", "server")[number % 2], close_timeout=CLOSE_TIMEOUT)
        for number, (mine, _) in enumerate(links)
    ]
    for ws in sockets[::3]:
        fill(ws)
    returns_in_time(*[start(ws.close) for ws in sockets])
    for _, other in links:
        other.close()


@tcp_only
def test_messages_that_came_before_can_be_received_afterwards(make_pair):
    ws, peer = make_pair(close_timeout=CLOSE_TIMEOUT)
    peer.text("one")
    peer.text("two")
    wait_for_messages(ws, 2)
    returns_in_time(start(ws.close))
    assert [ws.recv(), ws.recv()] == ["one", "two"]
    with pytest.raises(ConnectionClosed):
        ws.recv()
