"""What messages and handshakes cost stays within a budget: instructions, which are the same on a busy machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import geventws

COUNTER = Path(__file__).resolve().parents[1] / "benchmarks" / "callgrind.py"
TOOLS = ("valgrind", "cc")


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the budget is one for CPython 3.11")
@pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {' and '.join(TOOLS)}")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("row", ["32", "128x8", "64k", "handshake"])
def test_none_takes_more_instructions_than_allowed(row):
    command = [sys.executable, COUNTER, "--check", row]
    counted = subprocess.run(command, capture_output=True, text=True, cwd=COUNTER.parent)
    assert counted.returncode == 0, counted.stdout + counted.stderr
    assert "instructions for each" in counted.stdout


def test_a_budget_that_is_exceeded_is_told(tmp_path):
    """The check can fail."""
    sys.path.insert(0, str(COUNTER.parent))
    try:
        import callgrind
    finally:
        sys.path.remove(str(COUNTER.parent))
    row = callgrind.ROWS["32"]
    assert row.budget[0] > row.budget[1] > 1000
    assert callgrind.exceeds("32", row.budget[geventws.accelerated] + 1)
    assert not callgrind.exceeds("32", row.budget[geventws.accelerated])
