from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent import Timeout
from tools.links import half_close, reset, tcp_pair
from tools.timing import EARLY, let_hub_run, stopwatch, wait_until

from geventws import opening
from geventws.body import BodyParser
from geventws.http11 import Request, RequestParser, Response, ResponseParser
from geventws.opening import (
    Deadline,
    hang_up,
    introduce,
    read_body,
    read_head,
    read_only_head,
    receive,
    send_all,
    too_late,
)
from geventws.tls import start_tls

Link = tuple[Any, Any]


# The deadline


def test_deadline_that_passes_is_a_timeout_error() -> None:
    with (
        stopwatch() as watch,
        pytest.raises(TimeoutError, match=r"the second step took too long: the deadline of 0\.02 s has passed"),
        Deadline(0.02, "the first step") as deadline,
    ):
        deadline.step = "the second step"
        gevent.sleep(5)
    assert 0.02 - EARLY <= watch.seconds < 1


@pytest.mark.parametrize(
    "seconds, shown", [(9.99987, "10"), (10, "10"), (0.25, "0.25"), (10 / 3, "3.333"), (300, "300")]
)
def test_deadline_is_told_in_round_numbers(seconds: float, shown: str) -> None:
    """An agent gets what is left of a deadline of 10 seconds."""
    assert too_late("a step", seconds) == f"a step took too long: the deadline of {shown} s has passed"


@pytest.mark.parametrize("inner", [None, 5])
def test_step_of_the_inner_deadline_is_told_where_the_outer_one_passes(inner: float | None) -> None:
    with (
        pytest.raises(TimeoutError, match=r"^the inner step took too long: the deadline of 0\.02 s has passed$"),
        Deadline(0.02, "the outer step"),
        Deadline(inner, "the inner step"),
    ):
        gevent.sleep(5)


def test_deadline_that_does_not_pass_leaves_no_timer() -> None:
    with Deadline(0.01, "a step") as deadline:
        assert 0 < (deadline.remaining or 0) <= 0.01
    wait_until(lambda: deadline.remaining == 0)
    let_hub_run()


def test_there_may_be_no_deadline() -> None:
    with Deadline(None, "a step") as deadline:
        assert deadline.remaining is None
        assert not deadline.is_cause_of(Timeout())


