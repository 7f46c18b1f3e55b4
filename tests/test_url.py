from __future__ import annotations

from typing import Any

import pytest

from geventws.exceptions import InvalidURL
from geventws.url import ProxyURL, WebSocketURL, bracketed, join, parse_host, parse_proxy_url, parse_url


@pytest.mark.parametrize(
    "url, parsed",
    [
        ("ws://example.com", WebSocketURL(False, "example.com", 80)),
        ("wss://example.com", WebSocketURL(True, "example.com", 443)),
        ("http://example.com/", WebSocketURL(False, "example.com", 80)),
        ("https://example.com/", WebSocketURL(True, "example.com", 443)),
        ("WSS://EXAMPLE.com/Path", WebSocketURL(True, "example.com", 443, "/Path")),
        ("ws://example.com:8000/chat?room=1", WebSocketURL(False, "example.com", 8000, "/chat?room=1")),
        ("ws://example.com:00080/", WebSocketURL(False, "example.com", 80)),
        ("ws://example.com:/", WebSocketURL(False, "example.com", 80)),
        ("ws://example.com./", WebSocketURL(False, "example.com.", 80)),
        ("ws://my_host-1/", WebSocketURL(False, "my_host-1", 80)),
        ("ws://127.0.0.1:65535", WebSocketURL(False, "127.0.0.1", 65535)),
    ],
)
def test_a_url_is_read(url: str, parsed: WebSocketURL) -> None:
    assert parse_url(url) == parsed


@pytest.mark.parametrize(
    "url, target",
    [
        ("ws://h", "/"),
        ("ws://h/", "/"),
        ("ws://h?a=b", "/?a=b"),
        ("ws://h/?", "/"),
        ("ws://h/a?", "/a"),
        ("ws://h/a?b?c", "/a?b?c"),
        ("ws://h/a?b/c@d:e", "/a?b/c@d:e"),
        ("ws://h/a;x=1/b;y?q;z", "/a;x=1/b;y?q;z"),
        ("ws://h//a/../b/.", "//a/../b/."),
        ("ws://h/%7euser/%C3%A9", "/%7euser/%C3%A9"),
        ("ws://h/caf\xe9?\u20ac=\U0001f600", "/caf%C3%A9?%E2%82%AC=%F0%9F%98%80"),
        ('ws://h/"<>[]\\^`{|}', "/%22%3C%3E%5B%5D%5C%5E%60%7B%7C%7D"),
        ("ws://h/!$&'()*+,;=-._~:@", "/!$&'()*+,;=-._~:@"),
    ],
)
def test_the_target_is_the_path_and_the_query_percent_encoded(url: str, target: str) -> None:
    assert parse_url(url).target == target


@pytest.mark.parametrize("character", [*map(chr, range(0x21)), *map(chr, range(0x7F, 0xA0))])
def test_control_characters_and_spaces_are_refused_wherever_they_stand(character: str) -> None:
    for url in ("{}ws://h/", "w{}s://h/", "ws://{}h/", "ws://u{}@h/", "ws://h:8{}0/", "ws://h/{}", "ws://h/?{}"):
        with pytest.raises(InvalidURL, match="control character or a space"):
            parse_url(url.format(character))


