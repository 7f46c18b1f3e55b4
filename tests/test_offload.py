from __future__ import annotations

import os
import subprocess
import sys
import threading
import zlib
from types import SimpleNamespace

import gevent
import pytest
from gevent import get_hub
from gevent.event import Event
from gevent.monkey import get_original
from gevent.threadpool import ThreadPool
from tools.timing import let_hub_run, wait_until

from geventws import offload
from geventws.offload import Offload

LARGE = bytes(range(256)) * 40000


class Jobs:
    """Jobs that begin and end when the test says so."""

    def __init__(self):
        self.begun = []
        self.results = []
        self._gates = {}

    def job(self, name, result=None):
        gate = self._gates[name] = get_original("threading", "Event")()

        def run():
            self.begun.append(name)
            assert gate.wait(10)
            if isinstance(result, BaseException):
                raise result
            return name if result is None else result

        return run

    def finish(self, *names):
        for name in names:
            self._gates[name].set()

    def done(self, result):
        self.results.append(result)


@pytest.fixture
def jobs():
    made = Jobs()
    yield made
    made.finish(*made._gates)


@pytest.fixture
def make_offload():
    made = []

    def make(limit=2):
        made.append(Offload(get_hub(), limit))
        return made[-1]

    yield make
    for one in made:
        wait_until(lambda one=one: not one._running)
        if one._pool is not None:
            one._pool.kill()


def in_hub(function):
    """Call a function in the hub; a switch there would be an error."""
    result = []
    get_hub().loop.run_callback(lambda: result.append((function(), gevent.getcurrent() is get_hub())))
    wait_until(lambda: result)
    ((value, was_hub),) = result
    assert was_hub
    return value


def test_nothing_is_made_before_the_first_job(make_offload):
    threads = len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 0
    one = make_offload()
    assert one._pool is None
    if sys.platform == "linux":
        assert len(os.listdir("/proc/self/task")) == threads


def test_job_runs_in_a_thread_and_its_result_comes_in_the_hub(make_offload):
    told = []
    make_offload().submit(threading.get_ident, lambda result: told.append((result, gevent.getcurrent())))
    wait_until(lambda: told)
    ((ident, greenlet),) = told
    assert ident != threading.get_ident()
    assert greenlet is get_hub()


def test_run_gives_the_result_of_the_job(make_offload):
    assert make_offload().run(lambda: zlib.compress(LARGE)) == zlib.compress(LARGE)


def test_run_raises_the_exception_of_the_job(make_offload):
    error = ZeroDivisionError("the job's own")

    def fail():
        raise error

    with pytest.raises(ZeroDivisionError) as caught:
        make_offload().run(fail)
    assert caught.value is error


@pytest.mark.parametrize("error", [ValueError("no"), MemoryError(), SystemExit(3), KeyboardInterrupt()])
def test_exception_of_a_job_is_handed_to_done(make_offload, jobs, error):
    one = make_offload()
    one.submit(jobs.job("a", error), jobs.done)
    jobs.finish("a")
    wait_until(lambda: jobs.results)
    assert jobs.results == [error]


def test_at_most_limit_jobs_run_at_once_in_the_order_in_which_they_came(make_offload, jobs):
    one = make_offload(2)
    for name in "abcde":
        one.submit(jobs.job(name), jobs.done)
    wait_until(lambda: len(jobs.begun) == 2)
    let_hub_run()
    assert sorted(jobs.begun) == ["a", "b"]
    jobs.finish("b")
    wait_until(lambda: len(jobs.begun) == 3)
    let_hub_run()
    assert jobs.begun[2:] == ["c"]
    assert jobs.results == ["b"]
    jobs.finish("a", "c", "d", "e")
    wait_until(lambda: len(jobs.results) == 5)
    assert sorted(jobs.begun[2:]) == ["c", "d", "e"]


def test_one_at_a_time_ends_in_order(make_offload, jobs):
    one = make_offload(1)
    for name in "abcdefgh":
        one.submit(jobs.job(name), jobs.done)
    jobs.finish(*"hgfedcba")
    wait_until(lambda: len(jobs.results) == 8)
    assert jobs.begun == jobs.results == list("abcdefgh")


