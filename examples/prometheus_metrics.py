"""The numbers of a server for Prometheus (https://prometheus.io), on the server's own port.

    pip install prometheus-client
    python examples/prometheus_metrics.py [--port N]    an echo server; its numbers are at /metrics

What adds up is read from `server.stats()` when Prometheus asks, and costs nothing in between. What has to be known one
by one, such as how long each connection has lasted, comes from a `Metrics`.
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterator

import gevent
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from geventws import ConnectionStats, Metrics, Request, Response, WebSocket, WebSocketServer


class PrometheusMetrics(Metrics):
    """Durations and latencies as histograms, and a failure of a handler by its kind."""

    def __init__(self, registry: CollectorRegistry) -> None:
        seconds = (1, 10, 60, 600, 3600, 86400)
        self.durations = Histogram("websocket_duration_seconds", "Of connections", buckets=seconds, registry=registry)
        self.latencies = Histogram("websocket_latency_seconds", "Of pings", registry=registry)

    def closed(self, ws: WebSocket, stats: ConnectionStats) -> None:
        self.durations.observe(stats.age)

    def measured(self, ws: WebSocket, latency: float) -> None:
        self.latencies.observe(latency)


class StatsCollector:
    """`server.stats()`, as Prometheus wants it."""

    def __init__(self, server: WebSocketServer) -> None:
        self.server = server

    def collect(self) -> Iterator[Metric]:
        stats = self.server.stats()
        yield GaugeMetricFamily("websocket_connections", "Open connections", stats.open)
        yield GaugeMetricFamily("websocket_buffered_bytes", "Not yet sent", stats.buffered_amount)
        yield CounterMetricFamily("websocket_opened", "Connections that were opened", stats.opened)
        for name, received, sent in (
            ("messages", stats.messages_received, stats.messages_sent),
            ("payload_bytes", stats.payload_received, stats.payload_sent),
            ("wire_bytes", stats.wire_received, stats.wire_sent),
        ):
            family = CounterMetricFamily(f"websocket_{name}", "In each direction", labels=["direction"])
            family.add_metric(["received"], received)
            family.add_metric(["sent"], sent)
            yield family
        yield by_number("websocket_closed", "Connections that have ended", "code", stats.close_codes)
        yield by_number("websocket_refused", "Opening handshakes", "status", stats.refused)


def by_number(name: str, text: str, label: str, counts: dict[int, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for number, count in counts.items():
        family.add_metric([str(number)], count)
    return family


def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", type=int, default=8000)
    port = arguments.parse_args().port
    registry = CollectorRegistry()

    def answer_http(request: Request) -> Response | None:
        if request.path != "/metrics":
            return None
        return Response(200, headers={"Content-Type": CONTENT_TYPE_LATEST}, body=generate_latest(registry))

    metrics = PrometheusMetrics(registry)
    server = WebSocketServer(("127.0.0.1", port), echo, process_request=answer_http, metrics=metrics)
    registry.register(StatsCollector(server))
    server.start()
    gevent.signal_handler(signal.SIGINT, server.stop)
    print(f"numbers at http://127.0.0.1:{server.address[1]}/metrics", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
