"""What the suite found, judged: every case must be OK."""

from __future__ import annotations

import json
import platform
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from geventws import __version__, accelerated

# The suite gives these cases no other verdict, whatever the peer does.
INFORMATIONAL = {"7.1.6", "7.13.1", "7.13.2"}

PAGE = """\
# Conformance

The whole [Autobahn TestSuite](https://github.com/crossbario/autobahn-testsuite) against geventws as server and as
client, with compression on, also of small messages. `tox -e autobahn -- --write-table` writes this page.

{table}

OK means that both what was answered and how the connection was closed is as the RFC wants it. {informational} count as
OK: the suite calls them INFORMATIONAL, whatever the peer does.

Run with {versions}. `.ci/run` runs groups 1 to 7 and 10, and one case of each kind of the others.
"""


@dataclass
class Verdicts:
    """One role's results: the cases that passed, and what is wrong with the others."""

    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def count(self, group: str) -> tuple[int, int]:
        """How many cases of ``group`` passed and how many failed."""
        return sum(_group(case) == group for case in self.passed), sum(_group(case) == group for case in self.failed)


def judge(cases: Sequence[str], folder: Path) -> Verdicts:
    """Judge the reports in ``folder``; a case that is not reported has failed."""
    index = folder / "index.json"
    agents = json.loads(index.read_text()) if index.exists() else {}
    reports = {case: report for results in agents.values() for case, report in results.items()}
    verdicts = Verdicts()
    for case in cases:
        report = reports.get(case, {"behavior": "MISSING", "behaviorClose": "MISSING"})
        found = {report["behavior"], report["behaviorClose"]}
        if found == {"OK"} or (found == {"INFORMATIONAL"} and case in INFORMATIONAL):
            verdicts.passed.append(case)
        else:
            verdicts.failed[case] = f"behavior {report['behavior']}, close {report['behaviorClose']}"
    return verdicts


def write_table(path: Path, groups: dict[str, str], roles: dict[str, Verdicts], suite_version: str) -> None:
    """Write the page that records a whole run: a line for each group of cases, two columns for each role."""
    head = ["group", *(f"{role}: {word}" for role in roles for word in ("OK", "not OK"))]
    rows = [head, ["---", *["--:"] * (len(head) - 1)]]
    for group in sorted(groups, key=int):
        counts = [number for verdicts in roles.values() for number in verdicts.count(group)]
        if any(counts):
            rows.append([f"{group} {groups[group]}", *map(str, counts)])
    totals = [len(cases) for verdicts in roles.values() for cases in (verdicts.passed, verdicts.failed)]
    rows.append(["**all**", *(f"**{total}**" for total in totals)])
    path.write_text(
        PAGE.format(
            table="\n".join(f"| {' | '.join(row)} |" for row in rows),
            informational=_list(sorted(INFORMATIONAL)),
            versions=_list([f"the TestSuite {suite_version}", *_versions()]),
        )
    )


def _group(case: str) -> str:
    return case.partition(".")[0]


def _versions() -> list[str]:
    return [
        f"geventws {__version__} {'with' if accelerated else 'without'} its compiled part",
        f"gevent {version('gevent')}",
        f"{platform.python_implementation()} {platform.python_version()}",
        f"zlib {zlib.ZLIB_RUNTIME_VERSION}",
    ]


def _list(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"
