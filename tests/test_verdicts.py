"""The judgement of the Autobahn TestSuite's reports: nothing but OK passes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from autobahn.verdicts import Verdicts, judge, write_table

BAD = ["NON-STRICT", "FAILED", "WRONG CODE", "UNCLEAN", "FAILED BY CLIENT", "UNIMPLEMENTED", "INFORMATIONAL"]


def reported(folder: Path, **verdicts: tuple[str, str]) -> Path:
    """A folder with the suite's index; a case 1.2 is written ``case_1_2``."""
    cases = {
        name.removeprefix("case_").replace("_", "."): {"behavior": behavior, "behaviorClose": close}
        for name, (behavior, close) in verdicts.items()
    }
    (folder / "index.json").write_text(json.dumps({"geventws": cases}))
    return folder


def test_a_case_passes_when_behavior_and_close_are_ok(tmp_path):
    assert judge(["1.2"], reported(tmp_path, case_1_2=("OK", "OK"))) == Verdicts(["1.2"], {})


@pytest.mark.parametrize("bad", BAD)
def test_a_case_fails_by_its_behavior_alone(tmp_path, bad):
    verdicts = judge(["1.2"], reported(tmp_path, case_1_2=(bad, "OK")))
    assert verdicts == Verdicts([], {"1.2": f"behavior {bad}, close OK"})


@pytest.mark.parametrize("bad", BAD)
def test_a_case_fails_by_its_close_alone(tmp_path, bad):
    verdicts = judge(["1.2"], reported(tmp_path, case_1_2=("OK", bad)))
    assert verdicts == Verdicts([], {"1.2": f"behavior OK, close {bad}"})


@pytest.mark.parametrize("case", ["7.1.6", "7.13.1", "7.13.2"])
def test_informational_passes_where_the_suite_knows_no_other_verdict(tmp_path, case):
    folder = reported(tmp_path, **{f"case_{case}": ("INFORMATIONAL", "INFORMATIONAL")})
    assert judge([case], folder) == Verdicts([case], {})


def test_informational_fails_elsewhere(tmp_path):
    folder = reported(tmp_path, case_7_1_5=("INFORMATIONAL", "INFORMATIONAL"))
    assert list(judge(["7.1.5"], folder).failed) == ["7.1.5"]


def test_a_case_without_a_report_fails(tmp_path):
    verdicts = judge(["1.1", "1.2"], reported(tmp_path, case_1_2=("OK", "OK")))
    assert verdicts == Verdicts(["1.2"], {"1.1": "behavior MISSING, close MISSING"})


def test_all_cases_fail_when_the_suite_wrote_no_report(tmp_path):
    assert list(judge(["1.1", "1.2"], tmp_path).failed) == ["1.1", "1.2"]


def test_the_table_has_a_line_for_each_group_that_was_run_in_order(tmp_path):
    page = tmp_path / "page.md"
    roles = {"server": Verdicts(["2.1", "10.1.1"], {"2.2": "bad"}), "client": Verdicts(["2.1", "2.2", "10.1.1"])}
    write_table(page, {"10": "Misc", "2": "Pings/Pongs", "8": "Nothing"}, roles, "1.0")
    rows = [line for line in page.read_text().splitlines() if line.startswith("|")]
    assert rows[0] == "| group | server: OK | server: not OK | client: OK | client: not OK |"
    assert rows[2:] == [
        "| 2 Pings/Pongs | 1 | 1 | 2 | 0 |",
        "| 10 Misc | 1 | 0 | 1 | 0 |",
        "| **all** | **2** | **1** | **3** | **0** |",
    ]
