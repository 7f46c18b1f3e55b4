"""The agents' choice, their common part and HTTP CONNECT, against a scripted proxy; SOCKS is in test_socks.py."""

from __future__ import annotations

import base64
import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import gevent
import pytest
from gevent import Timeout, ssl
from programs import Program
from tools import certificates
from tools.links import half_close, reset
from tools.proxying import (
    ESTABLISHED,
    Listener,
    read_request,
    relay,
    target_of,
    tunnel_http,
    tunnel_socks4,
    tunnel_socks5,
)
from tools.tasks import start
from tools.timing import let_hub_run, stopwatch, wait_until

from geventws import Request, Response, WebSocket, WebSocketServer, connect
from geventws import proxy as module
from geventws.exceptions import InvalidURL, ProxyError
from geventws.headers import parse_basic_credentials
from geventws.proxy import HTTPConnectAgent, SOCKSAgent, agent_for

Listen = Callable[..., int]
SECRET = "s3cret"


def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


def hang(sock: Any) -> None:
    read_request(sock)
    sock.recv(1)  # until the other side is gone


@pytest.fixture
def echo_url() -> Iterator[str]:
    with WebSocketServer(("127.0.0.1", 0), echo) as server:
        server.start()
        yield f"ws://localhost:{server.address[1]}/chat"


@pytest.fixture
def secure_echo_url(server_context: ssl.SSLContext) -> Iterator[str]:
    with WebSocketServer(("127.0.0.1", 0), echo, ssl_context=server_context) as server:
        server.start()
        yield f"wss://localhost:{server.address[1]}/chat"


def answers(*replies: bytes) -> Callable[[Any], None]:
    """Answers each request with the next of these, and waits for the other side to go."""

    def play(sock: Any) -> None:
        for reply in replies:
            read_request(sock)
            sock.sendall(reply)
        sock.recv(1)

    return play


def refusal_of(port: int, **options: Any) -> ProxyError:
    with pytest.raises(ProxyError) as caught:
        HTTPConnectAgent(f"http://127.0.0.1:{port}", **options).connect("example.com", 80, 5)
    return caught.value


def requested(listen: Listen, url: str = "http://127.0.0.1:{}", host: str = "example.com", **options: Any) -> Request:
    """The request that an agent sends."""
    heads: list[bytes] = []

    def play(sock: Any) -> None:
        heads.append(read_request(sock))
        sock.sendall(ESTABLISHED)

    HTTPConnectAgent(url.format(listen(play)), **options).connect(host, 443, 5).close()
    [line, *fields] = heads[0].decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, target, version = line.split(" ")
    return Request(method, target, [tuple(field.split(": ", 1)) for field in fields], version)  # type: ignore[misc]


# The whole way


