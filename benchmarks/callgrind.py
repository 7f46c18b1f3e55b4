"""Instructions that geventws takes for each echoed message, counted by valgrind: a measure with next to no noise.

`python benchmarks/callgrind.py [--check] [ROW ...]` measures the geventws that this Python imports. The server runs
twice, for K messages and for 2K; the difference, divided by K, leaves its start out.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from environment import BUILD, HERE, compile_programs

SERVER = HERE / "servers" / "geventws_server.py"
COLLECTED = re.compile(r"Collected : (\d+)")
TIMEOUT = 600
"""How long a run may take, in seconds."""


@dataclass(frozen=True)
class Row:
    """Messages on one connection, so that each run takes the same course.

    messages: how many the shorter run has.
    budget: the most instructions for each message that --check allows, without and with the compiled part.
    """

    size: int
    in_flight: int
    messages: int
    budget: tuple[int, int]


ROWS = {
    "32": Row(32, 1, 2000, (90_000, 90_000)),
    "128x8": Row(128, 8, 4000, (70_000, 70_000)),
    "64k": Row(65536, 1, 200, (3_500_000, 3_500_000)),
}


def instructions_per_message(name: str) -> float:
    """Raises RuntimeError when a run fails."""
    compile_programs()
    row = ROWS[name]
    once, twice = (_run(row, count, BUILD / f"callgrind.{name}.out") for count in (row.messages, 2 * row.messages))
    return (twice - once) / row.messages


def _run(row: Row, count: int, out: Path) -> int:
    """Instructions that the server takes from its start to its end; what callgrind_annotate wants is left in `out`."""
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
                [BUILD / "load", "echo", port, *options], stdout=subprocess.DEVNULL, check=True, timeout=TIMEOUT
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
    options = parser.parse_args()
    import geventws

    compiled = getattr(geventws, "accelerated", False)
    exceeded = []
    for name in options.rows:
        count, budget = instructions_per_message(name), ROWS[name].budget[compiled]
        print(f"{name:8} {count:12,.0f} instructions per message, budget {budget:,}", flush=True)
        if count > budget:
            exceeded.append(name)
    if options.check and exceeded:
        sys.exit(f"over budget: {', '.join(exceeded)}")


if __name__ == "__main__":
    main()
