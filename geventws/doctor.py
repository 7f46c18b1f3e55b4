"""``geventws doctor``: what is wrong with an environment, and the remedy for each.

A check yields findings. One that is `WRONG` makes the difference between well and not well; a `HINT` tells of something
that works and could be better, or that is only wrong where it is not meant.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

from gevent import subprocess

from . import compression, kernels
from .acceleration import is_compiled, is_unwanted
from .client import connect
from .environment import environment_agent
from .exceptions import InvalidStatus, InvalidURL, ProxyError, WebSocketError
from .proxy import described
from .url import parse_url
from .version import __version__

OK, HINT, WRONG = "ok", "hint", "WRONG"

_OLDEST = {"gevent": (24, 2, 1), "greenlet": (3, 0, 3), "gunicorn": (23, 0)}
"""The oldest releases that the tests know; gunicorn is needed only by those who use it."""
_FEW_DESCRIPTORS = 10_000
_IMPORT_TIMEOUT = 60
_GEVENT_WORKERS = ("gunicorn.workers.ggevent.GeventWorker", "gunicorn.workers.gthread.ThreadWorker")
_CLOSING_WORKER = "geventws.integrations.gunicorn.Worker"
_PROXY = "have the reverse proxy pass on Upgrade and Connection over HTTP/1.1, as docs/deployment.md shows"
_BEHIND = ("the application behind it does not answer", "see whether it runs, and where the reverse proxy looks for it")
_ANSWERS = {
    200: ("an ordinary page: Upgrade was lost on the way, or there is no WebSocket at this path", _PROXY),
    400: (
        "a bad request: headers were lost on the way, or this is a Flask route without websocket=True",
        f"give the route websocket=True, or use geventws.integrations.flask; {_PROXY}",
    ),
    403: ("this origin or user is not let in", "see origins=, and have the reverse proxy pass on the Host header"),
    404: ("there is nothing at this path", "see the path, and the one that the reverse proxy passes on"),
    426: ("the application has got no Upgrade: something on the way has taken it out", _PROXY),
    429: (
        "too many connections from this address",
        "see max_connections_per_address; where all clients come by a proxy, name it in trusted_proxies",
    ),
    502: _BEHIND,
    503: ("no more connections are taken now", "see max_connections, and whether the server is about to end"),
    504: _BEHIND,
    505: ("the request came to the application over another protocol than HTTP/1.1", _PROXY),
}
"""What an answer to an opening handshake tells, by its status, and the remedy."""
_UNKNOWN_ANSWER = ("no WebSocket is opened", _PROXY)


class Finding(NamedTuple):
    """What a check has found; the remedy is empty where there is nothing to mend."""

    verdict: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.verdict:5}  {self.text}" + (f"\n       -> {self.remedy}" if self.remedy else "")


def examine(application: str | None = None, gunicorn: str | None = None, url: str | None = None) -> Iterator[Finding]:
    """Everything that is to be said about this environment.

    Args:
        application: ``module`` or ``module:name``; it is imported in a process of its own.
        gunicorn: the path of a gunicorn configuration, which is loaded in a process of its own.
        url: a WebSocket URL to connect to.
    """
    yield from check_versions()
    yield from check_compiled()
    yield from check_zlib()
    settings = None if gunicorn is None else _inspect("gunicorn", gunicorn)
    yield from check_descriptors(None if settings is None else settings.get("connections"))
    if settings is not None:
        yield from check_gunicorn(settings)
    if application is not None:
        yield from check_application(_inspect("application", application))
    yield from check_proxies(url)
    if url is not None:
        yield from check_url(url)


def check_versions() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding(OK, f"geventws {__version__}, Python {python}")
    for package, oldest in _OLDEST.items():
        try:
            found = version(package)
        except PackageNotFoundError:
            continue
        if tuple(map(int, re.findall(r"\d+", found)[:3])) < oldest:
            wanted = ".".join(map(str, oldest))
            yield Finding(WRONG, f"{package} {found} is too old", f"pip install '{package}>={wanted}'")
        else:
            yield Finding(OK, f"{package} {found}")


def check_compiled() -> Iterator[Finding]:
    if is_compiled(kernels.__file__):
        yield Finding(OK, "the compiled part runs")
    elif is_unwanted():
        name = "GEVENTWS_PURE_PYTHON" if os.environ.get("GEVENTWS_PURE_PYTHON") else "PURE_PYTHON"
        yield Finding(WRONG, "the compiled part does not run, which takes several times as long", f"unset {name}")
    else:
        remedy = "install a C compiler and Python's headers, then: pip install --force-reinstall --no-deps geventws"
        yield Finding(WRONG, "the compiled part is missing, without which all takes several times as long", remedy)


def check_zlib() -> Iterator[Finding]:
    if compression.fast is None:
        yield Finding(HINT, "compressed messages take zlib's time, three times that of ISA-L", "pip install isal")
    else:
        yield Finding(OK, "compressed messages are made by ISA-L")


def check_descriptors(connections: int | None = None) -> Iterator[Finding]:
    """Each connection is a descriptor; ``connections`` are those that a gunicorn worker takes."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    remedy = "raise it: LimitNOFILE= in a systemd unit, ulimit -n in a shell"
    if limit != resource.RLIM_INFINITY and connections is not None and limit <= connections:
        text = f"{limit} descriptors are allowed, and worker_connections is {connections}"
        yield Finding(WRONG, text, remedy)
    elif limit != resource.RLIM_INFINITY and limit < _FEW_DESCRIPTORS:
        yield Finding(HINT, f"a process may have {limit} descriptors, and so fewer connections", remedy)
    else:
        yield Finding(OK, "enough descriptors are allowed")


