"""The plain Python twins of modules that may have been imported in their compiled form."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import geventws
from geventws.acceleration import import_only_sources


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


def pure_twin(name: str) -> ModuleType:
    """A module of the library in a second copy of it, called geventws_pure, for which only the .py files are looked at.

    There a module's twin imports the twins of the others; its classes are not the library's own.
    """
    if "geventws_pure" not in sys.modules:
        # The same directory by another name, so that what is imported for the library itself stays as it is.
        directory = os.path.join(geventws.__path__[0], ".")
        import_only_sources([directory])
        package = ModuleType("geventws_pure")
        package.__path__ = [directory]
        sys.modules["geventws_pure"] = package
    return importlib.import_module(f"geventws_pure.{name}")
