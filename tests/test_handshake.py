from __future__ import annotations

import base64
import re
from typing import Any

import pytest

from geventws.deflate import PerMessageDeflate
from geventws.exceptions import HandshakeError, InvalidHeader, InvalidStatus
from geventws.handshake import (
    Agreement,
    ClientHandshake,
    ServerHandshake,
    accept_key,
    checked_subprotocols,
    is_host,
    is_upgrade,
    protected_headers,
)
from geventws.headers import Headers
from geventws.http11 import Request, RequestParser, Response, ResponseParser
from geventws.url import parse_url

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def changed(headers: Headers, changes: tuple[tuple[str, str | None], ...]) -> Headers:
    """The headers with changes: each is a header to set, to add ("+name") or, with None, to leave out."""
    for name, value in changes:
        if name.startswith("+"):
            headers.add(name[1:], value)
        elif value is not None:
            headers[name] = value
        elif name in headers:
            del headers[name]
    return headers


def make_request(*changes: tuple[str, str | None], method: str = "GET", version: str = "HTTP/1.1") -> Request:
    headers = Headers(
        [
            ("Host", "example.com"),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", KEY),
            ("Sec-WebSocket-Version", "13"),
        ]
    )
    return Request(method, "/chat", changed(headers, changes), version)


def refuse(request: Request, **options: Any) -> tuple[Response, HandshakeError]:
    """The answer to a request that must be refused, and the error that came with it."""
    with pytest.raises(HandshakeError) as caught:
        ServerHandshake(**options).check(request)
    assert caught.value.response is not None
    return caught.value.response, caught.value


def make_client(url: str = "ws://example.com/chat", **options: Any) -> ClientHandshake:
    return ClientHandshake(parse_url(url), **options)


def make_answer(client: ClientHandshake, *changes: tuple[str, str | None], status: int = 101) -> Response:
    headers = Headers(
        [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", accept_key(client.request.headers["Sec-WebSocket-Key"])),
        ]
    )
    return Response(status, headers=changed(headers, changes))


def meet(client: ClientHandshake, server: ServerHandshake) -> tuple[Agreement, Agreement]:
    """Both roles through the bytes they would send; what each of them settled."""
    request = RequestParser().feed(client.serialize())
    assert request is not None
    server.check(request)
    response, agreement = server.accept(request)
    answer = ResponseParser().feed(response.serialize())
    assert answer is not None
    return client.finish(answer), agreement


def test_accept_key_is_the_one_of_the_rfc() -> None:
    assert accept_key(KEY) == ACCEPT


# The client's request


def test_request_has_what_the_rfc_asks_for() -> None:
    headers = make_client().request.headers
    assert make_client().request.method == "GET"
    assert make_client("ws://example.com/chat?room=1").request.target == "/chat?room=1"
    assert headers["Host"] == "example.com"
    assert headers["Upgrade"] == "websocket"
    assert headers["Connection"] == "Upgrade"
    assert headers["Sec-WebSocket-Version"] == "13"
    assert headers["User-Agent"].startswith("geventws/")
    for absent in ("Origin", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Authorization"):
        assert absent not in headers


def test_request_begins_with_the_host() -> None:
    assert make_client().serialize().startswith(b"GET /chat HTTP/1.1\r\nHost: example.com\r\n")


def test_key_is_16_random_bytes() -> None:
    keys = {make_client().request.headers["Sec-WebSocket-Key"] for _ in range(10)}
    assert len(keys) == 10
    assert {len(base64.b64decode(key)) for key in keys} == {16}


@pytest.mark.parametrize(
    "url, host",
    [
        ("ws://example.com:80/", "example.com"),
        ("wss://example.com:443/", "example.com"),
        ("wss://example.com:80/", "example.com:80"),
        ("ws://[::1]:8000/", "[::1]:8000"),
    ],
)
def test_host_has_the_port_unless_it_is_the_default(url: str, host: str) -> None:
    assert make_client(url).request.headers["Host"] == host


@pytest.mark.parametrize("version, name", [(13, "Origin"), (8, "Sec-WebSocket-Origin")])
def test_origin_stands_in_the_header_of_the_version(version: Any, name: str) -> None:
    headers = make_client(origin="https://example.com", version=version).request.headers
    assert headers[name] == "https://example.com"
    assert headers["Sec-WebSocket-Version"] == str(version)
    assert ("Origin" in headers) == (version == 13)


@pytest.mark.parametrize("version", [0, 7, 14, "13", None])
def test_other_versions_are_a_value_error(version: Any) -> None:
    with pytest.raises(ValueError, match="13 or 8"):
        make_client(version=version)


def test_offers_stand_in_the_request() -> None:
    headers = make_client(subprotocols=["chat.v2", "chat.v1"], deflate=PerMessageDeflate()).request.headers
    assert headers["Sec-WebSocket-Protocol"] == "chat.v2, chat.v1"
    assert headers["Sec-WebSocket-Extensions"].startswith("permessage-deflate")


@pytest.mark.parametrize("name", ["", "a b", "a,b", "a/b", "caf\xe9", "a\r\nb"])
def test_subprotocol_that_is_no_token_is_a_value_error(name: str) -> None:
    with pytest.raises(ValueError, match="token"):
        make_client(subprotocols=[name])


def test_subprotocol_listed_twice_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="twice"):
        make_client(subprotocols=["a", "b", "a"])


