from __future__ import annotations

import base64
import string
from typing import Any

import pytest

from geventws.headers import (
    Extension,
    Headers,
    HeadersLike,
    basic_credentials,
    format_extensions,
    is_token,
    parse_basic_credentials,
    parse_extensions,
    parse_subprotocols,
    parse_token_list,
    parse_upgrade,
)

DELIMITERS = '"(),/:;<=>?@[\\]{}'


@pytest.mark.parametrize("text", ["a", "permessage-deflate", "!#$%&'*+-.^_`|~", string.ascii_letters + string.digits])
def test_a_token_is_made_of_letters_digits_and_certain_marks(text: str) -> None:
    assert is_token(text)


@pytest.mark.parametrize("character", [*DELIMITERS, " ", "\t", "\r", "\n", "\0", "\x7f", "\x80", "\xe9", "\u212a"])
def test_a_token_has_no_delimiter_space_control_or_other_character_anywhere(character: str) -> None:
    assert not any(is_token(text) for text in (character, f"{character}a", f"a{character}", f"a{character}b"))


def test_a_token_is_not_empty() -> None:
    assert not is_token("")


@pytest.mark.parametrize(
    "value, tokens",
    [
        ("websocket", ["websocket"]),
        ("keep-alive, Upgrade", ["keep-alive", "Upgrade"]),
        (" \ta\t, b ", ["a", "b"]),
        (", a,,b ,", ["a", "b"]),
        ("a,a", ["a", "a"]),
    ],
)
def test_a_token_list_is_split_at_its_commas(value: str, tokens: list[str]) -> None:
    assert parse_token_list(value) == tokens


@pytest.mark.parametrize("value", ["", " ", ",", " , ,", "a b", "a;b", '"a"', "a\xa0", "a/b", "a\r\n", "caf\xe9"])
def test_a_token_list_with_anything_else_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"token|empty"):
        parse_token_list(value)


def test_an_upgrade_header_has_protocols_with_or_without_a_version() -> None:
    assert parse_upgrade("h2c, HTTP/2.0,, WebSocket") == ["h2c", "HTTP/2.0", "WebSocket"]


@pytest.mark.parametrize("value", ["", "/", "a/", "/1", "a/1/2", "a b", "a/1 2"])
def test_an_upgrade_header_with_anything_else_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"token|empty"):
        parse_upgrade(value)


def test_subprotocols_keep_their_order_and_case() -> None:
    assert parse_subprotocols("chat.v2, CHAT.v2 ,a") == ["chat.v2", "CHAT.v2", "a"]


@pytest.mark.parametrize("value", ["", ",", "a b", "a, http://b", "chat, a, chat"])
def test_subprotocols_that_are_no_tokens_or_come_twice_are_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"token|empty|twice"):
        parse_subprotocols(value)


@pytest.mark.parametrize(
    "value, extensions",
    [
        ("a", [("a", [])]),
        ("a, b", [("a", []), ("b", [])]),
        ("a, a", [("a", []), ("a", [])]),
        ("a;b", [("a", [("b", None)])]),
        ("a;b;b=1", [("a", [("b", None), ("b", "1")])]),
        ("a; b=1; c, d; e", [("a", [("b", "1"), ("c", None)]), ("d", [("e", None)])]),
        (" ,\ta ; b = 1 , , c\t", [("a", [("b", "1")]), ("c", [])]),
        ('a; b="1"', [("a", [("b", "1")])]),
        (r'a; b="\1\0"; c', [("a", [("b", "10"), ("c", None)])]),
        ('a; b= "x" ,c', [("a", [("b", "x")]), ("c", [])]),
    ],
)
def test_extensions_are_read_with_their_parameters(value: str, extensions: list[Extension]) -> None:
    assert parse_extensions(value) == extensions


@pytest.mark.parametrize(
    "value",
    [
        "",
        ",",
        ";",
        "a;",
        "a;;b",
        "a; ;b",
        "a;=1",
        "a;b=",
        "a;b= ",
        "a;b==1",
        "a;b=1=2",
        "a=1",
        "a b",
        "a;b c",
        "a;b=c d",
        '"a"',
        'a;"b"',
    ],
)
def test_extensions_of_another_form_are_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"token|empty"):
        parse_extensions(value)


@pytest.mark.parametrize(
    "quoted",
    ['"', '""', '"x', 'x"', '"x"y', '"x" y', '"x y"', '"x"y"', r'"x\"', r'"x\\"', r'"x\\y"', r'"x\"y"', r'"\"', '"é"']
    + [f'"x{delimiter}y"' for delimiter in DELIMITERS if delimiter != "\\"],
)
def test_a_quoted_value_that_does_not_stand_for_a_token_is_refused(quoted: str) -> None:
    with pytest.raises(ValueError, match="token"):
        parse_extensions(f"a; b={quoted}; c")


