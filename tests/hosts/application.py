"""What the hosts serve: WebSocket endpoints, views that misbehave, and ordinary pages, in plain WSGI."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

import gevent

from geventws import HandshakeError, Request, Response, WebSocket, WebSocketApp, upgrade
from geventws.wsgi import respond

logging.basicConfig(format="%(levelname)s: %(message)s")

_ERRORS = {error.__name__: error for error in (RuntimeError, StopIteration, SystemExit, gevent.GreenletExit)}


def make_error(name: str) -> BaseException:
    return gevent.Timeout() if name == "Timeout" else _ERRORS[name]()


def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


def say_bye(ws: WebSocket) -> None:
    ws.send("bye")


def fail(ws: WebSocket) -> None:
    """Raise what the query names."""
    raise make_error(ws.request.query)


def let_in(request: Request) -> Response | None:
    return None if request.query == "key" else Response(401, body=b"who are you?\n")


_OPTIONS: dict[str, Any] = {"max_size": 2**23}
_APPS = {
    "/echo": WebSocketApp(echo, **_OPTIONS),
    "/compressed": WebSocketApp(echo, compression=True, **_OPTIONS),
    "/bye": WebSocketApp(say_bye),
    "/fail": WebSocketApp(fail),
    "/private": WebSocketApp(say_bye, process_request=let_in),
}


def view(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """A view that does what its query asks for once it has made a WebSocket and echoed."""
    what = environ["QUERY_STRING"].split("&")
    try:
        ws = upgrade(environ, None if "hidden" in what else start_response)
    except HandshakeError as error:
        assert error.response is not None
        return list(respond(error.response, environ, start_response))
    with ws:
        echo(ws)
    if "raise" in what:
        logging.warning("the view raises")
        raise make_error(what[-1])
    if "hidden" in what:
        start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"rubbish"]


def leave_early(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """A view that returns while its WebSocket is open."""
    hidden = environ["QUERY_STRING"] == "hidden"
    gevent.spawn(echo, upgrade(environ, None if hidden else start_response))
    if hidden:
        start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"rubbish"]


def descriptors(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """A page with the number of open descriptors."""
    body = str(len(os.listdir("/proc/self/fd"))).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


_VIEWS: dict[str, Any] = {"/view": view, "/early": leave_early, **_APPS}


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    return _VIEWS.get(environ["PATH_INFO"], descriptors)(environ, start_response)
