"""The agent of docs/proxies.md that goes through SSH, through a real one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from daemons import Daemons

from geventws import WebSocketServer, connect

PAGE = Path(__file__).parents[2] / "docs" / "proxies.md"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_websocket_goes_through_an_agent_for_ssh(daemons: Daemons, host: str) -> None:
    block = re.search(r"^```python\n(from gevent import[^`]*class SSHAgent.*?)^```$", PAGE.read_text(), re.M | re.S)
    assert block is not None
    names: dict[str, Any] = {}
    exec(block[1], names)  # noqa: S102
    agent = names["SSHAgent"](*daemons.ssh_arguments())
    with WebSocketServer(("127.0.0.1", 0), lambda ws: ws.send(ws.recv())) as server:
        server.start()
        with connect(f"ws://{host}:{server.address[1]}", proxy=agent) as ws:
            ws.send("hello")
            assert ws.recv(timeout=10) == "hello"
