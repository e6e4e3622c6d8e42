"""Lists of pairs in files: CSV, and the `pairs.txt` of Labeled Faces in the Wild."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from pairsim.errors import DataError, ImageReadError

_SAME = {"1", "1.0", "true", "same", "yes"}
_DIFFERENT = {"0", "0.0", "false", "different", "no"}


def read_pair_file(
    path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None
) -> list[tuple[str, str, int]]:
    """Read a list of pairs.

    Args:
        path: CSV with rows `path1,path2,label` and an optional header, or LFW's `pairs.txt`, whose rows are
            `name n1 n2` (same person) and `name1 n1 name2 n2` (different people), separated by tabs.
        root: Folder that relative paths start from; the file's own folder by default.

    Returns:
        First path, second path and target (1 = same class, 0 = different) of each pair.

    Raises:
        DataError: If the file is missing or empty, or a row cannot be understood; the message gives its line.
        ImageReadError: If a picture is missing; the message names it.

    References:
        Huang et al.: Labeled Faces in the Wild, 2007, view 2.
    """
    file = Path(path)
    folder = file.parent if root is None else Path(root)
    lines = _lines(file)
    lfw = any("\t" in line for line in lines[:3]) and not any("," in line for line in lines[:3])
    rows = _lfw_rows(file, lines) if lfw else _csv_rows(file, lines)
    if not rows:
        raise DataError(f"Expected {file} to list pairs as path1,path2,label, found none.")
    pairs = [(str(folder / first), str(folder / second), target) for first, second, target in rows]
    missing = sorted({name for first, second, _ in pairs for name in (first, second) if not os.path.isfile(name)})
    if missing:
        raise ImageReadError(
            f"Expected every picture of {file} to exist, {len(missing)} do not, such as {missing[0]}. "
            "Pass root= with the folder that the paths start from."
        )
    return pairs


def _csv_rows(file: Path, lines: list[str]) -> list[tuple[str, str, int]]:
    rows = []
    for number, row in enumerate(csv.reader(lines), start=1):
        fields = [field.strip() for field in row]
        if not any(fields):
            continue
        label = fields[2].lower() if len(fields) == 3 else ""
        if label in _SAME or label in _DIFFERENT:
            rows.append((fields[0], fields[1], int(label in _SAME)))
        elif number > 1 or len(fields) != 3 or _is_number(label):  # the first row may be a header
            raise DataError(
                f"Expected line {number} of {file} to be path1,path2,label with label 1 (same) or 0 (different), "
                f"found {','.join(fields)!r}."
            )
    return rows


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _lfw_rows(file: Path, lines: list[str]) -> list[tuple[str, str, int]]:
    rows = []
    for number, line in enumerate(lines, start=1):
        fields = line.split("\t")
        try:
            if len(fields) == 3:
                name, first, second = fields[0], int(fields[1]), int(fields[2])
                rows.append((_lfw_path(name, first), _lfw_path(name, second), 1))
            elif len(fields) == 4:
                rows.append((_lfw_path(fields[0], int(fields[1])), _lfw_path(fields[2], int(fields[3])), 0))
            elif line.strip() and number > 1:  # the first line counts folds and pairs
                raise ValueError(line)
        except ValueError as error:
            raise DataError(
                f"Expected line {number} of {file} to be 'name n1 n2' or 'name1 n1 name2 n2' with tabs between, "
                f"found {line!r}."
            ) from error
    return rows


def _lfw_path(name: str, number: int) -> str:
    return f"{name}/{name}_{number:04d}.jpg"


def read_numbered_pairs(path: str | os.PathLike[str]) -> tuple[list[int], list[int], list[int]]:
    """Read a CSV of `number1,number2,label`, where the numbers are places in a dataset, from 0.

    Returns:
        First numbers, second numbers and targets.

    Raises:
        DataError: If the file is missing or empty, or a row cannot be understood.
    """
    file = Path(path)
    rows = _csv_rows(file, _lines(file))
    if not rows or not all(first.isdecimal() and second.isdecimal() for first, second, _ in rows):
        raise DataError(f"Expected {file} to list pairs as number1,number2,label with image numbers from 0.")
    return [int(first) for first, _, _ in rows], [int(second) for _, second, _ in rows], [row[2] for row in rows]


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Expected a readable list of pairs at {file}, but: {error}.") from error
