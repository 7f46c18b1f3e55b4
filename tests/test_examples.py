"""The examples are run as their docstrings say."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import browser
import pytest
from gevent import socket
from gevent.server import StreamServer
from programs import Program
from tools import certificates
from tools.proxying import Listener, read_request, tunnel_socks5

from geventws import ConnectionClosed, InvalidStatus, connect

EXAMPLES = Path(__file__).parent.parent / "examples"
NUMBER = r"\d+\.\d{3}"


def program(name: str, *arguments: str) -> Program:
    return Program(str(EXAMPLES / name), *arguments)


def output_of(name: str, *arguments: str) -> str:
    with program(name, *arguments) as running:
        status, output, errors = running.finish()
    assert (status, errors) == (0, "")
    return output


def pem(folder: Path) -> list[str]:
    """The names of files with a certificate chain for localhost, its key, and the authority's certificate."""
    authority = certificates.authority()
    leaf = authority.issue_cert("localhost")
    chain, key, trusted = (folder / name for name in ("chain.pem", "key.pem", "authority.pem"))
    leaf.cert_chain_pems[0].write_to_path(str(chain))
    leaf.private_key_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(trusted))
    return [str(chain), str(key), str(trusted)]


def test_echo() -> None:
    with program("echo.py", "serve", "--port", "0") as server:
        port = server.address().rpartition(":")[2]
        assert output_of("echo.py", "connect", "--port", port, "hello", "world") == "hello\nworld\n"
        server.signal()
        assert server.finish() == (0, "", "")


def test_chat() -> None:
    with program("chat.py", "--port", "0") as server:
        url = server.address()
        with connect(f"{url}/?name=Ada") as ada:
            assert ada.recv(timeout=5) == "Ada came in, 1 here"
            with connect(f"{url}/?name=Grace") as grace:
                assert [ws.recv(timeout=5) for ws in (ada, grace)] == ["Grace came in, 2 here"] * 2
                grace.send("hello")
                assert ada.recv(timeout=5) == "Grace: hello"
            assert ada.recv(timeout=5) == "Grace left, 1 here"
        server.signal()
        assert server.finish() == (0, "", "")


def test_broadcast() -> None:
    with program("broadcast.py", "--port", "0", "--interval", "0.01") as server:
        url = server.address()
        with connect(url) as one, connect(url) as other:
            for ws in (one, other):
                assert ws.recv_json(timeout=5) == {"symbols": ["ABC"], "currency": "EUR"}
            first = other.recv(timeout=5)
            while one.recv(timeout=5) != first:
                pass
            assert [one.recv(timeout=5) for _ in range(10)] == [other.recv(timeout=5) for _ in range(10)]
        server.signal()
        assert server.finish() == (0, "", "")


def test_authentication() -> None:
    assert output_of("authentication.py") == (
        "with the right password: hello ada\nwith a wrong one: 401 the user name or the password is wrong\n"
    )


def test_client_address() -> None:
    assert output_of("client_address.py").splitlines() == [
        "direct: 127.0.0.1",
        "behind a trusted proxy: 203.0.113.7",
        "with a header of its own, behind that proxy: 203.0.113.7",
        "with a header of its own, without a proxy: 127.0.0.1",
        "blocked: 403 not from there",
        "one too many: 429 there are 2 connections from this address already",
    ]


def test_binary_data() -> None:
    pytest.importorskip("numpy")
    assert output_of("binary_data.py") == "array: [1.0, 3.0, 5.0]\nnumpy: [0.0, 0.5, 1.0, 1.5, 2.0]\n"


def test_heartbeat() -> None:
    lines = output_of("heartbeat.py", "0.5").splitlines()
    assert sorted(lines[:2]) == ["server: lifeless says hello", "server: lively says hello"]
    assert lines[2:] == [
        "server: lifeless no longer answers",
        "server: lively said goodbye; its last ping took some time",
    ]


def test_reconnect() -> None:
    output = re.sub(r":\d+/", ":8000/", output_of("reconnect.py"))
    assert output.splitlines() == [
        "client: no connection to ws://127.0.0.1:8000/ (the server answered 503 Service Unavailable); "
        "the next attempt is in 0.0 s",
        "server: hello with Bearer second",
        "client: welcome",
        "server: one",
        "server: two",
        "client: the connection to ws://127.0.0.1:8000/ ended (received 1012 (service restart) back soon; "
        "sent 1012 (service restart) back soon); the next attempt is in 0.1 s",
        "server: hello with Bearer third",
        "client: welcome",
        "server: three",
    ]


def test_tls(tmp_path: Path) -> None:
    lines = output_of("tls.py", *pem(tmp_path)).splitlines()
    assert lines[0] == "nobody else can read this"
    assert lines[1].startswith("without that trust: ")


