"""How the package is built: with all of its compiled modules or with none."""

from __future__ import annotations

import runpy
import shutil
import sysconfig
from pathlib import Path
from typing import Any

import pytest

setuptools = pytest.importorskip("setuptools")

SETUP = Path(__file__).resolve().parents[1] / "setup.py"
COMPILER = str(sysconfig.get_config_var("CC") or "cc").split()[0]
MODULE = """
#include <Python.h>
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "%s"};
PyMODINIT_FUNC PyInit_%s(void) { return PyModule_Create(&definition); }
"""
WRONG = "#error this one cannot be compiled"

pytestmark = [
    pytest.mark.skipif(not SETUP.exists(), reason="setup.py is in the repository only"),
    pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"needs {COMPILER}"),
]


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Builds extensions with the command of setup.py; returns the names of those that are there."""
    given: dict[str, Any] = {}
    monkeypatch.setenv("GEVENTWS_PURE_PYTHON", "1")
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: given.update(arguments))
    runpy.run_path(str(SETUP))

    def run(**sources: str) -> set[str]:
        for name, text in sources.items():
            (tmp_path / f"{name}.c").write_text(text)
        extensions = [setuptools.Extension(name, [str(tmp_path / f"{name}.c")]) for name in sources]
        command = given["cmdclass"]["build_ext"](setuptools.Distribution({"ext_modules": extensions}))
        command.build_lib, command.build_temp = str(tmp_path / "lib"), str(tmp_path / "temp")
        command.ensure_finalized()
        command.run()
        return {path.name.partition(".")[0] for path in (tmp_path / "lib").glob("*")}

    return run


def source(name: str) -> str:
    return MODULE % (name, name)


def test_what_can_be_compiled_is_there(build: Any) -> None:
    assert build(one=source("one"), other=source("other")) == {"one", "other"}


def test_where_one_module_cannot_be_compiled_none_is_there(build: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Compiled modules use each other in C: some of them without the others cannot be imported."""
    assert build(one=source("one"), other=WRONG, third=source("third")) == set()
    assert "geventws: goes without its compiled part" in capsys.readouterr().err


def test_what_was_compiled_earlier_is_not_there_either(build: Any) -> None:
    assert build(one=source("one"), other=source("other")) == {"one", "other"}
    assert build(one=source("one"), other=WRONG) == set()
