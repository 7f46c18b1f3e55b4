"""The command line: ``geventws`` with ``demo``, ``serve``, ``connect`` or ``doctor``; also ``python -m geventws``."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import gevent
from gevent import socket, ssl
from gevent.event import Event

from . import demo, doctor, handlers
from .client import connect
from .console import Console, one_line
from .exceptions import HandshakeError, ProxyError, WebSocketError
from .server import WebSocketServer
from .url import parse_url
from .version import __version__
from .websocket import WebSocket

_GUNICORN_CONFIGURATION = "gunicorn.conf.py"
"""Where gunicorn looks for its configuration by itself."""


class Failure(Exception):
    """Ends the program with status 1 and one line of text."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns the exit status: 0, or 1 after an error that one line on standard error explains. Ctrl-C is a SystemExit
    with status 130, unless the command stops a server for it.
    """
    options = _parser().parse_args(arguments)
    with _quiet_interrupt():
        try:
            status: int = options.run(options)
            return status
        except BrokenPipeError:
            # Nobody reads on, as with `| head`. The interpreter flushes standard output once more when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except (Failure, WebSocketError, OSError) as error:
            print(f"geventws: {one_line(str(error))}", file=sys.stderr)
            return 1


@contextmanager
def _quiet_interrupt() -> Iterator[None]:
    """Make Ctrl-C a SystemExit, which gevent's hub hands to the main greenlet without printing a traceback."""
    before = signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def run_demo(options: argparse.Namespace) -> int:
    server = demo.server(options.host, options.port)
    return _serve(server, lambda: f"the demo is at http://{_place(options.host, server.address)} (Ctrl-C ends it)")


def run_serve(options: argparse.Namespace) -> int:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")

    def send_to_all(ws: WebSocket) -> None:
        for message in ws:
            server.broadcast(message)

    handler = _imported(options.handler) if options.handler else send_to_all if options.broadcast else handlers.echo
    try:
        server = WebSocketServer(
            options.listen or (options.host, options.port),
            handler,
            reuse_port=options.reuse_port,
            proxy_protocol=options.proxy_protocol,
            certfile=options.certfile,
            keyfile=options.keyfile,
            path=options.path,
            origins="*" if "*" in options.origin else options.origin or "same",
            subprotocols=options.subprotocol,
            compression=options.compression,
            max_size=options.max_size,
            max_connections=options.max_connections,
            max_connections_per_address=options.max_connections_per_address,
            trusted_proxies=_trusted(options.trusted_proxy),
        )
    except OSError as error:
        raise Failure(f"cannot use {_told(error)}") from error
    except ValueError as error:
        raise Failure(str(error)) from error
    return _serve(server, lambda: f"listening on {_url(server, options)}")


def run_connect(options: argparse.Namespace) -> int:
    context = _client_context(options)
    try:
        if context is not None and not parse_url(options.url).secure:
            raise Failure("cannot connect: --cafile and --insecure are for wss URLs")
        ws = connect(
            options.url,
            headers=options.header,
            subprotocols=options.subprotocol,
            origin=options.origin,
            proxy=options.proxy,
            ssl_context=context,
            compression=options.compression,
            max_size=options.max_size,
            open_timeout=options.timeout,
        )
    except ProxyError as error:
        hint = "; --no-proxy connects without it" if options.proxy is True else ""
        raise Failure(f"cannot connect: {error}{hint}") from error
    except (HandshakeError, OSError, ValueError) as error:
        raise Failure(f"cannot connect: {_told(error)}") from error
    try:
        problem = Console(ws, options.wait).run()
    except BrokenPipeError:
        ws.terminate()  # nobody wants the messages that may still come before the server's close frame
        raise
    finally:
        ws.close()
    if problem:
        raise Failure(problem)
    return 0


def run_doctor(options: argparse.Namespace) -> int:
    gunicorn = options.gunicorn
    if gunicorn is None and os.path.exists(_GUNICORN_CONFIGURATION):
        gunicorn = _GUNICORN_CONFIGURATION
    well = True
    for finding in doctor.examine(options.application, gunicorn, options.url):
        print(finding, flush=True)
        well = well and finding.verdict != doctor.WRONG
    return 0 if well else 1


