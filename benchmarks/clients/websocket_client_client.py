"""Runs with threads, or with greenlets under `python -m gevent.monkey`."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

from common import run_blocking
from websocket import create_connection


def start(work: Callable[[], None]) -> Thread:
    thread = Thread(target=work)
    thread.start()
    return thread


run_blocking(create_connection, start, send="send_binary")
