"""What some tests cannot be run under."""

from __future__ import annotations

import gevent
import pytest
from gevent import monkey

threads = pytest.mark.skipif(
    monkey.is_module_patched("threading"), reason="in a patched process what threading starts is a greenlet"
)


def is_libuv() -> bool:
    return "libuv" in type(gevent.get_hub().loop).__module__
