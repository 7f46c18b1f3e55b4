"""What some tests cannot be run under."""

from __future__ import annotations

import gevent
import pytest
from gevent import monkey

threads = pytest.mark.skipif(
    monkey.is_module_patched("threading"), reason="in a patched process what threading starts is a greenlet"
)
blocking_sockets = pytest.mark.skipif(
    monkey.is_module_patched("socket"), reason="in a patched process all sockets are gevent's"
)


def is_libuv() -> bool:
    return "libuv" in type(gevent.get_hub().loop).__module__
