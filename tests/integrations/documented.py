"""The examples in the documentation of gevent-websocket, simple-websocket and flask-sock, run on the drop-ins.

They are not part of this tree. ``.ci/run`` fetches the source distributions, which have the documentation::

    pip download --no-deps --no-binary :all: --dest build/documented gevent-websocket==0.10.1 simple-websocket==1.1.0

The folders of examples are in the repositories alone (github.com/jgelens/gevent-websocket and
github.com/miguelgrinberg/simple-websocket, flask-sock): where these have been cloned into build/documented, they are
run as well.
"""

from __future__ import annotations

import re
import signal
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from textwrap import dedent

import pytest
from programs import Program

from geventws import WebSocket, connect

FOLDER = Path(__file__).parents[2] / "build" / "documented"
CLONES = [FOLDER / name for name in ("gevent-websocket", "simple-websocket", "flask-sock")]
_RUN = str(Path(__file__).with_name("run_documented.py"))
_SWITCHED = r' HTTP/1.1(\x1b\[0m)?" 101'  # Werkzeug writes in colours
_QUIET = ("-W", "ignore")  # what the libraries warn of


def code_of(distribution: str, page: str) -> list[str]:
    """The blocks of code on a page of a source distribution that begin with an import."""
    archive = FOLDER / f"{distribution}.tar.gz"
    if not archive.exists():
        pytest.skip(f"needs {archive.name} in build/documented")
    with tarfile.open(archive) as files:
        file = files.extractfile(f"{distribution}/{page}")
        assert file is not None
        found = re.findall(r"::\n\n((?: {4}.*\n|\n)+)", file.read().decode())
    return [code for code in map(dedent, found) if re.match(r"(from|import) ", code)]


@contextmanager
def served(drop_in: str, file: Path, patched: bool = True) -> Iterator[str]:
    """The URL of the server that a file starts. It logs the 101 of a WebSocket, and no traceback."""
    words = [_RUN, drop_in, "patched" if patched else "unpatched", str(file)]
    with Program(*_QUIET, *words) as server:
        lines = iter(server.line, "")
        yield next(line for line in lines if line.startswith("http://"))
        log = list(takewhile(lambda line: not re.search(_SWITCHED, line), lines))
        server.signal(signal.SIGTERM)
        _, output, errors = server.finish()
    assert "Traceback" not in "\n".join([*log, output, errors])


def typed_into(file: Path, url: str, folder: Path, lines: bytes) -> str:
    """What a client prints that reads lines; it finds its server at the URL."""
    copy = folder / "client.py"
    copy.write_text(file.read_text().replace("localhost:5000", url.removeprefix("http://")))
    with Program(*_QUIET, _RUN, "simple_websocket", "unpatched", str(copy)) as client:
        status, output, errors = client.finish(lines)
    assert (status, errors) == (0, "")
    return output


def talk(url: str, path: str) -> WebSocket:
    """A WebSocket that has echoed."""
    ws = connect(url.replace("http", "ws") + path)
    ws.send("hello")
    assert ws.recv(timeout=5) == "hello"
    return ws
