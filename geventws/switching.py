"""Switching between greenlets. switching.pyx does the same in C, through greenlet's own interface for it."""

from __future__ import annotations

from typing import Any

from greenlet import getcurrent as getcurrent


def switch(target: Any) -> object:
    """Switch to another greenlet, as its method of that name does."""
    return target.switch()
