from __future__ import annotations

import base64
import string

import pytest

from geventws.headers import (
    Extension,
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
