"""Switching between greenlets. switching.pyx does the same in C, through greenlet's own interface for it."""

from __future__ import annotations

from greenlet import getcurrent as getcurrent
from greenlet import greenlet

switch = greenlet.switch
"""Switch to a greenlet, whatever its class makes of the method of that name."""
