"""Cookies of the opening handshake (RFC 6455 section 1.3, RFC 6265), kept in a jar of the standard library's.

The jar knows requests and answers as urllib has them; these are made here. Its module is imported where a jar is given,
so that the others do not pay for urllib.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .headers import Headers

if TYPE_CHECKING:
    from http.cookiejar import CookieJar

    from .http11 import Request, Response
    from .url import WebSocketURL


def checked_jar(jar: CookieJar | None) -> CookieJar | None:
    """A jar or None; raises TypeError for anything else."""
    if jar is not None and not (hasattr(jar, "add_cookie_header") and hasattr(jar, "extract_cookies")):
        raise TypeError(f"cookies is an http.cookiejar.CookieJar, not {jar!r}")
    return jar


def send_cookies(jar: CookieJar, url: WebSocketURL, request: Request) -> None:
    """Put the jar's cookies for the URL into the request, unless it has a Cookie header of the caller's."""
    if "Cookie" in request.headers:
        return
    twin = _twin(url)
    jar.add_cookie_header(twin)
    value = twin.get_header("Cookie")
    if value is not None:
        request.headers["Cookie"] = value


def keep_cookies(jar: CookieJar, url: WebSocketURL, response: Response) -> None:
    """Put what the answer sets into the jar, as far as the jar's policy lets it."""
    if "Set-Cookie" in response.headers:
        answer: Any = _Answer(response.headers)
        jar.extract_cookies(answer, _twin(url))


def _twin(url: WebSocketURL) -> Any:
    """What urllib would send to the same place. A cookie belongs to a host, whatever the scheme (RFC 6265)."""
    from urllib.request import Request

    return Request(f"{'https' if url.secure else 'http'}://{url.host_header}{url.target}")


class _Answer:
    """A response of urllib's, as far as a jar looks at it."""

    def __init__(self, headers: Headers) -> None:
        self._headers = headers

    def info(self) -> _Answer:
        return self

    def get_all(self, name: str, default: list[str]) -> list[str]:
        return self._headers.get_all(name) or default
