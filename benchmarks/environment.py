"""What the benchmarks run with: the C programs, a virtualenv with geventws and its Python peers, and ws for Node.js."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
BUILD = HERE / ".build"
VENV = HERE / ".bench-venv"
PYTHON = VENV / "bin" / "python"
SPEED = VENV / "speed"
"""Faster zlibs, outside of where Python looks for itself."""
CERTIFICATE = BUILD / "certificate.pem"
PROGRAMS = {
    "load": ["load.c", "connection.c", "figures.c", "script.c", "-lz", "-lssl", "-lcrypto"],
    "epoll_server": ["epoll_server.c"],
    "slow_clock.so": ["-shared", "-fPIC", "slow_clock.c"],
}
NOT_PACKAGE = shutil.ignore_patterns(
    ".*", "benchmarks", "build", "dist", "docs", "examples", "tests", "*.egg-info", "*.so", "__pycache__"
)


def prepare(source: Path | None) -> None:
    """Make all of it that is missing or out of date. Where there is a source, geventws is installed anew from there."""
    BUILD.mkdir(exist_ok=True)
    _raise_descriptor_limit()
    compile_programs()
    _make_certificate()
    if not PYTHON.exists():
        _run(sys.executable, "-m", "venv", VENV)
    _install("requirements.txt")
    _install("requirements-speed.txt", "--target", SPEED, "--upgrade")
    if source:
        _install_geventws(source)
    if shutil.which("npm"):
        _install_node_modules()


def compile_programs() -> None:
    BUILD.mkdir(exist_ok=True)
    newest = max(path.stat().st_mtime for path in HERE.glob("*.[ch]"))
    for program, arguments in PROGRAMS.items():
        out = BUILD / program
        if not out.exists() or out.stat().st_mtime < newest:
            _run("cc", "-O2", "-o", out, *arguments)


def _raise_descriptor_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _make_certificate() -> None:
    if not CERTIFICATE.exists():
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        subject = ["-subj", "/CN=localhost", "-days", "3650"]
        certificate = _run("openssl", "req", "-x509", *key, *subject, "-keyout", CERTIFICATE)
        with CERTIFICATE.open("a") as file:
            file.write(certificate)


def _install(requirements: str, *options: str | Path) -> None:
    """Install what the file lists, if that was not done before."""
    wanted = hashlib.sha256((HERE / requirements).read_bytes()).hexdigest()
    done = VENV / f"{requirements}.sha256"
    if not done.exists() or done.read_text() != wanted:
        _run(PYTHON, "-m", "pip", "install", "--quiet", *options, "-r", HERE / requirements)
        done.write_text(wanted)


def _install_geventws(source: Path) -> None:
    """Build and install it from a copy: what a build leaves behind must not end up in the next one."""
    with tempfile.TemporaryDirectory() as directory:
        copy = shutil.copytree(source, Path(directory) / "geventws", ignore=NOT_PACKAGE)
        _run(PYTHON, "-m", "pip", "uninstall", "--quiet", "--yes", "geventws")
        _run(PYTHON, "-m", "pip", "install", "--quiet", copy)


def _install_node_modules() -> None:
    package, installed = HERE / "package.json", HERE / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < package.stat().st_mtime:
        _run("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel", "error")
        installed.touch()


def _run(*command: str | Path) -> str:
    """Run a program here and return what it prints; its errors end the benchmarks."""
    done = subprocess.run([os.fspath(part) for part in command], cwd=HERE, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")
    return done.stdout
