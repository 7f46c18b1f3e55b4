"""A package of geventws that other programs import under the name of the library whose place it takes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

from ..exceptions import InvalidState


class StandIn(MetaPathFinder, Loader):
    """Finds a package, and each of its modules, under a second name: it is the same module under both.

    Args:
        name: the name of the library whose place is taken.
        package: the name of the package that takes it.
    """

    def __init__(self, name: str, package: str) -> None:
        self._name = name
        self._package = package

    def install(self) -> None:
        """Let every import from now on find the package, also where the library itself is there.

        Raises InvalidState where the library has been imported already.
        """
        found = sys.modules.get(self._name)
        if found is sys.modules[self._package]:
            return
        if found is not None:
            raise InvalidState(f"{self._name} has been imported already: install() belongs before that")
        sys.meta_path.insert(0, self)
        import_module(self._name)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != self._name or find_spec(self._real(fullname)) is None:
            return None
        return ModuleSpec(fullname, self)

    def exec_module(self, module: ModuleType) -> None:
        """Put the package's module in the place of the one that the import system has made."""
        sys.modules[module.__name__] = import_module(self._real(module.__name__))

    def _real(self, fullname: str) -> str:
        return self._package + fullname.removeprefix(self._name)
