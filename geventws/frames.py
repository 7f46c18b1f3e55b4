"""One WebSocket frame (RFC 6455 section 5): opcodes, header bytes, close payloads, masking keys.

Nothing here remembers anything from one frame to the next: what depends on the role, on the frames before or on
what was negotiated is the business of `protocol`.
"""

from __future__ import annotations

import os
import struct
from enum import Enum, IntEnum
from typing import NamedTuple

from .exceptions import ProtocolError, Violation
from .kernels import Buffer as Buffer


class Side(Enum):
    """The role of an endpoint: a client masks what it sends, a server does not (RFC 6455 section 5.1)."""

    CLIENT = "client"
    SERVER = "server"


class Opcode(IntEnum):
    """RFC 6455 section 5.2."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class CloseCode(IntEnum):
    """RFC 6455 section 7.4.1 and the IANA registry of WebSocket close codes."""

    NORMAL_CLOSURE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS_RCVD = 1005
    ABNORMAL_CLOSURE = 1006
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_HANDSHAKE = 1015


MAX_CONTROL_PAYLOAD = 125  # RFC 6455 section 5.5
MAX_CLOSE_REASON = MAX_CONTROL_PAYLOAD - 2
FIN = 0x80
RSV1 = 0x40
RSV2_RSV3 = 0x30
MASKED = 0x80

# RFC 6455 section 7.4.1: these codes tell what happened where no close frame did, and never stand in one.
_NEVER_SENT = {CloseCode.NO_STATUS_RCVD, CloseCode.ABNORMAL_CLOSURE, CloseCode.TLS_HANDSHAKE}
_REGISTERED = {int(code) for code in CloseCode} - _NEVER_SENT


def is_close_code(code: int) -> bool:
    """Whether a close frame may carry this code (RFC 6455 section 7.4)."""
    return code in _REGISTERED or 3000 <= code <= 4999


class CloseFrame(NamedTuple):
    """What a close frame says; code 1005 stands for a frame without a code (RFC 6455 section 7.1.5)."""

    code: int
    reason: str = ""

    def __str__(self) -> str:
        try:
            name = CloseCode(self.code).name.lower().replace("_", " ")
        except ValueError:
            name = "registered" if self.code < 4000 else "private use"
        return f"{self.code} ({name}) {self.reason}".rstrip()

    def encode(self) -> bytes:
        """The payload of the close frame (RFC 6455 section 5.5.1)."""
        if self.code == CloseCode.NO_STATUS_RCVD:
            return b""
        return struct.pack("!H", self.code) + self.reason.encode()

    @classmethod
    def decode(cls, payload: Buffer) -> CloseFrame:
        """Read a close frame's payload; raises ProtocolError (RFC 6455 sections 5.5.1, 7.4 and 8.1)."""
        if not payload:
            return cls(CloseCode.NO_STATUS_RCVD)
        if len(payload) == 1:
            raise ProtocolError(Violation.INVALID_CLOSE_PAYLOAD_LENGTH)
        code = int.from_bytes(payload[:2], "big")
        if not is_close_code(code):
            raise ProtocolError(Violation.INVALID_CLOSE_CODE, str(code))
        try:
            return cls(code, str(payload[2:], "utf-8"))
        except UnicodeDecodeError as error:
            raise ProtocolError(Violation.INVALID_CLOSE_REASON, str(error)) from None

    @classmethod
    def checked(cls, code: int, reason: str) -> CloseFrame:
        """A close frame from a caller's words; raises ValueError or TypeError where it may not be sent."""
        if not isinstance(code, int) or not isinstance(reason, str):
            raise TypeError("a close code is an int and a close reason a str")
        if not is_close_code(code):
            raise ValueError(f"a close frame cannot carry the code {code}")
        if len(reason.encode()) > MAX_CLOSE_REASON:
            raise ValueError(f"a close reason has at most {MAX_CLOSE_REASON} bytes")
        return cls(int(code), reason)


class FrameHeader:
    """A frame's header as it stands on the wire, read into the same object again and again.

    Attributes:
        first: FIN, RSV1 to RSV3 and the opcode.
        masked: whether there is a masking key.
        key: the masking key, its four bytes in little-endian order.
        length: the payload's length.
        size: the header's own length, with the masking key.
    """

    __slots__ = ("first", "key", "length", "masked", "size")

    def __init__(self) -> None:
        self.first = 0
        self.masked = False
        self.key = 0
        self.length = 0
        self.size = 0

    def read(self, data: bytearray, offset: int, end: int) -> bool:
        """Read the header at ``offset``; False where it is not all there yet, ProtocolError where it is not valid.

        What the bytes at hand already show to be wrong is reported without waiting for the rest.
        """
        if end - offset < 2:
            return False
        first = data[offset]
        second = data[offset + 1]
        length = second & 0x7F
        if first & 0x08:
            check_control(first, length)
        elif first & 0x0F > 0x2:
            raise ProtocolError(Violation.INVALID_OPCODE, f"{first & 0x0F:#x}")
        position = offset + 2
        if length == 126:
            position += 2
            if position > end:
                return False
            length = data[offset + 2] << 8 | data[offset + 3]
            if length < 126:
                raise ProtocolError(Violation.NON_MINIMAL_PAYLOAD_LENGTH)
        elif length == 127:
            position += 8
            if position > end:
                return False
            if data[offset + 2] & 0x80:
                raise ProtocolError(Violation.INVALID_PAYLOAD_LENGTH)
            length = 0
            for i in range(offset + 2, position):
                length = length << 8 | data[i]
            if length < 0x10000:
                raise ProtocolError(Violation.NON_MINIMAL_PAYLOAD_LENGTH)
        self.masked = second & MASKED != 0
        if self.masked:
            if position + 4 > end:
                return False
            self.key = data[position] | data[position + 1] << 8 | data[position + 2] << 16 | data[position + 3] << 24
            position += 4
        self.first = first
        self.length = length
        self.size = position - offset
        return True


def check_control(first: int, length: int) -> None:
    """The rules of RFC 6455 section 5.5 for a control frame's first two bytes."""
    if first & 0x0F > Opcode.PONG:
        raise ProtocolError(Violation.INVALID_OPCODE, f"{first & 0x0F:#x}")
    if not first & FIN:
        raise ProtocolError(Violation.EXPECTED_FIN)
    if length > MAX_CONTROL_PAYLOAD:
        raise ProtocolError(Violation.INVALID_CONTROL_PAYLOAD_LENGTH)


class MaskingKeys:
    """Masking keys from the system's strong source of randomness (RFC 6455 section 5.3), drawn many at a time."""

    _KEYS = 512

    def __init__(self) -> None:
        self._pool = b""
        self._next = 0
        self._pid = 0

    def __call__(self) -> bytes:
        start = self._next
        if start >= len(self._pool) or self._pid != os.getpid():
            # A forked child must not repeat its parent's keys.
            self._pool = os.urandom(4 * self._KEYS)
            self._pid = os.getpid()
            start = 0
        self._next = start + 4
        return self._pool[start : start + 4]
