"""Errors of the program stay where they are: that connection ends with 1011 and one line in the log, others go on."""

from __future__ import annotations

import logging

import gevent
import pytest
from serving import echo
from tools import raw_http
from tools.tasks import start
from tools.timing import let_hub_run, wait_until

from geventws.broadcast import broadcast
from geventws.exceptions import ConnectionClosed
from geventws.websocket import State, WebSocket


@pytest.fixture
def transport():
    return "unix"


def fail(*_):
    raise ValueError("a fault of the program")


def errors(caplog):
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


def fault_in_a_generator(ws):
    ws.recv()
    ws.send(fail() if part else b"part" for part in (0, 1))


def fault_of_on_ping(ws):
    ws.on_ping = fail
    ws.recv()


HANDLERS = {
    "handler": fail,
    "message": lambda ws: fail(ws.recv()),
    "json": lambda ws: ws.recv_json(),
    "type": lambda ws: ws.send(object()),
    "fragments": fault_in_a_generator,
    "on_ping": fault_of_on_ping,
    "recursion": lambda ws: _recurse(),
    "memory": lambda ws: _raise(MemoryError()),
}


def _recurse():
    _recurse()


def _raise(error):
    raise error


@pytest.mark.parametrize("fault", HANDLERS)
def test_of_a_handler(serving, fault, caplog):
    def handler(ws):
        (echo if ws.request.path == "/good" else HANDLERS[fault])(ws)

    server = serving.start(handler, close_timeout=1)
    good = serving.open(server, raw_http.request("/good"))
    bad = serving.open(server)
    if fault == "on_ping":
        bad.ping(b"x")
    else:
        bad.text("no json")
    assert bad.finish_close()[0] == 1011
    bad.close()
    wait_until(lambda: len(server.clients) == 1)
    assert len(errors(caplog)) == 1
    good.text("still here")
    assert good.read_message() == "still here"
    good.close()


@pytest.mark.parametrize("hook", ["process_request", "process_response", "select_subprotocol", "on_handshake_error"])
def test_of_a_hook(serving, hook, caplog):
    def sometimes(*arguments):
        if armed:
            fail()

    armed = []
    options = {"subprotocols": ["chat"]} if hook == "select_subprotocol" else {}
    server = serving.start(echo, **{hook: sometimes}, **options)
    good = serving.open(server)
    armed.append(True)
    sock = serving.dial(server)
    version = "99" if hook == "on_handshake_error" else "13"
    fields = {"Sec-WebSocket-Protocol": "chat", "Sec-WebSocket-Version": version}
    sock.sendall(raw_http.request(headers=fields))
    response, _ = raw_http.read_response(sock)
    assert response.status in ((426, 400, 500) if hook == "on_handshake_error" else (500,))
    assert len(errors(caplog)) == 1
    good.text("still here")
    assert good.read_message() == "still here"
    good.close()


def test_of_a_websocket_class(serving, caplog):
    class Broken(WebSocket):
        def __init__(self, *arguments, **options):
            if options["request"].path == "/bad":
                fail()
            super().__init__(*arguments, **options)

    server = serving.start(echo, websocket_class=Broken)
    good = serving.open(server)
    sock = serving.dial(server)
    sock.sendall(raw_http.request("/bad"))
    while sock.recv(1000):
        pass
    assert len(errors(caplog)) == 1
    good.text("still here")
    assert good.read_message() == "still here"
    good.close()


def test_clients_may_change_during_a_broadcast(serving):
    server = serving.start(lambda ws: [None for _ in ws], close_timeout=1)
    peers = [serving.open(server) for _ in range(20)]
    wait_until(lambda: len(server.clients) == 20)
    for number, ws in enumerate(server.clients):
        ws.send(str(number))
        if number == 5:
            doomed = list(server.clients)[:5]
            late = serving.open(server)
            for other in doomed:
                other.terminate()
            let_hub_run()
    broadcast(server.clients, "to all")
    let_hub_run()
    assert len(server.clients) == 16
    assert late.read_message() == "to all"
    for peer in [*peers, late]:
        peer.close()


CALLS = {
    "recv": lambda ws: ws.recv(),
    "recv with a timeout": lambda ws: ws.recv(1),
    "recv that polls": lambda ws: ws.recv(0),
    "iterator": lambda ws: next(iter(ws)),
    "fragments": lambda ws: next(iter(ws.recv_streaming())),
    "send": lambda ws: ws.send("x"),
    "send of fragments": lambda ws: ws.send(["x"]),
    "ping": lambda ws: ws.ping(),
    "pong": lambda ws: ws.pong(),
    "flush": lambda ws: ws.flush(),
}


def dead(ws, peer, how):
    if how == "closed":
        closing = start(ws.close)
        peer.finish_close()
        peer.half_close()
        closing.result()
    elif how == "terminated":
        ws.terminate()
    else:
        peer.close()
    wait_until(lambda: ws.state is State.CLOSED)
    let_hub_run()


@pytest.mark.parametrize("how", ["closed", "terminated", "left"])
@pytest.mark.parametrize("call", CALLS)
def test_a_dead_connection_raises_each_time(make_pair, how, call):
    ws, peer = make_pair(close_timeout=1)
    dead(ws, peer, how)
    for _ in range(1000):
        with pytest.raises((ConnectionClosed, StopIteration)):
            CALLS[call](ws)


@pytest.mark.parametrize("call", CALLS)
def test_a_tight_loop_over_a_dead_connection_does_not_hold_the_hub(make_pair, call):
    """A program that catches too much and goes on for ever must not keep all others from running."""
    ws, peer = make_pair(close_timeout=1)
    dead(ws, peer, "terminated")
    others = []

    def loop():
        for _ in range(10_000_000):
            try:
                CALLS[call](ws)
            except (ConnectionClosed, StopIteration):
                if others:
                    return

    looping = gevent.spawn(loop)
    gevent.spawn_later(0.01, others.append, True)
    looping.join(10)
    assert looping.ready()
    assert others


def test_a_tight_loop_over_a_dead_connection_does_not_hold_the_other_handlers(serving):
    def handler(ws):
        if ws.request.path == "/good":
            echo(ws)
        while ws.request.path != "/good" and not over:
            try:
                ws.recv()
            except ConnectionClosed:
                pass

    over = []
    server = serving.start(handler, close_timeout=1)
    good = serving.open(server, raw_http.request("/good"))
    serving.open(server).close()
    for number in range(5):
        good.text(str(number))
        assert good.read_message() == str(number)
    over.append(True)
    good.close()
