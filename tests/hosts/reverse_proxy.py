"""nginx and HAProxy in front of a host, with the configurations of docs/deployment.md."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from gevent import socket
from gevent.subprocess import DEVNULL, Popen
from programs import end_process
from tools import raw_http
from tools.peer import Peer

_PAGE = Path(__file__).parents[2] / "docs" / "deployment.md"
_SECTIONS = {"nginx": "nginx", "haproxy": "HAProxy"}
_NGINX = """\
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {site}
}}
"""


def shown(language: str, section: str) -> str:
    """The configuration that a section of the page has in this language."""
    _, _, text = _PAGE.read_text(encoding="utf-8").partition(f"\n## {section}\n")
    [block] = re.findall(rf"^```{language}\n(.*?)^```$", text.partition("\n## ")[0], re.MULTILINE | re.DOTALL)
    return str(block)


def replaced(text: str, old: str, new: str) -> str:
    assert old in text, f"the configuration has no {old!r}"
    return text.replace(old, new)


class ReverseProxy:
    """A running proxy; a context manager that ends it.

    ``changes`` are made to its configuration, which a section of the page shows, by default that of its name.
    """

    def __init__(
        self, name: str, port: int, folder: Path, changes: dict[str, str] | None = None, section: str | None = None
    ) -> None:
        program = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
        if program is None:
            pytest.skip(f"needs {name}")
        self._log = folder / f"{name}.log"
        self.sockets: list[Any] = []
        config = folder / f"{name}.conf"
        text = replaced(shown(name, section or _SECTIONS[name]), "127.0.0.1:8000", f"127.0.0.1:{port}")
        for old, new in (changes or {}).items():
            text = replaced(text, old, new)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.address = listener.getsockname()
            number = listener.fileno()
            environment = dict(os.environ)
            if name == "nginx":
                place = f"127.0.0.1:{self.address[1]}"
                config.write_text(_NGINX.format(folder=folder, site=replaced(text, "127.0.0.1:80;", f"{place};")))
                environment["NGINX"] = f"{number};"  # the listening sockets that it inherits
                command = [program, "-c", str(config), "-p", str(folder), "-e", "stderr"]
            else:
                config.write_text(replaced(text, "bind 127.0.0.1:80", f"bind fd@{number}"))
                command = [program, "-db", "-f", str(config)]
            with self._log.open("wb") as log:
                options = {"stdin": DEVNULL, "stdout": log, "stderr": log, "env": environment}
                self._process = Popen(command, pass_fds=[number], **options)

    def __enter__(self) -> ReverseProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()
        end_process(self._process)

    def hang_up(self) -> None:
        for sock in self.sockets:
            sock.close()
        self.sockets.clear()

    @property
    def place(self) -> str:
        """Its host and port."""
        return f"127.0.0.1:{self.address[1]}"

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def ask(self, path: str, headers: dict[str, str | None] | None = None) -> Any:
        """The response to an opening handshake that is refused."""
        return self._exchange(raw_http.request(path, {"Host": self.place, **(headers or {})}))[0]

    def open(self, path: str, more: bytes = b"", headers: dict[str, str | None] | None = None) -> Peer:
        response, rest, sock = self._exchange(raw_http.request(path, {"Host": self.place, **(headers or {})}) + more)
        assert (response.status, response.headers["Sec-WebSocket-Accept"]) == (101, raw_http.ACCEPT), self.log
        return Peer(sock, client=True, timeout=10, head=rest)

    def _exchange(self, data: bytes) -> tuple[Any, bytes, Any]:
        sock = socket.create_connection(self.address)
        self.sockets.append(sock)
        sock.sendall(data)
        return *raw_http.read_response(sock, timeout=10), sock
