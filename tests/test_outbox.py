from __future__ import annotations

from collections.abc import Callable
from queue import Full
from typing import Any

import gevent
import pytest
from gevent import GreenletExit, Timeout
from tools.peer import Peer
from tools.timing import let_hub_run, wait_until

from geventws.outbox import Outbox
from geventws.websocket import WebSocket

LONG = 2**22
"""More than a narrow link takes, in bytes."""

Join = Callable[..., tuple[Any, Peer]]


@pytest.fixture
def join(make_link: Callable[..., Any], open_websocket: Callable[..., Any]) -> Join:
    """Opens a client's connection; gives WebSocket and peer."""

    def join(buffers: int | None = None, **options: Any) -> tuple[Any, Peer]:
        client, server = make_link(buffers)
        return open_websocket(client, "client", **options), Peer(server, client=False)

    return join


def messages_of(peer: Peer, count: int) -> list[str | bytes]:
    return [peer.read_message() for _ in range(count)]


def test_what_is_put_in_before_there_is_a_connection_is_sent_in_order(join: Join) -> None:
    outbox = Outbox()
    outbox.send("text")
    outbox.send(b"binary")
    outbox.send_json({"a": 1})
    assert len(outbox) == 3
    ws, peer = join()
    outbox.attach(ws)
    assert messages_of(peer, 3) == ["text", b"binary", '{"a": 1}']
    outbox.flush(timeout=5)
    assert len(outbox) == 0


def test_what_is_put_in_while_there_is_a_connection_is_sent(join: Join) -> None:
    outbox = Outbox()
    ws, peer = join()
    outbox.attach(ws)
    for number in range(3):
        outbox.send(f"message {number}")
        assert peer.read_message() == f"message {number}"


def test_a_message_is_sent_as_its_arguments_say(join: Join) -> None:
    outbox = Outbox()
    outbox.send("grüße", text=False)
    outbox.send(b"text", text=True)
    ws, peer = join()
    outbox.attach(ws)
    assert messages_of(peer, 2) == ["grüße".encode(), "text"]


def test_whether_a_message_is_compressed_is_left_to_its_argument(join: Join) -> None:
    seen: list[Any] = []

    class Watched(WebSocket):
        def send(self, *arguments: Any, compress: bool | None = None, **options: Any) -> None:
            seen.append(compress)
            super().send(*arguments, compress=compress, **options)

    outbox = Outbox()
    for compress in (True, False, None):
        outbox.send("message", compress=compress)
    ws, _ = join(websocket_class=Watched)
    outbox.attach(ws)
    outbox.flush(timeout=5)
    assert seen == [True, False, None]


def test_a_buffer_may_change_once_it_is_put_in(join: Join) -> None:
    outbox = Outbox()
    buffer = bytearray(b"before")
    outbox.send(buffer)
    buffer[:] = b"after!"
    ws, peer = join()
    outbox.attach(ws)
    assert peer.read_message() == b"before"


def test_a_message_that_was_on_its_way_is_sent_whole_over_the_next_connection(join: Join) -> None:
    outbox = Outbox()
    ws, peer = join(8192)
    outbox.attach(ws)
    outbox.send("first")
    assert peer.read_message() == "first"
    outbox.send(b"x" * LONG)
    outbox.send("last")
    part = peer.read_some()
    assert 0 < len(part) < LONG
    peer.reset()
    assert ws.wait_closed(timeout=5)
    assert len(outbox) == 2
    ws, peer = join()
    outbox.attach(ws)
    assert messages_of(peer, 2) == [b"x" * LONG, "last"]
    outbox.flush(timeout=5)


def test_a_message_that_the_kernel_has_taken_is_not_sent_again(join: Join) -> None:
    outbox = Outbox()
    ws, peer = join()
    outbox.attach(ws)
    outbox.send("taken")
    outbox.flush(timeout=5)
    peer.reset()
    assert ws.wait_closed(timeout=5)
    outbox.send("kept")
    let_hub_run()
    assert len(outbox) == 1
    ws, peer = join()
    outbox.attach(ws)
    assert peer.read_message() == "kept"


def test_a_connection_that_is_being_closed_takes_no_more(join: Join) -> None:
    outbox = Outbox()
    ws, peer = join()
    outbox.attach(ws)
    closing = gevent.spawn(ws.close)
    assert peer.read_close() == (1000, "")
    outbox.send("kept")
    peer.send_close()
    peer.half_close()
    closing.get()
    wait_until(lambda: outbox._sender is None)
    assert outbox.clear() == ["kept"]


def test_the_connection_that_was_attached_last_is_used(join: Join) -> None:
    outbox = Outbox()
    (first, _), (second, peer) = join(), join()
    outbox.attach(first)
    outbox.attach(second)
    outbox.send("hello")
    assert peer.read_message() == "hello"


def test_a_connection_may_be_attached_while_another_one_is_stuck(join: Join) -> None:
    outbox = Outbox()
    stuck, stuck_peer = join(8192)
    outbox.attach(stuck)
    outbox.send(b"x" * LONG)
    outbox.send("next")
    stuck_peer.read_some()
    ws, peer = join()
    outbox.attach(ws)
    let_hub_run()
    stuck.terminate()
    assert messages_of(peer, 2) == [b"x" * LONG, "next"]


def test_a_send_timeout_of_the_connection_loses_nothing(join: Join) -> None:
    outbox = Outbox()
    ws, peer = join(8192, send_timeout=0)
    ws.send(b"x" * LONG)
    outbox.attach(ws)
    outbox.send("behind")
    let_hub_run()
    assert len(outbox) == 1
    assert [len(message) for message in messages_of(peer, 2)] == [LONG, 6]


