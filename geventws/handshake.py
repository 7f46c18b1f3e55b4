"""The opening handshake of both roles (RFC 6455 section 4), versions 13 and 8, without I/O.

The handshake yields an `Agreement`: all that the open connection needs to know of it. Version 8 (draft 10 of what
became RFC 6455) has the same frames and differs here in one name: browsers send Sec-WebSocket-Origin for Origin.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha1
from typing import TYPE_CHECKING

from . import headers as values
from .exceptions import HandshakeError, InvalidHeader, InvalidStatus
from .headers import Headers, HeadersLike
from .http11 import Request, Response, refusal
from .version import __version__

if TYPE_CHECKING:
    from .deflate import Parameters, PerMessageDeflate
    from .url import WebSocketURL

SelectSubprotocol = Callable[[list[str], Request], str | None]
Origins = str | Iterable[str | re.Pattern[str]]

VERSIONS = (13, 8)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_KEY_SIZE = 16
_KEY = re.compile("[A-Za-z0-9+/]{21}[AQgw]==")
"""16 bytes in base64 (RFC 6455 section 4.1, item 7), in the one spelling that decodes and encodes to itself."""
_SWITCHING = Headers.unchecked([("Upgrade", "websocket"), ("Connection", "Upgrade")])
"""What each acceptance has (RFC 6455 section 4.2.2, items 5.2 and 5.3)."""

# What the handshake itself settles, and what would announce a body. Callers may neither give nor change these.
_PROTECTED = (
    "Upgrade",
    "Connection",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Accept",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
    "Content-Length",
    "Transfer-Encoding",
)


@dataclass(frozen=True)
class Agreement:
    """What both sides settled in the opening handshake.

    Attributes:
        version: 13, or 8.
        subprotocol: the subprotocol in use, or None.
        deflate: the parameters of permessage-deflate (RFC 7692), or None where messages are not compressed.
    """

    version: int = 13
    subprotocol: str | None = None
    deflate: Parameters | None = None


# Few are different, and those that are equal can be the same.
_agreement = lru_cache(64)(Agreement)


def accept_key(key: str) -> str:
    """The Sec-WebSocket-Accept that answers a Sec-WebSocket-Key (RFC 6455 section 4.2.2, item 5.4)."""
    return b64encode(sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


def origin_header(version: int) -> str:
    """The name of the header that tells a page's origin."""
    return "Origin" if version == 13 else "Sec-WebSocket-Origin"


def protected_headers(headers: Headers) -> list[list[str]]:
    """The values of all headers that a user's hook must leave as they are; compare before and after."""
    return [headers.get_all(name) for name in _PROTECTED]


def checked_subprotocols(subprotocols: Iterable[str]) -> list[str]:
    """The caller's subprotocols; ValueError or TypeError unless they are distinct tokens (RFC 6455 section 4.1)."""
    if isinstance(subprotocols, str) or not isinstance(subprotocols, Iterable):
        raise TypeError(f"subprotocols is a list of names, not {subprotocols!r}")
    names = list(subprotocols)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"a subprotocol is a str, not {type(name).__name__}")
        if not values.is_token(name):
            raise ValueError(f"{name!r} is not a subprotocol: it must be a token (RFC 7230 section 3.2.6)")
    if len(set(names)) < len(names):
        raise ValueError("a subprotocol is listed twice")
    return names


