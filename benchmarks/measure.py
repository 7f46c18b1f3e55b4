"""One measurement: a server and the load, each on a core of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import payloads
from environment import BUILD, CERTIFICATE
from rows import SERVERS, Peer, Row

Figures = dict[str, Any]
"""What a measurement yields: `value` in the row's unit, `cpu` and `load_cpu` as shares of a core, and details."""

TIMEOUT = 120
"""How long a program may take beyond what was asked of it, in seconds."""


class Failed(Exception):
    """A program did not do what it should have done."""


def cores() -> tuple[int, int]:
    """The core of what is measured, and the core of the other side."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise Failed("two cores are needed: one for the server, one for the load")
    return usable[-2], usable[-1]


def measure(row: Row, peer: Peer, seconds: float) -> Figures:
    """One measurement of the row; raises Failed."""
    if row.kind == "client":
        return _measure_client(row, peer, seconds)
    if row.mode == "memory":
        return _measure_memory(row, peer)
    with _serving(peer, row.kind, cores()[0]) as (port, pid):
        options = {**_load_options(row), "seconds": seconds, "pid": pid}
        figures: Figures = json.loads(_load(row.mode, port, options, seconds))
    figures["value"] = figures["rate"]
    figures["cpu"] = figures.pop("server_cpu")
    figures["bytes_per_message"] = figures["bytes_in"] / max(1, figures["messages"])
    figures["fairness"] = figures["fewest"] / max(1, figures["most"])
    return figures


def _load_options(row: Row) -> dict[str, object]:
    options = dict(row.load)
    size = options.pop("json", None)
    if isinstance(size, int):
        path = BUILD / f"messages-{size}.txt"
        payloads.write(path, size)
        options["messages"] = path
    return options


def _load(mode: str, port: int, options: Mapping[str, object], seconds: float) -> str:
    arguments = [f"{name}={value}" for name, value in options.items()]
    return _output([BUILD / "load", mode, str(port), *arguments], cores()[1], seconds)


def _measure_client(row: Row, peer: Peer, seconds: float) -> Figures:
    client, server = cores()
    task, size, connections = (str(row.load[name]) for name in ("task", "size", "connections"))
    with _serving(SERVERS["floor"], "echo", server) as (port, _):
        command = [*peer.command, str(port), task, size, str(seconds), connections]
        figures: Figures = json.loads(_output(command, client, seconds, peer.env))
    figures["value"] = figures["rate"]
    return figures


def _measure_memory(row: Row, peer: Peer) -> Figures:
    """What the server grows by for each connection that is held, after a few have come and gone."""
    connections = row.load["connections"]
    assert isinstance(connections, int)
    with _serving(peer, row.kind, cores()[0]) as (port, pid):
        _load("echo", port, {"connections": 100, "seconds": 0.2, "warmup": 0.2}, 1)
        before = _resident_bytes(pid)
        command: list[str | Path] = [BUILD / "load", "idle", str(port), f"connections={connections}"]
        with _process(command, cores()[1], stdin=subprocess.PIPE) as load:
            _line(load)
            after = _resident_bytes(pid)
    return {"value": (after - before) / connections / 1024}


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def _serving(peer: Peer, kind: str, core: int) -> Iterator[tuple[int, int]]:
    """A server that runs; gives its port and process id."""
    command = [*peer.command, peer.variant or kind, CERTIFICATE]
    with _process(command, core, peer.env) as server:
        yield int(_line(server)), server.pid


@contextmanager
def _process(
    command: list[str | Path], core: int, env: Mapping[str, str] | None = None, **options: Any
) -> Iterator[Any]:
    environment = {**os.environ, **(env or {})}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, preexec_fn=_pinned_to(core), **options
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _output(command: list[str | Path], core: int, seconds: float, env: Mapping[str, str] | None = None) -> str:
    with _process(command, core, env) as process:
        try:
            output, _ = process.communicate(timeout=seconds + TIMEOUT)
        except subprocess.TimeoutExpired:
            raise Failed(f"{command[0]} took too long") from None
        if process.returncode:
            raise Failed(f"{command[0]} ended with {process.returncode}")
        return str(output)


def _line(process: Any) -> str:
    line: str = process.stdout.readline()
    if not line:
        raise Failed(f"{process.args[0]} ended before it was ready")
    return line


def _pinned_to(core: int) -> Callable[[], None]:
    return lambda: os.sched_setaffinity(0, {core})
