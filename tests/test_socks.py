"""The SOCKS dialogue byte by byte, and what `SOCKSAgent` asks for, against a scripted proxy."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent import socket
from tools.links import reset
from tools.proxying import (
    GRANTED_4,
    GRANTED_5,
    read_exactly,
    read_socks4,
    read_socks5_credentials,
    read_socks5_methods,
    read_socks5_request,
    relay,
    tunnel_socks4,
    tunnel_socks5,
)
from tools.timing import let_hub_run, stopwatch

from geventws import WebSocketServer, connect
from geventws import socks as module
from geventws.exceptions import ProxyError
from geventws.proxy import SOCKSAgent

Listen = Callable[[Callable[[Any], object]], int]


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that are looked up; target.example has two IPv6 addresses and two of IPv4."""
    looked_up: list[str] = []
    original = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *arguments: Any, **options: Any) -> Any:
        if not host.endswith(".example"):
            return original(host, port, *arguments, **options)
        looked_up.append(host)
        six = [(socket.AF_INET6, 1, 6, "", (address, port, 0, 0)) for address in ("2001:db8::1", "2001:db8::2")]
        four = [(socket.AF_INET, 1, 6, "", (address, port)) for address in ("192.0.2.1", "192.0.2.2")]
        return six if host == "six.example" else six + four

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return looked_up


def dialogue(replies: list[tuple[int, bytes]], seen: list[bytes]) -> Callable[[Any], None]:
    """Reads so many bytes and sends the reply, for each of the pairs."""

    def play(sock: Any) -> None:
        for size, reply in replies:
            seen.append(read_exactly(sock, size))
            sock.sendall(reply)
        sock.recv(1)

    return play


def refusal(listen: Listen, scheme: str, replies: list[tuple[int, bytes]], userinfo: str = "") -> ProxyError:
    agent = SOCKSAgent(f"{scheme}://{userinfo}127.0.0.1:{listen(dialogue(replies, []))}")
    with pytest.raises(ProxyError) as caught:
        agent.connect("127.0.0.1", 80, 5)
    return caught.value


# What is sent


@pytest.mark.parametrize(
    "scheme, host, sent",
    [
        ("socks4", "127.0.0.1", b"\x04\x01\x01\xbb\x7f\0\0\x01\0"),
        ("socks4a", "127.0.0.1", b"\x04\x01\x01\xbb\x7f\0\0\x01\0"),
        ("socks4a", "a.example", b"\x04\x01\x01\xbb\0\0\0\x01\0a.example\0"),
        ("socks4", "a.example", b"\x04\x01\x01\xbb\xc0\0\x02\x01\0"),
        ("socks5", "127.0.0.1", b"\x05\x01\0\x01\x7f\0\0\x01\x01\xbb"),
        ("socks5h", "127.0.0.1", b"\x05\x01\0\x01\x7f\0\0\x01\x01\xbb"),
        ("socks5", "::1", b"\x05\x01\0\x04" + bytes(15) + b"\x01\x01\xbb"),
        ("socks5h", "::1", b"\x05\x01\0\x04" + bytes(15) + b"\x01\x01\xbb"),
        ("socks5h", "a.example", b"\x05\x01\0\x03\x09a.example\x01\xbb"),
        ("socks", "A.Example", b"\x05\x01\0\x03\x09a.example\x01\xbb"),
        ("socks5h", "bücher.example", b"\x05\x01\0\x03\x15xn--bcher-kva.example\x01\xbb"),
        ("socks5", "a.example", b"\x05\x01\0\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01\x01\xbb"),
    ],
)
def test_request_is_as_the_protocol_wants_it(
    listen: Listen, lookups: list[str], scheme: str, host: str, sent: bytes
) -> None:
    seen: list[bytes] = []
    replies = [(len(sent), GRANTED_4)] if scheme.startswith("socks4") else [(3, b"\x05\0"), (len(sent), GRANTED_5)]
    SOCKSAgent(f"{scheme}://127.0.0.1:{listen(dialogue(replies, seen))}").connect(host, 443, 5).close()
    assert seen[-1] == sent
    assert seen[:-1] in ([], [b"\x05\x01\0"])
    is_local = scheme in ("socks4", "socks5")
    assert lookups == (["a.example"] if is_local and host == "a.example" else [])


