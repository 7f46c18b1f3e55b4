"""Run the Autobahn TestSuite against geventws: as client against our server, as server against our client.

"Both" are these two; ``--role gunicorn`` tests a WebSocketApp under gunicorn's gevent worker.
Prints one line ``ROLE: N passed, N failed`` for each role, after the cases that failed. Exits with 1 when a case
failed. Where there is no Python 2.7 to run the suite with, it says so and exits with 0, but with 1 under CI.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import gevent
import testees
import wstest
from gevent import subprocess
from verdicts import Verdicts, judge, write_table

ROOT = Path(__file__).resolve().parents[2]
ALL = ["*"]
# Groups 9 (limits), 12 and 13 (compression) take most of the time: one case of each of their kinds.
QUICK = [
    *("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"),
    *("9.1.6", "9.2.6", "9.3.1", "9.4.9", "9.5.1", "9.6.6", "9.7.1", "9.8.6"),
    *("12.1.3", "12.2.5", "12.3.6", "12.4.7", "12.5.12"),
    *("13.1.1", "13.2.4", "13.3.6", "13.4.5", "13.5.7", "13.6.11", "13.7.12"),
]
RUN_TIMEOUT = 3600  # seconds for all cases in one role


def test_server(suite: wstest.Suite, cases: Sequence[str], folder: Path) -> None:
    server = testees.start_server()
    try:
        fuzz(suite, server.address[1], cases, folder)
    finally:
        server.stop()


def test_gunicorn(suite: wstest.Suite, cases: Sequence[str], folder: Path) -> None:
    command = [sys.executable, "-m", "gunicorn", "-k", "gevent", "testees:application"]
    with socket.create_server(("127.0.0.1", 0)) as listener, open(folder / "gunicorn.log", "wb") as log:
        server = subprocess.Popen(
            [*command, "--bind", f"fd://{listener.fileno()}", "--graceful-timeout", "1"],
            cwd=Path(__file__).parent,
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            wait_until_serving(server, listener.getsockname()[1])
            fuzz(suite, listener.getsockname()[1], cases, folder)
        finally:
            end(server)


def fuzz(suite: wstest.Suite, port: int, cases: Sequence[str], folder: Path) -> None:
    """Run the suite's client against a server."""
    spec = {"servers": [{"agent": testees.AGENT, "url": f"ws://127.0.0.1:{port}"}], "cases": cases}
    process = suite.start("fuzzingclient", spec, folder)
    try:
        process.wait(RUN_TIMEOUT)
    finally:
        end(process)


def test_client(suite: wstest.Suite, cases: Sequence[str], folder: Path) -> None:
    port = find_free_port()
    url = f"ws://127.0.0.1:{port}"
    process = suite.start("fuzzingserver", {"url": url, "cases": cases}, folder)
    try:
        wait_until_listening(process, port)
        with gevent.Timeout(RUN_TIMEOUT):
            testees.run_client(url)
    finally:
        end(process)


ROLES = {"server": test_server, "client": test_client, "gunicorn": test_gunicorn}
BOTH = ["server", "client"]


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        gevent.sleep(0.1)
    raise RuntimeError("the fuzzing server does not listen")


def wait_until_serving(server: subprocess.Popen[bytes], port: int) -> None:
    """The listener is there before its server is, and stays when that has failed."""
    deadline = time.monotonic() + 30
    while server.poll() is None and time.monotonic() < deadline:
        with socket.create_connection(("127.0.0.1", port)) as probe, suppress(OSError):
            probe.settimeout(1)
            probe.sendall(b"GET / HTTP/1.0\r\n\r\n")
            if probe.recv(1):
                return
    raise RuntimeError("gunicorn does not serve; its log says why")


def end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run_role(role: str, suite: wstest.Suite, cases: Sequence[str], folder: Path) -> Verdicts:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    logging.basicConfig(filename=folder / "geventws.log", force=True)
    started = time.monotonic()
    ROLES[role](suite, cases, folder)
    verdicts = judge(cases, folder)
    for case, fault in verdicts.failed.items():
        print(f"{role}: case {case}: {fault}")
    print(f"{role}: reports in {folder} after {time.monotonic() - started:.0f} s")
    print(f"{role}: {len(verdicts.passed)} passed, {len(verdicts.failed)} failed", flush=True)
    return verdicts


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--role", choices=[*ROLES, "both"], default="both", help="what is tested (default: both)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--cases", nargs="+", default=ALL, metavar="CASE", help="like 7.1.5 or 9.* (default: all)")
    which.add_argument("--quick", action="store_const", dest="cases", const=QUICK, help="a sample of groups 9, 12, 13")
    which.add_argument("--write-table", action="store_true", help="record a whole run in docs/conformance.md")
    parser.add_argument("--reports", type=Path, default=ROOT / "build" / "autobahn", help="folder for the reports")
    parser.add_argument("--suite", type=Path, default=ROOT / ".tox" / "wstest", help="the suite's own virtualenv")
    arguments = parser.parse_args()
    if arguments.write_table and arguments.role != "both":
        parser.error("--write-table records both roles")
    return arguments


def main() -> int:
    arguments = parse_arguments()
    try:
        suite = wstest.install(arguments.suite)
    except wstest.NoPython27 as reason:
        print(f"Autobahn TestSuite skipped: {reason}")
        return 0
    cases, groups, version = suite.describe(arguments.cases)
    roles = BOTH if arguments.role == "both" else [arguments.role]
    results = {role: run_role(role, suite, cases, arguments.reports / role) for role in roles}
    if arguments.write_table:
        write_table(ROOT / "docs" / "conformance.md", groups, results, version)
    return 1 if any(verdicts.failed for verdicts in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
