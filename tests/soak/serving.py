"""The server of a long run, in a process of its own, which is told what to do on its standard input.

    python tests/soak/serving.py own|wsgi [--compression]

It prints its port, and then a line of JSON for each line that it reads: "look" asks what the process holds, "ping 60"
has it ping connections drawn by lot for 60 seconds and tell how long the answers took. SIGTERM stops it.
"""

from __future__ import annotations

import json
import logging
import random
import signal
import sys
import time
from subprocess import PIPE, Popen
from typing import Any

import gevent
from gevent.fileobject import FileObject
from gevent.pywsgi import WSGIServer
from holding import holding, raise_limit

from geventws import WebSocketApp, WebSocketServer
from geventws.wsgi import close_on_stop

PINGED_AT_ONCE = 20
PAUSE = 0.05
"""Between these pings, in seconds."""


class Server:
    """The process, as another one sees it; a context manager that kills it.

    Attributes:
        address: where it listens.
        process: the Popen object.
    """

    def __init__(self, kind: str, *options: str) -> None:
        self.process = Popen([sys.executable, __file__, kind, *options], stdin=PIPE, stdout=PIPE)
        self.address = ("127.0.0.1", int(self._line()))

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.process.kill()
        self.process.communicate()

    def ask(self, question: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(question.encode() + b"\n")
        self.process.stdin.flush()
        return json.loads(self._line())

    def _line(self) -> bytes:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise EOFError(f"the server has ended with {self.process.wait()}")
        return line


def echo(ws: Any) -> None:
    for message in ws:
        ws.send(message)


def look(endpoint: Any) -> dict[str, Any]:
    """What this process holds and has done."""
    stats = endpoint.stats()
    return {**holding()._asdict(), "clients": stats.open, "opened": stats.opened, "cpu": time.process_time()}


def ping(endpoint: Any, seconds: float) -> dict[str, float]:
    """How long pings take that are sent all the time to connections drawn by lot."""
    latencies: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        everybody = list(endpoint.clients)
        results = [ws.ping() for ws in random.sample(everybody, min(PINGED_AT_ONCE, len(everybody)))]
        latencies += [result.get(timeout=60) for result in results]
        gevent.sleep(PAUSE)
    latencies.sort()
    count = len(latencies)
    return {"count": count, "half": latencies[count // 2], "at_99": latencies[count * 99 // 100], "all": latencies[-1]}


def answer(endpoint: Any) -> None:
    with FileObject(0, "r", close=False) as questions:
        for question in questions:
            word, *rest = question.split()
            print(json.dumps(look(endpoint) if word == "look" else ping(endpoint, float(rest[0]))), flush=True)


def main() -> None:
    raise_limit()
    logging.getLogger("geventws").setLevel(logging.ERROR)
    kind, compression = sys.argv[1], "--compression" in sys.argv
    server: Any
    if kind == "wsgi":
        endpoint: Any = WebSocketApp(echo, compression=compression)
        server = WSGIServer(("127.0.0.1", 0), endpoint, log=None, backlog=4096)
        close_on_stop(server)
    else:
        endpoint = server = WebSocketServer(("127.0.0.1", 0), echo, backlog=4096, compression=compression)
    gevent.signal_handler(signal.SIGTERM, server.stop)
    server.start()
    print(server.address[1], flush=True)
    gevent.spawn(answer, endpoint)
    server.serve_forever()


if __name__ == "__main__":
    main()
