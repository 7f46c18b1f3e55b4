"""What a WebSocket is: its settings, its attributes, its states; what it refuses of the peer."""

from __future__ import annotations

import logging
import socket as std_socket
import ssl as std_ssl

import gevent
import pytest
from tools.endpoint import wait_for_messages
from tools.peer import Peer
from tools.tasks import start, start_waiting
from tools.timing import wait_until
from tools.wire import BINARY, CLOSE, CONTINUATION, PING, RSV1, RSV2, RSV3, TEXT, close_payload

from geventws.events import State
from geventws.exceptions import ConnectionClosedError, ProtocolError, Violation
from geventws.handshake import Agreement
from geventws.headers import Headers
from geventws.http11 import Request, Response
from geventws.websocket import Options, WebSocket


class TestOptions:
    def test_the_defaults_are_those_of_the_contract(self):
        options = Options()
        assert (options.close_timeout, options.ping_interval, options.ping_timeout) == (10, 20, 20)
        assert (options.max_size, options.max_fragments, options.send_timeout) == (2**20, 131072, None)
        assert (options.auto_cork, options.auto_pong, options.validate_utf8) == (True, True, True)
        assert (options.max_fragment_size, options.masking_keys) == (None, None)

    @pytest.mark.parametrize("name", ["close_timeout", "ping_interval", "ping_timeout", "send_timeout"])
    def test_a_time_is_a_number_that_is_not_negative_or_none(self, name):
        for value in (0.5, 1, None):
            assert getattr(Options(**{name: value}), name) == value
        for value in (-1, -0.1, float("nan")):
            with pytest.raises(ValueError, match=name):
                Options(**{name: value})
        for value in ("1", b"1", [], True):
            with pytest.raises(TypeError, match=name):
                Options(**{name: value})

    def test_an_interval_is_more_than_nothing(self):
        with pytest.raises(ValueError, match="ping_interval"):
            Options(ping_interval=0)

    @pytest.mark.parametrize("name", ["max_size", "max_fragments", "max_fragment_size"])
    def test_a_limit_is_a_positive_whole_number_or_none(self, name):
        for value in (1, 2**40, None):
            assert getattr(Options(**{name: value}), name) == value
        for value in (0, -1):
            with pytest.raises(ValueError, match=name):
                Options(**{name: value})
        for value in (1.5, "1", True):
            with pytest.raises(TypeError, match=name):
                Options(**{name: value})

    @pytest.mark.parametrize("name", ["auto_cork", "auto_pong", "validate_utf8"])
    def test_a_switch_is_true_or_false(self, name):
        for value in (1, 0, None, "yes"):
            with pytest.raises(TypeError, match=name):
                Options(**{name: value})

    def test_masking_keys_is_a_function(self):
        with pytest.raises(TypeError, match="masking_keys"):
            Options(masking_keys=b"abcd")

    def test_they_cannot_be_changed_or_given_by_position(self):
        with pytest.raises(AttributeError):
            Options().max_size = 5
        with pytest.raises(TypeError):
            Options(10)


