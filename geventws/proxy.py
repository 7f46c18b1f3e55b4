"""Proxy agents: ways to a host through HTTP and SOCKS proxies; which one an argument or the environment names.

An agent has a method ``connect(host, port, timeout)`` that returns a connected stream. Whether there is TLS on that
stream is no concern of an agent: the target's URL decides it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from ssl import SSLContext
from typing import Any, Protocol

import gevent.socket

from .body import BodyParser
from .dial import dial, resolve
from .exceptions import HandshakeError, InvalidURL, ProxyError
from .headers import Headers, HeadersLike, basic_credentials
from .http11 import Request, Response, ResponseParser
from .kernels import now
from .opening import Deadline, read_body, read_only_head, send_all
from .options import checked_count, checked_timeout
from .socks import request_connection
from .tls import checked_context, default_context, server_name, start_tls
from .url import bracketed, parse_host, parse_proxy_url
from .version import __version__

MAX_BODY = 2**16
"""How much is read of the body of a proxy's refusal, in bytes."""
_BODY_TIME = 1.0
"""How long a proxy has for the body of its refusal, in seconds."""
_MAX_ANSWERS = 3
"""How many challenges of a proxy are answered; NTLM has two."""
_MAX_FIELD = 255
"""The longest name, user name and password in SOCKS5 (RFC 1928 section 4, RFC 1929 section 2), in bytes."""

Credentials = tuple[str, str]
Answer = Callable[[Request, Response], str | Credentials | None]
SourceAddress = tuple[str, int] | None


class ProxyAgent(Protocol):
    """A way to a host through some proxy."""

    def connect(self, host: str, port: int, timeout: float | None) -> Any:
        """A connected stream to the host: a socket, or what has the methods of `tls.TLSStream`, but the handshake."""


Proxy = bool | str | ProxyAgent | Iterable[str | ProxyAgent] | None


def agent_for(proxy: str | ProxyAgent | Iterable[str | ProxyAgent], source_address: SourceAddress = None) -> ProxyAgent:
    """The agent that a proxy's URL stands for, or a list of them, which are tried in order; an agent is itself.

    ``source_address`` is the local host and port to connect to the proxy from. Raises InvalidURL, ValueError or
    TypeError.
    """
    if isinstance(proxy, str):
        kind = HTTPConnectAgent if parse_proxy_url(proxy).scheme in HTTPConnectAgent.schemes else SOCKSAgent
        return kind(proxy, source_address=source_address)
    if isinstance(proxy, Iterable) and not isinstance(proxy, bytes | bytearray | Mapping):
        return _FirstOf([agent_for(item, source_address) for item in proxy])
    if isinstance(proxy, type) or not hasattr(proxy, "connect"):
        raise TypeError(f"proxy is True, None, a URL, a list of URLs or a proxy agent, not {type(proxy).__name__}")
    if source_address is not None:
        raise ValueError("source_address is not for connections that a proxy agent makes")
    return proxy


def stream_through(agent: ProxyAgent, host: str, port: int, timeout: float | None) -> Any:
    """What an agent returns; TypeError where that is no stream."""
    stream = agent.connect(host, port, timeout)
    if not hasattr(stream, "recv"):
        raise TypeError(f"connect of a proxy agent returns a connected stream, not {type(stream).__name__}")
    return stream


