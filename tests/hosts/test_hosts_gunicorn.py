"""gunicorn's workers and gevent.pywsgi's server close their WebSockets before they end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import Any

import gevent
import pytest
from host_process import Host, Kind
from tools import raw_http
from tools.peer import Peer
from tools.timing import wait_until

pytest.importorskip("gunicorn")

WORKER = "geventws.integrations.gunicorn.Worker"
WORKERS = (WORKER, "worker_class.Impatient")
GRACEFUL_TIMEOUT = 8
OVER = GRACEFUL_TIMEOUT / 4
CLIENTS = 200
KINDS = [Kind(host, tls) for host in (WORKER, "gevent", "gevent_pywsgi") for tls in (False, True)]
HOOK = "from geventws.integrations.gunicorn import graceful_close\npost_worker_init = graceful_close({})\n"

Start = Callable[..., Host]


@pytest.fixture
def start(tmp_path: Path, client_context: Any, certificate: Any) -> Iterator[Start]:
    """Starts gunicorn; the workers of its own get the hook."""
    with ExitStack() as stack:

        def start(kind: Kind, *arguments: str, hook: str = "") -> Host:
            words = ["--graceful-timeout", str(GRACEFUL_TIMEOUT), "--keep-alive", "20", *arguments]
            if kind.host not in WORKERS:
                (tmp_path / "gunicorn.conf.py").write_text(HOOK.format(hook))
                words += ["-c", str(tmp_path / "gunicorn.conf.py")]
            return stack.enter_context(
                Host(kind, tmp_path, client_context, certificate, "application", arguments=words)
            )

        yield start


class Client:
    """A client that answers the close frame, and remembers it and when it came."""

    def __init__(self, host: Host) -> None:
        self.peer: Peer = host.open("/echo")
        self.code = 0
        self.moment = 0.0
        self.greenlet = gevent.spawn(self._read)

    def _read(self) -> None:
        self.peer.timeout = GRACEFUL_TIMEOUT
        self.peer.sock.settimeout(GRACEFUL_TIMEOUT)
        self.code, _ = self.peer.read_close()
        self.moment = monotonic()
        self.peer.send_close(self.code)
        self.peer.read_eof()
        self.peer.close()


def check(host: Host, clients: list[Client], code: int) -> None:
    """All clients have been closed, with the code and not all at once; nothing has been killed."""
    for client in clients:
        client.greenlet.get()
    assert {client.code for client in clients} == {code}
    moments = [client.moment for client in clients]
    assert max(moments) - min(moments) > OVER / 4
    assert "Traceback" not in host.log
    assert "graceful timeout" not in host.log
    wait_until(lambda: len([access for access in host.accesses if access.status == "101"]) == len(clients))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_end_of_the_server_closes_with_1001(start: Start, kind: Kind) -> None:
    host = start(kind)
    clients = [Client(host) for _ in range(CLIENTS if kind == Kind(WORKER) else 20)]
    began = monotonic()
    host.signal(signal.SIGTERM)
    check(host, clients, 1001)
    assert host.wait() == 0
    assert monotonic() - began < GRACEFUL_TIMEOUT


@pytest.mark.parametrize("kind", KINDS[::2], ids=str)
def test_quick_end_of_the_server_closes_with_1001_at_once(start: Start, kind: Kind) -> None:
    host = start(kind)
    peers = [host.open("/echo") for _ in range(20)]
    began = monotonic()
    host.signal(signal.SIGQUIT)
    assert {peer.read_close() for peer in peers} == {(1001, "")}
    assert monotonic() - began < OVER
    assert host.wait() == 0
    assert "Traceback" not in host.log


@pytest.mark.parametrize("kind", KINDS[::2], ids=str)
def test_reload_closes_with_1012_and_the_next_worker_serves(start: Start, kind: Kind) -> None:
    host = start(kind)
    clients = [Client(host) for _ in range(CLIENTS if kind == Kind(WORKER) else 20)]
    began = monotonic()
    host.signal(signal.SIGHUP)
    check(host, clients, 1012)
    wait_until(lambda: "Worker exiting" in host.log, timeout=GRACEFUL_TIMEOUT)
    assert monotonic() - began < GRACEFUL_TIMEOUT
    again = Client(host)
    host.signal(signal.SIGTERM)
    again.greenlet.get()
    assert again.code == 1001
    assert host.wait() == 0


@pytest.mark.parametrize("kind", [Kind(WORKER), Kind("gevent")], ids=str)
def test_worker_that_has_served_enough_closes_with_1012(start: Start, kind: Kind) -> None:
    host = start(kind, "--max-requests", str(CLIENTS))
    began = monotonic()
    clients = [Client(host) for _ in range(CLIENTS)]
    check(host, clients, 1012)
    wait_until(lambda: "Worker exiting" in host.log, timeout=GRACEFUL_TIMEOUT)
    assert monotonic() - began < GRACEFUL_TIMEOUT
    assert host.ask(raw_http.plain_request()).status == 200


@pytest.mark.parametrize("kind", KINDS[::2], ids=str)
def test_new_upgrades_are_refused_meanwhile(start: Start, kind: Kind) -> None:
    host = start(kind)
    idle = host.connect()
    idle.sendall(raw_http.plain_request())
    assert raw_http.read_response(idle)[0].status == 200
    client = Client(host)
    host.signal(signal.SIGTERM)
    client.greenlet.get()
    idle.sendall(raw_http.request("/echo"))
    response, _ = raw_http.read_response(idle)
    assert (response.status, response.headers["Retry-After"]) == (503, "5")
    assert host.wait() == 0


@pytest.mark.parametrize("kind", [Kind("pywsgi", tls, False) for tls in (False, True)], ids=str)
def test_server_of_pywsgi_that_stops_does_the_same(start: Start, kind: Kind) -> None:
    host = start(kind)
    idle = host.connect()
    idle.sendall(raw_http.plain_request())
    assert raw_http.read_response(idle)[0].status == 200
    clients = [Client(host) for _ in range(CLIENTS)]
    host.signal(signal.SIGINT)
    gevent.wait([client.greenlet for client in clients], count=1)
    idle.sendall(raw_http.request("/echo"))
    response, _ = raw_http.read_response(idle)
    assert (response.status, response.headers["Retry-After"]) == (503, "5")
    check(host, clients, 1012)
    assert host.wait() == 0


def test_codes_and_time_are_options(start: Start) -> None:
    host = start(Kind("gevent"), hook="4001, over=0")
    clients = [Client(host) for _ in range(10)]
    host.signal(signal.SIGTERM)
    for client in clients:
        client.greenlet.get()
    assert {client.code for client in clients} == {4001}
    moments = [client.moment for client in clients]
    assert max(moments) - min(moments) < OVER / 4
    assert host.wait() == 0


def test_worker_class_may_have_other_options(start: Start) -> None:
    host = start(Kind("worker_class.Impatient"))
    client = Client(host)
    host.signal(signal.SIGTERM)
    client.greenlet.get()
    assert client.code == 4002
    assert host.wait() == 0


@pytest.mark.parametrize(
    "worker, hook, text", [("gthread", "", "not ThreadWorker"), ("gevent", "over=8", "less than graceful_timeout")]
)
def test_configuration_that_makes_no_sense_is_an_error_at_the_start(
    start: Start, worker: str, hook: str, text: str
) -> None:
    host = start(Kind(worker), hook=hook)
    assert host.wait() != 0
    assert text in host.log