class TestAttributes:
    def test_they_tell_of_the_opening_handshake(self, make_pair, role):
        environ = {"PATH_INFO": "/chat"}
        ws, _ = make_pair(subprotocol="chat.v2", url="ws://localhost/chat?room=1", environ=environ)
        assert ws.url == "ws://localhost/chat?room=1"
        assert ws.request.path == "/chat"
        assert ws.response.status == 101
        assert ws.subprotocol == "chat.v2"
        assert ws.environ is environ
        assert ws.data == {}
        assert ws.data is ws.request.data
        assert repr(ws) == f"<WebSocket {role} OPEN ws://localhost/chat?room=1>"

    def test_they_say_what_there_is_not(self, pair):
        ws, _ = pair
        assert (ws.subprotocol, ws.extensions, ws.environ, ws.latency) == (None, "", None, None)
        assert (ws.close_code, ws.close_reason) == (None, None)
        assert (ws.state, ws.paused, ws.buffered_amount) == (State.OPEN, False, 0)

    def test_extensions_are_those_of_the_answer(self, make_link, role):
        from geventws.frames import Side

        sock, other = make_link()
        response = Response(101, headers=Headers([("Sec-WebSocket-Extensions", "permessage-deflate")]))
        ws = WebSocket(
            sock, Side(role), Agreement(13, None, None), request=Request("GET", "/", Headers()), response=response
        )
        assert ws.extensions == "permessage-deflate"
        ws.terminate()
        other.close()

    def test_addresses_are_those_of_the_socket_and_stay(self, pair):
        ws, peer = pair
        addresses = (peer.sock.getpeername(), peer.sock.getsockname())
        assert (ws.local_address, ws.remote_address) == addresses
        ws.terminate()
        assert (ws.local_address, ws.remote_address) == addresses

    def test_the_certificate_is_that_of_the_opening_handshake_and_stays(self, pair):
        ws, _ = pair
        assert ws.peer_certificate is None
        ws.request.peer_certificate = {"subject": ()}
        assert ws.peer_certificate is ws.request.peer_certificate
        ws.terminate()
        assert ws.peer_certificate == {"subject": ()}

    def test_a_subclass_may_have_attributes_of_its_own(self, make_pair):
        class Client(WebSocket):
            def shout(self, text):
                self.send(text.upper())

        ws, peer = make_pair(websocket_class=Client)
        ws.name = "own"
        ws.shout("hi")
        assert peer.read_message() == "HI"
        assert repr(ws).startswith("<Client ")


class TestSocketsOfTheStandardLibrary:
    def test_a_plain_one_is_taken(self, open_websocket, role):
        left, right = std_socket.socketpair()
        ws = open_websocket(left, role)
        peer = Peer(gevent.socket.socket(fileno=right.detach()), client=role == "server")
        ws.send("there")
        peer.text("and back")
        assert ws.recv() == "and back"
        assert peer.read_message() == "there"
        closing = start_waiting(ws.close)
        peer.finish_close()
        peer.close()
        closing.result()
        assert left.fileno() == -1

    def test_one_with_tls_is_taken(self, open_websocket):
        from tools import certificates
        from tools.links import tcp_pair

        left, right = tcp_pair()
        plain = std_socket.socket(fileno=left.detach())
        plain.setblocking(False)
        context = std_ssl.SSLContext(std_ssl.PROTOCOL_TLS_CLIENT)
        certificates.authority().configure_trust(context)
        accepting = start(certificates.server_context().wrap_socket, right, server_side=True)
        secure = context.wrap_socket(plain, server_hostname="localhost", do_handshake_on_connect=False)

        def shaken():
            try:
                secure.do_handshake()
            except (std_ssl.SSLWantReadError, std_ssl.SSLWantWriteError):
                return False
            return True

        wait_until(shaken)
        ws = open_websocket(secure, "client")
        peer = Peer(accepting.result(), client=False)
        big = bytes(range(256)) * 4000
        ws.send(big)
        assert peer.read_message() == big
        sending = start(peer.binary, big)
        assert ws.recv() == big
        sending.result()
        ws.terminate()
        peer.close()


