"""No exception of the caller is swallowed, changed or delayed by any call that waits."""

from __future__ import annotations

import ast
import pathlib

import gevent
import pytest
from tools.faults import ERRORS, attempt, start_attempt
from tools.tasks import start
from tools.timing import let_hub_run, stopwatch

import geventws
from geventws.deflate import Parameters

LARGE = bytes(300_000)


def fill(ws):
    ws.send(bytes(2_000_000), compress=False)


CALLS = {
    "recv": lambda ws: ws.recv(),
    "recv with a timeout": lambda ws: ws.recv(timeout=30),
    "recv_json": lambda ws: ws.recv_json(),
    "iteration": lambda ws: list(ws),
    "streaming": lambda ws: list(ws.recv_streaming()),
    "send": lambda ws: (fill(ws), ws.send(b"x")),
    "send with a timeout": lambda ws: (fill(ws), ws.send(b"x", timeout=30)),
    "send in fragments": lambda ws: ws.send((bytes(50_000) for _ in range(100)), compress=False),
    "send compressed in a thread": lambda ws: ws.send(LARGE, compress=True),
    "flush": lambda ws: (fill(ws), ws.flush()),
    "flush with a timeout": lambda ws: (fill(ws), ws.flush(timeout=30)),
    "close": lambda ws: ws.close(),
    "wait_closed": lambda ws: ws.wait_closed(),
    "wait_closed with a timeout": lambda ws: ws.wait_closed(30),
    "send after close": lambda ws: (gevent.spawn(ws.close), gevent.sleep(0), ws.send(b"x")),
    "ping": lambda ws: ws.ping().get(),
    "the end of a with block": lambda ws: ws.__exit__(None, None, None),
}


@pytest.mark.parametrize("call", CALLS)
def test_the_same_object_leaves_at_once(make_pair, transport, call):
    # "send after close" switches once before it waits for the end.
    nth = 2 if call == "send after close" else 1
    for make in ERRORS if transport == "unix" else ERRORS[:2]:
        ws, _ = make_pair(buffers=4096, deflate=Parameters())
        error = make()
        with stopwatch() as watch:
            outcome = attempt(lambda ws=ws: CALLS[call](ws), nth, error)
        assert outcome.thrown
        assert outcome.error is error
        assert watch.seconds < 1
        ws.terminate()
        let_hub_run(3)


@pytest.mark.parametrize("call", CALLS)
def test_a_foreign_timeout_is_not_taken_for_one_of_the_library(make_pair, call):
    """The caller's Timeout and the library's own look alike, run at once, and are told apart by identity."""
    ws, _ = make_pair(buffers=4096, deflate=Parameters())

    def work():
        with gevent.Timeout(0.01) as timeout:
            try:
                CALLS[call](ws)
            except gevent.Timeout as raised:
                return raised is timeout
        return None

    if call == "send compressed in a thread":
        assert start(work).result() in (True, None)  # the thread may be faster
    else:
        assert start(work).result() is True


def test_a_timeout_that_is_silent_stays_silent(pair):
    ws, _ = pair
    with gevent.Timeout(0.01, False):
        ws.recv()
    with gevent.Timeout(0.01, False):
        ws.close()


def test_a_timeout_with_an_exception_of_its_own_raises_that(pair):
    ws, _ = pair
    with pytest.raises(LookupError), gevent.Timeout(0.01, LookupError):
        ws.recv()


def test_both_timeouts_at_the_same_moment_give_one_of_them(pair):
    ws, _ = pair
    for _ in range(20):
        try:
            with gevent.Timeout(0.001) as timeout:
                ws.recv(timeout=0.001)
        except gevent.Timeout as raised:
            assert raised is timeout
        except TimeoutError:
            pass
    # Neither comes late.
    gevent.sleep(0.01)


def test_a_kill_ends_the_greenlet_and_leaves_the_connection_to_others(pair):
    ws, peer = pair
    reader = start(ws.recv)
    reader.kill()
    assert isinstance(reader.error, gevent.GreenletExit)
    peer.text("for the next")
    assert ws.recv() == "for the next"


def test_two_throws_in_a_row_leave_in_their_order(pair):
    ws, peer = pair
    first, second = MemoryError(), KeyboardInterrupt()
    assert attempt(ws.recv, 1, first).error is first
    assert attempt(ws.recv, 1, second).error is second
    peer.text("x")
    assert ws.recv() == "x"


def test_an_error_thrown_into_a_sender_reaches_only_that_one(make_pair):
    ws, peer = make_pair(buffers=4096)
    fill(ws)
    error = RuntimeError("for one")
    attempts = [start_attempt(lambda: ws.send(b"1"), 1, error), start_attempt(lambda: ws.send(b"2"))]
    assert attempts[0].get().error is error
    assert [len(peer.read_message()), peer.read_message()] == [2_000_000, b"2"]
    assert attempts[1].get().error is None


SOURCES = sorted(pathlib.Path(geventws.__file__).parent.rglob("*.py"))


def handlers_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            yield node


def is_raise(node):
    return isinstance(node, ast.Raise)


def names_of(handler):
    if handler.type is None:
        return {"everything"}
    nodes = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return {ast.unparse(node).rpartition(".")[2] for node in nodes}


class TestSource:
    """What the source may not contain: clean-up that does not run for a BaseException, or swallows one."""

    @pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
    def test_nothing_catches_everything(self, path):
        assert not [handler.lineno for handler in handlers_of(path) if handler.type is None]

    @pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
    def test_what_catches_base_exceptions_raises_them_again(self, path):
        swallowing = [
            handler.lineno
            for handler in handlers_of(path)
            if names_of(handler) & {"BaseException", "GreenletExit", "KeyboardInterrupt"}
            and not any(map(is_raise, ast.walk(handler)))
            and not self.hands_on(handler)
        ]
        assert not swallowing

    @staticmethod
    def hands_on(handler):
        """In a thread of zlib's the exception is a value, which is raised where the result is waited for."""
        last = handler.body[-1]
        return isinstance(last, ast.Return) and isinstance(last.value, ast.Name) and last.value.id == handler.name

    @pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
    def test_what_catches_a_timeout_of_gevents_raises_those_of_others_again(self, path):
        """But for the server and for what runs a handler, where a connection's greenlet ends, and for `testing`, which
        raises them in the test."""
        handlers = [handler for handler in handlers_of(path) if "Timeout" in names_of(handler)]
        unchecked = [handler.lineno for handler in handlers if not any(map(is_raise, ast.walk(handler)))]
        assert not unchecked or path.name in ("server.py", "handlers.py") or path.parent.name == "testing"
