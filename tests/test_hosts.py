from __future__ import annotations

import io
import select
import socket as std_socket
import ssl as std_ssl
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent import socket
from tools import circumstances
from tools.certificates import authority
from tools.links import read_tickets, tcp_pair

from geventws.exceptions import InvalidState
from geventws.hosts import HostConnection
from geventws.opening import receive, send_all

Link = tuple[Any, Any]


@pytest.fixture
def taken(link: Link) -> Any:
    """Client's socket, the server's socket object from which the connection was taken, and the connection."""
    client, server = link
    with server.makefile("rb") as file:
        connection, early = HostConnection({"wsgi.input": file}).take()
    assert early == b""
    connection.settimeout(0)
    yield client, server, connection
    connection.close()


def gunicorn(sock: Any, data: bytes = b"", **unreader: Any) -> dict[str, Any]:
    buffer = io.BytesIO(data)
    reader = SimpleNamespace(unreader=SimpleNamespace(buf=buffer, **unreader))
    return {"gunicorn.socket": sock, "wsgi.input": SimpleNamespace(reader=reader), "wsgi.multithread": True}


def read(connection: Any, size: int = 100) -> bytes:
    """Wait for bytes, as a transport reads them."""
    buffer = bytearray(size)
    while True:
        try:
            return bytes(buffer[: connection.recv_into(memoryview(buffer))])
        except (BlockingIOError, std_ssl.SSLWantReadError):
            socket.wait_read(connection.fileno(), timeout=5)


def test_connection_goes_on(taken: Any) -> None:
    client, _, connection = taken
    client.sendall(b"from the client")
    assert read(connection) == b"from the client"
    send_all(connection, b"from the server")
    assert receive(client) == b"from the server"


def test_what_the_server_does_afterwards_reaches_nobody(taken: Any) -> None:
    client, server, connection = taken
    client.sendall(b"for the WebSocket")
    server.settimeout(None)
    server.sendall(b"HTTP/1.1 500 Internal Server Error\r\n\r\n")
    assert server.send(b"x") == 1
    assert server.recv(100) == b""
    server.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    assert read(connection) == b"for the WebSocket"
    send_all(connection, b"frames")
    assert receive(client) == b"frames"


def test_closing_the_connection_ends_it(taken: Any) -> None:
    client, _, connection = taken
    connection.close()
    assert receive(client) == b""
    assert connection.fileno() == -1


def test_end_of_the_stream_is_read(taken: Any) -> None:
    client, _, connection = taken
    read_tickets(client)
    client.close()
    assert read(connection) == b""


def test_addresses_are_those_of_the_connection(taken: Any) -> None:
    client, _, connection = taken
    assert connection.getpeername() == client.getsockname()
    assert connection.getsockname() == client.getpeername()


def test_frames_are_not_delayed_by_the_kernel(taken: Any, transport: str) -> None:
    _, _, connection = taken
    if transport == "tcp":
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("wrap", [lambda file: file, lambda file: SimpleNamespace(rfile=file)])
def test_what_pywsgi_has_read_behind_the_request_is_kept(link: Link, wrap: Callable[[Any], Any]) -> None:
    client, server = link
    with server.makefile("rb") as file:
        client.sendall(b"request\nearly")
        assert file.readline() == b"request\n"
        connection, early = HostConnection({"wsgi.input": wrap(file)}).take()
        assert early == b"early"
        client.sendall(b" late")
        connection.settimeout(0)
        assert read(connection) == b" late"
        assert file.read() == b""
        connection.close()


def test_the_buffer_of_pywsgis_file_is_not_held_and_the_file_has_ended(link: Link) -> None:
    client, server = link
    read_tickets(client)
    file = server.makefile("rb")
    client.sendall(b"the request\nearly")
    assert file.readline() == b"the request\n"
    assert file.__sizeof__() > 8000
    connection, early = HostConnection({"wsgi.input": file}).take()
    assert early == b"early"
    assert file.__sizeof__() < 1000
    assert file.read(10) == b""
    connection.close()


