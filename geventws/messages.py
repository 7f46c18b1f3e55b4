"""What a program sends: its bytes; and a message made ready to be sent many times."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .frames import FIN, RSV1, Opcode
from .kernels import encode_frame

if TYPE_CHECKING:
    from typing_extensions import Buffer as AnyBuffer

    from .compression import Compressor

    Sendable = str | AnyBuffer

_FIN = FIN
_RSV1 = RSV1
_TEXT = int(Opcode.TEXT)
_BINARY = int(Opcode.BINARY)


class PreparedMessage:
    """A message that is encoded and framed once, and compressed at most once for all who want it compressed alike.

    `WebSocket.send` and `broadcast` take it in place of the message. It is a copy: what becomes of the buffer that it
    was made of makes no difference.

    A compressed one refers to nothing that was sent before, so that it is the same for everybody, also where there is
    context takeover (RFC 7692 section 7.1.1). Whoever sends it gives up its own context, and begins the next message
    with an empty window: the receiver's has this message in it by then, and the sender's has not.

    Args:
        message: str is sent as text, any buffer as binary.
        text: True sends UTF-8 bytes as text, False a str as binary.

    Raises:
        TypeError: the message cannot be sent; the fragments of an iterable cannot be prepared.
        UnicodeError: the text is not UTF-8.

    Attributes:
        text: whether it is sent as text.
        size: the length of its payload, in bytes.
        frame: the whole frame, as a server sends it uncompressed.
    """

    __slots__ = ("_deflated", "frame", "size", "text")

    def __init__(self, message: Sendable, *, text: bool | None = None) -> None:
        payload = payload_of(message)
        if payload is None:
            raise TypeError("a message that is prepared is text or a buffer, no iterable and not prepared already")
        if text and not isinstance(message, str):
            str(payload, "utf-8")
        self.text = isinstance(message, str) if text is None else bool(text)
        self.size = len(payload)
        self.frame = encode_frame(_FIN | (_TEXT if self.text else _BINARY), payload, None)
        self._deflated: dict[tuple[int, ...], bytes] = {}

    def __repr__(self) -> str:
        return f"<PreparedMessage {'text' if self.text else 'binary'}, {self.size} bytes>"

    @property
    def was_deflated(self) -> bool:
        """Whether it has been compressed, for whomever."""
        return bool(self._deflated)

    def is_deflated(self, compressor: Compressor) -> bool:
        """Whether it has been compressed as this compressor does it."""
        return compressor.method in self._deflated

    def deflated(self, compressor: Compressor) -> bytes:
        """The whole frame, as a server sends it compressed by such a compressor, whose context is given up."""
        method = compressor.method
        frame = self._deflated.get(method)
        if frame is None:
            compressor.reset()
            payload = compressor.compress(payload_in(self.frame))
            frame = self._deflated[method] = encode_frame(self.frame[0] | _RSV1, payload, None)
        else:
            compressor.taken += self.size
            compressor.given += len(frame) - _header_size(frame)
        compressor.reset()
        return frame


def prepared(message: Sendable | PreparedMessage, text: bool | None) -> PreparedMessage:
    """The message, prepared where it is not yet; raises as `PreparedMessage` does."""
    if not isinstance(message, PreparedMessage):
        return PreparedMessage(message, text=text)
    check_undecided(text)
    return message


def check_undecided(text: bool | None) -> None:
    """Raise ValueError where somebody says once more what a prepared message is."""
    if text is not None:
        raise ValueError("a prepared message is text or binary already: text= is an argument of PreparedMessage")


def payload_in(frame: bytes) -> bytes:
    """The payload of an unmasked frame (RFC 6455 section 5.2)."""
    return frame[_header_size(frame) :]


def _header_size(frame: bytes) -> int:
    length = frame[1]
    return 2 if length < 126 else 4 if length == 126 else 10


def payload_of(message: object) -> bytes | None:
    """A message's bytes; None for an iterable, and for what is prepared. Raises TypeError, or UnicodeEncodeError."""
    if type(message) is bytes:
        return message
    if isinstance(message, str):
        return message.encode()
    if isinstance(message, PreparedMessage):
        return None
    try:
        return memoryview(message).tobytes()  # type: ignore[arg-type]
    except TypeError:
        if isinstance(message, dict) or not isinstance(message, Iterable):
            shown = repr(message)[:80]
            raise TypeError(f"a message is text, a buffer or an iterable of these, not {shown}") from None
        return None
