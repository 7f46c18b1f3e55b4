"""One request to open a WebSocket and its socket become a WebSocket, or are answered with an HTTP error."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from .clients import Broadcaster, Clients
from .deflate import PerMessageDeflate
from .exceptions import HandshakeError
from .forwarding import TrustedProxies, TrustedProxy
from .frames import Side
from .handshake import Agreement, Origins, SelectSubprotocol, ServerHandshake, is_upgrade, protected_headers
from .http11 import Request, Response, http_date, is_target, refusal
from .limits import Limits, Place
from .opening import Deadline, hang_up, introduce, send_all, try_to_send
from .options import (
    checked_class,
    checked_count,
    checked_function,
    checked_switch,
    checked_timeout,
    connection_options,
    deflate_settings,
)
from .reports import report_opened, report_refused, show_request, show_response
from .stats import ServerStats, Totals
from .websocket import WebSocket

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .options import ConnectionOptions

logger = logging.getLogger("geventws")

ProcessRequest = Callable[[Request], Response | None]
ProcessResponse = Callable[[Request, Response], Response | None]
OnHandshakeError = Callable[[HandshakeError, Request | None], Response | None]
Take = Callable[[Response], tuple[Any, bytes]]
OnClosed = Callable[[WebSocket], None]


class Upgrader(Broadcaster):
    """Makes WebSockets of requests that another server has read; `WebSocketServer` and `WebSocketApp` use one.

    Args:
        path: the one path (as it is sent, percent-encoded and without the query) at which there is a WebSocket;
            elsewhere there is 404. None: every path. Override `should_handle` for another rule.
        origins: which pages may connect: "same", "*" or a list, see `handshake.ServerHandshake`. Others get 403.
        subprotocols: those the server speaks, the preferred one first.
        select_subprotocol: called with the list of the subprotocols that the client offers (only of those in
            ``subprotocols``, where they are given) and the request; returns one of the list or None, in place of the
            first of ``subprotocols`` that is offered. Not called where the list would be empty.
        compression: True or a PerMessageDeflate accepts permessage-deflate (RFC 7692).
        process_request: called with each valid opening handshake, and with each plain HTTP request. A Response that it
            returns is the answer: a refusal, or for plain HTTP, say, that of a health check. On None things go on: a
            plain HTTP request gets 426. It finds ``request.client_address`` and ``request.peer_certificate``, and what
            it puts into ``request.user`` and ``request.data`` the handler finds as ``ws.request.user`` and ``ws.data``.
        process_response: called with the request and the 101 that will answer it; may add headers, or return another
            Response with status 101. What the handshake itself needs must stay as it is.
        on_handshake_error: called with each HandshakeError for which a request is refused and with the request, None
            where that could not even be read; returns the Response to send in place of ``error.response``, or None.
        track_clients: whether `clients` holds the connections.
        max_connections: how many connections there may be at once, those being opened included. Beyond it there is 503.
        max_connections_per_address: how many of them from one client's address; those of one /64 of IPv6 count as one
            address, and a client without an address, behind a unix socket, is not counted. Beyond it there is 429.
        trusted_proxies: the reverse proxies that are believed what they tell of a client's address, which is then
            ``request.client_address``: how many there are in a row, or a list of addresses and networks, "unix" for
            those that come through a unix socket; see `forwarding.TrustedProxies`.
        forwarded_header: where they tell it: X-Forwarded-For, "Forwarded" (RFC 7239), or another header that has an
            address or a list of them.
        websocket_class: what to make, a subclass of WebSocket.
        open_timeout: how long writing the answer may take, in seconds; for `WebSocketServer` also how long TLS and the
            request may take. None for ever.
        masking_keys: None; it is an option for clients, since a server masks nothing.
        options: see `options.Options`.

    A hook may wait. One that raises an Exception is logged, and the request gets 500.
    Raises ValueError or TypeError where an argument makes no sense.

    Attributes:
        clients: the open connections, a set that may be iterated over while it changes.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        origins: Origins = "same",
        subprotocols: Iterable[str] = (),
        select_subprotocol: SelectSubprotocol | None = None,
        compression: bool | PerMessageDeflate = False,
        process_request: ProcessRequest | None = None,
        process_response: ProcessResponse | None = None,
        on_handshake_error: OnHandshakeError | None = None,
        track_clients: bool = True,
        max_connections: int | None = None,
        max_connections_per_address: int | None = None,
        trusted_proxies: int | Iterable[TrustedProxy] | None = None,
        forwarded_header: str = "X-Forwarded-For",
        websocket_class: type[WebSocket] = WebSocket,
        open_timeout: float | None = 10,
        masking_keys: None = None,
        **options: Unpack[ConnectionOptions],
    ) -> None:
        if masking_keys is not None:
            raise ValueError("masking_keys is for clients: a server masks nothing (RFC 6455 section 5.1)")
        self._path = _checked_path(path)
        self._process_request = checked_function("process_request", process_request)
        self._process_response = checked_function("process_response", process_response)
        self._on_handshake_error = checked_function("on_handshake_error", on_handshake_error)
        self._track_clients = checked_switch("track_clients", track_clients)
        self._limits = _limits(max_connections, max_connections_per_address)
        self.trusted_proxies = None if trusted_proxies is None else TrustedProxies(trusted_proxies, forwarded_header)
        self._websocket_class = checked_class("websocket_class", websocket_class, WebSocket)
        self.open_timeout = checked_timeout("open_timeout", open_timeout)
        self._options = connection_options("Upgrader", options)
        self._deflate = deflate_settings(compression)
        self._handshake = ServerHandshake(
            origins=origins,
            subprotocols=subprotocols,
            select_subprotocol=checked_function("select_subprotocol", select_subprotocol),
            deflate=self._deflate,
        )
        self._clients = Clients(self._track_clients)
        self._totals = Totals()

    @property
    def clients(self) -> Clients:
        return self._clients

    def should_handle(self, request: Request) -> bool:
        """Whether there is a WebSocket at the request's path; to be overridden."""
        return self._path is None or request.path == self._path

    def upgrade(self, request: Request, sock: Any, head: bytes = b"") -> WebSocket | None:
        """Answer a request, and make a WebSocket of its socket where it is an opening handshake that is accepted.

        The socket is used up in any case: it is the WebSocket's, or is closed.

        Args:
            request: the request.
            sock: the socket it came from: gevent's or the standard library's, plain or TLS.
            head: what has been read of the socket behind the request.

        Returns None where the request was refused, or answered by ``process_request``, or its client has gone away.
        """
        outcome = None
        try:
            introduce(request, sock)
            outcome = self.open(request, lambda response: (sock, head))
            if isinstance(outcome, WebSocket):
                return outcome
            if outcome is not None:
                self._send(sock, outcome)
        except BaseException:
            if isinstance(outcome, WebSocket):
                outcome.terminate()
            sock.close()
            raise
        if outcome is not None:
            hang_up(sock)
        return None

    def open(self, request: Request, take: Take) -> WebSocket | Response | None:
        """Answer a request whose connection is still in the hands of an HTTP server; `upgrade` without the refusals.

        Args:
            request: the request.
            take: called with the 101 that is about to be sent where the request is accepted, and only there; returns
                the socket and what has been read of it behind the request. The socket is used up from then on.

        Returns the WebSocket; or the Response with which the request was refused, or answered by ``process_request``,
        for the server to send; or None where the client has gone away.
        """
        if self.trusted_proxies is not None:
            request.client_address = self.trusted_proxies.client_address(request)
        if self._limits is None:
            return self._open(request, take, self._closed)
        place = self._limits.enter(request.client_address)
        ws = None
        try:
            ws = self._open(request, take, partial(self._left, place))
        finally:
            if not isinstance(ws, WebSocket):
                place.leave()
        return ws

    def _open(self, request: Request, take: Take, on_closed: OnClosed) -> WebSocket | Response | None:
        show_request("<", request)
        response, agreement = self._answer(request)
        if agreement is None:
            return response
        sock, head = take(response)
        try:
            if self._send(sock, response):
                return self._make(sock, agreement, request, response, head, on_closed)
        except BaseException:
            sock.close()
            raise
        return None

    def refuse(self, sock: Any, error: HandshakeError, request: Request | None = None) -> None:
        """Answer a request that cannot be read, or is not accepted, with the error's response; closes the socket."""
        try:
            self._send(sock, self.response_to(error, request))
        except BaseException:
            sock.close()
            raise
        hang_up(sock)

    def stats(self) -> ServerStats:
        """The numbers of all connections so far.

        With ``track_clients=False`` the sums are those of the connections that have ended.
        """
        return self._totals.stats(list(self.clients))

    # What to answer

    def _answer(self, request: Request) -> tuple[Response, Agreement | None]:
        try:
            return self._decide(request)
        except HandshakeError as error:
            return self.response_to(error, request), None

    def _decide(self, request: Request) -> tuple[Response, Agreement | None]:
        """Raises HandshakeError where the request is refused, by the rules or because a hook failed."""
        upgrade = is_upgrade(request)
        if upgrade:
            self._check(request)
        answer = None
        if self._process_request is not None:
            answer = self._call("process_request", self._processed, request, self._process_request)
        if answer is not None:
            if upgrade:
                logger.info("refused an opening handshake: process_request answered %s", answer.status)
                self._count_refusal(request, answer)
            return answer, None
        if not upgrade:
            self._check(request)
        response, agreement = self._call("select_subprotocol", self._handshake.accept, request)
        if self._process_response is not None:
            response = self._call("process_response", self._edited, request, response, self._process_response)
        return response, agreement

    def _check(self, request: Request) -> None:
        if not self._call("should_handle", self.should_handle, request):
            text = "there is no WebSocket here"
            raise HandshakeError(text, refusal(404, text))
        self._handshake.check(request)
        if self._limits is not None:
            self._limits.check(request.client_address)

    def _processed(self, request: Request, process_request: ProcessRequest) -> Response | None:
        answer = _checked_answer("process_request", process_request(request))
        return None if answer is None else _final(answer, request)

    def _edited(self, request: Request, response: Response, process_response: ProcessResponse) -> Response:
        """The 101 as the user's function leaves it; ValueError where it takes away what the handshake needs."""
        settled = protected_headers(response.headers)
        response = _checked_answer("process_response", process_response(request, response)) or response
        if response.status != 101 or protected_headers(response.headers) != settled:
            raise ValueError("process_response changed what the opening handshake itself needs")
        response.serialize()
        return response

    def response_to(self, error: HandshakeError, request: Request | None = None) -> Response:
        """The response with which a request is refused."""
        logger.info("refused an opening handshake: %s", error)
        response = self._own_response(error, request) or _final(error.response or _failed(), request)
        self._count_refusal(request, response)
        return response

    def _own_response(self, error: HandshakeError, request: Request | None) -> Response | None:
        """What the user's function wants to be sent."""
        if self._on_handshake_error is None:
            return None
        try:
            answer = _checked_answer("on_handshake_error", self._on_handshake_error(error, request))
            return None if answer is None else _final(answer, request)
        except Exception:
            logger.error("on_handshake_error failed", exc_info=True)
            return None

    def _count_refusal(self, request: Request | None, response: Response) -> None:
        self._totals.refuse(response.status)
        report_refused(self._options.metrics, request, response)

    def _call(self, name: str, hook: Callable[..., Any], *arguments: Any) -> Any:
        """Call what the user gave; where it raises, that is logged, and the request refused with 500."""
        try:
            return hook(*arguments)
        except Exception as error:
            logger.error("%s failed", name, exc_info=True)
            raise HandshakeError(f"{name} failed", _failed()) from error

    # What to do with the socket

    def _send(self, sock: Any, response: Response) -> bool:
        """Write the answer; False where the peer is gone or does not read."""
        try:
            show_response(">", response)
            sock.settimeout(0)
            left = try_to_send(sock, response.serialize())
            if left:
                with Deadline(self.open_timeout, "writing the answer"):
                    send_all(sock, left)
        except OSError as error:
            logger.info("could not answer an opening handshake: %s", error)
            sock.close()
            return False
        return True

    def _make(
        self,
        sock: Any,
        agreement: Agreement,
        request: Request,
        response: Response,
        head: bytes,
        on_closed: OnClosed,
    ) -> WebSocket:
        ws = self._websocket_class(
            sock,
            Side.SERVER,
            agreement,
            request=request,
            response=response,
            head=head,
            settings=self._deflate,
            options=self._options,
            on_closed=on_closed,
        )
        try:
            self._totals.begin()
            if self._track_clients:
                self._clients._websockets.add(ws)
            report_opened(ws)
            return ws
        except BaseException:
            ws.terminate()  # thrown in by a signal's handler: nobody gets it
            raise

    def _closed(self, ws: WebSocket) -> None:
        self._totals.end(ws)
        self._clients._websockets.discard(ws)

    def _left(self, place: Place, ws: WebSocket) -> None:
        place.leave()
        self._closed(ws)