class _ProxyURLAgent:
    """What the agents have in common: the way to the proxy, one deadline, and errors that say which proxy and where."""

    schemes: tuple[str, ...]

    def __init__(self, url: str, via: str | ProxyAgent | None, source_address: SourceAddress) -> None:
        self._proxy = parse_proxy_url(url)
        if self._proxy.scheme not in self.schemes:
            raise InvalidURL(f"the URL's scheme is not one of {type(self).__name__}: {', '.join(self.schemes)}")
        if via is not None and source_address is not None:
            raise ValueError("source_address is not for a connection through another proxy")
        self._via = None if via is None else agent_for(via)
        self._source_address = source_address

    def connect(self, host: str, port: int, timeout: float | None = None) -> Any:
        """A connected stream to a host, through the proxy; not a byte behind the proxy's answers has been read.

        It is a gevent socket (an SSLSocket where the proxy speaks TLS), blocking as new sockets are; or, where it came
        through another agent, the stream of that one. ``timeout`` is one deadline over everything, in seconds.

        Raises:
            ProxyError: the proxy cannot be reached, refuses, or does not keep to its protocol.
            TimeoutError: the deadline has passed.
            OSError: the host's name, which is looked up here, has no address.
            InvalidURL, ValueError, TypeError: the host, the port or the timeout makes no sense.
        """
        host = parse_host(host)
        if checked_count("port", port, 1) > 65535:
            raise ValueError(f"port is at most 65535, not {port}")
        with Deadline(checked_timeout("timeout", timeout, zero=True), described(self)) as deadline:
            stream = self._tunnel(host, port, deadline)
        if isinstance(stream, gevent.socket.socket):
            stream.settimeout(None)
        return stream

    def __str__(self) -> str:
        return str(self._proxy)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def _tunnel(self, host: str, port: int, deadline: Deadline) -> Any:
        raise NotImplementedError

    def _reach(self, deadline: Deadline) -> Any:
        """A non-blocking stream to the proxy itself."""
        proxy = self._proxy
        if self._via is None:
            with self._step(deadline, "the name lookup of"):
                addresses = resolve(proxy.host, proxy.port)
            with self._step(deadline, "the connection to"):
                return dial(addresses, self._source_address)
        stream = stream_through(self._via, proxy.host, proxy.port, deadline.remaining)
        stream.settimeout(0)
        return stream

    @contextmanager
    def _step(self, deadline: Deadline, step: str) -> Iterator[None]:
        """Say what is done: where the deadline passes meanwhile, and in a ProxyError in place of an OSError."""
        deadline.step = f"{step} the proxy {self}"
        try:
            yield
        except OSError as error:
            raise self._error(f"{deadline.step} failed: {error.strerror or error}", step) from error

    def _error(self, text: str, step: str = "the request to", response: Response | None = None) -> ProxyError:
        return ProxyError(text, response, proxy=str(self), step=f"{step} the proxy")


