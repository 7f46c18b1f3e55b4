"""Runs an example as it stands, on a drop-in. Usage: run_documented.py DROP_IN patched|unpatched FILE.

A server listens on a free port of 127.0.0.1 in place of its own, and its URL is printed, and its log to the same
place. An application of Flask that starts no server is served by Flask's own.
"""

from __future__ import annotations

import os
import runpy
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

drop_in, patched, file = sys.argv[1:]
if patched == "patched":
    from gevent import monkey

    monkey.patch_all()
import_module(f"geventws.integrations.{drop_in}").install()

from gevent.pywsgi import WSGIServer  # noqa: E402
from werkzeug import serving  # noqa: E402

make_listener, serve, make_server = WSGIServer.__init__, WSGIServer.serve_forever, serving.make_server


def listen(self: WSGIServer, listener: object, *arguments: Any, **options: Any) -> None:
    make_listener(self, ("127.0.0.1", 0), *arguments, **options)


def tell_and_serve(self: WSGIServer, *arguments: Any, **options: Any) -> None:
    self.start()
    print(f"http://127.0.0.1:{self.server_port}", flush=True)
    serve(self, *arguments, **options)


def tell_and_make(host: str, port: int, *arguments: Any, **options: Any) -> Any:
    server = make_server("127.0.0.1", 0, *arguments, **options)
    print(f"http://127.0.0.1:{server.port}", flush=True)
    return server


WSGIServer.__init__ = listen
WSGIServer.serve_forever = tell_and_serve
serving.make_server = tell_and_make

sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
sys.stderr = sys.stdout
os.chdir(Path(file).parent)
sys.path.insert(0, os.getcwd())
names = runpy.run_path(file, run_name="__main__")
if "app" in names:
    names["app"].run()
