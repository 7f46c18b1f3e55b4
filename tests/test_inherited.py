"""Listening sockets that a process is started with: by a descriptor's number, or passed by systemd."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.subprocess import PIPE, Popen
from programs import DEADLINE, Program
from tools.timing import wait_until

from geventws import WebSocketServer, connect
from geventws.handlers import echo
from geventws.inherited import inherited_socket, is_inherited, listening_socket, systemd_sockets

# Does for a program what systemd does: the sockets become descriptors 3 and up, and the environment tells of them.
ACTIVATE = """
import os, sys
count, names, *command = sys.argv[1:]
given = [os.dup(int(number)) for number in count.split(",")]
for number, descriptor in enumerate(given, 3):
    os.dup2(descriptor, number)
    os.set_inheritable(number, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(given)))
if names:
    os.environ["LISTEN_FDNAMES"] = names
os.execv(sys.executable, [sys.executable, *command])
"""


@pytest.fixture
def listeners() -> Iterator[list[Any]]:
    """Two listening sockets."""
    made = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    yield made
    for sock in made:
        sock.close()


def activated(listeners: list[Any], names: str, *arguments: str) -> Program:
    numbers = [sock.fileno() for sock in listeners]
    words = [",".join(map(str, numbers)), names, "-m", "geventws", "serve", *arguments]
    return Program("-c", ACTIVATE, *words, pass_fds=numbers)


def echoed(url: str) -> Any:
    with connect(url) as ws:
        ws.send("hello")
        return ws.recv(timeout=DEADLINE)


def ended(program: Program) -> tuple[int, str, str]:
    program.signal(signal.SIGTERM)
    return program.finish()


class TestPrograms:
    def test_it_serves_a_descriptor(self, listeners: list[Any]) -> None:
        number = listeners[0].fileno()
        with Program("-m", "geventws", "serve", "--listen", f"fd://{number}", pass_fds=[number]) as program:
            url = program.address()
            assert url == f"ws://127.0.0.1:{listeners[0].getsockname()[1]}/"
            assert echoed(url) == "hello"
            assert ended(program) == (0, "", "")
        # The socket is still there for the next one.
        with Program("-m", "geventws", "serve", "--listen", f"fd://{number}", pass_fds=[number]) as program:
            assert echoed(program.address()) == "hello"

    def test_it_serves_what_systemd_passes(self, listeners: list[Any]) -> None:
        with activated(listeners[:1], "", "--listen", "systemd") as program:
            url = program.address()
            assert url == f"ws://127.0.0.1:{listeners[0].getsockname()[1]}/"
            assert echoed(url) == "hello"
            assert ended(program) == (0, "", "")

    def test_several_sockets_are_told_apart_by_name(self, listeners: list[Any]) -> None:
        with activated(listeners, "site:chat", "--listen", "systemd:chat") as program:
            url = program.address()
            assert url == f"ws://127.0.0.1:{listeners[1].getsockname()[1]}/"
            assert echoed(url) == "hello"
            assert ended(program) == (0, "", "")

    @pytest.mark.parametrize(
        "names, listener, told",
        [
            (
                "site:chat",
                "systemd",
                "systemd has passed 2 sockets: take systemd:NAME, or systemd_sockets(): site, chat",
            ),
            ("site:chat", "systemd:feed", "systemd has passed no socket of the name 'feed', but: site, chat"),
            ("chat:chat", "systemd:chat", "systemd has passed 2 sockets"),
        ],
    )
    def test_what_is_not_clear_is_told(self, listeners: list[Any], names: str, listener: str, told: str) -> None:
        with activated(listeners, names, "--listen", listener) as program:
            status, output, errors = program.finish()
        assert (status, output) == (1, "")
        assert errors.startswith(f"geventws: {told}")
        assert errors.count("\n") == 1

    def test_each_socket_may_have_a_server(self, listeners: list[Any]) -> None:
        script = """
import gevent
from geventws import WebSocketServer
from geventws.inherited import systemd_sockets
def named(name):
    return lambda ws: ws.send(name)
servers = [WebSocketServer(sock, named(name)) for name, sock in systemd_sockets()]
for server in servers:
    server.start()
