"""Who the client is behind trusted proxies: headers are read from the right, and no further than they are trusted."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from tools.timing import stopwatch

from geventws.forwarding import TrustedProxies
from geventws.http11 import Request
from geventws.proxy_protocol import ProxyHeader

PROXY = ("10.0.0.1", 40000)
NETWORK = ["10.0.0.0/8"]


def client(trusted: Any, said: Any, peer: Any = PROXY, name: str = "X-Forwarded-For", **more: Any) -> str | None:
    """Who the client is of a request that came from ``peer`` and has these header lines."""
    lines = [said] if isinstance(said, str) else said
    headers = [("Host", "localhost"), *((name, line) for line in lines)]
    request = Request(headers=headers, remote_address=peer, **more)
    return TrustedProxies(trusted, name).client_address(request)


@pytest.mark.parametrize(
    "count, said, expected",
    [
        (1, "192.0.2.1", "192.0.2.1"),
        (1, "6.6.6.6, 192.0.2.1", "192.0.2.1"),
        (1, "nonsense, 6.6.6.6 ,\t192.0.2.1 ", "192.0.2.1"),
        (2, "6.6.6.6, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
        (2, ["6.6.6.6, 192.0.2.1", "10.0.0.2"], "192.0.2.1"),
        (3, "192.0.2.1, 172.16.0.9, 10.0.0.2", "192.0.2.1"),
        (2, "192.0.2.1", None),
        (2, "192.0.2.1, nonsense", None),
        (1, "", None),
        (1, [], None),
        (1, "6.6.6.6, unknown", None),
    ],
)
def test_a_number_of_proxies_is_counted_from_the_right(count: int, said: Any, expected: str | None) -> None:
    assert client(count, said) == expected
    assert client(count, said, peer="") == expected


@pytest.mark.parametrize(
    "said, expected",
    [
        ("192.0.2.1", "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1", "192.0.2.1"),
        ("10.6.6.6, 192.0.2.1", "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1, 10.0.0.3, 10.0.0.2", "192.0.2.1"),
        ("10.0.0.4, 10.0.0.3", "10.0.0.4"),
        ("nonsense, 192.0.2.1, 10.0.0.3", "192.0.2.1"),
        ("192.0.2.1, nonsense, 10.0.0.3", None),
        ("", None),
    ],
)
def test_the_client_is_the_last_that_is_not_in_the_list(said: str, expected: str | None) -> None:
    assert client(NETWORK, said) == expected


@pytest.mark.parametrize(
    "trusted, peer, believed",
    [
        (NETWORK, ("10.255.255.255", 1), True),
        (NETWORK, ("11.0.0.1", 1), False),
        (NETWORK, ("::ffff:10.0.0.1", 1, 0, 0), True),
        (NETWORK, ("fe80::1%eth0", 1, 0, 2), False),
        (["10.0.0.1"], PROXY, True),
        (["10.0.0.2", "10.0.0.1"], PROXY, True),
        (["10.0.0.2"], PROXY, False),
        ([ip_network("10.0.0.0/24"), ip_address("::1")], PROXY, True),
        ([ip_network("10.0.0.0/24"), ip_address("::1")], ("::1", 1, 0, 0), True),
        (["fe80::/10"], ("fe80::1%eth0", 1, 0, 2), True),
        (["2001:db8::/32"], ("2001:db8::9", 1, 0, 0), True),
        (["unix"], "", True),
        (["unix"], b"\0name", True),
        (["unix"], PROXY, False),
        (["unix"], None, False),
        (NETWORK, "", False),
        (1, ("11.0.0.1", 1), True),
    ],
)
def test_only_a_trusted_peer_is_believed(trusted: Any, peer: Any, believed: bool) -> None:
    assert client(trusted, "192.0.2.1", peer) == ("192.0.2.1" if believed else None)
    if peer is not None:
        assert TrustedProxies(trusted).trust_peer(peer) == believed


@pytest.mark.parametrize(
    "said, expected",
    [
        ("192.0.2.1:4711", "192.0.2.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:10.0.0.3", "10.0.0.3"),
        ("192.0.2.01", None),
        ("192.0.2", None),
        ("localhost", None),
        ("fe80::1%eth0", None),
        ("unknown", None),
    ],
)
def test_an_address_may_be_spelled_in_several_ways(said: str, expected: str | None) -> None:
    assert client(1, said) == expected
    assert client(NETWORK, f"6.6.6.6, {said}") == ("6.6.6.6" if expected == "10.0.0.3" else expected)


@pytest.mark.parametrize(
    "said, expected",
    [
        ("for=192.0.2.1", "192.0.2.1"),
        ("For=192.0.2.1;proto=https;by=10.0.0.1", "192.0.2.1"),
        ('proto=https;for="192.0.2.1:4711"', "192.0.2.1"),
        ('for="[2001:db8::1]:4711"', "2001:db8::1"),
        ('for="192.0.\\2.1"', "192.0.2.1"),
        ('for=6.6.6.6, for=192.0.2.1;host="a,b;for=7.7.7.7"', "192.0.2.1"),
        (["for=6.6.6.6", "for=192.0.2.1 , for=10.0.0.2"], "192.0.2.1"),
        ('for="6.6.6.6, for=192.0.2.1', "192.0.2.1"),
        ('for=6.6.6.6;x=", for="[2001:db8::1]";by="[::1]"', "2001:db8::1"),
        (";;;, for=192.0.2.1", "192.0.2.1"),
        (";;;, for=10.0.0.2", None),
        ("for=unknown", None),
        ("for=_hidden", None),
        ("proto=https", None),
        ("before=192.0.2.1", None),
        ("192.0.2.1", None),
        ("", None),
    ],
)
def test_forwarded_is_read_from_the_right_too(said: Any, expected: str | None) -> None:
    assert client(NETWORK, said, name="Forwarded") == expected


def test_a_count_holds_for_forwarded() -> None:
    assert client(2, "for=6.6.6.6, for=192.0.2.1, for=11.0.0.1", name="forwarded") == "192.0.2.1"


def test_another_header_may_have_the_address() -> None:
    assert client(1, "192.0.2.1", name="CF-Connecting-IP") == "192.0.2.1"
    request = Request(headers={"X-Forwarded-For": "6.6.6.6"}, remote_address=PROXY)
    assert TrustedProxies(1, "X-Real-IP").client_address(request) is None


@pytest.mark.parametrize(
    "trusted, source, expected",
    [
        (1, ("192.0.2.1", 5), None),
        (2, ("10.0.0.9", 5), "6.6.6.6"),
        (3, ("10.0.0.9", 5), None),
        (NETWORK, ("192.0.2.1", 5), None),
        (NETWORK, ("10.0.0.9", 5), "6.6.6.6"),
        (NETWORK, None, "6.6.6.6"),
        (1, None, "6.6.6.6"),
    ],
)
def test_a_proxy_header_is_the_word_of_the_first_proxy(trusted: Any, source: Any, expected: str | None) -> None:
    peer = PROXY if source is None else source
    assert client(trusted, "6.6.6.6", peer, proxy_header=ProxyHeader(source)) == expected


def test_a_long_header_takes_little_time() -> None:
    for name, said in (
        ("X-Forwarded-For", "6.6.6.6," * 2000 + "192.0.2.1"),
        ("Forwarded", 'for="' * 3000 + ", for=192.0.2.1"),
        ("Forwarded", ',x="' * 4000 + ", for=192.0.2.1"),
        ("Forwarded", ", \t" * 5000 + ", for=192.0.2.1"),
        ("Forwarded", "a=b;" * 4000 + ", for=192.0.2.1"),
    ):
        with stopwatch() as watch:
            assert client(1, said, name=name) == "192.0.2.1"
        assert watch.seconds < 0.5


@pytest.mark.parametrize(
    "trusted, header, error, named",
    [
        (0, "X-Forwarded-For", ValueError, "at least 1"),
        (-1, "X-Forwarded-For", ValueError, "at least 1"),
        (True, "X-Forwarded-For", TypeError, "True"),
        (1.5, "X-Forwarded-For", TypeError, "1.5"),
        ("10.0.0.0/8", "X-Forwarded-For", TypeError, "list"),
        ([], "X-Forwarded-For", ValueError, "empty"),
        ([10], "X-Forwarded-For", TypeError, "10"),
        (["10.0.0.1/8"], "X-Forwarded-For", ValueError, "host bits"),
        (["localhost"], "X-Forwarded-For", ValueError, "localhost"),
        (1, "", ValueError, "forwarded_header"),
        (1, "X Forwarded", ValueError, "forwarded_header"),
        (1, None, TypeError, "forwarded_header"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(trusted: Any, header: Any, error: Any, named: str) -> None:
    with pytest.raises(error, match=named):
        TrustedProxies(trusted, header)
