"""Other libraries at the other end: `websockets` and, on Node.js, `ws`; in both roles, with and without compression."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from gevent import subprocess

from geventws import CloseCode, PerMessageDeflate, WebSocketServer, connect

HERE = Path(__file__).parent
LARGE = "Grüße, 世界 \N{GRINNING FACE} " * 20_000
MESSAGES = [
    ["text", ""],
    ["text", "hello"],
    ["binary", ""],
    ["binary", bytes(range(256)).hex()],
    ["text", LARGE],
    ["binary", bytes(300_000).hex()],
]
COMPRESSION = {"deflate": PerMessageDeflate(threshold=0), "plain": False}


@pytest.fixture(params=["websockets", "ws"])
def command(request):
    if request.param == "websockets":
        pytest.importorskip("websockets")
        return [sys.executable, HERE / "peer_websockets.py"]
    node = shutil.which("node")
    if node is None or not (HERE / "node_modules" / "ws").exists():
        pytest.skip("needs Node.js, and `npm install` in tests/interop")
    return [node, HERE / "peer_ws.mjs"]


@pytest.fixture(params=list(COMPRESSION))
def compression(request):
    return request.param


def start(command, *arguments):
    pipe = subprocess.PIPE
    return subprocess.Popen([*command, *arguments], stdin=pipe, stdout=pipe, stderr=pipe)


def echo(ws):
    for message in ws:
        ws.send(message)


def test_our_server_understands_their_client(command, compression):
    server = WebSocketServer(("127.0.0.1", 0), echo, compression=COMPRESSION[compression], max_size=None)
    server.start()
    try:
        url = f"ws://127.0.0.1:{server.address[1]}/"
        fragments = ["fragments", ["one, ", "two, ", "", "three"]]
        client = start(command, "client", url, compression)
        output, errors = client.communicate(json.dumps([*MESSAGES, fragments]).encode(), timeout=25)
        assert client.returncode == 0, errors.decode()
        told = json.loads(output)
        assert told["received"] == [*MESSAGES, ["text", "one, two, three"]]
        assert told["code"] == 1000
        assert told["compressed"] is (compression == "deflate")
    finally:
        server.stop()


def test_our_client_understands_their_server(command, compression):
    server = start(command, "server", "-", compression)
    try:
        port = int(server.stdout.readline())
        url = f"ws://127.0.0.1:{port}/"
        with connect(url, proxy=None, compression=COMPRESSION[compression], max_size=None) as ws:
            assert bool(ws.extensions) is (compression == "deflate")
            for kind, content in MESSAGES:
                message = content if kind == "text" else bytes.fromhex(content)
                ws.send(message)
                assert ws.recv(timeout=20) == message
            ws.send(["one, ", "two, ", "", "three"])
            assert ws.recv(timeout=20) == "one, two, three"
            assert ws.ping().get(timeout=20) < 20
        assert ws.close_code == CloseCode.NORMAL_CLOSURE
    finally:
        server.communicate(timeout=20)
    assert server.returncode == 0
