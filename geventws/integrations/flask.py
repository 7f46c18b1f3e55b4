"""WebSocket routes in a Flask application.

A route's view returns a response whose body is the WebSocket. So all that Flask does with a request happens as ever:
before and after it, with the session and its cookie; and the handler runs inside of the request's context.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from flask import Blueprint, Flask, current_app
from flask import Response as FlaskResponse

from ..handlers import run_handler
from ..http11 import Request, Response
from ..options import UpgraderOptions
from ..upgrader import ProcessResponse, Upgrader
from ..websocket import WebSocket
from ..wsgi import Environ, StartResponse, open_websocket, respond

if TYPE_CHECKING:
    from typing_extensions import Unpack

View = TypeVar("View", bound=Callable[..., object])

_OPTIONS = frozenset(UpgraderOptions.__annotations__) - {"path"}
_HEADERS = "geventws.flask_headers"


class Sock:
    """Adds WebSocket routes to an application.

    ::

        sock = Sock(app)

        @sock.route("/chat/<room>")
        def chat(ws, room):
            for message in ws:
                ws.send(message)

    The connection ends with the function as it does with the handler of a `WebSocketApp`.

    Args:
        app: the application; or call `init_app` later.
        options: those of `Upgrader`, for all routes, but ``path``.
    """

    def __init__(self, app: Flask | None = None, **options: Unpack[UpgraderOptions]) -> None:
        if "path" in options:
            raise TypeError("path is not an option: a route has one")
        Upgrader(**options)  # raises what it has to say now
        self._options = options
        self._rules: list[tuple[str, dict[str, Any]]] = []
        self._apps: list[Flask] = []
        self._upgraders: dict[Callable[..., object], list[Upgrader]] = {}
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Add the routes to an application: those that there are, and those that follow."""
        self._apps.append(app)
        for rule, options in self._rules:
            app.add_url_rule(rule, **options)

    def route(self, rule: str, *, bp: Blueprint | None = None, **options: Any) -> Callable[[View], View]:
        """Make a function the handler of a route: it is called with the WebSocket and the rule's values.

        Where there is also an ordinary route with the rule, that serves the plain requests; else Flask answers them
        with 400.

        Args:
            rule: the URL rule, as for `Flask.route`.
            bp: the blueprint that the route belongs to.
            options: those of `Upgrader` in place of the extension's, but ``path``; and those of `Flask.route`.

        Raises ValueError or TypeError where an option makes no sense.
        """
        own: dict[str, Any] = {**self._options, **{name: options.pop(name) for name in _OPTIONS & options.keys()}}
        own["process_response"] = _with_headers(own.get("process_response"))
        upgrader = Upgrader(**own)

        def decorate(handler: View) -> View:
            def view(**values: Any) -> FlaskResponse:
                response_class: Any = current_app.response_class
                response: FlaskResponse = _switching(response_class)(upgrader, partial(handler, **values))
                return response

            self._upgraders.setdefault(handler, []).append(upgrader)
            self._add(rule, bp, {"endpoint": handler.__name__, **options, "view_func": view, "websocket": True})
            return handler

        return decorate

    def clients(self, handler: Callable[..., object]) -> set[WebSocket]:
        """The connections that are open now of the routes of a handler."""
        return {ws for upgrader in self._upgraders[handler] for ws in upgrader.clients}

    def _add(self, rule: str, bp: Blueprint | None, options: dict[str, Any]) -> None:
        if bp is not None:
            bp.add_url_rule(rule, **options)
            return
        self._rules.append((rule, options))
        for app in self._apps:
            app.add_url_rule(rule, **options)


def _with_headers(process_response: ProcessResponse | None) -> ProcessResponse:
    """The hook that puts the headers of Flask's response (cookies, what after_request adds) into the 101."""

    def add_headers(request: Request, response: Response) -> Response | None:
        assert request.environ is not None
        for name, value in request.environ[_HEADERS]:
            response.headers.add(name, value)
        return None if process_response is None else process_response(request, response)

    return add_headers


@cache
def _switching(response_class: Any) -> Any:
    """A response that becomes a WebSocket; a subclass of the application's own, since Flask makes others into that."""

    class SwitchingResponse(response_class):  # type: ignore[misc]
        def __init__(self, upgrader: Upgrader, handler: Callable[..., object]) -> None:
            super().__init__(status=101)
            self._upgrader = upgrader
            self._handler = handler

        def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            headers = [item for item in self.get_wsgi_headers(environ) if not item[0].lower().startswith("content-")]
            environ[_HEADERS] = headers
            outcome = open_websocket(self._upgrader, environ, start_response)
            if isinstance(outcome, Response):
                for name, value in headers:
                    outcome.headers.add(name, value)
                return respond(outcome, environ, start_response)
            if outcome is not None:
                run_handler(self._handler, outcome)
            return []

    return SwitchingResponse