def test_other_errors_pass_through_a_deadline() -> None:
    for error in (ValueError(), Timeout(), gevent.GreenletExit(), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, Deadline(5, "a step"):
            raise error
        assert caught.value is error


def test_deadline_knows_what_it_throws() -> None:
    with pytest.raises(TimeoutError), Deadline(0.01, "a step") as deadline:
        try:
            gevent.sleep(5)
        except Timeout as error:
            assert deadline.is_cause_of(error)
            raise


# Who is there


def test_request_knows_the_address_at_the_other_end(link: Link) -> None:
    for near, far in (link, link[::-1]):
        request = Request()
        introduce(request, near)
        assert request.remote_address == far.getsockname()


def test_request_knows_the_certificate_that_was_shown(link: Link, transport: str) -> None:
    client, server = link
    sent, received = Request(), Request()
    introduce(sent, client)
    introduce(received, server)
    assert received.peer_certificate is None  # a server that does not ask is shown none
    if transport == "tls":
        assert ("DNS", "localhost") in (sent.peer_certificate or {})["subjectAltName"]
    else:
        assert sent.peer_certificate is None


def test_certificate_that_is_not_verified_has_no_fields(server_context: Any) -> None:
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    near, far = tcp_pair()
    with near, far:
        accepting = gevent.spawn(start_tls, far, server_context, server_side=True)
        secure = start_tls(near, trusting)
        request = Request()
        introduce(request, secure)
        assert request.peer_certificate == {}
        secure.close()
        accepting.get(timeout=5).close()


@pytest.mark.parametrize("transport", ["tcp"])
def test_peer_that_has_gone_has_no_address(link: Link) -> None:
    client, server = link
    reset(client)
    with pytest.raises(ConnectionResetError):
        server.recv(1)
    request = Request()
    introduce(request, server)
    assert request.remote_address is None


# Reading and writing


def test_bytes_are_received_as_they_come(link: Link) -> None:
    client, server = link
    server.settimeout(0)
    receiving = gevent.spawn(receive, server)
    let_hub_run()
    client.sendall(b"hello")
    assert receiving.get(timeout=5) == b"hello"
    half_close(client)
    assert receive(server) == b""


def test_everything_is_sent_to_a_slow_peer(make_link: Callable[..., Link]) -> None:
    client, server = make_link(buffers=4096)
    server.settimeout(0)
    sending = gevent.spawn(send_all, server, bytes(1_000_000))
    received = 0
    while received < 1_000_000:
        received += len(client.recv(10_000))
        gevent.sleep(0)
    sending.get(timeout=5)
    assert received == 1_000_000


class Moody:
    """A TLS stream that wants to read before it writes, and to write before it reads."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.moods: list[type[Exception]] = [ssl.SSLWantReadError, ssl.SSLWantWriteError]
        self.fileno = sock.fileno

    def recv(self, size: int) -> bytes:
        if self.moods:
            raise self.moods.pop()
        return bytes(self._sock.recv(size))

    def send(self, data: Any) -> int:
        if self.moods:
            raise self.moods.pop()
        return int(self._sock.send(data))


@pytest.mark.parametrize("transport", ["unix"])
def test_tls_may_want_the_other_direction_first(link: Link) -> None:
    client, server = link
    server.settimeout(0)
    client.sendall(b"hello")
    assert receive(Moody(server)) == b"hello"
    client.sendall(b"x")
    send_all(Moody(server), b"you")
    assert client.recv(10) == b"you"


def test_head_is_read_in_pieces(link: Link) -> None:
    client, server = link
    server.settimeout(0)
    parser = RequestParser()
    reading = gevent.spawn(read_head, server, parser)
    for piece in (b"GET / HTTP", b"/1.1\r\nHost: a\r\n", b"\r\nand more"):
        client.sendall(piece)
        let_hub_run()
    assert reading.get(timeout=5).target == "/"
    assert parser.rest == b"and more"


def test_no_more_is_received_than_was_asked_for(link: Link) -> None:
    client, server = link
    server.settimeout(0)
    client.sendall(b"abcdef")
    assert [receive(server, size) for size in (1, 2, 100)] == [b"a", b"bc", b"def"]


def test_stream_that_ends_in_a_head_has_none(link: Link) -> None:
    client, server = link
    server.settimeout(0)
    client.sendall(b"GET / HTTP")
    half_close(client)
    assert read_head(server, RequestParser()) is None


@pytest.mark.parametrize("head", [b"HTTP/1.1 200\r\n\r\n", b"\r\n\r\nHTTP/1.1 200 OK\r\nA: \r\nB: \r\n\r\n"])
def test_what_follows_a_head_can_be_left_in_the_socket(link: Link, head: bytes) -> None:
    client, server = link
    server.settimeout(0)
    for cut in range(len(head)):
        reading = gevent.spawn(read_only_head, server, ResponseParser())
        client.sendall(head[:cut])
        let_hub_run(2)
        client.sendall(head[cut:] + b"\r\n\r\nmore")
        assert reading.get(timeout=5).status == 200
        assert receive(server, 100) == b"\r\n\r\nmore"


def test_others_run_while_a_long_head_is_read(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_TURN", 0.0)
    client, server = link
    server.settimeout(0)
    turns: list[int] = []

    def take_turns() -> None:
        while True:
            gevent.sleep(1e-6)
            turns.append(1)

    taking = gevent.spawn(take_turns)
    client.sendall(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000 + b"\r\n\r\n")
    let_hub_run()
    turns.clear()
    assert read_only_head(server, ResponseParser()) is not None
    taking.kill()
    assert len(turns) > 10


def test_stream_that_ends_in_such_a_head_has_none(link: Link) -> None:
    client, server = link
    server.settimeout(0)
    client.sendall(b"HTTP/1.1 200 OK\r\n")
    half_close(client)
    assert read_only_head(server, ResponseParser()) is None


@pytest.mark.parametrize("head", [Response(500, headers={"Content-Length": "4"}), Response(500)])
def test_body_is_read_to_its_end_or_the_streams(link: Link, head: Response) -> None:
    client, server = link
    server.settimeout(0)
    parser = BodyParser(head, 100)
    reading = gevent.spawn(read_body, server, parser)
    for piece in (b"no", b"pe"):
        client.sendall(piece)
        let_hub_run()
    half_close(client)
    reading.get(timeout=5)
    assert parser.body == b"nope"


# Hanging up


def test_peer_that_still_sends_reads_everything(link: Link) -> None:
    client, server = link
    server.settimeout(0)
    client.sendall(b"x" * 30_000)
    send_all(server, b"farewell")
    ending = gevent.spawn(hang_up, server)
    let_hub_run()
    client.sendall(b"x" * 30_000)
    assert client.recv(100) == b"farewell"
    assert client.recv(100) == b""
    client.close()
    ending.get(timeout=5)
    assert server.fileno() == -1


def test_peer_that_stays_is_left(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_LINGER", 0.02)
    _client, server = link
    server.settimeout(0)
    hang_up(server)
    assert server.fileno() == -1


def test_peer_that_has_gone_is_no_error(link: Link) -> None:
    client, server = link
    server.settimeout(0)
    reset(client)
    hang_up(server)
    assert server.fileno() == -1
    hang_up(server)


def test_kill_while_it_hangs_up_closes_the_socket(link: Link) -> None:
    _client, server = link
    server.settimeout(0)
    ending = gevent.spawn(hang_up, server)
    let_hub_run()
    ending.kill()
    assert server.fileno() == -1
