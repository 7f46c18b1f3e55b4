"""What can go wrong, sorted by whose fault it is.

::

    WebSocketError
     |- ConnectionClosed            the connection has ended
     |   |- ConnectionClosedOK      both sides closed it with 1000 or 1001
     |   |- ConnectionClosedError   anything else
     |- HandshakeError              the connection was never opened
     |   |- InvalidURL
     |   |- InvalidStatus           the server answered something other than 101
     |   |- InvalidHeader
     |   |- ProxyError
     |- ProtocolError               the peer broke the protocol
     |- ConcurrencyError            the caller used a connection from several greenlets or threads as cannot work
     |- InvalidState                the caller asked for something this state does not allow
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .frames import CloseFrame
    from .http11 import Response


class Violation(Enum):
    """Every way in which a peer can break the protocol of an open connection.

    The name is stable. ``close_code`` is the code with which the connection is failed (RFC 6455 section 7.4.1) and
    ``text`` the reason that is sent with it.
    """

    EXPECTED_FIN = (1002, "a control frame is fragmented")
    EXPECTED_MASK = (1002, "a client's frame is not masked")
    UNEXPECTED_MASK = (1002, "a server's frame is masked")
    UNEXPECTED_RSV_1 = (1002, "RSV1 is set")
    UNEXPECTED_RSV_2_3 = (1002, "RSV2 or RSV3 is set")
    INVALID_OPCODE = (1002, "the opcode is reserved")
    UNEXPECTED_CONTINUATION = (1002, "a continuation frame continues nothing")
    EXPECTED_CONTINUATION = (1002, "a message begins inside another one")
    INVALID_CONTROL_PAYLOAD_LENGTH = (1002, "a control frame's payload is longer than 125 bytes")
    INVALID_PAYLOAD_LENGTH = (1002, "the payload length is 2**63 or more")
    NON_MINIMAL_PAYLOAD_LENGTH = (1002, "the payload length is not in its shortest form")
    INVALID_CLOSE_PAYLOAD_LENGTH = (1002, "a close frame's payload is one byte long")
    INVALID_CLOSE_CODE = (1002, "the close code is not allowed")
    INVALID_CLOSE_REASON = (1007, "the close reason is not UTF-8")
    INVALID_UTF8 = (1007, "a text message is not UTF-8")
    INVALID_DEFLATE_DATA = (1007, "a compressed message cannot be inflated")
    MESSAGE_TOO_BIG = (1009, "a message is longer than max_size")
    TOO_MANY_FRAGMENTS = (1008, "a message has more fragments than max_fragments")
    FRAGMENT_TOO_BIG = (1009, "a fragment is longer than max_fragment_size")

    def __init__(self, close_code: int, text: str) -> None:
        self.close_code = close_code
        self.text = text


class WebSocketError(Exception):
    """The base of every error that this library defines."""


class ConnectionClosed(WebSocketError):
    """The connection has ended, so nothing more can be sent or received.

    Attributes:
        rcvd: the close frame that the peer sent, or None.
        sent: the close frame that was sent to the peer, or None.
        code: the close code of RFC 6455 section 7.1.5: ``rcvd.code``, or 1006 when no close frame was received.
        reason: ``rcvd.reason``, or the empty string.
        rcvd_then_sent: True where the peer closed first, False where this side did; None where not both sent a close
            frame.

    The cause (``__cause__``) of a connection that ended with an error tells more: a `ProtocolError` or an OSError.
    """

    def __init__(
        self, rcvd: CloseFrame | None, sent: CloseFrame | None, why: str = "", rcvd_then_sent: bool | None = None
    ) -> None:
        self.rcvd = rcvd
        self.sent = sent
        self.why = why
        self.rcvd_then_sent = rcvd_then_sent
        super().__init__(rcvd, sent, why, rcvd_then_sent)

    @property
    def code(self) -> int:
        return 1006 if self.rcvd is None else self.rcvd.code

    @property
    def reason(self) -> str:
        return "" if self.rcvd is None else self.rcvd.reason

    def __str__(self) -> str:
        told = [f"received {self.rcvd}" if self.rcvd else "no close frame received"]
        told.append(f"sent {self.sent}" if self.sent else "no close frame sent")
        if self.why:
            told.append(self.why)
        return "; ".join(told)


class ConnectionClosedOK(ConnectionClosed):
    """Both sides closed the connection, each with 1000, 1001 or no code at all."""


class ConnectionClosedError(ConnectionClosed):
    """The connection ended without a closing handshake, or with a code that tells of an error."""


class HandshakeError(WebSocketError):
    """The opening handshake failed.

    Attributes:
        response: on a server the answer that refuses the request; on a client the answer that was received, if any.
    """

    def __init__(self, message: str, response: Response | None = None) -> None:
        super().__init__(message, response)
        self.response = response
        self._message = message

    def __str__(self) -> str:
        return self._message


class InvalidURL(HandshakeError):
    """The URL is not one that `connect` can use (RFC 6455 section 3)."""


class InvalidStatus(HandshakeError):
    """The server answered the opening handshake with a status other than 101.

    ``response`` has the status, the headers and the first part of the body.
    """

    response: Response

    def __init__(self, response: Response) -> None:
        super().__init__(f"the server answered {response.status} {response.reason}".rstrip(), response)
        self.args = (response,)  # copy and pickle make an error anew of its arguments


class InvalidHeader(HandshakeError):
    """A header of the opening handshake is missing or has a value that RFC 6455 section 4 does not allow.

    Attributes:
        name: the header's name.
        value: its value, or None when it is missing.
    """

    def __init__(self, name: str, value: str | None, why: str = "", response: Response | None = None) -> None:
        self.name = name
        self.value = value
        if value is None:
            message = f"the {name} header is missing"
        else:
            shown = value if len(value) <= 100 else value[:97] + "..."
            message = f"the {name} header is not valid: {shown!r}"
        super().__init__(f"{message} ({why})" if why else message, response)
        self.args = (name, value, why, response)


class ProxyError(HandshakeError):
    """A proxy cannot be reached, refuses, or broke its own protocol.

    Attributes:
        response: the answer of an HTTP proxy, with the first part of its body, if there was one.
        reply: the code with which a SOCKS proxy refused, or None; the text of the error has it in words.
        proxy: the proxy's URL without user name and password.
        step: what was being done.
    """

    def __init__(
        self,
        message: str,
        response: Response | None = None,
        reply: int | None = None,
        proxy: str = "",
        step: str = "",
    ) -> None:
        super().__init__(message, response)
        self.args = (message, response, reply, proxy, step)
        self.reply = reply
        self.proxy = proxy
        self.step = step


class ProtocolError(WebSocketError):
    """The peer broke the protocol.

    Attributes:
        violation: the rule that was broken; ``violation.close_code`` is the code the connection is failed with.
    """

    def __init__(self, violation: Violation, detail: str = "") -> None:
        self.violation = violation
        self.detail = detail
        super().__init__(violation, detail)

    def __str__(self) -> str:
        shown = f"{self.violation.text} ({self.violation.name})"
        return f"{shown}: {self.detail}" if self.detail else shown


class ConcurrencyError(WebSocketError):
    """Two greenlets received from one connection at once, or a message was received while another is streamed; or a
    thread used the connection of another one."""


class InvalidState(WebSocketError):
    """The call is not possible in the connection's present state."""
