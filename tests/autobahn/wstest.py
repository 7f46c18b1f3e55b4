"""The Autobahn TestSuite in a virtualenv of its own, since it runs on Python 2.7 and nothing newer."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from gevent import subprocess

REQUIREMENTS = Path(__file__).with_name("requirements.txt")

# Run by the suite's own Python: the cases that the patterns name, the names of the groups, and the suite's version.
DESCRIBE = """
import json, sys
from autobahntestsuite import version
from autobahntestsuite.case import CaseBasename, CaseCategories, Cases, CaseSetname, CaseSubCategories
from autobahntestsuite.caseset import CaseSet
cases = CaseSet(CaseSetname, CaseBasename, Cases, CaseCategories, CaseSubCategories)
print(json.dumps([cases.parseSpecCases({"cases": sys.argv[1:]}), CaseCategories, version]))
"""


class NoPython27(Exception):
    """There is nothing on this machine that the suite runs on."""


class Description(NamedTuple):
    """The cases to run in the suite's order, the names of all groups of cases, and the suite's version."""

    cases: list[str]
    groups: dict[str, str]
    version: str


class Suite:
    """An installed TestSuite. Nothing here blocks other greenlets."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def describe(self, patterns: Sequence[str]) -> Description:
        """What ``patterns`` (like ``7.*`` or ``9.1.1``) stand for."""
        output = subprocess.check_output([self._program("python"), "-c", DESCRIBE, *patterns], env=_environment())
        return Description(*json.loads(output))

    def start(self, mode: str, spec: dict[str, Any], folder: Path) -> subprocess.Popen[bytes]:
        """Start ``wstest`` in ``mode``; its reports and what it prints go to ``folder``."""
        spec_file = folder / "spec.json"
        spec_file.write_text(json.dumps({**spec, "outdir": str(folder)}))
        command = [self._program("wstest"), "--mode", mode, "--spec", str(spec_file), "--webport", "0"]
        with open(folder / "wstest.log", "wb") as log:
            return _start(command, log)

    def _program(self, name: str) -> str:
        return str(self.home / "bin" / name)


def install(home: Path) -> Suite:
    """Make the virtualenv in ``home``, unless it is there already, made from the same requirements.

    Raises:
        NoPython27: none was found.
        RuntimeError: the suite does not install; the text is what the installer printed.
    """
    wanted = REQUIREMENTS.read_text()
    stamp = home / "installed.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(home, ignore_errors=True)
        python = find_python27()
        for command in (
            [sys.executable, "-m", "virtualenv", "--quiet", "--python", python, str(home)],
            [str(home / "bin" / "pip"), "install", "--quiet", "--requirement", str(REQUIREMENTS)],
        ):
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=_environment())
            if done.returncode:
                raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout.decode(errors='replace')}")
        stamp.write_text(wanted)
    return Suite(home)


def find_python27() -> str:
    """The path of a Python 2.7: the one that GEVENTWS_PYTHON27 names, one on the PATH, or one of pyenv's."""
    for candidate in _candidates():
        try:
            version = subprocess.check_output(
                [candidate, "-c", "import sys; print(sys.version_info[:2])"], stderr=subprocess.DEVNULL
            )
        except (OSError, subprocess.CalledProcessError):
            continue  # pyenv's shims, for one, fail for a version that is not selected
        if version.strip() == b"(2, 7)":
            return candidate
    raise NoPython27("no Python 2.7 found; GEVENTWS_PYTHON27 can name one")


def _candidates() -> Iterator[str]:
    if named := os.environ.get("GEVENTWS_PYTHON27"):
        yield named
    yield from filter(None, map(shutil.which, ("python2.7", "python2", "pypy2.7", "pypy")))
    yield from map(str, Path.home().glob(".pyenv/versions/2.7*/bin/python2.7"))


def _environment() -> dict[str, str]:
    """The environment without settings that are meant for the Python this program runs on."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def _start(command: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=_environment())
