"""Flask-SocketIO on the drop-ins, with the client of python-socketio."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from programs import Program

for library in ("flask_socketio", "simple_websocket", "requests", "websocket"):
    pytest.importorskip(library)

HERE = Path(__file__).parent
IGNORE = ("-W", "ignore")  # what these libraries warn of


@pytest.mark.parametrize("drop_in", ["gevent_websocket", "simple_websocket"])
@pytest.mark.parametrize("transports", [["websocket"], ["polling", "websocket"]], ids="-".join)
def test_client_talks_to_the_server(drop_in: str, transports: list[str]) -> None:
    with Program(*IGNORE, str(HERE / "socketio_server.py"), drop_in) as server:
        url = server.line()
        with Program(*IGNORE, str(HERE / "socketio_client.py"), url, *transports) as client:
            status, output, errors = client.finish()
        assert (status, errors) == (0, "")
        assert output.splitlines() == ["['welcome', {'user': 'ada'}]", "websocket"]
        server.signal(signal.SIGTERM)
        _, _, log = server.finish()
    assert "Traceback" not in log
    assert "websocket" in log
    if drop_in == "gevent_websocket":
        assert 'HTTP/1.1" 101' in log
