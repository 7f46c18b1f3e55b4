"""One application for each framework, below its name; the same ones within a WebSocketMiddleware below /within."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from importlib import import_module
from typing import Any
from wsgiref.util import shift_path_info

from geventws.wsgi import WebSocketMiddleware

logging.basicConfig(format="%(levelname)s: %(message)s")

NAMES = ("flask", "django", "bottle", "falcon", "pyramid")
_applications = {name: import_module(f"{name}_application").application for name in NAMES}
_within = {name: WebSocketMiddleware(application) for name, application in _applications.items()}


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    name = shift_path_info(environ)
    if name == "within":
        found: Any = _within[str(shift_path_info(environ))]
    elif name in _applications:
        found = _applications[name]
    else:
        start_response("200 OK", [("Content-Length", "0")])
        return []
    return found(environ, start_response)  # type: ignore[no-any-return]
