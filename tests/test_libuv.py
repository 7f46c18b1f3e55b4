"""gevent's other loop: what once went wrong there. `tox -e libuv` runs all tests on it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "GEVENT_LOOP": "libuv-cffi", "PYTHONPATH": str(ROOT / "tests")}

YIELDING = """
import gevent
from geventws.hubs import let_hub_run
assert "libuv" in type(gevent.get_hub().loop).__module__
let_hub_run()
"""


def test_letting_the_hub_run_asks_for_no_timer_that_libuv_does_not_have():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", YIELDING], env=ENVIRONMENT, cwd=ROOT, capture_output=True, timeout=25
    )
    assert done.returncode == 0, done.stderr


ELSEWHERE = [
    # A reset that stands behind data: libuv tells of both at once, and then watches no more.
    "test_websocket_closing.py::TestEndOfTCP::test_an_end_without_a_close_frame_is_an_error",
    "test_arrivals.py::test_one_that_goes_away_is_forgotten",
    # A loop that is gone says so by another error.
    "test_reconnection.py::test_an_iterator_may_be_dropped_after_its_loop_is_gone",
    # libuv watches no files, and puts what it does watch in non-blocking mode.
    "test_main.py::TestConnect::test_it_ends_quietly_when_nobody_reads_its_output",
    "test_main.py::TestConnect::test_it_leaves_its_input_in_blocking_mode",
]

LISTENING = """
import gc, threading
import gevent
from geventws import WebSocketServer

def serve():
    with WebSocketServer(("127.0.0.1", 0), print) as server:
        server.start()
    gevent.sleep(0.01)
    gevent.get_hub().destroy(destroy_loop=True)

thread = threading.Thread(target=serve)
thread.start()
thread.join()
del thread
gc.collect()
"""


def test_a_server_closes_the_watchers_of_its_listening_socket():
    environment = {**ENVIRONMENT, "GEVENT_DEBUG": "debug"}
    command = [sys.executable, "-W", "error", "-c", LISTENING]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=25)
    assert done.stderr == ""


def test_what_went_wrong_there_alone_goes_right():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += [f"tests/{test}" for test in ELSEWHERE]
    done = subprocess.run(command, env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, timeout=28)
    assert done.returncode == 0, done.stdout