def test_environment_leads_through_a_proxy(listen: Listen, echo_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tunnels: list[Any] = []

    def play(sock: Any) -> None:
        tunnels.append(sock)
        tunnel_http(sock)

    monkeypatch.setenv("all_proxy", f"http://127.0.0.1:{listen(play)}")
    for exceptions, count in (("", 1), ("example.com", 2), ("LOCALHOST", 2), ("127.0.0.1", 3)):
        monkeypatch.setenv("NO_PROXY", exceptions)
        with connect(echo_url) as ws:
            ws.send("hello")
            assert ws.recv(timeout=5) == "hello"
        assert len(tunnels) == count


PATCHED = """
import sys
{}
from geventws import connect
{}
url, *proxies = sys.argv[1:]
for proxy in proxies:
    with connect(url, proxy=proxy) as ws:
        ws.send("hello")
        print(ws.recv(timeout=10))
"""
PATCH = "from gevent import monkey; monkey.patch_all()"
LATE = "from gevent import monkey; monkey.patch_all(ssl=False)"  # for ssl, gevent warns that it is late


@pytest.mark.parametrize("patches", [("", ""), (PATCH, ""), ("", LATE), ("import socks", LATE)], ids=range(4))
def test_process_may_be_patched_early_late_or_not_at_all(
    listen: Listen, echo_url: str, patches: tuple[str, str]
) -> None:
    socks4, socks5 = listen(tunnel_socks4), listen(tunnel_socks5)
    proxies = [f"http://127.0.0.1:{listen(tunnel_http)}", f"socks4a://127.0.0.1:{socks4}"]
    proxies += [f"{scheme}://127.0.0.1:{socks5}" for scheme in ("socks5", "socks5h")]
    with Program("-c", PATCHED.format(*patches), echo_url, *proxies) as program:
        assert program.finish() == (0, "hello\n" * 4, "")


# The request


def test_tunnel_is_asked_for_by_host_and_port(listen: Listen) -> None:
    request = requested(listen)
    assert (request.method, request.target, request.version) == ("CONNECT", "example.com:443", "HTTP/1.1")
    assert request.headers["Host"] == "example.com:443"
    assert request.headers["User-Agent"].startswith("geventws/")
    assert "Proxy-Authorization" not in request.headers


@pytest.mark.parametrize(
    "host, target",
    [
        ("::1", "[::1]:443"),
        ("0:0::1", "[::1]:443"),
        ("fe80::1%eth0", "[fe80::1]:443"),
        ("127.0.0.1", "127.0.0.1:443"),
        ("bücher.example", "xn--bcher-kva.example:443"),
        ("EXAMPLE.com", "example.com:443"),
    ],
)
def test_host_is_written_as_a_url_has_it(listen: Listen, host: str, target: str) -> None:
    assert requested(listen, host=host).target == target


@pytest.mark.parametrize(
    "userinfo, options, credentials",
    [
        ("ada:s3cret@", {}, ("ada", "s3cret")),
        ("a%40b:p%3Aq%25@", {}, ("a@b", "p:q%")),
        ("gr%C3%BC%C3%9Fe:w@", {}, ("grüße", "w")),
        ("ada@", {}, ("ada", "")),
        ("ada:@", {}, ("ada", "")),
        ("", {"auth": ("ada", "s3:cret")}, ("ada", "s3:cret")),
        ("other:x@", {"auth": ("ada", "s3cret")}, ("ada", "s3cret")),
    ],
)
def test_credentials_are_sent_as_basic(
    listen: Listen, userinfo: str, options: dict[str, Any], credentials: tuple[str, str]
) -> None:
    request = requested(listen, f"http://{userinfo}127.0.0.1:{{}}", **options)
    assert parse_basic_credentials(request.headers["Proxy-Authorization"]) == credentials


@pytest.mark.parametrize("given", [{"X-Site": "a", "user-agent": "b"}, [("X-Site", "a"), ("User-Agent", "b")]])
def test_headers_are_added_and_replace_the_usual_ones(listen: Listen, given: Any) -> None:
    for headers in (given, lambda: given):
        request = requested(listen, headers=headers)
        assert request.headers["X-Site"] == "a"
        assert request.headers.get_all("User-Agent") == ["b"]
        assert request.headers["Host"] == "example.com:443"


def test_function_for_headers_is_called_for_each_tunnel(listen: Listen) -> None:
    tokens = iter("ab")
    agent = HTTPConnectAgent(
        f"http://127.0.0.1:{listen(lambda sock: sock.sendall(ESTABLISHED + read_request(sock)))}",
        headers=lambda: {"X-Token": next(tokens)},
    )
    for token in (b"a", b"b"):
        with agent.connect("example.com", 80, 5) as sock:
            assert b"X-Token: " + token in sock.recv(4096)


# The answer


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_bytes_behind_the_reply_are_kept_however_it_is_split(
    listen: Listen, tls: bool, client_context: Any, server_context: Any
) -> None:
    reply = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 Fine\r\nVia: x\r\n\r\n\r\n\r\nbanner"
    end = len(reply)
    cuts = iter(range(1, end + 1))

    def play(sock: Any) -> None:
        read_request(sock)
        cut = next(cuts)
        sock.sendall(reply[:cut])
        let_hub_run(2)
        sock.sendall(reply[cut:])

    port = listen(play, context=server_context if tls else None)
    options = {"ssl_context": client_context} if tls else {}
    agent = HTTPConnectAgent(f"{'https' if tls else 'http'}://localhost:{port}", **options)
    for _ in range(end):
        with agent.connect("example.com", 25, 5) as sock:
            assert sock.gettimeout() is None
            assert sock.makefile("rb").read(10) == b"\r\n\r\nbanner"


def test_reply_may_come_byte_by_byte(listen: Listen, echo_url: str) -> None:
    def play(sock: Any) -> None:
        host, port = target_of(read_request(sock))
        for byte in ESTABLISHED:
            sock.sendall(bytes((byte,)))
            let_hub_run(1)
        relay(sock, host, port)

    with connect(echo_url, proxy=f"http://127.0.0.1:{listen(play)}") as ws:
        ws.send("hello")
        assert ws.recv(timeout=5) == "hello"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200",
        b"HTTP/1.1 201 Created",
        b"HTTP/1.0 299 ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close",
    ],
)
def test_any_2xx_opens_the_tunnel_and_has_no_body(listen: Listen, head: bytes) -> None:
    agent = HTTPConnectAgent(f"http://127.0.0.1:{listen(answers(head + CRLF + CRLF + b'first'))}")
    with agent.connect("example.com", 80, 5) as sock:
        assert sock.recv(10) == b"first"


CRLF = b"\r\n"


@pytest.mark.parametrize(
    "status, fields, body, shown",
    [
        (407, "Proxy-Authenticate: Basic realm=x\r\nContent-Length: 4\r\n", b"no\r\nmore", b"no\r\n"),
        (407, "Transfer-Encoding: chunked\r\n", b"3\r\nwho\r\n1\r\n?\r\n0\r\n\r\n", b"who?"),
        (403, "Connection: close\r\n", b"", b""),
        (500, "Content-Length: 0\r\n", b"", b""),
        (503, "Content-Length: 9\r\n", b"come back", b"come back"),
        (302, "Location: http://elsewhere/\r\nContent-Length: 0\r\n", b"", b""),
        (101, "", b"", b""),
    ],
)
def test_refusal_has_the_proxys_response(listen: Listen, status: int, fields: str, body: bytes, shown: bytes) -> None:
    error = refusal_of(port := listen(answers(f"HTTP/1.1 {status} Sorry\r\n{fields}\r\n".encode() + body)))
    assert error.response is not None
    assert (error.response.status, error.response.body) == (status, shown)
    assert len(error.response.headers.items()) == fields.count("\r\n")
    assert str(error) == f"the proxy http://127.0.0.1:{port} refused the tunnel to example.com:80: {status} Sorry"
    assert error.proxy == f"http://127.0.0.1:{port}"
    assert error.step == "the request to the proxy"
    assert error.reply is None


