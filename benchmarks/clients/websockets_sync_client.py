"""Runs with threads, or with greenlets under `python -m gevent.monkey`."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

from common import run_blocking
from websockets.sync.client import connect


def start(work: Callable[[], None]) -> Thread:
    thread = Thread(target=work)
    thread.start()
    return thread


run_blocking(lambda url: connect(url, compression=None), start)
