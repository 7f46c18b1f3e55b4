"""Measure geventws and its peers: `python benchmarks/run.py`. README.md says how to read what comes out."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import report
from environment import BUILD, HERE, PYTHON, REPOSITORY, prepare
from measure import Failed, Figures, measure
from rows import PEERS, ROWS, Row, peers_of


def main() -> None:
    options = read_arguments()
    prepare(None if options.no_install else options.source)
    rounds: report.Rounds = {name: {} for name in options.rows}
    for number in range(1, options.rounds + 1):
        for name in options.rows:
            row = as_text(ROWS[name]) if options.text else ROWS[name]
            for peer, program in peers_of(row, options.peers).items():
                try:
                    figures = measure(row, program, options.seconds)
                except Failed as error:
                    print(f"{name}, {peer}: {error}", file=sys.stderr)
                    continue
                if options.per_cpu and not row.less_is_better:
                    figures["value"] /= figures["cpu"]
                rounds[name].setdefault(peer, []).append(figures)
                show(number, name, peer, figures)
        settings = {"count": number, "seconds": options.seconds, "per_cpu": options.per_cpu}
        run: report.Run = {"machine": report.machine(), **settings, "rounds": rounds}
        options.json.write_text(json.dumps(run, indent=1))
    print(report.markdown(run))
    if options.plot:
        subprocess.run([PYTHON, HERE / "report.py", options.json, "--plot", options.plot], check=True)


def as_text(row: Row) -> Row:
    return row if row.kind == "client" else replace(row, load={**row.load, "text": 1})


def show(number: int, name: str, peer: str, figures: Figures) -> None:
    shares = [f"{share} {figures[share]:.2f}" for share in ("cpu", "load_cpu", "fairness") if share in figures]
    print(f"{number} {name:20} {peer:22} {figures['value']:12,.1f}  {'  '.join(shares)}", file=sys.stderr)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=split, default=list(ROWS), help=f"default: all of {','.join(ROWS)}")
    parser.add_argument("--peers", type=split, default=PEERS, help=f"default: all of {','.join(PEERS)}")
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured, in turn (5)")
    parser.add_argument("--seconds", type=float, default=2, help="how long each time, after a warm-up (2)")
    parser.add_argument("--text", action="store_true", help="echo text instead of binary messages")
    parser.add_argument("--per-cpu", action="store_true", help="values per second of CPU time, for a busy machine")
    parser.add_argument("--source", type=Path, metavar="DIR", default=REPOSITORY, help="where geventws is; this tree")
    parser.add_argument("--no-install", action="store_true", help="use the geventws that is in .bench-venv")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", default=BUILD / "last.json", help="write every figure of every round here"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw a PNG")
    options = parser.parse_args()
    unknown = [name for name in options.rows if name not in ROWS]
    unknown += [name for name in options.peers if name not in PEERS and "/" not in name]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}")
    return options


def split(names: str) -> list[str]:
    return names.split(",")


if __name__ == "__main__":
    main()