@pytest.mark.parametrize(
    "url, fault",
    [
        ("", "scheme"),
        ("example.com", "scheme"),
        ("//example.com/", "scheme"),
        ("ftp://example.com/", "scheme"),
        ("ws+tcp://example.com/", "scheme"),
        ("ws:example.com", "://"),
        ("ws:/example.com", "://"),
        ("ws://example.com/#", "fragment"),
        ("ws://example.com/a?b#c", "fragment"),
        ("ws://", "no host"),
        ("ws:///path", "no host"),
        ("ws://?query", "no host"),
        ("ws://:80/", "no host"),
        ("ws://user@/", "no host"),
        ("ws://::1/", "no host"),
        ("ws://./", "host"),
        ("ws://a..b/", "host"),
        ("ws://.a/", "host"),
        ("ws://a%2eb/", "host"),
        ("ws://a*b/", "host"),
        ("ws://a\\b/", "host"),
        ("ws://a]/", "host"),
        (f"ws://{'a' * 64}/", "host"),
        (f"ws://{'a.' * 127}aa/", "too long"),
        (f"ws://{'é' * 300}/", "too long"),
        ("ws://h:80:80/", "port"),
        ("ws://h:0/", "port"),
        ("ws://h:65536/", "port"),
        ("ws://h:000080/", "port"),
        ("ws://h:-1/", "port"),
        ("ws://h:+80/", "port"),
        ("ws://h:8_0/", "port"),
        ("ws://h:\u0661/", "port"),
        ("ws://h:http/", "port"),
        ("ws://h/\ud800", "encoded"),
    ],
)
def test_a_malformed_url_is_refused(url: str, fault: str) -> None:
    with pytest.raises(InvalidURL, match=fault):
        parse_url(url)


def test_a_host_may_be_as_long_as_a_name_can_be() -> None:
    host = "a." * 126 + "a"
    assert parse_url(f"ws://{host}/").host == host
    assert parse_url(f"ws://{host}./").host == host + "."


@pytest.mark.parametrize("url", [None, b"ws://h/", 1])
def test_what_is_not_a_str_is_a_type_error(url: object) -> None:
    for parse in (parse_url, parse_proxy_url):
        with pytest.raises(TypeError, match="a URL is a str"):
            parse(url)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "host, punycode",
    [
        ("b\xfccher.de", "xn--bcher-kva.de"),
        ("B\xdcCHER.de", "xn--bcher-kva.de"),
        ("\u4f8b\u3048\u3002jp", "xn--r8jz45g.jp"),
        ("xn--bcher-kva.de", "xn--bcher-kva.de"),
        ("\uff45xample.com", "example.com"),
    ],
)
def test_an_international_host_becomes_punycode(host: str, punycode: str) -> None:
    assert parse_url(f"ws://{host}/").host == punycode


@pytest.mark.parametrize(
    "host, fault",
    [
        ("a\u2100b", "not valid"),  # decomposes to a/c
        ("a\uff0fb", "not valid"),  # a slash of full width
        ("a\uff20b", "not valid"),  # an at sign of full width
        ("a\uff1a80", "not valid"),  # a colon of full width
        ("\xe9..b", "international"),
        ("\xe9" * 64, "international"),
        ("\ud800", "international"),
        ("fa\xdf.de", "IDNA 2008"),
        ("a\u200db.de", "IDNA 2008"),
    ],
)
def test_an_international_host_that_is_ambiguous_or_not_valid_is_refused(host: str, fault: str) -> None:
    with pytest.raises(InvalidURL, match=fault):
        parse_url(f"ws://{host}/")


@pytest.mark.parametrize(
    "authority, host, header",
    [
        ("[::1]", "::1", "[::1]"),
        ("[::1]:80", "::1", "[::1]"),
        ("[::1]:", "::1", "[::1]"),
        ("[0:0::0001]:8080", "::1", "[::1]:8080"),
        ("[2001:DB8::A]", "2001:db8::a", "[2001:db8::a]"),
        ("[fe80::1%25eth0]:8080", "fe80::1%eth0", "[fe80::1]:8080"),
    ],
)
def test_an_ipv6_address_stands_in_brackets(authority: str, host: str, header: str) -> None:
    url = parse_url(f"ws://{authority}/")
    assert url.host == host
    assert url.host_header == header


@pytest.mark.parametrize(
    "authority",
    [
        "[",
        "[]",
        "[::1",
        "[::1]8080",
        "[::1]x:80",
        "[:::1]",
        "[example.com]",
        "[127.0.0.1]",
        "[v1.a]",
        "[::1%25]",
        "[::1%eth0]",
        "[::1%25a%25b]",
        "[::1%25a/b]",
        "[::1]]",
    ],
)
def test_a_malformed_ipv6_address_is_refused(authority: str) -> None:
    with pytest.raises(InvalidURL, match="IPv6"):
        parse_url(f"ws://{authority}/")


