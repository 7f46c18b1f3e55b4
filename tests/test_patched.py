"""Clients and servers in a monkey-patched process. `tox -e patched` runs nearly all tests in one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TESTS = ["tests/test_client.py", "tests/test_server.py"]


@pytest.mark.timeout(150)
@pytest.mark.parametrize("when", ["early", "late"])
def test_clients_and_servers_work_in_a_patched_process(when: str) -> None:
    command = [sys.executable, "tests/patched.py", when, "-q", "-p", "no:cacheprovider", *TESTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=140)
    assert done.returncode == 0, done.stdout + done.stderr
