"""What is fuzzed: each function takes any bytes, and raises nothing unless the library is wrong.

An error that the library documents is an answer like any other. What must hold besides stands in the asserts.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from exchange import Settings, outcome
from tools.twins import pure_twin

from geventws import compression, deflate, frames, handshake, headers, kernels, protocol
from geventws.body import BodyParser
from geventws.deflate import PerMessageDeflate
from geventws.exceptions import HandshakeError, InvalidHeader, ProtocolError, ProxyError
from geventws.frames import CloseFrame, FrameHeader, is_close_code
from geventws.handshake import ClientHandshake, ServerHandshake
from geventws.headers import format_extensions, parse_extensions
from geventws.http11 import MAX_HEAD_LINES, Request, RequestParser, Response, ResponseParser
from geventws.opening import Deadline
from geventws.proxy import HTTPConnectAgent
from geventws.socks import request_connection
from geventws.url import parse_proxy_url, parse_url

MODULES = {"frames": frames, "deflate": deflate, "compression": compression, "protocol": protocol}
TWINS = {name: pure_twin(name) for name in MODULES}
PURE_KERNELS = pure_twin("kernels")


def frame_headers(data: bytes) -> None:
    """A header is read once all of it is there, says what stands in it, and is the only way to write that."""
    buffer = bytearray(data)
    answers = [_read_header(buffer, end) for end in range(len(buffer) + 1)]
    told = [answer for answer in answers if answer is not None]
    # More bytes never change an answer.
    assert all(answer == told[0] for answer in told)
    assert not told or answers[-1] is not None
    if told and not isinstance(told[0], str):
        first, masked, key, length, size = told[0]
        sent_key = key.to_bytes(4, "little") if masked else None
        assert kernels.encode_header(first, length, sent_key) == data[:size]
        assert 2 <= size <= 14


def _read_header(buffer: bytearray, end: int) -> Any:
    header = FrameHeader()
    try:
        complete = header.read(buffer, 0, end)
    except ProtocolError as error:
        return error.violation.name
    return (header.first, header.masked, header.key, header.length, header.size) if complete else None


def messages(data: bytes) -> None:
    """A stream of frames, compressed or not, means the same however it arrives."""
    settings = Settings.read(data)
    whole, pieces = (outcome(MODULES, settings, data[3:], split=split) for split in (False, True))
    if settings.window_bits < 15 and whole.bad_deflate_data is not pieces.bad_deflate_data:
        return  # zlib finds a distance beyond the agreed window in its output where that is made in one piece
    assert whole.without_cuts(settings.deflate) == pieces.without_cuts(settings.deflate)


def inflated(data: bytes) -> None:
    """One compressed message, whose payload need not be framed: what any sender's deflate data can be."""
    settings = Settings.read(data)._replace(server=False, deflate=True)
    payload = data[3:]
    half = len(payload) // 2
    stream = kernels.encode_frame(0x41 if settings.control else 0x42, payload[:half], None)
    stream += kernels.encode_frame(0x80, payload[half:], None)
    messages(data[:3] + stream)


def twins(data: bytes) -> None:
    """The compiled modules and their plain twins agree on a stream, its pieces, and what they write."""
    settings = Settings.read(data)
    for split in (False, True):
        compiled = outcome(MODULES, settings, data[3:], split=split)
        assert compiled == outcome(TWINS, settings, data[3:], split=split)
    first, key, payload = data[0] if data else 0, data[1:5].ljust(4, b"\0"), data[5:]
    for module in (kernels, PURE_KERNELS):
        module.weight(payload)
    assert kernels.mask(payload, key) == PURE_KERNELS.mask(payload, key)
    for chosen in (key, None):
        frame = kernels.encode_frame(first, payload, chosen)
        assert frame == PURE_KERNELS.encode_frame(first, payload, chosen)
        header = FrameHeader()
        with suppress(ProtocolError):
            assert header.read(bytearray(frame), 0, len(frame))


def requests(data: bytes) -> None:
    """A request's head reads the same in any pieces, is bounded, and is answered or accepted."""
    request = _head(RequestParser, data)
    if not isinstance(request, Request):
        return
    assert len(request.headers.items()) <= MAX_HEAD_LINES
    again = RequestParser().feed(request.serialize())
    assert again is not None
    assert (again.method, again.target, again.headers) == (request.method, request.target, request.headers)
    assert request.path is not None
    assert request.query is not None
    rules = ServerHandshake(origins=["*.example.com", "null"], subprotocols=["chat", "v2"], deflate=PerMessageDeflate())
    try:
        rules.check(request)
    except HandshakeError as error:
        assert error.response is not None
        assert error.response.serialize().startswith(b"HTTP/1.1 4") or error.response.status == 505
    else:
        response, _ = rules.accept(request)
        assert response.serialize().startswith(b"HTTP/1.1 101 ")