@pytest.mark.parametrize("names", ["chat", [b"chat"], [None], None, 5])
def test_subprotocols_of_the_wrong_type_are_a_type_error(names: Any) -> None:
    with pytest.raises(TypeError, match="subprotocol"):
        checked_subprotocols(names)


def test_given_headers_are_sent_and_replace_the_defaults() -> None:
    given = [("X-Room", "1"), ("x-room", "2"), ("user-agent", "mine"), ("host", "other.example:81"), ("Origin", "null")]
    headers = make_client(headers=given).request.headers
    assert headers.get_all("X-Room") == ["1", "2"]
    assert headers.get_all("User-Agent") == ["mine"]
    assert headers.get_all("Host") == ["other.example:81"]
    assert headers.get_all("Origin") == ["null"]
    assert next(iter(headers)).lower() == "host"


@pytest.mark.parametrize(
    "name",
    [
        "upgrade",
        "Connection",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Accept",
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions",
        "Content-Length",
        "Transfer-Encoding",
    ],
)
def test_given_headers_of_the_handshake_itself_are_a_value_error(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be given"):
        make_client(headers={name: "x"})


@pytest.mark.parametrize("headers", [{"X": "a\r\nb"}, {"X": "a\nb"}, {"X": "a\0b"}, {"a b": "x"}, {"": "x"}])
def test_given_headers_that_would_break_the_head_are_a_value_error(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"."):
        make_client(headers=headers)


@pytest.mark.parametrize("origin", ["https://a\r\nX: y", "a\0"])
def test_origin_that_would_break_the_head_is_a_value_error(origin: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        make_client(origin=origin)


@pytest.mark.parametrize("given", [[("Host", "a"), ("Host", "b")], {"Host": ""}, {"Host": "a b"}, {"Host": "a:b"}])
def test_given_host_that_is_not_one_host_is_a_value_error(given: Any) -> None:
    with pytest.raises(ValueError, match="Host"):
        make_client(headers=given)


def test_origin_given_twice_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="twice"):
        make_client(origin="https://a", headers={"Origin": "https://a"})


def test_credentials_come_from_the_url() -> None:
    assert make_client("ws://u:p%40@example.com/").request.headers["Authorization"] == "Basic dTpwQA=="
    assert make_client("ws://u@example.com/").request.headers["Authorization"] == "Basic dTo="


def test_auth_replaces_the_credentials_of_the_url() -> None:
    client = make_client("ws://x:y@example.com/", auth=("u", "p@"))
    assert client.request.headers.get_all("Authorization") == ["Basic dTpwQA=="]


def test_given_authorization_replaces_the_credentials_of_the_url() -> None:
    client = make_client("ws://x:y@example.com/", headers={"Authorization": "Bearer t"})
    assert client.request.headers.get_all("Authorization") == ["Bearer t"]


def test_auth_and_a_given_authorization_are_a_value_error() -> None:
    with pytest.raises(ValueError, match="twice"):
        make_client(auth=("u", "p"), headers={"Authorization": "Bearer t"})


@pytest.mark.parametrize("auth", ["up", b"up", 5, (), ("u",), ("u", "p", "x"), ("u", None), ("u", b"p"), (b"u", "p")])
def test_auth_that_is_no_pair_of_str_is_a_type_error(auth: Any) -> None:
    with pytest.raises(TypeError, match="auth is a pair"):
        make_client(auth=auth)


def test_request_may_be_edited_until_it_is_sent() -> None:
    client = make_client()
    client.request.headers["X-Signature"] = "abc"
    client.request.headers["Host"] = "other.example"
    assert b"\r\nX-Signature: abc\r\n" in client.serialize()
    assert b"\r\nHost: other.example\r\n" in client.serialize()


@pytest.mark.parametrize("name", ["Sec-WebSocket-Key", "Upgrade", "Content-Length", "Sec-WebSocket-Protocol"])
def test_edit_of_what_the_handshake_depends_on_is_a_value_error(name: str) -> None:
    client = make_client()
    client.request.headers[name] = "1"
    with pytest.raises(ValueError, match="cannot be changed"):
        client.serialize()


def test_edit_of_the_method_is_a_value_error() -> None:
    client = make_client()
    client.request.method = "POST"
    with pytest.raises(ValueError, match="cannot be changed"):
        client.serialize()


# The server's answer, as the client judges it


def test_client_accepts_a_plain_101() -> None:
    client = make_client(version=8)
    assert client.finish(make_answer(client)) == Agreement(8, None, None)


def test_client_takes_upgrade_and_connection_in_any_case_and_connection_as_a_list() -> None:
    client = make_client()
    answer = make_answer(client, ("Upgrade", "WebSocket"), ("Connection", "keep-alive"), ("+Connection", "UPGRADE"))
    assert client.finish(answer) == Agreement()


@pytest.mark.parametrize("status", [100, 200, 301, 400, 401, 426, 503])
def test_client_refuses_another_status(status: int) -> None:
    client = make_client()
    answer = make_answer(client, status=status)
    with pytest.raises(InvalidStatus) as caught:
        client.finish(answer)
    assert caught.value.response is answer


@pytest.mark.parametrize(
    "name, value",
    [
        ("Upgrade", None),
        ("Upgrade", ""),
        ("Upgrade", "h2c"),
        ("Upgrade", "websocket, h2c"),
        ("Connection", None),
        ("Connection", "close"),
        ("Connection", "upgrade;"),
        ("Sec-WebSocket-Accept", None),
        ("Sec-WebSocket-Accept", ""),
        ("Sec-WebSocket-Accept", ACCEPT),
        ("Sec-WebSocket-Accept", "?"),
        ("Sec-WebSocket-Protocol", "chat"),
        ("Sec-WebSocket-Protocol", ""),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
        ("Sec-WebSocket-Extensions", "x-other"),
        ("Sec-WebSocket-Extensions", "permessage-deflate;"),
        ("Sec-WebSocket-Extensions", ""),
    ],
)
def test_client_refuses_a_header_that_does_not_fit(name: str, value: Any) -> None:
    client = make_client()
    answer = make_answer(client, (name, value))
    with pytest.raises(InvalidHeader) as caught:
        client.finish(answer)
    assert (caught.value.name, caught.value.value, caught.value.response) == (name, value, answer)


def test_client_refuses_an_accept_in_another_case() -> None:
    client = make_client()
    accept = make_answer(client).headers["Sec-WebSocket-Accept"]
    with pytest.raises(InvalidHeader):
        client.finish(make_answer(client, ("Sec-WebSocket-Accept", accept.swapcase())))


def test_client_takes_a_subprotocol_that_it_offered() -> None:
    client = make_client(subprotocols=["a", "b"])
    assert client.finish(make_answer(client, ("Sec-WebSocket-Protocol", "b"))).subprotocol == "b"
    assert client.finish(make_answer(client)).subprotocol is None


@pytest.mark.parametrize("value", ["c", "B", "a, b", "a, a", "a,"])
def test_client_refuses_a_subprotocol_that_is_not_one_of_its_offers(value: Any) -> None:
    client = make_client(subprotocols=["a", "b"])
    with pytest.raises(InvalidHeader, match="not offered"):
        client.finish(make_answer(client, ("Sec-WebSocket-Protocol", value)))


def test_client_takes_the_extension_that_it_offered() -> None:
    client = make_client(deflate=PerMessageDeflate())
    answer = make_answer(client, ("Sec-WebSocket-Extensions", "permessage-deflate; server_no_context_takeover"))
    parameters = client.finish(answer).deflate
    assert parameters is not None
    assert parameters.server_no_context_takeover


@pytest.mark.parametrize(
    "value",
    ["x-other", "permessage-deflate, permessage-deflate", "permessage-deflate; x=1", "permessage-deflate, x-other"],
)
def test_client_refuses_extensions_that_are_not_its_offer(value: Any) -> None:
    client = make_client(deflate=PerMessageDeflate())
    answer = make_answer(client, ("Sec-WebSocket-Extensions", value))
    with pytest.raises(InvalidHeader) as caught:
        client.finish(answer)
    assert caught.value.response is answer


# The client's request, as the server judges it


def test_server_accepts_the_request_of_the_rfc() -> None:
    server = ServerHandshake()
    request = make_request()
    server.check(request)
    response, agreement = server.accept(request)
    assert response.serialize() == (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )
    assert agreement == Agreement(13, None, None)


def test_server_accepts_version_8() -> None:
    server = ServerHandshake()
    request = make_request(("Sec-WebSocket-Version", "8"))
    server.check(request)
    assert server.accept(request)[1].version == 8


def test_server_takes_lists_in_any_case_and_in_several_lines() -> None:
    request = make_request(
        ("Upgrade", "h2c/1"),
        ("+Upgrade", "WebSocket"),
        ("Connection", "keep-alive,,"),
        ("+Connection", "UPGRADE"),
    )
    ServerHandshake().check(request)


@pytest.mark.parametrize("method", ["POST", "HEAD", "CONNECT", "get"])
def test_server_refuses_other_methods(method: str) -> None:
    response, _ = refuse(make_request(method=method))
    assert (response.status, response.headers["Allow"]) == (405, "GET")


@pytest.mark.parametrize("value", [None, "h2c", "websockets", ""])
def test_server_answers_plain_http_with_426(value: Any) -> None:
    response, error = refuse(make_request(("Upgrade", value)))
    assert response.status == 426
    assert response.headers["Upgrade"] == "websocket"
    assert str(error) in response.body.decode()


def test_server_answers_http_1_0_with_505_or_426() -> None:
    assert refuse(make_request(version="HTTP/1.0"))[0].status == 505
    assert refuse(make_request(("Upgrade", None), ("Host", None), version="HTTP/1.0"))[0].status == 426


@pytest.mark.parametrize("value", [None, "", "12", "14", "013", "+13", "13.0", "0xd", "\xb9\xb3", "13, 13", "13, 8"])
def test_server_answers_other_versions_with_426_and_its_versions(value: Any) -> None:
    response, _ = refuse(make_request(("Sec-WebSocket-Version", value)))
    assert response.status == 426
    assert response.headers["Upgrade"] == "websocket"
    assert response.headers["Sec-WebSocket-Version"] == "13, 8"


@pytest.mark.parametrize(
    "name, value",
    [
        ("Host", None),
        ("Host", ""),
        ("Host", "a, b"),
        ("Host", "a b"),
        ("Host", "a/b"),
        ("Host", "u@a"),
        ("Host", "a:b"),
        ("+Host", "example.com"),
        ("Content-Length", "11"),
        ("Content-Length", "0, 0"),
        ("Content-Length", "-1"),
        ("Content-Length", ""),
        ("Transfer-Encoding", "chunked"),
        ("Transfer-Encoding", "identity"),
        ("Connection", None),
        ("Connection", "close"),
        ("Connection", "upgrade keep-alive"),
        ("Sec-WebSocket-Key", None),
        ("Sec-WebSocket-Key", ""),
        ("Sec-WebSocket-Key", "AAAA"),
        ("Sec-WebSocket-Key", KEY[:-1]),
        ("Sec-WebSocket-Key", KEY + "="),
        ("Sec-WebSocket-Key", KEY.replace("Q==", "R==")),
        ("Sec-WebSocket-Key", "*" * 24),
        ("Sec-WebSocket-Key", "\xe9" * 24),
        ("Sec-WebSocket-Key", f"{KEY}, {KEY}"),
        ("+Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Protocol", ""),
        ("Sec-WebSocket-Protocol", "a b"),
        ("Sec-WebSocket-Protocol", "a, a"),
        ("Sec-WebSocket-Protocol", "\xe9"),
        ("Sec-WebSocket-Extensions", "permessage-deflate;"),
        ("Sec-WebSocket-Extensions", "a; b=c d"),
    ],
)
def test_server_answers_a_header_that_does_not_fit_with_400(name: str, value: Any) -> None:
    response, error = refuse(make_request((name, value)))
    assert response.status == 400
    assert name.lstrip("+") in str(error)
    assert str(error) in response.body.decode()


def test_server_allows_a_content_length_of_zero() -> None:
    ServerHandshake().check(make_request(("Content-Length", "0")))


def test_refusals_end_the_connection() -> None:
    response, _ = refuse(make_request(("Sec-WebSocket-Key", None)))
    assert "close" in response.headers["Connection"]
    assert "Date" in response.headers


@pytest.mark.parametrize(
    "host", ["a", "a:", "a:8000", "A.b-c_d~e", "127.0.0.1:1", "[::1]", "[::1]:80", "xn--bcher-kva.example", "a%20b"]
)
def test_host_is_a_name_or_an_address_and_perhaps_a_port(host: str) -> None:
    assert is_host(host)


@pytest.mark.parametrize(
    "host",
    ["", ":80", "a:b", "a:80:80", "a:+80", "a:123456", "a:\u0661", "[", "[]", "[::1", "[::1]80", "[::1]:x", "[x]"]
    + ["::1", "a,b", "a b", "a/b", "a@b", "a?b", "a#b", "b\xfccher"],
)
def test_anything_else_is_no_host(host: str) -> None:
    assert not is_host(host)


@pytest.mark.parametrize("value, yes", [(None, False), ("h2c", False), ("a, \tWebSocket", True), ("websocket2", False)])
def test_request_is_an_upgrade_when_it_names_websocket(value: Any, yes: bool) -> None:
    assert is_upgrade(make_request(("Upgrade", value))) == yes


# Origins


def allows(origins: Any, origin: str, host: str = "example.com", version: str = "13") -> bool:
    name = "Origin" if version == "13" else "Sec-WebSocket-Origin"
    request = make_request((name, origin), ("Host", host), ("Sec-WebSocket-Version", version))
    server = ServerHandshake(origins=origins)
    try:
        server.check(request)
    except InvalidHeader as error:
        assert (error.name, error.response.status) == (name, 403)
        return False
    return True


@pytest.mark.parametrize("origins", ["same", "*", [], ["https://other.example"]])
def test_request_without_an_origin_is_allowed(origins: Any) -> None:
    ServerHandshake(origins=origins).check(make_request())


@pytest.mark.parametrize("version", ["13", "8"])
def test_same_origin_is_the_default(version: Any) -> None:
    assert allows("same", "https://example.com", version=version)
    assert not allows("same", "https://other.example", version=version)
    with pytest.raises(InvalidHeader):
        ServerHandshake().check(make_request(("Origin", "https://other.example")))


@pytest.mark.parametrize(
    "origin, host",
    [
        ("https://EXAMPLE.com", "Example.COM"),
        ("https://example.com", "example.com:443"),
        ("http://example.com:80", "example.com"),
        ("http://example.com:8000", "example.com:8000"),
        ("http://[::1]:8000", "[::1]:8000"),
        ("http://[::1]", "[::1]:80"),
        ("app://example.com", "example.com"),
    ],
)
def test_same_origin_has_the_host_and_the_port_of_the_host_header(origin: str, host: str) -> None:
    assert allows("same", origin, host)


@pytest.mark.parametrize(
    "origin, host",
    [
        ("https://example.com:8000", "example.com"),
        ("https://example.com", "example.com:8000"),
        ("https://example.com", "example.com:80"),
        ("https://www.example.com", "example.com"),
        ("https://example.com.evil.example", "example.com"),
        ("https://evil.example/example.com", "example.com"),
        ("https://u@example.com", "example.com"),
        ("example.com", "example.com"),
        ("null", "null"),
        ("null", "example.com"),
        ("https://", "example.com"),
        ("", "example.com"),
        ("https://example.com, https://example.com", "example.com"),
    ],
)
def test_other_origins_are_not_the_same(origin: str, host: str) -> None:
    assert not allows("same", origin, host)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "garbage"])