@pytest.mark.parametrize(
    "userinfo, username, password",
    [
        ("user:secret", "user", "secret"),
        ("user", "user", None),
        ("user:", "user", ""),
        (":token", "", "token"),
        (":", "", ""),
        ("u:a:b", "u", "a:b"),
        ("%75ser:p%40ss%3A%2F", "user", "p@ss:/"),
        ("us\xe9r:%E2%82%AC", "us\xe9r", "\u20ac"),
        ("a!$&'()*+,;=-._~b:c", "a!$&'()*+,;=-._~b", "c"),
    ],
)
def test_credentials_are_percent_decoded(userinfo: str, username: str, password: str | None) -> None:
    url = parse_url(f"ws://{userinfo}@example.com/")
    assert (url.username, url.password, url.host) == (username, password, "example.com")


@pytest.mark.parametrize(
    "userinfo, fault",
    [
        ("", "empty"),
        ("a@b", "percent-encoded"),
        ("a\\b", "percent-encoded"),
        ("a[b", "percent-encoded"),
        ("a:b^c", "percent-encoded"),
        ("a%", "percent sign"),
        ("a%4", "percent sign"),
        ("a:%4g", "percent sign"),
        ("a:%+1", "percent sign"),
        ("a:%ff", "UTF-8"),
        ("a:\ud800", "UTF-8"),
        ("a:b%0Ac", "control character"),
        ("a%00", "control character"),
        ("a%3Ab:c", "colon"),
    ],
)
def test_odd_credentials_are_refused(userinfo: str, fault: str) -> None:
    with pytest.raises(InvalidURL, match=fault):
        parse_url(f"ws://{userinfo}@example.com/")


def test_credentials_are_not_shown() -> None:
    url = parse_url("wss://user:secret@example.com:8443/chat?room=1")
    assert str(url) == "wss://example.com:8443/chat?room=1"
    assert "user" not in repr(url)
    assert "secret" not in repr(url)
    with pytest.raises(InvalidURL) as caught:
        parse_url("ws://user:secret@example.com:port/")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url, header",
    [
        ("ws://example.com:80/", "example.com"),
        ("ws://example.com:443/", "example.com:443"),
        ("wss://example.com:443/", "example.com"),
        ("wss://example.com:80/", "example.com:80"),
        ("ws+unix:/s:/", "localhost"),
    ],
)
def test_the_host_header_has_the_port_unless_it_is_the_default(url: str, header: str) -> None:
    assert parse_url(url).host_header == header


@pytest.mark.parametrize(
    "url, origin",
    [
        ("ws://example.com/a", ("ws", "example.com", 80)),
        ("https://EXAMPLE.com:443/b", ("wss", "example.com", 443)),
        ("ws+unix:/run/s:/a", ("ws+unix", "/run/s", 0)),
        ("wss+unix:/run/s:/a", ("wss+unix", "/run/s", 0)),
    ],
)
def test_the_origin_is_the_scheme_the_host_and_the_port(url: str, origin: tuple[str, str, int]) -> None:
    assert parse_url(url).origin == origin


@pytest.mark.parametrize(
    "url, secure, path, target, shown",
    [
        ("ws+unix:/run/s:/chat?a:b", False, "/run/s", "/chat?a:b", "ws+unix:/run/s:/chat?a:b"),
        ("wss+unix:/run/s:/", True, "/run/s", "/", "wss+unix:/run/s:/"),
        ("ws+unix:/run/s", False, "/run/s", "/", "ws+unix:/run/s:/"),
        ("ws+unix:/run/s:", False, "/run/s", "/", "ws+unix:/run/s:/"),
        ("ws+unix:/run/s:?q", False, "/run/s", "/?q", "ws+unix:/run/s:/?q"),
        ("ws+unix:///run/s:/a", False, "/run/s", "/a", "ws+unix:/run/s:/a"),
        ("ws+unix:run/s:/a", False, "run/s", "/a", "ws+unix:run/s:/a"),
        ("WS+UNIX:/my%20dir/a%3Ab:/", False, "/my dir/a:b", "/", "ws+unix:/my%20dir/a%3Ab:/"),
    ],
)
def test_a_unix_socket_has_a_path_and_a_target(url: str, secure: bool, path: str, target: str, shown: str) -> None:
    parsed = parse_url(url)
    assert (parsed.secure, parsed.unix_path, parsed.target, parsed.host) == (secure, path, target, "localhost")
    assert str(parsed) == shown