VIOLATIONS = {
    Violation.EXPECTED_FIN: lambda peer: peer.frame(PING, b"x", fin=False),
    Violation.UNEXPECTED_RSV_1: lambda peer: peer.frame(TEXT, b"x", rsv=RSV1),
    Violation.UNEXPECTED_RSV_2_3: lambda peer: peer.frame(TEXT, b"x", rsv=RSV2 | RSV3),
    Violation.INVALID_OPCODE: lambda peer: peer.frame(3, b"x"),
    Violation.UNEXPECTED_CONTINUATION: lambda peer: peer.frame(CONTINUATION, b"x"),
    Violation.EXPECTED_CONTINUATION: lambda peer: peer.frame(TEXT, b"x", fin=False) + peer.frame(TEXT, b"y"),
    Violation.INVALID_CONTROL_PAYLOAD_LENGTH: lambda peer: peer.frame(PING, bytes(126)),
    Violation.INVALID_PAYLOAD_LENGTH: lambda peer: peer.frame(BINARY, length=1 << 63),
    Violation.NON_MINIMAL_PAYLOAD_LENGTH: lambda peer: peer.frame(TEXT, b"x", width=16),
    Violation.INVALID_CLOSE_PAYLOAD_LENGTH: lambda peer: peer.frame(CLOSE, b"\x03"),
    Violation.INVALID_CLOSE_CODE: lambda peer: peer.frame(CLOSE, close_payload(1005)),
    Violation.INVALID_CLOSE_REASON: lambda peer: peer.frame(CLOSE, close_payload(1000) + b"\xff"),
    Violation.INVALID_UTF8: lambda peer: peer.frame(TEXT, b"\xff"),
    Violation.MESSAGE_TOO_BIG: lambda peer: peer.frame(BINARY, length=2**20 + 1),
}


class TestViolations:
    @pytest.mark.parametrize("violation", VIOLATIONS, ids=lambda violation: violation.name)
    def test_each_fails_the_connection_after_the_messages_before_it(self, pair, violation, caplog):
        ws, peer = pair
        with caplog.at_level(logging.WARNING, logger="geventws"):
            peer.send_bytes(peer.frame(TEXT, b"before") + VIOLATIONS[violation](peer) + peer.frame(TEXT, b"behind"))
            assert ws.recv() == "before"
            with pytest.raises(ConnectionClosedError) as caught:
                ws.recv()
        assert isinstance(caught.value.__cause__, ProtocolError)
        assert caught.value.__cause__.violation is violation
        assert caught.value.sent == (violation.close_code, violation.text)
        assert caught.value.rcvd is None
        assert caught.value.code == 1006
        assert peer.read_close() == (violation.close_code, violation.text)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert violation.name in caplog.text

    def test_a_wrong_mask_fails_the_connection(self, pair, role):
        ws, peer = pair
        peer.text("x", key=b"abcd" if role == "client" else None)
        with pytest.raises(ConnectionClosedError) as caught:
            ws.recv()
        expected = Violation.UNEXPECTED_MASK if role == "client" else Violation.EXPECTED_MASK
        assert caught.value.__cause__.violation is expected
        assert peer.read_close()[0] == 1002

    def test_nothing_that_follows_is_looked_at(self, pair):
        ws, peer = pair
        peer.send_bytes(peer.frame(3) + peer.frame(PING, b"x") + peer.frame(CLOSE, close_payload(1000)))
        assert peer.read_close()[0] == 1002
        peer.close()
        assert ws.wait_closed(2)
        assert ws.close_code == 1006

    def test_text_fails_at_the_first_bad_byte_of_an_unfinished_frame(self, pair):
        _, peer = pair
        peer.send_bytes(peer.frame(TEXT, b"good \xc3\x28 more", fin=False)[:-4])
        assert peer.read_close()[0] == 1007

    def test_tcp_ends_although_the_peer_never_answers(self, pair):
        ws, peer = pair
        peer.send_bytes(peer.frame(3))
        assert peer.read_close()[0] == 1002
        assert ws.wait_closed(3)


