from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import ReferenceType, ref

import gevent
import pytest
from gevent import GreenletExit, Timeout, get_hub, socket
from gevent.event import Event
from tools import raw_http
from tools.peer import Peer
from tools.proxying import Listener, read_request, read_socks5_methods, tunnel_http
from tools.timing import let_hub_run, wait_until
from tools.wire import CLOSE, TEXT

from geventws import reconnection
from geventws.exceptions import (
    ConcurrencyError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidStatus,
    InvalidURL,
    ProtocolError,
    ProxyError,
)
from geventws.http11 import Request, RequestParser
from geventws.outbox import Outbox
from geventws.reconnection import SETTLED_AFTER, Connections, reconnect
from geventws.websocket import WebSocket

LONG = 2**23
"""More than the kernel takes for a peer that does not read, in bytes."""
UNAVAILABLE = b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n"
UNAUTHORIZED = b"HTTP/1.1 401 Who?\r\nContent-Length: 0\r\n\r\n"

Play = Callable[[Peer], object]


class Script:
    """A server that plays each connection with the next of its plays, and the last one for ever.

    A play is called with a peer once the opening handshake is done; one that is bytes is the answer to the request.
    """

    def __init__(self, listener: Any, url: str, context: Any) -> None:
        self.url = url
        self.requests: list[Request] = []
        self.peers: list[Peer] = []
        self.plays: list[Play | bytes] = []
        self._listener = listener
        self._context = context
        self._sockets = [listener]
        self._greenlets = [gevent.spawn(self._accept)]

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            self._sockets.append(sock)
            self._greenlets.append(gevent.spawn(self._serve, sock))

    def _serve(self, sock: Any) -> None:
        with suppress(OSError, EOFError):
            self._play(sock)

    def _play(self, sock: Any) -> None:
        if self._context is not None:
            sock = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            self._sockets.append(sock)
            sock.do_handshake()
        request = RequestParser().feed(read_request(sock))
        assert request is not None
        self.requests.append(request)
        play = self.plays.pop(0) if len(self.plays) > 1 else self.plays[0]
        if isinstance(play, bytes):
            sock.sendall(play)
        else:
            sock.sendall(raw_http.answer(request.headers["Sec-WebSocket-Key"]))
            self.peers.append(Peer(sock, client=False))
            play(self.peers[-1])
        sock.close()

    def end(self) -> None:
        gevent.killall(self._greenlets)
        for sock in self._sockets:
            sock.close()


def says(text: str, code: int | None = 1000) -> Play:
    """Sends a text, and closes with the code; with None the connection breaks."""

    def play(peer: Peer) -> None:
        peer.text(text)
        if code is not None:
            peer.send_close(code)
            peer.read_close()

    return play


def stays(peer: Peer) -> None:
    """Waits for the client to close."""
    peer.finish_close()


def heard(ws: WebSocket) -> Any:
    """The message of a connection that has been closed by the server."""
    assert ws.wait_closed(timeout=5)
    return ws.recv(timeout=0)


@pytest.fixture
def script(transport: str, tmp_path: Path, server_context: Any) -> Iterator[Script]:
    is_unix = transport == "unix"
    listener = socket.socket(socket.AF_UNIX if is_unix else socket.AF_INET, socket.SOCK_STREAM)
    if not is_unix:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    listener.bind(str(tmp_path / "server") if is_unix else ("127.0.0.1", 0))
    listener.listen()
    secure = transport == "tls"
    if is_unix:
        url = f"ws+unix:{tmp_path}/server:/"
    else:
        url = f"{'wss' if secure else 'ws'}://localhost:{listener.getsockname()[1]}/"
    script = Script(listener, url, server_context if secure else None)
    yield script
    script.end()