class ClientHandshake:
    """One opening handshake in the client's role (RFC 6455 section 4.1).

    Args:
        url: where to.
        subprotocols: what to offer, the preferred one first.
        headers: further headers. Host, User-Agent, Origin and Authorization replace what would be sent otherwise.
        origin: the value of the Origin header (Sec-WebSocket-Origin in version 8).
        version: 13 or 8.
        deflate: the settings of permessage-deflate to offer; None offers no compression.
        auth: user and password for Basic authentication (RFC 7617); those in the URL are the default.

    Raises ValueError or TypeError where an argument cannot be sent.

    Attributes:
        request: the request; it may be edited until `serialize` is called.
    """

    def __init__(
        self,
        url: WebSocketURL,
        *,
        subprotocols: Iterable[str] = (),
        headers: HeadersLike = None,
        origin: str | None = None,
        version: int = 13,
        deflate: PerMessageDeflate | None = None,
        auth: tuple[str, str] | None = None,
    ) -> None:
        if version not in VERSIONS:
            raise ValueError(f"version is 13 or 8, not {version!r}")
        self._version = int(version)
        self._subprotocols = checked_subprotocols(subprotocols)
        self._deflate = deflate
        # RFC 6455 section 4.1, item 7: a nonce of 16 bytes, chosen at random for each connection.
        self._key = b64encode(os.urandom(_KEY_SIZE)).decode()
        given = Headers(headers)
        _check_given(given, origin_header(version) if origin is not None else None, auth)
        fields = self._own_headers(url, origin, auth)
        for name in {name.lower() for name in given}:
            fields.pop(name, None)
        request_headers = Headers([("Host", given.get("Host") or url.host_header), *fields.values()])
        for name, value in given.items():
            if name.lower() != "host":
                request_headers.add(name, value)
        self.request = Request("GET", url.target, request_headers)
        self._settled = protected_headers(request_headers)

    def _own_headers(
        self, url: WebSocketURL, origin: str | None, auth: tuple[str, str] | None
    ) -> dict[str, tuple[str, str]]:
        """The headers of RFC 6455 section 4.1, items 5 to 12, by their names in lower case."""
        fields = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", self._key),
            ("Sec-WebSocket-Version", str(self._version)),
        ]
        if origin is not None:
            fields.append((origin_header(self._version), origin))
        if self._subprotocols:
            fields.append(("Sec-WebSocket-Protocol", ", ".join(self._subprotocols)))
        if self._deflate is not None:
            fields.append(("Sec-WebSocket-Extensions", values.format_extensions(self._deflate.offers())))
        if auth is None and url.username is not None:
            auth = (url.username, url.password or "")
        if auth is not None:
            fields.append(("Authorization", values.basic_credentials(*auth)))
        fields.append(("User-Agent", f"geventws/{__version__}"))
        return {name.lower(): (name, value) for name, value in fields}

    def serialize(self) -> bytes:
        """The bytes of the request; ValueError where an edit changed what the handshake depends on."""
        if self.request.method != "GET" or protected_headers(self.request.headers) != self._settled:
            raise ValueError("the method and the headers of the opening handshake itself cannot be changed")
        return self.request.serialize()

    def finish(self, response: Response) -> Agreement:
        """Check the server's answer (RFC 6455 section 4.1, second list).

        Raises InvalidStatus for another status than 101, and InvalidHeader for an answer that does not fit.
        """
        if response.status != 101:  # item 1
            raise InvalidStatus(response)
        upgrade = response.headers.get("Upgrade")  # item 2
        if upgrade is None or upgrade.lower() != "websocket":
            raise InvalidHeader("Upgrade", upgrade, response=response)
        connection = response.headers.get("Connection")  # item 3
        if not _lists(connection, "upgrade", values.parse_token_list):
            raise InvalidHeader("Connection", connection, response=response)
        accept = response.headers.get("Sec-WebSocket-Accept")  # item 4
        if accept != accept_key(self._key):
            raise InvalidHeader("Sec-WebSocket-Accept", accept, response=response)
        return Agreement(self._version, self._chosen_subprotocol(response), self._chosen_deflate(response))

    def _chosen_deflate(self, response: Response) -> Parameters | None:
        """Item 5: no extension that was not asked for."""
        name = "Sec-WebSocket-Extensions"
        value = response.headers.get(name)
        if value is None:
            return None
        try:
            answers = values.parse_extensions(value)
        except ValueError as error:
            raise InvalidHeader(name, value, str(error), response) from None
        if self._deflate is None or len(answers) != 1:
            raise InvalidHeader(name, value, "this was not offered", response)
        try:
            return self._deflate.confirm(answers[0])
        except InvalidHeader as error:
            error.response = response
            raise

    def _chosen_subprotocol(self, response: Response) -> str | None:
        """Item 6: no subprotocol that was not asked for, and one at most."""
        chosen = response.headers.get("Sec-WebSocket-Protocol")
        if chosen is not None and chosen not in self._subprotocols:
            raise InvalidHeader("Sec-WebSocket-Protocol", chosen, "this was not offered", response)
        return chosen


