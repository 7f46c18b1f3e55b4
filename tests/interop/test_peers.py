"""Other libraries at the other end: `websockets` and, on Node.js, `ws`; in both roles, with and without compression."""

from __future__ import annotations

import json
import random
import shutil
import sys
from pathlib import Path

import pytest
from gevent import subprocess
from tools.timing import wait_until

from geventws import CloseCode, PerMessageDeflate, WebSocketServer, broadcast, connect

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


@pytest.mark.parametrize("seed", range(3))
def test_shared_and_own_messages_are_read_through_every_window(command, seed):
    """Each window from 8 to 15 bits, with and without context takeover, on a connection of its own."""
    chance = random.Random(seed)
    words = [chance.randbytes(8).hex() for _ in range(30)]
    sent = {}

    def hold(ws):
        sent[ws] = []
        for _ in ws:
            pass

    server = WebSocketServer(("127.0.0.1", 0), hold, compression=PerMessageDeflate(threshold=0))
    server.start()
    try:
        listener = start(command, "listener", f"ws://127.0.0.1:{server.address[1]}/", "deflate")
        wait_until(lambda: len(sent) == 16, timeout=20)
        clients = list(sent)
        for _ in range(60):
            message = " ".join(chance.choices(words, k=chance.randrange(1, 60)))
            chosen = clients if chance.random() < 0.5 else chance.sample(clients, 2)
            if chance.random() < 0.6:
                assert broadcast(chosen, message) == len(chosen)
            else:
                for ws in chosen:
                    ws.send(message)
            for ws in chosen:
                sent[ws].append(message)
        server.stop()
        output, errors = listener.communicate(timeout=25)
        assert listener.returncode == 0, errors.decode()
        assert sorted(json.loads(output)) == sorted(sent.values())
        assert len({ws.extensions for ws in clients}) == 16
    finally:
        server.stop()