@pytest.fixture
def start(script: Script, client_context: Any) -> Iterator[Callable[..., Connections]]:
    """`reconnect` to a server that plays the given plays."""
    made: list[ReferenceType[Connections]] = []  # a test may drop them

    def start(*plays: Play | bytes, **options: Any) -> Connections:
        script.plays = list(plays)
        if script.url.startswith("wss"):
            options.setdefault("ssl_context", client_context)
        options.setdefault("url", script.url)
        connections = reconnect(options.pop("url"), **options)
        made.append(ref(connections))
        return connections

    yield start
    for reference in made:
        connections = reference()
        if connections is not None:
            connections.close()


class Clock:
    """A time that passes by waiting alone.

    Attributes:
        waits: how long was waited, one time after the other.
    """

    def __init__(self) -> None:
        self.time = 1000.0
        self.waits: list[float] = []

    def now(self) -> float:
        return self.time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()

    class Passing(Event):
        def wait(self, timeout: float | None = None) -> Any:
            if timeout:
                clock.waits.append(round(timeout, 6))
                clock.time += timeout
            return super().wait(0)

    monkeypatch.setattr(reconnection, "Event", Passing)
    monkeypatch.setattr(reconnection, "now", clock.now)
    return clock


@pytest.fixture
def refusing() -> str:
    """The URL of a port at which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"ws://127.0.0.1:{sock.getsockname()[1]}/"


Start = Callable[..., Connections]


# Iteration


def test_there_is_one_open_connection_after_the_other(start: Start, clock: Clock) -> None:
    seen = []
    for ws in start(says("1"), says("2", 1001), says("3", 1011), says("4", None), says("5")):
        try:
            seen.extend(ws)
        except ConnectionClosedError:
            seen.append("!")
        if "5" in seen:
            break
    assert seen == ["1", "2", "3", "!", "4", "!", "5"]
    assert len(clock.waits) == 4


def test_a_connection_that_the_body_leaves_open_is_closed_before_the_next(start: Start, clock: Clock) -> None:
    connections = start(stays)
    first = next(connections)
    second = next(connections)
    assert (first.close_code, second.state.name) == (1000, "OPEN")


def test_after_a_break_the_connection_is_closed(start: Start, script: Script) -> None:
    for ws in start(stays):
        kept = ws
        break
    assert kept.wait_closed(timeout=5)
    assert script.peers[0].checker.closed == (1000, "")


def test_what_the_body_raises_leaves_as_it_came_and_closes_the_connection(start: Start, script: Script) -> None:
    error = RuntimeError()
    with pytest.raises(RuntimeError) as caught:
        for ws in start(stays):
            kept = ws
            raise error
    assert caught.value is error
    assert kept.wait_closed(timeout=5)


def test_the_end_of_a_with_statement_closes_the_connection(start: Start, script: Script) -> None:
    with start(stays) as connections:
        ws = next(connections)
        assert ws.state.name == "OPEN"
    assert ws.state.name == "CLOSED"
    assert script.peers[0].checker.closed == (1000, "")
    assert list(connections) == []


def test_an_exception_in_a_with_statement_closes_with_1011(start: Start, script: Script) -> None:
    with pytest.raises(RuntimeError), start(stays) as connections:
        ws = next(connections)
        raise RuntimeError
    assert ws.state.name == "CLOSED"
    assert script.peers[0].checker.closed == (1011, "")


def test_a_timeout_is_not_held_up_by_the_closing_handshake(start: Start) -> None:
    stopped = Event()
    with pytest.raises(Timeout), start(lambda peer: stopped.wait()) as connections:
        ws = next(connections)
        raise Timeout
    assert ws.state.name == "CLOSING"
    ws.terminate()


def test_a_with_statement_may_end_before_there_was_a_connection(start: Start) -> None:
    with start(stays) as connections:
        pass
    assert list(connections) == []


def test_an_iterator_may_be_dropped_in_any_thread(start: Start) -> None:
    kept = [start(stays)]
    ws = next(kept[0])
    get_hub().threadpool.apply(kept.clear)
    assert ws.wait_closed(timeout=5)


def test_an_iterator_may_be_dropped_after_its_loop_is_gone(start: Start) -> None:
    gone = type(get_hub().loop)(default=False)
    gone.destroy()
    connections = start(stays)
    ws = next(connections)
    connections._loop = gone
    del connections
    let_hub_run()
    assert ws.state.name == "OPEN"
    ws.close()


# What ends it


def test_a_code_that_comes_while_the_body_leaves_is_judged_too(start: Start, clock: Clock) -> None:
    def play(peer: Peer) -> None:
        peer.finish_close(1008)

    connections = start(play)
    next(connections)
    with pytest.raises(ConnectionClosedError) as closed:
        next(connections)
    assert closed.value.code == 1008


def test_a_server_that_does_not_answer_a_close_is_left_behind(start: Start, clock: Clock) -> None:
    connections = start(Peer.read_reset, stays, close_timeout=0.01)
    next(connections)
    assert next(connections).state.name == "OPEN"
    assert len(clock.waits) == 1


def test_a_fatal_refusal_is_raised_at_once(start: Start, script: Script, clock: Clock) -> None:
    connections = start(UNAUTHORIZED)
    with pytest.raises(InvalidStatus) as refused:
        next(connections)
    assert refused.value.response.status == 401
    assert (len(script.requests), clock.waits) == (1, [])
    assert list(connections) == []


def test_a_fatal_end_of_a_connection_is_raised_by_the_next_step(start: Start, clock: Clock) -> None:
    connections = start(says("no", 1008))
    assert heard(next(connections)) == "no"
    with pytest.raises(ConnectionClosedError) as closed:
        next(connections)
    assert closed.value.code == 1008
    assert list(connections) == []


def test_an_error_that_is_raised_keeps_its_cause(start: Start, clock: Clock) -> None:
    connections = start(lambda peer: peer.send_bytes(b"\xff\xff"))
    next(connections).wait_closed()
    with pytest.raises(ConnectionClosedError) as closed:
        next(connections)
    assert isinstance(closed.value.__cause__, ProtocolError)


@pytest.mark.parametrize("transport", ["tls"])
def test_an_untrusted_certificate_is_fatal(script: Script, clock: Clock) -> None:
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        next(reconnect(script.url))
    assert clock.waits == []


def test_the_last_error_is_raised_where_the_delays_end(refusing: str, clock: Clock) -> None:
    with pytest.raises(ConnectionRefusedError):
        next(reconnect(refusing, delays=[1, 2.5, 0]))
    assert clock.waits == [1, 2.5]


def test_a_good_end_raises_nothing_where_the_delays_end(start: Start, clock: Clock) -> None:
    assert [heard(ws) for ws in start(says("1"), says("2"), delays=[3])] == ["1", "2"]
    assert clock.waits == [3]


# The hook


def test_the_hook_is_asked_with_the_error_and_the_number_of_failures(start: Start, clock: Clock) -> None:
    asked: list[tuple[str, int]] = []

    def should_retry(error: Exception, attempt: int) -> None:
        told = error.code if isinstance(error, ConnectionClosed) else error.response.status  # type: ignore[attr-defined]
        asked.append((told, attempt))

    connections = start(says("1", 1001), UNAVAILABLE, says("2", 1011), stays, should_retry=should_retry)
    for ws in connections:
        if len(asked) == 3:
            break
        ws.wait_closed()
    assert asked == [(1001, 1), (503, 2), (1011, 3)]


def test_the_hook_may_give_up(start: Start, clock: Clock) -> None:
    connections = start(UNAVAILABLE, should_retry=lambda error, attempt: attempt < 4)
    with pytest.raises(InvalidStatus):
        next(connections)
    assert len(clock.waits) == 3


def test_the_hook_may_take_a_good_end_for_the_last(start: Start, clock: Clock) -> None:
    def should_retry(error: Exception, attempt: int) -> bool | None:
        return False if isinstance(error, ConnectionClosedOK) else None

    connections = start(says("1", 1011), says("2"), should_retry=should_retry)
    assert [heard(ws) for ws in connections] == ["1", "2"]


def test_a_close_that_has_come_behind_the_last_message_of_the_body_is_the_servers(start: Start, clock: Clock) -> None:
    def play(peer: Peer) -> None:
        peer.send_bytes(peer.frame(TEXT, b"last") + peer.frame(CLOSE, b"\x03\xe8"))
        peer.read_close()

    connections = start(play, should_retry=lambda error, attempt: False)
    assert next(connections).recv(timeout=5) == "last"
    assert list(connections) == []


def test_the_hook_may_go_on_where_others_would_not(start: Start, clock: Clock) -> None:
    connections = start(UNAUTHORIZED, says("2"), should_retry=lambda error, attempt: True, delays=[7])
    assert heard(next(connections)) == "2"
    assert clock.waits == [7]


@pytest.mark.parametrize("delay", [0, 12.5])
def test_the_hook_may_say_how_long_to_wait(start: Start, clock: Clock, delay: float) -> None:
    answer = b"HTTP/1.1 503 Later\r\nRetry-After: 100\r\nContent-Length: 0\r\n\r\n"
    connections = start(answer, says("2"), should_retry=lambda error, attempt: delay)
    assert heard(next(connections)) == "2"
    assert clock.waits == ([delay] if delay else [])


def test_the_hook_is_not_asked_about_a_connection_that_the_body_left_open(start: Start, clock: Clock) -> None:
    connections = start(stays, should_retry=lambda error, attempt: False, delays=[4])
    next(connections)
    assert next(connections).state.name == "OPEN"
    assert clock.waits == [4]


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        ("soon", TypeError, "should_retry is a number of seconds or None, not 'soon'"),
        (-1, ValueError, "should_retry has given -1 for a number of seconds"),
        (float("inf"), ValueError, "should_retry has given inf"),
        (float("nan"), ValueError, "should_retry is not a number"),
    ],
)
def test_the_answer_of_the_hook_is_checked(refusing: str, answer: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        next(reconnect(refusing, should_retry=lambda error, attempt: answer))


# How long


def test_the_default_delays_are_random_within_growing_bounds(refusing: str, clock: Clock) -> None:
    drawn = []
    for _ in range(20):
        clock.waits.clear()
        with pytest.raises(ConnectionRefusedError):
            next(reconnect(refusing, should_retry=lambda error, attempt: attempt < 9))
        drawn.append(list(clock.waits))
    for number, bound in enumerate((1, 2, 4, 8, 16, 32, 60, 60)):
        waits = [waits[number] for waits in drawn]
        assert 0 <= min(waits) < max(waits) <= bound
        assert max(waits) > bound / 4


@pytest.mark.parametrize(
    "wish",
    ["Retry-After: 20", "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:49:57 GMT"],
    ids=["seconds", "date"],
)
def test_a_retry_after_is_kept(start: Start, clock: Clock, wish: str) -> None:
    answer = f"HTTP/1.1 503 Later\r\n{wish}\r\nContent-Length: 0\r\n\r\n".encode()
    connections = start(answer, says("2"), delays=[0.5])
    assert heard(next(connections)) == "2"
    assert clock.waits == [20.5]


@pytest.mark.parametrize(("code", "low", "high"), [(1012, 5, 30), (1013, 30, 60)])
def test_a_close_code_that_asks_for_a_delay_gets_it(
    start: Start, clock: Clock, code: int, low: float, high: float
) -> None:
    connections = start(says("1", code), stays, delays=[0])
    next(connections).wait_closed()
    next(connections)
    assert low <= clock.waits[0] <= high


@pytest.mark.parametrize(("age", "expected"), [(SETTLED_AFTER, [1, 1, 2, 3]), (SETTLED_AFTER - 1, [1, 2, 3, 4])])
def test_the_delays_begin_anew_after_a_connection_that_has_lived(
    start: Start, clock: Clock, age: float, expected: list[float]
) -> None:
    counts: list[int] = []
    connections = start(
        *(UNAVAILABLE, says("1", 1001), UNAVAILABLE, UNAVAILABLE, stays),
        delays=[1, 2, 3, 4],
        should_retry=lambda error, attempt: counts.append(attempt),
    )
    next(connections).wait_closed()
    clock.time += age
    next(connections)
    assert clock.waits == expected
    assert counts == expected


def test_own_delays_may_come_from_a_function(refusing: str, clock: Clock) -> None:
    with pytest.raises(ConnectionRefusedError):
        next(reconnect(refusing, delays=lambda: iter((5, 6))))
    assert clock.waits == [5, 6]


@pytest.mark.parametrize(
    ("delay", "error", "text"),
    [
        ("1", TypeError, "delays is a number of seconds or None, not '1'"),
        (None, ValueError, "delays has given None for a number of seconds"),
        (-0.5, ValueError, "delays has given -0.5"),
    ],
)
def test_own_delays_are_checked(refusing: str, delay: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        next(reconnect(refusing, delays=[delay]))


# What is thrown in


@pytest.mark.parametrize("error", [Timeout(), GreenletExit(), RuntimeError()], ids=repr)
def test_what_is_thrown_into_a_wait_leaves_as_it_came_and_the_wait_goes_on(
    start: Start, script: Script, error: BaseException
) -> None:
    connections = start(UNAVAILABLE, stays, delays=[100])

    def wait() -> BaseException:
        with pytest.raises(type(error)) as caught:
            next(connections)
        return caught.value

    for _ in range(2):
        waiting = gevent.spawn(wait)
        wait_until(lambda: script.requests)
        let_hub_run()
        assert not waiting.ready()
        waiting.kill(error)
        assert waiting.value is error
    assert len(script.requests) == 1
    connections._due = 0.0
    assert next(connections).state.name == "OPEN"


@pytest.mark.parametrize("transport", ["tcp"])
def test_what_is_thrown_into_an_attempt_leaves_as_it_came(start: Start, script: Script) -> None:
    stopped = Event()
    listening = Listener(lambda sock: stopped.wait())
    connections = start(stays, url=f"ws://127.0.0.1:{listening.port}/")
    error = Timeout()

    def wait() -> BaseException:
        with pytest.raises(Timeout) as caught:
            next(connections)
        return caught.value

    waiting = gevent.spawn(wait)
    wait_until(lambda: listening.count)
    waiting.kill(error)
    assert waiting.value is error
    listening.stop()


# Each attempt anew


def test_url_and_headers_may_be_made_for_each_attempt(start: Start, script: Script, clock: Clock) -> None:
    count = iter(range(100))
    connections = start(
        *(UNAVAILABLE, says("1"), stays),
        url=lambda: f"{script.url}{next(count)}",
        headers=lambda: {"Authorization": f"Bearer {next(count)}"},
    )
    next(connections).wait_closed()
    next(connections)
    assert [request.path for request in script.requests] == ["/0", "/2", "/4"]
    assert [request.headers["Authorization"] for request in script.requests] == ["Bearer 1", "Bearer 3", "Bearer 5"]


def test_headers_that_stay_the_same_are_sent_each_time(start: Start, script: Script, clock: Clock) -> None:
    connections = start(UNAVAILABLE, stays, headers=[("X-Name", "Ada")])
    next(connections)
    assert [request.headers["X-Name"] for request in script.requests] == ["Ada", "Ada"]


def test_an_error_of_what_makes_the_arguments_is_judged_as_others(start: Start, clock: Clock) -> None:
    errors = iter((ConnectionError("no token server"), LookupError("no token")))

    def headers() -> None:
        for error in errors:
            raise error

    connections = start(stays, headers=headers)
    with pytest.raises(LookupError):
        next(connections)
    assert len(clock.waits) == 1


# Proxies


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_a_proxy_that_fails_for_now_is_tried_again(start: Start, script: Script, clock: Clock) -> None:
    answers = iter((UNAVAILABLE.replace(b"Content", b"Retry-After: 9\r\nContent"),))

    def play(sock: Any) -> None:
        answer = next(answers, None)
        if answer is None:
            tunnel_http(sock)
        else:
            read_request(sock)
            sock.sendall(answer)

    proxy = Listener(play)
    connections = start(stays, proxy=f"http://127.0.0.1:{proxy.port}", delays=[1])
    ws = next(connections)
    assert clock.waits == [10]
    ws.close()
    proxy.stop()


def test_a_proxy_that_cannot_be_reached_is_tried_again(refusing: str, clock: Clock) -> None:
    with pytest.raises(ProxyError) as failed:
        next(reconnect("ws://example.com", proxy=refusing.replace("ws:", "http:").rstrip("/"), delays=[1]))
    assert isinstance(failed.value.__cause__, ConnectionRefusedError)
    assert clock.waits == [1]


def test_a_proxy_that_refuses_for_good_is_not_tried_again(clock: Clock) -> None:
    proxy = Listener(lambda sock: sock.sendall(read_request(sock) and UNAUTHORIZED.replace(b"401", b"407")))
    with pytest.raises(ProxyError):
        next(reconnect("ws://example.com", proxy=f"http://127.0.0.1:{proxy.port}"))
    assert clock.waits == []
    proxy.stop()


def test_a_proxy_that_does_not_take_the_password_is_not_tried_again(clock: Clock) -> None:
    def play(sock: Any) -> None:
        read_socks5_methods(sock)
        sock.sendall(b"\x05\xff")

    proxy = Listener(play)
    with pytest.raises(ProxyError, match="authentication methods were rejected"):
        next(reconnect("ws://example.com", proxy=f"socks5h://ada:wrong@127.0.0.1:{proxy.port}"))
    assert clock.waits == []
    proxy.stop()


# The outbox


def test_the_outbox_is_sent_over_each_connection(start: Start, script: Script, clock: Clock) -> None:
    received: list[Any] = []

    def listens(count: int) -> Play:
        def play(peer: Peer) -> None:
            received.extend(peer.read_message() for _ in range(count))
            peer.send_close(1012)
            peer.read_close()

        return play

    outbox = Outbox()
    outbox.send("before")
    connections = start(listens(2), listens(2), stays, outbox=outbox)
    next(connections)
    outbox.send("while it is open")
    wait_until(lambda: len(received) == 2)
    outbox.send("while it is closed")
    next(connections)
    outbox.send("last")
    wait_until(lambda: len(received) == 4)
    assert received == ["before", "while it is open", "while it is closed", "last"]


def test_a_message_in_whose_middle_the_connection_breaks_is_sent_whole_over_the_next(
    start: Start, script: Script, clock: Clock
) -> None:
    parts: list[bytes] = []
    whole: list[Any] = []

    def breaks(peer: Peer) -> None:
        parts.append(peer.read_some())
        peer.reset()

    def listens(peer: Peer) -> None:
        whole.extend(peer.read_message() for _ in range(2))
        stays(peer)

    outbox = Outbox()
    connections = start(breaks, listens, outbox=outbox)
    outbox.send(b"x" * LONG)
    outbox.send("behind")
    next(connections).wait_closed()
    assert 0 < len(parts[0]) < LONG
    next(connections)
    outbox.flush(timeout=5)
    wait_until(lambda: len(whole) == 2)
    assert whole == [b"x" * LONG, "behind"]


def test_an_outbox_that_is_attached_by_the_body_waits_for_it(start: Start, script: Script, clock: Clock) -> None:
    received: list[Any] = []

    def play(peer: Peer) -> None:
        received.append(peer.read_message())
        peer.text("welcome")
        received.append(peer.read_message())
        stays(peer)

    outbox = Outbox()
    outbox.send("message")
    ws = next(connections := start(play))
    ws.send("login")
    assert ws.recv(timeout=5) == "welcome"
    outbox.attach(ws)
    wait_until(lambda: len(received) == 2)
    assert received == ["login", "message"]
    connections.close()


# close()


def test_close_ends_the_iteration_that_has_an_open_connection(start: Start, script: Script) -> None:
    asked: list[Exception] = []
    connections = start(stays, should_retry=lambda error, attempt: asked.append(error))
    using = gevent.spawn(lambda: [list(ws) for ws in connections])
    wait_until(lambda: connections._websocket)
    let_hub_run()
    connections.close(1001, "enough")
    assert using.get(timeout=5) == [[]]
    assert not asked
    assert script.peers[0].checker.closed == (1001, "enough")


def test_close_ends_a_wait(start: Start, script: Script) -> None:
    connections = start(UNAVAILABLE, delays=[100])
    using = gevent.spawn(list, connections)
    wait_until(lambda: script.requests)
    let_hub_run()
    connections.close()
    assert using.get(timeout=5) == []


def test_close_lets_an_attempt_end_and_closes_what_it_has_opened(start: Start, script: Script) -> None:
    may_answer = Event()

    def headers() -> None:
        may_answer.wait()

    connections = start(stays, headers=headers)
    using = gevent.spawn(list, connections)
    let_hub_run()
    connections.close()
    may_answer.set()
    assert using.get(timeout=5) == []
    wait_until(lambda: script.peers[0].checker.closed)


def test_close_takes_a_code_that_may_be_sent(start: Start) -> None:
    connections = start(stays)
    with pytest.raises(ValueError, match="1006"):
        connections.close(1006)
    assert next(connections).state.name == "OPEN"


def test_one_greenlet_at_a_time_may_wait_for_the_next_connection(start: Start, script: Script) -> None:
    connections = start(UNAVAILABLE, delays=[100])
    using = gevent.spawn(list, connections)
    let_hub_run()
    with pytest.raises(ConcurrencyError, match="another greenlet waits for the next connection"):
        next(connections)
    connections.close()
    using.get(timeout=5)


# The log


def test_each_failure_is_one_line_in_the_log(
    start: Start, script: Script, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "geventws")
    url = script.url.replace("://", "://user:password@") + "?token=secret"
    connections = start(UNAVAILABLE, says("1", 1011), says("2"), stays, url=url, delays=[1.26, 2, 3])
    for ws in connections:
        if len(clock.waits) == 3:
            break
        ws.wait_closed()
    where = script.url
    assert "password" not in caplog.text
    told = [record for record in caplog.records if record.module == "reconnection"]
    assert [(record.levelname, record.getMessage()) for record in told] == [
        ("WARNING", f"no connection to {where} (the server answered 503 Later); the next attempt is in 1.3 s"),
        (
            "WARNING",
            f"the connection to {where} ended (received 1011 (internal error); sent 1011 (internal error)); "
            "the next attempt is in 2.0 s",
        ),
        (
            "INFO",
            f"the connection to {where} ended (received 1000 (normal closure); sent 1000 (normal closure)); "
            "the next attempt is in 3.0 s",
        ),
    ]


# Arguments


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"url": "localhost"}, InvalidURL, "scheme"),
        ({"url": 5}, TypeError, "a URL is a str"),
        ({"headers": {"A": "\n"}}, ValueError, "A"),
        ({"delays": 5}, TypeError, "delays is an iterable of numbers or a function that returns one, not 5"),
        ({"delays": "123"}, TypeError, "delays is an iterable of numbers"),
        ({"delays": iter([1])}, TypeError, "an iterator has to come from a function"),
        ({"should_retry": True}, TypeError, "should_retry is a function or None"),
        ({"outbox": []}, TypeError, r"outbox is an Outbox or None, not \[\]"),
        ({"sock": object()}, ValueError, "sock is for connect"),
    ],
)
def test_arguments_are_checked_at_once(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        reconnect(**{"url": "ws://localhost", **arguments})


def test_arguments_of_connect_are_checked_before_the_first_attempt(refusing: str, clock: Clock) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        next(reconnect(refusing, colour="red"))
    assert clock.waits == []


def test_the_connections_are_of_the_class_that_is_asked_for(start: Start) -> None:
    class Mine(WebSocket):
        pass

    assert type(next(start(stays, websocket_class=Mine))) is Mine
