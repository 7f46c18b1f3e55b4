"""Runs pytest in a patched process. Usage: patched.py early|late [pytest's arguments].

Early is before anything else is imported; late is after geventws, pytest and all that these import.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module

from gevent import monkey

when, *arguments = sys.argv[1:]
if when == "late":
    for name in ("geventws", "pytest"):
        import_module(name)
    warnings.simplefilter("ignore", monkey.MonkeyPatchWarning)  # ssl, which geventws imports, should have been patched
monkey.patch_all()
raise SystemExit(import_module("pytest").main(arguments))