def _check_given(given: Headers, origin_name: str | None, auth: tuple[str, str] | None) -> None:
    """ValueError where the caller's headers contradict the handshake or the other arguments."""
    for name in _PROTECTED:
        if name in given:
            raise ValueError(f"the {name} header cannot be given: the handshake makes it")
    if "Host" in given and not is_host(given["Host"]):
        raise ValueError(f"{given['Host']!r} is no value for the Host header")
    if origin_name is not None and origin_name in given:
        raise ValueError(f"the origin is given twice: as origin= and in the {origin_name} header")
    if auth is not None and not _is_pair_of_str(auth):
        raise TypeError("auth is a pair of user and password, both str")
    if auth is not None and "Authorization" in given:
        raise ValueError("credentials are given twice: as auth= and in the Authorization header")


def _is_pair_of_str(value: object) -> bool:
    return isinstance(value, (tuple, list)) and len(value) == 2 and all(isinstance(part, str) for part in value)


class ServerHandshake:
    """The opening handshake in the server's role (RFC 6455 section 4.2): the rules for any number of requests.

    Args:
        origins: which pages may connect: "same" for those whose origin has the host and port of the Host header, "*"
            for any, or a list. Its items allow a whole origin ("https://example.com"), a host with any scheme and port
            ("example.com"), or the opaque origin ("null"); `*` in them stands for any run of characters
            ("*.example.com"); a compiled pattern must match the whole header. Only browsers tell an origin, so a
            request without one is always allowed.
        subprotocols: those the server speaks, the preferred one first.
        select_subprotocol: called with the list of what the client offers (only of those in `subprotocols`, where they
            are given) and the request; returns one of the list or None, in place of the first of `subprotocols` that is
            offered. Not called where the list would be empty.
        deflate: the settings of permessage-deflate; None accepts no compression.

    Raises ValueError or TypeError where an argument makes no sense.
    """

    def __init__(
        self,
        *,
        origins: Origins = "same",
        subprotocols: Iterable[str] = (),
        select_subprotocol: SelectSubprotocol | None = None,
        deflate: PerMessageDeflate | None = None,
    ) -> None:
        self._origins = _OriginRules(origins)
        self._subprotocols = checked_subprotocols(subprotocols)
        self._select_subprotocol = select_subprotocol
        self._deflate = deflate

    def check(self, request: Request) -> None:
        """Check a client's request (RFC 6455 section 4.2.1).

        Raises HandshakeError, with the answer as its `response`, where the request must be refused.
        """
        headers = request.headers.joined()
        _check_http(request, headers)
        if not is_upgrade(request):  # item 3
            raise _unacceptable("Upgrade", headers.get("upgrade"), "this is a WebSocket server", 426)
        if request.version != "HTTP/1.1":  # item 1
            raise _refused("an upgrade needs HTTP/1.1; nginx in front needs proxy_http_version 1.1", 505)
        if not _lists(headers.get("connection"), "upgrade", values.parse_token_list):  # item 4
            raise _unacceptable("Connection", headers.get("connection"), "it must list the token upgrade")
        version = headers.get("sec-websocket-version")  # item 6
        if version not in ("13", "8"):
            raise _unacceptable("Sec-WebSocket-Version", version, "13 and 8 are supported", 426)
        key = headers.get("sec-websocket-key")  # item 5
        if key is None or not _KEY.fullmatch(key):
            raise _unacceptable("Sec-WebSocket-Key", key, f"it must be {_KEY_SIZE} bytes in base64")
        name = origin_header(int(version))  # item 7, and section 10.2
        origin = headers.get(name.lower())
        if origin is not None and not self._origins.allow(origin, headers["host"]):
            raise _unacceptable(name, origin, "this origin is not allowed", 403)
        _offered_subprotocols(headers)  # item 8
        _offered_extensions(headers)  # item 9

    def accept(self, request: Request) -> tuple[Response, Agreement]:
        """Answer a request that passed `check` (RFC 6455 section 4.2.2, item 5).

        Raises ValueError where `select_subprotocol` returns a subprotocol that it was not given.
        """
        headers = request.headers.joined()
        answer = _SWITCHING.copy()
        answer.add("Sec-WebSocket-Accept", accept_key(headers["sec-websocket-key"]))
        subprotocol = self._choose_subprotocol(request, _offered_subprotocols(headers))
        if subprotocol is not None:
            answer.add("Sec-WebSocket-Protocol", subprotocol)
        parameters = None
        accepted = None if self._deflate is None else self._deflate.accept(_offered_extensions(headers))
        if accepted is not None:
            extension, parameters = accepted
            answer.add("Sec-WebSocket-Extensions", values.format_extensions([extension]))
        return Response(101, headers=answer), _agreement(int(headers["sec-websocket-version"]), subprotocol, parameters)

    def _choose_subprotocol(self, request: Request, offered: list[str]) -> str | None:
        if not offered:
            return None
        if self._select_subprotocol is None:
            return next((name for name in self._subprotocols if name in offered), None)
        choices = [name for name in offered if name in self._subprotocols] if self._subprotocols else offered
        if not choices:
            return None
        chosen = self._select_subprotocol(list(choices), request)
        if chosen is not None and chosen not in choices:
            raise ValueError(f"select_subprotocol chose {chosen!r}, which is not in the list that it was given")
        return chosen


