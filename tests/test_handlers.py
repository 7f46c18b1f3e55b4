"""The ready-made handlers."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from tools.peer import Peer

from geventws import handlers


@pytest.fixture
def role() -> str:
    return "server"


def test_echo_sends_text_and_binary_messages_back(pair: tuple[Any, Peer]) -> None:
    ws, peer = pair
    echo = gevent.spawn(handlers.echo, ws)
    peer.text("text")
    assert peer.read_message() == "text"
    peer.binary(b"binary")
    assert peer.read_message() == b"binary"
    peer.send_close()
    peer.read_close()
    echo.get(timeout=5)
