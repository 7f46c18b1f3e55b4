"""A scripted peer that has everything it reads judged."""

from __future__ import annotations

from typing import Any

from geventws.testing.peer import ScriptedPeer

from .checker import Deflate, StreamChecker
from .wire import Frame


class Peer(ScriptedPeer):
    """One end of a connection whose other end is under test.

    What arrives goes through a `StreamChecker`, so each test also checks the stream. ``head`` has come already, behind
    the head of the opening handshake.
    """

    def __init__(
        self, sock: Any, *, client: bool, deflate: Deflate | None = None, timeout: float = 5, head: bytes = b""
    ) -> None:
        super().__init__(sock, client=client, timeout=timeout)
        self.checker = StreamChecker(masked=not client, deflate=deflate)
        self._messages_read = 0
        self._frames += self._look_at(head)

    def read_message(self) -> str | bytes:
        """The next whole message, inflated; frames are not left behind for `read_frame`."""
        while self._messages_read == len(self.checker.messages):
            self._read_more()
        self._frames.clear()
        self._messages_read += 1
        return self.checker.messages[self._messages_read - 1]

    def read_close(self) -> tuple[int, str]:
        while self.checker.closed is None:
            self._read_more()
        return self.checker.closed

    def read_eof(self) -> None:
        super().read_eof()
        self.checker.finish()

    def _look_at(self, data: bytes) -> list[Frame]:
        return self.checker.feed(data)

    def _read_more(self) -> None:
        if not self.read_some():
            self.checker.finish()
            raise EOFError("the stream has ended")
