"""URLs of WebSocket servers (RFC 6455 section 3) and of proxies.

They are split by hand: the standard library's functions silently drop line ends, and differ from version to version.
No error message repeats a URL, which may have a password in it.
"""

from __future__ import annotations

import ipaddress
import string
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from .exceptions import InvalidURL
from .headers import CONTROLS

_SECURE = {"ws": False, "http": False, "wss": True, "https": True}
_SECURE_UNIX = {"ws+unix": False, "wss+unix": True}
_PROXY_PORTS = {"http": 80, "https": 443, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080}

_ALPHANUMERIC = frozenset(string.ascii_letters + string.digits)
_HEX_DIGITS = frozenset(string.hexdigits)
_UNRESERVED = "-._~"
_SUB_DELIMITERS = "!$&'()*+,;="
# RFC 3986 sections 3.3 and 3.4: pchar, "/" and "?", besides letters, digits and what is percent-encoded already.
_IN_TARGET = _UNRESERVED + _SUB_DELIMITERS + ":@/?%"
_IN_USERINFO = _ALPHANUMERIC | frozenset(_UNRESERVED + _SUB_DELIMITERS + ":%")
_IN_HOST = _ALPHANUMERIC | frozenset("-._")
_IN_ZONE = _ALPHANUMERIC | frozenset(_UNRESERVED)
_ASCII = "".join(map(chr, range(0x80)))
_FORBIDDEN = CONTROLS | frozenset(map(chr, range(0x80, 0xA0))) | {" "}
# IDNA 2003, which the standard library has, makes another host of these than IDNA 2008 does (RFC 5894 section 7.2).
_DEVIATIONS = frozenset("\xdf\u03c2\u200c\u200d")
_MAX_HOST = 253
_MAX_LABEL = 63
_ONLY_AUTHORITY = (
    "a proxy URL has neither a path nor a query nor a fragment; "
    "the characters / ? # in a user name or a password are percent-encoded"
)


@dataclass(frozen=True)
class WebSocketURL:
    """Where a WebSocket server is and what to ask it for.

    Attributes:
        secure: whether TLS is used.
        host: in lower case; an international name as punycode, an IPv6 address without brackets.
        port: 1 to 65535.
        target: the resource name of RFC 6455 section 3: the path and the query, percent-encoded.
        username: None where the URL has none.
        password: None where the URL has none.
        unix_path: the path of a unix socket, or None; the host is then "localhost".
    """

    secure: bool
    host: str
    port: int
    target: str = "/"
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    unix_path: str | None = None

    @property
    def scheme(self) -> str:
        """The URL's scheme, "ws" or "wss"."""
        return "wss" if self.secure else "ws"

    @property
    def host_header(self) -> str:
        """The value of the Host header (RFC 6455 section 4.1, item 4): the port only where it is not the default."""
        host = bracketed(self.host.partition("%")[0])  # RFC 6874 section 4: a zone means nothing to others.
        return host if self.port == _default_port(self.secure) else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """What two URLs must share for credentials to go to both: scheme, host (or unix socket) and port."""
        if self.unix_path is not None:
            return f"{self.scheme}+unix", self.unix_path, 0
        return self.scheme, self.host, self.port

    def __str__(self) -> str:
        if self.unix_path is not None:
            return f"{self.scheme}+unix:{quote(self.unix_path)}:{self.target}"
        return f"{self.scheme}://{self.host_header}{self.target}"


@dataclass(frozen=True)
class ProxyURL:
    """Where a proxy is.

    Attributes:
        scheme: "http", "https", "socks4", "socks4a", "socks5" or "socks5h".
        host: in lower case; an international name as punycode, an IPv6 address without brackets.
        port: 1 to 65535; by default 80 for http, 443 for https and 1080 for SOCKS.
        username: None where the URL has none.
        password: None where the URL has none.
    """

    scheme: str
    host: str
    port: int
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{bracketed(self.host)}:{self.port}"


def parse_url(url: str) -> WebSocketURL:
    """Read a ``ws:``, ``wss:``, ``http:``, ``https:``, ``ws+unix:`` or ``wss+unix:`` URL.

    A unix socket's URL is ``ws+unix:/path/of/the/socket:/target``; the target may be left out, and characters such as
    a colon in the socket's path are percent-encoded. Characters that may not stand in a path or a query are
    percent-encoded (RFC 3987 section 3.1).

    Raises InvalidURL for control characters and spaces, a fragment, another scheme, a missing or malformed host, port
    or user name; TypeError for what is not a str.
    """
    if not isinstance(url, str):
        raise TypeError(f"a URL is a str, not {type(url).__name__}")
    scheme, rest = _split_scheme(url)
    if scheme in _SECURE_UNIX:
        return _parse_unix(_SECURE_UNIX[scheme], rest)
    if scheme not in _SECURE:
        raise InvalidURL("the URL's scheme is not ws, wss, http, https, ws+unix or wss+unix")
    secure = _SECURE[scheme]
    authority, target = _split_authority(rest)
    username, password, host, port = _parse_authority(authority, _default_port(secure))
    if username is not None and ":" in username:
        raise InvalidURL("the URL's user name has a colon, which Basic credentials cannot express (RFC 7617)")
    return WebSocketURL(secure, host, port, _encode_target(target), username, password)


