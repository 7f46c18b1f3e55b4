from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import Daemons


@pytest.fixture(scope="session")
def daemons() -> Iterator[Daemons]:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    running = Daemons(folder)
    yield running
    running.stop()
    shutil.rmtree(folder)
