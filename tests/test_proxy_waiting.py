"""How agents wait: one deadline over all steps, and others run meanwhile, in a process that is not patched."""

from __future__ import annotations

import socket as std_socket
import ssl as std_ssl
import threading
import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent import socket
from tools import certificates
from tools.proxying import (
    ESTABLISHED,
    GRANTED_4,
    read_request,
    read_socks4,
    read_socks5_methods,
    read_socks5_request,
)
from tools.tasks import start
from tools.timing import EARLY, stopwatch, wait_until

from geventws import connect
from geventws import proxy as module
from geventws.proxy import HTTPConnectAgent, agent_for

Listen = Callable[..., int]
DEADLINE = 0.1
LATER = 0.4
"""Where the steps before must be over by then, on a busy machine too."""


# The deadline


def hang(*_: Any) -> Any:
    gevent.event.Event().wait()


def stay_silent(sock: Any) -> None:
    while sock.recv(4096):
        pass


def establish(sock: Any) -> None:
    """Make a tunnel to a target that is silent."""
    read_request(sock)
    sock.sendall(ESTABLISHED)
    stay_silent(sock)


def challenge(sock: Any) -> None:
    while read_request(sock):
        sock.sendall(b"HTTP/1.1 407 Who?\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    "proxy, play, url, step",
    [
        ("https://127.0.0.1:{}", stay_silent, "ws://target.example", "the TLS handshake with the proxy https:"),
        ("http://127.0.0.1:{}", stay_silent, "ws://target.example", "the exchange with the proxy http:"),
        ("socks5h://127.0.0.1:{}", stay_silent, "ws://target.example", "the exchange with the proxy socks5h:"),
        ("http://127.0.0.1:{}", establish, "wss://target.example", "the TLS handshake took"),
        ("http://127.0.0.1:{}", establish, "ws://target.example", "the opening handshake took"),
    ],
)
def test_silence_in_any_step_ends_at_the_deadline(
    listen: Listen, proxy: str, play: Callable[[Any], None], url: str, step: str
) -> None:
    with stopwatch() as watch, pytest.raises(TimeoutError, match=f"^{step}") as caught:
        connect(url, proxy=proxy.format(listen(play)), open_timeout=LATER)
    assert str(caught.value).endswith(" s has passed")
    assert watch.seconds < 2


@pytest.mark.parametrize("name, step", [("resolve", "the name lookup of"), ("dial", "the connection to")])
@pytest.mark.parametrize("scheme", ["http", "https", "socks4", "socks4a", "socks5", "socks5h"])
def test_way_to_the_proxy_ends_at_the_deadline(
    monkeypatch: pytest.MonkeyPatch, scheme: str, name: str, step: str
) -> None:
    found = [(socket.AF_INET, ("127.0.0.1", 1))]
    hangs = ("localhost", "resolve")
    monkeypatch.setattr(module, "resolve", lambda host, port: hang() if (host, name) == hangs else found)
    monkeypatch.setattr(module, "dial", hang)
    with stopwatch() as watch, pytest.raises(TimeoutError, match=f"^{step} the proxy {scheme}://localhost:1 took too"):
        agent_for(f"{scheme}://localhost:1").connect("127.0.0.1", 80, DEADLINE)
    assert watch.seconds < 1


@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
def test_lookup_of_the_target_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setattr(module, "resolve", hang)
    with pytest.raises(TimeoutError, match=r"^the name lookup of target\.example took too long"):
        agent_for(f"{scheme}://localhost:1").connect("target.example", 80, DEADLINE)


def test_answer_to_a_challenge_ends_at_the_deadline(listen: Listen) -> None:
    agent = HTTPConnectAgent(f"http://127.0.0.1:{listen(challenge)}", auth=hang)
    with pytest.raises(TimeoutError, match=r"^the answer to the challenge of the proxy http:.* took too long"):
        agent.connect("target.example", 80, LATER)


