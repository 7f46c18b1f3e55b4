"""Switching between greenlets, and which thread runs. switching.pyx has the same in C, through greenlet's interface."""

from __future__ import annotations

from gevent.monkey import get_original
from greenlet import getcurrent as getcurrent
from greenlet import greenlet

switch = greenlet.switch
"""Switch to a greenlet, whatever its class makes of the method of that name."""

thread_id = get_original("_thread", "get_ident")
"""The number of the calling thread of the operating system, also in a patched process; never 0."""