def test_star_allows_any_origin(origin: str) -> None:
    assert allows("*", origin)


@pytest.mark.parametrize(
    "item, origin",
    [
        ("https://Example.com", "https://example.COM"),
        ("https://example.com:443", "https://example.com"),
        ("https://example.com", "https://example.com:443"),
        ("http://example.com:8000", "http://example.com:8000"),
        ("example.com", "http://example.com:8000"),
        ("example.com:8000", "http://example.com:8000"),
        ("[::1]", "http://[::1]:8000"),
        ("*.example.com", "https://a.b.example.com"),
        ("https://*.example.com", "https://a.example.com"),
        ("https://app-*.pr*.example.com", "https://app-12.pr-prod.example.com"),
        ("http://localhost:*", "http://localhost:3000"),
        ("null", "null"),
        ("*//example.com", "https://example.com"),
        ("http*example.com:1*0", "http://www.example.com:1000"),
        ("http://example.com:80*", "http://example.com:8000"),
        ("app://[*]", "app://[::1]"),
        (re.compile(r"https://[a-z]+\.example\.com"), "https://abc.example.com"),
        (re.compile("file:///.*"), "file:///tmp/x.html"),
    ],
)
def test_listed_origins_are_allowed(item: Any, origin: str) -> None:
    assert allows(["https://first.example", item], origin, host="server.example")