def _limits(total: int | None, per_address: int | None) -> Limits | None:
    """None where nothing is limited, so that nothing is counted."""
    for name, most in (("max_connections", total), ("max_connections_per_address", per_address)):
        if most is not None:
            checked_count(name, most, 1)
    return None if total is None and per_address is None else Limits(total, per_address)


def _checked_path(path: str | None) -> str | None:
    if path is None:
        return None
    if not isinstance(path, str):
        raise TypeError(f"path is a str or None, not {path!r}")
    if not path.startswith("/"):
        raise ValueError(f"path begins with a slash, unlike {path!r}")
    if not is_target(path) or "?" in path:
        raise ValueError(f"path is a request's path as it is sent, percent-encoded and without a query, not {path!r}")
    return path


def _checked_answer(hook: str, answer: Response | None) -> Response | None:
    if answer is not None and not isinstance(answer, Response):
        raise TypeError(f"{hook} returns a Response or None, not {answer!r}")
    return answer


def _failed() -> Response:
    return refusal(500, "the server failed to answer")


def _final(response: Response, request: Request | None) -> Response:
    """An answer other than 101 as it is sent; ValueError where it cannot be. The connection ends with it."""
    if response.status < 200:
        raise ValueError(f"{response.status} does not answer a request")
    headers = response.headers.copy()
    if "close" not in (headers.get("Connection") or "").lower():
        headers["Connection"] = "close"  # RFC 7230 section 6.6
    if "Date" not in headers:
        headers["Date"] = http_date(time.time())
    body = response.body
    if request is not None and request.method == "HEAD":
        # RFC 7231 section 4.3.2: the head that a GET would get, and no body.
        headers["Content-Length"] = str(len(body))
        body = b""
    answer = Response(response.status, response.reason, headers, body)
    answer.serialize()  # raises where Content-Length does not agree with the body
    return answer
