"""Whatever a signal's handler raises between any two lines of a call, the streams stay whole, and what follows goes on.

The compiled part has no lines: there, such an error can come only where a greenlet switches (demand 1), and these tests
are left out.
"""

from __future__ import annotations

import pytest
from broken import BIG, MIDDLE, SMALL, judge, parts, read_all, send_after
from tools import raw_http
from tools.endpoint import make_peer
from tools.faults import LineFault, functions_in
from tools.links import unix_pair
from tools.numbered import numbered, numbers
from tools.proxying import Listener, read_request
from tools.tasks import start
from tools.timing import let_hub_run, wait_until

import geventws.broadcast
import geventws.client
import geventws.compression
import geventws.connection
import geventws.dial
import geventws.handshake
import geventws.headers
import geventws.http11
import geventws.messages
import geventws.offload
import geventws.opening
import geventws.protocol
import geventws.receiving
import geventws.sending
import geventws.transport
import geventws.upgrader
import geventws.websocket
from geventws import PreparedMessage, accelerated, broadcast
from geventws.client import connect
from geventws.deflate import Parameters
from geventws.http11 import RequestParser
from geventws.upgrader import Upgrader

pytestmark = pytest.mark.skipif(accelerated, reason="compiled functions have no lines")

CONNECTION = (
    geventws.websocket,
    geventws.receiving,
    geventws.sending,
    geventws.connection,
    geventws.transport,
    geventws.protocol,
    geventws.compression,
    geventws.messages,
    geventws.offload,
    geventws.broadcast,
)
HANDSHAKE = (
    geventws.client,
    geventws.upgrader,
    geventws.opening,
    geventws.dial,
    geventws.handshake,
    geventws.http11,
    geventws.headers,
)
MANY = 3000
"""More than there are lines in any call."""


class _Interrupt(KeyboardInterrupt):
    """What the handler of a signal raises."""


def broken(call, modules, nth):
    """Make the call, which is interrupted in front of the nth line; where that was, and what the call returned."""
    functions = [function for module in modules for function in functions_in(module)]
    error = _Interrupt()
    result = None
    with LineFault(functions, nth, error) as fault:
        try:
            result = call()
        except _Interrupt as caught:
            assert caught is error
            error.__traceback__ = None  # whose frames know everything
    return fault.place, result


def in_front_of_each_line(attempt):
    """Call ``attempt`` with 1, 2 and so on, until it returns that no line was reached."""
    for nth in range(1, MANY):
        if not attempt(nth):
            break
    assert 5 < nth < MANY - 1


# Sending

SENDS = {
    "send": (lambda ws: ws.send(numbered(2, MIDDLE)), {}),
    "small send": (lambda ws: ws.send(numbered(2, SMALL)), {}),
    "send with a timeout": (lambda ws: ws.send(numbered(2, SMALL), timeout=5), {}),
    "fragments": (lambda ws: ws.send(parts(numbered(2, MIDDLE), 10_000)), {}),
    "prepared": (lambda ws: ws.send(PreparedMessage(numbered(2, MIDDLE))), {}),
    "prepared and compressed": (lambda ws: ws.send(PreparedMessage(numbered(2, MIDDLE))), {"deflate": Parameters()}),
    "compressed": (lambda ws: ws.send(numbered(2, MIDDLE)), {"deflate": Parameters()}),
    "compressed in a thread": (lambda ws: ws.send(numbered(2, BIG)), {"deflate": Parameters()}),
    "ping": (lambda ws: ws.ping(b"ping"), {}),
    "pong": (lambda ws: ws.pong(b"pong"), {}),
    "flush": (lambda ws: (ws.send(numbered(2, BIG)), ws.flush(5)), {}),
    "close": (lambda ws: ws.close(1001, "going"), {}),
}


def corked(ws):
    with ws.cork():
        ws.send(numbered(2, SMALL))


SENDS["cork"] = (corked, {})


@pytest.mark.parametrize("operation", SENDS)
@pytest.mark.parametrize("transport", ["unix"], indirect=True)
def test_a_send_that_is_broken_in_front_of_any_line(make_pair, operation):
    call, arguments = SENDS[operation]

    def attempt(nth):
        ws, peer = make_pair(close_timeout=0.1, **arguments)
        ws.send(numbered(1, SMALL))
        reading = start(read_all, peer)
        place, _ = broken(lambda: call(ws), CONNECTION, nth)
        sent_after = start(send_after, ws, 0.5).result(10)
        reading.result()
        judge(peer, sent_after, f"{operation} in front of {place}")
        return place

    in_front_of_each_line(attempt)


