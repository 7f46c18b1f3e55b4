"""Handlers: how one is run, and ready-made ones, which the command line and the demo serve."""

from __future__ import annotations

from collections.abc import Callable

from gevent import Timeout

from .events import State
from .exceptions import ConnectionClosed
from .frames import CloseCode, CloseFrame
from .reports import report_failed
from .websocket import WebSocket

Handler = Callable[[WebSocket], object]

ON_FAILURE = "geventws.on_failure"
"""In a WSGI environment: a function that is called with what a handler raised, for tests."""


def run_handler(handler: Handler, ws: WebSocket) -> None:
    """Run a handler, and end the connection in the way that fits.

    When the handler returns, the connection is closed with 1000; when it raises an Exception or a gevent.Timeout, with
    1011, and that is logged, except for the ConnectionClosed of a client that has gone. Anything else that it raises,
    a kill among them, ends the connection with 1001 at once, and passes.
    """
    code = CloseCode.NORMAL_CLOSURE
    try:
        try:
            handler(ws)
        except (Exception, Timeout) as error:  # noqa: BLE001  (report_failed logs it)
            code = CloseCode.INTERNAL_ERROR
            # A handler need not catch what `recv` and `send` raise when the client goes. Where the client is still
            # there, it is another connection of the handler's that has ended, an error like any other.
            if not isinstance(error, ConnectionClosed) or ws.state is State.OPEN:
                report_failed(ws, error)
                if ws.environ is not None and ON_FAILURE in ws.environ:
                    ws.environ[ON_FAILURE](error)
        if ws.state is not State.CLOSED:
            ws.close(code)
    except BaseException:
        ws.start_close(CloseFrame(CloseCode.GOING_AWAY))
        raise
    finally:
        if ws.state is not State.CLOSED:
            ws.terminate()


def echo(ws: WebSocket) -> None:
    """Send each message back as it came."""
    for message in ws:
        ws.send(message)