@pytest.mark.parametrize(
    "item, origin",
    [
        ("https://example.com", "http://example.com"),
        ("https://example.com", "https://example.com:8443"),
        ("https://example.com", "https://example.com.evil.example"),
        ("example.com:8000", "http://example.com"),
        ("*.example.com", "https://example.com"),
        ("*.example.com", "https://a.example.com.evil.example"),
        ("*.example.com", "https://evil.example/.example.com"),
        ("app-*-app.example", "https://app-app.example"),
        ("a*b*c", "https://aXc"),
        ("example.com", "null"),
        ("example.com", "example.com"),
        (re.compile("https://example"), "https://example.com"),
        (re.compile("example"), "https://example.com"),
    ],
)
def test_origins_that_are_not_listed_are_refused(item: Any, origin: str) -> None:
    assert not allows([item], origin, host="example.com")


@pytest.mark.parametrize("origins", ["https://example.com", "", "any"])
def test_origins_that_are_another_word_are_a_value_error(origins: Any) -> None:
    with pytest.raises(ValueError, match="origins"):
        ServerHandshake(origins=origins)


@pytest.mark.parametrize(
    "item",
    [
        "",
        "same",
        "https://example.com/",
        "https://*.example.com/",
        "http://example.com/path",
        "example.com/path",
        "http://two words",
        "two words",
        "two *",
        " https://example.com",
        "https ://example.com",
        "://example.com",
        "https://",
        "file://",
        "https://user@example.com",
        "https://example.com:port",
        "https://example.com?query",
        "https://http://example.com",
        "https://grüße.example",
        "https://a.example,https://b.example",
    ],
)
def test_item_of_a_list_that_matches_no_origin_is_a_value_error(item: str) -> None:
    with pytest.raises(ValueError, match="origin"):
        ServerHandshake(origins=["https://example.com", item])


