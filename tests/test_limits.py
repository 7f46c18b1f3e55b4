"""How many connections there may be: in all, and from one address."""

from __future__ import annotations

import pytest

from geventws.exceptions import HandshakeError
from geventws.limits import Limits


def is_full(limits: Limits, address: str | None) -> int | None:
    """The status with which a connection that has been counted is refused; None where it may stay."""
    try:
        limits.check(address)
    except HandshakeError as error:
        assert error.response is not None
        assert error.response.headers["Retry-After"] == "5"
        return error.response.status
    return None


def test_all_connections_are_counted_together() -> None:
    limits = Limits(2, None)
    first = limits.enter("192.0.2.1")
    limits.enter(None)
    assert is_full(limits, None) is None
    third = limits.enter("192.0.2.3")
    assert is_full(limits, "192.0.2.3") == 503
    third.leave()
    first.leave()
    limits.enter("192.0.2.1")
    assert is_full(limits, "192.0.2.1") is None


def test_those_of_one_address_are_counted_together() -> None:
    limits = Limits(None, 1)
    place = limits.enter("192.0.2.1")
    limits.enter("192.0.2.2")
    assert (is_full(limits, "192.0.2.1"), is_full(limits, "192.0.2.2")) == (None, None)
    limits.enter("192.0.2.1")
    assert is_full(limits, "192.0.2.1") == 429
    assert is_full(limits, "192.0.2.2") is None
    place.leave()
    assert is_full(limits, "192.0.2.1") is None


@pytest.mark.parametrize(
    "one, other, together",
    [
        ("2001:db8::1", "2001:db8:0:0:ffff::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("::ffff:192.0.2.1", "192.0.2.1", False),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_a_network_of_64_bits_is_one_address(one: str, other: str, together: bool) -> None:
    limits = Limits(None, 1)
    limits.enter(one)
    limits.enter(other)
    assert is_full(limits, other) == (429 if together else None)


def test_who_has_no_address_is_counted_with_all_only() -> None:
    limits = Limits(3, 1)
    for _ in range(3):
        limits.enter(None)
    assert is_full(limits, None) is None
    limits.enter(None)
    assert is_full(limits, None) == 503


def test_a_place_is_given_back_once_and_nothing_is_kept_of_it() -> None:
    limits = Limits(1, 1)
    place = limits.enter("192.0.2.1")
    other = limits.enter("192.0.2.1")
    place.leave()
    place.leave()
    assert (limits._count, limits._counts) == (1, {"192.0.2.1": 1})
    other.leave()
    assert (limits._count, limits._counts) == (0, {})
    assert is_full(limits, "192.0.2.1") is None
