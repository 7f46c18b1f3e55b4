"""The version of the library, and nothing else: the build reads it from here without importing anything."""

from __future__ import annotations

__version__ = "0.1.0"
