"""A connection is its own thread's: another one is refused before a byte is written, and has `send_threadsafe`."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from concurrent.futures import CancelledError

import gevent
import pytest
from gevent import get_hub
from gevent._hub_local import get_hub_if_exists
from tools import circumstances
from tools.tasks import start
from tools.timing import let_hub_run, wait_until
from tools.wire import TEXT

import geventws
from geventws import ConcurrencyError, ConnectionClosed, ConnectionClosedError, State

CALLS = {
    "send": lambda ws: ws.send("hello"),
    "fragments": lambda ws: ws.send(["hel", "lo"]),
    "send_json": lambda ws: ws.send_json({}),
    "recv": lambda ws: ws.recv(),
    "poll": lambda ws: ws.recv(timeout=0),
    "iterate": next,
    "stream": lambda ws: next(iter(ws.recv_streaming())),
    "ping": lambda ws: ws.ping(),
    "pong": lambda ws: ws.pong(),
    "flush": lambda ws: ws.flush(),
    "cork": lambda ws: ws.cork().__enter__(),
    "pause": lambda ws: ws.pause(),
    "resume": lambda ws: ws.resume(),
    "close": lambda ws: ws.close(),
    "start_close": lambda ws: ws.start_close(geventws.CloseFrame(1000)),
    "terminate": lambda ws: ws.terminate(),
    "wait_closed": lambda ws: ws.wait_closed(),
}


def in_thread(function, *arguments):
    """What a call in another thread of the operating system returns or raises; the hub runs meanwhile."""
    kept = []

    def run():
        try:
            kept.append(function(*arguments))
        except Exception as error:  # noqa: BLE001 (gevent would report it to the hub besides)
            return error
        finally:
            if (hub := get_hub_if_exists()) is not None:  # in a patched process, what waits there has one
                hub.destroy(destroy_loop=True)
        return None

    error = get_hub().threadpool.apply(run)
    if error is not None:
        raise error
    return kept[0]


@pytest.mark.parametrize("name", CALLS)
def test_another_threads_call_is_refused_before_a_byte_is_written(pair, name):
    ws, peer = pair
    if name == "iterate":
        ws = iter(ws)
    with pytest.raises(ConcurrencyError, match="another thread's; send_threadsafe"):
        in_thread(CALLS[name], ws)
    ws = pair[0]
    assert ws.state is State.OPEN
    ws.send("mine")
    assert peer.read_frame()[:2] == (TEXT, b"mine")
    peer.text("yours")
    assert ws.recv() == "yours"


def test_a_message_from_another_thread_is_sent(pair):
    ws, peer = pair
    assert in_thread(lambda: ws.send_threadsafe("hello").result(5)) is None
    assert in_thread(lambda: ws.send_threadsafe(["frag", "ments"]).result(5)) is None
    assert in_thread(lambda: ws.send_threadsafe(b"text", text=True).result(5)) is None
    assert [peer.read_message() for _ in range(3)] == ["hello", "fragments", "text"]


def test_its_own_thread_may_send_that_way_too(pair):
    ws, peer = pair
    result = ws.send_threadsafe("hello")
    assert peer.read_message() == "hello"
    wait_until(result.done)
    assert result.result() is None


@circumstances.threads
def test_the_messages_of_each_thread_are_whole_and_in_its_order(make_pair):
    ws, peer = make_pair(buffers=16384)
    sizes = [1, 100, 5_000, 70_000]

    def send(name):
        results = [ws.send_threadsafe(f"{name} {number} " + "x" * sizes[number % 4]) for number in range(40)]
        assert [result.result(20) for result in results] == [None] * 40

    threads = [threading.Thread(target=send, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    seen = {"a": [], "b": [], "c": []}
    for _ in range(120):
        name, number, filling = peer.read_message().split(" ")
        seen[name].append(int(number))
        assert len(filling) == sizes[int(number) % 4]
    assert seen == {name: list(range(40)) for name in "abc"}
    wait_until(lambda: not any(thread.is_alive() for thread in threads))


def test_a_slow_peer_is_told_by_the_result_and_not_by_the_call(make_pair):
    ws, peer = make_pair(buffers=4096)
    results = in_thread(lambda: [ws.send_threadsafe(bytes(100_000)) for _ in range(4)])
    let_hub_run()
    assert [result.done() for result in results] == [True, False, False, False]
    late = in_thread(lambda: ws.send_threadsafe("late", timeout=0.01))
    wait_until(late.done)
    with pytest.raises(TimeoutError):
        late.result(0)
    assert [len(peer.read_message()) for _ in range(4)] == [100_000] * 4
    wait_until(lambda: all(result.done() for result in results))


def test_it_can_be_cancelled_before_its_turn(pair):
    ws, peer = pair
    result = ws.send_threadsafe("never")
    assert result.cancel()
    ws.send("mine")
    assert peer.read_message() == "mine"
    let_hub_run()
    with pytest.raises(CancelledError):
        result.result(0)
    ws.send("more")
    assert peer.read_message() == "more"


def test_a_buffer_may_change_once_the_call_has_returned(pair):
    ws, peer = pair
    data = bytearray(b"before")
    ws.send_threadsafe(data)
    data[:] = b"after!"
    assert peer.read_message() == b"before"


def test_what_cannot_be_sent_is_told_at_once(pair):
    ws, _ = pair
    with pytest.raises(TypeError):
        in_thread(ws.send_threadsafe, 5)
    with pytest.raises(TypeError, match="timeout"):
        in_thread(lambda: ws.send_threadsafe("x", timeout="soon"))


def test_a_kill_of_its_greenlet_is_its_result(make_pair):
    ws, _ = make_pair(buffers=4096)
    ws.send(bytes(200_000))
    result = ws.send_threadsafe("never")
    before = set(living())
    let_hub_run()
    gevent.killall([other for other in living() if other not in before])
    with pytest.raises(gevent.GreenletExit):
        result.result(0)


def living():
    return [thing for thing in gc.get_objects() if isinstance(thing, gevent.Greenlet) and not thing.dead]


def test_a_closed_connection_is_the_results_error(pair):
    ws, _ = pair
    ws.terminate()
    result = in_thread(ws.send_threadsafe, "late")
    wait_until(result.done)
    with pytest.raises(ConnectionClosedError):
        result.result(0)


def test_a_handler_may_work_in_the_threadpool(pair):
    ws, peer = pair

    def handle():
        for message in ws:
            ws.send(in_thread(str.upper, message))

    handler = start(handle)
    for word in ("one", "two", "three"):
        peer.text(word)
    assert [peer.read_message() for _ in range(3)] == ["ONE", "TWO", "THREE"]
    peer.send_close(1000)
    handler.result()


def echo(ws):
    for message in ws:
        ws.send(message)


def serve_and_use(name, ready, both, failures):
    """In a thread with a hub of its own: a server, and clients that use it while the other thread does the same."""
    try:
        with geventws.WebSocketServer(("127.0.0.1", 0), echo) as server:
            server.start()
            ready.append(server.address)

            def use(number):
                with geventws.connect(f"ws://127.0.0.1:{server.address[1]}/") as ws:
                    for i in range(50):
                        ws.send(f"{name} {number} {i}")
                        assert ws.recv(10) == f"{name} {number} {i}"

            both.wait(10)
            users = [gevent.spawn(use, number) for number in range(5)]
            gevent.joinall(users, raise_error=True)
    except BaseException as error:  # noqa: BLE001 (which the test raises)
        failures.append(error)
    finally:
        gevent.get_hub().destroy(destroy_loop=True)


@circumstances.threads
def test_two_hubs_in_two_threads_serve_independently():
    ready, failures = [], []
    both = threading.Barrier(2)
    threads = [threading.Thread(target=serve_and_use, args=(name, ready, both, failures)) for name in "ab"]
    for thread in threads:
        thread.start()
    wait_until(lambda: not any(thread.is_alive() for thread in threads), 20)
    assert not failures, failures
    assert len(set(ready)) == 2


@circumstances.threads
def test_a_connection_whose_thread_has_ended_is_told_as_closed():
    made = []

    def run():
        with geventws.WebSocketServer(("127.0.0.1", 0), echo) as server:
            server.start()
            ws = geventws.connect(f"ws://127.0.0.1:{server.address[1]}/")
            ws.send("hello")
            made.append(ws)
            assert ws.recv(10) == "hello"
            ws.close()
        gevent.get_hub().destroy(destroy_loop=True)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: not thread.is_alive())
    with pytest.raises(ConnectionClosed):
        made[0].send_threadsafe("late")


PROGRAM = """
from gevent import monkey; monkey.patch_{patch}
import gevent, threading
import geventws
from gevent.monkey import get_original
def echo(ws):
    for message in ws:
        ws.send(message)
with geventws.WebSocketServer(("127.0.0.1", 0), echo) as server:
    server.start()
    with geventws.connect("ws://127.0.0.1:%d/" % server.address[1]) as ws:
        pool = gevent.get_hub().threadpool
        assert pool.apply(lambda: ws.send_threadsafe("hello").result(5)) is None
        print(ws.recv(5), flush=True)
        threads = [get_original("threading", "Thread")(target=ws.send_threadsafe, args=(str(n),)) for n in range(3)]
        for thread in threads:
            thread.start()
        print(sorted(ws.recv(5) for _ in threads), flush=True)
        def refused():
            try:
                ws.send("wrong")
            except geventws.ConcurrencyError:
                return "refused"
        print(pool.apply(refused), flush=True)
"""


@pytest.mark.parametrize("patch", ["all()", "all(thread=False)"])
def test_it_works_in_a_patched_process(patch):
    command = [sys.executable, "-X", "dev", "-c", PROGRAM.replace("{patch}", patch)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=25)
    assert done.stdout.splitlines() == ["hello", "['0', '1', '2']", "refused"], done.stderr
    assert not done.stderr
