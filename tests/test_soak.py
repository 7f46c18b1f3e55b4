"""The soak and load programs, for a few seconds: they lose nothing, leave nothing, and say so."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import Program

SOAK = Path(__file__).parent / "soak"


def output_of(program: str, *arguments: str) -> str:
    """What a run prints that is in order."""
    with Program(str(SOAK / program), *arguments) as running:
        status, output, errors = running.finish()
    assert errors == ""
    assert status == 0, output
    return output


def test_a_short_soak_loses_nothing_and_leaves_nothing() -> None:
    arguments = ["--minutes", "0.05", "--connections", "30", "--processes", "1", "--rate", "20", "--churn", "0.5"]
    output = output_of("soak.py", *arguments, "--stall", "0", "--interrupt", "0.2", "--kill", "0.2", "--compression")
    assert "nothing lost, nothing left" in output


@pytest.mark.parametrize("options", [["--server", "own"], ["--server", "wsgi", "--compression"]])
def test_a_small_load_is_held_and_answers_pings_and_is_told_of_the_end(options: list[str]) -> None:
    arguments = ["--active", "40", "--idle", "60", "--seconds", "1", "--processes", "1", "--stop"]
    output = output_of("load.py", *arguments, *options)
    assert "100 connections" in output
    assert "100 had 1001" in output
    assert "lost: 0" in output


def test_a_short_churn_leaves_nothing() -> None:
    output = output_of("churn.py", "--minutes", "0.02", "--at-once", "10", "--processes", "1", "--slope", "1000")
    assert "left: 0 descriptors, 0 greenlets" in output


def test_a_short_run_of_closes_is_in_time() -> None:
    assert "greenlets that went on waiting: 0" in output_of("closes.py", "--minutes", "0.001")
