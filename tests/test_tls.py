from __future__ import annotations

import os
import random
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import gevent
import gevent.ssl
import pytest
from gevent import GreenletExit, socket
from gevent.socket import wait_read
from tools import certificates
from tools.links import reset, set_buffers, tcp_pair, truncate

from geventws.opening import hang_up, receive, send_all
from geventws.tls import TLSStream, checked_context, default_context, load_certificate, server_name, start_tls

Pair = tuple[Any, Any]


@pytest.fixture
def sockets() -> Iterator[Callable[..., Pair]]:
    opened: list[Any] = []

    def make(buffers: int | None = None) -> Pair:
        pair = tcp_pair(buffers)
        for sock in pair:
            sock.settimeout(0)
        opened.extend(pair)
        return pair

    yield make
    for sock in opened:
        sock.close()


@pytest.fixture
def streams(sockets: Callable[..., Pair], server_context: Any, client_context: Any) -> Iterator[Callable[..., Pair]]:
    """Makes (client's SSLSocket, server's TLSStream), connected; with ``layers=2`` both over another TLS.

    The server's uppermost layers, as many as ``streams``, are TLSStreams.
    """
    opened: list[Any] = []

    def make(buffers: int | None = None, layers: int = 1, streams: int = 1) -> Pair:
        near, far = sockets(buffers)
        for layer in range(layers):
            accepting = gevent.spawn(as_server, far, layer >= layers - streams)
            near = start_tls(near, client_context, server_hostname="localhost")
            far = accepting.get(timeout=5)
            opened.extend((near, far))
        return near, far

    def as_server(sock: Any, memory: bool) -> Any:
        if not memory:
            return start_tls(sock, server_context, server_side=True)
        stream = TLSStream(sock, server_context, server_side=True)
        while True:
            try:
                stream.do_handshake()
                return stream
            except ssl.SSLWantReadError:
                wait_read(stream.fileno())

    yield make
    for stream in opened:
        stream.close()


