"""What the rounds amount to: medians, ratios, a table and a plot.

`python benchmarks/report.py results.json [--plot out.png]`, with the Python of .bench-venv for a plot.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
from pathlib import Path
from statistics import median
from typing import Any

from rows import ROWS, Row

Rounds = dict[str, dict[str, list[dict[str, Any]]]]
"""The figures of each round, by row and peer."""
Results = dict[str, dict[str, dict[str, Any]]]
"""What they amount to, by row and peer."""
Run = dict[str, Any]
"""What run.py writes: `rounds`, their `count`, `seconds`, `per_cpu` and the `machine`."""

SUBJECT = "geventws"
BUSY = 0.9
"""What share of its core a program has that is not held up by anything else."""


def summary(rounds: Rounds) -> Results:
    """By row and peer: the median, the least and the greatest value, and how many times better geventws is."""
    return {name: {peer: _summary_of(ROWS[name], peers, peer) for peer in peers} for name, peers in rounds.items()}


def _summary_of(row: Row, peers: dict[str, list[dict[str, Any]]], peer: str) -> dict[str, Any]:
    values = [figures["value"] for figures in peers[peer]]
    outcome: dict[str, Any] = {"median": median(values), "min": min(values), "max": max(values)}
    if SUBJECT in peers and peer != SUBJECT:
        pairs = zip((figures["value"] for figures in peers[SUBJECT]), values, strict=False)
        outcome["ratio"] = median(theirs / ours if row.less_is_better else ours / theirs for ours, theirs in pairs)
    for detail in ("cpu", "load_cpu", "p50_us", "p99_us", "fairness", "bytes_per_message"):
        details = [figures[detail] for figures in peers[peer] if detail in figures]
        if details:
            outcome[detail] = median(details)
    return outcome


def markdown(run: Run) -> str:
    """How it was measured, a table of the servers and one of the clients."""
    results = summary(run["rounds"])
    clients = {name for name in results if ROWS[name].kind == "client"}
    halves = [{name: results[name] for name in results if (name in clients) is wanted} for wanted in (False, True)]
    return "\n".join([_caption(run), *(_table(half, run["per_cpu"]) for half in halves if half)])


def _caption(run: Run) -> str:
    values = "values per second of CPU time" if run["per_cpu"] else "values per second"
    machine = run["machine"]
    programs = f"Linux {machine['kernel']}, Python {machine['python']}, Node.js {machine['node']}"
    return (
        f"{run['count']} rounds of {run['seconds']:g} s, {values}; {machine['cores']} x {machine['cpu']}, {programs}.\n"
    )


def _table(results: Results, per_cpu: bool) -> str:
    """A line for each row; a cell has the value, and behind that of a peer how many times better geventws is."""
    names = list(dict.fromkeys(peer for peers in results.values() for peer in peers))
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "--:|" * len(names)]
    for name, peers in results.items():
        cells = [_cell(ROWS[name], peers[peer], per_cpu) if peer in peers else "" for peer in names]
        lines.append(f"| {_title(ROWS[name])} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _title(row: Row) -> str:
    return row.title if row.unit == "messages/s" else f"{row.title} ({row.unit})"


def _cell(row: Row, outcome: dict[str, Any], per_cpu: bool) -> str:
    text = _short(outcome["median"])
    if "ratio" in outcome:
        text += f" ({outcome['ratio']:.2f})"
    if row.kind == "deflate":
        text += f", {outcome['bytes_per_message']:.0f} B"
    if "load_cpu" in outcome and outcome["cpu"] < BUSY and not per_cpu:
        text += " *"
    return text


def _short(value: float) -> str:
    if value >= 9950:
        return f"{value / 1000:,.0f} k"
    return f"{value / 1000:.1f} k" if value >= 995 else f"{value:.1f}"


def plot(run: Run, path: Path) -> None:
    """A chart for each row, with the median and the range of each peer."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import EngFormatter

    results = summary(run["rounds"])
    columns = min(3, len(results))
    lines = -(-len(results) // columns)
    figure, grid = pyplot.subplots(lines, columns, figsize=(6 * columns, 2.7 * lines), squeeze=False)
    for axes in grid.flat[len(results) :]:
        axes.set_visible(False)
    for axes, (name, peers) in zip(grid.flat, results.items(), strict=False):
        order = list(reversed(peers))
        medians = [peers[peer]["median"] for peer in order]
        ends = [[abs(peers[peer]["median"] - peers[peer][end]) for peer in order] for end in ("min", "max")]
        axes.barh(order, medians, xerr=ends, color=[_colour(peer) for peer in order], ecolor="black")
        axes.set_title(_title(ROWS[name]), fontsize=10)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def _colour(peer: str) -> str:
    if peer == SUBJECT:
        return "tab:blue"
    return "lightsteelblue" if peer.startswith(SUBJECT) else "lightgrey" if peer == "floor" else "grey"


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
    node = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout if shutil.which("node") else "-"
    versions = {"kernel": platform.release(), "python": platform.python_version(), "node": node.strip().lstrip("v")}
    return {"cpu": model, "cores": str(os.cpu_count()), **versions}


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the table of a run of run.py.")
    parser.add_argument("results", type=Path, help="what run.py --json wrote")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw a PNG in place of it")
    options = parser.parse_args()
    run = json.loads(options.results.read_text())
    if options.plot:
        plot(run, options.plot)
    else:
        print(markdown(run))


if __name__ == "__main__":
    main()
