"""The real hosts, with applications that were written for simple-websocket and gevent-websocket."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import gevent
import pytest
from host_process import GEVENT, OTHERS, Host, Kind, close
from tools import raw_http, wire
from tools.timing import wait_until

pytest.importorskip("gunicorn")

EARLY = wire.frame(wire.TEXT, b"early", key=b"abcd")
LONG = bytes(range(256)) * 2**15
WORKER = Kind("geventwebsocket.gunicorn.workers.GeventWebSocketWorker")
INSTALL = "from geventws.integrations.gevent_websocket import install\ninstall()\n"


@pytest.fixture(scope="module", params=GEVENT + OTHERS, ids=str)
def process(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, client_context: Any, certificate: Any
) -> Iterator[Host]:
    pytest.importorskip("flask_sock")
    folder = tmp_path_factory.mktemp("host")
    with Host(request.param, folder, client_context, certificate, "flask_sock_application") as host:
        yield host


def test_flask_sock_gets_early_frames_and_sends_long_messages_whole(host: Host) -> None:
    peer = host.open("/echo", EARLY)
    assert peer.read_message() == "early"
    sending = gevent.spawn(peer.binary, LONG)
    assert peer.read_message() == LONG
    sending.get()
    close(peer)
    access = host.wait_for_access()
    assert (access.target, access.status) == ("/echo", "101")


def test_flask_sock_refuses_with_an_ordinary_response(host: Host) -> None:
    assert host.ask(raw_http.request("/echo", {"Sec-WebSocket-Version": "7"})).status == 426
    assert host.wait_for_access().status == "426"


def test_flask_sock_on_a_worker_that_ends_gets_a_close_frame(
    tmp_path: Path, client_context: Any, certificate: Any
) -> None:
    pytest.importorskip("flask_sock")
    kind = Kind("geventws.integrations.gunicorn.Worker")
    with Host(kind, tmp_path, client_context, certificate, "flask_sock_application") as host:
        peer = host.open("/echo", EARLY)
        assert peer.read_message() == "early"
        host.signal(signal.SIGHUP)
        assert peer.finish_close(1012) == (1012, "")
        peer.read_eof()
        wait_until(lambda: "Worker exiting" in host.log, timeout=10)
        assert "Traceback" not in host.log


def test_flask_sock_on_a_worker_of_gunicorns_own_is_cut_off_with_a_close_frame(
    tmp_path: Path, client_context: Any, certificate: Any
) -> None:
    pytest.importorskip("flask_sock")
    with Host(Kind("gevent"), tmp_path, client_context, certificate, "flask_sock_application") as host:
        peer = host.open("/echo", EARLY)
        assert peer.read_message() == "early"
        host.signal(signal.SIGHUP)
        assert peer.read_close() == (1001, "")
        peer.read_eof()
        wait_until(lambda: "Worker exiting" in host.log, timeout=10)
        assert "Traceback" not in host.log


@pytest.fixture
def worker(tmp_path: Path, client_context: Any, certificate: Any) -> Iterator[Host]:
    """gunicorn with the worker that gevent-websocket's users name, and a configuration with install()."""
    (tmp_path / "gunicorn.conf.py").write_text(INSTALL)
    words = ["-c", str(tmp_path / "gunicorn.conf.py"), "--graceful-timeout", "8"]
    module = "gevent_websocket_application"
    with Host(WORKER, tmp_path, client_context, certificate, module, arguments=words) as host:
        yield host
        assert "Traceback" not in host.log


def test_worker_of_gevent_websocket_serves_websockets_and_pages(worker: Host) -> None:
    peer = worker.open("/", EARLY)
    assert peer.read_message() == "early"
    sending = gevent.spawn(peer.binary, LONG)
    assert peer.read_message() == LONG
    sending.get()
    close(peer)
    assert worker.wait_for_access().status == "101"
    assert worker.ask(raw_http.plain_request()).body == b"a page"


def test_worker_of_gevent_websocket_closes_with_1012_on_a_reload(worker: Host) -> None:
    peer = worker.open("/", EARLY)
    assert peer.read_message() == "early"
    began = monotonic()
    worker.signal(signal.SIGHUP)
    assert peer.finish_close(1012) == (1012, "")
    peer.read_eof()
    wait_until(lambda: "Worker exiting" in worker.log, timeout=8)
    assert monotonic() - began < 8