@pytest.mark.parametrize(
    "url, fault",
    [
        ("ws+unix:", "not its path"),
        ("ws+unix::/a", "not its path"),
        ("ws+unix://", "not its path"),
        ("ws+unix:/run/s?q", "not its path"),
        ("ws+unix://host/run/s:/a", "no host"),
        ("ws+unix:/run/s:a", "slash"),
        ("ws+unix:/run/%00s:/", "control character"),
        ("ws+unix:/run/%s:/", "percent sign"),
        ("ws+unix:/run/s:/a#b", "fragment"),
    ],
)
def test_a_malformed_unix_url_is_refused(url: str, fault: str) -> None:
    with pytest.raises(InvalidURL, match=fault):
        parse_url(url)


@pytest.mark.parametrize(
    "location, url",
    [
        ("http://other/x", "ws://other/x"),
        ("https://other/x", "wss://other/x"),
        ("ws://other:81/x", "ws://other:81/x"),
        ("//other/x", "ws://other/x"),
        ("/x", "ws://h/x"),
        ("/x?y", "ws://h/x?y"),
        ("x", "ws://h/a/b/x"),
        ("x?y", "ws://h/a/b/x?y"),
        ("./x", "ws://h/a/b/x"),
        (".", "ws://h/a/b/"),
        ("..", "ws://h/a/"),
        ("../x", "ws://h/a/x"),
        ("../../../../x", "ws://h/x"),
        ("/x/./y/../z", "ws://h/x/z"),
        ("/x/..", "ws://h/"),
        ("x//y", "ws://h/a/b/x//y"),
        ("?z", "ws://h/a/b/c?z"),
        ("?", "ws://h/a/b/c"),
        ("", "ws://h/a/b/c?d"),
        ("#fragment", "ws://h/a/b/c?d"),
        ("/x#fragment", "ws://h/x"),
        ("/x?u=http://y", "ws://h/x?u=http://y"),
        ("/caf\xc3\xa9", "ws://h/caf%C3%A9"),
    ],
)
def test_a_redirect_is_followed_from_its_base(location: str, url: str) -> None:
    assert str(join(parse_url("ws://h/a/b/c?d"), location)) == url


def test_a_redirect_without_a_scheme_keeps_that_of_its_base() -> None:
    assert str(join(parse_url("wss://h/"), "//other/")) == "wss://other/"
    assert str(join(parse_url("wss://h:1/"), "x")) == "wss://h:1/x"
    assert str(join(parse_url("ws+unix:/run/s:/a/b"), "c")) == "ws+unix:/run/s:/a/c"


@pytest.mark.parametrize(
    "location, username, password",
    [
        ("/x", "user", "secret"),
        ("http://h/x", "user", "secret"),
        ("http://H:80/x", "user", "secret"),
        ("http://me@h/x", "me", None),
        ("http://other/x", None, None),
        ("http://h:81/x", None, None),
        ("https://h/x", None, None),
        ("//other/x", None, None),
    ],
)
def test_credentials_stay_with_the_origin(location: str, username: str | None, password: str | None) -> None:
    url = join(parse_url("ws://user:secret@h/"), location)
    assert (url.username, url.password) == (username, password)


