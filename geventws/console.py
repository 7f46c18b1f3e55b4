"""The conversation of ``geventws connect``: lines go out, messages are printed, until either side has had enough."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import gevent
from gevent import get_hub
from gevent.event import Event

from .events import State
from .exceptions import ConnectionClosed
from .frames import CloseCode, CloseFrame
from .websocket import WebSocket

SHOWN_BYTES = 64
_READ = 1
_PLAIN_ENDS = (CloseFrame(CloseCode.NORMAL_CLOSURE), CloseFrame(CloseCode.NO_STATUS_RCVD))
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}


class Console:
    """Joins standard input and output to a connection.

    Args:
        ws: the connection.
        wait: after the end of the input the connection is closed when no message has come for so many seconds.
            None: 1 second, or at once where the input is a terminal.
    """

    def __init__(self, ws: WebSocket, wait: float | None = None) -> None:
        self.ws = ws
        self.by_hand = sys.stdin is not None and sys.stdin.isatty()
        self.wait = wait if wait is not None else 0.0 if self.by_hand else 1.0
        self.arrived = Event()
        self.hung_up = False  # whether it was this side that began to close
        self.problem: str | None = None

    def run(self) -> str | None:
        """Talk until the connection has closed; returns what went wrong, or None.

        How the server closed is told on standard error, unless the input is a pipe and it was with a plain 1000.

        Raises ConnectionClosedError when the connection did not end in good order.
        """
        sender = gevent.spawn(self._send_lines)
        try:
            for message in self.ws:
                self.arrived.set()
                self._show(message)
        finally:
            sender.kill()
        if not self.hung_up:
            self._tell_end(CloseFrame(self.ws.close_code or CloseCode.ABNORMAL_CLOSURE, self.ws.close_reason or ""))
        return self.problem

    def _send_lines(self) -> None:
        try:
            for line in _lines():
                self.ws.send(line)
        except UnicodeDecodeError:
            self.problem = "the input is not UTF-8"
        except ConnectionClosed:
            return  # the loop that receives tells why
        else:
            self._await_silence()
        self.hung_up = self.ws.state is State.OPEN
        self.ws.close()

    def _await_silence(self) -> None:
        self.arrived.clear()
        while self.arrived.wait(self.wait):
            self.arrived.clear()

    def _show(self, message: str | bytes) -> None:
        text = message if isinstance(message, str) else _described(message)
        if sys.stdout.isatty():
            # What a stranger sent must not move the cursor or set the window's title.
            text = text.translate(_CONTROLS)
        if self.by_hand:
            # Each line has the mark, so that what a stranger sent cannot pass for anything else.
            text = "\n".join(f"< {line}" for line in text.split("\n"))
        print(text, flush=True)

    def _tell_end(self, frame: CloseFrame) -> None:
        if self.by_hand or frame not in _PLAIN_ENDS:
            print(f"connection closed: {one_line(str(frame))}", file=sys.stderr)


def one_line(text: str) -> str:
    """The text as one line that does nothing to a terminal, whoever wrote it."""
    return text.translate(_CONTROLS).replace("\n", "\\n")


def _lines() -> Iterator[str]:
    """The lines of standard input, without their ends; other greenlets run meanwhile."""
    if sys.stdin is None:
        return
    rest = b""
    while data := _read(sys.stdin.fileno()):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line.decode()
    if rest:
        yield rest.decode()


def _read(descriptor: int) -> bytes:
    hub = get_hub()
    blocking = os.get_blocking(descriptor)
    try:
        watcher: Any = hub.loop.io(descriptor, _READ)
    except ValueError:
        return os.read(descriptor, 65536)  # libuv watches no files; they make nobody wait
    try:
        # The descriptor is shared with the shell, and a terminal with standard output too: it must not stay in
        # non-blocking mode, in which libuv puts it.
        os.set_blocking(descriptor, blocking)
        hub.wait(watcher)
    finally:
        watcher.close()
    return os.read(descriptor, 65536)


def _described(message: bytes) -> str:
    more = " ..." if len(message) > SHOWN_BYTES else ""
    return f"({len(message)} bytes) {message[:SHOWN_BYTES].hex(' ')}{more}"
