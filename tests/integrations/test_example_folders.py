"""The files in the folders of examples of gevent-websocket, simple-websocket and flask-sock run on the drop-ins."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.request import urlopen

import pytest
from documented import FOLDER, served, talk, typed_into

from geventws import ConnectionClosed, connect

pytest.importorskip("flask_sock")


def example(repository: str, path: str) -> Path:
    return FOLDER / repository / "examples" / path


def page(url: str) -> bytes:
    with urlopen(url) as response:
        return bytes(response.read())


def test_echo_server_of_gevent_websocket() -> None:
    with served("gevent_websocket", example("gevent-websocket", "echoserver.py"), patched=False) as url:
        talk(url, "/").close()
        assert page(f"{url}/version") == b"gevent-websocket/0.10.1"


def test_plot_of_gevent_websocket() -> None:
    with served("gevent_websocket", example("gevent-websocket", "plot_graph.py"), patched=False) as url:
        assert b"<html>" in page(url)
        with connect(url.replace("http", "ws") + "/data") as ws:
            for number in range(2):
                assert re.fullmatch(rf"0 {number} [\d.e-]+\n", ws.recv(timeout=5))


def test_chat_of_gevent_websocket() -> None:
    with served("gevent_websocket", example("gevent-websocket", "chat/chat.py")) as url:
        assert b"<html" in page(url)
        chat = url.replace("http", "ws") + "/chat"
        with connect(chat) as ada, connect(chat) as grace:
            ada.send_json({"msg_type": "update_clients", "nickname": "Ada"})
            assert sorted(ada.recv_json(timeout=5)["clients"]) == ["Ada", "anonymous"]
            message = {"msg_type": "message", "nickname": "Grace", "message": "hello"}
            grace.send_json(message)
            assert [ws.recv_json(timeout=5) for ws in (ada, grace)] == [message] * 2


def test_server_and_client_of_simple_websocket(tmp_path: Path) -> None:
    with served("simple_websocket", example("simple-websocket", "echoserver.py")) as url:
        assert b"<html>" in page(url)
        client = example("simple-websocket", "echoclient.py")
        assert typed_into(client, url, tmp_path, b"hello\n") == "> < hello\n> "
        ws = talk(url, "/echo")
        ws.send("close")
        assert ws.wait_closed(timeout=5)
        assert (ws.close_code, ws.close_reason) == (3000, "goodbye!")


@pytest.mark.parametrize("path", ["echo-gevent.py", "echo.py", "blueprints/run.py"])
def test_echo_of_flask_sock(path: str) -> None:
    with served("simple_websocket", example("flask-sock", path)) as url:
        assert b"<html>" in page(url)
        ws = talk(url, "/echo")
        ws.send("close")
        with pytest.raises(ConnectionClosed):
            ws.recv(timeout=5)
        assert ws.close_code == 1000


def test_clock_of_flask_sock() -> None:
    with served("simple_websocket", example("flask-sock", "clock.py")) as url:
        ws = connect(url.replace("http", "ws") + "/clock")
        assert re.fullmatch(r"\d+-\d\d-\d\d \d\d:\d\d:\d\d", ws.recv_json(timeout=5)["text"])
        ws.send("stop")
        assert ws.wait_closed(timeout=5)