def _serve(server: WebSocketServer, line: Callable[[], str]) -> int:
    """Start the server, say so in one line, and serve until a signal ends it."""
    try:
        server.start()
    except OSError as error:
        raise Failure(f"cannot listen: {_told(error)}") from error
    asked_to_stop = Event()
    watchers = [gevent.signal_handler(number, asked_to_stop.set) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        print(line(), flush=True)
        asked_to_stop.wait()
    finally:
        for watcher in watchers:
            watcher.cancel()  # a second Ctrl-C ends the process at once
        server.stop()
    return 0


def _imported(name: str) -> Callable[[WebSocket], Any]:
    """The object that ``package.module:attribute.attribute`` names, looked for in the working directory first."""
    module, colon, path = name.partition(":")
    if not (module and colon and path):
        raise Failure(f"a handler is named MODULE:HANDLER, not {name!r}")
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise Failure(str(error)) from error
    for attribute in path.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            raise Failure(str(error)) from error
    if not callable(found):
        raise Failure(f"{name} is not callable")
    handler: Callable[[WebSocket], Any] = found
    return handler


def _client_context(options: argparse.Namespace) -> ssl.SSLContext | None:
    """None for the default."""
    if not (options.insecure or options.cafile):
        return None
    try:
        context = ssl.create_default_context(cafile=options.cafile)
    except OSError as error:
        raise Failure(f"cannot use {options.cafile}: {_told(error)}") from error
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _told(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


def _place(host: str, address: Any) -> str:
    port = address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _url(server: WebSocketServer, options: argparse.Namespace) -> str:
    scheme = "wss" if server.ssl_enabled else "ws"
    path = options.path or "/"
    if server.family == socket.AF_UNIX:
        return f"{scheme}+unix:{server.address}:{path}"
    return f"{scheme}://{_place(server.address[0] if options.listen else options.host, server.address)}{path}"


def _trusted(words: list[str]) -> int | list[str] | None:
    """None for no word, the number where it is one, or else the list."""
    return int(words[0]) if len(words) == 1 and words[0].isdecimal() else words or None


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"a header is given as NAME:VALUE, not {text!r}")
    return name.strip(), value.strip()


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"not a number of seconds: {text!r}")
    return seconds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="geventws", description="WebSockets for gevent.")
    parser.add_argument("--version", action="version", version=f"geventws {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_demo(commands.add_parser("demo", help="a page in the browser: chat, live latency and throughput"))
    _add_serve(commands.add_parser("serve", help="a WebSocket server for a handler of yours, or one of these"))
    _add_connect(commands.add_parser("connect", help="talk to a WebSocket server, by hand or from a pipe"))
    _add_doctor(commands.add_parser("doctor", help="what is wrong with this environment, and how to mend it"))
    return parser


def _add_listener(command: argparse.ArgumentParser, port: int) -> None:
    command.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    command.add_argument("--port", default=port, type=_port, help="0 takes any free one (default: %(default)s)")


def _add_demo(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=run_demo)
    _add_listener(command, 8765)


def _add_serve(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=run_serve)
    handler = command.add_mutually_exclusive_group()
    handler.add_argument("--echo", action="store_true", help="send each message back (the default)")
    handler.add_argument("--broadcast", action="store_true", help="send each message to every client")
    handler.add_argument("handler", nargs="?", metavar="MODULE:HANDLER", help="call HANDLER(ws) for each connection")
    _add_listener(command, 8000)
    command.add_argument(
        "--listen",
        metavar="WHERE",
        help="in place of host and port: unix:PATH, fd://N (a descriptor), systemd or systemd:NAME (socket activation)",
    )
    command.add_argument("--reuse-port", action="store_true", help="let other processes listen at the same port too")
    command.add_argument("--path", help="refuse requests for any other path")
    command.add_argument("--subprotocol", action="append", default=[], metavar="S", help="may be given several times")
    command.add_argument("--compression", action="store_true", help="accept permessage-deflate")
    command.add_argument("--max-size", type=int, default=2**20, metavar="N", help="of a message (default: %(default)s)")
    command.add_argument("--max-connections", type=int, metavar="N", help="refuse more (default: no limit)")
    command.add_argument(
        "--max-connections-per-address", type=int, metavar="N", help="the same for each client (default: no limit)"
    )
    command.add_argument(
        "--trusted-proxy",
        action="append",
        default=[],
        metavar="P",
        help="whose word on a client's address counts: an address or a network, unix, or how many proxies there are in"
        " a row; may be given several times",
    )
    command.add_argument(
        "--proxy-protocol", action="store_true", help="each connection begins with a PROXY header of a trusted proxy"
    )
    command.add_argument("--certfile", metavar="FILE", help="serve TLS with this certificate chain (PEM)")
    command.add_argument("--keyfile", metavar="FILE", help="its private key, where the chain does not hold it")
    command.add_argument(
        "--origin",
        action="append",
        default=[],
        metavar="O",
        help="let pages of this origin in, * for any; may be given several times (default: only the server's own)",
    )


def _add_connect(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=run_connect)
    command.add_argument("url", metavar="URL", help="ws://..., wss://... or ws+unix:/path/to/socket:/target")
    command.add_argument(
        "-H", "--header", action="append", default=[], type=_header, metavar="K:V", help="may be given several times"
    )
    command.add_argument("--subprotocol", action="append", default=[], metavar="S", help="may be given several times")
    command.add_argument("--origin", metavar="O", help="the Origin header")
    proxy = command.add_mutually_exclusive_group()
    proxy.add_argument(
        "--proxy",
        default=True,
        metavar="URL",
        help="http, https, socks5h, socks5, socks4a or socks4://[user:password@]host[:port] (default: the environment)",
    )
    proxy.add_argument(
        "--no-proxy", dest="proxy", action="store_const", const=None, help="whatever the environment says"
    )
    command.add_argument("--cafile", metavar="FILE", help="trust the authorities in this file (PEM)")
    command.add_argument("--insecure", action="store_true", help="accept any certificate")
    command.add_argument("--no-compression", dest="compression", action="store_false", help="do not offer it")
    command.add_argument("--max-size", type=int, default=2**20, metavar="N", help="of a message (default: %(default)s)")
    command.add_argument(
        "--timeout", type=_seconds, default=10, metavar="SECONDS", help="to open the connection (default: %(default)s)"
    )
    command.add_argument(
        "--wait",
        type=_seconds,
        metavar="SECONDS",
        help="after the end of the input, close when nothing has come for so long (default: 1, at a terminal 0)",
    )


def _add_doctor(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=run_doctor)
    command.add_argument("application", nargs="?", metavar="MODULE:APPLICATION", help="import it and look at it too")
    command.add_argument(
        "--gunicorn",
        metavar="FILE",
        help=f"gunicorn's configuration (default: {_GUNICORN_CONFIGURATION}, where that exists)",
    )
    command.add_argument("--url", metavar="URL", help="connect to a WebSocket, and say what an answer means")


if __name__ == "__main__":
    sys.exit(main())
