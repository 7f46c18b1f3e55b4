"""WebSocket views in a Django application under WSGI.

A view runs its connection and then returns a response, which nobody gets: its status, 101, is for the server's access
log. So the view runs inside of all middleware; what the middleware does with the response comes when the connection
has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, overload

from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse

from ..handlers import run_handler
from ..http11 import Response
from ..upgrader import Upgrader
from ..websocket import WebSocket
from ..wsgi import open_websocket, sendable

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..options import UpgraderOptions

View = Callable[..., HttpResponse]
Handler = Callable[..., object]

_REQUEST = "django.request"


@overload
def websocket(handler: Handler, /) -> View: ...


@overload
def websocket(**options: Unpack[UpgraderOptions]) -> Callable[[Handler], View]: ...


def websocket(handler: Handler | None = None, /, **options: Unpack[UpgraderOptions]) -> Any:
    """Make a view of a function that talks to a WebSocket: ``handler(request, ws, ...)``.

    ::

        @websocket
        def chat(request, ws, room):
            for message in ws:
                ws.send(message)

        urlpatterns = [path("chat/<room>", chat)]

    The connection ends with the function as it does with the handler of a `WebSocketApp`. Decorators for views, as
    ``login_required``, stand above this one. The view is not part of a transaction (ATOMIC_REQUESTS), which would last
    as long as the connection. Its attribute ``clients`` has its open connections.

    Args:
        options: those of `Upgrader`. What its hooks are called with has Django's request as
            ``request.environ["django.request"]``.

    Raises ValueError or TypeError where an option makes no sense. The view raises InvalidState under a server that does
    not show its connections, as ``manage.py runserver``.
    """
    if handler is None:
        return partial(_make_view, options)
    return _make_view(options, handler)


def _make_view(options: UpgraderOptions, handler: Handler) -> View:
    if not callable(handler):
        raise TypeError("a view is made of a function that takes a request and a WebSocket")
    upgrader = Upgrader(**options)

    @wraps(handler)
    def view(request: HttpRequest, *arguments: Any, **values: Any) -> HttpResponse:
        environ = request.environ
        environ[_REQUEST] = request
        outcome = open_websocket(upgrader, environ, None)
        if isinstance(outcome, Response):
            return _refusal(outcome, environ)
        if outcome is not None:

            def run(ws: WebSocket) -> None:
                handler(request, ws, *arguments, **values)

            run_handler(run, outcome)
        return HttpResponse(status=101)

    view.clients = upgrader.clients  # type: ignore[attr-defined]
    for alias in connections:
        view = transaction.non_atomic_requests(alias)(view)
    return view


def _refusal(response: Response, environ: dict[str, Any]) -> HttpResponse:
    """What Django sends for a refused upgrade."""
    refusal = HttpResponse(response.body, status=response.status, reason=response.reason)
    for name, value in sendable(response.headers, environ):
        refusal.headers[name] = value
    return refusal
