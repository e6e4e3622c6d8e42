"""Read and write lists of pairs: CSV, and the `pairs.txt` of Labeled Faces in the Wild.

A CSV has rows `path1,path2,label` or `number1,number2,label`, each with a fold number as an optional fourth column, and
an optional header. Lines at the top that begin with `#` are comments. A comment of the form

    # pairsim pairs: 6000, sha256 <64 hexadecimal digits>

freezes the list: readers get exactly these pairs, or an error. The hash is computed from the rows as `write_pair_file`
writes them, without comments and header, so that `tail -n +3 pairs.csv | sha256sum` prints it too.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from pairsim._common.storage import is_file, open_file, sha256, write_file
from pairsim.errors import DataError, ImageReadError

Row: TypeAlias = tuple[str, str, int]
Images: TypeAlias = Sequence[str] | Sequence[int]  # paths or numbers

_TARGETS = {
    **dict.fromkeys(("1", "1.0", "true", "same", "yes"), 1),
    **dict.fromkeys(("0", "0.0", "false", "different", "no"), 0),
}
_CSV_ROW = "path1,path2,label with label 1 (same) or 0 (different) and, if you like, a fold number from 0"
_LFW_ROW = "'name n1 n2' or 'name1 n1 name2 n2' with tabs between"
_MARK = "# pairsim pairs"
_FROZEN = re.compile(_MARK + r": (\d+), sha256 ([0-9a-f]{64})")


@dataclass(frozen=True)
class PairTable:
    """A list of pairs as it is written in a file.

    Attributes:
        file: The file, for messages.
        rows: First image, second image and target (1 = same class, 0 = different) of each pair.
        folds: Fold number of each pair, where a CSV has a fourth column.
        frozen: Whether the file has the hash of its pairs; it was checked.
        lfw_header: First line of an LFW list, which gives the numbers of folds and pairs.
    """

    file: Path
    rows: list[Row]
    folds: list[int] | None = None
    frozen: bool = False
    lfw_header: str | None = None

    def numbers(self) -> tuple[list[int], list[int], list[int]]:
        """Return first image numbers, second image numbers and targets.

        Raises:
            DataError: If there are no rows, or an image is not a whole number.
        """
        if not self.rows or not all(first.isdecimal() and second.isdecimal() for first, second, _ in self.rows):
            raise DataError(f"Expected {self.file} to list pairs as number1,number2,label with image numbers from 0.")
        first, second, target = zip(*self.rows, strict=True)
        return list(map(int, first)), list(map(int, second)), list(target)


def read_pair_file(path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> list[Row]:
    """Read a list of pairs of picture files.

    Args:
        path: CSV with rows `path1,path2,label` and an optional header, or LFW's `pairs.txt`, whose rows are
            `name n1 n2` (same person) and `name1 n1 name2 n2` (different people), separated by tabs. A fourth column
            of a CSV, the fold, is ignored here; see `read_folds`.
        root: Folder that relative paths start from; the file's own folder by default.

    Returns:
        First path, second path and target (1 = same class, 0 = different) of each pair.

    Raises:
        DataError: If the file is missing or empty, a row cannot be parsed (the message gives its line), or the pairs
            differ from the file's own hash.
        ImageReadError: If a picture is missing; the message names it.

    References:
        Huang et al.: Labeled Faces in the Wild, 2007, view 2.
    """
    table = read_table(path)
    folder = table.file.parent if root is None else Path(root)
    if not table.rows:
        raise DataError(f"Expected {table.file} to list pairs as path1,path2,label, found none.")
    pairs = [(str(folder / first), str(folder / second), target) for first, second, target in table.rows]
    missing = sorted({name for first, second, _ in pairs for name in (first, second) if not is_file(name)})
    if missing:
        raise ImageReadError(
            f"Expected every picture of {table.file} to exist, {len(missing)} do not, such as {missing[0]}. "
            "Pass root= with the folder that the paths start from."
        )
    return pairs


def read_numbered_pairs(path: str | os.PathLike[str]) -> tuple[list[int], list[int], list[int]]:
    """Read a CSV of `number1,number2,label` with image numbers from 0.

    Returns:
        First numbers, second numbers and targets.

    Raises:
        DataError: If the file is missing or empty, a row cannot be parsed, or the pairs differ from the file's own
            hash.
    """
    return read_table(path).numbers()


def read_folds(path: str | os.PathLike[str]) -> list[int] | None:
    """Read the fold of each pair of a list, in the order of `read_pair_file` and `read_numbered_pairs`.

    Args:
        path: CSV with the fold as fourth column, or LFW's `pairs.txt`, whose first line gives the number of folds and
            of positive pairs in each; a fold has as many negative pairs.

    Returns:
        Fold numbers from 0; None where the file gives no folds.

    Raises:
        DataError: If the file cannot be read, or its number of pairs differs from that of its first line.
    """
    table = read_table(path)
    header = re.fullmatch(r"\s*(\d+)\s*\t\s*(\d+)\s*", table.lfw_header or "")
    if header is None:
        return table.folds
    num_folds, num_positive = map(int, header.groups())
    if len(table.rows) != num_folds * 2 * num_positive:
        raise DataError(
            f"Expected {path} to list {num_folds} folds of {num_positive} positive and {num_positive} negative pairs, "
            f"as its first line says, found {len(table.rows)} pairs. Get the whole list, or fix its first line."
        )
    return [number // (2 * num_positive) for number in range(len(table.rows))]


def read_table(path: str | os.PathLike[str]) -> PairTable:
    """Read a list of pairs as it is written, whether its images are paths or numbers.

    Args:
        path: CSV, or LFW's `pairs.txt`.

    Returns:
        The rows, none for an empty file.

    Raises:
        DataError: If the file is missing, a row cannot be parsed, or the pairs differ from its own hash.
    """
    file = Path(path)
    lines = read_lines(file)
    start = next((number for number, line in enumerate(lines) if not _is_comment(line)), len(lines))
    comments, lines = lines[:start], lines[start:]
    is_lfw = any("\t" in line for line in lines[:3]) and not any("," in line for line in lines[:3])
    if is_lfw:
        records, parse, expected = (line.split("\t") for line in lines), _lfw_row, _LFW_ROW
    else:
        records, parse, expected = ([f.strip() for f in record] for record in csv.reader(lines)), _csv_row, _CSV_ROW
    rows: list[Row] = []
    folds: list[int] = []
    for number, fields in enumerate(records, start=start + 1):
        row = parse(fields)
        if row is None:
            is_header = len(fields) not in (3, 4) if is_lfw else _is_header(fields)
            if not any(map(str.strip, fields)) or (number == start + 1 and is_header):
                continue
            found = ("\t" if is_lfw else ",").join(fields)
            raise DataError(f"Expected line {number} of {file} to be {expected}, found {found!r}.")
        if rows and len(row[1]) != bool(folds):
            raise DataError(
                f"Expected a fold in every row of {file} or in none, found line {number} unlike those before. "
                "Add the missing ones, or remove the column."
            )
        rows.append(row[0])
        folds.extend(row[1])
    frozen = _is_frozen(file, comments, rows, folds or None)
    return PairTable(file, rows, folds or None, frozen, lines[0] if is_lfw else None)


def read_lines(file: Path) -> list[str]:
    """Read the lines of a list of pairs; names of files in it need not be UTF-8.

    Raises:
        DataError: If it cannot be read, or is not text.
    """
    try:
        with open_file(file) as opened:
            content = opened.read()
        return content.decode("utf-8-sig", "strict" if b"\0" in content else "surrogateescape").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"Expected a readable list of pairs at {file}, but: {error}.") from error


def write_pair_file(
    path: str | os.PathLike[str],
    first: Images,
    second: Images,
    target: Sequence[int],
    fold: Sequence[int] | None = None,
) -> None:
    """Write a CSV of pairs with their number and hash, in one step.

    Args:
        path: The file, which is replaced.
        first: Path (relative to the folder that the list is read with) or number of each first image `[P]`.
        second: The same of each second image `[P]`.
        target: 1 = same class, 0 = different `[P]`.
        fold: Fold number from 0 of each pair `[P]`.

    Raises:
        ValueError: If a path has a line break, or a space at an end, which would be lost when it is read.
        RunError: If the file cannot be written.
    """
    unsafe = [name for name in (*first, *second) if isinstance(name, str) and name.strip().splitlines() != [name]]
    if unsafe:
        raise ValueError(
            f"Expected paths without line breaks or spaces at an end, got {unsafe[0]!r} ({len(unsafe)} such). "
            "Rename the pictures."
        )
    rows = _csv_text(first, second, target, fold)
    kind = "path" if isinstance(next(iter(first), None), str) else "number"
    header = f"{kind}1,{kind}2,label{'' if fold is None else ',fold'}\n"
    write_file(Path(path), f"{_MARK}: {len(target)}, sha256 {sha256(rows.encode())}\n{header}{rows}".encode())


def pairs_sha256(first: Images, second: Images, target: Sequence[int], fold: Sequence[int] | None = None) -> str:
    r"""Compute the hash of pairs that `write_pair_file` writes.

    Args:
        first: As in `write_pair_file`.
        second: As there.
        target: As there.
        fold: As there.

    Returns:
        SHA-256 of the rows as CSV in UTF-8, each ended by a line feed, as 64 hexadecimal digits.

    Example:
        >>> import hashlib
        >>> pairs_sha256([3, 0], [4, 2], [1, 0]) == hashlib.sha256(b"3,4,1\n0,2,0\n").hexdigest()
        True
    """
    return sha256(_csv_text(first, second, target, fold).encode())


def _csv_text(first: Images, second: Images, target: Sequence[int], fold: Sequence[int] | None) -> str:
    text = io.StringIO()
    columns = [first, second, list(map(int, target))]  # True and 1.0 are written as 1
    csv.writer(text, lineterminator="\n").writerows(zip(*columns, *([] if fold is None else [fold]), strict=True))
    return text.getvalue()


def _is_frozen(file: Path, comments: list[str], rows: list[Row], folds: list[int] | None) -> bool:
    """Return whether a comment gives number and hash of the pairs, and check them."""
    marks = [line.strip() for line in comments if line.startswith(_MARK)]
    if not marks:
        return False
    frozen = _FROZEN.fullmatch(marks[0])
    if frozen is None or len(marks) > 1:
        raise DataError(
            f"Expected one line '{_MARK}: COUNT, sha256 64 HEXADECIMAL DIGITS' in {file}, found {marks[-1]!r}. "
            "Get the original file, or remove the line to take the pairs as they are."
        )
    count, expected = int(frozen[1]), frozen[2]
    first, second, target = zip(*rows, strict=True) if rows else ((), (), ())
    found = pairs_sha256(first, second, target, folds)
    if (count, expected) != (len(rows), found):
        raise DataError(
            f"Expected {file} to hold {count} pairs with sha256 {expected}, as its first line says, found "
            f"{len(rows)} with sha256 {found}. It was changed: get the original file, or remove the line to take "
            "the pairs as they are."
        )
    return True


def _is_comment(line: str) -> bool:
    # A row whose first picture has a name that begins with # is not a comment.
    return not line.strip() or (line.startswith("#") and _csv_row(next(csv.reader([line]))) is None)


def _csv_row(fields: list[str]) -> tuple[Row, list[int]] | None:
    """Return images and target, and the fold if there is one; None if the fields are not a pair."""
    target = _TARGETS.get(fields[2].strip().lower()) if len(fields) in (3, 4) else None
    if target is None or not all(field.isdecimal() for field in fields[3:]):
        return None
    return (fields[0], fields[1], target), [int(field) for field in fields[3:]]


def _is_header(fields: list[str]) -> bool:
    if len(fields) not in (3, 4) or fields[2].lower() in _TARGETS:
        return False
    try:
        float(fields[2])  # a wrong label
    except ValueError:
        return True
    return False


def _lfw_row(fields: list[str]) -> tuple[Row, list[int]] | None:
    """Return images and target of a row of LFW, and no fold; None if the fields are not a pair."""
    if len(fields) not in (3, 4):
        return None
    pair = (fields[0], fields[1]), (fields[0] if len(fields) == 3 else fields[2], fields[-1])
    try:
        first, second = (f"{name}/{name}_{int(number):04d}.jpg" for name, number in pair)
    except ValueError:
        return None
    return (first, second, int(len(fields) == 3)), []
