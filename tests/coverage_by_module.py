"""Check that each module of the core is covered fully by its own test file, and not by luck from elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CORE = ("exceptions", "kernels", "frames", "headers", "http11", "body", "url")
CORE += ("proxy_protocol", "forwarding", "deflate", "compression", "messages", "handshake", "events", "protocol")
ROOT = Path(__file__).resolve().parents[1]


def measure(module: str) -> tuple[bool, str]:
    """Run the module's tests; returns whether they pass and leave no line or branch out, and what they printed."""
    with tempfile.TemporaryDirectory() as folder:
        data = f"--data-file={folder}/coverage"
        tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/test_{module}.py"]
        report = [data, f"--include=*/geventws/{module}.py", "--fail-under=100"]
        output = ""
        for command in (["run", data, *tests], ["report", *report]):
            done = subprocess.run(
                [sys.executable, "-m", "coverage", *command],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            output += done.stdout
            if done.returncode:
                return False, output
        return True, output


def main(modules: list[str]) -> int:
    failed = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for module, (covered, output) in zip(modules, pool.map(measure, modules), strict=True):
            print(f"{module}: {'covered by its own tests' if covered else 'NOT COVERED'}", flush=True)
            if not covered:
                print(output, flush=True)
                failed.append(module)
    print(f"modules: {len(modules) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(CORE)))
