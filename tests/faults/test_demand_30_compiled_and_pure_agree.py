"""The compiled part and the plain Python say the same of every input; masking keys and secrets are handled with care.

Each function of `kernels` is compared with its twin in `tests/test_kernels.py`; fuzzing compares whole connections.
"""

from __future__ import annotations

import ast
import os
import sys
from base64 import b64encode
from pathlib import Path

import gevent
import pytest
from gevent.subprocess import PIPE, Popen
from tools.scale import DONE, times

import geventws
from geventws.frames import MaskingKeys
from geventws.handshake import ClientHandshake
from geventws.url import parse_url

HERE = Path(__file__).parent
SEEDS = times(250)
PACKAGE = Path(geventws.__file__).parent


def outcomes(pure):
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environ.pop("GEVENTWS_PURE_PYTHON", None)
    if pure:
        environ["GEVENTWS_PURE_PYTHON"] = "1"
    command = [sys.executable, str(HERE / "outcomes.py"), "0", str(SEEDS)]
    process = Popen(command, stdout=PIPE, stderr=PIPE, env=environ)
    output, errors = process.communicate()
    assert not errors, errors.decode()
    return output.decode().splitlines()


if geventws.accelerated:  # there is a compiled part to compare with

    def test_they_agree_on_random_streams():
        """Frames, right and wrong, of both roles, compressed and not, cut at random places; and frames made."""
        compiled, pure = (job.get() for job in [gevent.spawn(outcomes, False), gevent.spawn(outcomes, True)])
        assert len(compiled) == SEEDS
        assert [pair for pair in zip(compiled, pure, strict=True) if pair[0] != pair[1]] == []
        DONE["random streams, compiled against pure"] += SEEDS


def test_masking_keys_come_from_the_systems_generator(monkeypatch):
    """RFC 6455 section 10.3: they cannot be told from those before."""
    asked = []
    urandom = os.urandom
    monkeypatch.setattr(os, "urandom", lambda size: asked.append(size) or urandom(size))
    keys = MaskingKeys()
    made = [bytes(keys()) for _ in range(10_000)]
    assert sum(asked) >= 40_000
    assert len(set(made)) > 9_990


def test_the_handshakes_key_comes_from_the_systems_generator(monkeypatch):
    """RFC 6455 section 4.1."""
    monkeypatch.setattr(os, "urandom", lambda size: b"\1" * size)
    keys = {ClientHandshake(parse_url("ws://localhost/")).request.headers["Sec-WebSocket-Key"] for _ in range(2)}
    assert keys == {b64encode(b"\1" * 16).decode()}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_nothing_secret_comes_from_the_weak_generator(path):
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    # Where it is an order that is drawn, or a delay, or where it is about tests.
    assert "random" not in names or path.stem in ("draining", "retry") or path.parent.name == "testing"
