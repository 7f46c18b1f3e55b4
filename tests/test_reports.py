from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from tools.timing import wait_until

from geventws import InvalidStatus, Response, WebSocketApp, WebSocketServer, connect
from geventws.testing import TEXT, WebSocketTestClient, pair, scripted


class Log:
    """What the library logs."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def lines(self, name: str = "geventws") -> list[str]:
        return [record.getMessage() for record in self._caplog.records if record.name == name]

    def wait_for(self, part: str, name: str = "geventws") -> str:
        wait_until(lambda: any(part in line for line in self.lines(name)))
        return next(line for line in self.lines(name) if part in line)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[Log]:
    with caplog.at_level(logging.INFO, logger="geventws"):
        yield Log(caplog)


@pytest.fixture
def debug(caplog: pytest.LogCaptureFixture) -> Iterator[Log]:
    with caplog.at_level(logging.DEBUG, logger="geventws"):
        yield Log(caplog)


def test_opening_and_closing_are_one_line_each(log: Log) -> None:
    with pair(path="/chat?token=secret", subprotocols=["v1"], compression=True) as (client, server):
        client.send("x")
        server.recv(timeout=5)
        client.close(1001, "bye")
    wait_until(lambda: len(log.lines()) == 4)
    assert sorted(log.lines()[:2]) == [
        "opened the connection of a client to /chat, subprotocol v1, permessage-deflate",
        "opened the connection to ws://localhost/chat, subprotocol v1, permessage-deflate",
    ]
    line = log.wait_for("the connection to ws://localhost/chat was closed by the client after 0.")
    assert line.endswith(
        " s: received 1001 (going away) bye; sent 1001 (going away) bye "
        "(received 0 messages, 7 bytes; sent 1 messages, 18 bytes)"
    )
    assert "secret" not in str(log.lines())


def test_connection_that_breaks_off_tells_why(log: Log) -> None:
    with pair() as (client, server):
        client.terminate()
        server.wait_closed(timeout=5)
    assert "terminated" in log.wait_for("the connection to ws://localhost/ broke off")
    assert "without a close frame" in log.wait_for("the connection of a client to / broke off")


def test_refusals_tell_why(log: Log) -> None:
    app = WebSocketApp(lambda ws: None, path="/here", process_request=lambda request: Response(401))
    for path, line in (
        ("/there", "refused an opening handshake: there is no WebSocket here"),
        ("/here", "refused an opening handshake: process_request answered 401"),
    ):
        with pytest.raises(InvalidStatus):
            WebSocketTestClient(app).websocket(path)
        assert log.lines()[-1] == line


def test_nothing_is_told_where_the_level_is_higher(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="geventws"), pair() as (client, server):
        client.send("x")
        server.recv(timeout=5)
    assert not caplog.records


def test_heads_are_shown_without_secrets(debug: Log) -> None:
    def add_cookie(request: Any, response: Response) -> None:
        response.headers["Set-Cookie"] = "session=secret"

    server = WebSocketServer(("127.0.0.1", 0), lambda ws: None, process_response=add_cookie)
    server.start()
    secrets = {"Cookie": "a=secret", "Proxy-Authorization": "Basic secret", "X-Shown": "yes"}
    url = f"ws://127.0.0.1:{server.address[1]}/chat?token=secret"
    with server, connect(url, headers=secrets, auth=("ada", "secret")):
        pass
    lines = debug.lines("geventws.handshake")
    for mark in "<>":
        assert f"{mark} GET /chat?[not shown] HTTP/1.1" in lines
        assert f"{mark} Authorization: [not shown]" in lines
        assert f"{mark} Cookie: [not shown]" in lines
        assert f"{mark} Proxy-Authorization: [not shown]" in lines
        assert f"{mark} Set-Cookie: [not shown]" in lines
        assert f"{mark} X-Shown: yes" in lines
        assert f"{mark} HTTP/1.1 101 Switching Protocols" in lines
    wait_until(lambda: any("closed by" in line for line in debug.lines()))
    everything = str(debug.lines() + lines)
    assert "secret" not in everything
    assert "YWRhOnNlY3JldA" not in everything


class TestFrames:
    def test_each_is_a_line(self, debug: Log) -> None:
        ws, peer = scripted()
        with peer:
            ws.send("hello")
            peer.read_frame()
            peer.binary(b"\x00\xff")
            assert ws.recv(timeout=5) == b"\x00\xff"
            peer.ping(b"ab")
            peer.read_frame()
            peer.send_bytewise(peer.message_frames(TEXT, [b"one", b""]))
            assert ws.recv(timeout=5) == "one"
            peer.send_close(1001, "bye")
            ws.wait_closed(timeout=0.1)
            peer.close()
            ws.wait_closed(timeout=5)
        debug.wait_for("client > CLOSE", "geventws.frames")
        assert debug.lines("geventws.frames") == [
            "client > TEXT 'hello' [5 bytes] FIN",
            "client < BINARY 00ff [2 bytes] FIN",
            "client < PING 6162 [2 bytes] FIN",
            "client > PONG 6162 [2 bytes] FIN",
            "client < TEXT 'one' [3 bytes]",
            "client < CONTINUATION  [0 bytes] FIN",
            "client < CLOSE 1001 'bye' [5 bytes] FIN",
            "client > CLOSE 1001 'bye' [5 bytes] FIN",
        ]

    def test_long_payloads_are_cut(self, debug: Log) -> None:
        with pair() as (client, server):
            client.send("ü" * 5000)
            server.recv(timeout=5)
            server.send(b"\1" * 70000)
            client.recv(timeout=5)
        shown = f"TEXT '{'ü' * 32}'... [10000 bytes] FIN"
        assert debug.wait_for("client > TEXT", "geventws.frames").endswith(shown)
        assert debug.wait_for("server < TEXT", "geventws.frames").endswith(shown)
        assert debug.wait_for("client < BINARY", "geventws.frames").endswith("01" * 64 + "... [70000 bytes] FIN")

    def test_compressed_ones_are_marked(self, debug: Log) -> None:
        with pair(compression=True) as (client, server):
            client.send("x" * 2000)
            server.recv(timeout=5)
        assert debug.wait_for("client > TEXT", "geventws.frames").endswith(" FIN RSV1")

    def test_what_is_no_frame_is_told(self, debug: Log) -> None:
        ws, peer = scripted()
        with peer:
            peer.send(0x3)
            peer.expect_close(1002)
            peer.text("x")
            peer.close()
            ws.wait_closed(timeout=5)
        debug.wait_for("client > CLOSE", "geventws.frames")
        [line] = [line for line in debug.lines("geventws.frames") if " < " in line]
        assert line.startswith("client < no frame: the opcode is reserved")

    def test_those_behind_the_head_are_shown(self, debug: Log) -> None:
        app = WebSocketApp(lambda ws: ws.send("early"))
        with WebSocketTestClient(app).websocket() as ws:
            assert ws.recv(timeout=5) == "early"
        assert debug.wait_for("client < TEXT", "geventws.frames").endswith("'early' [5 bytes] FIN")

    def test_level_counts_when_the_connection_opens(self, caplog: pytest.LogCaptureFixture) -> None:
        with pair() as (client, server), caplog.at_level(logging.DEBUG, logger="geventws.frames"):
            client.send("x")
            server.recv(timeout=5)
        assert not caplog.records

    def test_what_is_sent_is_the_same(self, debug: Log) -> None:
        with pair(compression=True) as (client, server):
            for size in (0, 1, 125, 126, 4096, 4097, 65535, 65536, 300000):
                message = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
                client.send(message)
                assert server.recv(timeout=5) == message
                server.send(message)
                assert client.recv(timeout=5) == message

    def test_log_that_is_not_kept_up_with_has_gaps(self, debug: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("geventws.framelog._MOST_WAITING", 3)
        with pair() as (client, server):
            for _ in range(100):
                client.send("x")
            for _ in range(100):
                server.recv(timeout=5)
        assert 0 < len(debug.lines("geventws.frames")) < 100