@pytest.mark.parametrize("length", [1, 63, 127, 128, 200, 253])
def test_names_of_any_length_are_sent_whole(listen: Listen, length: int) -> None:
    host = ("a" * 49 + ".") * 6
    host = host[:length].rstrip(".") + "b" * (length - len(host[:length].rstrip(".")))
    seen: list[tuple[str, int]] = []

    def play(sock: Any) -> None:
        read_socks5_methods(sock)
        sock.sendall(b"\x05\0")
        seen.append(read_socks5_request(sock))
        sock.sendall(GRANTED_5)

    SOCKSAgent(f"socks5h://127.0.0.1:{listen(play)}").connect(host, 443, 5).close()
    assert seen == [(host, 443)]


@pytest.mark.parametrize(
    "user, password",
    [("ada", "s3cret"), ("a", ""), ("a" * 127, "b" * 128), ("a" * 255, "b" * 255), ("ü" * 127, "ß" * 100), ("", "b")],
)
def test_credentials_of_any_length_are_sent_whole(listen: Listen, user: str, password: str) -> None:
    seen: list[Any] = []

    def play(sock: Any) -> None:
        seen.append(read_socks5_methods(sock))
        sock.sendall(b"\x05\x02")
        seen.append(read_socks5_credentials(sock))
        sock.sendall(b"\x01\0")
        seen.append(read_socks5_request(sock))
        sock.sendall(GRANTED_5)

    SOCKSAgent(f"socks5://{user}:{password}@127.0.0.1:{listen(play)}").connect("127.0.0.1", 80, 5).close()
    assert seen == [b"\0\x02", (user.encode(), password.encode()), ("127.0.0.1", 80)]


def test_user_name_without_a_password_is_offered(listen: Listen) -> None:
    seen: list[Any] = []

    def play(sock: Any) -> None:
        seen.append(read_socks5_methods(sock))
        sock.sendall(b"\x05\0")  # the proxy needs none
        seen.append(read_socks5_request(sock))
        sock.sendall(GRANTED_5)

    SOCKSAgent(f"socks5://ada@127.0.0.1:{listen(play)}").connect("127.0.0.1", 80, 5).close()
    assert seen == [b"\0\x02", ("127.0.0.1", 80)]


@pytest.mark.parametrize("scheme", ["socks4", "socks4a"])
def test_user_name_is_sent_in_socks4(listen: Listen, scheme: str) -> None:
    seen: list[Any] = []

    def play(sock: Any) -> None:
        seen.append(read_socks4(sock))
        sock.sendall(GRANTED_4)

    SOCKSAgent(f"{scheme}://%C3%A4da@127.0.0.1:{listen(play)}").connect("127.0.0.1", 80, 5).close()
    assert seen == [("äda".encode(), "127.0.0.1", 80)]


@pytest.mark.parametrize(
    "scheme, host, fault",
    [
        ("socks4", "::1", "no IPv4 address"),
        ("socks4a", "::1", "no IPv4 address"),
        ("socks4", "six.example", "six.example has no IPv4 address"),
        ("socks4", "0.0.0.1", "says that a name follows"),
        ("socks4a", "0.0.0.255", "says that a name follows"),
        ("socks4a", "7", "says that a name follows"),
        ("socks5h", "fe80::1%lo", "zone"),
        ("socks5", "fe80::1%lo", "zone"),
    ],
)
@pytest.mark.usefixtures("lookups")
def test_what_the_protocol_cannot_express_is_refused_before_a_byte_goes_out(
    listen: Listen, scheme: str, host: str, fault: str
) -> None:
    called: list[Any] = []
    with pytest.raises(ProxyError, match=fault):
        SOCKSAgent(f"{scheme}://127.0.0.1:{listen(called.append)}").connect(host, 80, 5)
    let_hub_run()
    assert not called


