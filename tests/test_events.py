"""What a connection has to tell."""

from __future__ import annotations

import sys

import pytest

from geventws.events import Fragment, Ping, Pong, State


def test_the_states_are_those_of_the_browsers_ready_state() -> None:
    assert [(state.name, state.value) for state in State] == [
        ("CONNECTING", 0),
        ("OPEN", 1),
        ("CLOSING", 2),
        ("CLOSED", 3),
    ]


@pytest.mark.parametrize("data", [b"x" * 1000, "x" * 1000])
def test_a_fragment_weighs_as_much_as_its_data_and_more(data: str | bytes) -> None:
    assert sys.getsizeof(Fragment(data, True)) > sys.getsizeof(data) > 1000


def test_a_ping_and_a_pong_with_the_same_data_are_told_apart() -> None:
    assert type(Ping(b"1")) is not type(Pong(b"1"))
