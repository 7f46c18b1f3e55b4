"""Runs pytest in a process that is patched. Usage: patched.py early|late [pytest's arguments].

Early is before anything else is imported; late is after geventws, pytest and what these import.
"""

from gevent import monkey  # isort: skip

import sys


def main(when: str, *arguments: str) -> int:
    if when == "late":
        import pytest

        import geventws  # noqa: F401
    monkey.patch_all()
    import pytest

    return int(pytest.main(list(arguments)))


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
