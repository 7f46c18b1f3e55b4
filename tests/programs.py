"""Python programs as processes of their own, read and written without holding the hub."""

from __future__ import annotations

import signal
import sys
from typing import Any

import gevent
from gevent.subprocess import PIPE, Popen

DEADLINE = 20


def end_process(process: Any) -> None:
    """Ask a process to end, and kill it where it has not within some seconds."""
    process.terminate()
    try:
        process.wait(timeout=10)
    finally:
        process.kill()
        process.wait()


class Program:
    """A running program; a context manager that ends it."""

    def __init__(self, *arguments: str, **options: Any) -> None:
        command = [sys.executable, "-X", "dev", "-W", "error", *arguments]
        self._process = Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, **options)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def line(self) -> str:
        """Wait for the next line of its standard output."""
        with gevent.Timeout(DEADLINE):
            return str(self._process.stdout.readline().decode().rstrip("\n"))

    def address(self) -> str:
        """The URL in the line with which a server says that it listens."""
        return next(word for word in self.line().split() if "://" in word)

    def signal(self, number: signal.Signals = signal.SIGINT) -> None:
        self._process.send_signal(number)

    def finish(self, typed: bytes = b"") -> tuple[int, str, str]:
        """Give it input and wait for its end; returns its status, output and errors."""
        output, errors = self._process.communicate(typed, timeout=DEADLINE)
        return self._process.returncode, output.decode(), errors.decode()
