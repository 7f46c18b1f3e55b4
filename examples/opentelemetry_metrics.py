"""The numbers of a server for OpenTelemetry (https://opentelemetry.io).

    pip install opentelemetry-sdk
    python examples/opentelemetry_metrics.py    serves a few connections, and prints what would be exported

A program takes the reader of its exporter in place of the one that keeps all in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from geventws import (
    ConnectionStats,
    InvalidStatus,
    Metrics,
    Request,
    Response,
    ServerStats,
    WebSocket,
    WebSocketServer,
    connect,
)


class OpenTelemetryMetrics(Metrics):
    """Counters and histograms of a meter."""

    def __init__(self, meter: Meter) -> None:
        self.connections = meter.create_up_down_counter("websocket.connections", "{connection}")
        self.durations = meter.create_histogram("websocket.duration", "s")
        self.latencies = meter.create_histogram("websocket.latency", "s")
        self.refusals = meter.create_counter("websocket.refusals", "{handshake}")
        self.failures = meter.create_counter("websocket.failures", "{error}")

    def opened(self, ws: WebSocket) -> None:
        self.connections.add(1, {"path": ws.request.path})

    def closed(self, ws: WebSocket, stats: ConnectionStats) -> None:
        self.connections.add(-1, {"path": ws.request.path})
        self.durations.record(stats.age, {"code": stats.close_code or 0})

    def refused(self, request: Request | None, response: Response) -> None:
        self.refusals.add(1, {"status": response.status})

    def measured(self, ws: WebSocket, latency: float) -> None:
        self.latencies.record(latency)

    def failed(self, ws: WebSocket, error: BaseException) -> None:
        self.failures.add(1, {"error": type(error).__name__})


def observe(meter: Meter, stats: Callable[[], ServerStats]) -> None:
    """What adds up is read when it is exported."""

    def observed(name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def look(options: CallbackOptions) -> Iterable[Observation]:
            now = stats()
            for direction in ("received", "sent"):
                yield Observation(getattr(now, f"{name}_{direction}"), {"direction": direction})

        return look

    for name, unit in (("messages", "{message}"), ("payload", "By"), ("wire", "By")):
        meter.create_observable_counter(f"websocket.{name}", [observed(name)], unit)


def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


def main() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    meter = provider.get_meter("geventws")
    server = WebSocketServer(("127.0.0.1", 0), echo, path="/echo", metrics=OpenTelemetryMetrics(meter))
    observe(meter, server.stats)
    server.start()
    with server:
        url = f"ws://127.0.0.1:{server.address[1]}"
        with connect(f"{url}/echo") as ws:
            ws.send("hello")
            ws.recv(timeout=5)
        try:
            connect(f"{url}/elsewhere")
        except InvalidStatus:
            pass
    data = reader.get_metrics_data()
    for scope in data.resource_metrics[0].scope_metrics:
        for metric in scope.metrics:
            for point in metric.data.data_points:
                attributes = ", ".join(f"{key}={value}" for key, value in (point.attributes or {}).items())
                value = point.count if hasattr(point, "count") else point.value
                print(f"{metric.name} [{attributes}] {value}")
    provider.shutdown()


if __name__ == "__main__":
    main()