class TestLimits:
    def test_a_message_as_long_as_allowed_passes(self, make_pair):
        ws, peer = make_pair(max_size=1000)
        peer.binary(bytes(1000))
        peer.send_bytes(peer.message_frames(TEXT, [b"a" * 600]) + peer.frame(BINARY, bytes(600), fin=False))
        peer.ping(bytes(125))
        peer.send(CONTINUATION, bytes(400))
        assert [len(ws.recv()) for _ in range(3)] == [1000, 600, 1000]

    def test_one_byte_more_is_refused_at_the_header(self, make_pair):
        ws, peer = make_pair(max_size=1000)
        peer.send_bytes(peer.frame(BINARY, length=1001)[: 8 if peer.client else 4])
        assert peer.read_close()[0] == 1009
        with pytest.raises(ConnectionClosedError) as caught:
            ws.recv()
        assert caught.value.__cause__.violation is Violation.MESSAGE_TOO_BIG

    def test_fragments_count_together(self, make_pair):
        ws, peer = make_pair(max_size=1000)
        peer.send(BINARY, bytes(600), fin=False)
        peer.send_bytes(peer.frame(CONTINUATION, length=401)[: 8 if peer.client else 4])
        assert peer.read_close()[0] == 1009
        with pytest.raises(ConnectionClosedError):
            ws.recv()

    def test_text_is_measured_in_bytes(self, make_pair):
        ws, peer = make_pair(max_size=10)
        peer.text("é" * 5)
        assert ws.recv() == "é" * 5
        peer.text("é" * 6)
        assert peer.read_close()[0] == 1009

    def test_none_is_no_limit(self, make_pair):
        ws, peer = make_pair(max_size=None, max_fragments=None)
        sending = start(peer.binary, bytes(3_000_000))
        assert len(ws.recv()) == 3_000_000
        sending.result()

    def test_fragments_are_counted_even_empty_ones(self, make_pair):
        ws, peer = make_pair(max_fragments=3)
        peer.send_bytes(peer.message_frames(BINARY, [b"a", b"", b"b"]))
        assert ws.recv() == b"ab"
        peer.send_bytes(peer.message_frames(BINARY, [b"", b"", b"", b""]))
        assert peer.read_close()[0] == 1008
        with pytest.raises(ConnectionClosedError) as caught:
            ws.recv()
        assert caught.value.__cause__.violation is Violation.TOO_MANY_FRAGMENTS

    def test_a_fragment_may_have_a_limit_of_its_own(self, make_pair):
        ws, peer = make_pair(max_fragment_size=3)
        peer.send_bytes(peer.message_frames(BINARY, [b"abc", b"def"]))
        assert ws.recv() == b"abcdef"
        peer.binary(b"abcd")
        assert peer.read_close()[0] == 1009
        with pytest.raises(ConnectionClosedError) as caught:
            ws.recv()
        assert caught.value.__cause__.violation is Violation.FRAGMENT_TOO_BIG


class TestWithoutValidation:
    def test_text_that_is_no_utf8_comes_with_surrogates(self, make_pair):
        ws, peer = make_pair(validate_utf8=False)
        peer.send(TEXT, b"a\xffb")
        message = ws.recv()
        assert message == "a\udcffb"
        peer.send(TEXT, b"a\xffb")
        assert ws.recv(decode=False) == b"a\xffb"

    def test_a_close_reason_is_still_checked(self, make_pair):
        _, peer = make_pair(validate_utf8=False)
        peer.send(CLOSE, close_payload(1000) + b"\xff")
        assert peer.read_close()[0] == 1007

    def test_text_bytes_are_sent_unchecked(self, make_pair):
        ws, peer = make_pair(validate_utf8=False)
        ws.send("é".encode(), text=True)
        assert peer.read_message() == "é"

    def test_fragments_too(self, make_pair):
        ws, peer = make_pair(validate_utf8=False)
        peer.send_bytes(peer.message_frames(TEXT, [b"a\xc3", b"\xff", b"b"]))
        assert ws.recv() == "a\udcc3\udcffb"
        peer.send_bytes(peer.message_frames(TEXT, [b"a\xc3", b"\xa9", b"\xff"]))
        assert "".join(ws.recv_streaming()) == "aé\udcff"


@pytest.mark.parametrize("call", ["recv", "recv_json", "flush", "wait_closed", "send"])
@pytest.mark.parametrize("wrong, error", [("1", TypeError), (True, TypeError), (float("nan"), ValueError)])
def test_a_timeout_that_is_none_is_refused_even_when_nothing_would_wait(pair, call, wrong, error):
    ws, peer = pair
    peer.text("1")
    wait_for_messages(ws)
    function = getattr(ws, call)
    with pytest.raises(error, match="timeout is"):
        function("message", timeout=wrong) if call == "send" else function(timeout=wrong)
    assert ws.recv() == "1"
