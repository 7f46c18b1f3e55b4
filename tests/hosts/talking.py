"""What the frameworks' views do with a WebSocket."""

from __future__ import annotations

from typing import Any

from geventws import WebSocket

OPTIONS: dict[str, Any] = {"max_size": 2**23, "compression": True}


def talk(ws: WebSocket, room: str) -> None:
    """Name the room, and echo until somebody says bye."""
    ws.send(room)
    for message in ws:
        if message == "bye":
            break
        ws.send(message)