def read_exactly(stream: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += receive(stream)
    return data


def test_stream_that_was_reset_before_is_closed(sockets: Callable[..., Pair], server_context: Any) -> None:
    near, far = sockets()
    reset(near)
    gevent.socket.wait_read(far.fileno())
    descriptor = far.fileno()
    with pytest.raises(OSError, match=r"."):
        start_tls(far, server_context, server_side=True)
    assert far.fileno() == -1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("buffers", [None, 4096])
def test_stream_carries_bytes_both_ways(streams: Callable[..., Pair], layers: int, buffers: int | None) -> None:
    near, far = streams(buffers, layers)
    for sender, receiver in ((near, far), (far, near)):
        data = random.randbytes(500_000)
        sending = gevent.spawn(send_all, sender, data)
        assert read_exactly(receiver, len(data)) == data
        sending.get(timeout=5)


def test_nothing_to_read_is_told(streams: Callable[..., Pair]) -> None:
    _near, far = streams()
    with pytest.raises(ssl.SSLWantReadError):
        far.recv_into(memoryview(bytearray(10)))
    assert far.pending() == 0


@pytest.mark.parametrize("size", [1, 1000, 16384, 20_000, 65536])
def test_what_no_watcher_sees_is_pending(streams: Callable[..., Pair], size: int) -> None:
    near, far = streams()
    send_all(near, b"a" * 40_000)
    wait_read(far.fileno())
    view = memoryview(bytearray(size))
    got = 0
    while got < 40_000:
        wait_read(far.fileno()) if not far.pending() else None
        got += far.recv_into(view)
    with pytest.raises(ssl.SSLWantReadError):
        far.recv_into(view)
    assert far.pending() == 0


def test_what_waits_in_a_layer_below_is_pending(streams: Callable[..., Pair]) -> None:
    near, far = streams(layers=2, streams=2)
    view = memoryview(bytearray(65536))
    for count in range(1, 20):  # with 13 of these records, the last ones do not fit into a read of the layer above
        for _ in range(count):
            send_all(near, bytes(10_000))
        got = 0
        while got < count * 10_000:
            with gevent.Timeout(2):
                wait_read(far.fileno()) if not far.pending() else None
            with suppress(ssl.SSLWantReadError):
                got += far.recv_into(view)


def test_send_that_was_refused_is_repeated_with_the_same_bytes(streams: Callable[..., Pair]) -> None:
    near, far = streams(4096)
    refused = 0
    sent = b""
    receiving = gevent.spawn(lambda: read_exactly(near, 200_000))
    while len(sent) < 200_000:
        piece = bytes([len(sent) // 10_000]) * 10_000
        try:
            assert far.send(piece) == 10_000
            sent += piece
        except ssl.SSLWantWriteError:
            refused += 1
            gevent.sleep(0)
    assert refused
    assert receiving.get(timeout=5) == sent


def test_end_of_the_stream_is_told(streams: Callable[..., Pair]) -> None:
    near, far = streams()
    send_all(near, b"last")
    with pytest.raises(ssl.SSLWantReadError):
        near.unwrap()
    assert receive(far) == b"last"
    assert receive(far) == b""
    far.unwrap()
    assert receive(far) == b""


def test_end_without_close_notify_is_an_end_too(streams: Callable[..., Pair]) -> None:
    near, far = streams()
    truncate(near)
    assert receive(far) == b""


def test_both_sides_can_hang_up(streams: Callable[..., Pair]) -> None:
    near, far = streams()
    send_all(far, b"farewell")
    ending = gevent.spawn(hang_up, far)
    assert receive(near) == b"farewell"
    assert receive(near) == b""
    near.close()
    ending.get(timeout=5)
    assert far.fileno() == -1


def test_stream_knows_its_socket(streams: Callable[..., Pair]) -> None:
    near, far = streams()
    assert far.getsockname() == near.getpeername()
    assert far.getpeername() == near.getsockname()
    assert far.getpeercert() is None
    assert near.getpeercert(True) is not None
    with pytest.raises(ValueError, match="non-blocking"):
        far.settimeout(1)


def test_peers_certificate_can_be_read(
    sockets: Callable[..., Pair], mutual_server_context: Any, mutual_client_context: Any
) -> None:
    near, far = sockets()
    outer = gevent.spawn(start_tls, TLSOver(far), mutual_server_context, server_side=True)
    client = start_tls(near, mutual_client_context, server_hostname="localhost")
    server = outer.get(timeout=5)
    assert isinstance(server, TLSStream)
    assert dict(pair[0] for pair in server.getpeercert()["subject"])["commonName"] == "client"
    client.close()
    server.close()


class TLSOver:
    """A stream that is no socket."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


# The handshake


def test_certificate_that_is_not_trusted_is_told_to_both(sockets: Callable[..., Pair], server_context: Any) -> None:
    for wrap in (TLSOver, lambda sock: sock):
        near, far = sockets()
        failures: list[OSError] = []

        def serve(far: Any = far, failures: list[OSError] = failures) -> None:
            try:
                start_tls(far, server_context, server_side=True)
            except OSError as error:
                failures.append(error)

        serving = gevent.spawn(serve)
        with pytest.raises(ssl.SSLCertVerificationError):
            start_tls(wrap(near), gevent.ssl.create_default_context(), server_hostname="localhost")
        assert near.fileno() == -1
        serving.join(timeout=5)
        assert "ALERT" in str(failures[0]).upper()
        assert far.fileno() == -1


@pytest.mark.parametrize("wrap", [TLSOver, lambda sock: sock])
def test_peer_that_goes_is_an_oserror(sockets: Callable[..., Pair], client_context: Any, wrap: Any) -> None:
    near, far = sockets()
    far.close()
    with pytest.raises(OSError):
        start_tls(wrap(near), client_context, server_hostname="localhost")
    assert near.fileno() == -1


@pytest.mark.parametrize("wrap", [TLSOver, lambda sock: sock])
def test_kill_closes_the_stream(sockets: Callable[..., Pair], client_context: Any, wrap: Any) -> None:
    near, far = sockets()
    starting = gevent.spawn(start_tls, wrap(near), client_context, server_hostname="localhost")
    far.settimeout(5)
    assert far.recv(1)
    starting.kill()
    assert isinstance(starting.value, GreenletExit)
    while far.recv(1000):
        pass


def test_context_that_cannot_be_used_closes_the_stream(sockets: Callable[..., Pair], client_context: Any) -> None:
    near, _far = sockets()
    with pytest.raises(ValueError, match="server_hostname"):
        start_tls(near, client_context)
    assert near.fileno() == -1


def test_handshake_goes_on_where_the_peer_is_slow_to_read(
    sockets: Callable[..., Pair], client_context: Any, server_context: Any
) -> None:
    near, far = sockets(2048)
    set_buffers(far, 2048)
    filler = 0
    try:
        while True:
            filler += far.send(bytes(1000))
    except BlockingIOError:
        pass
    serving = gevent.spawn(start_tls, TLSOver(far), server_context, server_side=True)
    gevent.sleep(0)
    near.settimeout(5)
    while filler:
        filler -= len(near.recv(min(filler, 1000)))
    client = start_tls(near, client_context, server_hostname="localhost")
    server = serving.get(timeout=5)
    send_all(server, b"x")
    assert receive(client) == b"x"
    client.close()
    server.close()


# Contexts


@pytest.mark.parametrize("module", [ssl, gevent.ssl])
def test_contexts_of_both_kinds_are_taken(module: Any) -> None:
    context = module.SSLContext(module.PROTOCOL_TLS_CLIENT)
    assert checked_context(context) is context
    context = module.SSLContext(module.PROTOCOL_TLS_SERVER)
    assert checked_context(context, server_side=True) is context
    assert checked_context(None) is None


@pytest.mark.filterwarnings("ignore:ssl.PROTOCOL_TLS is deprecated")
def test_context_for_both_roles_is_taken_in_either() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS)
    assert checked_context(context) is context
    assert checked_context(context, server_side=True) is context
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = True  # there is no name that a client's certificate could have
    with pytest.raises(ValueError, match="client's"):
        checked_context(context, server_side=True)


def test_context_for_the_other_role_is_a_value_error(client_context: Any, server_context: Any) -> None:
    with pytest.raises(ValueError, match="ssl_context is a server's"):
        checked_context(server_context)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    with pytest.raises(ValueError, match="ssl_context is a client's"):
        checked_context(client_context, server_side=True)


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    """A folder with two certificates and their keys, and with what is neither."""
    for number in (1, 2):
        leaf = certificates.authority().issue_cert("localhost")
        leaf.private_key_pem.write_to_path(str(tmp_path / f"key{number}"))
        leaf.cert_chain_pems[0].write_to_path(str(tmp_path / f"chain{number}"))
        leaf.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / f"both{number}"))
    (tmp_path / "text").write_text("neither")
    (tmp_path / "damaged").write_text("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")
    return tmp_path


def test_key_may_be_in_the_file_of_the_certificate(pem: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_certificate(context, pem / "both1", None)
    load_certificate(context, str(pem / "chain2"), str(pem / "key2"))


@pytest.mark.parametrize(
    "certfile, keyfile, file, why",
    [
        ("none", None, "none", "No such file"),
        ("chain1", "none", "none", "No such file"),
        ("chain1", None, "chain1", "there is no private key in it"),
        ("chain1", "text", "text", "there is no private key in it"),
        ("key1", "key1", "key1", "there is no certificate in it"),
        ("text", "key1", "text", "there is no certificate in it"),
        ("chain1", "key2", "key2", "(?i)key values mismatch"),
        ("damaged", "key2", "damaged", "."),
    ],
)
def test_certificate_that_cannot_be_loaded_is_named(
    pem: Path, certfile: str, keyfile: str | None, file: str, why: str
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(OSError, match=why) as caught:
        load_certificate(context, pem / certfile, None if keyfile is None else pem / keyfile)
    assert str(pem / file) in str(caught.value)


@pytest.mark.parametrize("context", ["context", 1])
def test_what_is_no_context_is_a_type_error(context: Any) -> None:
    with pytest.raises(TypeError, match="ssl_context"):
        checked_context(context)


PATCHED = """
import ssl, sys, warnings
warnings.simplefilter("ignore")
server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server_context.load_cert_chain(sys.argv[1])
client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
client_context.load_verify_locations(sys.argv[2])
if sys.argv[3] == "late":
    import geventws
if sys.argv[3] != "never":
    from gevent import monkey
    monkey.patch_all()
from geventws import WebSocketServer, connect

def echo(ws):
    for message in ws:
        ws.send(message)

with WebSocketServer(("127.0.0.1", 0), echo, ssl_context=server_context) as server:
    server.start()
    with connect(f"wss://localhost:{server.address[1]}", ssl_context=client_context, proxy=None) as ws:
        ws.send("x")
        print(ws.recv())
"""


@pytest.mark.parametrize("patched", ["early", "late", "never"])
def test_contexts_made_before_monkey_patching_are_taken(tmp_path: Path, patched: str) -> None:
    certificate = certificates.authority().issue_cert("localhost")
    chain = tmp_path / "chain.pem"
    chain.write_bytes(
        certificate.private_key_pem.bytes() + b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
    )
    authority = tmp_path / "authority.pem"
    authority.write_bytes(certificates.authority().cert_pem.bytes())
    root = str(Path(__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, "-c", PATCHED, str(chain), str(authority), patched],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.stdout, done.stderr) == ("x\n", "")


def test_unix_sockets_can_have_tls(client_context: Any, server_context: Any) -> None:
    near, far = socket.socketpair()
    serving = gevent.spawn(start_tls, far, server_context, server_side=True)
    client = start_tls(near, client_context, server_hostname="localhost")
    server = serving.get(timeout=5)
    send_all(client, b"x")
    assert receive(server) == b"x"
    client.close()
    server.close()


def test_default_context_is_made_once_and_verifies() -> None:
    context = default_context()
    assert context is default_context()
    assert context.check_hostname


@pytest.mark.parametrize(
    "host, name",
    [("example.com", "example.com"), ("example.com.", "example.com"), ("::1", "::1"), ("fe80::1%lo", "fe80::1")],
)
def test_name_in_a_certificate_has_no_zone_and_no_dot_at_the_end(host: str, name: str) -> None:
    assert server_name(host) == name
