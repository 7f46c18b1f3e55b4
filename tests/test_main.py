"""The command line."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import socket as std_socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.queue import Queue
from programs import Program
from tools import certificates
from tools.proxying import Listener, tunnel_http

from geventws import (
    ConnectionClosed,
    InvalidStatus,
    PerMessageDeflate,
    Request,
    Response,
    WebSocket,
    WebSocketServer,
    connect,
)
from geventws.__main__ import main
from geventws.handlers import echo

DEADLINE = 10
WAIT = "10"  # seconds of silence, for connections that the server ends


class Lines(io.TextIOBase):
    """A standard output whose lines other greenlets can wait for."""

    def __init__(self) -> None:
        self.queue: Queue[str] = Queue()
        self.rest = ""

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            self.queue.put(line)
        return len(text)


Serve = Callable[..., str]
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Starts `geventws serve` on a free port and returns its URL."""
    output = Lines()
    running = []

    def start(*arguments: str) -> str:
        monkeypatch.setattr(sys, "stdout", output)
        running.append(gevent.spawn(main, ["serve", "--port", "0", *arguments]))
        return next(word for word in output.queue.get(timeout=DEADLINE).split() if "://" in word)

    yield start
    for greenlet in running:
        greenlet.kill()


@pytest.fixture
def pem(tmp_path: Path) -> dict[str, str]:
    """The names of files with a certificate chain for localhost, its key, and the authority's certificate."""
    names = {name: str(tmp_path / f"{name}.pem") for name in ("chain", "key", "authority")}
    authority = certificates.authority()
    authority.cert_pem.write_to_path(names["authority"])
    leaf = authority.issue_cert("localhost")
    leaf.private_key_pem.write_to_path(names["key"])
    for part in leaf.cert_chain_pems:
        part.write_to_path(names["chain"], append=True)
    return names


def echoed(url: str, message: str = "hello", **options: Any) -> Any:
    with connect(url, **options) as ws:
        ws.send(message)
        return ws.recv(timeout=DEADLINE)


