"""The client: from a URL to an open WebSocket, through name lookup, TCP, a proxy, TLS and the opening handshake."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from gevent import Timeout

from .body import BodyParser
from .cookies import checked_jar, keep_cookies, send_cookies
from .deflate import PerMessageDeflate
from .dial import dial, dial_unix, resolve
from .environment import environment_agent
from .exceptions import HandshakeError, InvalidURL
from .frames import Side
from .handshake import ClientHandshake, checked_subprotocols
from .headers import Headers, HeadersLike
from .http11 import Request, Response, ResponseParser
from .opening import Deadline, introduce, read_body, read_head, send_all
from .options import (
    checked_class,
    checked_count,
    checked_function,
    checked_timeout,
    connection_options,
    deflate_settings,
)
from .proxy import Proxy, ProxyAgent, agent_for, described, stream_through
from .reports import report_opened, report_refused, show_request, show_response
from .tls import checked_context, default_context, server_name, start_tls
from .url import WebSocketURL, join, parse_url
from .websocket import WebSocket

if TYPE_CHECKING:
    from http.cookiejar import CookieJar

    from typing_extensions import Unpack

    from .metrics import Metrics
    from .options import ConnectionOptions

MAX_BODY = 2**20
"""How much is read of the body of an answer other than 101, in bytes."""
_REDIRECTS = (301, 302, 303, 307, 308)
_BOUND_TO_ORIGIN = ("authorization", "cookie", "host", "proxy-authorization")


def connect(
    url: str,
    *,
    subprotocols: Iterable[str] = (),
    headers: HeadersLike = None,
    origin: str | None = None,
    auth: tuple[str, str] | None = None,
    cookies: CookieJar | None = None,
    version: int = 13,
    compression: bool | PerMessageDeflate = True,
    proxy: Proxy = True,
    sock: Any = None,
    ssl_context: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    source_address: tuple[str, int] | None = None,
    open_timeout: float | None = 10,
    max_redirects: int = 0,
    on_redirect: Callable[[str, Request], object] | None = None,
    process_request: Callable[[Request], object] | None = None,
    websocket_class: type[WebSocket] = WebSocket,
    masking_keys: Callable[[], bytes] | None = None,
    **options: Unpack[ConnectionOptions],
) -> WebSocket:
    """Open a WebSocket (RFC 6455 section 4.1).

    Args:
        url: ``ws://``, ``wss://`` (or ``http://``, ``https://``), or ``ws+unix:/path/of/a/socket:/target``. A user name
            and a password in it are sent as Basic credentials.
        subprotocols: the subprotocols to offer, the preferred one first.
        headers: further headers of the request, a mapping or pairs. Host and User-Agent replace the usual ones.
        origin: the Origin header.
        auth: user name and password, in place of those in the URL.
        cookies: a jar whose cookies for the URL are sent, and into which those are put that an answer sets, redirects
            included. A Cookie header among the headers is sent in place of them.
        version: 13, or 8 for servers from before the RFC.
        compression: whether to offer permessage-deflate (RFC 7692), or the settings with which to do so.
        proxy: True takes the proxy that the environment names for this URL (see `environment.environment_agent`), None
            none. A URL such as ``http://user:password@host:port``, ``https://``, ``socks5h://``, ``socks5://``,
            ``socks4a://`` or ``socks4://`` names one; those of a list are tried in order. An object with
            ``connect(host, port, timeout)`` that returns a connected stream is a proxy agent, such as
            `proxy.HTTPConnectAgent` and `proxy.SOCKSAgent`. Each but True and None excludes ``sock`` and the URL of a
            unix socket, an agent ``source_address`` too.
        sock: a connected socket to use in place of a new connection. A wss URL still means TLS on it.
        ssl_context: for wss; gevent's or the standard library's. By default the certificate is verified as
            `ssl.create_default_context` does.
        server_hostname: the name to expect in the certificate, in place of the URL's host; not of another origin's.
        source_address: the local host and port to connect from, be it to a proxy.
        open_timeout: one deadline over everything from the name lookup to the server's answer, redirects included, in
            seconds; None for none. The body of a refusal is cut off there.
        max_redirects: how many redirects to follow. Credentials, cookies and a Host header are not sent to another
            origin, and TLS is not given up.
        on_redirect: called before a redirect is followed, with the new URL and the request that will be sent there; may
            edit that, for instance to give credentials to another origin, or raise to give up.
        process_request: called with each request just before it is sent; may edit its headers, for instance to sign it,
            or raise to send nothing. The request's ``remote_address`` and ``peer_certificate`` are the server's.
        websocket_class: what to make, a subclass of WebSocket.
        masking_keys: a function that makes the 4-byte masking keys of the frames, for tests; None for random keys.
        options: see `options.Options`.

    Raises:
        InvalidURL, ValueError, TypeError: an argument makes no sense; nothing was done yet.
        TimeoutError: the deadline has passed.
        OSError: no connection, or TLS failed (ssl.SSLError).
        InvalidStatus: the server answered otherwise than with 101; the answer is the error's ``response``.
        HandshakeError: the answer is not valid, or redirects to where it may not.
        ProxyError: the proxy cannot be reached, or refuses.

    The caller's own gevent.Timeout or kill passes as it is. Where the connection does not come about, the socket is
    closed, also a given one.
    """
    target = _Target(parse_url(url), Headers(headers), auth, server_hostname)
    agent = agent_for(proxy, source_address) if not isinstance(proxy, bool | None) else None
    way = _Way(agent, proxy is True, sock, checked_context(ssl_context), source_address)
    _check_arguments(target, way, max_redirects, on_redirect)
    checked_function("process_request", process_request)
    settings = deflate_settings(compression)
    begin = partial(
        ClientHandshake,
        subprotocols=checked_subprotocols(subprotocols),
        origin=origin,
        version=version,
        deflate=settings,
    )
    checked_options = connection_options("connect", options, masking_keys)
    make = partial(
        checked_class("websocket_class", websocket_class, WebSocket), settings=settings, options=checked_options
    )
    jar = checked_jar(cookies)
    attempts = _Attempts(way, begin, make, jar, max_redirects, on_redirect, process_request, checked_options.metrics)
    return attempts.open(target, Deadline(checked_timeout("open_timeout", open_timeout), "the name lookup"))


@dataclass(frozen=True)
class _Attempts:
    """The first attempt to open a WebSocket, and another one for each redirect that is followed."""

    way: _Way
    begin: Callable[..., ClientHandshake]
    make: Callable[..., WebSocket]
    cookies: CookieJar | None
    max_redirects: int
    on_redirect: Callable[[str, Request], object] | None
    process_request: Callable[[Request], object] | None
    metrics: Metrics | None

    def open(self, target: _Target, deadline: Deadline) -> WebSocket:
        left = self.max_redirects
        answer = None
        try:
            try:
                with deadline:
                    handshake = self._begin(target)
                    while isinstance(answer := self._try(target, handshake, deadline, left > 0), Response):
                        left -= 1
                        target = target.redirected(answer)
                        handshake = self._begin(target)
                        if self.on_redirect is not None:
                            self.on_redirect(str(target.url), handshake.request)
            finally:
                deadline.stop()
            report_opened(answer)
            return answer
        except BaseException:
            if isinstance(answer, WebSocket):
                answer.terminate()  # thrown in by a signal's handler: nobody gets it
            raise

    def _begin(self, target: _Target) -> ClientHandshake:
        handshake = self.begin(target.url, headers=target.headers, auth=target.auth)
        if self.cookies is not None:
            send_cookies(self.cookies, target.url, handshake.request)
        return handshake

    def _try(
        self, target: _Target, handshake: ClientHandshake, deadline: Deadline, follows: bool
    ) -> WebSocket | Response:
        """A WebSocket, or, where redirects are followed, the response that redirects; raises for any other answer."""
        stream = self.way.open(target, deadline)
        try:
            deadline.step = "the opening handshake"
            introduce(handshake.request, stream)
            if self.process_request is not None:
                self.process_request(handshake.request)
            show_request(">", handshake.request)
            response, head = _exchange(stream, handshake.serialize())
            show_response("<", response)
            if self.cookies is not None:
                keep_cookies(self.cookies, target.url, response)
            if follows and _is_redirect(response):
                stream.close()
                return response
            if response.status != 101:
                response.body = _read_body(stream, response, head, deadline)
                report_refused(self.metrics, handshake.request, response)
            return self.make(
                stream,
                Side.CLIENT,
                handshake.finish(response),
                request=handshake.request,
                response=response,
                head=head,
                url=str(target.url),
            )
        except BaseException:
            stream.close()
            raise


@dataclass(frozen=True)
class _Target:
    """Where a request goes, and what goes nowhere else."""

    url: WebSocketURL
    headers: Headers
    auth: tuple[str, str] | None
    server_hostname: str | None

    @property
    def tls_name(self) -> str:
        """The name to tell the server and to expect in its certificate; ValueError where it is none."""
        name = self.server_hostname or server_name(self.url.host)
        return name if name.isascii() else name.encode("idna").decode()

    def redirected(self, response: Response) -> _Target:
        """Where the response leads (RFC 7231 section 6.4); raises HandshakeError where that is not allowed."""
        try:
            url = join(self.url, response.headers["Location"])
        except InvalidURL as error:
            error.response = response
            raise
        if self.url.secure and not url.secure:
            raise HandshakeError("the server redirects from wss to ws", response)
        if url.origin == self.url.origin:
            return replace(self, url=url)
        kept = [(name, value) for name, value in self.headers.items() if name.lower() not in _BOUND_TO_ORIGIN]
        return _Target(url, Headers(kept), None, None)


@dataclass(frozen=True)
class _Way:
    """How to get to a server."""

    agent: ProxyAgent | None
    asks_environment: bool
    sock: Any
    ssl_context: ssl.SSLContext | None
    source_address: tuple[str, int] | None

    def open(self, target: _Target, deadline: Deadline) -> Any:
        """A stream to the server, with TLS where the URL says so."""
        name = target.tls_name
        stream = self._reach(target.url, deadline)
        if not target.url.secure:
            return stream
        deadline.step = "the TLS handshake"
        return start_tls(stream, self.ssl_context or default_context(), server_hostname=name)

    def _reach(self, url: WebSocketURL, deadline: Deadline) -> Any:
        if self.sock is not None:
            return self.sock
        if url.unix_path is not None:
            deadline.step = "the connection"
            return dial_unix(url.unix_path)
        agent = environment_agent(url, self.source_address) if self.asks_environment else self.agent
        if agent is not None:
            deadline.step = described(agent)
            return stream_through(agent, url.host, url.port, deadline.remaining)
        deadline.step = "the name lookup"
        addresses = resolve(url.host, url.port)
        deadline.step = "the connection"
        return dial(addresses, self.source_address)


def _check_arguments(
    target: _Target, way: _Way, max_redirects: int, on_redirect: Callable[[str, Request], object] | None
) -> None:
    """ValueError or TypeError for what could have no effect, or a wrong one."""
    checked_function("on_redirect", on_redirect)
    if way.sock is not None and not hasattr(way.sock, "recv"):
        raise TypeError(f"sock is a connected socket, not {way.sock!r}")
    if not checked_count("max_redirects", max_redirects, 0):
        if on_redirect is not None:
            raise ValueError("on_redirect needs max_redirects")
        if not target.url.secure and (way.ssl_context is not None or target.server_hostname is not None):
            raise ValueError("ssl_context and server_hostname are for wss URLs")
    elif way.sock is not None:
        raise ValueError("a redirect cannot be followed on the given sock")
    is_given = way.sock is not None or target.url.unix_path is not None
    if is_given and (way.source_address is not None or way.agent is not None):
        raise ValueError("source_address and a proxy are for connections over TCP that are made here")


def _exchange(stream: Any, request: bytes) -> tuple[Response, bytes]:
    """Send the request; the head of the answer, and what came right behind it."""
    stream.settimeout(0)
    send_all(stream, request)
    parser = ResponseParser()
    response = read_head(stream, parser)
    if response is None:
        raise HandshakeError("the server closed the connection without an answer")
    return response, parser.rest


def _is_redirect(response: Response) -> bool:
    return response.status in _REDIRECTS and "Location" in response.headers


def _read_body(stream: Any, response: Response, begin: bytes, deadline: Deadline) -> bytes:
    """The first part of a refusal's body: what comes before the deadline, and before the connection breaks."""
    parser = BodyParser(response, MAX_BODY)
    try:
        parser.feed(begin)
        read_body(stream, parser)
    except OSError:
        pass
    except Timeout as error:
        if not deadline.is_cause_of(error):
            raise
    return parser.body
