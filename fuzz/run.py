"""Fuzz the library with atheris: all targets in turn, or those that are named.

    tox -e fuzz -- --seconds 600 messages twins
    tox -e fuzz -- --jobs 4             so many targets at the same time
    tox -e fuzz -- --keep messages      after a run: put some of what it found into the corpus of the tree

What is found goes to build/fuzz: inputs that reach new code to a folder per target, and what makes a target fail to
a file ``<target>-crash-...``, which `tests/test_fuzz.py` can replay once it lies in the corpus. ``<target>.log`` tells
what the fuzzer did.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOUND = HERE.parent / "build" / "fuzz"
MAX_LENGTH = 4096
KEPT = 25
"""About how many of the inputs that a run has found go into the tree."""


def fuzz(name: str, options: list[str]) -> None:
    """Run one target in this process, which ends with it."""
    import atheris

    sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]
    with atheris.instrument_imports(include=["geventws", "geventws_pure", "socks"]):
        from targets import TARGETS

    def target(data: bytes) -> None:
        try:
            TARGETS[name](data)
        except BaseException:  # atheris does not always come to writing it
            (FOUND / f"{name}-crash-{hashlib.sha1(data).hexdigest()}").write_bytes(data)
            raise

    atheris.Setup([sys.argv[0], *options], target)
    atheris.Fuzz()


def search(name: str, seconds: int) -> int:
    """Run one target in a process of its own, and tell how it went; returns its status."""
    found = FOUND / name
    found.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={seconds}", f"-max_len={MAX_LENGTH}", "-timeout=20", "-rss_limit_mb=2048"]
    options += [f"-artifact_prefix={FOUND}/{name}-", "-print_final_stats=1", str(found), str(HERE / "corpora" / name)]
    # Only what runs in Python shows a fuzzer which code an input reaches; the target "twins" runs both.
    pure = {} if name == "twins" else {"GEVENTWS_PURE_PYTHON": "1"}
    command = [sys.executable, __file__, "--one", name, "--", *options]
    log = found.with_suffix(".log")
    with log.open("w") as output:
        status = subprocess.run(command, env=os.environ | pure, stdout=output, stderr=subprocess.STDOUT).returncode
    told = log.read_text(errors="replace")
    executed = re.findall(r"number_of_executed_units: (\d+)", told)
    print(f"{name}: {'FAILED' if status else 'passed'}, {''.join(executed) or 'unknown'} executions", flush=True)
    if status:
        print("\n".join(told.splitlines()[-50:]), flush=True)
    return status


def keep(name: str) -> None:
    """Copy some of what was found, short ones and long ones, into the corpus of the tree."""
    found = sorted((FOUND / name).iterdir(), key=lambda path: path.stat().st_size)
    for path in found[:: max(1, len(found) // KEPT)]:
        shutil.copy(path, HERE / "corpora" / name / path.name[:12])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="how long each target runs (default: 60)")
    parser.add_argument("--jobs", type=int, default=1, help="how many targets run at the same time (default: 1)")
    parser.add_argument("--keep", action="store_true", help="put what was found into the corpora of the tree")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", help="names of functions in targets.py")
    arguments, options = parser.parse_known_args()
    if arguments.one:
        name, *options = arguments.targets
        fuzz(name, options)
    names = arguments.targets or sorted(path.name for path in (HERE / "corpora").iterdir())
    if arguments.keep:
        for name in names:
            keep(name)
        return 0
    with ThreadPoolExecutor(arguments.jobs) as pool:
        return max(pool.map(lambda name: search(name, arguments.seconds), names), key=abs)


if __name__ == "__main__":
    sys.exit(main())