class TestServe:
    def test_it_echoes_unless_told_otherwise(self, serve: Serve) -> None:
        url = serve()
        assert re.fullmatch(r"ws://127\.0\.0\.1:\d+/", url)
        assert echoed(url) == "hello"

    def test_echo_can_be_asked_for(self, serve: Serve) -> None:
        assert echoed(serve("--echo")) == "hello"

    def test_broadcast_sends_each_message_to_every_client(self, serve: Serve) -> None:
        url = serve("--broadcast")
        with connect(url) as one, connect(url) as other:
            other.ping().get(timeout=DEADLINE)
            one.send("news")
            assert (one.recv(timeout=DEADLINE), other.recv(timeout=DEADLINE)) == ("news", "news")

    def test_a_handler_is_imported_from_the_working_directory(
        self, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "served_by_test.py").write_text(
            "class Handlers:\n    @staticmethod\n    def greet(ws):\n        ws.send('from a module')\n"
        )
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", list(sys.path))
        with connect(serve("served_by_test:Handlers.greet")) as ws:
            assert ws.recv(timeout=DEADLINE) == "from a module"

    def test_any_other_path_is_refused(self, serve: Serve) -> None:
        url = serve("--path", "/chat")
        assert url.endswith("/chat")
        assert echoed(url) == "hello"
        with pytest.raises(InvalidStatus):
            connect(url + "s")

    def test_the_first_subprotocol_that_the_client_offers_is_used(self, serve: Serve) -> None:
        with connect(serve("--subprotocol", "v2", "--subprotocol", "v1"), subprotocols=["v1", "v2"]) as ws:
            assert ws.subprotocol == "v2"

    def test_messages_are_compressed_only_when_asked_for(self, serve: Serve) -> None:
        with connect(serve()) as ws:
            assert not ws.extensions
        with connect(serve("--compression")) as ws:
            assert ws.extensions.startswith("permessage-deflate")

    @pytest.mark.parametrize("trusted", ["1", "127.0.0.0/8"])
    def test_connections_are_limited_by_what_a_trusted_proxy_tells(self, serve: Serve, trusted: str) -> None:
        url = serve("--trusted-proxy", trusted, "--max-connections-per-address", "1", "--max-connections", "2")
        statuses = []
        with connect(url, headers={"X-Forwarded-For": "192.0.2.1"}):
            for client in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
                try:
                    ws = connect(url, headers={"X-Forwarded-For": client})
                    statuses.append(ws.response.status)
                except InvalidStatus as error:
                    statuses.append(error.response.status)
            ws.close()
        assert statuses == [429, 101, 503]

    def test_a_proxy_header_is_read_where_it_is_asked_for(self, serve: Serve) -> None:
        url = serve("--proxy-protocol", "--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "127.0.0.1")
        sock = std_socket.create_connection(("127.0.0.1", int(url.rstrip("/").rpartition(":")[2])))
        sock.sendall(b"PROXY UNKNOWN\r\n")
        assert echoed(url, sock=sock) == "hello"

    @pytest.mark.parametrize(
        "arguments, fault",
        [
            (["--proxy-protocol"], "proxy_protocol needs trusted_proxies"),
            (["--trusted-proxy", "nowhere"], "nowhere"),
            (["--listen", "fd://x"], "fd://3"),
            (["--max-connections", "0"], "max_connections"),
        ],
    )
    def test_options_that_make_no_sense_are_told(
        self, arguments: list[str], fault: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["serve", *arguments]) == 1
        errors = capsys.readouterr().err
        assert errors.startswith("geventws: ")
        assert fault in errors

    def test_longer_messages_than_max_size_end_the_connection(self, serve: Serve) -> None:
        with connect(serve("--max-size", "5")) as ws:
            ws.send("12345")
            assert ws.recv(timeout=DEADLINE) == "12345"
            ws.send("123456")
            with pytest.raises(ConnectionClosed) as caught:
                ws.recv(timeout=DEADLINE)
        assert caught.value.code == 1009

    def test_a_certificate_makes_it_serve_tls(self, serve: Serve, pem: dict[str, str], client_context: Any) -> None:
        url = serve("--host", "localhost", "--certfile", pem["chain"], "--keyfile", pem["key"])
        assert url.startswith("wss://localhost:")
        assert echoed(url, ssl_context=client_context) == "hello"

    @pytest.mark.parametrize("allowed", [["https://example.com"], ["https://other.example", "*"]])
    def test_pages_of_an_allowed_origin_are_let_in(self, serve: Serve, allowed: list[str]) -> None:
        url = serve(*(word for origin in allowed for word in ("--origin", origin)))
        assert echoed(url, origin="https://example.com") == "hello"

    def test_pages_of_another_origin_are_refused(self, serve: Serve) -> None:
        with pytest.raises(InvalidStatus) as caught:
            connect(serve(), origin="https://example.com")
        assert caught.value.response.status == 403

    @pytest.mark.parametrize(
        "arguments, complaint",
        [
            (["no_colon"], "a handler is named MODULE:HANDLER, not 'no_colon'"),
            (["no_such_module:handler"], "No module named 'no_such_module'"),
            (["geventws.handlers:no_such_name"], "module 'geventws.handlers' has no attribute 'no_such_name'"),
            (["geventws.handlers:__doc__"], "geventws.handlers:__doc__ is not callable"),
            (["--keyfile", "key.pem"], "keyfile needs certfile"),
            (["--certfile", "no-such-file.pem"], "cannot use no-such-file.pem: No such file or directory"),
            (["--origin", "http://two words"], "'http://two words' is no origin"),
            (["--path", "/x?y"], "without a query, not '/x?y'"),
            (["--subprotocol", "two words"], "subprotocol"),
            (["--max-size", "0"], "max_size"),
        ],
    )
    def test_what_cannot_be_served_is_told_in_one_line(
        self,
        arguments: list[str],
        complaint: str,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(sys, "path", list(sys.path))
        assert main(["serve", "--port", "0", *arguments]) == 1
        output, errors = capsys.readouterr()
        assert (output, errors.count("\n")) == ("", 1)
        assert errors.startswith("geventws: ")
        assert complaint in errors

    @pytest.mark.parametrize(
        "key, complaint",
        [
            (["--keyfile", "no-such-file.pem"], "no-such-file.pem: No such file or directory"),
            ([], "{chain}: there is no private key in it"),
        ],
    )
    def test_a_key_that_cannot_be_used_is_named(
        self, pem: dict[str, str], capsys: Captured, key: list[str], complaint: str
    ) -> None:
        assert main(["serve", "--port", "0", "--certfile", pem["chain"], *key]) == 1
        assert capsys.readouterr().err == f"geventws: cannot use {complaint.format(**pem)}\n"

    def test_a_port_in_use_is_told_in_one_line(self, serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
        port = serve().rpartition(":")[2].strip("/")
        assert main(["serve", "--port", port]) == 1
        errors = capsys.readouterr().err
        assert errors.count("\n") == 1
        assert errors.startswith("geventws: cannot listen: Address already in use")
        assert port in errors

    @pytest.mark.parametrize("port", ["65536", "-1", "http"])
    def test_a_port_that_is_none_is_refused(self, port: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as caught:
            main(["serve", "--port", port])
        assert caught.value.code == 2
        assert "a port is a number from 0 to 65535" in capsys.readouterr().err

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_closes_all_connections_and_ends_it(self, number: signal.Signals) -> None:
        with Program("-m", "geventws", "serve", "--port", "0") as program:
            ws = connect(program.address())
            program.signal(number)
            with pytest.raises(ConnectionClosed) as caught:
                ws.recv(timeout=DEADLINE)
            ws.wait_closed()
            assert program.finish() == (0, "", "")
        assert caught.value.code == 1001


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """Makes standard input a pipe that holds some bytes and then ends."""
    opened = []

    def make(data: bytes) -> None:
        reading, writing = os.pipe()
        opened.append(os.fdopen(reading))
        monkeypatch.setattr(sys, "stdin", opened[-1])
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(data)

    yield make
    for stream in opened:
        stream.close()


@pytest.fixture
def echo_server() -> Iterator[str]:
    """The URL of a server that sends everything back."""
    with WebSocketServer(("127.0.0.1", 0), echo, compression=True, subprotocols=["v1"]) as server:
        server.start()
        yield f"ws://127.0.0.1:{server.address[1]}"


@pytest.fixture
def echo_some() -> Iterator[Callable[[int], str]]:
    """Starts servers that send so many messages back and then close; returns their URL."""
    servers = []

    def start(count: int) -> str:
        def handle(ws: WebSocket) -> None:
            for _ in range(count):
                ws.send(ws.recv())

        servers.append(WebSocketServer(("127.0.0.1", 0), handle))
        return url_of(servers[-1])

    yield start
    for server in servers:
        server.stop()


def url_of(server: WebSocketServer, scheme: str = "ws") -> str:
    server.start()
    return f"{scheme}://localhost:{server.address[1]}"


Some = Callable[[int], str]
Typed = Callable[[bytes], None]


class TestConnect:
    def test_it_sends_each_line_and_prints_the_answers(self, echo_some: Some, typed: Typed, capsys: Captured) -> None:
        typed("hello\n\ngrüße\nno line end".encode())
        assert main(["connect", "--wait", WAIT, echo_some(4)]) == 0
        assert capsys.readouterr() == ("hello\n\ngrüße\nno line end\n", "")

    def test_it_sends_more_than_a_pipe_holds(self, echo_some: Some) -> None:
        lines = "".join(f"line {number}\n" for number in range(20000))
        with Program("-m", "geventws", "connect", "--wait", WAIT, echo_some(20000)) as program:
            assert program.finish(lines.encode()) == (0, lines, "")

    def test_answers_that_come_while_it_waits_are_printed(self, typed: Typed, capsys: Captured) -> None:
        def count_down(ws: WebSocket) -> None:
            for message in ws:
                for number in range(int(message), 0, -1):
                    gevent.sleep(0.01)
                    ws.send(str(number))

        typed(b"3\n")
        with WebSocketServer(("127.0.0.1", 0), count_down) as server:
            assert main(["connect", url_of(server)]) == 0
        assert capsys.readouterr().out == "3\n2\n1\n"

    def test_with_nothing_to_wait_for_it_closes_at_once(self, typed: Typed, capsys: Captured) -> None:
        codes = []

        def listen(ws: WebSocket) -> None:
            codes.extend([list(ws), ws.close_code])

        typed(b"hello\n")
        with WebSocketServer(("127.0.0.1", 0), listen) as server:
            assert main(["connect", "--wait", "0", url_of(server)]) == 0
        assert codes == [["hello"], 1000]

    def test_it_ends_when_the_server_closes(self, capsys: Captured) -> None:
        with (
            WebSocketServer(("127.0.0.1", 0), lambda ws: ws.send("goodbye")) as server,
            Program("-m", "geventws", "connect", url_of(server)) as program,
        ):
            assert program.line() == "goodbye"
            assert program.finish() == (0, "", "")

    @pytest.mark.parametrize(
        "close, told",
        [
            ((1001, "bye\n\x1b[31m"), "1001 (going away) bye\\n\\x1b[31m"),
            ((1000, "bye"), "1000 (normal closure) bye"),
        ],
    )
    def test_it_tells_how_the_server_closed(
        self, typed: Typed, capsys: Captured, close: tuple[int, str], told: str
    ) -> None:
        typed(b"")
        with WebSocketServer(("127.0.0.1", 0), lambda ws: ws.close(*close)) as server:
            assert main(["connect", "--wait", WAIT, url_of(server)]) == 0
        assert capsys.readouterr() == ("", f"connection closed: {told}\n")

    def test_it_tells_nothing_of_the_end_where_it_closes_itself(self, typed: Typed, capsys: Captured) -> None:
        typed(b"")
        with WebSocketServer(("127.0.0.1", 0), lambda ws: ws.wait_closed()) as server:
            assert main(["connect", "--wait", "0", url_of(server)]) == 0
        assert capsys.readouterr() == ("", "")

    def test_without_standard_input_it_listens_only(
        self, echo_server: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
    ) -> None:
        monkeypatch.setattr(sys, "stdin", None)
        assert main(["connect", "--wait", "0", echo_server]) == 0

    def test_binary_messages_are_described(self, typed: Typed, capsys: Captured) -> None:
        def send_bytes(ws: WebSocket) -> None:
            ws.send(b"\x00\xff")
            ws.send(bytes(65))

        typed(b"")
        with WebSocketServer(("127.0.0.1", 0), send_bytes) as server:
            assert main(["connect", url_of(server)]) == 0
        assert capsys.readouterr().out == f"(2 bytes) 00 ff\n(65 bytes) {' '.join(['00'] * 64)} ...\n"

    def test_headers_subprotocols_and_origin_are_sent(self, typed: Typed, capsys: Captured) -> None:
        seen: list[Request] = []

        def refuse(request: Request) -> Response:
            seen.append(request)
            return Response(403)

        with WebSocketServer(("127.0.0.1", 0), echo, origins="*", process_request=refuse) as server:
            arguments = "-H X-One:1 --header X-Two: --subprotocol v2 --subprotocol v1 --origin http://a.example"
            assert main(["connect", *arguments.split(), "-H", "X-Three: a:b ", url_of(server)]) == 1
        headers = seen[0].headers
        assert [headers[name] for name in ("X-One", "X-Two", "X-Three", "Origin")] == [
            "1",
            "",
            "a:b",
            "http://a.example",
        ]
        assert headers["Sec-WebSocket-Protocol"] == "v2, v1"
        assert capsys.readouterr().err == "geventws: cannot connect: the server answered 403 Forbidden\n"

    def test_compression_is_offered_unless_told_otherwise(self, typed: Typed, capsys: Captured) -> None:
        def tell(ws: WebSocket) -> None:
            ws.send(ws.extensions or "none")

        with WebSocketServer(("127.0.0.1", 0), tell, compression=PerMessageDeflate()) as server:
            url = url_of(server)
            for arguments in ([], ["--no-compression"]):
                typed(b"")
                assert main(["connect", *arguments, url]) == 0
        assert capsys.readouterr().out == "permessage-deflate\nnone\n"

    def test_an_authority_can_be_trusted_and_checks_be_left_out(
        self, typed: Typed, capsys: Captured, pem: dict[str, str], server_context: Any
    ) -> None:
        with WebSocketServer(("127.0.0.1", 0), lambda ws: ws.send("hello"), ssl_context=server_context) as server:
            url = url_of(server, "wss")
            for trust in (["--cafile", pem["authority"]], ["--insecure"]):
                typed(b"")
                assert main(["connect", "--wait", WAIT, *trust, url]) == 0
            assert capsys.readouterr() == ("hello\nhello\n", "")
            assert main(["connect", url]) == 1
        assert "certificate verify failed" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "arguments, complaint",
        [
            (["http//no.url"], ""),
            (["ws://localhost/#fragment"], "fragment"),
            (["-H", "X:\x00", "ws://127.0.0.1:1"], "X"),
            (["--insecure", "ws://127.0.0.1:1"], "--cafile and --insecure are for wss URLs"),
            (["--max-size", "0", "ws://127.0.0.1:1"], "max_size"),
            (["--timeout", "0", "ws://127.0.0.1:1"], "open_timeout"),
        ],
    )
    def test_what_cannot_be_tried_is_told_in_one_line(
        self, arguments: list[str], complaint: str, capsys: Captured
    ) -> None:
        assert main(["connect", *arguments]) == 1
        output, errors = capsys.readouterr()
        assert (output, errors.count("\n")) == ("", 1)
        assert errors.startswith("geventws: cannot connect: ")
        assert complaint in errors

    def test_authorities_that_cannot_be_read_are_told_in_one_line(self, capsys: Captured) -> None:
        assert main(["connect", "--cafile", "no-such-file.pem", "wss://127.0.0.1:1"]) == 1
        assert capsys.readouterr().err == "geventws: cannot use no-such-file.pem: No such file or directory\n"

    def test_a_proxy_of_the_environment_can_be_passed_by(
        self, echo_some: Some, typed: Typed, capsys: Captured, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url = echo_some(1)
        monkeypatch.setenv("ws_proxy", "http://127.0.0.1:1")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        typed(b"hello\n")
        assert main(["connect", url]) == 1
        errors = capsys.readouterr().err
        assert errors.startswith("geventws: cannot connect: the connection to the proxy http://127.0.0.1:1 failed: ")
        assert errors.endswith("; --no-proxy connects without it\n")
        assert main(["connect", "--no-proxy", "--wait", WAIT, url]) == 0
        assert capsys.readouterr().out == "hello\n"

    def test_a_proxy_can_be_named(self, echo_some: Some, typed: Typed, capsys: Captured) -> None:
        listener = Listener(tunnel_http)
        try:
            typed(b"hello\n")
            proxy = f"http://ada:s3cret@127.0.0.1:{listener.port}"
            assert main(["connect", "--proxy", proxy, "--wait", WAIT, echo_some(1)]) == 0
        finally:
            listener.stop()
        assert capsys.readouterr() == ("hello\n", "")
        assert listener.count == 1

    @pytest.mark.parametrize(
        "proxy, complaint",
        [
            ("socks5h://ada:s3cret@127.0.0.1:1", "the connection to the proxy socks5h://127.0.0.1:1 failed: "),
            ("ftp://ada:s3cret@127.0.0.1:1", "the proxy URL's scheme is not "),
        ],
    )
    def test_a_proxy_that_cannot_be_used_is_told_in_one_line(
        self, proxy: str, complaint: str, capsys: Captured
    ) -> None:
        assert main(["connect", "--proxy", proxy, "ws://127.0.0.1:1"]) == 1
        errors = capsys.readouterr().err
        assert errors.startswith(f"geventws: cannot connect: {complaint}")
        assert errors.count("\n") == 1
        assert "s3cret" not in errors
        assert "--no-proxy" not in errors

    def test_a_refused_connection_is_told_in_one_line(self, capsys: Captured) -> None:
        with std_socket.create_server(("127.0.0.1", 0)) as closed_soon:
            port = closed_soon.getsockname()[1]
        assert main(["connect", f"ws://127.0.0.1:{port}"]) == 1
        assert capsys.readouterr().err == "geventws: cannot connect: Connection refused\n"

    def test_a_silent_server_is_given_up_after_the_timeout(self, capsys: Captured) -> None:
        with std_socket.create_server(("127.0.0.1", 0)) as silent:
            assert main(["connect", "--timeout", "0.1", f"ws://127.0.0.1:{silent.getsockname()[1]}"]) == 1
        assert "0.1 s" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "words",
        [
            ["-H", "no colon"],
            ["--wait", "soon"],
            ["--wait", "-1"],
            ["--wait", "inf"],
            ["--proxy", "http://localhost", "--no-proxy"],
        ],
    )
    def test_options_that_make_no_sense_are_refused(self, words: list[str], capsys: Captured) -> None:
        with pytest.raises(SystemExit) as caught:
            main(["connect", *words, "ws://127.0.0.1:1"])
        assert caught.value.code == 2

    def test_a_connection_that_ends_badly_is_told_in_one_line(self, typed: Typed, capsys: Captured) -> None:
        typed(b"")
        with WebSocketServer(("127.0.0.1", 0), lambda ws: ws.close(4000, "no more\x1b room")) as server:
            assert main(["connect", "--wait", "5", url_of(server)]) == 1
        errors = capsys.readouterr().err
        assert errors.count("\n") == 1
        assert "4000 (private use) no more\\x1b room" in errors

    def test_messages_that_are_too_long_end_the_connection(
        self, echo_server: str, typed: Typed, capsys: Captured
    ) -> None:
        typed(b"123456\n")
        assert main(["connect", "--max-size", "5", echo_server]) == 1
        assert "1009" in capsys.readouterr().err

    def test_input_that_is_not_utf_8_is_told_in_one_line(
        self, echo_server: str, typed: Typed, capsys: Captured
    ) -> None:
        typed(b"\xff\n")
        assert main(["connect", echo_server]) == 1
        assert capsys.readouterr().err == "geventws: the input is not UTF-8\n"

    def test_ctrl_c_closes_the_connection(self) -> None:
        codes: Queue[int | None] = Queue()

        def listen(ws: WebSocket) -> None:
            ws.send("ready")
            list(ws)
            codes.put(ws.close_code)

        with (
            WebSocketServer(("127.0.0.1", 0), listen) as server,
            Program("-m", "geventws", "connect", url_of(server)) as program,
        ):
            assert program.line() == "ready"
            program.signal()
            assert codes.get(timeout=DEADLINE) == 1000
            assert program.finish() == (130, "", "")

    def test_it_ends_quietly_when_nobody_reads_its_output(self) -> None:
        def talk(ws: WebSocket) -> None:
            for number in range(10**6):
                ws.send(str(number))

        with WebSocketServer(("127.0.0.1", 0), talk) as server:
            command = f"{sys.executable} -m geventws connect {url_of(server)} | head -n 1; exit ${{PIPESTATUS[0]}}"
            shell = gevent.subprocess.run(
                ["bash", "-c", command],
                stdin=gevent.subprocess.DEVNULL,
                stdout=gevent.subprocess.PIPE,
                stderr=gevent.subprocess.PIPE,
                timeout=DEADLINE,
            )
        assert (shell.returncode, shell.stdout, shell.stderr) == (0, b"0\n", b"")

    def test_it_leaves_its_input_in_blocking_mode(self, echo_server: str) -> None:
        reading, writing = os.pipe()
        with open(reading, "rb"), open(writing, "wb", buffering=0) as typed:
            command = [sys.executable, "-m", "geventws", "connect", "--wait", "0", echo_server]
            with gevent.subprocess.Popen(command, stdin=reading, stdout=gevent.subprocess.PIPE) as program:
                typed.write(b"hello\n")
                assert program.stdout.readline() == b"hello\n"
                stayed = os.get_blocking(reading)
                typed.close()
                assert program.wait(timeout=DEADLINE) == 0
        assert stayed

    def test_at_a_terminal_answers_are_marked_and_controls_shown(self, echo_server: str) -> None:
        with Terminal("-m", "geventws", "connect", echo_server) as terminal:
            terminal.type(b"a\x16\x1b[31mb\n")  # ^V takes the escape character as it is
            terminal.wait_for(b"< a\\x1b[31mb\r\n")
            terminal.type(b"\x04")
            assert terminal.status() == 0

    def test_at_a_terminal_each_line_of_a_message_is_marked(self) -> None:
        def talk(ws: WebSocket) -> None:
            ws.send("one\nconnection closed: 1000\n")
            ws.recv()

        with (
            WebSocketServer(("127.0.0.1", 0), talk) as server,
            Terminal("-m", "geventws", "connect", url_of(server)) as terminal,
        ):
            terminal.wait_for(b"< one\r\n< connection closed: 1000\r\n< \r\n")
            terminal.type(b"enough\n")
            terminal.wait_for(b"connection closed: 1000 (normal closure)\r\n")
            assert terminal.status() == 0


class Terminal:
    """A program that runs in a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        self._process = gevent.subprocess.Popen([sys.executable, *arguments], stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def type(self, data: bytes) -> None:
        os.write(self._master, data)

    def wait_for(self, expected: bytes) -> None:
        """Read until this is shown."""
        shown = b""
        while expected not in shown:
            gevent.socket.wait_read(self._master, timeout=DEADLINE)
            shown += os.read(self._master, 4096)

    def status(self) -> int:
        return int(self._process.wait(timeout=DEADLINE))


def test_the_version_is_told(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert re.fullmatch(r"geventws \d+\.\d+\S*\n", capsys.readouterr().out)


def test_a_command_is_required(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "COMMAND" in capsys.readouterr().err
