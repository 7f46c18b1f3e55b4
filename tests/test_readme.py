"""The README's code is run as it stands there, apart from the port; what it prints must be what its comments say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.event import AsyncResult
from tools import certificates

import geventws

README = Path(__file__).parent.parent / "README.md"


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
    code = compile(block.replace("8000", str(port)), str(README), "exec")
    exec(code, {"__name__": "__main__"})  # noqa: S102


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
    """The working directory has the certificates that the section on TLS names."""
    monkeypatch.chdir(tmp_path)
    authority = certificates.authority()
    authority.cert_pem.write_to_path("authority.pem")
    leaf = authority.issue_cert("localhost")
    leaf.private_key_pem.write_to_path("key.pem")
    for part in leaf.cert_chain_pems:
        part.write_to_path("chain.pem", append=True)


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


def test_links_in_the_readme_lead_somewhere() -> None:
    text = README.read_text(encoding="utf-8")
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
    for target in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        if not path:
            assert anchor in anchors, target
        elif not path.startswith("https://"):
            assert (README.parent / path).exists(), target
