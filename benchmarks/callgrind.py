"""Instructions that geventws takes for each echoed message or each handshake: a measure with next to no noise.

`python benchmarks/callgrind.py [--check] [--functions N] [ROW ...]` measures the geventws that this Python imports, by
valgrind. The server runs twice, for K messages and for 2K; the difference, divided by K, leaves its start out.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from environment import BUILD, HERE, compile_programs

import geventws

SERVER = HERE / "servers" / "geventws_server.py"
COLLECTED = re.compile(r"Collected : (\d+)")
FUNCTION = re.compile(r"^ *([\d,]+) \( *[\d.]+%\)  \S*:(\S+)", re.MULTILINE)
TIMEOUT = 600
"""How long a run may take, in seconds."""


@dataclass(frozen=True)
class Row:
    """Messages on one connection, or one connection after the other, so that each run takes the same course.

    mode: what the load does; connections only open and end in the mode "handshake".
    count: how many messages, or handshakes, the shorter run has.
    budget: the most instructions for each of them that --check allows, without and with the compiled part.
    """

    mode: str
    size: int
    in_flight: int
    count: int
    budget: tuple[int, int]


ROWS = {
    "32": Row("echo", 32, 1, 2000, (67_000, 11_300)),
    "128x8": Row("echo", 128, 8, 4000, (50_000, 3_300)),
    "64k": Row("echo", 65536, 1, 200, (1_700_000, 42_000)),
    "handshake": Row("handshake", 0, 1, 500, (375_000, 290_000)),
}


def instructions_for_each(name: str) -> float:
    """Raises RuntimeError when a run fails. What callgrind_annotate reads is left in .build."""
    compile_programs()
    row = ROWS[name]
    once, twice = _profiles(name)
    return (_run(row, 2 * row.count, twice) - _run(row, row.count, once)) / row.count


def costly_functions(name: str, count: int) -> list[tuple[float, str]]:
    """The functions with the most instructions of their own for each message, after instructions_for_each."""
    once, twice = map(_functions, _profiles(name))
    runs = ROWS[name].count
    costs = [((instructions - once.get(function, 0)) / runs, function) for function, instructions in twice.items()]
    return sorted(costs, reverse=True)[:count]


def exceeds(name: str, count: float) -> bool:
    """Whether so many instructions for each message are more than the row's budget."""
    return count > ROWS[name].budget[geventws.accelerated]


def _profiles(name: str) -> tuple[Path, Path]:
    return BUILD / f"callgrind.{name}.once", BUILD / f"callgrind.{name}.twice"


def _functions(profile: Path) -> Counter[str]:
    command = ["callgrind_annotate", "--threshold=100", "--auto=no", str(profile)]
    report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    functions: Counter[str] = Counter()
    for instructions, function in FUNCTION.findall(report):
        functions[function] += int(instructions.replace(",", ""))
    return functions


def _run(row: Row, count: int, out: Path) -> int:
    """Instructions that the server takes from its start to its end."""
    valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "LD_PRELOAD": str(BUILD / "slow_clock.so")}
    options = ["connections=1", f"size={row.size}", f"in_flight={row.in_flight}", f"count={count}"]
    with subprocess.Popen(
        [*valgrind, sys.executable, SERVER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as server:
        try:
            assert server.stdout
            port = server.stdout.readline().strip()
            subprocess.run(
                [BUILD / "load", row.mode, port, *options], stdout=subprocess.DEVNULL, check=True, timeout=TIMEOUT
            )
            server.terminate()
            _, report = server.communicate(timeout=TIMEOUT)
        finally:
            server.kill()
    collected = COLLECTED.search(report)
    if not collected:
        raise RuntimeError(f"valgrind counted nothing:\n{report}")
    return int(collected[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", default=list(ROWS), help=f"default: {' '.join(ROWS)}")
    parser.add_argument("--check", action="store_true", help="fail where a budget is exceeded")
    parser.add_argument("--functions", type=int, default=0, metavar="N", help="show the N that take the most")
    options = parser.parse_args()
    exceeded = []
    for name in options.rows:
        count, budget = instructions_for_each(name), ROWS[name].budget[geventws.accelerated]
        print(f"{name:9} {count:12,.0f} instructions for each, budget {budget:,}", flush=True)
        for cost, function in costly_functions(name, options.functions):
            print(f"{'':9} {cost:12,.0f} {function}")
        if exceeds(name, count):
            exceeded.append(name)
    if options.check and exceeded:
        sys.exit(f"over budget: {', '.join(exceeded)}")


if __name__ == "__main__":
    main()
