"""The PROXY protocol: headers of both versions, byte for byte, however they are split."""

from __future__ import annotations

import pytest
from tools.wire import however_split, splits

from geventws.exceptions import HandshakeError
from geventws.proxy_protocol import InvalidProxyHeader, ProxiedRequestParser, ProxyHeader, ProxyHeaderParser

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
FROM_1 = b"\xc0\x00\x02\x01"  # 192.0.2.1
TO_2 = b"\xc6\x33\x64\x02"  # 198.51.100.2
PORTS = b"\xdc\x04\x01\xbb"  # 56324, 443
V6_1 = b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01"
V6_2 = b"\x20\x01\x0d\xb8" + bytes(11) + b"\x02"
TCP4 = SIGNATURE + b"\x21\x11\x00\x0c" + FROM_1 + TO_2 + PORTS
CLIENT, SITE = ("192.0.2.1", 56324), ("198.51.100.2", 443)
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
REQUEST = b"GET /chat HTTP/1.1\r\nHost: localhost\r\n\r\n"


def parsed(pieces: list[bytes]) -> tuple[ProxyHeader | None, bytes] | str:
    """The header and what follows it, or the fault."""
    parser = ProxyHeaderParser()
    try:
        for number, piece in enumerate(pieces):
            header = parser.feed(piece)
            if header is not None:
                return header, parser.rest + b"".join(pieces[number + 1 :])
    except InvalidProxyHeader as error:
        return str(error)
    return None, b""