def join(base: WebSocketURL, location: str) -> WebSocketURL:
    """Where the Location header of a redirect leads from ``base`` (RFC 7231 section 7.1.2).

    The location may be relative (RFC 3986 section 5.2) or a URL as for `parse_url`, but not that of a unix socket: no
    server may choose one of ours. Its fragment is dropped. The credentials of ``base`` are kept as long as the origin
    stays the same and the location has none. Raises InvalidURL. Whether to follow, also from wss to ws, is for the
    caller to decide.
    """
    reference = _encode_location(location).partition("#")[0]
    _check_characters(reference)
    if _has_scheme(reference):
        url = parse_url(reference)
    elif reference.startswith("//"):
        url = parse_url(f"{base.scheme}:{reference}")
    else:
        return replace(base, target=_encode_target(_resolve(base.target, reference)))
    if url.unix_path is not None:
        raise InvalidURL("a redirect leads to a unix socket")
    if url.username is None and url.origin == base.origin:
        return replace(url, username=base.username, password=base.password)
    return url


def parse_proxy_url(url: str) -> ProxyURL:
    """Read a proxy's URL; ``socks:`` stands for ``socks5h:``, and a URL without a scheme for one with ``http:``.

    Raises InvalidURL also where there is a path, a query or a fragment; TypeError for what is not a str.
    """
    if not isinstance(url, str):
        raise TypeError(f"a URL is a str, not {type(url).__name__}")
    if "#" in url:
        raise InvalidURL(_ONLY_AUTHORITY)
    scheme, rest = _split_scheme(url if "://" in url else f"http://{url}")
    scheme = "socks5h" if scheme == "socks" else scheme
    if scheme not in _PROXY_PORTS:
        raise InvalidURL("the proxy URL's scheme is not http, https, socks4, socks4a, socks5, socks5h or socks")
    authority, target = _split_authority(rest)
    if target not in ("", "/"):
        raise InvalidURL(_ONLY_AUTHORITY)
    username, password, host, port = _parse_authority(authority, _PROXY_PORTS[scheme])
    return ProxyURL(scheme, host, port, username, password)


def parse_host(host: str) -> str:
    """A host as `WebSocketURL` has it, of one that is written without brackets; raises InvalidURL or TypeError."""
    if not isinstance(host, str):
        raise TypeError(f"a host is a str, not {type(host).__name__}")
    try:
        return _parse_ipv6(host.replace("%", "%25", 1)) if ":" in host else _parse_host(host)
    except InvalidURL:
        raise InvalidURL("the host is not a name or an address, without brackets and port") from None


def bracketed(host: str) -> str:
    """A host as it stands in front of a colon and a port (RFC 3986 section 3.2.2)."""
    return f"[{host}]" if ":" in host else host


class _Authority(NamedTuple):
    username: str | None
    password: str | None
    host: str
    port: int


def _split_scheme(url: str) -> tuple[str, str]:
    """The scheme in lower case and what follows its colon, of a URL whose characters are checked."""
    _check_characters(url)
    if "#" in url:
        raise InvalidURL("the URL has a fragment, which means nothing to a WebSocket server (RFC 6455 section 3)")
    scheme, _, rest = url.partition(":")
    return scheme.lower(), rest


def _check_characters(url: str) -> None:
    if not _FORBIDDEN.isdisjoint(url):
        raise InvalidURL("the URL has a control character or a space")


def _split_authority(rest: str) -> tuple[str, str]:
    """The authority and what follows it (RFC 3986 section 3.2)."""
    if not rest.startswith("//"):
        raise InvalidURL("the URL's scheme is not followed by ://")
    authority = rest[2:].partition("?")[0].partition("/")[0]
    return authority, rest[2 + len(authority) :]


def _parse_authority(authority: str, default_port: int) -> _Authority:
    userinfo, at, host_and_port = authority.rpartition("@")
    username, password = _parse_userinfo(userinfo) if at else (None, None)
    if host_and_port.startswith("["):
        address, bracket, port = host_and_port[1:].partition("]")
        if not bracket or port[:1] not in ("", ":"):
            raise InvalidURL("the URL's IPv6 address is not in brackets")
        host, port = _parse_ipv6(address), port[1:]
    else:
        name, _, port = host_and_port.partition(":")
        host = _parse_host(name)
    return _Authority(username, password, host, _parse_port(port) if port else default_port)