def is_upgrade(request: Request) -> bool:
    """Whether the request asks for a WebSocket; if not, it is plain HTTP (RFC 6455 section 4.2.1, item 3)."""
    return _lists(request.headers.get("Upgrade"), "websocket", values.parse_upgrade)


def is_host(value: str) -> bool:
    """Whether this can stand in a Host header (RFC 7230 section 5.4): a host and perhaps a port.

    A comma is refused although a registered name might hold one: it shows two headers that a gateway has joined.
    """
    if value.startswith("["):
        host, bracket, rest = value[1:].partition("]")
        colon, port = rest[:1], rest[1:]
        return bool(host and bracket) and _IP_LITERAL.issuperset(host) and colon in ("", ":") and _is_port(port)
    host, _, port = value.partition(":")
    return bool(host) and _REGISTERED_NAME.issuperset(host) and _is_port(port)


_ALPHANUMERIC = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_REGISTERED_NAME = frozenset(_ALPHANUMERIC + "-._~%!$&'()*+;=")  # RFC 3986 section 3.2.2, without the comma
_IP_LITERAL = frozenset("0123456789abcdefABCDEF:.")
_SCHEME = frozenset(_ALPHANUMERIC + "+-.")  # RFC 3986 section 3.1
_DEFAULT_PORTS = {"http": ":80", "ws": ":80", "https": ":443", "wss": ":443"}


def _is_port(port: str) -> bool:
    return not port or (port.isascii() and port.isdigit() and len(port) <= 5)


def _check_http(request: Request, headers: dict[str, str]) -> None:
    """What HTTP/1.1 itself asks of the request (RFC 6455 section 4.2.1, items 1 and 2; RFC 7230)."""
    if request.method != "GET":
        raise _refused(f"the method must be GET, not {request.method[:20]}", 405, [("Allow", "GET")])
    host = headers.get("host")
    if (host is not None or request.version == "HTTP/1.1") and not is_host(host or ""):
        raise _unacceptable("Host", host)
    # A body would be read as frames behind our back, or the frames as a second request by a gateway before us.
    if "transfer-encoding" in headers:
        raise _unacceptable("Transfer-Encoding", headers["transfer-encoding"], "the request must not have a body")
    if headers.get("content-length", "0") != "0":
        raise _unacceptable("Content-Length", headers["content-length"], "the request must not have a body")


def _offered_subprotocols(headers: dict[str, str]) -> list[str]:
    value = headers.get("sec-websocket-protocol")
    if value is None:
        return []
    try:
        return values.parse_subprotocols(value)
    except ValueError as error:
        raise _unacceptable("Sec-WebSocket-Protocol", value, str(error)) from None


def _offered_extensions(headers: dict[str, str]) -> list[values.Extension]:
    value = headers.get("sec-websocket-extensions")
    if value is None:
        return []
    try:
        return values.parse_extensions(value)
    except ValueError as error:
        raise _unacceptable("Sec-WebSocket-Extensions", value, str(error)) from None


