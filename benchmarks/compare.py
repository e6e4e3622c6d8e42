"""`python -m benchmarks compare A.json B.json`: two files of results side by side.

Rows are matched by benchmark, table and arm. Seconds and rates come with the ratio of B to A, and ratios with the ratio
of ratios, which says more: what two arms have in common, such as the machine, is not in it.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import Table, to_markdown
from benchmarks.results import read_report
from benchmarks.timing import Row

# of an arm: its parameters, which say which row it is
_PARAMETERS = ("objective", "augment", "epochs", "seed", "batch", "images", "labels", "pairs", "passes")
# what was found of an arm, in words
_SAID = ("precision", "reached", "measured", "met?")
# spread and counts, which are no figures of their own
_PASSED_OVER = re.compile(r".*_(low|high)|runs|seeds|num_.*|lowest|highest|classes|first_slope|first")


def main(arguments: Sequence[str]) -> int:
    """Print both files' figures side by side."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks compare", description=__doc__)
    parser.add_argument("first", type=Path, metavar="A.json")
    parser.add_argument("second", type=Path, metavar="B.json")
    found = parser.parse_args(arguments)
    try:
        reports = read_report(found.first), read_report(found.second)
    except (OSError, ValueError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    print(f"A: {found.first}\nB: {found.second}\n")
    for line in differences(*reports) or ["Hardware, versions and options are the same."]:
        print(line)
    for table in tables(*reports):
        print("\n" + to_markdown(table), end="")
    return 0


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """A line for each thing that results depend on and that differs."""
    one, other = (dict(_flat({name: report.get(name) for name in _DEPENDS_ON})) for report in (first, second))
    lines = [
        f"{name} differs: {one.get(name)} in A, {other.get(name)} in B."
        for name in dict.fromkeys((*one, *other))
        if one.get(name) != other.get(name)
    ]
    if any(line.startswith("hardware") for line in lines):
        lines.append("On different hardware only the ratios between arms can be compared, not seconds.")
    return lines


_DEPENDS_ON = ("hardware", "versions", "threads", "options", "revision")


def tables(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Table]:
    """One table for each benchmark that both have, and one of what only one of them has."""
    found: list[Table] = []
    alone: list[Row] = []
    for name in dict.fromkeys((*first["benchmarks"], *second["benchmarks"])):
        one, other = (_figures(report["benchmarks"].get(name, ())) for report in (first, second))
        shared = [_row(key, one[key], other[key]) for key in one if key in other]
        if shared:
            found.append(Table(name, shared))
        alone += _alone(name, one, other, "A") + _alone(name, other, one, "B")
    if alone:
        found.append(Table("Only in one of them", alone))
    return found


_Key = tuple[str, str, str]
"""Table, arm and figure."""


def _figures(found: Sequence[Mapping[str, Any]]) -> dict[_Key, float]:
    figures: dict[_Key, float] = {}
    for table in found:
        for row in table["rows"]:
            named = [value for name, value in row.items() if isinstance(value, str) and name not in _SAID]
            named += [f"{name} {row[name]:.12g}" for name in _PARAMETERS if isinstance(row.get(name), int | float)]
            for name, value in row.items():
                number = isinstance(value, int | float) and not isinstance(value, bool)
                if number and name not in _PARAMETERS and not _PASSED_OVER.fullmatch(name):
                    figures.setdefault((table["title"], ", ".join(named), name), float(value))
    return figures


def _row(key: _Key, first: float, second: float) -> Row:
    title, arm, name = key
    row: Row = {"table": title, "arm": arm, "figure": name.replace("_", " "), "A": first, "B": second}
    if first > 0 and second > 0:
        row["B_to_A"] = second / first
    return row


def _alone(benchmark: str, here: Mapping[_Key, float], there: Mapping[_Key, float], where: str) -> list[Row]:
    """A row for each arm that has figures here and not there."""
    missing: dict[tuple[str, str], list[str]] = {}
    for title, arm, name in here:
        if (title, arm, name) not in there:
            missing.setdefault((title, arm), []).append(name.replace("_", " "))
    return [
        {"benchmark": benchmark, "table": title, "arm": arm, "figures": ", ".join(names), "in": where}
        for (title, arm), names in missing.items()
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", value