@pytest.mark.parametrize("method", [{}, {"take_buffered": lambda: b"early"}])
def test_what_gunicorn_has_read_behind_the_request_is_kept(link: Link, method: dict[str, Any]) -> None:
    _, server = link
    connection, early = HostConnection(gunicorn(server, b"early", **method)).take()
    assert early == b"early"
    connection.close()


def test_werkzeug_gets_a_descriptor_that_has_ended(link: Link) -> None:
    client, server = link
    with server.makefile("rb") as file:
        client.sendall(b"request\nearly")
        file.readline()
        environ = {"werkzeug.socket": server, "wsgi.input": file}
        connection, early = HostConnection(environ).take()
        assert early == b"early"
        assert select.select([server], [], [], 0)[0] == [server]
        server.settimeout(None)
        assert file.read() == b""
        with pytest.raises(BrokenPipeError):
            server.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        connection.close()


def thread_pair(tls: bool, client_context: Any) -> Link:
    """A client's socket, and a server's of the standard library's, as threads use them."""
    client, server = tcp_pair()
    server = std_socket.socket(fileno=server.detach())
    if not tls:
        return client, server
    context = std_ssl.SSLContext(std_ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert("localhost").configure_cert(context)
    pool = gevent.get_hub().threadpool
    accepting = pool.spawn(context.wrap_socket, server, server_side=True)
    client = client_context.wrap_socket(client, server_hostname="localhost")
    return client, accepting.get()


@circumstances.blocking_sockets
@pytest.mark.parametrize("tls", [False, True])
def test_standard_sockets_are_taken_from_gunicorn(tls: bool, client_context: Any) -> None:
    client, server = thread_pair(tls, client_context)
    connection, early = HostConnection(gunicorn(server, b"early")).take()
    connection.settimeout(0)
    assert early == b"early"
    with pytest.raises(BrokenPipeError):
        server.sendall(b"HTTP/1.1 500 Internal Server Error\r\n\r\n")
    assert server.recv(100) == b""
    client.sendall(b"for the WebSocket")
    assert read(connection) == b"for the WebSocket"
    send_all(connection, b"frames")
    assert receive(client) == b"frames"
    connection.close()
    server.close()
    client.close()


@pytest.mark.parametrize(
    "environ, name",
    [
        ({"SERVER_SOFTWARE": "waitress"}, "waitress"),
        ({"SERVER_SOFTWARE": "WSGIServer/0.2"}, "WSGIServer/0.2"),
        ({"asgi.scope": {}}, "a gateway from WSGI to ASGI"),
        ({"uwsgi.version": b"2"}, "uWSGI"),
        ({"mod_wsgi.version": (5,), "SERVER_SOFTWARE": "Apache"}, "mod_wsgi"),
        ({"eventlet.input": None}, "eventlet"),
        ({}, "this WSGI server"),
    ],
)
def test_server_without_a_connection_is_named_with_the_remedy(environ: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidState, match=rf"{name} does not show .*gevent\.pywsgi"):
        HostConnection({"wsgi.input": io.BytesIO(), **environ})


@circumstances.blocking_sockets
def test_blocking_socket_of_another_server_is_not_taken() -> None:
    client, server = std_socket.socketpair()
    with client, server, server.makefile("rb") as file:
        with pytest.raises(InvalidState, match="WSGIServer"):
            HostConnection({"wsgi.input": file, "SERVER_SOFTWARE": "WSGIServer/0.2"})
        with pytest.raises(InvalidState, match="patch_all"):
            HostConnection({"wsgi.input": file, "werkzeug.socket": server})


def test_gunicorn_that_cannot_serve_it_is_told_so(link: Link) -> None:
    _, server = link
    with pytest.raises(InvalidState, match=r"sync worker .* -k gevent"):
        HostConnection(gunicorn(server) | {"wsgi.multithread": False})
    with pytest.raises(InvalidState, match=r"wsgi\.input has been replaced"):
        HostConnection(gunicorn(server) | {"wsgi.input": io.BytesIO()})


def test_gunicorn_with_a_body_in_chunks_is_left_to_the_opening_handshake(link: Link) -> None:
    _, server = link
    body = SimpleNamespace(reader=SimpleNamespace())
    assert HostConnection(gunicorn(server) | {"wsgi.input": body, "HTTP_TRANSFER_ENCODING": "chunked"}).sock is server
