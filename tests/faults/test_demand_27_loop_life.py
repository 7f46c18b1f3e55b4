"""The loop lives as long as it has to: no LoopExit in the only greenlet, no timer that holds it, a silent exit.

These are programs of their own, since the loop of the tests is always alive.
"""

from __future__ import annotations

import pytest
from programs import Program

SERVER = """
import gevent, sys
from geventws import WebSocketServer, connect
def handler(ws):
    for message in ws:
        ws.send(message)
server = WebSocketServer(("127.0.0.1", 0), handler)
server.start()
url = "ws://127.0.0.1:%d/" % server.address[1]
"""

PROGRAMS = {
    "recv in the only greenlet": ("ConnectionClosedOK", """
        ws = connect(url)
        gevent.spawn_later(0.05, server.stop)
        try:
            ws.recv()
        except Exception as error:
            print(type(error).__name__)
        """),
    "recv with nobody else": ("later", """
        from gevent import socket
        import geventws
        ws = connect(url)
        for peer in list(server.clients):
            gevent.spawn_later(0.05, peer.send, "later")
        print(ws.recv())
        ws.close()
        server.stop()
        """),
    "accepting with nobody else": ("stopped", """
        gevent.spawn_later(0.05, server.stop)
        server.serve_forever()
        print("stopped")
        """),
    "gevent.wait returns when all connections are closed": ("True", """
        ws = connect(url, ping_interval=20)
        ws.send("x"); ws.recv(); ws.close()
        server.stop()
        print(gevent.wait(timeout=5))
        """),
    "gevent.wait returns though a closing timer is there": ("True", """
        ws = connect(url, close_timeout=30)
        ws.terminate()
        server.stop(timeout=0)
        print(gevent.wait(timeout=5))
        """),
    "an exit with open connections": ("x", """
        ws = connect(url)
        ws.send("x")
        print(ws.recv())
        """),
    "an exit in the middle of a message": ("sent", """
        ws = connect(url)
        ws.send(b"x" * 5_000_000)
        print("sent")
        """),
    "an exit while others wait": ("going", """
        ws = connect(url)
        gevent.spawn(ws.recv)
        gevent.spawn(lambda: list(connect(url)))
        gevent.sleep(0.05)
        print("going")
        """),
    "an exit with sys.exit in a greenlet": ("leaving", """
        ws = connect(url)
        def leave():
            print("leaving", flush=True)
            sys.exit(0)
        gevent.spawn(leave)
        ws.recv()
        """),
    "an exit with compression and TLS never used": ("closed", """
        ws = connect(url, compression=True)
        ws.send("x" * 100_000)
        ws.close()
        print("closed")
        """),
}


def run(source):
    lines = [line[8:] for line in source.splitlines()]
    with Program("-c", SERVER + "\n".join(lines)) as program:
        return program.finish()


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_ends_as_it_should_and_prints_nothing_else(program):
    says, source = PROGRAMS[program]
    status, output, errors = run(source)
    assert errors == ""
    assert output.strip() == says
    assert status == 0


def test_an_import_makes_no_hub_no_thread_and_no_descriptor():
    source = """
        import os, threading
        import gevent, gevent.socket, gevent.server, gevent.ssl, ssl, socks
        before = len(os.listdir("/proc/self/fd"))
        import geventws, geventws.server, geventws.client, geventws.wsgi
        from gevent._hub_local import get_hub_if_exists
        print(get_hub_if_exists(), threading.active_count(), len(os.listdir("/proc/self/fd")) - before)
        """
    lines = [line[8:] for line in source.splitlines()]
    with Program("-c", "\n".join(lines)) as program:
        assert program.finish() == (0, "None 1 0\n", "")