@pytest.mark.parametrize("origins", [[None], [b"https://example.com"], None, 1])
def test_origins_of_the_wrong_type_are_a_type_error(origins: Any) -> None:
    with pytest.raises(TypeError, match="origin"):
        ServerHandshake(origins=origins)


# Subprotocols and extensions, as the server chooses


def accept(server: ServerHandshake, *changes: tuple[str, str | None]) -> tuple[Response, Agreement]:
    request = make_request(*changes)
    server.check(request)
    return server.accept(request)


def test_server_prefers_its_own_order_of_subprotocols() -> None:
    response, agreement = accept(ServerHandshake(subprotocols=["b", "a"]), ("Sec-WebSocket-Protocol", "a, b, c"))
    assert agreement.subprotocol == "b"
    assert response.headers["Sec-WebSocket-Protocol"] == "b"


@pytest.mark.parametrize("offer", [None, "c", "A"])
def test_server_goes_on_without_a_subprotocol_where_none_is_shared(offer: str | None) -> None:
    response, agreement = accept(ServerHandshake(subprotocols=["a"]), ("Sec-WebSocket-Protocol", offer))
    assert agreement.subprotocol is None
    assert "Sec-WebSocket-Protocol" not in response.headers


def test_select_subprotocol_replaces_the_choice_and_sees_the_request() -> None:
    def select(offered: list[str], request: Request) -> str:
        assert request.target == "/chat"
        return offered[-1]

    server = ServerHandshake(select_subprotocol=select)
    assert accept(server, ("Sec-WebSocket-Protocol", "a, b"))[1].subprotocol == "b"
    assert accept(server)[1].subprotocol is None


