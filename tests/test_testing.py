from __future__ import annotations

from typing import Any

import gevent
import pytest
from gevent import socket, ssl

from geventws import (
    CloseFrame,
    ConnectionClosedError,
    HandshakeError,
    InvalidStatus,
    PerMessageDeflate,
    Response,
    State,
    WebSocket,
    WebSocketServer,
    connect,
)
from geventws.testing import (
    CONTINUATION,
    PING,
    PONG,
    RSV1,
    TEXT,
    ScriptedPeer,
    ScriptedServer,
    pair,
    scripted,
)
from geventws.testing.wire import take_frame


class Special(WebSocket):
    pass


class TestPair:
    def test_sends_both_ways_and_closes_both(self) -> None:
        with pair() as (client, server):
            client.send("hello")
            assert server.recv(timeout=5) == "hello"
            server.send(b"\0")
            assert client.recv(timeout=5) == b"\0"
        assert (client.state, server.state) == (State.CLOSED, State.CLOSED)
        assert (client.close_code, server.close_code) == (1000, 1000)

    def test_does_the_opening_handshake(self) -> None:
        compression = PerMessageDeflate(server_max_window_bits=10)
        with pair(path="/a?b=c", subprotocols=["chat"], compression=compression, headers={"X-One": "1"}) as sides:
            assert sides.server.request.target == "/a?b=c"
            assert sides.server.request.headers["X-One"] == "1"
            assert sides.client.subprotocol == sides.server.subprotocol == "chat"
            assert "server_max_window_bits=10" in sides.client.extensions

    def test_takes_options_for_each_side_and_for_both(self) -> None:
        mine = {"websocket_class": Special}
        with pair(client=mine, server={"subprotocols": ["b"]}, subprotocols=["a", "b"], max_size=3) as (client, server):
            assert (type(client), type(server)) == (Special, WebSocket)
            assert server.subprotocol == "b"
            client.send("four")
            with pytest.raises(ConnectionClosedError):
                server.recv(timeout=5)
            with pytest.raises(ConnectionClosedError):
                client.recv(timeout=5)
            assert client.close_code == 1009

    def test_refusal_is_the_clients_error(self) -> None:
        with pytest.raises(InvalidStatus) as refused:
            pair(server={"process_request": lambda request: Response(401)})
        assert refused.value.response.status == 401

    @pytest.mark.parametrize("options", [{"max_size": "x"}, {"client": {"nonsense": 1}}, {"server": {"nonsense": 1}}])
    def test_option_that_makes_no_sense_is_an_error(self, options: dict[str, Any]) -> None:
        with pytest.raises(TypeError):
            pair(**options)

    def test_exception_ends_both_at_once(self) -> None:
        with pytest.raises(ZeroDivisionError), pair() as (client, server):
            raise ZeroDivisionError
        assert (client.close_code, server.close_code) == (1006, 1006)

    def test_side_that_is_paused_is_closed(self) -> None:
        with pair() as (client, server):
            server.pause()
        assert (client.close_code, server.close_code) == (1000, 1000)


class TestScripted:
    def test_peer_speaks_to_either_side(self, role: str) -> None:
        ws, peer = scripted(role)
        with peer:
            peer.text("hello")
            assert ws.recv(timeout=5) == "hello"
            ws.send(b"12")
            peer.expect_message(b"12")
            ws.start_close(CloseFrame(1001, "bye"))
            assert peer.finish_close() == (1001, "bye")
            if role == "client":
                peer.close()
            assert ws.wait_closed(timeout=5)

    def test_refusal_leaves_as_the_peers_error(self) -> None:
        with pytest.raises(HandshakeError):
            scripted("server", process_request=lambda request: Response(403))

    def test_options_are_the_websockets(self, role: str) -> None:
        ws, peer = scripted(role, ping_interval=None, websocket_class=Special)
        assert type(ws) is Special
        ws.terminate()
        peer.read_eof()
        peer.close()

    def test_frames_may_break_any_rule(self) -> None:
        ws, peer = scripted()
        with peer:
            peer.send(TEXT, b"x", rsv=RSV1)
            peer.expect_close(1002)
            with pytest.raises(ConnectionClosedError):
                ws.recv(timeout=5)


@pytest.fixture
def peers() -> Any:
    ends = socket.socketpair()
    client, server = (ScriptedPeer(end, client=not index) for index, end in enumerate(ends))
    yield client, server
    client.close()
    server.close()


Peers = tuple[ScriptedPeer, ScriptedPeer]


