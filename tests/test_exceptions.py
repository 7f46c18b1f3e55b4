from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest

from geventws.exceptions import (
    ConcurrencyError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    HandshakeError,
    InvalidHeader,
    InvalidState,
    InvalidStatus,
    InvalidURL,
    ProtocolError,
    ProxyError,
    Violation,
    WebSocketError,
)
from geventws.frames import CloseFrame
from geventws.http11 import Response


class TestTree:
    @pytest.mark.parametrize(
        "error, parent",
        [
            (WebSocketError, Exception),
            (ConnectionClosed, WebSocketError),
            (ConnectionClosedOK, ConnectionClosed),
            (ConnectionClosedError, ConnectionClosed),
            (HandshakeError, WebSocketError),
            (InvalidURL, HandshakeError),
            (InvalidStatus, HandshakeError),
            (InvalidHeader, HandshakeError),
            (ProxyError, HandshakeError),
            (ProtocolError, WebSocketError),
            (ConcurrencyError, WebSocketError),
            (InvalidState, WebSocketError),
        ],
    )
    def test_each_error_has_its_place(self, error: type, parent: type) -> None:
        assert error.__bases__ == (parent,)


class TestViolation:
    def test_no_two_are_the_same(self) -> None:
        # Equal values would make one an alias of the other.
        assert len(Violation.__members__) == len(list(Violation)) == 19

    @pytest.mark.parametrize("violation", list(Violation))
    def test_each_has_a_close_code_of_the_rfc_and_a_text_that_fits_a_close_frame(self, violation: Violation) -> None:
        assert violation.close_code in (1002, 1007, 1008, 1009)
        assert violation.value == (violation.close_code, violation.text)
        CloseFrame.checked(violation.close_code, violation.text)

    @pytest.mark.parametrize(
        "name, code",
        [
            ("EXPECTED_MASK", 1002),
            ("UNEXPECTED_RSV_1", 1002),
            ("INVALID_UTF8", 1007),
            ("INVALID_CLOSE_REASON", 1007),
            ("INVALID_DEFLATE_DATA", 1007),
            ("TOO_MANY_FRAGMENTS", 1008),
            ("MESSAGE_TOO_BIG", 1009),
            ("FRAGMENT_TOO_BIG", 1009),
        ],
    )
    def test_the_code_tells_the_kind(self, name: str, code: int) -> None:
        assert Violation[name].close_code == code


class TestConnectionClosed:
    def test_tells_what_was_received_and_sent(self) -> None:
        error = ConnectionClosedOK(CloseFrame(1001, "away"), CloseFrame(1000))
        assert (error.rcvd, error.sent, error.why) == (CloseFrame(1001, "away"), CloseFrame(1000), "")
        assert (error.code, error.reason) == (1001, "away")
        assert str(error) == "received 1001 (going away) away; sent 1000 (normal closure)"

    def test_without_a_close_frame_the_code_is_1006(self) -> None:
        error = ConnectionClosedError(None, None, "the peer is dead")
        assert (error.code, error.reason) == (1006, "")
        assert str(error) == "no close frame received; no close frame sent; the peer is dead"

    def test_an_empty_close_frame_is_1005(self) -> None:
        assert ConnectionClosedOK(CloseFrame(1005), CloseFrame(1005)).code == 1005

    def test_what_was_sent_is_not_what_was_received(self) -> None:
        error = ConnectionClosedError(None, CloseFrame(1002, "RSV2 or RSV3 is set"))
        assert error.code == 1006
        assert str(error) == "no close frame received; sent 1002 (protocol error) RSV2 or RSV3 is set"


