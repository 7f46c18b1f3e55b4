"""Frames in the log, as they go over the wire; for those who look for a fault."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from .exceptions import ProtocolError
from .frames import FIN, RSV1, Buffer, FrameHeader, Opcode, Side
from .kernels import unmask

if TYPE_CHECKING:
    from .reports import Reports

frames = logging.getLogger("geventws.frames")

_SHOWN = 64
"""How many bytes of a payload are shown."""
_MOST_WAITING = 1000
"""How many lines may wait to be logged; the log of a busy connection has gaps rather than take all memory."""


def frame_log(side: Side, address: Any, reports: Reports) -> FrameLog | None:
    """The log of a connection that is being opened; None where DEBUG is off for ``geventws.frames`` now."""
    if not frames.isEnabledFor(logging.DEBUG):
        return None
    return FrameLog(f"{side.value} {address or ''}".rstrip(), reports)


class FrameLog:
    """Takes what a connection's transport reads and writes, and logs a line for each frame."""

    def __init__(self, name: str, reports: Reports) -> None:
        self._reports = reports
        self._in = _Direction()
        self._out = _Direction()
        self._name = name

    def received(self, data: bytearray, size: int) -> None:
        self._log("<", self._in.feed(memoryview(data)[:size]))

    def sent(self, chunk: Buffer, second: Buffer | None) -> None:
        lines = self._out.feed(chunk)
        if second is not None:
            lines += self._out.feed(second)
        self._log(">", lines)

    def _log(self, mark: str, lines: list[str]) -> None:
        for line in lines:
            if len(self._reports.waiting) < _MOST_WAITING:
                self._reports.add(frames.debug, "%s %s %s", self._name, mark, line)


class _Direction:
    """One direction's bytes, which become lines. It keeps no more of a payload than what is shown."""

    def __init__(self) -> None:
        self._header = FrameHeader()
        self._head = bytearray()
        self._shown = bytearray()
        self._left: int | None = None  # of the frame's payload; None between two frames
        self._broken = False

    def feed(self, data: Buffer) -> list[str]:
        lines: list[str] = []
        rest = memoryview(data).cast("B")
        while not self._broken and (rest or self._left == 0):
            if self._left is None:
                rest = self._read_header(rest, lines)
                continue
            count = min(self._left, len(rest))
            self._shown += rest[: min(count, _SHOWN - len(self._shown))]
            self._left -= count
            rest = rest[count:]
            if not self._left:
                lines.append(self._line())
                self._left = None
        return lines

    def _read_header(self, rest: memoryview, lines: list[str]) -> memoryview:
        """Take a byte more until the header is whole; it has 14 at the most."""
        header = self._header
        self._head += rest[:1]
        try:
            if header.read(self._head, 0, len(self._head)):
                self._left = header.length
                self._head.clear()
                self._shown.clear()
        except ProtocolError as error:
            self._broken = True
            lines.append(f"no frame: {error}")
        return rest[1:]

    def _line(self) -> str:
        header, shown = self._header, self._shown
        if header.masked:
            unmask(shown, 0, len(shown), header.key, 0)
        kind = Opcode(header.first & 0x0F)
        more = "..." if header.length > len(shown) else ""
        bits = " FIN" if header.first & FIN else ""
        bits += " RSV1" if header.first & RSV1 else ""
        return f"{kind.name} {_payload(kind, header.first, bytes(shown), more)} [{header.length} bytes]{bits}"


def _payload(kind: Opcode, first: int, shown: bytes, more: str) -> str:
    if kind is Opcode.CLOSE and len(shown) > 1:
        return f"{int.from_bytes(shown[:2], 'big')} {shown[2:].decode(errors='replace')!r}{more}"
    if kind is Opcode.TEXT and not first & RSV1:
        return f"{shown.decode(errors='ignore' if more else 'replace')!r}{more}"
    return f"{shown.hex()}{more}"
