"""Switching exists twice, in C and in plain Python: the same tests for both."""

from __future__ import annotations

from types import ModuleType

import greenlet
import pytest
from tools.twins import pure

import geventws.switching


@pytest.fixture(params=["imported", "pure"])
def switching(request: pytest.FixtureRequest) -> ModuleType:
    return geventws.switching if request.param == "imported" else pure(geventws.switching)


def test_it_switches_to_a_greenlet_and_comes_back(switching: ModuleType) -> None:
    seen = []
    other = greenlet.greenlet(lambda: seen.append(switching.getcurrent()), parent=greenlet.getcurrent())
    switching.switch(other)
    assert seen == [other]
    assert switching.getcurrent() is greenlet.getcurrent()


def test_what_the_other_side_raises_comes_out(switching: ModuleType) -> None:
    def fail() -> None:
        raise KeyError("there")

    with pytest.raises(KeyError):
        switching.switch(greenlet.greenlet(fail, parent=greenlet.getcurrent()))


def test_only_a_greenlet_can_be_switched_to(switching: ModuleType) -> None:
    with pytest.raises((TypeError, AttributeError)):
        switching.switch(5)
