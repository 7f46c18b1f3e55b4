"""Header fields, and their values: lists, Sec-WebSocket-Extensions, Sec-WebSocket-Protocol, Basic credentials.

Every function takes or gives the text of one value; a header that came in several lines is parsed as its values
joined by commas (RFC 7230 section 3.2.2). Each parser reads its input once and raises ValueError where it is not
valid.
"""

from __future__ import annotations

import base64
import string
from collections.abc import Iterable, Iterator, Mapping

from .kernels import Field

Parameter = tuple[str, str | None]
"""An extension's parameter: its name, and its value or None."""

Extension = tuple[str, list[Parameter]]
"""An extension's name and its parameters, in the order in which they were sent."""

WHITESPACE = " \t"
"""What may stand around the parts of a value (OWS of RFC 7230 section 3.2.3)."""

CONTROLS = frozenset(map(chr, (*range(0x20), 0x7F)))
"""CTL of RFC 5234, appendix B.1."""

FORBIDDEN = CONTROLS - {"\t"}
"""What may stand in no value and no reason phrase (RFC 7230 section 3.2)."""

SECRET = ("authorization", "cookie", "proxy-authorization", "set-cookie")
"""Whose values no repr and no log shows."""

_TOKEN = string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~"

# Names as they are mostly spelled, and whole lines that are in most handshakes, so that each connection need not hold
# strings of its own.
COMMON_NAMES = {
    name: (name.lower(), name)
    for name in (
        *("Host", "Connection", "Upgrade", "Origin", "Cookie", "Date", "Authorization", "User-Agent"),
        *("Accept", "Accept-Encoding", "Accept-Language", "Cache-Control", "Pragma"),
        *("Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Accept"),
        *("Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"),
        *("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP"),
    )
}
COMMON_FIELDS = {
    f"{name}: {value}": (name.lower(), name, value)
    for name, value in (
        *(("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Connection", "keep-alive, Upgrade")),
        *(("Sec-WebSocket-Version", "13"), ("Pragma", "no-cache"), ("Cache-Control", "no-cache")),
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
    )
}


class Headers:
    """Header fields in their order, as they were spelled; names are compared without regard to case.

    ``items`` is a mapping of names to values, an iterable of pairs, other Headers, or None. Each name must be a token
    and each value free of control characters, apart from tabs, and within Latin-1 (RFC 7230 section 3.2); otherwise
    ValueError is raised, or TypeError for what is not a str or not a pair. Spaces and tabs around a value do not
    belong to it.

    The length and the iteration count each name once; `items` gives every field.
    """

    __slots__ = ("_fields",)

    def __init__(self, items: HeadersLike = None) -> None:
        self._fields: list[Field] = []
        if items is not None:
            for name, value in items.items() if isinstance(items, (Headers, Mapping)) else _checked_pairs(items):
                self.add(name, value)

    def add(self, name: str, value: str) -> None:
        """Add a field behind those that are there, also behind those of the same name."""
        _check_field(name, value)
        self._fields.append(_field(name, value))

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of ``name``; the values of repeated fields are joined by commas (RFC 7230 section 3.2.2)."""
        wanted = name.lower()
        found = None
        for key, _, value in self._fields:
            if key == wanted:
                found = value if found is None else f"{found}, {value}"
        return default if found is None else found

    def joined(self) -> dict[str, str]:
        """What `get` gives for each name, which is in lower case here: for those who ask for many."""
        found: dict[str, str] = {}
        for key, _, value in self._fields:
            found[key] = f"{found[key]}, {value}" if key in found else value
        return found

    def get_all(self, name: str) -> list[str]:
        """The values of all fields called ``name``."""
        wanted = name.lower()
        return [value for key, _, value in self._fields if key == wanted]

    def items(self) -> list[tuple[str, str]]:
        """All fields, in order."""
        return [(name, value) for _, name, value in self._fields]

    def keys(self) -> list[str]:
        """Each name once, spelled as where it came first."""
        names: dict[str, str] = {}
        for key, name, _ in self._fields:
            names.setdefault(key, name)
        return list(names.values())

    def copy(self) -> Headers:
        return Headers._of(self._fields.copy())

    @classmethod
    def unchecked(cls, items: Iterable[tuple[str, str]]) -> Headers:
        """Headers of pairs that are known to be valid."""
        return cls._of([_field(name, value) for name, value in items])

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __setitem__(self, name: str, value: str) -> None:
        """Replace all fields called ``name`` by this one, which comes last."""
        _check_field(name, value)
        if name in self:
            del self[name]
        self._fields.append(_field(name, value))

    def __delitem__(self, name: str) -> None:
        unwanted = name.lower()
        if unwanted not in self:
            raise KeyError(unwanted)
        self._fields = [field for field in self._fields if field[0] != unwanted]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def __eq__(self, other: object) -> bool:
        """Whether both have the same values for the same names; the order of different names does not matter."""
        if not isinstance(other, Headers):
            return NotImplemented
        # Sorting is stable: the values of one name stay in their order.
        mine, others = (sorted(headers._fields, key=_key_of) for headers in (self, other))
        return [(key, value) for key, _, value in mine] == [(key, value) for key, _, value in others]

    def __repr__(self) -> str:
        """The fields, but for credentials, which may not come into logs."""
        shown = [(name, "***" if key in SECRET else value) for key, name, value in self._fields]
        return f"Headers({shown})"

    def serialize(self) -> str:
        """The lines of these fields, each with its line end."""
        return "".join([f"{name}: {value}\r\n" for _, name, value in self._fields])

    @classmethod
    def _of(cls, fields: list[Field]) -> Headers:
        made = cls()
        made._fields = fields
        return made

    def _add_line(self, line: str) -> None:
        """Add the field of a head's line, in which are no control characters; raises ValueError."""
        self._fields.append(COMMON_FIELDS.get(line) or _parse_field(line))


