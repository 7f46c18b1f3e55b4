from __future__ import annotations

from dataclasses import replace
from typing import Any

import gevent
import pytest
from gevent import socket
from tools import raw_http
from tools.timing import wait_until

from geventws import (
    ConnectionClosed,
    ConnectionStats,
    InvalidStatus,
    PerMessageDeflate,
    Response,
    ServerStats,
    WebSocket,
    WebSocketApp,
    WebSocketServer,
    connect,
)
from geventws.testing import TEXT, ScriptedPeer, WebSocketTestClient, pair, scripted


def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


class TestConnection:
    def test_messages_and_bytes_are_counted_each_way(self) -> None:
        with pair() as (client, server):
            client.send("grüße")
            client.send(b"abc")
            client.send(b"\0" * 70000)
            for _ in range(3):
                server.recv(timeout=5)
            client.flush(timeout=5)
            sent, received = client.stats(), server.stats()
        assert (sent.messages_sent, sent.payload_sent) == (3, 70010)
        assert sent.wire_sent == received.wire_received == 70010 + 2 * 6 + 14
        assert (received.messages_received, received.payload_received) == (3, 70010)
        assert (sent.messages_received, sent.payload_received, sent.wire_received) == (0, 0, 0)
        assert (received.messages_sent, received.payload_sent, received.wire_sent) == (0, 0, 0)

    def test_control_frames_are_bytes_on_the_wire_alone(self) -> None:
        with pair() as (client, server):
            client.ping(b"1234").get(timeout=5)
            stats = client.stats()
            assert (stats.messages_sent, stats.wire_sent, stats.wire_received) == (0, 10, 6)
            assert stats.latency == client.latency
            assert server.stats().latency is None

    def test_fragments_make_one_message(self) -> None:
        with pair() as (client, server):
            client.send(["ab", "cd"])
            assert server.recv(timeout=5) == "abcd"
            assert (client.stats().messages_sent, client.stats().payload_sent) == (1, 4)
            assert (server.stats().messages_received, server.stats().payload_received) == (1, 4)

    def test_streamed_message_is_counted_at_its_end(self) -> None:
        ws, peer = scripted()
        with peer:
            peer.send(TEXT, b"ab", fin=False)
            parts = ws.recv_streaming()
            assert next(parts) == "ab"
            assert ws.stats().messages_received == 0
            peer.send(0, b"c")
            assert "".join(parts) == "c"  # type: ignore[arg-type]
            assert (ws.stats().messages_received, ws.stats().payload_received) == (1, 3)
            ws.terminate()

    def test_message_that_breaks_a_rule_is_not_counted(self) -> None:
        ws, peer = scripted()
        with peer:
            peer.text("ok")
            peer.send(TEXT, b"\xff")
            peer.expect_close(1007)
            assert ws.stats().messages_received == 1
            peer.close()
            ws.wait_closed(timeout=5)

    def test_compression_is_that_of_the_compressed_messages(self) -> None:
        with pair(compression=PerMessageDeflate(threshold=100)) as (client, server):
            assert (client.stats().compression_sent, server.stats().compression_received) == (None, None)
            client.send("short")
            client.send("again " * 100)
            for _ in range(2):
                server.recv(timeout=5)
            sent, received = client.stats(), server.stats()
            assert sent.deflated_from == received.inflated_to == 600
            assert sent.deflated_to == received.inflated_from
            assert sent.compression_sent == received.compression_received == 600 / sent.deflated_to
            assert sent.payload_sent == 605

    def test_a_compressor_that_is_replaced_goes_on_counting(self) -> None:
        with pair(compression=PerMessageDeflate(threshold=1)) as (client, server):
            client.send("again " * 100)
            server.recv(timeout=5)
            with pytest.raises(gevent.Timeout), gevent.Timeout(0):
                client.send(b"\0" * 10_000_000)  # in a thread
            assert client.stats().deflated_from >= 600

    def test_queues_are_told(self) -> None:
        with pair() as (client, server):
            client.send("a")
            client.send("b")
            wait_until(lambda: server.stats().waiting == 2)
            server.recv()
            assert server.stats().waiting == 1
            server.pause()
            gevent.sleep(0)
            size = 5_000_000
            client.send(b"\0" * size)
            stats = client.stats()
            assert stats.buffered_amount == client.buffered_amount > 0
            assert stats.wire_sent + stats.buffered_amount == 7 * 2 + 14 + size
            client.terminate()

    def test_age_stops_at_the_end(self) -> None:
        with pair() as (client, _):
            first = client.stats().age
            gevent.sleep(0.002)
            assert 0 <= first < client.stats().age
        last = client.stats().age
        gevent.sleep(0.002)
        assert client.stats().age == last

    @pytest.mark.parametrize("closer", ["client", "server"])
    def test_end_tells_code_and_side(self, closer: str) -> None:
        with pair() as sides:
            assert (sides.client.stats().close_code, sides.client.stats().closed_by) == (None, None)
            getattr(sides, closer).close(3000)
        for ws in sides:
            assert (ws.stats().close_code, ws.stats().closed_by) == (3000, closer)

    def test_connection_that_breaks_off_has_no_closer(self) -> None:
        with pair() as (client, server):
            client.terminate()
            server.wait_closed(timeout=5)
            for ws in (client, server):
                assert (ws.stats().close_code, ws.stats().closed_by) == (1006, None)

    def test_connection_that_is_failed_tells_why(self, role: str) -> None:
        ws, peer = scripted(role)
        with peer:
            peer.send(TEXT, b"x", rsv=2)
            peer.expect_close(1002)
            peer.close()
            assert ws.wait_closed(timeout=5)
        assert (ws.stats().close_code, ws.stats().closed_by) == (1002, role)

    def test_close_without_answer_is_a_connection_that_broke_off(self) -> None:
        ws, peer = scripted(close_timeout=0.01)
        with peer:
            ws.close(1001)
        assert (ws.stats().close_code, ws.stats().closed_by) == (1006, None)

    def test_stats_cannot_be_changed(self) -> None:
        with pair() as (client, _):
            stats: Any = client.stats()
            assert isinstance(stats, ConnectionStats)
            with pytest.raises(AttributeError):
                stats.age = 0