def test_body_of_a_refusal_is_capped(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BODY", 100_000)

    def play(sock: Any) -> None:
        read_request(sock)
        sock.sendall(b"HTTP/1.1 500 Oops\r\n\r\n")
        while True:
            sock.sendall(b"x" * 65536)

    error = refusal_of(listen(play))
    assert error.response is not None
    assert error.response.body == b"x" * 100_000


def test_body_of_a_refusal_is_not_waited_for_long(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BODY_TIME", 0.05)
    with stopwatch() as watch:
        error = refusal_of(listen(answers(b"HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\nbeg")))
    assert error.response is not None
    assert error.response.body == b"beg"
    assert watch.seconds < 2


@pytest.mark.parametrize(
    "reply, fault",
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "begin with HTTP/1"),
        (b"HTTP/2 200\r\n\r\n", "begin with HTTP/1"),
        (b"\x05\x00", "control character"),
        (b"HTTP/1.1 abc OK\r\n\r\n", "three digits"),
        (b"HTTP/1.1 200 OK\nVia: x\n\n", "CR LF"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "no colon"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000, "longer than 16384 bytes"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200, "more than 128 lines"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, "longer than 16384 bytes|more than 128 lines"),
    ],
)
def test_what_is_no_answer_is_told(listen: Listen, reply: bytes, fault: str) -> None:
    error = refusal_of(listen(answers(reply)))
    assert str(error).startswith("the exchange with the proxy http://127.0.0.1:")
    assert error.response is None
    with pytest.raises(ProxyError, match=fault):
        raise error


@pytest.mark.parametrize("reply", [b"", b"H", b"HTTP/1.1 200 OK\r\n", ESTABLISHED[:-1]])
@pytest.mark.parametrize("end", ["close", "reset"])
def test_end_of_the_stream_before_the_answer_is_told(listen: Listen, reply: bytes, end: str) -> None:
    def play(sock: Any) -> None:
        read_request(sock)
        sock.sendall(reply)
        if end == "reset":
            let_hub_run(3)
            reset(sock)

    error = refusal_of(port := listen(play))
    assert error.step == "the exchange with the proxy"
    if end == "close":
        assert str(error) == f"the proxy http://127.0.0.1:{port} closed the connection without an answer"
    else:
        assert isinstance(error.__cause__, ConnectionResetError)


def test_silence_ends_at_the_deadline_and_names_the_proxy(listen: Listen, echo_url: str) -> None:
    port = listen(hang)
    agent = HTTPConnectAgent(f"http://ada:{SECRET}@127.0.0.1:{port}")
    text = f"the exchange with the proxy http://127.0.0.1:{port} took too long: the deadline of 0.05 s has passed"
    with pytest.raises(TimeoutError) as caught:
        agent.connect("example.com", 80, 0.05)
    assert str(caught.value) == text
    with pytest.raises(TimeoutError, match=f"the proxy http://127.0.0.1:{port} took too long"):
        connect(echo_url, proxy=agent, open_timeout=0.05)