class TestScriptedPeer:
    def test_sees_frames_as_they_are(self, peers: Peers) -> None:
        client, server = peers
        client.send(TEXT, b"a" * 200, fin=False, rsv=3, key=b"1234")
        frame = server.read_frame()
        assert frame == (TEXT, b"a" * 200, False, 3, b"1234")
        server.send(PING, b"x", width=64)
        assert client.read_frame() == (PING, b"x", True, 0, None)

    def test_puts_messages_together_and_passes_over_control_frames(self, peers: Peers) -> None:
        client, server = peers
        client.send_bytewise(client.message_frames(TEXT, [b"a", b"b"])[:-7])
        client.ping()
        client.send(CONTINUATION, b"c")
        client.json({"d": 1})
        assert server.read_message() == "ac"
        assert server.read_message() == '{"d": 1}'

    def test_expectation_that_is_not_met_is_an_assertion_error(self, peers: Peers) -> None:
        client, server = peers
        for expect in (
            lambda: server.expect(PONG),
            lambda: server.expect(PING, b"y"),
            lambda: server.expect_message("a"),
            lambda: server.expect_close(1000),
        ):
            client.ping(b"x")
            client.text("b")
            client.send_close(1001)
            with pytest.raises(AssertionError):
                expect()
            server._frames.clear()

    def test_expectation_that_is_met_passes(self, peers: Peers) -> None:
        client, server = peers
        client.pong(b"x")
        client.binary(b"b")
        client.send_close(3000, "why")
        server.expect(PONG, b"x")
        server.expect_message(b"b")
        server.expect_close(3000, "why")

    def test_close_frame_may_be_empty(self, peers: Peers) -> None:
        client, server = peers
        client.send_close(None)
        assert server.finish_close(1001) == (1005, "")
        assert client.read_close() == (1001, "")

    def test_end_of_the_stream_is_told(self, peers: Peers) -> None:
        client, server = peers
        client.half_close()
        server.read_eof()
        with pytest.raises(EOFError):
            server.read_frame()

    def test_silence_is_a_timeout(self) -> None:
        end, other = socket.socketpair()
        with end, other, pytest.raises(TimeoutError):
            ScriptedPeer(end, client=True, timeout=0.01).read_frame()

    def test_connects_to_a_server(self) -> None:
        server = WebSocketServer(("127.0.0.1", 0), lambda ws: ws.send(ws.request.headers["X-One"]))
        server.start()
        with server, ScriptedPeer.connect(f"ws://127.0.0.1:{server.address[1]}", headers={"X-One": "1"}) as peer:
            assert peer.response is not None
            assert peer.response.status == 101
            peer.expect_message("1")
            peer.finish_close()
            peer.read_eof()

    def test_connects_to_a_unix_socket(self, tmp_path: Any) -> None:
        server = WebSocketServer(f"unix:{tmp_path}/s", lambda ws: ws.send("hello"))
        server.start()
        with server, ScriptedPeer.connect(f"ws+unix:{tmp_path}/s:/") as peer:
            peer.expect_message("hello")
            peer.reset()

    def test_refusal_is_an_error(self) -> None:
        server = WebSocketServer(("127.0.0.1", 0), lambda ws: None, path="/here")
        server.start()
        with server, pytest.raises(InvalidStatus):
            ScriptedPeer.connect(f"ws://127.0.0.1:{server.address[1]}/there")

    def test_speaks_no_tls(self) -> None:
        with pytest.raises(ValueError, match="TLS"):
            ScriptedPeer.connect("wss://127.0.0.1:1")

    def test_headers_of_the_answer_may_be_replaced(self) -> None:
        def script(peer: ScriptedPeer) -> None:
            peer.accept(headers={"Sec-WebSocket-Accept": "wrong"})

        with ScriptedServer(script) as server, pytest.raises(HandshakeError, match="Accept"):
            connect(server.url)

    def test_bytes_behind_a_head_are_not_lost(self, peers: Peers) -> None:
        client, server = peers
        client.send_bytes(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + client.frame(TEXT, b"early"))
        assert server.read_request().method == "GET"
        server.expect_message("early")

    def test_end_inside_of_a_head_is_told(self, peers: Peers) -> None:
        client, server = peers
        client.close()
        with pytest.raises(EOFError):
            server.read_request()

    def test_half_a_frame_is_none(self) -> None:
        assert take_frame(bytearray(b"\x81")) is None
        assert take_frame(bytearray(b"\x81\x7e\x00")) is None


class TestScriptedServer:
    def test_each_connection_has_its_script(self) -> None:
        def refuse(peer: ScriptedPeer) -> None:
            peer.read_request()
            peer.answer(Response(503))

        def greet(peer: ScriptedPeer) -> None:
            peer.accept()
            peer.text("hello")
            peer.finish_close()

        with ScriptedServer(refuse, greet) as server:
            with pytest.raises(InvalidStatus):
                connect(server.url)
            for _ in range(2):
                with connect(server.url) as ws:
                    assert ws.recv(timeout=5) == "hello"
        assert server.connections == 3

    def test_what_a_script_raises_is_raised_at_the_end(self) -> None:
        def script(peer: ScriptedPeer) -> None:
            peer.accept()
            peer.expect_message("good")

        with pytest.raises(AssertionError, match="bad"), ScriptedServer(script) as server:
            ws = connect(server.url)
            ws.send("bad")
            ws.wait_closed()

    def test_reset_is_seen(self) -> None:
        def script(peer: ScriptedPeer) -> None:
            peer.accept()
            peer.expect(TEXT)
            peer.reset()

        with ScriptedServer(script) as server:
            ws = connect(server.url)
            ws.send("x")
            with pytest.raises(ConnectionClosedError) as closed:
                ws.recv(timeout=5)
            assert isinstance(closed.value.__cause__, ConnectionResetError)

    def test_script_that_does_not_end_is_ended(self) -> None:
        with ScriptedServer(lambda peer: gevent.sleep(60), timeout=0.01) as server:
            sock = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))
            while not server.connections:
                gevent.sleep(0)
        with sock:
            assert sock.recv(1) == b""

    def test_error_of_the_test_itself_comes_first(self) -> None:
        def script(peer: ScriptedPeer) -> None:
            peer.accept()
            peer.expect_message("good")

        with pytest.raises(ZeroDivisionError), ScriptedServer(script) as server:
            ws = connect(server.url)
            ws.send("bad")
            ws.wait_closed()
            raise ZeroDivisionError

    def test_needs_a_script(self) -> None:
        with pytest.raises(TypeError):
            ScriptedServer()


def test_an_end_over_tls_that_is_told_as_an_error_is_an_end() -> None:
    """As gevent 24 does it where both sides have ended the TLS."""

    class Ended:
        def settimeout(self, seconds: float) -> None:
            pass

        def recv(self, size: int) -> bytes:
            raise ssl.SSLZeroReturnError

    assert ScriptedPeer(Ended(), client=True).read_some() == b""