class HTTPConnectAgent(_ProxyURLAgent):
    """An HTTP proxy that makes tunnels (CONNECT, RFC 7231 section 4.3.6), over TCP or, with an https URL, over TLS.

    Args:
        url: ``http://`` or ``https://``. A user name and a password in it are sent as Basic credentials.
        headers: further headers of the request, a mapping or pairs, or a function that makes them for each tunnel.
            Host, User-Agent and Proxy-Authorization replace what would be sent otherwise.
        ssl_context: for an https URL; by default the proxy's certificate is verified as the system does.
        auth: user name and password, in place of those in the URL; or a function that answers a challenge, the
            response 407. It is called with the request that was sent and the response, and returns the next request's
            Proxy-Authorization, a user name and a password for Basic, or None to give up. It may wait.
        via: another agent or a proxy's URL, through which to connect to this proxy.
        source_address: the local host and port to connect to the proxy from.
    """

    schemes = ("http", "https")

    def __init__(
        self,
        url: str,
        *,
        headers: HeadersLike | Callable[[], HeadersLike] = None,
        ssl_context: SSLContext | None = None,
        auth: Credentials | Answer | None = None,
        via: str | ProxyAgent | None = None,
        source_address: SourceAddress = None,
    ) -> None:
        super().__init__(url, via, source_address)
        if ssl_context is not None and self._proxy.scheme != "https":
            raise ValueError("ssl_context is for the https URL of a proxy; that of the target is given to connect")
        self._ssl_context = checked_context(ssl_context)
        self._headers = headers if callable(headers) else _checked_headers(headers)
        self._answer = auth if callable(auth) else None
        self._authorization: str | None = None
        if auth is not None and not callable(auth):
            self._authorization = _basic(auth)
        elif self._proxy.username is not None:
            self._authorization = _basic((self._proxy.username, self._proxy.password or ""))

    def _tunnel(self, host: str, port: int, deadline: Deadline) -> Any:
        request = self._request(f"{bracketed(host.partition('%')[0])}:{port}")  # RFC 6874 section 4: without its zone
        stream = self._reach(deadline)
        answers_left = _MAX_ANSWERS
        while True:
            try:
                response, persists = self._exchange(stream, request, deadline)
                if response.status // 100 == 2:  # RFC 7231 section 4.3.6: any of these, and none has a body.
                    return stream
                authorization = self._answered(request, response, deadline) if answers_left else None
                if authorization is None:
                    raise self._refusal(request, response)
                request.headers["Proxy-Authorization"] = authorization
            except BaseException:
                stream.close()
                raise
            answers_left -= 1
            if not persists:
                stream.close()
                stream = self._reach(deadline)

    def _reach(self, deadline: Deadline) -> Any:
        stream = super()._reach(deadline)
        if self._proxy.scheme == "http":
            return stream
        with self._step(deadline, "the TLS handshake with"):
            context = self._ssl_context or default_context()
            return start_tls(stream, context, server_hostname=server_name(self._proxy.host))

    def _request(self, target: str) -> Request:
        given = _checked_headers(self._headers()) if callable(self._headers) else self._headers
        usual = [("Host", target), ("User-Agent", f"geventws/{__version__}")]
        if self._authorization is not None:
            usual.append(("Proxy-Authorization", self._authorization))
        return Request("CONNECT", target, [*(field for field in usual if field[0] not in given), *given.items()])

    def _exchange(self, stream: Any, request: Request, deadline: Deadline) -> tuple[Response, bool]:
        """The response, and whether another request may follow on the connection (RFC 7230 section 6.3)."""
        step = "the exchange with"
        parser = ResponseParser()
        with self._step(deadline, step):
            send_all(stream, request.serialize())
            try:
                response = read_only_head(stream, parser)
            except HandshakeError as error:
                raise self._error(f"{deadline.step} failed: {error}", step) from error
        if response is None:
            raise self._error(f"the proxy {self} closed the connection without an answer", step)
        if response.status // 100 == 2:
            return response, True
        body = BodyParser(response, MAX_BODY)
        with suppress(OSError), Deadline(_BODY_TIME, deadline.step):
            read_body(stream, body)
        response.body = body.body
        options = f"{response.headers.get('Connection', '')},{response.headers.get('Proxy-Connection', '')}".lower()
        persists = "close" not in options and (parser.version != "HTTP/1.0" or "keep-alive" in options)
        return response, persists and body.done and len(response.body) < MAX_BODY

    def _answered(self, request: Request, response: Response, deadline: Deadline) -> str | None:
        """The Proxy-Authorization that answers a challenge (RFC 7235 section 3.2); None where there is no answer."""
        if response.status != 407 or self._answer is None:
            return None
        deadline.step = f"the answer to the challenge of the proxy {self}"
        answer = self._answer(request, response)
        return answer if answer is None or isinstance(answer, str) else _basic(answer)

    def _refusal(self, request: Request, response: Response) -> ProxyError:
        status = f"{response.status} {response.reason}".rstrip()
        text = f"the proxy {self} refused the tunnel to {request.target}: {status}"
        return self._error(text, response=response)