def responses(data: bytes) -> None:
    """A response's head reads the same in any pieces; its body is bounded; the handshake takes or refuses it."""
    response = _head(ResponseParser, data)
    if not isinstance(response, Response):
        return
    client = ClientHandshake(parse_url("ws://example.com/"), subprotocols=["chat"], deflate=PerMessageDeflate())
    if response.status == 101 and data[-1:] == b"\n":
        response.headers["Sec-WebSocket-Accept"] = handshake.accept_key(client.request.headers["Sec-WebSocket-Key"])
    with suppress(HandshakeError):
        client.finish(response)
    whole, pieces = BodyParser(response, 100), BodyParser(response, 100)
    whole.feed(data)
    for start in range(len(data)):
        pieces.feed(data[start : start + 1])
    assert (whole.body, whole.done) == (pieces.body, pieces.done)
    assert len(whole.body) <= 100


def _head(parser: Callable[[], Any], data: bytes) -> Any:
    """What a parser makes of a head in one piece; the same comes of it byte by byte."""
    whole = _fed(parser(), [data])
    assert _fed(parser(), [data[start : start + 1] for start in range(len(data))]) == whole
    return whole[0]


def _fed(parser: Any, pieces: list[bytes]) -> tuple[Any, bytes]:
    """The head, or what is wrong with it; and what is behind it."""
    for number, piece in enumerate(pieces, 1):
        try:
            head = parser.feed(piece)
        except HandshakeError as error:
            return str(error), b""
        if head is not None:
            return head, parser.rest + b"".join(pieces[number:])
    return None, b""


def header_values(data: bytes) -> None:
    """The values of headers are parsed or refused with ValueError; extensions are written as they are read."""
    text = data.decode("latin-1")
    parsers = (headers.parse_token_list, headers.parse_upgrade, headers.parse_subprotocols)
    for parse in (*parsers, headers.parse_basic_credentials):
        with suppress(ValueError):
            parse(text)
    try:
        extensions = parse_extensions(text)
    except ValueError:
        return
    assert parse_extensions(format_extensions(extensions)) == extensions
    demanding = PerMessageDeflate(True, True, 9, 10)
    for settings in (PerMessageDeflate(), demanding, PerMessageDeflate(False, False)):
        accepted = settings.accept(extensions)
        if accepted is not None:
            answer, agreed = accepted
            assert 8 <= agreed.server_max_window_bits <= 15
            assert 8 <= agreed.client_max_window_bits <= 15
            assert parse_extensions(format_extensions([answer])) == [answer]
        with suppress(InvalidHeader):
            settings.confirm(extensions[0])


def proxy_replies(data: bytes) -> None:
    """Whatever a proxy answers, it is a tunnel or a ProxyError; not a byte behind the answer is read."""
    agent = HTTPConnectAgent("http://user:password@127.0.0.1:3128")
    stream = _Stream(data)
    agent._reach = lambda deadline: stream
    with suppress(ProxyError):
        agent._tunnel("example.com", 443, Deadline(None, "the proxy"))
        assert data[: stream.position].endswith(b"\r\n\r\n")
    for scheme in ("socks4", "socks4a", "socks5", "socks5h"):
        userinfo = "user@" if scheme.startswith("socks4") else "user:password@"
        stream = _Stream(data)
        with suppress(ProxyError):
            request_connection(stream, parse_proxy_url(f"{scheme}://{userinfo}127.0.0.1:1080"), "192.0.2.1", 443)
        assert stream.position <= 2 + 2 + 4 + 1 + 255 + 2


class _Stream(SimpleNamespace):
    """A non-blocking stream on which a proxy's whole answer is there already."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data=data, position=0)

    def recv(self, size: int) -> bytes:
        piece: bytes = self.data[self.position : self.position + size]
        self.position += len(piece)
        return piece

    def send(self, data: Any) -> int:
        return len(data)

    def close(self) -> None:
        pass


def close_payloads(data: bytes) -> None:
    """A close frame's payload is refused, or is what its code and reason are written as."""
    try:
        frame = CloseFrame.decode(data[:125])
    except ProtocolError as error:
        assert error.violation.close_code in (1002, 1007)
        return
    assert frame.encode() == data[:125]
    assert str(frame)
    if data:
        assert is_close_code(frame.code)
        assert CloseFrame.checked(frame.code, frame.reason) == frame


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        *(frame_headers, messages, inflated, twins),
        *(requests, responses, header_values, proxy_replies, close_payloads),
    )
}