def test_select_subprotocol_chooses_among_those_that_the_server_lists() -> None:
    seen: list[list[str]] = []

    def select(offered: list[str], request: Request) -> str:
        seen.append(offered)
        return offered[-1]

    server = ServerHandshake(subprotocols=["a", "b", "c"], select_subprotocol=select)
    assert accept(server, ("Sec-WebSocket-Protocol", "z, c, y, a, x"))[1].subprotocol == "a"
    assert accept(server, ("Sec-WebSocket-Protocol", "x, y"))[1].subprotocol is None
    assert seen == [["c", "a"]]


def test_select_subprotocol_cannot_choose_what_the_server_does_not_list() -> None:
    server = ServerHandshake(subprotocols=["a"], select_subprotocol=lambda offered, request: "b")
    with pytest.raises(ValueError, match="'b'"):
        accept(server, ("Sec-WebSocket-Protocol", "a, b"))


def test_select_subprotocol_may_choose_none() -> None:
    server = ServerHandshake(subprotocols=["a"], select_subprotocol=lambda offered, request: None)
    assert accept(server, ("Sec-WebSocket-Protocol", "a"))[1].subprotocol is None


def test_select_subprotocol_that_invents_one_is_a_value_error() -> None:
    server = ServerHandshake(select_subprotocol=lambda offered, request: "z")
    with pytest.raises(ValueError, match="not in the list"):
        accept(server, ("Sec-WebSocket-Protocol", "a"))