@pytest.fixture
def server() -> Any:
    server = WebSocketServer(("127.0.0.1", 0), echo, path="/")
    server.start()
    with server:
        yield server


def url_of(server: WebSocketServer, path: str = "") -> str:
    return f"ws://127.0.0.1:{server.address[1]}{path}"


class TestServer:
    def test_sums_are_those_of_open_and_of_ended_connections(self, server: WebSocketServer) -> None:
        assert replace(server.stats(), age=0) == ServerStats(*[0] * 11, 0, 0, {}, {}, 0, 0)
        with connect(url_of(server), compression=False) as one:
            one.send("abc")
            one.recv(timeout=5)
        wait_until(lambda: server.stats().open == 0)
        with connect(url_of(server), compression=False) as two:
            two.send("de")
            two.recv(timeout=5)
            stats = server.stats()
            assert (stats.open, stats.opened, stats.close_codes) == (1, 2, {1000: 1})
            assert (stats.messages_received, stats.messages_sent) == (2, 2)
            assert (stats.payload_received, stats.payload_sent) == (5, 5)
            assert stats.wire_received == 3 + 6 + (2 + 6) + 2 + 6
            assert stats.age > 0
        wait_until(lambda: server.stats().close_codes == {1000: 2})

    def test_close_codes_are_a_histogram(self, server: WebSocketServer) -> None:
        for code in (1000, 1001, 1001):
            connect(url_of(server)).close(code)
        ScriptedPeer.connect(url_of(server)).reset()
        wait_until(lambda: server.stats().close_codes == {1000: 1, 1001: 2, 1006: 1})

    def test_refused_handshakes_are_counted_by_status(self, server: WebSocketServer) -> None:
        for _ in range(2):
            with pytest.raises(InvalidStatus):
                connect(url_of(server, "/elsewhere"))
        with pytest.raises(InvalidStatus):
            connect(url_of(server), origin="http://example.com")
        assert server.stats().refused == {404: 2, 403: 1}

    def test_answer_of_a_hook_is_a_refusal_where_a_websocket_was_asked_for(self) -> None:
        def refuse(request: Any) -> Response:
            return Response(401)

        server = WebSocketServer(("127.0.0.1", 0), echo, process_request=refuse)
        server.start()
        with server:
            with pytest.raises(InvalidStatus):
                connect(url_of(server))
            with socket.create_connection(server.address) as sock:
                sock.sendall(raw_http.plain_request())
                assert raw_http.read_response(sock)[0].status == 401
            assert server.stats().refused == {401: 1}

    def test_status_is_the_one_that_is_sent(self) -> None:
        app = WebSocketApp(echo, path="/here", on_handshake_error=lambda error, request: Response(418))
        with pytest.raises(InvalidStatus):
            WebSocketTestClient(app).websocket("/there")
        assert app.stats().refused == {418: 1}

    def test_application_has_stats(self) -> None:
        app = WebSocketApp(echo)
        with WebSocketTestClient(app).websocket() as ws:
            ws.send("x")
            ws.recv(timeout=5)
            assert (app.stats().open, app.stats().messages_received) == (1, 1)
        assert (app.stats().open, app.stats().opened, app.stats().close_codes) == (0, 1, {1000: 1})

    def test_without_tracking_the_sums_come_with_the_end(self) -> None:
        app = WebSocketApp(echo, track_clients=False)
        with WebSocketTestClient(app).websocket() as ws:
            ws.send("x")
            ws.recv(timeout=5)
            assert (app.stats().open, app.stats().messages_received) == (1, 0)
        assert app.stats().messages_received == 1

    def test_compression_of_the_sums(self) -> None:
        app = WebSocketApp(echo, compression=True)
        with WebSocketTestClient(app).websocket(compression=True) as ws:
            ws.send("again " * 1000)
            ws.recv(timeout=5)
            stats = app.stats()
            assert stats.compression_received == stats.inflated_to / stats.inflated_from > 10
            assert stats.compression_sent == stats.deflated_from / stats.deflated_to > 10

    def test_queues_of_open_connections_are_added(self) -> None:
        def ignore(ws: WebSocket) -> None:
            ws.wait_closed()

        app = WebSocketApp(ignore)
        with WebSocketTestClient(app).websocket() as ws:
            ws.send("x")
            wait_until(lambda: app.stats().waiting == 1)
            assert app.stats().buffered_amount == 0


def test_connection_that_is_refused_for_want_of_room_is_counted() -> None:
    app = WebSocketApp(echo, max_connections=1)
    client = WebSocketTestClient(app)
    with client.websocket():
        with pytest.raises(InvalidStatus):
            client.websocket()
        assert app.stats().refused == {503: 1}


def test_send_that_is_refused_is_not_counted() -> None:
    with pair() as (client, _):
        pass
    with pytest.raises(ConnectionClosed):
        client.send("late")
    assert client.stats().messages_sent == 0