def _field(name: str, value: str) -> Field:
    key, name = COMMON_NAMES.get(name) or (name.lower(), name)
    return key, name, value.strip(WHITESPACE)


def _parse_field(line: str) -> Field:
    """RFC 7230 section 3.2: no space before the colon, and no line that continues the one before (obs-fold)."""
    name, colon, value = line.partition(":")
    if colon and (name in COMMON_NAMES or is_token(name)):
        return _field(name, value)
    if line[0] in WHITESPACE:
        raise ValueError("a header line begins with a space or a tab")
    raise ValueError("a header's name is not a token" if colon else "a header line has no colon")


def _checked_pairs(items: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    pairs = list(items) if isinstance(items, Iterable) else [items]
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError("headers are a mapping, or a list of pairs of name and value")
    return pairs


def _key_of(field: Field) -> str:
    return field[0]


HeadersLike = Headers | Mapping[str, str] | Iterable[tuple[str, str]] | None


def _check_field(name: str, value: str) -> None:
    """RFC 7230 section 3.2."""
    if not isinstance(name, str):
        raise TypeError(f"a header's name is a str, not {type(name).__name__}")
    if not is_token(name):
        raise ValueError(f"a header's name is not a token: {name!r}")
    check_text(value, f"the value of the {name} header")


def check_text(text: str, what: str) -> None:
    """Raise TypeError or ValueError where ``text`` cannot stand in a line of a head."""
    if not isinstance(text, str):
        raise TypeError(f"{what} is a str, not {type(text).__name__}")
    if text.isascii() and text.isprintable():
        return
    if not FORBIDDEN.isdisjoint(text):
        raise ValueError(f"{what} has a control character")
    if max(text) > "\xff":
        raise ValueError(f"{what} has a character outside Latin-1")


def is_token(text: str) -> bool:
    """Whether ``text`` is a token (RFC 7230 section 3.2.6)."""
    return text != "" and not text.strip(_TOKEN)


def parse_token_list(value: str) -> list[str]:
    """The tokens of a list such as Connection (``1#token``, RFC 7230 sections 6.1 and 7), spelled as they came."""
    return [_token(element) for element in _elements(value)]


def parse_upgrade(value: str) -> list[str]:
    """The protocols of an Upgrade header, each ``name`` or ``name/version`` (RFC 7230 section 6.7)."""
    protocols = _elements(value)
    for protocol in protocols:
        name, slash, version = protocol.partition("/")
        _token(name)
        if slash:
            _token(version)
    return protocols


def parse_subprotocols(value: str) -> list[str]:
    """The subprotocols of a Sec-WebSocket-Protocol header: tokens, each only once (RFC 6455 section 4.1, item 10)."""
    subprotocols = parse_token_list(value)
    if len(set(subprotocols)) < len(subprotocols):
        raise ValueError("a subprotocol is there twice")
    return subprotocols


def parse_extensions(value: str) -> list[Extension]:
    """The extensions of a Sec-WebSocket-Extensions header with their parameters (RFC 6455 section 9.1).

    A quoted value is returned without its quotes. What it stands for must be a token, so no delimiter is ever valid
    inside it, and the value can be split at the delimiters before the quotes are looked at.
    """
    return [_parse_extension(element) for element in _elements(value)]


def format_extensions(extensions: Iterable[Extension]) -> str:
    """The value of a Sec-WebSocket-Extensions header (RFC 6455 section 9.1); names and values are tokens."""
    return ", ".join("; ".join((name, *map(_format_parameter, parameters))) for name, parameters in extensions)


def basic_credentials(user: str, password: str) -> str:
    """The value of an Authorization or Proxy-Authorization header, in UTF-8 (RFC 7617 section 2).

    Raises ValueError when the user name has a colon, or either has a control character.
    """
    if ":" in user:
        raise ValueError("a user name cannot have a colon in Basic credentials")
    credentials = f"{user}:{password}"
    if not CONTROLS.isdisjoint(credentials):
        raise ValueError("Basic credentials cannot have control characters")
    return "Basic " + base64.b64encode(credentials.encode()).decode()


def parse_basic_credentials(value: str) -> tuple[str, str]:
    """The user name and the password in an Authorization header (RFC 7617 section 2); raises ValueError."""
    scheme, _, encoded = value.strip(WHITESPACE).partition(" ")
    encoded = encoded.lstrip(" ")
    if scheme.lower() != "basic":
        raise ValueError("not Basic credentials")
    decoded = base64.b64decode(encoded)
    if base64.b64encode(decoded).decode() != encoded:
        # The standard library passes over what is not in the alphabet, and over bits that are set after the end.
        raise ValueError("the credentials are not valid base64")
    user, colon, password = decoded.decode().partition(":")
    if not colon or not CONTROLS.isdisjoint(user) or not CONTROLS.isdisjoint(password):
        raise ValueError("the credentials are not a user name, a colon and a password")
    return user, password


def _elements(value: str) -> list[str]:
    """The elements of a list with at least one; empty ones do not count (RFC 7230 section 7)."""
    elements = [element for part in value.split(",") if (element := part.strip(WHITESPACE))]
    if not elements:
        raise ValueError("the list is empty")
    return elements


def _token(text: str) -> str:
    if not is_token(text):
        raise ValueError(f"not a token: {text!r}")
    return text


def _parse_extension(element: str) -> Extension:
    name, *parameters = element.split(";")
    return _token(name.strip(WHITESPACE)), [_parse_parameter(parameter) for parameter in parameters]


def _parse_parameter(parameter: str) -> Parameter:
    name, equals, value = parameter.partition("=")
    name = _token(name.strip(WHITESPACE))
    if not equals:
        return name, None
    value = value.strip(WHITESPACE)
    return name, _token(_unquote(value) if value.startswith('"') else value)


def _unquote(quoted: str) -> str:
    """What a quoted-string stands for (RFC 7230 section 3.2.6), as long as that is a token."""
    first, *escaped = quoted[1:-1].split("\\")
    if len(quoted) < 2 or not quoted.endswith('"') or not all(escaped):
        # An empty part is a backslash that escapes a backslash or nothing.
        raise ValueError(f"not a quoted token: {quoted}")
    return first + "".join(escaped)


def _format_parameter(parameter: Parameter) -> str:
    name, value = parameter
    return name if value is None else f"{name}={value}"