def test_server_without_compression_declines_every_extension() -> None:
    response, agreement = accept(ServerHandshake(), ("Sec-WebSocket-Extensions", "permessage-deflate, x-other; a=1"))
    assert agreement.deflate is None
    assert "Sec-WebSocket-Extensions" not in response.headers


def test_server_with_compression_accepts_the_first_offer_it_can() -> None:
    server = ServerHandshake(deflate=PerMessageDeflate())
    offers = "x-other, permessage-deflate; no_such=1, permessage-deflate; server_no_context_takeover"
    response, agreement = accept(server, ("Sec-WebSocket-Extensions", offers))
    assert response.headers["Sec-WebSocket-Extensions"].startswith("permessage-deflate")
    assert agreement.deflate is not None
    assert agreement.deflate.server_no_context_takeover


def test_server_with_compression_goes_on_without_where_it_is_not_offered() -> None:
    assert accept(ServerHandshake(deflate=PerMessageDeflate()))[1].deflate is None


def test_protected_headers_show_a_change() -> None:
    response, _ = accept(ServerHandshake())
    before = protected_headers(response.headers)
    response.headers["X-Other"] = "1"
    assert protected_headers(response.headers) == before
    response.headers.add("Sec-WebSocket-Accept", "x")
    assert protected_headers(response.headers) != before


# Both roles


@pytest.mark.parametrize("version", [13, 8])
@pytest.mark.parametrize("compressed", [False, True])
def test_both_roles_settle_the_same(version: Any, compressed: bool) -> None:
    deflate = PerMessageDeflate() if compressed else None
    client = make_client(version=version, subprotocols=["a", "b"], deflate=deflate, origin="http://example.com")
    settled, agreement = meet(client, ServerHandshake(subprotocols=["b"], deflate=deflate))
    assert settled == agreement
    assert agreement.version == version
    assert agreement.subprotocol == "b"
    assert (agreement.deflate is not None) == compressed