def test_submit_from_the_hub_neither_blocks_nor_switches(make_offload, jobs):
    one = make_offload(2)
    # A switch out of the hub's callback would raise, as would a wait for a free thread.
    for name in "abcdefghij":
        assert in_hub(lambda name=name: one.submit(jobs.job(name), jobs.done)) is None
    jobs.finish(*"abcdefghij")
    wait_until(lambda: len(jobs.results) == 10)


def test_submit_from_done_neither_blocks_nor_switches(make_offload):
    one = make_offload(3)
    ended = []

    def again(number):
        ended.append(number)
        if number < 1000:
            one.submit(lambda: number + 10, again)

    for number in range(10):
        one.submit(lambda number=number: number, again)
    wait_until(lambda: len([number for number in ended if number >= 1000]) == 10)
    assert sorted(ended) == list(range(1010))


def test_submit_from_a_greenlet_does_not_switch(make_offload, jobs):
    one = make_offload(1)
    ran = []
    gevent.spawn(ran.append, 1)
    for name in "abcd":
        one.submit(jobs.job(name), jobs.done)
    assert ran == []
    jobs.finish(*"abcd")
    wait_until(lambda: len(jobs.results) == 4)


def test_hub_runs_while_jobs_do(make_offload, jobs):
    one = make_offload(1)
    one.submit(jobs.job("a"), jobs.done)
    waiting = gevent.spawn(one.run, jobs.job("b"))
    let_hub_run()  # a hub that is held would never come back from here
    assert not jobs.results
    assert not waiting.ready()
    jobs.finish("a", "b")
    assert waiting.get() == "b"


def test_hub_runs_while_zlib_works(make_offload):
    one = make_offload(1)
    rounds = 0
    job = gevent.spawn(one.run, lambda: len(zlib.compress(LARGE)))
    while not job.ready():
        rounds += 1
        gevent.sleep(0)
    assert job.get() > 0
    assert rounds > 3


def test_done_that_raises_is_told_to_the_hub_and_harms_no_other_job(make_offload, jobs, hub_errors):
    one = make_offload(1)

    def fail(result):
        raise ValueError(result)

    one.submit(jobs.job("a"), fail)
    one.submit(jobs.job("b"), jobs.done)
    jobs.finish("a", "b")
    wait_until(lambda: jobs.results)
    assert jobs.results == ["b"]
    ((_, error),) = hub_errors
    assert error.args == ("a",)
    hub_errors.clear()


class Interruption(Exception):
    pass


@pytest.mark.parametrize("interruption", [Interruption(), gevent.GreenletExit(), gevent.Timeout(), KeyboardInterrupt()])
def test_interruption_of_run_leaves_as_the_same_object(make_offload, jobs, interruption):
    one = make_offload(1)
    caught = []

    def wait():
        try:
            one.run(jobs.job("a"))
        except BaseException as error:  # noqa: BLE001
            caught.append(error)

    waiting = gevent.spawn(wait)
    wait_until(lambda: jobs.begun)
    waiting.kill(interruption)
    assert caught == [interruption]
    jobs.finish("a")
    assert one.run(lambda: "next") == "next"


def test_timeout_of_run_is_the_callers_own(make_offload, jobs):
    one = make_offload(1)
    with pytest.raises(gevent.Timeout) as caught, gevent.Timeout(0.01) as mine:
        one.run(jobs.job("a"))
    assert caught.value is mine
    jobs.finish("a")


def test_job_whose_caller_was_interrupted_before_it_began_is_not_run(make_offload, jobs):
    one = make_offload(1)
    one.submit(jobs.job("a"), jobs.done)
    waiting = gevent.spawn(one.run, jobs.job("b"))
    let_hub_run()
    waiting.kill()
    one.submit(jobs.job("c"), jobs.done)
    jobs.finish("a", "b", "c")
    wait_until(lambda: len(jobs.results) == 2)
    assert jobs.begun == ["a", "c"]


