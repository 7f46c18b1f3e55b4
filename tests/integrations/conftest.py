from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from documented import CLONES

collect_ignore = [] if all(clone.is_dir() for clone in CLONES) else ["test_example_folders.py"]
NAMES = ("flask_sock", "geventwebsocket", "no_such_library", "simple_websocket")


def take_out() -> dict[str, object]:
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in NAMES}


@pytest.fixture
def spare_imports() -> Iterator[None]:
    """In the test nothing has been imported under these names yet; what it installs there is gone afterwards."""
    finders, modules = list(sys.meta_path), take_out()
    yield
    sys.meta_path[:] = finders
    take_out()
    sys.modules.update(modules)