@pytest.mark.parametrize("scheme", ["socks4", "socks4a"])
def test_address_of_zeros_announces_no_name(listen: Listen, scheme: str) -> None:
    seen: list[bytes] = []
    port = listen(dialogue([(9, GRANTED_4)], seen))
    SOCKSAgent(f"{scheme}://127.0.0.1:{port}").connect("0.0.0.0", 80, 5).close()
    assert seen == [b"\x04\x01\0\x50" + bytes(5)]


@pytest.mark.parametrize("userinfo, granted", [("ada@", True), ("eve@", False), ("", False)])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("scheme", ["socks4", "socks4a"])
def test_proxy_may_let_in_by_the_user_name_in_socks4(
    listen: Listen, scheme: str, host: str, userinfo: str, granted: bool
) -> None:
    def play(sock: Any) -> None:
        user, asked, port = read_socks4(sock)
        assert asked == (host if scheme == "socks4a" else "127.0.0.1")
        if user != b"ada":
            sock.sendall(b"\0\x5d" + bytes(6))
            return
        sock.sendall(GRANTED_4)
        relay(sock, asked, port)

    proxy = f"{scheme}://{userinfo}localhost:{listen(play)}"
    with WebSocketServer(("127.0.0.1", 0), lambda ws: ws.send(ws.recv())) as server:
        server.start()
        url = f"ws://{host}:{server.address[1]}"
        if not granted:
            with pytest.raises(ProxyError, match=r"different user-ids.*SOCKS reply 93"):
                connect(url, proxy=proxy)
            return
        with connect(url, proxy=proxy) as ws:
            ws.send("hello")
            assert ws.recv(timeout=5) == "hello"


# Several addresses


def test_next_address_is_asked_for_where_one_is_refused(listen: Listen, lookups: list[str]) -> None:
    asked: list[str] = []

    def play(sock: Any) -> None:
        read_socks5_methods(sock)
        sock.sendall(b"\x05\0")
        asked.append(read_socks5_request(sock)[0])
        sock.sendall(GRANTED_5 if len(asked) == 3 else b"\x05\x04\0\x01" + bytes(6))

    SOCKSAgent(f"socks5://127.0.0.1:{listen(play)}").connect("target.example", 80, 5).close()
    assert asked == ["2001:db8::1", "192.0.2.1", "2001:db8::2"]
    assert lookups == ["target.example"]


def test_last_refusal_is_raised_where_all_are_refused(listen: Listen, lookups: list[str]) -> None:
    asked: list[str] = []

    def play(sock: Any) -> None:
        asked.append(read_socks4(sock)[1])
        sock.sendall(b"\0\x5b" + bytes(6))

    with pytest.raises(ProxyError, match=r"192\.0\.2\.2:80"):
        SOCKSAgent(f"socks4://127.0.0.1:{listen(play)}").connect("target.example", 80, 5)
    assert asked == ["192.0.2.1", "192.0.2.2"]


@pytest.mark.usefixtures("lookups")
def test_other_failures_are_final(listen: Listen) -> None:
    asked: list[bytes] = []

    def play(sock: Any) -> None:
        asked.append(read_socks5_methods(sock))
        sock.sendall(b"\x05\xff")

    with pytest.raises(ProxyError, match="rejected"):
        SOCKSAgent(f"socks5://127.0.0.1:{listen(play)}").connect("target.example", 80, 5)
    assert asked == [b"\0"]


def test_name_without_an_address_is_the_error_that_it_is_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(socket.gaierror):
        SOCKSAgent("socks5://127.0.0.1:1").connect("nowhere.invalid", 80, 5)


# What is received

REPLIES = {
    "socks4": [(9, GRANTED_4)],
    "socks4 with an address": [(9, b"\0\x5a\x1f\x90\x7f\0\0\x01")],
    "socks5 IPv4": [(3, b"\x05\0"), (10, b"\x05\0\0\x01\x7f\0\0\x01\x1f\x90")],
    "socks5 IPv6": [(3, b"\x05\0"), (10, b"\x05\0\0\x04" + bytes(16) + b"\x1f\x90")],
    "socks5 name": [(3, b"\x05\0"), (10, b"\x05\0\0\x03\x05proxy\x1f\x90")],
    "socks5 long name": [(3, b"\x05\0"), (10, b"\x05\0\0\x03\xff" + b"x" * 255 + b"\x1f\x90")],
    "socks5 no name": [(3, b"\x05\0"), (10, b"\x05\0\0\x03\0\x1f\x90")],
    "socks5 credentials": [(4, b"\x05\x02"), (5, b"\x01\0"), (10, GRANTED_5)],
}


