"""The fuzz targets, without a fuzzer, on the inputs that the tree keeps: so that they still run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).resolve().parents[1] / "fuzz"


@pytest.fixture(scope="module")
def targets():
    if not FUZZ.is_dir():
        pytest.skip("the fuzz targets are in the repository only")
    sys.path.insert(0, str(FUZZ))
    try:
        import targets
    finally:
        sys.path.remove(str(FUZZ))
    return targets.TARGETS


def corpus(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((FUZZ / "corpora" / name).iterdir())]


def test_each_target_has_a_corpus(targets) -> None:
    assert set(targets) == {path.name for path in (FUZZ / "corpora").iterdir()}


@pytest.mark.parametrize("name", sorted(path.name for path in (FUZZ / "corpora").glob("*")))
def test_the_corpus_of(targets, name) -> None:
    inputs = corpus(name)
    assert inputs
    for data in [b"", *inputs]:
        targets[name](data)
