"""Parsing that is suspended, because messages are not taken, goes on when they are."""

from __future__ import annotations

import pytest
from tools.tasks import start


@pytest.mark.parametrize("count", [900, 1100, 1300, 1500, 1700, 2000, 2500])
def test_all_messages_of_one_read_reach_a_reader_that_was_waiting(pair, count):
    ws, peer = pair
    receiving = start(lambda: [ws.recv(timeout=5) for _ in range(count)])
    peer.send_bytes(peer.frame(1, b"hi") * count)
    assert receiving.result() == ["hi"] * count
