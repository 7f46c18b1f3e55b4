"""The compiled part is used where it is there, and left alone where the environment says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from geventws import accelerated, acceleration, kernels

SHOW = """
import geventws, geventws.kernels, geventws.websocket
print(geventws.accelerated, geventws.kernels.__file__.endswith(".py"), geventws.websocket.__file__.endswith(".py"))
"""


def shown(**environment):
    known = {name: value for name, value in os.environ.items() if "PURE_PYTHON" not in name}
    done = subprocess.run(
        [sys.executable, "-c", SHOW], env={**known, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize("name", ["GEVENTWS_PURE_PYTHON", "PURE_PYTHON"])
def test_the_environment_can_ask_for_plain_python(name):
    assert shown(**{name: "1"}) == ["False", "True", "True"]


def test_what_is_compiled_is_used():
    compiled, kernels_are_source, websocket_is_source = shown()
    assert (compiled == "True") == (kernels_are_source == "False") == (websocket_is_source == "False")


def test_the_tests_run_with_what_the_environment_asks_for():
    if acceleration.is_unwanted():
        assert not accelerated


@pytest.mark.skipif(not os.environ.get("CI"), reason="not every machine has a compiler, but CI has")
def test_in_ci_there_is_something_to_run_fast():
    assert acceleration.is_unwanted() or accelerated


@pytest.mark.only_where(bool(os.environ.get("GEVENTWS_SANITIZE")))
def test_under_sanitizers_what_is_tested_was_built_with_them():
    built = Path(kernels.__file__).read_bytes()
    assert b"__asan_report_load" in built
    assert b"__ubsan_handle" in built


def test_a_compiled_module_is_known_by_its_file():
    assert acceleration.is_compiled("/somewhere/kernels.so")
    assert not acceleration.is_compiled("/somewhere/kernels.py")
    assert not acceleration.is_compiled(None)