print("listening", flush=True)
gevent.wait()
"""
        numbers = [sock.fileno() for sock in listeners]
        words = [",".join(map(str, numbers)), "site:chat", "-c", script]
        with Program("-c", ACTIVATE, *words, pass_fds=numbers) as program:
            assert program.line() == "listening"
            for sock, name in zip(listeners, ("site", "chat"), strict=True):
                with connect(f"ws://127.0.0.1:{sock.getsockname()[1]}") as ws:
                    assert ws.recv(timeout=DEADLINE) == name

    def test_real_socket_activation(self, tmp_path: Path) -> None:
        activate = shutil.which("systemd-socket-activate")
        if activate is None:
            pytest.skip("needs systemd-socket-activate")
        path = tmp_path / "socket"
        command = [activate, "-l", str(path), "--fdname=chat", sys.executable, "-m", "geventws", "serve"]
        process = Popen([*command, "--listen", "systemd:chat"], stdout=PIPE, stderr=PIPE)
        try:
            wait_until(path.is_socket, timeout=DEADLINE)
            assert echoed(f"ws+unix:{path}:/") == "hello"
            process.terminate()
            output, _ = process.communicate(timeout=DEADLINE)
        finally:
            process.kill()
            process.communicate()
        assert output.decode() == f"listening on ws+unix:{path}:/\n"
        assert path.is_socket()

    def test_a_unix_socket_is_served_at_its_path(self, tmp_path: Path) -> None:
        path = tmp_path / "socket"
        with Program("-m", "geventws", "serve", "--listen", f"unix:{path}", "--path", "/chat") as program:
            assert program.line() == f"listening on ws+unix:{path}:/chat"
            assert echoed(f"ws+unix:{path}:/chat") == "hello"
            assert ended(program) == (0, "", "")
        assert not path.exists()

    def test_processes_that_share_a_socket_both_answer(self, listeners: list[Any]) -> None:
        """Each does while the other is stopped, and the connections are of one queue."""
        number = listeners[0].fileno()
        where = ("serve", "--listen", f"fd://{number}")
        with (
            Program("-m", "geventws", *where, pass_fds=[number]) as one,
            Program("-m", "geventws", *where, pass_fds=[number]) as other,
        ):
            url = one.address()
            assert other.address() == url
            for stopped in (one, other):
                stopped.signal(signal.SIGSTOP)
                assert echoed(url) == "hello"
                stopped.signal(signal.SIGCONT)

    def test_a_socket_may_be_shared_by_fork(self) -> None:
        script = """
import os
from gevent import monkey; monkey.patch_all()
import gevent, signal, socket
from geventws import WebSocketServer
listener = socket.create_server(("127.0.0.1", 0))
children = []
for _ in range(2):
    child = gevent.os.fork()
    if not child:
        server = WebSocketServer(listener, lambda ws: ws.send(str(os.getpid())))
        gevent.signal_handler(signal.SIGTERM, server.stop)
        server.serve_forever()
        os._exit(0)
    children.append(child)
print("ws://127.0.0.1:%d" % listener.getsockname()[1], *children, flush=True)
gevent.signal_handler(signal.SIGTERM, lambda: [os.kill(child, signal.SIGTERM) for child in children])
for child in children:
    os.waitpid(child, 0)
"""
        with Program("-c", script) as program:
            url, *children = program.line().split()
            assert told_by_both(url, set(children))
            assert ended(program)[0] == 0


class TestReusePort:
    def test_processes_at_one_port_both_answer(self) -> None:
        with Program("-m", "geventws", "serve", "--port", "0", "--reuse-port") as one:
            url = one.address()
            port = re.findall(r":(\d+)/", url)[0]
            script = f"""