@pytest.mark.parametrize(
    "location",
    [
        "ws+unix:/run/docker.sock:/",
        "ftp://h/",
        "javascript:alert(1)",
        "x:y",
        "//",
        "http://",
        "http://h\xe9/",
        "/a b",
        "/a\r\n",
        "/a\0",
        "\u20ac",
    ],
)
def test_a_redirect_that_leads_nowhere_is_refused(location: str) -> None:
    with pytest.raises(InvalidURL):
        join(parse_url("ws://h/"), location)


def test_a_redirect_from_one_unix_socket_to_another_is_refused() -> None:
    with pytest.raises(InvalidURL, match="unix socket"):
        join(parse_url("ws+unix:/run/s:/"), "ws+unix:/run/t:/")


@pytest.mark.parametrize(
    "url, proxy",
    [
        ("http://proxy", ProxyURL("http", "proxy", 80)),
        ("https://proxy/", ProxyURL("https", "proxy", 443)),
        ("HTTP://Proxy:3128", ProxyURL("http", "proxy", 3128)),
        ("socks4://proxy", ProxyURL("socks4", "proxy", 1080)),
        ("socks4a://user@proxy", ProxyURL("socks4a", "proxy", 1080, "user")),
        ("socks5://u%3A:p%40@proxy:1", ProxyURL("socks5", "proxy", 1, "u:", "p@")),
        ("socks5h://[::1]:9050", ProxyURL("socks5h", "::1", 9050)),
        ("socks://proxy", ProxyURL("socks5h", "proxy", 1080)),
        ("proxy:3128", ProxyURL("http", "proxy", 3128)),
        ("user:secret@proxy", ProxyURL("http", "proxy", 80, "user", "secret")),
    ],
)
def test_a_proxy_url_is_read(url: str, proxy: ProxyURL) -> None:
    assert parse_proxy_url(url) == proxy


@pytest.mark.parametrize(
    "url, fault",
    [
        ("", "no host"),
        ("ftp://proxy/", "scheme"),
        ("ws://proxy/", "scheme"),
        ("http://proxy/path", "neither a path"),
        ("http://proxy?", "neither a path"),
        ("http://proxy/#", "fragment"),
        ("http://user:pass#word@proxy", "# in a user name or a password are percent-encoded"),
        ("http://user:pass/word@proxy", "/ . # in a user name or a password are percent-encoded"),
        ("http://user:pass?word@proxy", "in a user name or a password are percent-encoded"),
        ("http://pro xy/", "space"),
        ("http://proxy:99999", "port"),
        ("http:///", "no host"),
    ],
)
def test_a_malformed_proxy_url_is_refused(url: str, fault: str) -> None:
    with pytest.raises(InvalidURL, match=fault):
        parse_proxy_url(url)


@pytest.mark.parametrize("host", ["proxy", "[::1]"])
def test_a_proxy_is_shown_without_its_credentials(host: str) -> None:
    proxy = parse_proxy_url(f"socks5h://user:secret@{host}:1080")
    assert str(proxy) == f"socks5h://{host}:1080"
    assert "user" not in repr(proxy)
    assert "secret" not in repr(proxy)


@pytest.mark.parametrize(
    "given, host",
    [
        ("Example.com", "example.com"),
        ("b\xfccher.example", "xn--bcher-kva.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("0:0::1", "::1"),
        ("FE80::1%eth0", "fe80::1%eth0"),
    ],
)
def test_a_host_is_read_without_a_url(given: str, host: str) -> None:
    assert parse_host(given) == host


@pytest.mark.parametrize("given", ["", "a b", "a/b", "a@b", "[::1]", "a:80", "::1%", "a..b", "x" * 300])
def test_a_malformed_host_is_refused(given: str) -> None:
    with pytest.raises(InvalidURL, match="the host is not a name or an address"):
        parse_host(given)


@pytest.mark.parametrize("given", [None, b"a", 5])
def test_a_host_that_is_no_str_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match="a host is a str, not "):
        parse_host(given)


def test_an_ipv6_address_is_bracketed_in_front_of_a_port() -> None:
    assert [bracketed(host) for host in ("::1", "127.0.0.1", "a")] == ["[::1]", "127.0.0.1", "a"]
