"""Write the tables of docs/concepts/record.md from the classes of the report: `python docs/record_tables.py`."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

from pairsim.evaluation import ClassErrors, ClassPairErrors, FoldAccuracy, GroupErrors, GroupRatio, GroupReport
from pairsim.evaluation import KFoldReport as FoldReport
from pairsim.evaluation.errors.group_rates import MIN_CLASSES
from pairsim.verification import VerificationReport
from pairsim.verification.report_parts import Acquisition, ImagesPerClass, ThresholdOrigin, Throughput
from pairsim.verification.verification_report import KindErrors

PAGE = Path(__file__).parent / "concepts" / "record.md"
BEGIN, END = "<!-- keys:begin -->\n", "<!-- keys:end -->\n"

COMMAND_KEYS = {
    "left_out": "Files and pictures of the folder that are not used: `reason`, `files`, `folders` and up to three "
    "`examples` of each.",
    "num_skipped": "Only of given pairs: pairs that were left out with `--on-error skip`.",
    "skipped": "Only of given pairs: the pictures that are missing or cannot be read, each with `file` and `reason`.",
}
"""Keys that the command adds to the report."""

SECTIONS: tuple[tuple[str, type], ...] = (
    ("The object", VerificationReport),
    ("`by_group`", GroupReport),
    ("`by_group.groups`, a list", GroupErrors),
    ("`by_group.worst_fmr` and `by_group.worst_fnmr`", GroupRatio),
    ("`acquisition`", Acquisition),
    ("`threshold_origin`", ThresholdOrigin),
    ("`throughput`", Throughput),
    ("`images_per_class`", ImagesPerClass),
    ("`kinds`, an object by the name of the kind", KindErrors),
    ("`weakest_classes`, a list", ClassErrors),
    ("`weakest_pairs`, a list", ClassPairErrors),
    ("`k_fold`", FoldReport),
    ("`k_fold.folds`, a list", FoldAccuracy),
)


def tables() -> str:
    """Return a heading and a table of keys for each class."""
    parts = []
    for heading, kind in SECTIONS:
        rows = dict(meanings(kind))
        if kind is VerificationReport:
            rows |= COMMAND_KEYS
        lines = [f"| `{key}` | {text} |" for key, text in rows.items()]
        parts.append("\n".join([f"### {heading}", "", "| key | meaning |", "|---|---|", *lines]))
    return "\n\n".join(parts) + "\n"


def meanings(kind: type) -> list[tuple[str, str]]:
    """Return the name and the docstring of each field of a dataclass."""
    attributes = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2].partition("\n\n")[0]
    found = dict(re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", attributes, re.MULTILINE))
    return [(field.name, _as_json(found[field.name])) for field in dataclasses.fields(kind)]


def _as_json(text: str) -> str:
    """Return a text in one line, with the words of JSON."""
    return (
        re.sub(r"\s+", " ", text)
        .replace("|", r"\|")
        .replace("`None`", "`null`")
        .replace("NaN", "`null`")
        .replace("`MIN_CLASSES`", str(MIN_CLASSES))
    )


if __name__ == "__main__":
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{tables()}{END}{rest.split(END)[1]}", encoding="utf-8")