@pytest.mark.parametrize("message", [numbered(2, SMALL), numbered(2, MIDDLE)], ids=["small", "compressed"])
def test_a_broadcast_that_is_broken_in_front_of_any_line_harms_one_at_the_most(open_websocket, message):
    deflate = Parameters() if len(message) == MIDDLE else None

    def attempt(nth):
        links = [unix_pair() for _ in range(4)]
        clients = [open_websocket(server, "server", deflate=deflate, close_timeout=1) for _, server in links]
        peers = [make_peer(client, "server", deflate=deflate) for client, _ in links]
        reading = [start(read_all, peer) for peer in peers]
        for ws in clients:
            ws.send(numbered(1, SMALL))
        place, count = broken(lambda: broadcast(clients, message), CONNECTION, nth)
        alive = [start(send_after, ws, 0.5).result(10) for ws in clients]
        for task, peer, sent_after in zip(reading, peers, alive, strict=True):
            task.result()
            judge(peer, sent_after, f"a broadcast in front of {place}")
        reached = [2 in numbers(peer.checker.messages) for peer in peers]
        assert reached == sorted(reached, reverse=True), place  # those behind the one that was broken have none
        assert alive.count(False) <= 1, place
        assert count == (None if place else 4)
        return place

    in_front_of_each_line(attempt)


# Receiving

AT_ONCE = "recv of what is there"
RECEIVES = {
    "recv": lambda ws: ws.recv(),
    "recv with a timeout": lambda ws: ws.recv(5),
    AT_ONCE: lambda ws: ws.recv(0),
    "iterator": lambda ws: next(iter(ws)),
    "fragments": lambda ws: next(ws.recv_streaming()),
}
NUMBERS = range(6)


def receive_next(ws, operation):
    return b"".join(ws.recv_streaming()) if operation == "fragments" else ws.recv(5)


@pytest.mark.parametrize("transport", ["unix"], indirect=True)
@pytest.mark.parametrize(
    "waits, operation",
    [(waits, operation) for waits in (False, True) for operation in RECEIVES if not (waits and operation == AT_ONCE)],
)
def test_a_receive_that_is_broken_in_front_of_any_line_loses_no_message_but_the_one_in_its_hand(
    make_pair, waits, operation
):
    """Between the last line of the call and whoever keeps what it returns, no library can say who has it."""
    messages = [numbered(number, SMALL) for number in NUMBERS]

    def attempt(nth):
        ws, peer = make_pair(close_timeout=1)
        sending = start(lambda: (let_hub_run(1), peer.send_bytes(b"".join(peer.frame(2, one) for one in messages))))
        if not waits:
            sending.result()
            let_hub_run(3)
        place, first = broken(lambda: RECEIVES[operation](ws), CONNECTION, nth)
        sending.result()
        seen = [] if first is None else [first]
        while not seen or seen[-1] != messages[-1]:
            seen.append(start(receive_next, ws, operation).result(10))
        assert seen in (messages, messages[1:]), place
        assert ws._protocol.held == 0, place
        ws.send(b"still there")
        assert peer.read_message() == b"still there", place
        ws.terminate()
        peer.close()
        return place

    in_front_of_each_line(attempt)


@pytest.mark.parametrize("transport", ["unix"], indirect=True)
def test_a_batch_of_messages_whose_receiver_is_broken_in_front_of_any_line_loses_one_at_the_most(make_pair):
    messages = [numbered(number, SMALL) for number in NUMBERS]

    def attempt(nth):
        ws, peer = make_pair(close_timeout=1)
        peer.send_bytes(b"".join(peer.frame(2, one) for one in messages[:-1]))
        let_hub_run(3)
        seen = []
        place, _ = broken(lambda: [seen.append(ws.recv()) for _ in messages[:-1]], CONNECTION, nth)
        peer.binary(messages[-1])
        while not seen or seen[-1] != messages[-1]:
            seen.append(start(ws.recv, 5).result(10))
        assert seen == [one for one in messages if one in seen], place
        assert len(seen) >= len(messages) - bool(place), place
        assert ws._protocol.held == 0, place
        ws.terminate()
        peer.close()
        return place

    in_front_of_each_line(attempt)


# Opening


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_client_that_is_broken_in_front_of_any_line_leaves_nothing():
    def play(sock):
        key = read_request(sock).split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0].decode()
        sock.sendall(raw_http.answer(key))
        while sock.recv(1000):
            pass

    listener = Listener(play)

    def attempt(nth):
        place, ws = broken(lambda: connect(f"ws://127.0.0.1:{listener.port}/"), HANDSHAKE, nth)
        if ws is not None:
            ws.terminate()
        wait_until(lambda: all(sock.closed for sock in listener._sockets[1:]))  # each connection has ended
        return place

    in_front_of_each_line(attempt)
    listener.stop()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_server_that_is_broken_in_front_of_any_line_leaves_nothing():
    """In front of the first line nobody but the caller can close the socket; nobody else has it."""
    upgrader = Upgrader(open_timeout=5)

    def attempt(nth):
        client, *server = unix_pair()
        request = RequestParser().feed(raw_http.request())
        place, ws = broken(lambda: upgrader.upgrade(request, server.pop()), HANDSHAKE, nth)
        assert (ws is None) is bool(place)
        if ws is not None:
            ws.terminate()
        let_hub_run(2)
        assert not upgrader.clients, place
        client.settimeout(5)
        while client.recv(1000):  # up to the end, or there is a TimeoutError
            pass
        client.close()
        return place

    in_front_of_each_line(attempt)
