"""The soak and load programs, for a few seconds: they lose nothing, leave nothing, and say so."""

from __future__ import annotations

from pathlib import Path

from programs import Program

SOAK = Path(__file__).parent / "soak"


def test_a_short_soak_loses_nothing_and_leaves_nothing() -> None:
    arguments = ["--minutes", "0.05", "--connections", "30", "--processes", "1", "--rate", "20", "--churn", "0.5"]
    with Program(str(SOAK / "soak.py"), *arguments, "--stall", "0", "--interrupt", "0.2", "--compression") as program:
        status, output, errors = program.finish()
    assert errors == ""
    assert "nothing lost, nothing left" in output
    assert status == 0


def test_a_small_load_is_held_and_answers_pings() -> None:
    arguments = ["--active", "40", "--idle", "60", "--seconds", "1", "--processes", "1"]
    with Program(str(SOAK / "load.py"), *arguments) as program:
        status, output, errors = program.finish()
    assert errors == ""
    assert "100 connections" in output
    assert status == 0