def agent_of(kind: str, port: int) -> SOCKSAgent:
    userinfo = "a:b@" if "credentials" in kind else ""
    return SOCKSAgent(f"{kind.split()[0]}://{userinfo}127.0.0.1:{port}")


@pytest.mark.parametrize("kind", REPLIES)
def test_bytes_behind_the_reply_are_kept_however_it_is_split(listen: Listen, kind: str) -> None:
    *others, (size, last) = REPLIES[kind]
    last += b"banner"
    cuts = iter(range(1, len(last) + 1))

    def play(sock: Any) -> None:
        for length, reply in others:
            read_exactly(sock, length)
            for byte in reply:
                sock.sendall(bytes((byte,)))
                let_hub_run(1)
        read_exactly(sock, size)
        cut = next(cuts)
        sock.sendall(last[:cut])
        let_hub_run(2)
        sock.sendall(last[cut:])

    agent = agent_of(kind, listen(play))
    for _ in last:
        with agent.connect("127.0.0.1", 25, 5) as sock:
            assert sock.makefile("rb").read(6) == b"banner"


@pytest.mark.parametrize("kind", REPLIES)
def test_end_of_the_stream_in_any_reply_is_told(listen: Listen, kind: str) -> None:
    replies = REPLIES[kind]
    wanted = [(step, cut) for step, (_, reply) in enumerate(replies) for cut in range(min(len(reply), 40))]
    cases = iter(wanted)

    def play(sock: Any) -> None:
        step, cut = next(cases)
        for size, reply in replies[:step]:
            read_exactly(sock, size)
            sock.sendall(reply)
        read_exactly(sock, replies[step][0])
        sock.sendall(replies[step][1][:cut])

    agent = agent_of(kind, listen(play))
    for _ in wanted:
        with pytest.raises(ProxyError, match=r"to the proxy socks.* failed: Connection closed unexpectedly"):
            agent.connect("127.0.0.1", 25, 5)


@pytest.mark.parametrize(
    "code, words",
    [
        (1, "General SOCKS server failure"),
        (2, "Connection not allowed by ruleset"),
        (3, "Network unreachable"),
        (4, "Host unreachable"),
        (5, "Connection refused"),
        (6, "TTL expired"),
        (7, "Command not supported"),
        (8, "Address type not supported"),
        (9, "Unknown error"),
        (255, "Unknown error"),
    ],
)
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_reply_code_of_socks5_is_told_in_words(listen: Listen, scheme: str, code: int, words: str) -> None:
    error = refusal(listen, scheme, [(3, b"\x05\0"), (10, bytes((5, code)) + b"\0\x01" + bytes(6))])
    assert error.reply == code
    assert error.response is None
    assert error.proxy.startswith(f"{scheme}://127.0.0.1:")
    assert error.step == "the request for 127.0.0.1:80"
    assert str(error).startswith(f"the proxy {error.proxy} refused the request for 127.0.0.1:80: {words}")
    assert str(error).endswith(f" (SOCKS reply {code})")


@pytest.mark.parametrize(
    "code, words",
    [
        (0x5B, "Request rejected or failed"),
        (0x5C, "cannot connect to identd"),
        (0x5D, "report different user-ids"),
        (0x00, "Unknown error"),
        (0xFF, "Unknown error"),
    ],
)
@pytest.mark.parametrize("scheme", ["socks4", "socks4a"])
def test_reply_code_of_socks4_is_told_in_words(listen: Listen, scheme: str, code: int, words: str) -> None:
    error = refusal(listen, scheme, [(9, bytes((0, code)) + bytes(6))])
    assert error.reply == code
    assert words in str(error)


