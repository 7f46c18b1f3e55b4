"""The README's code is run as it stands there, apart from the port; what it prints must be what its comments say."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.event import AsyncResult
from tools import certificates
from tools.proxying import Listener, read_request, tunnel_socks5

import geventws
from geventws import testing
from geventws.exceptions import Violation
from geventws.options import Options
from geventws.proxy import HTTPConnectAgent, SOCKSAgent
from geventws.stream import Relayed, relay

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
CHALLENGE = b"HTTP/1.1 407 Who are you?\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n"
API = ROOT / "docs" / "api.md"


def sections() -> Iterator[tuple[str, list[str]]]:
    """Each section's title and blocks of Python, where it has any."""
    for section in re.split(r"^#+ (?=[A-Z])", README.read_text(encoding="utf-8"), flags=re.MULTILINE):
        blocks = re.findall(r"^```python\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
        if blocks:
            yield section.partition("\n")[0], blocks


SECTIONS = dict(sections())
FIRST = next(iter(SECTIONS.values()))


def is_server(block: str) -> bool:
    return "serve_forever()" in block


def told(text: str) -> list[str]:
    """The lines that were printed or are expected, in no order; measured times stand for any others."""
    return sorted(re.sub(r"\d\.\d{4,}(e-\d+)?", "(time)", line) for line in text.splitlines())


def run(block: str, port: int) -> None:
    with proxies() as ports:
        for written, real in {8000: port, **ports}.items():
            block = block.replace(f":{written}", f":{real}").replace(f", {written})", f", {real})")
        exec(compile(block, str(README), "exec"), {"__name__": "__main__"})  # noqa: S102


@contextmanager
def proxies() -> Iterator[dict[int, int]]:
    """The ports of the proxies that the README names, and those of real ones; that of HTTP lets nobody in."""
    socks, http = Listener(tunnel_socks5), Listener(lambda sock: sock.sendall(read_request(sock) and CHALLENGE))
    try:
        yield {1080: socks.port, 3128: http.port}
    finally:
        socks.stop()
        http.stop()


class Started:
    """The servers that a block starts: makes `WebSocketServer` tell its port."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server: AsyncResult[Any] = AsyncResult()
        started = self.server

        class Server(geventws.WebSocketServer):
            def start(self) -> None:
                super().start()
                started.set(self)

        monkeypatch.setattr(geventws, "WebSocketServer", Server)


@pytest.fixture
def in_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory has the certificates that the README names."""
    monkeypatch.chdir(tmp_path)
    authority = certificates.authority()
    authority.cert_pem.write_to_path("authority.pem")
    for name, chain, key in [("localhost", "chain.pem", "key.pem"), ("ada@example.com", "ada.pem", "ada-key.pem")]:
        leaf = authority.issue_cert(name)
        leaf.private_key_pem.write_to_path(key)
        for part in leaf.cert_chain_pems:
            part.write_to_path(chain, append=True)


@pytest.mark.parametrize("title", SECTIONS)
@pytest.mark.usefixtures("in_certificates")
def test_code_in_the_readme_prints_what_it_says(
    title: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = SECTIONS[title]
    server_block = next((block for block in blocks if is_server(block)), FIRST[0])
    started = Started(monkeypatch)
    serving = gevent.spawn(run, server_block, 0)
    try:
        server = started.server.get(timeout=10)
        for block in blocks:
            if not is_server(block):
                run(block, server.address[1])
        for ws in list(server.clients):
            ws.wait_closed(timeout=10)
    finally:
        serving.kill()
    expected = re.findall(r"print\(.*\)  # (.*)$", "\n".join(blocks), flags=re.MULTILINE)
    assert told(capsys.readouterr().out) == told("\n".join(expected))


def test_every_section_of_the_readme_is_found() -> None:
    assert len(SECTIONS) >= 10
    assert all(len([block for block in blocks if is_server(block)]) <= 1 for blocks in SECTIONS.values())


PAGES = [README, ROOT / "SECURITY.md", *(ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        if path.startswith("https://"):
            continue
        linked = page.parent / path if path else page
        assert linked.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}, target


def arguments_of(function: Callable[..., Any]) -> set[str]:
    return {name for name in inspect.signature(function).parameters if name not in ("self", "options")}


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(set(geventws.__all__), id="names"),
        pytest.param({name for name in dir(geventws.WebSocket) if not name.startswith("_")}, id="WebSocket"),
        pytest.param(arguments_of(geventws.WebSocket.makefile), id="makefile"),
        pytest.param({"relay", *arguments_of(relay), *Relayed._fields}, id="relay"),
        pytest.param(set(testing.__all__), id="testing"),
        pytest.param({field.name for field in fields(geventws.ConnectionStats)}, id="ConnectionStats"),
        pytest.param({field.name for field in fields(geventws.ServerStats)}, id="ServerStats"),
        pytest.param({name for name in dir(geventws.Metrics) if not name.startswith("_")}, id="Metrics"),
        pytest.param(arguments_of(geventws.connect), id="connect"),
        pytest.param(arguments_of(geventws.reconnect), id="reconnect"),
        pytest.param({name for name in dir(geventws.Outbox) if not name.startswith("_")}, id="Outbox"),
        pytest.param(arguments_of(geventws.Outbox), id="arguments of Outbox"),
        pytest.param(arguments_of(HTTPConnectAgent), id="HTTPConnectAgent"),
        pytest.param(arguments_of(SOCKSAgent), id="SOCKSAgent"),
        pytest.param(arguments_of(geventws.Upgrader), id="Upgrader"),
        pytest.param(arguments_of(geventws.WebSocketServer), id="WebSocketServer"),
        pytest.param({field.name for field in fields(Options)}, id="options"),
        pytest.param({field.name for field in fields(geventws.PerMessageDeflate)}, id="PerMessageDeflate"),
        pytest.param({violation.name for violation in Violation}, id="violations"),
        pytest.param({code.name for code in geventws.CloseCode}, id="codes"),
        pytest.param(
            {"host", "port", "wait", "header", "no-compression", "proxy", "no-proxy", "cafile"}, id="commands"
        ),
    ],
)
def test_the_api_page_names_everything(names: set[str]) -> None:
    words = set(re.findall(r"\w[\w-]*", API.read_text(encoding="utf-8")))
    assert names - words == set()