def _parse_userinfo(userinfo: str) -> tuple[str, str | None]:
    """RFC 3986 section 3.2.1; what is not ASCII may stand as it is."""
    if not userinfo or not all(char in _IN_USERINFO or char > "\x7f" for char in userinfo):
        raise InvalidURL("the URL's user name or password is empty or has a character that must be percent-encoded")
    username, colon, password = userinfo.partition(":")
    return _decode(username), _decode(password) if colon else None


def _parse_port(port: str) -> int:
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise InvalidURL("the URL's port is not a number from 1 to 65535")
    return int(port)


def _parse_ipv6(address: str) -> str:
    """An IPv6 address in its shortest form; its zone follows ``%25`` in the URL (RFC 6874) and ``%`` in the result."""
    address, mark, zone = address.partition("%25")
    if "%" in address or bool(mark) != bool(zone) or not _IN_ZONE.issuperset(zone):
        raise InvalidURL("the zone of the URL's IPv6 address is not valid")
    try:
        shortest = ipaddress.IPv6Address(address).compressed
    except ValueError:
        raise InvalidURL("the URL's IPv6 address is not valid") from None
    return f"{shortest}%{zone}" if mark else shortest


def _parse_host(host: str) -> str:
    """A host name or an IPv4 address (RFC 3986 section 3.2.2)."""
    if not host:
        raise InvalidURL("the URL has no host")
    if len(host) > _MAX_HOST + 1:  # with a dot at the end
        raise InvalidURL("the URL's host is too long")
    if not host.isascii():
        host = _to_punycode(host)
    labels = host.removesuffix(".").split(".")
    if not _IN_HOST.issuperset(host) or not all(1 <= len(label) <= _MAX_LABEL for label in labels):
        raise InvalidURL("the URL's host is not valid")
    return host.lower()


def _to_punycode(host: str) -> str:
    """RFC 3490."""
    if not _DEVIATIONS.isdisjoint(host):
        raise InvalidURL("the URL's host has a character whose meaning changed in IDNA 2008; write it as punycode")
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        raise InvalidURL("the URL's host is not a valid international name") from None


def _parse_unix(secure: bool, rest: str) -> WebSocketURL:
    path, _, target = rest.partition(":")
    if path.startswith("//"):
        authority, path = _split_authority(path)
        if authority:
            raise InvalidURL("the URL of a unix socket has no host")
    if not path or "?" in path:
        raise InvalidURL("the URL of a unix socket is not its path, a colon and a target")
    if target and target[0] not in "/?":
        raise InvalidURL("the target in the URL of a unix socket does not begin with a slash")
    return WebSocketURL(secure, "localhost", _default_port(secure), _encode_target(target), unix_path=_decode(path))


def _encode_target(target: str) -> str:
    """The resource name (RFC 6455 section 3): never without a path, and without an empty query."""
    try:
        encoded = quote(target, safe=_IN_TARGET)
    except UnicodeEncodeError:
        raise InvalidURL("the URL has a character that cannot be encoded") from None
    path, _, query = encoded.partition("?")
    return f"{path or '/'}?{query}" if query else path or "/"


def _decode(text: str) -> str:
    """The text that percent-encoded UTF-8 stands for (RFC 3986 section 2.1)."""
    _, *escaped = text.split("%")
    if not all(len(part) >= 2 and _HEX_DIGITS.issuperset(part[:2]) for part in escaped):
        raise InvalidURL("a percent sign in the URL is not followed by two hexadecimal digits")
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeError:
        raise InvalidURL("the URL has bytes that are not UTF-8") from None
    if not CONTROLS.isdisjoint(decoded):
        raise InvalidURL("the URL has a percent-encoded control character")
    return decoded


def _encode_location(location: str) -> str:
    """Percent-encode the bytes of a Location header that are not ASCII; header values are Latin-1."""
    try:
        return quote(location.encode("latin-1"), safe=_ASCII)
    except UnicodeEncodeError:
        raise InvalidURL("the location is not a header's value") from None


def _has_scheme(reference: str) -> bool:
    """RFC 3986 sections 3.1 and 4.2."""
    scheme, colon, _ = reference.partition(":")
    return colon == ":" and scheme[:1].isalpha() and all(char.isalnum() or char in "+-." for char in scheme)


def _resolve(base: str, reference: str) -> str:
    """The target that a relative reference stands for (RFC 3986 section 5.2.2)."""
    base_path, _, base_query = base.partition("?")
    path, mark, query = reference.partition("?")
    if not path:
        return f"{base_path}?{query if mark else base_query}"
    if not path.startswith("/"):
        path = base_path[: base_path.rfind("/") + 1] + path
    return f"{_remove_dot_segments(path)}?{query}"


def _remove_dot_segments(path: str) -> str:
    """RFC 3986 section 5.2.4, for a path that begins with a slash."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _default_port(secure: bool) -> int:
    return 443 if secure else 80
