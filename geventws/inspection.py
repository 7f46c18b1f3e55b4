"""What `doctor` looks at in a process of its own, which has imported nothing yet; prints it as JSON.

This file is not imported: its text is run by ``python -c`` with the arguments application or "gunicorn", and the name.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
from typing import Any

_SIMPLE_WEBSOCKET = ("simple_websocket.ws", "geventws.integrations.simple_websocket.ws")


def application(name: str) -> dict[str, Any]:
    """Import an application (``module`` or ``module:name``) and see whether it patches, when, and its Flask routes."""
    import gevent.events
    import gevent.monkey

    before: list[list[str]] = []

    def note(event: Any) -> None:
        if isinstance(event, gevent.events.GeventWillPatchAllEvent) and not before:
            before.append([module for module in ("ssl",) if module in sys.modules])

    gevent.events.subscribers.append(note)
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for attribute in (path or "application").split("."):
        found = getattr(found, attribute, None)
        if found is None and path:
            raise AttributeError(f"{module} has no {path}")
    patched = gevent.monkey.is_module_patched("socket")
    return {
        "patched": patched,
        "before": before[0] if before else [],
        "unpatched": _holders() if patched else [],
        "routes": _routes(found),
    }


def _holders() -> list[str]:
    """The modules that have imported by name what was patched afterwards: theirs blocks the whole process."""
    import gevent.monkey

    saved: dict[str, dict[str, Any]] = vars(gevent.monkey)["saved"]
    originals = {
        id(value): f"{name}.{item}"
        for name in ("socket", "time", "select", "ssl")
        for item, value in saved.get(name, {}).items()
        if callable(value)
    }
    found = []
    for name, module in list(sys.modules.items()):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in ("gevent", "greenlet", "geventws"):
            continue
        for value in list(getattr(module, "__dict__", {}).values()):
            if id(value) in originals:
                found.append(f"{name} ({originals[id(value)]})")
                break
    return sorted(found)


def _routes(app: Any) -> list[str]:
    """The rules of a Flask application whose view makes a WebSocket, and that have no ``websocket=True``."""
    flask = sys.modules.get("flask")
    if flask is None or not isinstance(app, flask.Flask):
        return []
    rules = list(app.url_map.iter_rules())
    right = {rule.endpoint for rule in rules if rule.websocket}  # their views may serve pages as well
    return [
        rule.rule
        for rule in rules
        if rule.endpoint not in right and _opens_websocket(app.view_functions[rule.endpoint])
    ]


def _opens_websocket(view: Any) -> bool:
    view = inspect.unwrap(view)
    code = getattr(view, "__code__", None)
    names = getattr(code, "co_names", ())
    known = [getattr(view, "__globals__", {}).get(name) for name in names]
    if any(isinstance(value, type) and value.__module__ in _SIMPLE_WEBSOCKET for value in known):
        return True
    if "wsgi.websocket" in getattr(code, "co_consts", ()):  # where gevent-websocket has it
        return True
    wsgi = sys.modules.get("geventws.wsgi")
    if wsgi is None:
        return False
    if any(value is wsgi.upgrade or isinstance(value, wsgi.WebSocketApp) for value in known):
        return True
    return "upgrade" in names and any(value is wsgi or value is sys.modules["geventws"] for value in known)


def gunicorn(name: str) -> dict[str, Any]:
    """The settings that matter of a gunicorn configuration, and what its worker class is made from."""
    from gunicorn.app.base import Application

    class Settings(Application):
        def load_config(self) -> None:
            self.load_config_from_file(os.path.abspath(name))

    cfg = Settings().cfg
    worker = cfg.worker_class
    return {
        "worker": f"{worker.__module__}.{worker.__qualname__}",
        "bases": [f"{base.__module__}.{base.__qualname__}" for base in worker.__mro__],
        "connections": cfg.worker_connections,
        "closes": "geventws" in (getattr(cfg.post_worker_init, "__module__", None) or ""),
    }


if __name__ == "__main__":
    looks = {"application": application, "gunicorn": gunicorn}
    try:
        result = looks[sys.argv[1]](sys.argv[2])
    except (Exception, SystemExit) as error:  # noqa: BLE001 - what the program that is looked at raises is the result
        result = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.flush()
    os.write(int(sys.argv[3]), json.dumps(result).encode())
