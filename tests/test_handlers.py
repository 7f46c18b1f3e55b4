"""The ready-made handlers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import pytest
from tools.peer import Peer

from geventws import State, handlers
from geventws.transport import HIGH_WATER

Pairs = Callable[..., tuple[Any, Peer]]


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


def test_a_message_goes_to_every_open_client(make_pair: Pairs) -> None:
    pairs = [make_pair() for _ in range(3)]
    handlers.send_to_all([ws for ws, _ in pairs], "news")
    assert [peer.read_message() for _, peer in pairs] == ["news"] * 3


def test_clients_that_are_closed_or_closing_are_passed_over(make_pair: Pairs) -> None:
    (closed, _), (closing, closing_peer), (open_, peer) = make_pair(), make_pair(), make_pair()
    closed.terminate()
    closing_peer.send_close()
    closing_peer.read_close()
    handlers.send_to_all([closed, closing, open_], "news")
    assert peer.read_message() == "news"


def test_a_client_that_does_not_read_is_disconnected_and_the_others_get_every_message(make_pair: Pairs) -> None:
    slow, slow_peer = make_pair(buffers=4096)
    quick, peer = make_pair()
    for number in range(20):
        message = bytes([number]) * HIGH_WATER
        handlers.send_to_all([slow, quick], message)
        assert peer.read_message() == message
    assert slow.state is not State.OPEN
    assert slow_peer.read_close() == (1013, "too slow")
