from __future__ import annotations

from typing import Any

import gevent
import pytest
from gevent import get_hub
from tools.timing import wait_until

from geventws import (
    ConnectionStats,
    InvalidStatus,
    Metrics,
    Request,
    Response,
    Upgrader,
    WebSocket,
    WebSocketApp,
    WebSocketServer,
    connect,
)
from geventws.testing import WebSocketTestClient, pair


class Recorder(Metrics):
    """Keeps what it is told, and never from the hub."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def tell(self, *what: Any) -> None:
        assert gevent.getcurrent() is not get_hub()
        self.told.append(what)

    def opened(self, ws: WebSocket) -> None:
        self.tell("opened", ws)

    def refused(self, request: Request | None, response: Response) -> None:
        self.tell("refused", request and request.path, response.status)

    def closed(self, ws: WebSocket, stats: ConnectionStats) -> None:
        self.tell("closed", ws, stats)

    def measured(self, ws: WebSocket, latency: float) -> None:
        self.tell("measured", ws, latency)

    def failed(self, ws: WebSocket, error: BaseException) -> None:
        self.tell("failed", ws, error)

    def of(self, ws: WebSocket | None) -> list[str]:
        return [what for what, who, *_ in self.told if who is ws]


class Faulty(Metrics):
    def opened(self, ws: WebSocket) -> None:
        raise ZeroDivisionError

    def closed(self, ws: WebSocket, stats: ConnectionStats) -> None:
        raise ZeroDivisionError

    measured = failed = closed  # type: ignore[assignment]

    def refused(self, request: Request | None, response: Response) -> None:
        raise ZeroDivisionError


def fail(ws: WebSocket) -> None:
    raise KeyError("a bug")


def test_both_sides_tell_of_begin_and_end() -> None:
    metrics = Recorder()
    with pair(metrics=metrics) as (client, server):
        assert metrics.of(client) == metrics.of(server) == ["opened"]
        client.send("x")
        server.recv(timeout=5)
    wait_until(lambda: len(metrics.told) == 4)
    assert metrics.of(client) == metrics.of(server) == ["opened", "closed"]
    stats = {ws: rest[0] for what, ws, *rest in metrics.told if what == "closed"}
    assert stats == {ws: ws.stats() for ws in (client, server)}
    assert stats[client].messages_sent == 1


def test_server_tells_before_the_handler_runs() -> None:
    metrics = Recorder()
    seen: list[list[str]] = []
    app = WebSocketApp(lambda ws: seen.append(metrics.of(ws)), metrics=metrics)
    with WebSocketTestClient(app).websocket():
        pass
    assert seen == [["opened"]]


def test_refusals_are_told_on_both_sides() -> None:
    on_server, on_client = Recorder(), Recorder()
    server = WebSocketServer(("127.0.0.1", 0), fail, path="/here", metrics=on_server)
    server.start()
    with server, pytest.raises(InvalidStatus):
        connect(f"ws://127.0.0.1:{server.address[1]}/there", metrics=on_client)
    assert on_server.told == on_client.told == [("refused", "/there", 404)]


def test_request_that_cannot_be_read_is_told() -> None:
    metrics = Recorder()
    server = WebSocketServer(("127.0.0.1", 0), fail, metrics=metrics)
    server.start()
    with server, gevent.socket.create_connection(server.address) as sock:
        sock.sendall(b"nonsense\r\n\r\n")
        sock.recv(1000)
    assert metrics.told == [("refused", None, 400)]


def test_each_answered_ping_is_told() -> None:
    metrics = Recorder()
    with pair(client={"metrics": metrics}) as (client, _):
        latency = client.ping().get(timeout=5)
        wait_until(lambda: "measured" in metrics.of(client))
        assert metrics.told[-1] == ("measured", client, latency)


def test_heartbeats_are_told() -> None:
    metrics = Recorder()
    with pair(client={"metrics": metrics, "ping_interval": 0.001}) as (client, _):
        wait_until(lambda: metrics.of(client).count("measured") > 1)


def test_handler_that_raises_is_told() -> None:
    metrics = Recorder()
    client = WebSocketTestClient(WebSocketApp(fail, metrics=metrics))
    with pytest.raises(KeyError), client.websocket() as ws:
        ws.recv(timeout=5)
    wait_until(lambda: metrics.told[-1][0] == "closed")
    assert [what for what, *_ in metrics.told] == ["opened", "failed", "closed"]
    assert isinstance(metrics.told[1][2], KeyError)
    assert metrics.told[2][2].close_code == 1011


def test_metrics_that_fail_harm_nobody_and_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with pair(metrics=Faulty(), compression=True) as (client, server):
        client.ping().get(timeout=5)
        client.send("x")
        assert server.recv(timeout=5) == "x"
    wait_until(lambda: len(caplog.records) == 5)
    names = sorted(record.getMessage() for record in caplog.records)
    assert names == ["metrics.closed failed"] * 3 + ["metrics.opened failed"] * 2  # of which one is `measured`


def test_metrics_that_fail_for_a_refusal_harm_nobody() -> None:
    app = WebSocketApp(fail, metrics=Faulty(), path="/here")
    with pytest.raises(InvalidStatus) as refused:
        WebSocketTestClient(app).websocket("/there")
    assert refused.value.response.status == 404


def test_metrics_that_fail_for_a_handler_harm_nobody() -> None:
    client = WebSocketTestClient(WebSocketApp(fail, metrics=Faulty()))
    with pytest.raises(KeyError), client.websocket() as ws:
        ws.recv(timeout=5)
    assert ws.close_code == 1011


def test_metrics_may_wait_and_keep_the_order() -> None:
    class Slow(Recorder):
        def tell(self, *what: Any) -> None:
            gevent.sleep(0.001)
            super().tell(*what)

    metrics = Slow()
    with pair(client={"metrics": metrics}) as (client, _):
        for _ in range(3):
            client.ping().get(timeout=5)
    wait_until(lambda: len(metrics.told) == 5)
    assert metrics.of(client) == ["opened", "measured", "measured", "measured", "closed"]


@pytest.mark.parametrize("interruption", [gevent.Timeout, gevent.GreenletExit])
def test_interruption_while_the_opening_is_told_ends_the_connection(interruption: type[BaseException]) -> None:
    class Interrupted(Metrics):
        def opened(self, ws: WebSocket) -> None:
            opened.append(ws)
            raise interruption

    opened: list[WebSocket] = []
    with pytest.raises(interruption):
        pair(client={"metrics": Interrupted()})
    assert opened[0].close_code == 1006


def test_the_greenlet_that_tells_survives_an_interruption(hub_errors: list[Any]) -> None:
    class Interrupted(Recorder):
        def closed(self, ws: WebSocket, stats: ConnectionStats) -> None:
            super().closed(ws, stats)
            raise gevent.Timeout

    metrics = Interrupted()
    for count in (1, 2):
        with pair(client={"metrics": metrics}):
            pass
        wait_until(lambda count=count: len(hub_errors) == count)
    assert len(metrics.told) == 4
    hub_errors.clear()


def test_base_does_nothing() -> None:
    with pair(metrics=Metrics()) as (client, _):
        client.ping().get(timeout=5)


def test_other_objects_are_refused() -> None:
    nothing: Any = object()
    for make in (lambda: Upgrader(metrics=nothing), lambda: connect("ws://localhost", metrics=nothing)):
        with pytest.raises(TypeError, match=r"metrics is made from geventws\.Metrics"):
            make()
