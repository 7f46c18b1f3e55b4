"""The PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt): a proxy tells for whom it has connected.

The header stands in front of all that the client sends, also of TLS. It is parsed without I/O, split in any way.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from struct import unpack, unpack_from
from typing import Any, NamedTuple, NoReturn

from .exceptions import HandshakeError
from .frames import Buffer
from .http11 import Request, RequestParser

MAX_SIZE = 4096
"""How many bytes may follow the fixed part of a header of version 2; the addresses take 216 at most."""

_SIGNATURE_1 = b"PROXY "
_SIGNATURE_2 = b"\r\n\r\n\x00\r\nQUIT\n"
_MAX_LINE = 107  # section 2.1
_FIXED_PART = 16
_LOCAL, _PROXY = 0x20, 0x21
_UNSPEC, _INET, _INET6, _UNIX = range(4)
_STREAM = 1
_PATH_SIZE = 108


class InvalidProxyHeader(HandshakeError):
    """A connection does not begin with a valid PROXY header. Nothing is answered: there may be TLS behind it."""


class ProxyHeader(NamedTuple):
    """What a proxy tells of the connection that it passes on.

    Attributes:
        source: the address of the client: host and port, or the path of a unix socket. None where the proxy speaks for
            itself, as in a health check, or does not know.
        destination: the address that the client has connected to, likewise.
        tlvs: what else it tells (section 2.2), as pairs of a type and bytes, such as 2 and the name that TLS was asked
            for. Checksums (type 3) are not verified.
    """

    source: Any = None
    destination: Any = None
    tlvs: tuple[tuple[int, bytes], ...] = ()


class ProxyHeaderParser:
    """Reads a PROXY header of either version.

    Attributes:
        rest: the bytes behind the header, once `feed` has returned it.
    """

    def __init__(self) -> None:
        self.rest = b""
        self._buffer = b""

    def feed(self, data: Buffer) -> ProxyHeader | None:
        """Take the next bytes of the stream.

        Returns the header once it is complete; until then returns None. Raises InvalidProxyHeader.
        """
        self._buffer += data
        if _SIGNATURE_2.startswith(self._buffer[: len(_SIGNATURE_2)]):
            return self._take_binary()
        if not _SIGNATURE_1.startswith(self._buffer[: len(_SIGNATURE_1)]):
            _fail("it does not begin with a signature")
        return self._take_line()

    def _take_line(self) -> ProxyHeader | None:
        """Version 1, section 2.1."""
        end = self._buffer.find(b"\n", 0, _MAX_LINE) + 1
        if end:
            line, self.rest = self._buffer[:end], self._buffer[end:]
            return _parse_line(line.decode("latin-1"))
        if len(self._buffer) >= _MAX_LINE:
            _fail(f"its line is longer than {_MAX_LINE} bytes")
        return None

    def _take_binary(self) -> ProxyHeader | None:
        """Version 2, section 2.2."""
        if len(self._buffer) < _FIXED_PART:
            return None
        command, kind, size = unpack_from("!BBH", self._buffer, len(_SIGNATURE_2))
        if size > MAX_SIZE:
            _fail(f"it is longer than {MAX_SIZE} bytes")
        if command not in (_LOCAL, _PROXY):
            _fail(f"its version and command are 0x{command:02x}")
        end = _FIXED_PART + size
        if len(self._buffer) < end:
            return None
        self.rest = self._buffer[end:]
        # What comes with LOCAL is ignored, the family included.
        return ProxyHeader() if command == _LOCAL else _parse_block(kind, self._buffer[_FIXED_PART:end])


class ProxiedRequestParser:
    """As `http11.RequestParser`, for a request behind a PROXY header, which it finds as ``request.proxy_header``."""

    def __init__(self) -> None:
        self._header: ProxyHeader | None = None
        self._header_parser = ProxyHeaderParser()
        self._parser = RequestParser()

    @property
    def rest(self) -> bytes:
        return self._parser.rest

    def feed(self, data: Buffer) -> Request | None:
        """As `RequestParser.feed`; raises InvalidProxyHeader too."""
        if self._header is None:
            self._header = self._header_parser.feed(data)
            if self._header is None:
                return None
            data = self._header_parser.rest
        request = self._parser.feed(data)
        if request is not None:
            request.proxy_header = self._header
        return request


def _fail(text: str) -> NoReturn:
    raise InvalidProxyHeader(f"the PROXY header is not valid: {text}")


def _parse_line(line: str) -> ProxyHeader:
    _, protocol, *words = line.removesuffix("\r\n").split(" ")
    if not line.endswith("\r\n"):
        _fail("its line does not end with CR LF")
    if protocol == "UNKNOWN":
        return ProxyHeader()  # whatever follows
    if protocol not in ("TCP4", "TCP6"):
        _fail("its protocol is not TCP4, TCP6 or UNKNOWN")
    if len(words) != 4:
        _fail("its line does not have two addresses and two ports")
    address = IPv4Address if protocol == "TCP4" else IPv6Address
    try:
        source, destination = (_told(address(word)) for word in words[:2])
    except ValueError:
        _fail(f"its addresses are not those of {protocol}")
    return ProxyHeader((source, _parse_port(words[2])), (destination, _parse_port(words[3])))


def _told(address: IPv4Address | IPv6Address) -> str:
    """The address as text, one of IPv4 that is mapped into IPv6 as what it is; ValueError for one with a zone."""
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise ValueError
        address = address.ipv4_mapped or address
    return str(address)


def _parse_port(word: str) -> int:
    if not (word.isascii() and word.isdecimal() and len(word) <= 5) or str(port := int(word)) != word or port > 65535:
        _fail("its ports are not numbers up to 65535")
    return port


def _parse_block(kind: int, block: bytes) -> ProxyHeader:
    """What follows the fixed part: addresses of a family, and pairs of a type and a value."""
    family, protocol = divmod(kind, 16)
    if _UNSPEC in (family, protocol):
        return ProxyHeader()
    if family not in (_INET, _INET6, _UNIX) or protocol != _STREAM:
        _fail(f"its family and protocol are 0x{kind:02x}")
    size = {_INET: 12, _INET6: 36, _UNIX: 2 * _PATH_SIZE}[family]
    if len(block) < size:
        _fail("its addresses are cut off")
    addresses, tlvs = block[:size], _parse_tlvs(block[size:])
    if family == _UNIX:
        return ProxyHeader(_parse_path(addresses[:_PATH_SIZE]), _parse_path(addresses[_PATH_SIZE:]), tlvs)
    address, width = (IPv4Address, 4) if family == _INET else (IPv6Address, 16)
    source, destination, *ports = unpack(f"!{width}s{width}sHH", addresses)
    return ProxyHeader((_told(address(source)), ports[0]), (_told(address(destination)), ports[1]), tlvs)


def _parse_path(field: bytes) -> str | bytes:
    """A unix socket's address as Python has it: a path, or bytes for one in the abstract namespace of Linux."""
    if field.startswith(b"\0"):
        return field.rstrip(b"\0") or ""
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _parse_tlvs(data: bytes) -> tuple[tuple[int, bytes], ...]:
    tlvs = []
    while data:
        if len(data) < 3 or len(data) < 3 + (size := int.from_bytes(data[1:3], "big")):
            _fail("what follows its addresses is cut off")
        tlvs.append((data[0], data[3 : 3 + size]))
        data = data[3 + size :]
    return tuple(tlvs)