class TestHandshakeErrors:
    def test_the_answer_is_kept(self) -> None:
        response = Response(403)
        assert HandshakeError("no", response).response is response
        assert HandshakeError("no").response is None
        assert str(HandshakeError("no", response)) == "no"

    def test_a_status_reads_well(self) -> None:
        error = InvalidStatus(Response(404, "Not Found"))
        assert str(error) == "the server answered 404 Not Found"
        assert error.response.status == 404

    def test_a_status_without_a_reason_reads_well(self) -> None:
        assert str(InvalidStatus(Response(404, ""))) == "the server answered 404"

    def test_a_missing_header_is_named(self) -> None:
        error = InvalidHeader("Upgrade", None)
        assert (error.name, error.value, error.response) == ("Upgrade", None, None)
        assert str(error) == "the Upgrade header is missing"

    def test_a_wrong_header_is_shown(self) -> None:
        response = Response(400)
        error = InvalidHeader("Origin", "null", "not allowed", response)
        assert error.response is response
        assert str(error) == "the Origin header is not valid: 'null' (not allowed)"

    def test_a_long_header_is_shown_in_part(self) -> None:
        assert str(InvalidHeader("X", "a" * 100)) == f"the X header is not valid: '{'a' * 100}'"
        assert str(InvalidHeader("X", "a" * 101)) == f"the X header is not valid: '{'a' * 97}...'"

    def test_control_characters_of_a_header_are_escaped(self) -> None:
        assert "\n" not in str(InvalidHeader("X", "a\nb"))


class TestProtocolError:
    def test_names_the_violation(self) -> None:
        error = ProtocolError(Violation.INVALID_UTF8)
        assert error.violation is Violation.INVALID_UTF8
        assert str(error) == "a text message is not UTF-8 (INVALID_UTF8)"

    def test_adds_the_detail(self) -> None:
        error = ProtocolError(Violation.INVALID_OPCODE, "0xb")
        assert str(error) == "the opcode is reserved (INVALID_OPCODE): 0xb"


RESPONSE = Response(302, "Found", {"Location": "wss://b.example/"}, b"elsewhere")
SAMPLES = [
    WebSocketError("something"),
    ConnectionClosed(None, CloseFrame(1001)),
    ConnectionClosedOK(CloseFrame(1000, "bye"), CloseFrame(1000)),
    ConnectionClosedError(CloseFrame(1011, "oops"), None, "why"),
    ConnectionClosedError(CloseFrame(1011, "oops"), CloseFrame(1000), "why", True),
    HandshakeError("no", RESPONSE),
    InvalidURL("the URL has no host"),
    InvalidStatus(RESPONSE),
    InvalidHeader("Origin", "null", "not allowed", RESPONSE),
    InvalidHeader("Upgrade", None, response=RESPONSE),
    ProxyError("the proxy refuses", response=RESPONSE),
    ProxyError("the proxy refuses", reply=5, proxy="socks5h://localhost:1080", step="the request to the proxy"),
    ProtocolError(Violation.EXPECTED_MASK, "detail"),
    ConcurrencyError("another greenlet receives"),
    InvalidState("closed"),
]
COPIES = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda error: pickle.loads(pickle.dumps(error))}


def family(error: type[Exception]) -> set[type[Exception]]:
    return {error}.union(*map(family, error.__subclasses__()))


class TestCopies:
    def test_there_is_a_sample_of_each_error(self) -> None:
        own = {error for error in family(WebSocketError) if error.__module__ == "geventws.exceptions"}
        assert {type(sample) for sample in SAMPLES} == own

    @pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
    @pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
    def test_a_copy_is_the_same(self, error: WebSocketError, make: Callable[[WebSocketError], WebSocketError]) -> None:
        twin = make(error)
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert twin.args == error.args
        assert vars(twin) == vars(error)

    @pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
    def test_an_error_can_be_made_of_its_arguments(self, error: WebSocketError) -> None:
        twin = type(error)(*error.args)
        assert (str(twin), vars(twin)) == (str(error), vars(error))

    @pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
    def test_a_response_that_was_added_later_is_copied(self, make: Callable[[HandshakeError], HandshakeError]) -> None:
        error = InvalidURL("the URL has no host")
        error.response = RESPONSE
        assert make(error).response == RESPONSE