@pytest.mark.parametrize("value", ["a", "a, b", "a; b", "a; b=1; c, d; e=x", "permessage-deflate; a_b=8"])
def test_formatted_extensions_are_what_was_parsed(value: str) -> None:
    assert format_extensions(parse_extensions(value)) == value


def test_basic_credentials_are_those_of_the_rfc() -> None:
    assert basic_credentials("Aladdin", "open sesame") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert basic_credentials("test", "123\xa3") == "Basic dGVzdDoxMjPCow=="


@pytest.mark.parametrize("user, password", [("", ""), ("user", ""), ("", "token"), ("\xfcser", "p:w:\u20ac")])
def test_basic_credentials_come_back_as_they_were(user: str, password: str) -> None:
    assert parse_basic_credentials(basic_credentials(user, password)) == (user, password)


@pytest.mark.parametrize("user, password", [("a:b", "c"), ("a\n", "c"), ("a", "c\0"), ("a", "\x7f"), ("\ud800", "c")])
def test_credentials_that_cannot_be_expressed_are_refused(user: str, password: str) -> None:
    with pytest.raises(ValueError, match=r"colon|control|surrogates"):
        basic_credentials(user, password)


@pytest.mark.parametrize("value", ["basic dTpw", "BASIC dTpw", "Basic   dTpw", " Basic dTpw\t"])
def test_the_scheme_is_read_in_any_case_and_spaces_do_not_count(value: str) -> None:
    assert parse_basic_credentials(value) == ("u", "p")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Basic",
        "Bearer dTpw",
        "Basicd Tpw",
        "Basic dTpw=",
        "Basic dTp",
        "Basic d Tpw",
        "Basic dTp*w",
        "Basic dTp\xe9",
        "Basic dTo",
        "Basic dTp=",
        "Basic dTq=",
        "Basic " + base64.b64encode(b"user").decode(),
        "Basic " + base64.b64encode(b"u:\xff").decode(),
        "Basic " + base64.b64encode(b"u\n:p").decode(),
        "Basic " + base64.b64encode(b"u:p\0").decode(),
    ],
)
def test_malformed_credentials_are_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_basic_credentials(value)


@pytest.mark.parametrize(
    "items",
    [
        {"Host": "a", "X": "1"},
        [("Host", "a"), ("X", "1")],
        iter([("Host", "a"), ("X", "1")]),
        Headers({"Host": "a", "X": "1"}),
    ],
)
def test_headers_are_made_of_a_mapping_of_pairs_or_of_headers(items: HeadersLike) -> None:
    assert Headers(items).items() == [("Host", "a"), ("X", "1")]


def test_headers_are_empty_by_default() -> None:
    assert Headers().items() == []
    assert len(Headers()) == 0


def test_names_are_found_in_any_case_and_keep_their_spelling() -> None:
    headers = Headers([("Sec-WebSocket-KEY", "x")])
    assert headers["sec-websocket-key"] == headers.get("SEC-WEBSOCKET-KEY") == "x"
    assert "Sec-Websocket-Key" in headers
    assert list(headers) == ["Sec-WebSocket-KEY"]


def test_repeated_fields_are_kept_apart_and_joined_on_demand() -> None:
    headers = Headers([("A", "1"), ("B", "2"), ("a", "3")])
    assert headers["A"] == headers.get("a") == "1, 3"
    assert headers.get_all("A") == ["1", "3"]
    assert headers.items() == [("A", "1"), ("B", "2"), ("a", "3")]
    assert list(headers) == headers.keys() == ["A", "B"]
    assert len(headers) == 2
    assert dict(headers) == {"A": "1, 3", "B": "2"}


def test_the_values_of_all_names_are_told_at_once() -> None:
    headers = Headers([("A", "1"), ("B", "2"), ("a", "3")])
    assert headers.joined() == {"a": "1, 3", "b": "2"}


@pytest.mark.parametrize(
    "line, name, value",
    [
        ("Host: a", "Host", "a"),
        ("Upgrade: websocket", "Upgrade", "websocket"),
        ("upgrade:\twebsocket ", "upgrade", "websocket"),
        ("A!:", "A!", ""),
        ("A:b:c", "A", "b:c"),
    ],
)
def test_a_line_is_a_name_and_a_value(line: str, name: str, value: str) -> None:
    headers = Headers()
    headers._add_line(line)
    assert headers.items() == [(name, value)]
    assert headers.get(name.upper()) == value


