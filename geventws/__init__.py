"""WebSocket client and server for gevent (RFC 6455, RFC 7692)."""

from __future__ import annotations
