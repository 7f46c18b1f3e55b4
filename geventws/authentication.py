"""HTTP Basic authentication for servers (RFC 7617), ready made for ``process_request``."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from hashlib import sha256

from .headers import FORBIDDEN, parse_basic_credentials
from .http11 import Request, Response, refusal

Credentials = Mapping[str, str] | Callable[[str, str], object]


def basic_auth(credentials: Credentials, *, realm: str = "WebSocket") -> Callable[[Request], Response | None]:
    """A ``process_request`` that lets in only those who send the right user name and password; others get 401.

    The user name is then the request's ``user``.

    Args:
        credentials: the users' passwords by their names; or a function that is called with a user name and a password,
            may wait, and returns whether they are right.
        realm: what the client is told that the password is for.

    Passwords of a mapping are compared in constant time: how long the answer takes tells neither how much of a password
    was right nor whether there is such a user.

    Raises TypeError or ValueError where an argument makes no sense.
    """
    check = _checked(credentials)
    challenge = _challenge(realm)

    def process_request(request: Request) -> Response | None:
        try:
            user, password = parse_basic_credentials(request.headers.get("Authorization", "") or "")
        except ValueError:
            return refusal(401, "this needs a user name and a password", challenge)
        if not check(user, password):
            return refusal(401, "the user name or the password is wrong", challenge)
        request.user = user
        return None

    return process_request


def _checked(credentials: Credentials) -> Callable[[str, str], object]:
    """What tells whether a user name and a password are right."""
    if callable(credentials):
        return credentials
    if not isinstance(credentials, Mapping):
        raise TypeError("credentials are a mapping of user names to passwords, or a function")
    digests: dict[str, bytes] = {}
    for user, password in credentials.items():
        if not isinstance(user, str) or not isinstance(password, str):
            raise TypeError("a user name and a password are str")
        if ":" in user:
            raise ValueError("a user name cannot have a colon in Basic credentials")
        digests[user] = _digest(password)
    nobody = _digest("")

    def is_right(user: str, password: str) -> bool:
        right = hmac.compare_digest(_digest(password), digests.get(user, nobody))
        return right and user in digests

    return is_right


def _digest(password: str) -> bytes:
    """Of the same length for all, which a comparison would give away."""
    return sha256(password.encode()).digest()


def _challenge(realm: str) -> list[tuple[str, str]]:
    """RFC 7617 section 2."""
    if not isinstance(realm, str):
        raise TypeError(f"realm is a str, not {realm!r}")
    if not realm.isascii() or not FORBIDDEN.isdisjoint(realm) or '"' in realm or "\\" in realm:
        raise ValueError(f"realm is ASCII text without quotes and backslashes, not {realm!r}")
    return [("WWW-Authenticate", f'Basic realm="{realm}", charset="UTF-8"')]