def test_https_site(tmp_path: Path) -> None:
    lines = output_of("https_site.py", *pem(tmp_path)).splitlines()
    assert lines == ["/echo: nobody else can read this", "/count: 0 1 2", "/: two WebSockets live here"]


def test_flask_login() -> None:
    pytest.importorskip("flask")
    with program("flask_login.py", "--port", "0") as server:
        url = server.address()
        chat = url.replace("http", "ws") + "/chat"
        with pytest.raises(InvalidStatus) as refused:
            connect(chat)
        assert refused.value.response.status == 401
        with urlopen(f"{url}/login", data=b"name=Ada") as response:
            assert response.read() == b"welcome\n"
            cookie = {"Cookie": response.headers["Set-Cookie"].partition(";")[0]}
        with urlopen(Request(url, headers=cookie)) as response:
            assert response.read() == b"hello Ada\n"
        ws = connect(chat, headers=cookie)
        ws.send("hello")
        assert ws.recv(timeout=5) == "Ada: hello"
        logout = Request(f"{url}/logout", headers=cookie, method="POST")
        with urlopen(logout) as response:
            assert response.read() == b"goodbye\n"
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(timeout=5)
        assert (closed.value.code, closed.value.reason) == (4001, "logged out")
        server.signal()
        assert server.finish() == (0, "", "")


def test_django_chat() -> None:
    pytest.importorskip("django")
    with program("django_chat.py", "--port", "0") as server:
        url = server.address()
        rooms = url.replace("http", "ws") + "/rooms/"
        with connect(rooms + "kitchen") as ada, connect(rooms + "kitchen") as grace, connect(rooms + "attic") as alan:
            for ws in (ada, grace, alan):
                ws.send("hello")
                assert ws.recv(timeout=5) == "hello"
            assert ada.recv(timeout=5) == "hello"
            with urlopen(url) as response:
                assert response.read() == b"kitchen: 2\nattic: 1\n"
            with pytest.raises(HTTPError, match="426"):
                urlopen(f"{url}/rooms/kitchen")
            server.signal()
            for ws in (ada, grace, alan):
                assert ws.wait_closed(timeout=5)
                assert ws.close_code == 1001
        assert server.finish() == (0, "", "")


def test_bottle_clock() -> None:
    pytest.importorskip("bottle")
    with program("bottle_clock.py", "--port", "0") as server:
        url = server.address()
        with urlopen(url) as response:
            assert b"new WebSocket" in response.read()
        with connect(url.replace("http", "ws") + "/clock") as ws:
            assert [bool(re.fullmatch(r"\d\d:\d\d:\d\d", ws.recv(timeout=5))) for _ in range(2)] == [True, True]
        server.signal()
        assert server.finish() == (0, "", "")


def test_gunicorn_reload() -> None:
    pytest.importorskip("gunicorn")
    with program("gunicorn_reload.py", "0") as server:
        url = server.address().replace("http", "ws")
        for number, code in ((signal.SIGHUP, 1012), (signal.SIGTERM, 1001)):
            with connect(url) as ws:
                ws.send("hello")
                assert ws.recv(timeout=5) == "hello"
                server.signal(number)
                assert ws.wait_closed(timeout=15)
                assert ws.close_code == code
        assert server.finish()[0] == 0


def test_round_trip_time() -> None:
    assert re.fullmatch(
        f"ping: +{NUMBER} ms\nmessage: {NUMBER} ms\nclosed with 1000\n", output_of("round_trip_time.py")
    )


def test_round_trip_time_to_a_given_server() -> None:
    with program("echo.py", "serve", "--port", "0") as server:
        assert output_of("round_trip_time.py", server.address()).startswith("ping: ")


def test_text() -> None:
    assert output_of("text.py") == "hello, Ada\nhello, Grace\n"


def test_several_endpoints() -> None:
    with program("several_endpoints.py", "--port", "0") as server:
        url = server.address()
        with urlopen(url) as response:
            assert response.read() == b"WebSockets live here too\n"
        base = url.replace("http", "ws")
        with connect(f"{base}/echo") as ws, connect(f"{base}/squeeze") as squeezed:
            ws.send("hello")
            assert ws.recv(timeout=5) == "hello"
            assert (ws.extensions, squeezed.extensions) == ("", "permessage-deflate")
        with connect(f"{base}/rooms/7") as ws:
            assert ws.recv(timeout=5) == "this is room 7"
        with pytest.raises(InvalidStatus, match="404"):
            connect(f"{base}/elsewhere")
        server.signal()
        assert server.finish() == (0, "", "")


def test_server_stats() -> None:
    with program("server_stats.py", "--port", "0") as server:
        url = server.address()
        with urlopen(url) as response:
            assert b"new WebSocket" in response.read()
        with connect(url.replace("http", "ws") + "/stats") as ws:
            assert re.fullmatch(r"\d+\.\d\d", ws.recv_json(timeout=5)["load"])
            ws.send("ask")
            assert ws.recv_json(timeout=5) == {"answer": "ask"}
        server.signal()
        assert server.finish() == (0, "", "")


