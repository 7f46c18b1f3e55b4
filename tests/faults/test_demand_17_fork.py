"""A forked child neither reads from its parent's connections nor writes to them, and has hubs and servers of its own.

Each test is a program that forks. Where the child must be the first to look at a connection, the parent waits for it
without its hub.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]

PROLOGUE = """
import os, sys
import gevent
import geventws
from tools import certificates
from tools.endpoint import make_peer, make_websocket
from tools.links import tcp_pair, tls_pair
from tools.timing import wait_until
from tools.wire import TEXT

def make_pair(buffers=None, **options):
    client, server = tcp_pair(buffers)
    if TLS:
        client, server = tls_pair(certificates.client_context(), certificates.server_context(), buffers)
    return make_websocket(server, "server", **options), make_peer(client, "server")

def in_child(function):
    '''Fork; what the function says there, for which the parent's hub does not wait.'''
    reading, writing = os.pipe()
    pid = gevent.fork()
    if not pid:
        try:
            said = function()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, str(said).encode())
        os._exit(0)
    os.close(writing)
    said = b""
    while piece := os.read(reading, 4096):
        said += piece
    gevent.get_hub().loop.install_sigchld()
    os.waitpid(pid, 0)
    return said.decode()
"""


def run(program: str, tls: bool, loop: str | None = None) -> None:
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    if loop is not None:
        environment["GEVENT_LOOP"] = loop
    warnings = ["-W", "error", "-W", "ignore::ResourceWarning"]
    command = [sys.executable, *warnings, "-c", f"TLS = {tls}\n{PROLOGUE}\n{program}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=25, cwd=TESTS.parent)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"
    assert not done.stderr


@pytest.fixture(params=[False, True], ids=["tcp", "tls"])
def tls(request):
    return request.param


@pytest.fixture(params=["libev-cext", "libuv-cffi"])
def loop(request):
    return request.param


READS_NOTHING = """
ws, peer = make_pair(ping_interval=None)
def receive(received, ended):
    try:
        for message in ws:
            received.append(message)
    except geventws.ConnectionClosed as error:
        ended.append(str(error))
received, ended = [], []
reader = gevent.spawn(receive, received, ended)
gevent.sleep(0)
peer.text("for the parent")

def child():
    wait_until(lambda: ended)  # its copy of the connection ends as soon as something comes, which it leaves there
    return received, ws.state.name, "stays with its parent" in ended[0]

assert in_child(child) == "([], 'CLOSED', True)"
peer.text("and more")
wait_until(lambda: len(received) == 2)
assert received == ["for the parent", "and more"] and ws.state is geventws.State.OPEN
ws.send("still here")
assert peer.read_message() == "still here"
peer.send_close()
reader.join()
print("done")
"""


def test_a_child_reads_nothing(tls, loop):
    run(READS_NOTHING, tls, loop)


WRITES_NOTHING = """
ws, peer = make_pair()
calls = {
    "send": lambda: ws.send("wrong"),
    "recv": lambda: ws.recv(),
    "ping": lambda: ws.ping(),
    "pong": lambda: ws.pong(),
    "flush": lambda: ws.flush(),
    "threadsafe": lambda: wait_and_get(ws.send_threadsafe("wrong")),
    "close": lambda: ws.close(),
    "terminate": lambda: ws.terminate(),
}
def wait_and_get(result):
    wait_until(result.done)
    result.result(0)
for name, call in calls.items():
    def child():
        call()
    expected = "None" if name in ("close", "terminate") else "ConnectionClosedError: "
    said = in_child(child)
    assert said.startswith(expected), (name, said)
    if name not in ("close", "terminate"):
        assert "a forked process, and the connection stays with its parent" in said
ws.send("mine")
assert peer.read_frame()[:2] == (TEXT, b"mine")
peer.text("yours")
assert ws.recv(5) == "yours"
ws.terminate()
print("done")
"""


def test_a_child_writes_nothing_whatever_is_called(tls, loop):
    run(WRITES_NOTHING, tls, loop)


SENDS_NO_HEARTBEAT = """
ws, peer = make_pair(ping_interval=0.02, ping_timeout=0.02)
def child():
    gevent.sleep(0.2)
    return "slept"
assert in_child(child) == "slept"
ws.send("mine")
assert peer.read_frame()[:2] == (TEXT, b"mine")
ws.terminate()
print("done")
"""


def test_a_child_sends_no_heartbeat(tls):
    run(SENDS_NO_HEARTBEAT, tls)


DRAINS_NOTHING = """
import select, socket
ws, peer = make_pair(buffers=4096, ping_interval=None)
message = bytes(range(256)) * 1000
ws.send(message)
assert ws.buffered_amount
plain = socket.socket(fileno=os.dup(peer.sock.fileno()))
head = b""
while select.select([plain], [], [], 0.1)[0]:  # all that the kernel has, so that there is room for more
    head += plain.recv(65536)

def child():
    wait_until(lambda: ws.state is geventws.State.CLOSED)
    return ws.buffered_amount

assert in_child(child) == "0"
peer.checker.feed(head)
while not peer.checker.messages:
    peer.read_some()
assert peer.checker.messages == [message] and not peer.checker.in_frame
plain.close()
ws.terminate()
print("done")
"""


def test_what_waits_in_the_queue_is_written_by_the_parent_alone(loop):
    run(DRAINS_NOTHING, False, loop)


SERVES_AGAIN = """
def echo(ws):
    for message in ws:
        ws.send(message)

def check(server):
    with geventws.connect(f"ws://127.0.0.1:{server.address[1]}/") as ws:
        ws.send("hello")
        return ws.recv(5)

server = geventws.WebSocketServer(("127.0.0.1", 0), echo)
server.start()
open_one = geventws.connect(f"ws://127.0.0.1:{server.address[1]}/")

def child():
    server.stop(timeout=1)
    with geventws.WebSocketServer(("127.0.0.1", 0), echo) as another:
        another.start()
        return check(another), len(server.clients)

assert in_child(child) == "('hello', 0)"
assert check(server) == "hello"
open_one.send("still here")
assert open_one.recv(5) == "still here"
open_one.close()
server.stop()
print("done")
"""


def test_a_child_can_stop_its_copy_of_a_server_and_start_another(loop):
    run(SERVES_AGAIN, False, loop)


MAKES_NOTHING = """
import threading
from gevent._hub_local import get_hub_if_exists
import geventws.integrations.gunicorn
before = os.listdir("/proc/self/fd")
import geventws.proxy
application = geventws.WebSocketApp(lambda ws: None, compression=True)
geventws.Upgrader(path="/", subprotocols=["chat"])
geventws.proxy.agent_for(["http://127.0.0.1:3128", "socks5h://127.0.0.1:1080"])
assert get_hub_if_exists() is None
assert threading.active_count() == 1
assert os.listdir("/proc/self/fd") == before
print("done")
"""


def test_what_is_imported_before_the_fork_makes_no_hub_thread_descriptor_or_timer():
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-X", "dev", "-c", "import os, geventws" + MAKES_NOTHING]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=25)
    assert done.stdout == "done\n", done.stderr
