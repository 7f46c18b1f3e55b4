"""TLS contexts for tests, of gevent's flavour, with certificates that live as long as the process."""

from __future__ import annotations

from functools import cache

import trustme
from gevent import ssl


@cache
def authority() -> trustme.CA:
    return trustme.CA()


def server_context() -> ssl.SSLContext:
    """A server's context with a certificate for localhost, 127.0.0.1 and ::1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert("localhost", "127.0.0.1", "::1").configure_cert(context)
    return context


def client_context() -> ssl.SSLContext:
    """A client's context that trusts nothing but `server_context`'s certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    return context


def mutual_server_context() -> ssl.SSLContext:
    """As `server_context`, but the client must show a certificate too."""
    context = server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    authority().configure_trust(context)
    return context


def mutual_client_context() -> ssl.SSLContext:
    """As `client_context`, with a certificate for the client."""
    context = client_context()
    authority().issue_cert("client@example.com", common_name="client").configure_cert(context)
    return context
