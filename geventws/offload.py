"""Long jobs in threads: what zlib does to large messages would hold the hub for milliseconds.

The threads are gevent's. They do not keep the process alive, and are there only from the first job on.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from gevent.hub import Waiter
from gevent.threadpool import ThreadPool

if TYPE_CHECKING:
    from gevent.event import AsyncResult
    from gevent.hub import Hub

T = TypeVar("T")

# Threads that have nothing to do for this many seconds end, so that they do not outlive a hub that is destroyed. Where
# gevent does not look, when a thread ends, for a job that came in at that moment, the job would be left lying.
_IDLE_TIMEOUT = 5 if hasattr(ThreadPool, "_on_worker_exit") else -1


class Offload:
    """Runs jobs in threads for the greenlets and callbacks of one hub, in order, at most ``limit`` at once.

    Use it in the hub's own thread only. A job must not use gevent, and its result is not an exception.
    """

    def __init__(self, hub: Hub, limit: int) -> None:
        self._hub = hub
        self._limit = limit
        self._waiting: deque[tuple[Callable[[], Any], Callable[[Any], object]]] = deque()
        self._running = 0
        self._pool: ThreadPool | None = None
        self._pid = 0

    def submit(self, job: Callable[[], T], done: Callable[[T | BaseException], object]) -> None:
        """Have ``job`` run, and ``done`` called in the hub with its result, or with the exception that it raised.

        This neither blocks nor switches, and may be called in the hub. What ``done`` raises goes to the hub's error
        handler.
        """
        self._waiting.append((job, done))
        self._start_waiting()

    def run(self, job: Callable[[], T]) -> T:
        """The result of ``job``, or the exception that it raised, for which the calling greenlet waits.

        When something else is raised in the greenlet meanwhile, the job's result is discarded; a job that has not begun
        is not run at all.
        """
        waiter: Waiter[T | BaseException] = Waiter(self._hub)
        task = (job, waiter.switch)
        self._waiting.append(task)
        self._start_waiting()
        try:
            result = waiter.get()
        except BaseException:
            with suppress(ValueError):
                self._waiting.remove(task)
            raise
        if isinstance(result, BaseException):
            try:
                raise result
            finally:
                del result  # its traceback holds this frame
        return result

    def _start_waiting(self) -> None:
        if self._pid != os.getpid():
            # A forked child has none of its parent's threads, and will not hear of the jobs that they had.
            self._pid = os.getpid()
            self._pool = None
            self._running = 0
        while self._waiting and self._running < self._limit:
            job, done = self._waiting.popleft()
            self._running += 1
            try:
                self._start(job, done)
            except Exception as error:  # noqa: BLE001 (no thread can be started: `done` is told, from the hub)
                self._hub.loop.run_callback(self._finish, done, error)

    def _start(self, job: Callable[[], T], done: Callable[[T | BaseException], object]) -> None:
        if self._pool is None:
            self._pool = ThreadPool(self._limit, self._hub, _IDLE_TIMEOUT)
        # spawn() waits when all of maxsize + 1 permits are taken. It gives each back before it tells of the job's end,
        # so `limit` permits at most are taken here, and it never waits.
        self._pool.spawn(_outcome, job).rawlink(partial(self._ended, done))

    def _ended(self, done: Callable[[T | BaseException], object], ended: AsyncResult[Any]) -> None:
        failure = ended.exception  # gevent's own, before it came to the job
        self._finish(done, ended.get() if failure is None else failure)

    def _finish(self, done: Callable[[T | BaseException], object], result: T | BaseException) -> None:
        self._running -= 1
        self._start_waiting()
        done(result)


def _outcome(job: Callable[[], T]) -> T | BaseException:
    """In a thread. An exception that leaves a job there would be printed, so it is passed on as a value."""
    try:
        return job()
    except BaseException as error:  # noqa: BLE001
        return error
