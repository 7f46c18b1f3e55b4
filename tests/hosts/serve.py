"""Serves a module's application with a host that has no command line of its own, on a listening socket it inherits.

Usage: serve.py HOST patched|unpatched MODULE DESCRIPTOR [CERTIFICATE KEY]. SIGINT stops gevent.pywsgi's server.
"""

from __future__ import annotations

import signal
import sys
from importlib import import_module

import gevent


def main(host: str, patched: str, module: str, descriptor: str, *tls: str) -> None:
    if patched == "patched":
        from gevent import monkey

        monkey.patch_all()
    application = import_module(module).application

    if host == "pywsgi":
        from gevent import socket
        from gevent.pywsgi import WSGIServer

        from geventws.wsgi import close_on_stop

        options = {"certfile": tls[0], "keyfile": tls[1]} if tls else {}
        server = WSGIServer(socket.socket(fileno=int(descriptor)), application, **options)
        close_on_stop(server, 1012, over=2, timeout=5)
        gevent.signal_handler(signal.SIGINT, server.stop)
        server.serve_forever()
    elif host == "waitress":
        from socket import socket

        from waitress import serve

        serve(application, sockets=[socket(fileno=int(descriptor))])
    elif host == "a2wsgi":
        import uvicorn
        from a2wsgi import WSGIMiddleware

        uvicorn.run(WSGIMiddleware(application), fd=int(descriptor), ws="none")
    else:
        from werkzeug.serving import make_server

        options = {"ssl_context": tls} if tls else {}
        make_server("127.0.0.1", 0, application, threaded=True, fd=int(descriptor), **options).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