def test_a_greenlet_lives_only_while_there_is_something_to_send(join: Join) -> None:
    outbox = Outbox()
    outbox.send("message")
    assert outbox._sender is None
    ws, _ = join()
    outbox.attach(ws)
    assert outbox._sender is not None
    outbox.flush(timeout=5)
    let_hub_run()
    assert outbox._sender is None


def test_a_full_outbox_lets_its_sender_wait_for_room(join: Join) -> None:
    outbox = Outbox(max_messages=2)
    outbox.send("1")
    outbox.send("2")
    waiting = gevent.spawn(outbox.send, "3")
    let_hub_run()
    assert not waiting.ready()
    ws, peer = join()
    outbox.attach(ws)
    assert messages_of(peer, 3) == ["1", "2", "3"]
    waiting.get()


def test_the_wait_for_room_has_a_timeout() -> None:
    outbox = Outbox(max_bytes=10)
    outbox.send("123456")
    for timeout in (0, 0.01):
        with pytest.raises(TimeoutError, match="there was no room in the outbox within"):
            outbox.send("78901", timeout=timeout)
    outbox.send("7890", timeout=0)
    assert outbox.clear() == ["123456", "7890"]


@pytest.mark.parametrize("error", [Timeout(), GreenletExit()], ids=repr)
def test_what_is_thrown_into_the_wait_leaves_as_it_came(error: BaseException) -> None:
    outbox = Outbox(max_messages=1)
    outbox.send("1")

    def wait() -> BaseException:
        with pytest.raises(type(error)) as caught:
            outbox.send("2")
        return caught.value

    waiting = gevent.spawn(wait)
    let_hub_run()
    waiting.kill(error)
    assert waiting.value is error
    assert outbox.clear() == ["1"]


def test_a_full_outbox_drops_the_oldest_where_it_is_told_to() -> None:
    outbox = Outbox(max_messages=3, max_bytes=10, on_full="drop")
    for message in ("1", "2", "3", "4"):
        outbox.send(message)
    assert outbox.dropped == 1
    outbox.send("123456789")
    assert outbox.dropped == 3
    assert outbox.clear() == ["4", "123456789"]


def test_a_message_on_its_way_is_not_dropped(join: Join) -> None:
    outbox = Outbox(max_messages=1, on_full="drop")
    ws, peer = join(8192)
    outbox.attach(ws)
    outbox.send(b"x" * LONG)
    assert peer.read_some()
    outbox.send("dropped")
    outbox.send("last")
    assert outbox.dropped == 1
    assert messages_of(peer, 2) == [b"x" * LONG, "last"]


def test_a_full_outbox_raises_where_it_is_told_to() -> None:
    outbox = Outbox(max_messages=1, on_full="raise")
    outbox.send("1")
    with pytest.raises(Full, match="1 messages of 1 bytes wait in the outbox"):
        outbox.send("2")
    assert outbox.clear() == ["1"]
    outbox.send("3")


def test_flush_waits_until_all_is_sent(join: Join) -> None:
    outbox = Outbox()
    outbox.flush(timeout=0)
    outbox.send("1")
    outbox.send("2")
    with pytest.raises(TimeoutError, match=r"2 messages were not sent within 0\.01 s"):
        outbox.flush(timeout=0.01)
    ws, _ = join()
    outbox.attach(ws)
    outbox.flush(timeout=5)


def test_what_is_cleared_comes_back_and_is_not_sent(join: Join) -> None:
    outbox = Outbox()
    assert outbox.clear() == []
    ws, peer = join(8192)
    outbox.attach(ws)
    outbox.send(b"x" * LONG)
    outbox.send("2")
    assert peer.read_some()
    assert outbox.clear() == ["2"]  # the other one is on its way
    peer.reset()
    ws.wait_closed()
    wait_until(lambda: outbox._sender is None)
    assert outbox.clear() == [b"x" * LONG]
    outbox.flush(timeout=0)


def test_clearing_makes_room() -> None:
    outbox = Outbox(max_messages=1)
    outbox.send("1")
    waiting = gevent.spawn(outbox.send, "2")
    let_hub_run()
    assert outbox.clear() == ["1"]
    waiting.get(timeout=5)
    assert outbox.clear() == ["2"]


def test_an_empty_outbox_is_true() -> None:
    assert Outbox()


@pytest.mark.parametrize(
    ("message", "arguments", "error", "text"),
    [
        (["fragment"], {}, TypeError, "is text or a buffer, not \\['fragment'\\]"),
        (1, {}, TypeError, "is text or a buffer, not 1"),
        (b"\xff", {"text": True}, UnicodeDecodeError, "invalid start byte"),
        ("\ud800", {}, UnicodeEncodeError, "surrogates not allowed"),
        ("12345678901", {}, ValueError, "the message has 11 bytes, and max_bytes is 10"),
        ("1", {"timeout": "soon"}, TypeError, "timeout is a number of seconds or None"),
    ],
)
def test_what_cannot_be_sent_is_not_put_in(message: Any, arguments: Any, error: type[Exception], text: str) -> None:
    outbox = Outbox(max_bytes=10)
    with pytest.raises(error, match=text):
        outbox.send(message, **arguments)
    assert len(outbox) == 0


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"max_messages": 0}, ValueError, "max_messages is at least 1"),
        ({"max_bytes": "many"}, TypeError, "max_bytes is a whole number"),
        ({"on_full": "explode"}, ValueError, "on_full is one of 'wait', 'drop', 'raise', not 'explode'"),
    ],
)
def test_arguments_are_checked(arguments: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Outbox(**arguments)


def test_only_a_websocket_can_be_attached() -> None:
    sock: Any = object()
    with pytest.raises(TypeError, match="an outbox sends over a WebSocket"):
        Outbox().attach(sock)