@pytest.mark.parametrize(
    "data, header",
    [
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", ProxyHeader(CLIENT, SITE)),
        (b"PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n", ProxyHeader(("255.255.255.255", 65535), ("0.0.0.0", 0))),
        (
            b"PROXY TCP6 2001:db8::1 2001:DB8:0:0:0:0:0:2 56324 443\r\n",
            ProxyHeader(("2001:db8::1", 56324), ("2001:db8::2", 443)),
        ),
        (
            b"PROXY TCP6 " + b" ".join([b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] * 2) + b" 65535 65535\r\n",
            ProxyHeader(*[("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535)] * 2),
        ),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c633:6402 56324 443\r\n", ProxyHeader(CLIENT, SITE)),
        (b"PROXY UNKNOWN\r\n", ProxyHeader()),
        (b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n", ProxyHeader()),
        (TCP4, ProxyHeader(CLIENT, SITE)),
        (
            SIGNATURE + b"\x21\x21\x00\x24" + V6_1 + V6_2 + PORTS,
            ProxyHeader(("2001:db8::1", 56324), ("2001:db8::2", 443)),
        ),
        (
            SIGNATURE + b"\x21\x21\x00\x24" + bytes(10) + b"\xff\xff" + FROM_1 + bytes(10) + b"\xff\xff" + TO_2 + PORTS,
            ProxyHeader(CLIENT, SITE),
        ),
        (
            SIGNATURE + b"\x21\x31\x00\xd8" + b"/run/client".ljust(108, b"\0") + b"/" + b"x" * 107,
            ProxyHeader("/run/client", "/" + "x" * 107),
        ),
        (SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216), ProxyHeader("", "")),
        (SIGNATURE + b"\x21\x31\x00\xd8" + b"\0name".ljust(108, b"\0") + bytes(108), ProxyHeader(b"\0name", "")),
        (LOCAL, ProxyHeader()),
        (SIGNATURE + b"\x20\xff\x00\x03\x01\x02\x03", ProxyHeader()),
        (SIGNATURE + b"\x21\x00\x00\x00", ProxyHeader()),
        (SIGNATURE + b"\x21\x10\x00\x0c" + FROM_1 + TO_2 + PORTS, ProxyHeader()),
        (SIGNATURE + b"\x21\x01\x00\x05\x00\x00\x00\x00\x00", ProxyHeader()),
        (
            SIGNATURE + b"\x21\x11\x00\x1b" + FROM_1 + TO_2 + PORTS + b"\x02\x00\x06a.test\x04\x00\x00\xea\x00\x00",
            ProxyHeader(CLIENT, SITE, ((2, b"a.test"), (4, b""), (0xEA, b""))),
        ),
        (
            SIGNATURE + b"\x21\x11\x10\x00" + FROM_1 + TO_2 + PORTS + b"\x04\x0f\xf1" + bytes(4081),
            ProxyHeader(CLIENT, SITE, ((4, bytes(4081)),)),
        ),
    ],
)
def test_header_is_read_and_what_follows_is_left(data: bytes, header: ProxyHeader) -> None:
    assert however_split(parsed, data + b"\x16\x03\x01") == (header, b"\x16\x03\x01")
    assert parsed([data]) == (header, b"")
    for size in range(len(data)):
        assert ProxyHeaderParser().feed(data[:size]) is None


@pytest.mark.parametrize(
    "data, fault",
    [
        (REQUEST, "signature"),
        (b"\x16\x03\x01\x02\x00", "signature"),
        (b"PROXX", "signature"),
        (b"proxy TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", "signature"),
        (b"\r\n\r\n\x00\r\nQUIT\r", "signature"),
        (b"PROXY UNKNOWN\n", "CR LF"),
        (b"PROXY UNKNOWN" + b" " * 94, "107"),
        (b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n", "107"),
        (b"PROXY \r\n", "protocol"),
        (b"PROXY UDP4 192.0.2.1 198.51.100.2 56324 443\r\n", "protocol"),
        (b"PROXY  TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", "protocol"),
        (b"PROXY TCP4\r\n", "two addresses"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n", "two addresses"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 \r\n", "two addresses"),
        (b"PROXY TCP4 192.0.2.1  198.51.100.2 56324 443\r\n", "two addresses"),
        (b"PROXY TCP4 2001:db8::1 2001:db8::2 56324 443\r\n", "TCP4"),
        (b"PROXY TCP4 192.0.2.01 198.51.100.2 56324 443\r\n", "TCP4"),
        (b"PROXY TCP4 192.0.2.1 198.51.100 56324 443\r\n", "TCP4"),
        (b"PROXY TCP6 192.0.2.1 198.51.100.2 56324 443\r\n", "TCP6"),
        (b"PROXY TCP6 fe80::1%eth0 fe80::2 56324 443\r\n", "TCP6"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n", "ports"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 -1\r\n", "ports"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 056 443\r\n", "ports"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 \xb2\r\n", "ports"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443443443443\r\n", "ports"),
        (SIGNATURE + b"\x11\x11\x00\x0c", "0x11"),
        (SIGNATURE + b"\x22\x11\x00\x0c", "0x22"),
        (SIGNATURE + b"\x21\x11\x10\x01", "4096"),
        (SIGNATURE + b"\x20\x00\xff\xff", "4096"),
        (SIGNATURE + b"\x21\x41\x00\x0c" + bytes(12), "0x41"),
        (SIGNATURE + b"\x21\x12\x00\x0c" + bytes(12), "0x12"),
        (SIGNATURE + b"\x21\x13\x00\x0c" + bytes(12), "0x13"),
        (SIGNATURE + b"\x21\x11\x00\x0b" + bytes(11), "addresses are cut off"),
        (SIGNATURE + b"\x21\x21\x00\x23" + bytes(35), "addresses are cut off"),
        (SIGNATURE + b"\x21\x31\x00\xd7" + bytes(215), "addresses are cut off"),
        (SIGNATURE + b"\x21\x11\x00\x0e" + bytes(12) + b"\x04\x00", "follows its addresses"),
        (SIGNATURE + b"\x21\x11\x00\x10" + bytes(12) + b"\x04\x00\x02\x00", "follows its addresses"),
    ],
)
def test_what_is_no_valid_header_is_refused_without_an_answer(data: bytes, fault: str) -> None:
    with pytest.raises(InvalidProxyHeader, match=fault) as refused:
        ProxyHeaderParser().feed(data)
    assert isinstance(refused.value, HandshakeError)
    assert refused.value.response is None
    assert however_split(parsed, data) == str(refused.value)


@pytest.mark.parametrize("header", [TCP4, LOCAL, b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"])
def test_request_behind_a_header_has_it(header: bytes) -> None:
    for pieces in splits(header + REQUEST + b"frames", rounds=20):
        parser = ProxiedRequestParser()
        while (request := parser.feed(pieces.pop(0))) is None:
            pass
        assert request.path == "/chat"
        assert request.proxy_header == parsed([header])[0]
        assert parser.rest + b"".join(pieces) == b"frames"


@pytest.mark.parametrize("data, fault", [(REQUEST, "PROXY header"), (TCP4 + b"hello\r\n\r\n", "request line")])
def test_faults_of_the_header_and_of_the_request_are_told_apart(data: bytes, fault: str) -> None:
    with pytest.raises(HandshakeError, match=fault) as refused:
        ProxiedRequestParser().feed(data)
    assert isinstance(refused.value, InvalidProxyHeader) == (fault == "PROXY header")