def test_deadline_is_one_for_all_steps(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them takes half of it."""
    original = module.resolve

    def resolve(host: str, port: int) -> Any:
        gevent.sleep(DEADLINE / 2)
        return original(host, port)

    def play(sock: Any) -> None:
        read_request(sock)
        gevent.sleep(DEADLINE / 2)
        sock.sendall(ESTABLISHED)
        gevent.sleep(DEADLINE / 2)
        sock.sendall(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")

    monkeypatch.setattr(module, "resolve", resolve)
    inner = HTTPConnectAgent("http://inner.example", via=f"http://localhost:{listen(play)}")
    with pytest.raises(TimeoutError):
        inner.connect("target.example", 80, DEADLINE)


def test_deadline_is_one_for_all_challenges(listen: Listen) -> None:
    def answer(*_: Any) -> str:
        gevent.sleep(DEADLINE / 2)
        return "again"

    with pytest.raises(TimeoutError):
        HTTPConnectAgent(f"http://localhost:{listen(challenge)}", auth=answer).connect("target.example", 80, DEADLINE)


# Others run meanwhile


class Dripping:
    """A proxy in a thread, which sends the bytes of its replies one by one, the last one late, and then echoes."""

    def __init__(self, dialogue: Callable[[Any, Callable[[bytes], None]], None], context: Any) -> None:
        self._dialogue = dialogue
        self._context = context
        self._listener = std_socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        sock, _ = self._listener.accept()
        sock.setsockopt(std_socket.IPPROTO_TCP, std_socket.TCP_NODELAY, 1)
        if self._context is not None:
            sock = self._context.wrap_socket(sock, server_side=True)

        def drip(reply: bytes) -> None:
            for left in range(len(reply), 0, -1):
                time.sleep(0.003 if left > 1 else 0.06)  # in a thread: the pace is what is tested
                sock.sendall(reply[-left:][:1])

        with sock, self._listener:
            self._dialogue(sock, drip)
            while data := sock.recv(100):
                sock.sendall(data)

    def stop(self) -> None:
        self._thread.join()


def drip_http(sock: Any, drip: Callable[[bytes], None]) -> None:
    read_request(sock)
    drip(ESTABLISHED)


def drip_socks4(sock: Any, drip: Callable[[bytes], None]) -> None:
    read_socks4(sock)
    drip(GRANTED_4)


def drip_socks5(sock: Any, drip: Callable[[bytes], None]) -> None:
    read_socks5_methods(sock)
    drip(b"\x05\x00")
    read_socks5_request(sock)
    drip(b"\x05\x00\x00\x04" + bytes(18))


DIALOGUES = {"http": drip_http, "https": drip_http, "socks4": drip_socks4, "socks4a": drip_socks4}
DIALOGUES |= {"socks5": drip_socks5, "socks5h": drip_socks5}


@pytest.mark.parametrize("scheme", DIALOGUES)
def test_others_run_while_a_proxy_drips_its_reply(scheme: str, client_context: Any) -> None:
    """Another load on the machine may hold the process once; an agent that holds it does so each time."""
    assert any(longest_gap(scheme, client_context) < 0.05 for _ in range(5))


def longest_gap(scheme: str, client_context: Any) -> float:
    """How long a ticking greenlet was held at most while an agent connects."""
    gaps: list[float] = []

    def tick() -> None:
        before = time.perf_counter()
        while True:
            gevent.sleep(0.001)
            gaps.append(time.perf_counter() - before)
            before += gaps[-1]

    context = None
    options = {}
    if scheme == "https":
        context = std_ssl.SSLContext(std_ssl.PROTOCOL_TLS_SERVER)
        certificates.authority().issue_cert("127.0.0.1").configure_cert(context)
        options = {"ssl_context": client_context}
    proxy = Dripping(DIALOGUES[scheme], context)
    url = f"{scheme}://127.0.0.1:{proxy.port}"
    agent = HTTPConnectAgent(url, **options) if scheme == "https" else agent_for(url)
    ticking = start(tick)
    wait_until(lambda: gaps)
    try:
        with stopwatch() as watch, agent.connect("127.0.0.1", 80, 10) as sock:
            sock.sendall(b"hello")
            assert sock.recv(5) == b"hello"
        seen = len(gaps)
        wait_until(lambda: len(gaps) > seen)
    finally:
        ticking.kill()
        proxy.stop()
    assert watch.seconds > 0.055 - EARLY
    return max(gaps)
