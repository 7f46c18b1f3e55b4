"""Header values: comma-separated lists, Sec-WebSocket-Extensions, Sec-WebSocket-Protocol, Basic credentials.

Every function takes or gives the text of one value; a header that came in several lines is parsed as its values
joined by commas (RFC 7230 section 3.2.2). Each parser reads its input once and raises ValueError where it is not
valid.
"""

from __future__ import annotations

import base64
import string
from collections.abc import Iterable

Parameter = tuple[str, str | None]
"""An extension's parameter: its name, and its value or None."""

Extension = tuple[str, list[Parameter]]
"""An extension's name and its parameters, in the order in which they were sent."""

WHITESPACE = " \t"
"""What may stand around the parts of a value (OWS of RFC 7230 section 3.2.3)."""

CONTROLS = frozenset(map(chr, (*range(0x20), 0x7F)))
"""CTL of RFC 5234, appendix B.1."""

_TOKEN = string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~"


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
