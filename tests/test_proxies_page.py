"""The code of docs/proxies.md runs as it stands there, with other ports, through scripted proxies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tools import certificates
from tools.proxying import Listener, read_request, tunnel_http, tunnel_socks4, tunnel_socks5

import geventws
from geventws import WebSocket, WebSocketServer
from geventws import proxy as module
from geventws.environment import environment_agent
from geventws.url import parse_url

PAGE = Path(__file__).parent.parent / "docs" / "proxies.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
RUN = [block for block in BLOCKS if "SSHAgent" not in block]  # that needs SSH; see proxies/test_ssh_agent.py
SCHEMES = {"http": "http", "https": "https", "socks5h": "socks5", "socks5": "socks5"}
SCHEMES |= {"socks4a": "socks4", "socks4": "socks4"}
TOLD = {"mail.example": "b'220 mail.example\\r\\n'\n", "www.example": "200\n"}
"""What a block prints that connects to this host."""
URL = re.compile(r'"(\w+)://([^"/@]*@)?[\w.]+:(\d\d+)"')


def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


def answer(sock: Any) -> None:
    read_request(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


@pytest.fixture
def ports(server_context: Any) -> Iterator[dict[str, int]]:
    listeners = {
        "http": Listener(tunnel_http),
        "https": Listener(tunnel_http, context=server_context),
        "socks4": Listener(tunnel_socks4),
        "socks5": Listener(tunnel_socks5),
        "mail": Listener(lambda sock: sock.sendall(b"220 mail.example\r\n")),
        "www": Listener(answer, context=server_context),
    }
    yield {name: listener.port for name, listener in listeners.items()}
    for listener in listeners.values():
        listener.stop()


@pytest.mark.parametrize("block", RUN, ids=range(len(RUN)))
def test_code_of_the_page_runs(
    block: str,
    ports: dict[str, int],
    server_context: Any,
    client_context: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    opened: list[str] = []

    def connect(url: str, **options: Any) -> None:
        options.setdefault("ssl_context", client_context)
        with geventws.connect(url, **options) as ws:
            ws.send("hello")
            opened.append(str(ws.recv(timeout=5)))

    def through(match: re.Match[str]) -> str:
        scheme, userinfo, _ = match.groups()
        return f'"{scheme}://{userinfo or ""}localhost:{ports[SCHEMES[scheme]]}"'

    monkeypatch.setattr(module, "default_context", lambda: client_context)
    monkeypatch.chdir(tmp_path)
    certificates.authority().cert_pem.write_to_path("company.pem")
    monkeypatch.setenv("SSL_CERT_FILE", "company.pem")
    code = URL.sub(through, block).replace('"mail.example", 25', f'"localhost", {ports["mail"]}')
    code = code.replace('"www.example", 443', f'"localhost", {ports["www"]}').replace("www.example", "localhost")
    with WebSocketServer(("127.0.0.1", 0), echo, ssl_context=server_context) as server:
        server.start()
        names = {"url": f"wss://localhost:{server.address[1]}/", "connect": connect, "fetch_token": str}
        exec(compile(code, str(PAGE), "exec"), names)  # noqa: S102
    assert opened == ["hello"] * len(re.findall(r"^connect\(", block, flags=re.MULTILINE))
    assert capsys.readouterr().out == next((told for name, told in TOLD.items() if name in block), "")


def test_a_block_is_found_for_each_part_of_the_page() -> None:
    assert len(BLOCKS) >= 10
    assert {match[1] for match in URL.finditer(TEXT)} == set(SCHEMES)


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_variables_are_told_in_their_order(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = next(line for line in TEXT.splitlines() if line.startswith(f"| `{scheme}:` |"))
    names = re.findall(r"`(\w+_proxy)`", row)
    for name in reversed(names):
        monkeypatch.setenv(name, f"http://{name.replace('_', '-')}:1")
        assert str(environment_agent(parse_url(f"{scheme}://a/"))) == f"http://{name.replace('_', '-')}:1"
    assert len(names) >= 4
