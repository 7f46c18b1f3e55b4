"""The memory for the frames of greenlets: kept in C, in plain Python left as it is; the same tests for both."""

from __future__ import annotations

import sys
from resource import RUSAGE_SELF, getrusage
from types import ModuleType

import greenlet
import pytest
from tools.twins import pure

import geventws
import geventws.stacks

MOST = 64


@pytest.fixture(params=["imported", "pure"])
def stacks(request: pytest.FixtureRequest) -> ModuleType:
    return geventws.stacks if request.param == "imported" else pure(geventws.stacks)


def square(number: int) -> int:
    """In the greenlet that it is called in: wait to be switched to once more."""
    greenlet.getcurrent().parent.switch()
    return number * number


def squares(count: int) -> list[int]:
    """What so many greenlets make that are there at the same time."""
    greenlets = [greenlet.greenlet(square) for _ in range(count)]
    for number, each in enumerate(greenlets):
        each.switch(number)
    return [each.switch() for each in greenlets]


def page_faults(greenlets: int) -> int:
    before = getrusage(RUSAGE_SELF).ru_minflt
    for _ in range(greenlets):
        squares(1)
    return getrusage(RUSAGE_SELF).ru_minflt - before


def test_greenlets_run_as_before(stacks: ModuleType) -> None:
    stacks.keep_stacks()
    for count in (1, MOST, 3 * MOST, 1):
        assert squares(count) == [number * number for number in range(count)]


def test_it_may_be_asked_for_again(stacks: ModuleType) -> None:
    for _ in range(3):
        assert stacks.keep_stacks() is None
    assert squares(2) == [0, 1]


def test_a_greenlet_is_given_what_an_earlier_one_left_where_that_is_compiled() -> None:
    kept = geventws.accelerated or sys.version_info < (3, 11)  # which has no such memory
    geventws.stacks.keep_stacks()
    squares(2)
    assert (page_faults(1000) < 500) is kept


def recurse(depth: int) -> int:
    return recurse(depth - 1) + 1 if depth else 0


def test_deep_calls_are_given_more(stacks: ModuleType) -> None:
    stacks.keep_stacks()
    for _ in range(3):
        assert greenlet.greenlet(recurse).switch(800) == 800
