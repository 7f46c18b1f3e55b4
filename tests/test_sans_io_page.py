"""The code of docs/sans-io.md runs and prints what its comments say; its signatures are the real ones."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "sans-io.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_code_of_the_page_prints_what_it_says(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block, "sans-io.md", "exec"), {})  # noqa: S102
    assert capsys.readouterr().out.splitlines() == re.findall(r"^print\(.*\)  # (.*)$", block, flags=re.MULTILINE)


def real_arguments(module: str, name: str) -> list[str]:
    """Read from the source: a compiled class tells no signature."""
    tree = ast.parse((ROOT / "geventws" / f"{module}.py").read_text(encoding="utf-8"))
    made = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    init = next(node for node in made.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    return [argument.arg for argument in init.args.args[1:] + init.args.kwonlyargs]


@pytest.mark.parametrize(
    "module, name",
    [
        ("handshake", "ClientHandshake"),
        ("handshake", "ServerHandshake"),
        ("protocol", "Protocol"),
    ],
)
def test_arguments_of_the_page_are_the_real_ones(module: str, name: str) -> None:
    written = re.search(rf"\b{name}\(([^`]*)\)`", TEXT)
    assert written is not None
    names = [part.partition("=")[0].strip() for part in written[1].split(",")]
    assert [part for part in names if part != "*"] == real_arguments(module, name)


def test_no_module_of_the_page_makes_a_hub() -> None:
    modules = sorted(set(re.findall(r"from (geventws\.\w+) import", TEXT)))
    code = f"import gevent, {', '.join(modules)}; raise SystemExit(gevent._hub_local.get_hub_if_exists() is not None)"
    assert len(modules) >= 6
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
