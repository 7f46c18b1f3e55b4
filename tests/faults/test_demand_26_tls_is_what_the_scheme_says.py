"""TLS is always what the scheme says, verified and with the server's name, and an interrupted write never mixes.

Behind proxies and redirects that is shown in `tests/test_proxy.py` (the tests of clear bytes, of redirects and of
certificates) and with real proxies in `tests/proxies/test_real_proxies.py`.
"""

from __future__ import annotations

from contextlib import closing, suppress

import gevent
import pytest
from broken import judge, read_all, send_after
from gevent import ssl
from serving import echo
from tools.faults import ERRORS, attempt
from tools.numbered import numbered
from tools.proxying import Listener, read_request, relay
from tools.tasks import start

from geventws.client import connect
from geventws.exceptions import HandshakeError


@pytest.fixture
def sniffed(serving, server_context):
    """Makes a port that leads to a server, and the bytes that pass there."""
    listeners = []

    def make(**options):
        server = serving.start(echo, **options)
        seen = bytearray()
        listeners.append(Listener(lambda sock: relay(sock, "127.0.0.1", server.address[1], seen)))
        return listeners[-1].port, seen

    yield make
    for listener in listeners:
        listener.stop()


MARKS = [b"GET /path", b"Sec-WebSocket-Key", b"101 Switching", b"mark in the clear"]


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_no_clear_byte_of_wss_is_seen(sniffed, scheme, client_context, server_context):
    """For ws the marks are found, so that the sniffing is known to work."""
    port, seen = sniffed(ssl_context=server_context if scheme == "wss" else None)
    context = {"ssl_context": client_context} if scheme == "wss" else {}
    with connect(f"{scheme}://localhost:{port}/path", compression=False, **context) as ws:
        ws.send(b"mark in the clear")
        assert ws.recv(5) == b"mark in the clear"
    assert all((mark in seen) is (scheme == "ws") for mark in MARKS)
    assert (seen[:2] == b"\x16\x03") is (scheme == "wss")
    assert b"localhost" in seen[:600]  # the name that is asked for, or the Host header


@pytest.mark.parametrize("url", ["wss://localhost:{}/", "wss://127.0.0.1:{}/"])
def test_an_unknown_authority_is_refused_before_the_request_is_sent(serving, server_context, url):
    seen = []
    server = serving.start(echo, ssl_context=server_context, process_request=seen.append)
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(url.format(server.address[1]))
    assert seen == []


def test_the_name_must_fit(serving, server_context, client_context):
    seen = []
    server = serving.start(echo, ssl_context=server_context, process_request=seen.append)
    with pytest.raises(ssl.SSLCertVerificationError, match="match"):
        connect(
            f"wss://localhost:{server.address[1]}/",
            ssl_context=client_context,
            server_hostname="other.example",
        )
    assert seen == []


def test_a_server_without_tls_is_no_way_out(serving, client_context):
    server = serving.start(echo)
    with pytest.raises(OSError):
        connect(f"wss://localhost:{server.address[1]}/", ssl_context=client_context)


def test_a_redirect_to_a_weaker_scheme_is_refused(serving, server_context, client_context):
    server = serving.start(echo)
    listener = Listener(lambda sock: _redirect(sock, f"ws://localhost:{server.address[1]}/"), context=server_context)
    try:
        with pytest.raises(HandshakeError):
            connect(f"wss://localhost:{listener.port}/", ssl_context=client_context, max_redirects=3)
        assert not server.clients
    finally:
        listener.stop()


def _redirect(sock, url):
    read_request(sock)
    sock.sendall(f"HTTP/1.1 302 There\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n".encode())


@pytest.mark.parametrize("transport", ["tls"], indirect=True)
@pytest.mark.parametrize("size", [1000, 1_000_000, 6_000_000])
def test_an_interrupted_write_is_finished_or_ends_the_connection(make_pair, size):
    """The sizes at which an SSLSocket of gevent's raised BAD_LENGTH, or mixed old bytes with new ones unseen."""
    for nth, make in enumerate(ERRORS[:3], 1):
        ws, peer = make_pair(buffers=16384, close_timeout=1)
        ws.send(numbered(1, 300_000))
        reading = start(read_all, peer) if size < 100_000 else start(_read_fast, peer)
        error = make()
        outcome = attempt(lambda ws=ws: ws.send(numbered(2, size)), nth, error)
        assert not outcome.thrown or outcome.error is error
        sent_after = start(send_after, ws, 20).result(25)
        reading.result(25)
        judge(peer, sent_after, f"a send of {size} at switch {nth}")


def _read_fast(peer):
    while peer.read_some():
        gevent.sleep(0)
    peer.close()


def test_a_server_with_a_context_speaks_no_plain_http(serving, server_context):
    server = serving.start(echo, ssl_context=server_context)
    with closing(gevent.socket.create_connection(server.address, timeout=5)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        with suppress(ConnectionError):
            while piece := sock.recv(1000):
                answer += piece
    assert b"HTTP" not in answer
