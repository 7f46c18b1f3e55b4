"""Hosts that show an application no connection: one clear error that names them, and all else works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from host_process import Host, Kind
from tools import raw_http
from tools.timing import wait_until

CASES = [
    pytest.param("waitress", "waitress does not show", id="waitress"),
    pytest.param("a2wsgi", "a gateway from WSGI to ASGI does not show", id="a2wsgi"),
]


@pytest.mark.parametrize("name, text", CASES)
def test_host_that_shows_no_connection_is_named_with_the_remedy(
    name: str, text: str, tmp_path: Path, client_context: Any, certificate: Any
) -> None:
    pytest.importorskip(name)
    with Host(Kind(name, patched=False), tmp_path, client_context, certificate) as host:
        assert host.ask(raw_http.plain_request("/")).status == 200
        assert host.ask(raw_http.plain_request("/echo")).status == 426
        assert host.ask(raw_http.request("/echo")).status == 500
        wait_until(lambda: "exceptions.InvalidState:" in host.log, timeout=10)
    line = next(line for line in host.log.splitlines() if "exceptions.InvalidState:" in line)
    assert f"no WebSocket can be opened here: {text}" in line
    assert "gunicorn -k gevent" in line