@pytest.mark.skipif(browser.EXECUTABLE is None, reason="there is no Chromium")
@pytest.mark.timeout(120)
def test_server_stats_in_a_browser() -> None:
    with program("server_stats.py", "--port", "0") as server, browser.Browser() as chromium:
        tab = chromium.open(server.address() + "/")
        tab.wait_for(r"/^\d+\.\d ms$/.test(document.getElementById('time').textContent)")
        assert re.fullmatch(r"\d+\.\d\d", tab.evaluate("document.getElementById('load').textContent"))


def test_dead_server() -> None:
    assert output_of("dead_server.py", "0.2") == "the heartbeat: 1006 CLOSED\na ping by hand: 1006 CLOSED\n"


def test_proxy() -> None:
    refuses = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    socks, http = Listener(tunnel_socks5), Listener(lambda sock: sock.sendall(read_request(sock) and refuses))
    with program("echo.py", "serve", "--port", "0") as server:
        url = server.address()
        assert output_of("proxy.py", f"socks5h://127.0.0.1:{socks.port}", url) == "through a proxy\n"
        with program("proxy.py", f"http://127.0.0.1:{http.port}", url) as refused:
            status, output, errors = refused.finish()
    assert (status, output) == (1, "")
    assert re.match("the proxy: .*403", errors)
    socks.stop()
    http.stop()


def test_callbacks() -> None:
    lines = [
        "ping b'counting'",
        "message 1",
        "message 2",
        "message 3",
        "closed 1000 done",
        "error ConnectionRefusedError",
    ]
    assert output_of("callbacks.py").splitlines() == lines


def test_standard_streams() -> None:
    with program("echo.py", "serve", "--port", "0") as server, program("standard_streams.py", server.address()) as end:
        assert end.finish(b"hello\nworld") == (0, "hello\nworld", "11 bytes sent, 11 received\n")


def test_tcp_tunnel() -> None:
    def answer(sock: Any, _address: object) -> None:
        question = b"".join(iter(lambda: sock.recv(65536), b""))
        sock.sendall(question.upper())

    with StreamServer(("127.0.0.1", 0), answer) as target:
        target.start()
        with program("tcp_tunnel.py", "server", f"127.0.0.1:{target.address[1]}", "--port", "0") as far:
            with program("tcp_tunnel.py", "client", far.address(), "--port", "0") as near:
                port = int(near.address().rpartition(":")[2])
                with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
                    sock.sendall(b"question " * 10_000)
                    sock.shutdown(socket.SHUT_WR)
                    assert b"".join(iter(lambda: sock.recv(65536), b"")) == b"QUESTION " * 10_000
                near.signal()
                assert near.finish() == (0, "", "")
            far.signal()
            assert far.finish() == (0, "", "")


def test_prometheus_metrics() -> None:
    pytest.importorskip("prometheus_client")
    with program("prometheus_metrics.py", "--port", "0") as server:
        url = server.address().removesuffix("/metrics")
        with connect(url.replace("http", "ws"), compression=False) as ws:
            ws.send("hello")
            assert ws.recv(timeout=5) == "hello"
        with pytest.raises(InvalidStatus):
            connect(url.replace("http", "ws"), origin="http://example.com")
        with urlopen(f"{url}/metrics") as response:
            lines = response.read().decode().splitlines()
        for line in (
            "websocket_connections 0.0",
            "websocket_opened_total 1.0",
            'websocket_messages_total{direction="received"} 1.0',
            'websocket_wire_bytes_total{direction="sent"} 11.0',
            'websocket_closed_total{code="1000"} 1.0',
            'websocket_refused_total{status="403"} 1.0',
            'websocket_duration_seconds_bucket{le="1.0"} 1.0',
        ):
            assert line in lines
        server.signal()
        assert server.finish() == (0, "", "")


def test_opentelemetry_metrics() -> None:
    pytest.importorskip("opentelemetry.sdk")
    lines = output_of("opentelemetry_metrics.py").splitlines()
    for line in (
        "websocket.connections [path=/echo] 0",
        "websocket.duration [code=1000] 1",
        "websocket.refusals [status=404] 1",
        "websocket.messages [direction=received] 1",
        "websocket.payload [direction=sent] 5",
        "websocket.wire [direction=received] 19",
    ):
        assert line in lines


def test_every_example_has_a_test_and_says_how_to_run_it() -> None:
    for path in EXAMPLES.glob("*.py"):
        assert f"test_{path.stem}" in globals(), path.name
        assert f"python examples/{path.name}" in path.read_text(encoding="utf-8")