def test_deadline_holds_while_an_endless_head_drips(listen: Listen) -> None:
    def play(sock: Any) -> None:
        read_request(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            sock.sendall(b"x")
            let_hub_run(2)

    with stopwatch() as watch, pytest.raises(TimeoutError):
        HTTPConnectAgent(f"http://127.0.0.1:{listen(play)}").connect("example.com", 80, 0.1)
    assert watch.seconds < 1


@pytest.mark.parametrize("interruption", [Timeout(), gevent.GreenletExit()], ids=["timeout", "kill"])
def test_callers_interruption_passes_and_the_socket_is_closed(listen: Listen, interruption: BaseException) -> None:
    seen: list[bytes] = []

    def play(sock: Any) -> None:
        seen.append(read_request(sock)[:7])
        seen.append(sock.recv(1))

    task = start(HTTPConnectAgent(f"http://127.0.0.1:{listen(play)}").connect, "example.com", 80, 5)
    wait_until(lambda: seen == [b"CONNECT"])
    task.kill(interruption, block=False)
    assert task.fault() is interruption
    wait_until(lambda: seen == [b"CONNECT", b""])


# Challenges


def challenge(connection: str = "", version: str = "1.1", **counted: int) -> bytes:
    number = counted.get("number", 1)
    head = f"HTTP/{version} 407 Who?\r\nProxy-Authenticate: Round {number}\r\nContent-Length: 2\r\n{connection}\r\n"
    return head.encode() + b"no"


def answer_round(request: Request, response: Response) -> str:
    assert request.method == "CONNECT"
    return f"Round {response.headers['Proxy-Authenticate'].split()[1]} for {request.target}"


@pytest.mark.parametrize(
    "connection, version, count",
    [
        ("", "1.1", 1),
        ("Connection: close\r\n", "1.1", 3),
        ("Proxy-Connection: Close\r\n", "1.1", 3),
        ("", "1.0", 3),
        ("Connection: Keep-Alive\r\n", "1.0", 1),
    ],
)
def test_challenges_are_answered_on_the_same_connection_where_it_persists(
    listen: Listen, connection: str, version: str, count: int
) -> None:
    """Each of two challenges is answered; NTLM needs the same connection for that."""
    seen: list[str] = []

    def play(sock: Any) -> None:
        while True:
            head = read_request(sock).decode()
            seen.append(head.partition("Proxy-Authorization: ")[2].partition("\r\n")[0])
            if len(seen) == 3:
                sock.sendall(ESTABLISHED)
                return
            sock.sendall(challenge(connection, version, number=len(seen)))
            if count > 1:
                return

    listener = Listener(play)
    try:
        agent = HTTPConnectAgent(f"http://127.0.0.1:{listener.port}", auth=answer_round)
        agent.connect("example.com", 80, 5).close()
        assert seen == ["", "Round 1 for example.com:80", "Round 2 for example.com:80"]
        assert listener.count == count
    finally:
        listener.stop()


def test_challenge_may_be_answered_with_user_and_password(listen: Listen) -> None:
    heads: list[bytes] = []

    def play(sock: Any) -> None:
        for reply in (challenge(), ESTABLISHED):
            heads.append(read_request(sock))
            sock.sendall(reply)

    agent = HTTPConnectAgent(f"http://127.0.0.1:{listen(play)}", auth=lambda request, response: ("ada", SECRET))
    agent.connect("example.com", 80, 5).close()
    assert b"Proxy-Authorization: Basic " + base64.b64encode(b"ada:s3cret") in heads[1]


def test_challenge_without_an_answer_is_a_refusal(listen: Listen) -> None:
    error = refusal_of(listen(answers(challenge())), auth=lambda request, response: None)
    assert error.response is not None
    assert (error.response.status, error.response.body) == (407, b"no")


def test_challenges_are_not_answered_for_ever(listen: Listen) -> None:
    asked: list[int] = []

    def auth(request: Request, response: Response) -> str:
        asked.append(response.status)
        return "wrong"

    assert refusal_of(listen(answers(*[challenge()] * 10)), auth=auth).response is not None
    assert asked == [407] * 3


def test_other_refusals_are_no_challenges(listen: Listen) -> None:
    error = refusal_of(listen(answers(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")), auth=answer_round)
    assert error.response is not None
    assert error.response.status == 401


@pytest.mark.parametrize("answer", [ValueError("mine"), 5, "a\r\nb"])
def test_error_of_the_answer_passes_and_closes_the_socket(listen: Listen, answer: Any) -> None:
    ended: list[bytes] = []

    def play(sock: Any) -> None:
        answers(challenge())(sock)
        ended.append(b"")

    def auth(request: Request, response: Response) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises((ValueError, TypeError)) as caught:
        HTTPConnectAgent(f"http://127.0.0.1:{listen(play)}", auth=auth).connect("example.com", 80, 5)
    if isinstance(answer, Exception):
        assert caught.value is answer
    wait_until(lambda: ended)


# TLS


def test_proxy_that_is_not_trusted_is_told(listen: Listen, server_context: Any) -> None:
    port = listen(tunnel_http, context=server_context)
    with pytest.raises(ProxyError, match="the TLS handshake with the proxy https://localhost:") as caught:
        HTTPConnectAgent(f"https://localhost:{port}").connect("example.com", 80, 5)
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)


def test_name_of_the_proxy_is_verified(listen: Listen, server_context: Any, client_context: Any) -> None:
    port = listen(tunnel_http, host="127.0.0.2", context=server_context)
    with pytest.raises(ProxyError, match=r"not valid for '127\.0\.0\.2'"):
        HTTPConnectAgent(f"https://127.0.0.2:{port}", ssl_context=client_context).connect("example.com", 80, 5)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_proxy_is_reached_at_either_kind_of_address(
    listen: Listen, echo_url: str, host: str, server_context: Any, client_context: Any
) -> None:
    place = f"[{host}]" if ":" in host else host
    plain = listen(tunnel_http, host=host)
    secure = listen(tunnel_http, host=host, context=server_context)
    socks4, socks5 = listen(tunnel_socks4, host=host), listen(tunnel_socks5, host=host)
    agents = [f"http://{place}:{plain}", HTTPConnectAgent(f"https://{place}:{secure}", ssl_context=client_context)]
    agents += [f"{scheme}://{place}:{socks4}" for scheme in ("socks4", "socks4a")]
    agents += [f"{scheme}://{place}:{socks5}" for scheme in ("socks5", "socks5h")]
    for agent in agents:
        with connect(echo_url, proxy=agent) as ws:
            ws.send("hello")
            assert ws.recv(timeout=5) == "hello"


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_tls_may_lie_in_tls_in_tls(
    listen: Listen, secure_echo_url: str, depth: int, server_context: Any, client_context: Any
) -> None:
    agent: Any = None
    for _ in range(depth):
        port = listen(tunnel_http, context=server_context)
        agent = HTTPConnectAgent(f"https://localhost:{port}", ssl_context=client_context, via=agent)
    with connect(secure_echo_url, proxy=agent, ssl_context=client_context, max_size=None, compression=False) as ws:
        for size in (0, 1, 16384, 65536, 100_000, 1_000_000):
            ws.send(bytes(size))
            assert ws.recv(timeout=10) == bytes(size)
    assert ws.close_code == 1000


def kinds(listen: Listen, seen: bytearray, server_context: Any, client_context: Any) -> dict[str, Any]:
    """An agent of each kind, whose proxy puts all that passes through its tunnel into ``seen``."""
    http = listen(lambda sock: tunnel_http(sock, seen))
    https = listen(lambda sock: tunnel_http(sock, seen), context=server_context)
    socks4 = listen(lambda sock: tunnel_socks4(sock, seen))
    socks5 = listen(lambda sock: tunnel_socks5(sock, seen))
    secure = HTTPConnectAgent(f"https://localhost:{https}", ssl_context=client_context)
    return {
        "http": HTTPConnectAgent(f"http://127.0.0.1:{http}"),
        "https": secure,
        "socks4": SOCKSAgent(f"socks4://127.0.0.1:{socks4}"),
        "socks4a": SOCKSAgent(f"socks4a://127.0.0.1:{socks4}"),
        "socks5": SOCKSAgent(f"socks5://127.0.0.1:{socks5}"),
        "socks5h": SOCKSAgent(f"socks5h://ada:{SECRET}@127.0.0.1:{socks5}"),
        "socks in https": SOCKSAgent(f"socks5h://localhost:{socks5}", via=secure),
        "http in socks": HTTPConnectAgent(f"http://127.0.0.1:{http}", via=f"socks4://127.0.0.1:{socks4}"),
        "list": agent_for(["http://127.0.0.1:1", f"http://127.0.0.1:{http}"]),
    }


KINDS = ["http", "https", "socks4", "socks4a", "socks5", "socks5h", "socks in https", "http in socks", "list"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_clear_byte_of_wss_passes_any_proxy(
    listen: Listen, echo_url: str, secure_echo_url: str, kind: str, server_context: Any, client_context: Any
) -> None:
    """For ws the marks are found, so that the sniffing is known to work."""
    marks = [b"GET /chat", b"Sec-WebSocket-Key", b"101 Switching", b"mark in the clear"]
    for url, found in ((echo_url, True), (secure_echo_url, False)):
        seen = bytearray()
        agent = kinds(listen, seen, server_context, client_context)[kind]
        options = {} if found else {"ssl_context": client_context}
        with connect(url, proxy=agent, compression=False, **options) as ws:
            ws.send("hello")
            assert ws.recv(timeout=5) == "hello"
            ws.send("", compress=False)
            assert ws.recv(timeout=5) == ""
            ws.send(b"mark in the clear")
            assert ws.recv(timeout=5) == b"mark in the clear"
        assert all((mark in seen) is found for mark in marks)
        if not found and " in " not in kind:
            assert seen[:2] == b"\x16\x03"  # a TLS record with a handshake message
            assert b"localhost" in seen[:600]  # the name that is asked for (RFC 6066 section 3)


@pytest.mark.parametrize("kind", KINDS)
def test_redirect_from_ws_to_wss_has_tls_in_its_own_tunnel(
    listen: Listen, secure_echo_url: str, kind: str, server_context: Any, client_context: Any
) -> None:
    def redirect(sock: Any) -> None:
        read_request(sock)
        sock.sendall(f"HTTP/1.1 307 There\r\nLocation: {secure_echo_url}\r\n\r\n".encode())

    seen = bytearray()
    agent = kinds(listen, seen, server_context, client_context)[kind]
    url = f"ws://localhost:{listen(redirect)}/first"
    options: dict[str, Any] = {"ssl_context": client_context, "compression": False}
    with connect(url, proxy=agent, max_redirects=1, **options) as ws:
        assert ws.url == secure_echo_url
        ws.send("mark in the clear")
        assert ws.recv(timeout=5) == "mark in the clear"
    assert b"GET /first" in seen
    for mark in (b"GET /chat", b"101 Switching", b"mark in the clear"):
        assert mark not in seen


def test_certificate_behind_a_proxy_must_fit_the_target(
    listen: Listen, secure_echo_url: str, client_context: Any
) -> None:
    port = int(secure_echo_url.rpartition(":")[2].partition("/")[0])

    def play(sock: Any) -> None:
        assert target_of(read_request(sock)) == ("other.example", 443)
        sock.sendall(ESTABLISHED)
        relay(sock, "127.0.0.1", port)

    proxy = f"http://127.0.0.1:{listen(play)}"
    with pytest.raises(ssl.SSLCertVerificationError, match=r"other\.example"):
        connect("wss://other.example/", proxy=proxy, ssl_context=client_context)
    with pytest.raises(ssl.SSLCertVerificationError):
        connect("wss://other.example/", proxy=proxy)
    options: Any = {"proxy": proxy, "ssl_context": client_context, "server_hostname": "localhost"}
    with connect("wss://other.example/", **options) as ws:
        ws.send("hello")
        assert ws.recv(timeout=5) == "hello"


# Streams of agents of the user


class Veiled:
    """A stream that is no socket: what passes is veiled, so that nobody gets around it."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        for name in ("shutdown", "close", "fileno", "settimeout", "getsockname", "getpeername"):
            setattr(self, name, getattr(sock, name))

    def recv(self, size: int) -> bytes:
        return veiled(self._sock.recv(size))

    def recv_into(self, buffer: memoryview) -> int:
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def send(self, data: Any) -> int:
        return int(self._sock.send(veiled(bytes(data))))

    def pending(self) -> int:
        return 0


def veiled(data: bytes) -> bytes:
    return data.translate(bytes(byte ^ 0x55 for byte in range(256)))


def unveil(sock: Any, port: int) -> None:
    """The other end of such a stream, which leads to a port."""
    with gevent.socket.create_connection(("127.0.0.1", port)) as other:
        there = gevent.spawn(copy_veiled, sock, other)
        copy_veiled(other, sock)
        there.join()


def copy_veiled(source: Any, sink: Any) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(veiled(data))
        half_close(sink)


class Through:
    """An agent that connects to a port whatever it is asked for."""

    def __init__(self, port: int) -> None:
        self._port = port

    def connect(self, host: str, port: int, timeout: float | None) -> Any:
        return Veiled(gevent.socket.create_connection(("127.0.0.1", self._port), timeout))


@pytest.mark.parametrize("kind", ["", "http", "https", "socks5h"])
@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
def test_stream_of_an_agent_need_not_be_a_socket(
    listen: Listen, request: pytest.FixtureRequest, kind: str, secure: bool, server_context: Any, client_context: Any
) -> None:
    url = request.getfixturevalue("secure_echo_url" if secure else "echo_url")
    behind = int(url.rpartition(":")[2].partition("/")[0])
    if kind:
        play = tunnel_socks5 if kind == "socks5h" else tunnel_http
        behind = listen(play, context=server_context if kind == "https" else None)
    agent: Any = Through(listen(lambda sock: unveil(sock, behind)))
    if kind:
        options = {"ssl_context": client_context} if kind == "https" else {}
        make: Any = SOCKSAgent if kind == "socks5h" else HTTPConnectAgent
        agent = make(f"{kind}://localhost:1", via=agent, **options)
    options = {"ssl_context": client_context} if secure else {}
    with connect(url, proxy=agent, compression=False, **options) as ws:
        for message in ("hello", bytes(300_000)):
            ws.send(message)
            assert ws.recv(timeout=5) == message


def test_sock_need_not_be_a_socket_either(listen: Listen, echo_url: str) -> None:
    behind = int(echo_url.rpartition(":")[2].partition("/")[0])
    stream = Through(listen(lambda sock: unveil(sock, behind))).connect("", 0, 5)
    with connect(echo_url, sock=stream, compression=False) as ws:
        ws.send("x")
        assert ws.recv(timeout=5) == "x"


# Chains


def test_agent_goes_through_another(listen: Listen, echo_url: str) -> None:
    targets: list[tuple[str, int]] = []

    def outer(sock: Any) -> None:
        targets.append(target_of(read_request(sock)))
        sock.sendall(ESTABLISHED)
        relay(sock, "127.0.0.1", inner)

    inner = listen(tunnel_socks5)
    agent = SOCKSAgent("socks5h://inner.example:1234", via=f"http://127.0.0.1:{listen(outer)}")
    with connect(echo_url, proxy=agent) as ws:
        ws.send("hello")
        assert ws.recv(timeout=5) == "hello"
    assert targets == [("inner.example", 1234)]


def test_agent_goes_through_an_agent_of_the_user(listen: Listen, echo_url: str) -> None:
    port = listen(tunnel_http)
    calls: list[Any] = []

    class Mine:
        def connect(self, host: str, port: int, timeout: float | None) -> Any:
            calls.append((host, port, timeout))
            return gevent.socket.create_connection((host, port), timeout)

    with connect(echo_url, proxy=HTTPConnectAgent(f"http://127.0.0.1:{port}", via=Mine()), open_timeout=5) as ws:
        ws.send("hello")
        assert ws.recv(timeout=5) == "hello"
    [(host, called_port, timeout)] = calls
    assert (host, called_port) == ("127.0.0.1", port)
    assert 4 < timeout <= 5


def test_refusal_in_a_chain_names_the_proxy_that_refuses(listen: Listen) -> None:
    outer = listen(answers(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"))
    agent = HTTPConnectAgent("http://inner.example:1234", via=f"http://127.0.0.1:{outer}")
    with pytest.raises(ProxyError, match=f"the proxy http://127.0.0.1:{outer} refused .* inner.example:1234"):
        agent.connect("example.com", 80, 5)


# Reaching the proxy


def test_proxy_that_refuses_the_connection_is_told() -> None:
    with pytest.raises(ProxyError) as caught:
        agent_for(f"http://ada:{SECRET}@127.0.0.1:1").connect("example.com", 80, 5)
    assert str(caught.value) == "the connection to the proxy http://127.0.0.1:1 failed: Connection refused"
    assert caught.value.step == "the connection to the proxy"
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


def test_proxy_without_an_address_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> Any:
        raise gevent.socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(gevent.socket, "getaddrinfo", getaddrinfo)
    text = r"^the name lookup of the proxy socks5h://nowhere.invalid:1080 failed: Name or service not known$"
    with pytest.raises(ProxyError, match=text):
        agent_for("socks://nowhere.invalid").connect("example.com", 80, 5)


def test_proxy_is_connected_to_from_the_source_address(listen: Listen, echo_url: str) -> None:
    sources: list[str] = []

    def play(sock: Any) -> None:
        sources.append(sock.getpeername()[0])
        tunnel_http(sock)

    url = f"http://127.0.0.1:{listen(play)}"
    for proxy in (url, [url], HTTPConnectAgent(url, source_address=("127.0.0.3", 0))):
        source = None if isinstance(proxy, HTTPConnectAgent) else ("127.0.0.3", 0)
        connect(echo_url, proxy=proxy, source_address=source).close()
    assert sources == ["127.0.0.3"] * 3


# Lists


def test_proxies_of_a_list_are_tried_in_order(listen: Listen, echo_url: str) -> None:
    asked: list[str] = []

    def refuse(sock: Any) -> None:
        asked.append("refuse")
        answers(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")(sock)

    def take(sock: Any) -> None:
        asked.append("take")
        tunnel_http(sock)

    urls = ["socks5://127.0.0.1:1", *(f"http://127.0.0.1:{listen(play)}" for play in (refuse, take, take))]
    with connect(echo_url, proxy=urls) as ws:
        ws.send("hello")
        assert ws.recv(timeout=5) == "hello"
    assert asked == ["refuse", "take"]


def test_silent_proxy_of_a_list_leaves_time_for_the_others(listen: Listen, echo_url: str) -> None:
    urls = [f"http://127.0.0.1:{listen(play)}" for play in (hang, hang, tunnel_http)]
    with stopwatch() as watch, connect(echo_url, proxy=iter(urls), open_timeout=1.5) as ws:
        ws.send("hello")
        assert ws.recv(timeout=5) == "hello"
    assert watch.seconds < 1.5


def test_agent_of_a_list_that_takes_no_heed_of_its_timeout_leaves_time_for_the_others(
    listen: Listen, echo_url: str
) -> None:
    class Slow:
        def connect(self, host: str, port: int, timeout: float | None) -> Any:
            gevent.event.Event().wait()

    proxies = [Slow(), f"http://127.0.0.1:{listen(tunnel_http)}"]
    with connect(echo_url, proxy=proxies, open_timeout=1.5) as ws:
        ws.send("hello")
        assert ws.recv(timeout=5) == "hello"


def test_failures_of_a_list_are_told_together(listen: Listen) -> None:
    port = listen(answers(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"))
    with pytest.raises(ProxyError) as caught:
        agent_for([f"socks5h://ada:{SECRET}@127.0.0.1:1", f"http://127.0.0.1:{port}"]).connect("example.com", 80)
    assert str(caught.value) == (
        "the connection to the proxy socks5h://127.0.0.1:1 failed: Connection refused; "
        f"the proxy http://127.0.0.1:{port} refused the tunnel to example.com:80: 403 No"
    )
    assert caught.value.response is not None
    assert caught.value.proxy == f"http://127.0.0.1:{port}"


def test_list_whose_last_proxy_is_silent_ends_at_the_deadline(listen: Listen) -> None:
    urls = ["http://127.0.0.1:1", f"http://127.0.0.1:{listen(hang)}"]
    with pytest.raises(TimeoutError, match=r"refused; the exchange with the proxy .* took too long"):
        agent_for(urls).connect("example.com", 80, 0.1)


def test_error_of_an_agent_in_a_list_is_told() -> None:
    class Broken:
        def connect(self, host: str, port: int, timeout: float | None) -> Any:
            raise ConnectionResetError("mine")

    with pytest.raises(ProxyError, match="mine"):
        agent_for([Broken()]).connect("example.com", 80, 1)


# Arguments


class Empty:
    """An agent that forgets to return the stream."""

    def connect(self, host: str, port: int, timeout: float | None) -> None:
        pass


@pytest.mark.parametrize(
    "url, kind",
    [
        ("http://a", HTTPConnectAgent),
        ("https://a", HTTPConnectAgent),
        ("a:3128", HTTPConnectAgent),
        ("socks://a", SOCKSAgent),
        ("socks4://a", SOCKSAgent),
        ("SOCKS4A://a", SOCKSAgent),
        ("socks5://a", SOCKSAgent),
        ("socks5h://a", SOCKSAgent),
    ],
)
def test_url_stands_for_an_agent(url: str, kind: type) -> None:
    agent = agent_for(url)
    assert type(agent) is kind
    assert agent_for(agent) is agent


@pytest.mark.parametrize(
    "make",
    [
        lambda: agent_for([]),
        lambda: HTTPConnectAgent("http://a", ssl_context=certificates.client_context()),
        lambda: HTTPConnectAgent("https://a", ssl_context=certificates.server_context()),
        lambda: HTTPConnectAgent("http://a", headers={"Content-Length": "0"}),
        lambda: HTTPConnectAgent("http://a", headers={"X": "a\r\nb"}),
        lambda: HTTPConnectAgent("http://a", auth=("a:b", "c")),
        lambda: HTTPConnectAgent("http://a%3Ab:c@d"),
        lambda: HTTPConnectAgent("http://a", via="http://b", source_address=("127.0.0.1", 0)),
        lambda: agent_for(HTTPConnectAgent("http://a"), ("127.0.0.1", 0)),
        lambda: HTTPConnectAgent("http://a").connect("b", 0),
        lambda: HTTPConnectAgent("http://a").connect("b", 65536),
        lambda: HTTPConnectAgent("http://a").connect("b", 80, -1),
    ],
)
def test_what_makes_no_sense_is_a_value_error(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: HTTPConnectAgent("socks5://a"),
        lambda: SOCKSAgent("http://a"),
        lambda: SOCKSAgent("socks4://a:b@c"),
        lambda: SOCKSAgent(f"socks5://{'a' * 256}:b@c"),
        lambda: SOCKSAgent(f"socks5://a:{'%C3%BC' * 128}@c"),
        lambda: agent_for("ftp://a"),
        lambda: agent_for(["http://a", "http://b/c"]),
        lambda: HTTPConnectAgent("http://a", via="http://"),
        lambda: HTTPConnectAgent("http://a").connect("b c", 80),
        lambda: HTTPConnectAgent("http://a").connect("b/c", 80),
        lambda: HTTPConnectAgent("http://a").connect("[::1]", 80),
        lambda: HTTPConnectAgent("http://a").connect("", 80),
        lambda: connect("ws://a", proxy="http://a b"),
    ],
)
def test_bad_url_or_host_is_an_invalid_url(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidURL):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: agent_for(b"http://ada:s3cret@a"),  # type: ignore[arg-type]
        lambda: agent_for(5),  # type: ignore[arg-type]
        lambda: agent_for([None]),  # type: ignore[list-item]
        lambda: agent_for({"http": "http://ada:s3cret@a"}),
        lambda: agent_for(HTTPConnectAgent),
        lambda: HTTPConnectAgent("http://a", auth="ada:s3cret"),  # type: ignore[arg-type]
        lambda: HTTPConnectAgent("http://a", auth=("ada:s3cret", 5)),  # type: ignore[arg-type]
        lambda: HTTPConnectAgent("http://a", headers="X: a"),  # type: ignore[arg-type]
        lambda: HTTPConnectAgent("https://a", ssl_context=True),  # type: ignore[arg-type]
        lambda: HTTPConnectAgent("http://a").connect("b", 80, "1"),  # type: ignore[arg-type]
        lambda: HTTPConnectAgent("http://a").connect("b", "80"),  # type: ignore[arg-type]
        lambda: HTTPConnectAgent("http://a").connect(b"b", 80),  # type: ignore[arg-type]
        lambda: HTTPConnectAgent("http://a").connect(None, 80),  # type: ignore[arg-type]
        lambda: connect("ws://a", proxy=Empty()),
        lambda: connect("ws://a", proxy=[Empty()]),
        lambda: HTTPConnectAgent("http://a", via=Empty()).connect("b", 80),
        lambda: connect("ws://a", proxy=object()),  # type: ignore[arg-type]
    ],
)
def test_what_is_of_the_wrong_type_is_a_type_error_that_shows_nothing(make: Callable[[], object]) -> None:
    with pytest.raises(TypeError) as caught:
        make()
    assert SECRET not in str(caught.value)


# Credentials


def secret_agents(port: int) -> list[Any]:
    urls = [f"{scheme}://ada:{SECRET}@127.0.0.1:{port}" for scheme in ("http", "https", "socks5", "socks5h")]
    agents = [agent_for(url) for url in [*urls, f"socks4://{SECRET}@127.0.0.1:{port}"]]
    agents.append(HTTPConnectAgent(f"http://127.0.0.1:{port}", auth=("ada", SECRET)))
    return [*agents, agent_for(urls), HTTPConnectAgent("http://a", via=urls[0])]


def test_agents_are_shown_without_credentials() -> None:
    for agent in secret_agents(1):
        for shown in (str(agent), repr(agent), f"{agent}"):
            assert "http://" in shown or "https://" in shown or "socks" in shown
            assert SECRET not in shown
            assert "ada" not in shown


def chain_of(error: BaseException) -> list[BaseException]:
    """The error, and all from which it came about, also those that no traceback shows."""
    chain: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop()
        if link is not None and link not in chain:
            chain.append(link)
            waiting += [link.__cause__, link.__context__]
    return chain


@pytest.mark.parametrize(
    "reply", [b"", b"HTTP/1.1 407 No\r\n\r\n", b"\x05\xff", b"\x05\x02\x01\x01", b"\x00\x5b" + bytes(6)]
)
def test_errors_and_logs_show_no_credentials(
    listen: Listen, reply: bytes, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)

    def play(sock: Any) -> None:
        sock.recv(4096)
        sock.sendall(reply)

    encoded = base64.b64encode(f"ada:{SECRET}".encode()).decode()
    for agent in secret_agents(listen(play)):
        with pytest.raises((ProxyError, OSError)) as caught:
            agent.connect("localhost", 80, 5)
        links = chain_of(caught.value)
        shown = "".join(traceback.format_exception(caught.value)) + repr(links) + str([vars(link) for link in links])
        shown += caplog.text + str(capfd.readouterr())
        assert SECRET not in shown
        assert encoded not in shown


def test_request_that_a_challenge_is_answered_with_shows_no_credentials(listen: Listen) -> None:
    shown: list[str] = []

    def auth(request: Request, response: Response) -> tuple[str, str] | None:
        shown.append(f"{request!r} {request} {request.headers} {vars(request)}")
        return ("ada", SECRET) if len(shown) == 1 else None

    refusal_of(listen(answers(challenge(), challenge())), auth=auth)
    assert len(shown) == 2
    assert "('Proxy-Authorization', '***')" in shown[1]
    assert "Basic" not in shown[1]


def test_successful_tunnel_logs_nothing(listen: Listen, echo_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for scheme, play in (("http", tunnel_http), ("socks5h", tunnel_socks5)):
        connect(echo_url, proxy=f"{scheme}://ada:{SECRET}@127.0.0.1:{listen(play)}").close()
    assert SECRET not in caplog.text
    assert "ada" not in caplog.text