def check_gunicorn(settings: dict[str, Any]) -> Iterator[Finding]:
    """What `inspection` found in gunicorn's configuration."""
    if "error" in settings:
        text = f"gunicorn's configuration cannot be loaded: {settings['error']}"
        yield Finding(WRONG, text, "gunicorn --check-config tells more")
        return
    worker, bases = settings["worker"], settings["bases"]
    if not any(base in _GEVENT_WORKERS for base in bases):
        text = f"gunicorn's worker class is {worker}, which serves no WebSocket"
        yield Finding(WRONG, text, f'worker_class = "gevent", or "{_CLOSING_WORKER}"')
    elif _GEVENT_WORKERS[0] not in bases:
        text = "gunicorn's gthread workers have a thread for each WebSocket"
        yield Finding(HINT, text, 'worker_class = "gevent" has a greenlet')
    elif _CLOSING_WORKER not in bases and not settings["closes"]:
        text = "gunicorn's workers cut off their WebSockets when they end"
        yield Finding(HINT, text, f'worker_class = "{_CLOSING_WORKER}", or graceful_close() as post_worker_init')
    else:
        yield Finding(OK, f"gunicorn's worker class is {worker}")


def check_application(seen: dict[str, Any]) -> Iterator[Finding]:
    """What `inspection` found when it imported the application."""
    if "error" in seen:
        yield Finding(WRONG, f"the application cannot be imported: {seen['error']}", "name it as MODULE:APPLICATION")
        return
    remedy = "call gevent.monkey.patch_all() in the first line of the program, before anything else is imported"
    if seen["before"]:
        yield Finding(WRONG, f"gevent patches too late, after the import of {', '.join(seen['before'])}", remedy)
    if seen["unpatched"]:
        text = f"what these modules have imported by name was patched too late: {', '.join(seen['unpatched'])}"
        yield Finding(WRONG, text, remedy)
    for rule in seen["routes"]:
        text = f"Flask answers requests for a WebSocket at {rule} with 400"
        yield Finding(WRONG, text, "give the route websocket=True, or use geventws.integrations.flask")
    if not (seen["before"] or seen["unpatched"] or seen["routes"]):
        how = "patches in time" if seen["patched"] else "does not patch, which gunicorn's gevent worker does for it"
        yield Finding(OK, f"the application {how}")


def check_proxies(url: str | None = None) -> Iterator[Finding]:
    """The forward proxy that clients are told of by the environment, for the URL or for any other."""
    for place in [url] if url is not None else ["ws://example.com", "wss://example.com"]:
        try:
            agent = environment_agent(parse_url(place))
        except InvalidURL as error:
            yield Finding(WRONG, str(error), "mend that, or unset it")
            return
        if agent is not None:
            text = f"connections to {place} go through {described(agent)}"
            remedy = "where that is not meant: connect(proxy=None), or the host's name in NO_PROXY"
            yield Finding(HINT, text, remedy)


def check_url(url: str) -> Iterator[Finding]:
    """Open a connection, and tell what the answer means where there is another than 101."""
    try:
        with connect(url) as ws:
            taken = ws.ping().get(timeout=10)
        if taken is None:
            yield Finding(WRONG, f"{url} closed the connection at once", "see the server's log")
        else:
            yield Finding(OK, f"{url} is a WebSocket; a ping takes {taken * 1000:.1f} ms")
    except InvalidStatus as error:
        told, remedy = _ANSWERS.get(error.response.status, _UNKNOWN_ANSWER)
        text = f"{url} answered {error.response.status} {error.response.reason}: {told}"
        yield Finding(WRONG, text, remedy)
    except ProxyError as error:
        yield Finding(WRONG, f"{url}: {error}", "connect without this proxy: the host's name in NO_PROXY")
    except (WebSocketError, OSError, ValueError) as error:
        yield Finding(WRONG, f"{url}: {str(error) or type(error).__name__}", "see whether the server runs there")


def _inspect(what: str, name: str) -> dict[str, Any]:
    """What `inspection` tells, run in a process that has imported nothing yet."""
    program = Path(__file__).with_name("inspection.py").read_text(encoding="utf-8")
    with TemporaryFile() as results:
        command = [sys.executable, "-c", program, what, name, str(results.fileno())]
        nowhere = subprocess.DEVNULL
        process = subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, pass_fds=[results.fileno()])
        try:
            process.wait(timeout=_IMPORT_TIMEOUT)
        except subprocess.TimeoutExpired:
            return {"error": f"it takes more than {_IMPORT_TIMEOUT} s"}
        finally:
            process.kill()
            process.wait()
        results.seek(0)
        answer = results.read()
    found: dict[str, Any] = json.loads(answer) if answer else {"error": f"it ended with status {process.returncode}"}
    return found