@pytest.mark.parametrize(
    "scheme, userinfo, replies, fault",
    [
        ("socks4", "", [(9, b"HTTP/1.0 400 Bad Request")], "invalid data"),
        ("socks4", "", [(9, b"\x04\x5a" + bytes(6))], "invalid data"),
        ("socks5", "", [(3, b"HTTP/1.0 400 Bad Request")], "invalid data"),
        ("socks5", "", [(3, b"\x04\0")], "invalid data"),
        ("socks5", "", [(3, b"\x05\x01")], "invalid data"),
        ("socks5", "", [(3, b"\x05\x02")], "requested username/password"),
        ("socks5", "", [(3, b"\x05\xff")], "methods were rejected"),
        ("socks5", "a:b@", [(4, b"\x05\xff")], "methods were rejected"),
        ("socks5", "a:b@", [(4, b"\x05\x02"), (5, b"\x05\0")], "invalid data"),
        ("socks5", "a:b@", [(4, b"\x05\x02"), (5, b"\x01\x01")], "authentication failed"),
        ("socks5", "", [(3, b"\x05\0"), (10, b"\x04\0\0\x01" + bytes(6))], "invalid data"),
        ("socks5", "", [(3, b"\x05\0"), (10, b"\x05\0\0\x02" + bytes(6))], "invalid data"),
    ],
)
def test_what_is_no_answer_is_told(
    listen: Listen, scheme: str, userinfo: str, replies: list[tuple[int, bytes]], fault: str
) -> None:
    error = refusal(listen, scheme, replies, userinfo)
    assert fault in str(error)
    assert f"the proxy {scheme}://127.0.0.1:" in str(error)
    assert error.reply is None


def test_reset_is_told(listen: Listen) -> None:
    def play(sock: Any) -> None:
        read_socks4(sock)
        reset(sock)

    with pytest.raises(ProxyError, match=r"the exchange with the proxy socks4://127\.0\.0\.1:") as caught:
        SOCKSAgent(f"socks4://127.0.0.1:{listen(play)}").connect("127.0.0.1", 80, 5)
    assert isinstance(caught.value.__cause__, ConnectionResetError)


@pytest.mark.parametrize("scheme", ["socks4", "socks4a", "socks5", "socks5h"])
def test_silence_ends_at_the_deadline(listen: Listen, scheme: str) -> None:
    port = listen(lambda sock: read_exactly(sock, 100))
    with pytest.raises(TimeoutError, match=f"the exchange with the proxy {scheme}://127.0.0.1:{port} took too long"):
        SOCKSAgent(f"{scheme}://127.0.0.1:{port}").connect("127.0.0.1", 80, 0.05)


def test_deadline_holds_while_a_reply_drips(listen: Listen) -> None:
    def play(sock: Any) -> None:
        read_socks5_methods(sock)
        sock.sendall(b"\x05\0")
        read_socks5_request(sock)
        for byte in b"\x05\0\0\x03\xff" + b"x" * 255:
            sock.sendall(bytes((byte,)))
            gevent.sleep(0.02)  # the pace is what is tested

    with stopwatch() as watch, pytest.raises(TimeoutError):
        SOCKSAgent(f"socks5://127.0.0.1:{listen(play)}").connect("127.0.0.1", 80, 0.1)
    assert watch.seconds < 1


# The whole way


@pytest.mark.parametrize("scheme", ["socks4", "socks4a", "socks5", "socks5h"])
def test_websockets_go_through(listen: Listen, scheme: str) -> None:
    port = listen(tunnel_socks4 if scheme.startswith("socks4") else tunnel_socks5)
    with WebSocketServer(("127.0.0.1", 0), lambda ws: ws.send(ws.recv())) as server:
        server.start()
        with connect(f"ws://localhost:{server.address[1]}", proxy=f"{scheme}://127.0.0.1:{port}") as ws:
            ws.send("hello")
            assert ws.recv(timeout=5) == "hello"


def test_missing_pysocks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="PySocks"):
        module._cooperative_copy()


def test_programs_own_pysocks_stays_as_it_is() -> None:
    import socket as std_socket

    import socks

    pysocks = module.pysocks
    assert socks is sys.modules["socks"]
    assert pysocks is not socks
    assert socks.socket is std_socket
    assert pysocks.socket is socket
    assert vars(socks).get("chr") is None