def test_greenlet_that_waits_is_woken_by_nothing_but_its_own_job(make_offload, jobs):
    one = make_offload(2)
    first, second = gevent.spawn(one.run, jobs.job("a")), gevent.spawn(one.run, jobs.job("b"))
    wait_until(lambda: len(jobs.begun) == 2)
    jobs.finish("b")
    assert second.get() == "b"
    assert not first.ready()
    jobs.finish("a")
    assert first.get() == "a"


def test_thread_that_cannot_be_started_is_told_to_done(make_offload, jobs, monkeypatch):
    one = make_offload(1)
    error = RuntimeError("can't start new thread")

    def fail(*arguments):
        raise error

    monkeypatch.setattr(ThreadPool, "_add_thread", fail)
    in_submit = True

    def done(result):
        assert not in_submit
        jobs.done(result)

    one.submit(int, done)
    in_submit = False
    wait_until(lambda: jobs.results)
    assert jobs.results == [error]
    with pytest.raises(RuntimeError) as caught:
        one.run(int)
    assert caught.value is error
    monkeypatch.undo()
    assert one.run(lambda: "again") == "again"


def test_failure_of_gevents_own_thread_is_told_to_done(make_offload, jobs, hub_errors, monkeypatch):
    one = make_offload(1)
    error = RuntimeError("a trace function cannot be set")

    def fail(job):
        raise error

    monkeypatch.setattr(offload, "_outcome", fail)
    one.submit(int, jobs.done)
    wait_until(lambda: jobs.results)
    assert jobs.results == [error]
    monkeypatch.undo()
    assert one.run(lambda: "again") == "again"
    hub_errors.clear()


def test_forked_child_has_threads_of_its_own(make_offload, jobs, monkeypatch):
    one = make_offload(1)
    one.submit(jobs.job("a"), jobs.done)
    parents = one._pool
    with monkeypatch.context() as patch:
        patch.setattr(offload, "os", SimpleNamespace(getpid=lambda: -1))  # gevent must not believe in a fork
        assert one.run(lambda: "child") == "child"
    assert one._pool is not parents
    jobs.finish("a")
    wait_until(lambda: jobs.results)
    parents.kill()
    one._running = 0  # the parent's job ended here after all


def test_idle_threads_end(make_offload, monkeypatch):
    monkeypatch.setattr(offload, "_IDLE_TIMEOUT", 0.01)
    one = make_offload(3)
    for _ in range(3):
        assert one.run(lambda: 1) == 1
        wait_until(lambda: one._pool.size == 0)


def run_script(script):
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=True).stdout


def test_threads_do_not_keep_the_process_alive():
    script = """
import time
from gevent import get_hub
from geventws.offload import Offload
one = Offload(get_hub(), 2)
print(one.run(lambda: "ready"))
one.submit(lambda: time.sleep(3600), print)
"""
    assert run_script(script) == "ready\n"


def test_import_makes_neither_hub_nor_thread():
    script = """
import threading
from gevent._hub_local import get_hub_if_exists
import geventws.offload
print(get_hub_if_exists(), threading.active_count())
"""
    assert run_script(script) == "None 1\n"


def test_works_in_a_patched_process():
    script = """
from gevent import monkey
monkey.patch_all()
import _thread, gevent
from geventws.offload import Offload
one = Offload(gevent.get_hub(), 2)
ident = monkey.get_original("_thread", "get_ident")
jobs = [gevent.spawn(one.run, ident) for _ in range(10)]
print(ident() in [job.get() for job in jobs])
"""
    assert run_script(script) == "False\n"


def test_waiting_greenlets_share_the_limit(make_offload):
    one = make_offload(2)
    running = []
    most = []
    gate = Event()

    def job():
        running.append(1)
        most.append(len(running))
        zlib.compress(LARGE[:100000])
        running.pop()

    def work():
        gate.wait()
        for _ in range(10):
            one.run(job)

    workers = [gevent.spawn(work) for _ in range(8)]
    gate.set()
    gevent.joinall(workers, raise_error=True)
    assert len(most) == 80
    assert max(most) <= 2
