"""Which of these tests make sense with the compiled part, and what several of them need."""

from __future__ import annotations

import threading

import pytest
from serving import Serving
from tools.scale import DONE, SCALE

import geventws
from geventws.compression import Compressor

collect_ignore = ["test_demand_21_at_any_line.py"] if geventws.accelerated else []


def pytest_terminal_summary(terminalreporter):
    if DONE:
        done = ", ".join(f"{count:,} {what}" for what, count in sorted(DONE.items()))
        terminalreporter.write_line(f"faults x {SCALE}: {done}")


@pytest.fixture
def compression(monkeypatch):
    """Holds every compression until this event is set."""
    go_on = threading.Event()
    compress = Compressor.compress

    def held(*arguments):
        assert go_on.wait(10)
        return compress(*arguments)

    monkeypatch.setattr(Compressor, "compress", held)
    yield go_on
    go_on.set()


@pytest.fixture
def serving(client_context):
    made = Serving(client_context)
    yield made
    made.end()
