"""Whether the compiled part of the library runs, or plain Python alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, FileFinder, SourceFileLoader


def is_unwanted() -> bool:
    """Whether the environment asks for plain Python: GEVENTWS_PURE_PYTHON or gevent's own PURE_PYTHON."""
    return bool(os.environ.get("GEVENTWS_PURE_PYTHON") or os.environ.get("PURE_PYTHON"))


def import_only_sources(directories: Iterable[str]) -> None:
    """From now on import the .py files of these directories, even where a compiled module lies beside them."""
    for directory in directories:
        sys.path_importer_cache[directory] = FileFinder(directory, (SourceFileLoader, SOURCE_SUFFIXES))


def is_compiled(path: str | None) -> bool:
    """Whether a module with this ``__file__`` was compiled."""
    return path is not None and path.endswith(tuple(EXTENSION_SUFFIXES))
