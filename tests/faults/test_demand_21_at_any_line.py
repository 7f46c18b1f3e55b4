"""Whatever a signal's handler raises between any two lines of a send, the stream stays whole and the next send goes on.

The compiled part has no lines: there, such an error can come only where a greenlet switches (demand 1), and these tests
are left out.
"""

from __future__ import annotations

import pytest
from broken import BIG, MIDDLE, SMALL, judge, parts, read_all, send_after
from tools.faults import LineFault, functions_of
from tools.numbered import numbered
from tools.tasks import start

from geventws import accelerated
from geventws.compression import Compressor
from geventws.deflate import Parameters
from geventws.offload import Offload
from geventws.protocol import Protocol
from geventws.sending import SendingConnection
from geventws.transport import Transport
from geventws.websocket import WebSocket

pytestmark = pytest.mark.skipif(accelerated, reason="compiled functions have no lines")

OPERATIONS = {
    "send": (lambda ws: ws.send(numbered(2, MIDDLE)), {}),
    "small send": (lambda ws: ws.send(numbered(2, SMALL)), {}),
    "fragments": (lambda ws: ws.send(parts(numbered(2, MIDDLE), 10_000)), {}),
    "compressed": (lambda ws: ws.send(numbered(2, MIDDLE)), {"deflate": Parameters()}),
    "compressed in a thread": (lambda ws: ws.send(numbered(2, BIG)), {"deflate": Parameters()}),
    "ping": (lambda ws: ws.ping(b"ping"), {}),
}


def functions():
    classes = (WebSocket, SendingConnection, Transport, Protocol, Compressor, Offload)
    return [function for cls in classes for function in functions_of(cls)]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("transport", ["unix"], indirect=True)
def test_a_send_that_is_broken_in_front_of_any_line(make_pair, operation):
    call, arguments = OPERATIONS[operation]
    for nth in range(1, 1000):
        ws, peer = make_pair(close_timeout=1, **arguments)
        ws.send(numbered(1, SMALL))
        reading = start(read_all, peer)
        with LineFault(functions(), nth, KeyboardInterrupt()) as fault:
            try:
                call(ws)
            except KeyboardInterrupt:
                pass
        sent_after = start(send_after, ws, 0.5).result(10)
        reading.result()
        judge(peer, sent_after, f"{operation} in front of {fault.place}")
        if not fault.place:
            break
    assert nth > 5
