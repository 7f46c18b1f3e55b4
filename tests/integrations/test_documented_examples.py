"""The code in the documentation of gevent-websocket and simple-websocket runs on the drop-ins as it stands there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from documented import code_of, served, talk, typed_into

pytest.importorskip("flask")

README = ("gevent-websocket-0.10.1", "README.rst")
INTRO = ("simple_websocket-1.1.0", "docs/intro.rst")
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes the block of code that has these words to a file."""

    def write(page: tuple[str, str], words: str) -> Path:
        [code] = [code for code in code_of(*page) if words in code]
        file = tmp_path / "example.py"
        file.write_text(re.sub(r"\bprint ([^(\n].*)", r"print(\1)", code))  # Python 2's, on one of the pages
        return file

    return write


def test_applications_of_gevent_websocket(write: Write) -> None:
    with served("gevent_websocket", write(README, "WebSocketApplication"), patched=False) as url:
        talk(url, "/").close()


def test_low_level_use_of_gevent_websocket(write: Write) -> None:
    with served("gevent_websocket", write(README, "pywsgi"), patched=False) as url:
        ws = talk(url, "/echo")
        assert ws.wait_closed(timeout=5)
        assert ws.close_code == 1000


def test_server_and_client_of_simple_websocket(write: Write, tmp_path: Path) -> None:
    with served("simple_websocket", write(INTRO, "import Flask")) as url:
        talk(url, "/echo").close()
        printed = typed_into(write(INTRO, "import Client,"), url, tmp_path, b"hello\nworld\n")
    assert printed == "> < hello\n> < world\n> "
