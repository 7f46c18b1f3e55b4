"""A WSGI server as a process of its own, raw connections to it, and its log."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gevent import socket
from gevent.subprocess import DEVNULL, Popen
from programs import end_process
from tools import raw_http
from tools.checker import Deflate
from tools.peer import Peer
from tools.timing import wait_until

HERE = Path(__file__).parent
THREADS = 8
"""How many gunicorn's gthread worker has."""
WITHOUT_COMMAND = ("pywsgi", "werkzeug", "waitress", "a2wsgi")
"""The hosts that serve.py runs."""
_ACCESS = re.compile(r'"\S+ (?P<target>\S+) HTTP/1\.1" (?P<status>\S+) (?P<size>\S+)(?: (?P<seconds>\S+))?$')
_COLOURS = re.compile("\x1b\\[[0-9;]*m")
_GUNICORN_ACCESS = '"%(r)s" %(s)s %(b)s %(L)s'


class Kind(NamedTuple):
    """What is served with: the host, over TLS or not, in a patched process or not."""

    host: str
    tls: bool = False
    patched: bool = True

    def __str__(self) -> str:
        return f"{self.host}-{'tls' if self.tls else 'plain'}-{'patched' if self.patched else 'unpatched'}"


GEVENT = [Kind("pywsgi", tls, patched) for tls in (False, True) for patched in (False, True)]
GEVENT += [Kind(host, tls) for host in ("gevent", "gevent_pywsgi") for tls in (False, True)]
OTHERS = [Kind("gthread", False, False), Kind("gthread", True, False), Kind("werkzeug"), Kind("werkzeug", True)]


class Access(NamedTuple):
    """A line of the access log."""

    target: str
    status: str
    size: str
    seconds: float


class Host:
    """A running host that serves the application of a module beside this one; a context manager that ends it."""

    def __init__(
        self,
        kind: Kind,
        folder: Path,
        client_context: Any,
        certificate: list[str],
        module: str = "application",
        arguments: Sequence[str] = (),
    ) -> None:
        self.kind = kind
        self._module = module
        self._arguments = arguments
        self._client_context = client_context
        self._sockets: list[Any] = []
        self._log = folder / f"{kind}.log"
        self._seen = 0
        self._pages = 0
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._address = listener.getsockname()
            with self._log.open("wb") as log:
                self._process = Popen(
                    self._command(listener.fileno(), certificate if kind.tls else []),
                    cwd=HERE,
                    pass_fds=[listener.fileno()],
                    stdin=DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, "HOME": str(folder), "PYTHONUNBUFFERED": "1"},
                )

    def _command(self, descriptor: int, certificate: list[str]) -> list[str]:
        kind = self.kind
        if kind.host in WITHOUT_COMMAND:
            patched = "patched" if kind.patched else "unpatched"
            return [sys.executable, "serve.py", kind.host, patched, self._module, str(descriptor), *certificate]
        tls = [word for pair in zip(("--certfile", "--keyfile"), certificate) for word in pair]  # noqa: B905
        command = [sys.executable, "-m", "gunicorn", "-k", kind.host, "--bind", f"fd://{descriptor}"]
        command += ["--threads", str(THREADS)]
        log = ["--access-logfile", "-", "--access-logformat", _GUNICORN_ACCESS]
        return [*command, *log, "--graceful-timeout", "1", *tls, *self._arguments, self._module]

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()
        end_process(self._process)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end of the process; its status."""
        status = self._process.wait(timeout=10)
        assert status is not None, "it goes on"
        return int(status)

    # Its connections

    @property
    def port(self) -> int:
        return int(self._address[1])

    def connect(self) -> Any:
        sock = socket.create_connection(self._address)
        self._sockets.append(sock)
        sock.settimeout(10)
        if self.kind.tls:
            sock = self._client_context.wrap_socket(sock, server_hostname="localhost")
            self._sockets.append(sock)
        return sock

    def ask(self, data: bytes) -> Any:
        """The response to a request, behind which the host ends the connection."""
        sock = self.connect()
        sock.sendall(data)
        response, _ = raw_http.read_response(sock, timeout=10)
        return response

    def open(self, path: str, more: bytes = b"", headers: dict[str, str | None] | None = None) -> Peer:
        sock = self.connect()
        sock.sendall(raw_http.request(path, headers) + more)
        return self.switch(sock)

    def switch(self, sock: Any, deflate: Deflate | None = None) -> Peer:
        """Read the 101."""
        response, rest = raw_http.read_response(sock, timeout=10)
        assert (response.status, response.headers["Sec-WebSocket-Accept"]) == (101, raw_http.ACCEPT)
        return Peer(sock, client=True, deflate=deflate, timeout=10, head=rest)

    def hang_up(self) -> None:
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()

    # Its log

    def turn_page(self) -> None:
        """What has happened until now does not count any more, and has been logged."""
        self._pages += 1
        target = f"/page/{self._pages}"
        self.ask(raw_http.plain_request(target))
        self.hang_up()
        wait_until(lambda: any(access.target == target for access in self.accesses), timeout=10)
        self._seen = self._log.stat().st_size

    @property
    def log(self) -> str:
        return _COLOURS.sub("", self._log.read_bytes()[self._seen :].decode())

    @property
    def accesses(self) -> list[Access]:
        found = [_ACCESS.search(line) for line in self.log.splitlines()]
        return [
            Access(match["target"], match["status"], match["size"], float(match["seconds"] or 0))
            for match in found
            if match is not None
        ]

    def wait_for_access(self, count: int = 1) -> Access:
        """The last line of the access log, of which there are so many."""
        wait_until(lambda: len(self.accesses) >= count, timeout=10)
        assert len(self.accesses) == count, self.log
        return self.accesses[-1]


def end(peer: Peer) -> None:
    """Nothing comes any more."""
    peer.read_eof()
    peer.close()


def close(peer: Peer) -> None:
    """Close from the client's side."""
    peer.send_close(1000)
    assert peer.read_close() == (1000, "")
    end(peer)