@pytest.mark.parametrize(
    "line, fault",
    [
        (" A: b", "begins with a space or a tab"),
        ("\tA: b", "begins with a space or a tab"),
        ("A", "no colon"),
        ("A : b", "not a token"),
        (": b", "not a token"),
    ],
)
def test_a_line_that_is_no_field_is_refused(line: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Headers()._add_line(line)


def test_a_missing_field_is_none_a_default_or_a_key_error() -> None:
    headers = Headers({"A": "1"})
    assert headers.get("B") is None
    assert headers.get("B", "2") == "2"
    assert headers.get_all("B") == []
    assert "B" not in headers
    assert 1 not in headers
    with pytest.raises(KeyError, match="B"):
        headers["B"]
    with pytest.raises(KeyError, match="b"):
        del headers["B"]


def test_setting_a_field_replaces_all_of_its_name() -> None:
    headers = Headers([("A", "1"), ("B", "2"), ("a", "3")])
    headers["a"] = "4"
    headers["C"] = "5"
    assert headers.items() == [("B", "2"), ("a", "4"), ("C", "5")]
    assert headers["A"] == "4"


def test_deleting_a_field_deletes_all_of_its_name() -> None:
    headers = Headers([("A", "1"), ("B", "2"), ("a", "3")])
    del headers["a"]
    assert headers.items() == [("B", "2")]
    assert "A" not in headers


def test_a_copy_is_equal_and_independent() -> None:
    headers = Headers({"A": "1"})
    copy = headers.copy()
    assert copy == headers
    copy.add("A", "2")
    assert headers.get_all("A") == ["1"]
    assert copy != headers


def test_headers_are_equal_whatever_the_case_and_the_order_of_their_names() -> None:
    assert Headers([("A", "1"), ("B", "2")]) == Headers([("b", "2"), ("a", "1")])
    assert Headers([("A", "1"), ("A", "2")]) != Headers([("A", "2"), ("A", "1")])
    assert Headers({"A": "x"}) != Headers({"A": "X"})
    assert Headers({"A": "1"}) != {"A": "1"}


def test_headers_show_their_fields() -> None:
    assert repr(Headers([("A", "1"), ("a", "2")])) == "Headers([('A', '1'), ('a', '2')])"


@pytest.mark.parametrize("name", ["Authorization", "Proxy-Authorization", "proxy-authorization"])
def test_headers_show_no_credentials(name: str) -> None:
    headers = Headers([("A", "1"), (name, "Basic YWRhOnMzY3JldA==")])
    assert repr(headers) == f"Headers([('A', '1'), ('{name}', '***')])"
    assert headers[name] == "Basic YWRhOnMzY3JldA=="


def test_spaces_and_tabs_around_a_value_do_not_belong_to_it() -> None:
    headers = Headers({"A": " \t1 \t2\t "})
    headers["B"] = " "
    assert headers.items() == [("A", "1 \t2"), ("B", "")]


@pytest.mark.parametrize("name", ["", " ", "A ", " A", "A:", "A\r\n", "A\0", "\xe9", '"A"', "A\u20ac"])
def test_a_name_that_is_no_token_is_refused(name: str) -> None:
    headers = Headers()
    with pytest.raises(ValueError, match="not a token"):
        headers.add(name, "1")
    with pytest.raises(ValueError, match="not a token"):
        headers[name] = "1"
    assert headers.items() == []


@pytest.mark.parametrize("character", [*(chr(code) for code in range(0x20) if code != 9), "\x7f"])
def test_a_value_with_a_control_character_is_refused(character: str) -> None:
    headers = Headers({"A": "1"})
    for value in (character, f"{character}b", f"a{character}", f"a{character}b"):
        with pytest.raises(ValueError, match="the A header has a control character"):
            headers["A"] = value
    assert headers.items() == [("A", "1")]


def test_a_value_is_within_latin_1() -> None:
    assert Headers({"A": "\x80\xe9\xff"})["A"] == "\x80\xe9\xff"
    with pytest.raises(ValueError, match="outside Latin-1"):
        Headers({"A": "caf\u0113"})


@pytest.mark.parametrize("name, value", [(b"A", "1"), ("A", b"1"), ("A", 1), ("A", None), (None, "1")])
def test_a_name_or_value_that_is_no_str_is_a_type_error(name: str, value: str) -> None:
    with pytest.raises(TypeError, match="is a str, not"):
        Headers([(name, value)])


@pytest.mark.parametrize("items", ["A: 1", ["A: 1"], ["ab"], [("A", "1", "2")], [("A",)], [1], 5])
def test_what_is_neither_a_mapping_nor_pairs_is_a_type_error(items: Any) -> None:
    with pytest.raises(TypeError, match="headers are a mapping, or a list of pairs"):
        Headers(items)


def test_headers_are_serialized_line_by_line_as_they_were_spelled() -> None:
    assert Headers([("a", " 1 "), ("B", "2"), ("A", "")]).serialize() == "a: 1\r\nB: 2\r\nA: \r\n"
