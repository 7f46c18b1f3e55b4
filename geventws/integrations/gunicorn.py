"""gunicorn's gevent workers, which close their WebSockets before they end.

gunicorn lets a worker that is to end (SIGTERM, a reload, ``max_requests``) finish its requests for as long as
``graceful_timeout``. A WebSocket is a request that does not finish by itself: it would be cut off then. `Worker`, or
the hook that `graceful_close` makes, closes each with 1001 or 1012, and refuses new ones with 503. On SIGQUIT and
SIGINT, which end a worker at once, each gets its close frame, and no answer is waited for.

Whether the worker is to make room for another one only the master process knows. It loads the configuration and the
worker's class anew for each reload; that is counted, in memory that it shares with the workers.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import Any

import gevent
from gunicorn.workers.ggevent import GeventWorker

from ..draining import drain
from ..frames import CloseCode, CloseFrame

_SHARE = 4
"""By default close frames are spread over this part of ``graceful_timeout``."""


class _Loads:
    """How often the master process has loaded the configuration, modulo 256; the worker processes see it too."""

    _memory: mmap.mmap | None = None

    @classmethod
    def count(cls) -> int:
        """The number of a new load."""
        if cls._memory is None:
            cls._memory = mmap.mmap(-1, 1)
        cls._memory[0] = (cls._memory[0] + 1) % 256
        return cls._memory[0]

    @classmethod
    def is_latest(cls, load: int) -> bool:
        return cls._memory is None or cls._memory[0] == load


class _Departure:
    """Watches one worker, and closes its WebSockets once it is to end."""

    def __init__(self, worker: Any, code: int, reload_code: int, over: float | None, load: int) -> None:
        if not isinstance(worker, GeventWorker):
            raise TypeError(f"the workers are gunicorn's gevent or gevent_pywsgi, not {type(worker).__name__}")
        timeout = worker.cfg.graceful_timeout
        if over is not None and not 0 <= over < timeout:
            raise ValueError(f"over must be less than graceful_timeout ({timeout} s), not {over!r}")
        self._worker = worker
        self._frame = CloseFrame.checked(code, "")
        self._reload_frame = CloseFrame.checked(reload_code, "")
        self._over = timeout / _SHARE if over is None else over
        self._load = load
        self._begun = False

    def prepare_for_quick_end(self) -> None:
        """On SIGQUIT and SIGINT a worker exits as soon as gunicorn's hook ``worker_int`` returns."""
        worker_int = self._worker.cfg.worker_int

        def close_first(worker: Any) -> None:
            for ws in drain.open:
                ws.start_close(self._frame)
            worker_int(worker)

        self._worker.cfg.set("worker_int", close_first)

    def look(self) -> None:
        """Called every second, also after the worker has stopped accepting."""
        if self._begun or self._worker.alive:
            return
        self._begun = True
        frame = self._reload_frame if self._is_replaced() else self._frame
        self._worker.log.info("Closing %s WebSockets with %s (pid: %s)", len(drain.open), frame.code, self._worker.pid)
        gevent.spawn(drain.close, frame, self._over)

    def _is_replaced(self) -> bool:
        return self._worker.nr >= self._worker.max_requests or not _Loads.is_latest(self._load)


def graceful_close(
    code: int = CloseCode.GOING_AWAY, *, reload_code: int = CloseCode.SERVICE_RESTART, over: float | None = None
) -> Callable[[Any], None]:
    """The hook ``post_worker_init`` for gunicorn.conf.py, for workers of gunicorn's own.

    ::

        worker_class = "gevent"
        post_worker_init = graceful_close(over=5)

    Args:
        code: the close code where the server ends.
        reload_code: the close code where another worker takes over: after SIGHUP, and for ``max_requests``.
        over: within how many seconds the connections are closed, each at a random moment; less than
            ``graceful_timeout``, and by default a quarter of it.

    The worker does not start where these make no sense, or where it is no gevent worker.
    """
    load = _Loads.count()

    def post_worker_init(worker: Any) -> None:
        departure = _Departure(worker, code, reload_code, over, load)
        departure.prepare_for_quick_end()
        notify = worker.notify

        def notify_and_look() -> None:
            notify()
            departure.look()

        worker.notify = notify_and_look

    return post_worker_init


class Worker(GeventWorker):
    """gunicorn's worker ``gevent`` with `graceful_close`: ``gunicorn -k geventws.integrations.gunicorn.Worker``.

    Attributes:
        close_code, reload_code, close_over: the arguments of `graceful_close`; to be set in a subclass.
    """

    close_code: int = CloseCode.GOING_AWAY
    reload_code: int = CloseCode.SERVICE_RESTART
    close_over: float | None = None
    _load = 0

    @classmethod
    def setup(cls) -> None:
        """Called in the master process, when it starts and for each reload."""
        cls._load = _Loads.count()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._departure = _Departure(self, self.close_code, self.reload_code, self.close_over, self._load)

    def init_process(self) -> None:
        self._departure.prepare_for_quick_end()
        super().init_process()

    def notify(self) -> None:
        super().notify()
        self._departure.look()