def _lists(value: str | None, wanted: str, parse: Callable[[str], list[str]]) -> bool:
    """Whether this list header is there, is well-formed and has what is wanted, in any case."""
    if value is None:
        return False
    if value.lower() == wanted:  # nearly always, and then there is nothing to parse
        return True
    try:
        return wanted in [item.lower() for item in parse(value)]
    except ValueError:
        return False


def _unacceptable(name: str, value: str | None, why: str = "", status: int = 400) -> InvalidHeader:
    """The error for a header of a request, with the answer that refuses it."""
    error = InvalidHeader(name, value, why)
    error.response = refusal(status, str(error))
    if status == 426:
        # RFC 6455 section 4.2.2, item 4, and RFC 7231 section 6.5.15.
        error.response.headers["Sec-WebSocket-Version"] = ", ".join(map(str, VERSIONS))
        error.response.headers["Upgrade"] = "websocket"
        error.response.headers["Connection"] = "upgrade, close"
    return error


def _refused(text: str, status: int, headers: HeadersLike = None) -> HandshakeError:
    return HandshakeError(text, refusal(status, text, headers))


class _OriginRules:
    """Which origins a server accepts (RFC 6455 section 10.2)."""

    def __init__(self, origins: Origins) -> None:
        self._same = origins == "same"
        self._any = origins == "*"
        self._patterns: list[re.Pattern[str]] = []
        self._globs: list[str] = []
        if self._same or self._any:
            return
        if isinstance(origins, str):
            raise ValueError(f'origins is "same", "*" or a list, not {origins!r}')
        if not isinstance(origins, Iterable):
            raise TypeError(f'origins is "same", "*" or a list, not {origins!r}')
        for item in origins:
            if isinstance(item, re.Pattern):
                self._patterns.append(item)
            elif isinstance(item, str):
                self._globs.append(_checked_glob(item))
            else:
                raise TypeError(f"an origin is a str or a compiled pattern, not {type(item).__name__}")

    def allow(self, origin: str, host: str) -> bool:
        """Whether a page of this origin may connect to this host (the value of the Host header)."""
        if self._any:
            return True
        normal = _normal_origin(origin.lower())
        scheme, _, authority = normal.partition("://")
        if not is_host(authority) and normal != "null":
            return any(pattern.fullmatch(origin) for pattern in self._patterns)
        if self._same:
            return normal == _normal_origin(f"{scheme}://{host.lower()}")
        name = authority[: authority.rfind("]") + 1] or authority.partition(":")[0]
        return any(pattern.fullmatch(origin) for pattern in self._patterns) or any(
            _matches(glob, subject) for glob in self._globs for subject in (normal, authority, name)
        )


def _checked_glob(item: str) -> str:
    """An item of the caller's list, in lower case; ValueError where it could match no origin."""
    glob = item.lower()
    if glob == "same":
        raise ValueError('"same" is not for a list of origins: it stands alone')
    scheme, mark, authority = glob.rpartition("://")
    if not mark and "*" in glob:  # which may stand for the :// too
        possible = _SCHEME.union(_REGISTERED_NAME, ":/[]").issuperset(glob)
    else:
        possible = glob == "null" or (
            bool(scheme) == bool(mark)
            and _SCHEME.union("*").issuperset(scheme)
            and any(is_host(authority.replace("*", filler)) for filler in ("", "1"))
        )
    if not possible:
        raise ValueError(f'{item!r} is no origin: it must be like "https://example.com", "example.com" or "null"')
    return _normal_origin(glob)


def _normal_origin(origin: str) -> str:
    """The origin without a port that its scheme implies (RFC 6454 section 6.1)."""
    return origin.removesuffix(_DEFAULT_PORTS.get(origin.partition("://")[0], ""))


def _matches(glob: str, text: str) -> bool:
    """Whether the text is the glob, each `*` of which stands for any run of characters; no step is ever taken back."""
    first, *rest = glob.split("*")
    if not rest:
        return text == first
    *middle, last = rest
    position, end = len(first), len(text) - len(last)
    if position > end or not text.startswith(first) or not text.endswith(last):
        return False
    for piece in middle:
        found = text.find(piece, position, end)
        if found < 0:
            return False
        position = found + len(piece)
    return True
