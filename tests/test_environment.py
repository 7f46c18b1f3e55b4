"""Which proxy the environment names for a URL, and for which hosts it names none."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from geventws.environment import environment_agent, is_excepted
from geventws.exceptions import InvalidURL
from geventws.proxy import HTTPConnectAgent, SOCKSAgent
from geventws.url import parse_url

WS, WSS = parse_url("ws://host.example/"), parse_url("wss://host.example/")
ORDER = {WS: ["ws", "all", "socks", "https", "http"], WSS: ["wss", "all", "socks", "https"]}


@pytest.mark.parametrize("url", [WS, WSS], ids=["ws", "wss"])
def test_variables_count_in_their_order(url: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment_agent(url) is None
    for first, second in itertools.pairwise([*ORDER[url], None]):
        with monkeypatch.context() as patch:
            patch.setenv(f"{first}_proxy", "socks5h://first:1")
            if second is not None:
                patch.setenv(f"{second}_proxy", "socks5h://second:1")
            assert str(environment_agent(url)) == "socks5h://first:1"


@pytest.mark.parametrize("name", ["wss_proxy", "ftp_proxy", "proxy", "WSS_PROXY"])
def test_other_variables_do_not_count(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "http://proxy:1")
    assert environment_agent(WS) is None


def test_http_proxy_is_not_for_wss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:1")
    assert environment_agent(WSS) is None


@pytest.mark.parametrize("name", ["ws_proxy", "all_proxy", "socks_proxy", "https_proxy", "http_proxy"])
def test_lower_case_counts_before_upper_case(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name.upper(), "http://upper:1")
    assert str(environment_agent(WS)) == "http://upper:1"
    monkeypatch.setenv(name, "http://lower:1")
    assert str(environment_agent(WS)) == "http://lower:1"


def test_empty_variable_stands_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ws_proxy", "")
    monkeypatch.setenv("WS_PROXY", "http://upper:1")
    assert environment_agent(WS) is None
    monkeypatch.setenv("all_proxy", "http://all:1")
    assert str(environment_agent(WS)) == "http://all:1"


def test_what_a_cgi_programs_client_may_set_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://attacker:1")
    monkeypatch.setenv("REQUEST_METHOD", "GET")
    assert environment_agent(WS) is None
    monkeypatch.setenv("http_proxy", "http://mine:1")
    assert str(environment_agent(WS)) == "http://mine:1"


@pytest.mark.parametrize(
    "value, kind",
    [("http://a", HTTPConnectAgent), ("https://a", HTTPConnectAgent), ("a:3128", HTTPConnectAgent)]
    + [(f"{scheme}://a", SOCKSAgent) for scheme in ("socks", "socks4", "socks4a", "socks5", "socks5h")],
)
def test_value_is_any_proxys_url(value: str, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", value)
    assert type(environment_agent(WS)) is kind


@pytest.mark.parametrize("value", ["ftp://ada:s3cret@a", "http://ada:s3cret@a/path", "http://a%3Ab:s3cret@c", "x y"])
def test_variable_that_is_no_url_is_named_and_not_shown(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    with pytest.raises(InvalidURL, match=r"^ALL_PROXY in the environment is not a proxy's URL: ") as caught:
        environment_agent(WS)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_no_proxy_is_honoured(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "http://proxy:1")
    monkeypatch.setenv(name, "host.example:443")
    assert environment_agent(WSS) is None
    assert environment_agent(WS) is not None


@pytest.mark.parametrize(
    "exceptions, host, excepted",
    [
        ("example.com", "example.com", True),
        ("example.com", "a.example.com", True),
        ("example.com", "a.b.example.com", True),
        (".example.com", "example.com", True),
        (".example.com", "a.example.com", True),
        ("*.example.com", "a.example.com", True),
        ("example.com.", "example.com", True),
        ("example.com", "example.com.", True),
        ("EXAMPLE.com", "example.COM", True),
        ("com", "example.com", True),
        ("a.com, b.com", "b.com", True),
        ("a.com b.com", "b.com", True),
        ("a.com,,b.com", "b.com", True),
        ("*", "example.com", True),
        ("*", "::1", True),
        ("a,*", "10.0.0.1", True),
        ("example.com:80", "example.com", True),
        ("*:80", "example.com", True),
        ("localhost", "localhost", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.1.2.3/8", "10.9.9.9", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:80", "10.1.2.3", True),
        ("::1", "::1", True),
        ("[::1]", "::1", True),
        ("[::1]:80", "::1", True),
        ("0:0:0:0:0:0:0:1", "::1", True),
        ("fe80::/10", "fe80::1%eth0", True),
        ("2001:DB8::/32", "2001:db8::1", True),
        ("", "example.com", False),
        (", ,", "example.com", False),
        (".", "example.com", False),
        ("example.com", "evilexample.com", False),
        (".example.com", "evilexample.com", False),
        ("a.example.com", "example.com", False),
        ("ample.com", "example.com", False),
        ("example.com:81", "example.com", False),
        ("*:81", "example.com", False),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "name.10", False),
        ("2.3", "10.1.2.3", False),
        ("1.2.3", "10.1.2.3", False),
        ("10.1.2.3:81", "10.1.2.3", False),
        ("[::1]:81", "::1", False),
        ("::1", "127.0.0.1", False),
        ("0.0.0.0/0", "::1", False),
        ("::/0", "127.0.0.1", False),
        ("10.0.0.0/99", "10.1.2.3", False),
    ],
)
def test_hosts_are_excepted_at_dots_and_networks(exceptions: str, host: str, excepted: bool) -> None:
    assert is_excepted(host, 80, exceptions) is excepted
