from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

import pytest

from geventws.exceptions import InvalidState
from geventws.integrations import simple_websocket
from geventws.integrations.simple_websocket import errors
from geventws.integrations.stand_in import StandIn

pytestmark = pytest.mark.usefixtures("spare_imports")

NAME = "no_such_library"


def make() -> StandIn:
    return StandIn(NAME, simple_websocket.__name__)


def test_modules_are_found_under_the_other_name() -> None:
    make().install()
    assert import_module(NAME) is simple_websocket
    assert import_module(f"{NAME}.errors") is errors
    assert simple_websocket.__name__ == "geventws.integrations.simple_websocket"


def test_module_that_is_not_there_is_not_found() -> None:
    make().install()
    with pytest.raises(ModuleNotFoundError, match=f"{NAME}.threads"):
        import_module(f"{NAME}.threads")
    with pytest.raises(ModuleNotFoundError):
        import_module(f"{NAME}_2")


def test_install_may_be_called_twice() -> None:
    make().install()
    before = list(sys.meta_path)
    make().install()
    assert sys.meta_path == before


def test_library_that_is_imported_already_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, NAME, ModuleType(NAME))
    with pytest.raises(InvalidState, match=f"{NAME} has been imported already"):
        make().install()
