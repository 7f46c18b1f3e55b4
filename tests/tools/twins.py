"""The plain Python twin of a module that may have been imported in its compiled form."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType


def pure(module: ModuleType) -> ModuleType:
    """The module made of its .py file, whatever was imported."""
    name = module.__name__.rpartition(".")[2]
    path = Path(str(module.__file__)).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"geventws_pure_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made