import os
from geventws import WebSocketServer
WebSocketServer(("127.0.0.1", {port}), lambda ws: ws.send("other"), reuse_port=True).serve_forever()
"""
            with Program("-c", script):
                seen = set()
                with gevent.Timeout(DEADLINE):
                    while len(seen) < 2:
                        with connect(url) as ws:
                            try:
                                seen.add(ws.recv(timeout=0.02))
                            except TimeoutError:
                                ws.send("one")
                                seen.add(ws.recv(timeout=DEADLINE))
                assert seen <= {"one", "other"}

    def test_without_it_the_port_is_taken(self) -> None:
        with WebSocketServer(("127.0.0.1", 0), echo, reuse_port=True) as one:
            one.start()
            other = WebSocketServer(one.address, echo)
            with pytest.raises(OSError, match="in use"):
                other.start()

    def test_it_is_for_addresses(self, listeners: list[Any], tmp_path: Path) -> None:
        for listener in (f"unix:{tmp_path / 'socket'}", listeners[0]):
            with pytest.raises(ValueError, match="reuse_port is for"):
                WebSocketServer(listener, echo, reuse_port=True)
        with pytest.raises(TypeError, match="reuse_port"):
            WebSocketServer(0, echo, reuse_port=1)  # type: ignore[arg-type]

    def test_a_system_without_it_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(socket, "SO_REUSEPORT")
        with pytest.raises(ValueError, match="no SO_REUSEPORT"):
            WebSocketServer(("127.0.0.1", 0), echo, reuse_port=True)


def told_by_both(url: str, expected: set[str]) -> bool:
    seen = set()
    with gevent.Timeout(DEADLINE):
        while seen != expected:
            ws = connect(url)
            seen.add(ws.recv(timeout=DEADLINE))
            ws.close()
    return True


class TestSockets:
    @pytest.fixture
    def passed(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        def tell(count: str, names: str | None = None, process: int | None = None) -> None:
            monkeypatch.setenv("LISTEN_PID", str(process or os.getpid()))
            monkeypatch.setenv("LISTEN_FDS", count)
            if names is None:
                monkeypatch.delenv("LISTEN_FDNAMES", raising=False)
            else:
                monkeypatch.setenv("LISTEN_FDNAMES", names)

        return tell

    def test_a_descriptor_becomes_a_socket_that_children_do_not_inherit(self, listeners: list[Any]) -> None:
        descriptor = os.dup(listeners[0].fileno())
        os.set_inheritable(descriptor, True)
        with listening_socket(descriptor) as sock:
            assert sock.getsockname() == listeners[0].getsockname()
            assert not os.get_inheritable(descriptor)

    @pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
    def test_a_socket_that_does_not_listen_is_refused_and_left_open(self, kind: int) -> None:
        with socket.socket(socket.AF_INET, kind) as sock:
            with pytest.raises(ValueError, match=f"descriptor {sock.fileno()} is not a listening socket"):
                listening_socket(sock.fileno())
            sock.bind(("127.0.0.1", 0))

    def test_a_descriptor_that_is_no_socket_is_refused(self, tmp_path: Path) -> None:
        with (tmp_path / "file").open("w") as file:
            with pytest.raises(ValueError, match="not a listening socket: "):
                listening_socket(file.fileno())
            file.write("still open")
        for number in (10**5, 10**20):
            with pytest.raises(ValueError, match=f"descriptor {number} is not a listening socket: "):
                listening_socket(number)

    @pytest.mark.parametrize("listener", ["fd://", "fd://x", "fd://-1", "fd://3/x"])
    def test_a_descriptor_is_a_number(self, listener: str) -> None:
        with pytest.raises(ValueError, match="a descriptor is given as fd://3"):
            WebSocketServer(listener, echo)

    def test_nothing_is_passed_to_another_process(self, passed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        passed("1", process=1)
        assert systemd_sockets() == []
        monkeypatch.delenv("LISTEN_PID")
        assert systemd_sockets() == []
        with pytest.raises(ValueError, match="LISTEN_FDS and LISTEN_PID"):
            inherited_socket("systemd")

    @pytest.mark.parametrize("count", ["", "x", "-1", "\u00b2"])
    def test_a_number_that_is_none_is_told(self, passed: Any, count: str) -> None:
        passed(count)
        with pytest.raises(ValueError, match="LISTEN_FDS"):
            systemd_sockets()

    def test_names_that_do_not_fit_are_told(self, passed: Any) -> None:
        passed("1", "a:b")
        with pytest.raises(ValueError, match="LISTEN_FDNAMES"):
            systemd_sockets()

    @pytest.mark.parametrize(
        "listener, expected",
        [
            ("systemd", True),
            ("systemd:chat", True),
            ("fd://3", True),
            ("systemd.example.com:80", False),
            ("unix:/run/socket", False),
            (("systemd", 80), False),
            (3, False),
        ],
    )
    def test_names_of_inherited_sockets(self, listener: Any, expected: bool) -> None:
        assert is_inherited(listener) == expected