class SOCKSAgent(_ProxyURLAgent):
    """A SOCKS proxy.

    Args:
        url: ``socks4://`` and ``socks5://`` look the target's name up here, ``socks4a://`` and ``socks5h://`` leave
            that to the proxy; ``socks://`` is ``socks5h://``. A user name and a password in it are for SOCKS5 (RFC
            1929), a user name alone for SOCKS4.
        via: another agent or a proxy's URL, through which to connect to this proxy.
        source_address: the local host and port to connect to the proxy from.

    Where a name that is looked up here has several addresses, the proxy is asked for one after the other.
    """

    schemes = ("socks4", "socks4a", "socks5", "socks5h")

    def __init__(self, url: str, *, via: str | ProxyAgent | None = None, source_address: SourceAddress = None) -> None:
        super().__init__(url, via, source_address)
        fields = (self._proxy.username or "", self._proxy.password or "")
        if self._is_version_4 and self._proxy.password is not None:
            raise InvalidURL("SOCKS4 has a user name and no password")
        if not self._is_version_4 and max(len(field.encode()) for field in fields) > _MAX_FIELD:
            raise InvalidURL(f"the user name or the password is longer than {_MAX_FIELD} bytes, which SOCKS5 allows")

    @property
    def _is_version_4(self) -> bool:
        return self._proxy.scheme.startswith("socks4")

    def _tunnel(self, host: str, port: int, deadline: Deadline) -> Any:
        *others, last = self._addresses(host, port, deadline)
        for address in others:
            try:
                return self._ask(address, port, deadline)
            except ProxyError as error:
                if error.reply is None:
                    raise
        return self._ask(last, port, deadline)

    def _addresses(self, host: str, port: int, deadline: Deadline) -> list[str]:
        """What to ask the proxy for: names where it resolves them, else addresses, at least one."""
        if "%" in host:
            raise self._error(f"the zone of {host} means nothing to the proxy {self}")
        found = [host]
        if self._proxy.scheme not in ("socks4a", "socks5h"):
            deadline.step = f"the name lookup of {host}"
            found = [address[0] for _, address in resolve(host, port)]
        if not self._is_version_4:
            return found
        usable = [address for address in found if ":" not in address]
        if not usable:
            raise self._error(f"{host} has no IPv4 address, and SOCKS4, which the proxy {self} speaks, has no other")
        if any(map(_announces_name, usable)):
            raise self._error(f"to the proxy {self} the address {host} says that a name follows, as in SOCKS4a")
        return usable

    def _ask(self, address: str, port: int, deadline: Deadline) -> Any:
        stream = self._reach(deadline)
        try:
            with self._step(deadline, "the exchange with"):
                request_connection(stream, self._proxy, address, port)
            return stream
        except BaseException:
            stream.close()
            raise


def _announces_name(host: str) -> bool:
    """Whether this is an address 0.0.0.x other than 0.0.0.0, be it written as ``1``."""
    try:
        address = gevent.socket.inet_aton(host)
    except OSError:
        return False
    return address[:3] == bytes(3) and address != bytes(4)


class _FirstOf:
    """Several agents, tried in order until one has a connection; each has an equal share of the time that is left."""

    def __init__(self, agents: list[ProxyAgent]) -> None:
        if not agents:
            raise ValueError("the list of proxies is empty")
        self._agents = agents

    def connect(self, host: str, port: int, timeout: float | None = None) -> Any:
        end = None if timeout is None else now() + timeout
        failures: list[Exception] = []
        for left, agent in zip(range(len(self._agents), 0, -1), self._agents, strict=True):
            share = None if end is None else max(0.0, end - now()) / left
            try:
                with Deadline(share, described(agent)):
                    return stream_through(agent, host, port, share)
            except (ProxyError, OSError) as error:
                failures.append(error)
        last = failures[-1]
        text = "; ".join(str(failure) for failure in failures)
        if isinstance(last, ProxyError):
            raise ProxyError(text, last.response, reply=last.reply, proxy=last.proxy, step=last.step) from last
        raise (TimeoutError if isinstance(last, TimeoutError) else ProxyError)(text) from last

    def __str__(self) -> str:
        return ", ".join(map(str, self._agents))

    def __repr__(self) -> str:
        return f"[{', '.join(map(repr, self._agents))}]"


def described(agent: ProxyAgent) -> str:
    """What an error says of an agent: ours by their URLs, without user name and password."""
    return f"the proxy {agent}" if isinstance(agent, _ProxyURLAgent | _FirstOf) else "the proxy"


def _checked_headers(headers: HeadersLike) -> Headers:
    checked = Headers(headers)
    for name in ("Content-Length", "Transfer-Encoding"):  # RFC 7231 section 4.3.6: a CONNECT has no body.
        if name in checked:
            raise ValueError(f"a CONNECT request has no {name} header")
    return checked


def _basic(auth: Credentials) -> str:
    if not isinstance(auth, tuple) or [type(part) for part in auth] != [str, str]:
        raise TypeError("auth is a pair of user and password, both str, or a function")
    return basic_credentials(*auth)
