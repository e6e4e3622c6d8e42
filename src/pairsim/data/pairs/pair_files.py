"""Lists of pairs in files: CSV, and the `pairs.txt` of Labeled Faces in the Wild.

A CSV has rows `path1,path2,label` or `number1,number2,label`, each with a fold number as an optional fourth column, and
an optional header. Lines that begin with `#` are comments where they stand at the top. One of the form

    # pairsim pairs: 6000, sha256 <64 hexadecimal digits>

freezes the list: whoever reads the file gets these pairs or an error. The hash is that of the rows as `write_pair_file`
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

from pairsim._common.storage import sha256, write_file
from pairsim.errors import DataError, ImageReadError

_SAME = {"1", "1.0", "true", "same", "yes"}
_DIFFERENT = {"0", "0.0", "false", "different", "no"}
_MARK = "# pairsim pairs"
_FROZEN = re.compile(_MARK + r": (\d+), sha256 ([0-9a-f]{64})")


@dataclass(frozen=True)
class PairTable:
    """What a list of pairs holds, as it is written there.

    Attributes:
        rows: First image, second image and target (1 = same class, 0 = different) of each pair.
        folds: Fold number of each pair, of a CSV with a fourth column.
        frozen: Whether the file gives its hash; it was then found to be right.
        lfw_header: First line of an LFW list, which counts folds and pairs.
    """

    rows: list[tuple[str, str, int]]
    folds: list[int] | None = None
    frozen: bool = False
    lfw_header: str | None = None


def read_pair_file(
    path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None
) -> list[tuple[str, str, int]]:
    """Read a list of pairs.

    Args:
        path: CSV with rows `path1,path2,label` and an optional header, or LFW's `pairs.txt`, whose rows are
            `name n1 n2` (same person) and `name1 n1 name2 n2` (different people), separated by tabs. A fourth column
            of a CSV, the fold, is left to `read_folds`.
        root: Folder that relative paths start from; the file's own folder by default.

    Returns:
        First path, second path and target (1 = same class, 0 = different) of each pair.

    Raises:
        DataError: If the file is missing or empty, a row cannot be understood (the message gives its line), or the
            pairs are not those of the file's own hash.
        ImageReadError: If a picture is missing; the message names it.

    References:
        Huang et al.: Labeled Faces in the Wild, 2007, view 2.
    """
    file = Path(path)
    folder = file.parent if root is None else Path(root)
    rows = read_table(file).rows
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


def read_numbered_pairs(path: str | os.PathLike[str]) -> tuple[list[int], list[int], list[int]]:
    """Read a CSV of `number1,number2,label`, where the numbers are places in a dataset, from 0.

    Returns:
        First numbers, second numbers and targets.

    Raises:
        DataError: If the file is missing or empty, a row cannot be understood, or the pairs are not those of the
            file's own hash.
    """
    return numbers_of(read_table(path).rows, path)


def numbers_of(
    rows: Sequence[tuple[str, str, int]], path: str | os.PathLike[str]
) -> tuple[list[int], list[int], list[int]]:
    """Take the images of some rows for numbers.

    Args:
        rows: As in `PairTable`.
        path: What the message calls the file.

    Returns:
        First numbers, second numbers and targets.

    Raises:
        DataError: If there are no rows, or an image is not a whole number.
    """
    if not rows or not all(first.isdecimal() and second.isdecimal() for first, second, _ in rows):
        raise DataError(f"Expected {path} to list pairs as number1,number2,label with image numbers from 0.")
    return [int(first) for first, _, _ in rows], [int(second) for _, second, _ in rows], [row[2] for row in rows]


def read_folds(path: str | os.PathLike[str]) -> list[int] | None:
    """Read the fold of each pair of a list, in the order of `read_pair_file` and `read_numbered_pairs`.

    Args:
        path: CSV with the fold as fourth column, or LFW's `pairs.txt`, whose first line counts folds and the positive
            pairs of each, which has as many negative ones.

    Returns:
        Fold numbers from 0; None where the file gives no folds.

    Raises:
        DataError: If the file cannot be read, or has another number of pairs than its folds add up to.
    """
    table = read_table(path)
    if table.lfw_header is None:
        return table.folds
    counts = table.lfw_header.split("\t")
    if len(counts) != 2 or not all(count.strip().isdecimal() for count in counts):
        return None
    num_folds, num_positive = map(int, counts)
    if len(table.rows) != num_folds * 2 * num_positive:
        raise DataError(
            f"Expected {path} to list {num_folds} folds of {num_positive} positive and {num_positive} negative pairs, "
            f"as its first line says, found {len(table.rows)} pairs. Get the whole list, or mend its first line."
        )
    return [place // (2 * num_positive) for place in range(len(table.rows))]


def read_table(path: str | os.PathLike[str]) -> PairTable:
    """Read a list of pairs as it is written, whatever its images are.

    Args:
        path: CSV, or LFW's `pairs.txt`.

    Returns:
        The rows, none for an empty file.

    Raises:
        DataError: If the file is missing, a row cannot be understood, or the pairs are not those of its own hash.
    """
    file = Path(path)
    lines = _lines(file)
    start = next((place for place, line in enumerate(lines) if not _is_comment(line)), len(lines))
    comments, lines = lines[:start], lines[start:]
    if any("\t" in line for line in lines[:3]) and not any("," in line for line in lines[:3]):
        table = PairTable(_lfw_rows(file, lines, start), lfw_header=lines[0])
    else:
        table = _csv_table(file, lines, start)
    return PairTable(table.rows, table.folds, _is_frozen(file, comments, table), table.lfw_header)


def write_pair_file(
    path: str | os.PathLike[str],
    first: Sequence[str] | Sequence[int],
    second: Sequence[str] | Sequence[int],
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
        ValueError: If a path has a line break, or a space at an end, which reading would not give back.
        RunError: If the file cannot be written.
    """
    unsafe = [name for name in (*first, *second) if isinstance(name, str) and name.strip().splitlines() != [name]]
    if unsafe:
        raise ValueError(
            f"Expected paths without line breaks or spaces at an end, got {unsafe[0]!r} ({len(unsafe)} such). "
            "Rename the pictures."
        )
    rows = _rows_text(first, second, target, fold)
    kind = "path" if isinstance(next(iter(first), None), str) else "number"
    header = f"{kind}1,{kind}2,label{'' if fold is None else ',fold'}\n"
    write_file(Path(path), f"{_MARK}: {len(target)}, sha256 {sha256(rows.encode())}\n{header}{rows}".encode())


def pairs_sha256(
    first: Sequence[str] | Sequence[int],
    second: Sequence[str] | Sequence[int],
    target: Sequence[int],
    fold: Sequence[int] | None = None,
) -> str:
    r"""The hash that a file of these pairs carries.

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
    return sha256(_rows_text(first, second, target, fold).encode())


def _rows_text(
    first: Sequence[str] | Sequence[int],
    second: Sequence[str] | Sequence[int],
    target: Sequence[int],
    fold: Sequence[int] | None,
) -> str:
    text = io.StringIO()
    zero_or_one = [int(value) for value in target]  # True and 1.0 are read back as 1
    columns = (first, second, zero_or_one) if fold is None else (first, second, zero_or_one, fold)
    csv.writer(text, lineterminator="\n").writerows(zip(*columns, strict=True))
    return text.getvalue()


def _is_frozen(file: Path, comments: list[str], table: PairTable) -> bool:
    """Whether a comment gives number and hash of the pairs, and that they are right."""
    marks = [line.strip() for line in comments if line.startswith(_MARK)]
    if not marks:
        return False
    said = _FROZEN.fullmatch(marks[0])
    if said is None or len(marks) > 1:
        raise DataError(
            f"Expected one line '{_MARK}: COUNT, sha256 64 HEXADECIMAL DIGITS' in {file}, found {marks[-1]!r}. "
            "Get the original file, or remove the line to take the pairs as they are."
        )
    first, second, target = zip(*table.rows, strict=True) if table.rows else ((), (), ())
    count, expected = int(said[1]), said[2]
    found = pairs_sha256(first, second, target, table.folds)
    if (count, expected) != (len(table.rows), found):
        raise DataError(
            f"Expected {file} to hold {count} pairs with sha256 {expected}, as its first line says, found "
            f"{len(table.rows)} with sha256 {found}. It was changed: get the original file, or remove the line to take "
            "the pairs as they are."
        )
    return True


def _is_comment(line: str) -> bool:
    # A pair of pictures whose names begin with # is not passed over.
    return not line.strip() or (line.startswith("#") and _csv_row(next(csv.reader([line]))) is None)


def _csv_table(file: Path, lines: list[str], start: int) -> PairTable:
    rows: list[tuple[str, str, int]] = []
    folds: list[int] = []
    for number, record in enumerate(csv.reader(lines), start=start + 1):
        fields = [field.strip() for field in record]
        if not any(fields):
            continue
        row = _csv_row(fields)
        if row is None:
            if number == start + 1 and _is_header(fields):
                continue
            raise DataError(
                f"Expected line {number} of {file} to be path1,path2,label with label 1 (same) or 0 (different) and, "
                f"if you like, a fold number from 0, found {','.join(fields)!r}."
            )
        if len(row) - 3 != bool(folds) and rows:
            raise DataError(
                f"Expected a fold in every row of {file} or in none, found line {number} unlike those before. "
                "Add the missing ones, or remove the column."
            )
        rows.append(row[:3])
        folds.extend(row[3:])
    return PairTable(rows, folds or None)


def _csv_row(fields: list[str]) -> tuple[str, str, int] | tuple[str, str, int, int] | None:
    """Images, target and the fold, if there is one; None for what is no pair."""
    label = fields[2].strip().lower() if len(fields) in (3, 4) else ""
    if label not in _SAME and label not in _DIFFERENT:
        return None
    if len(fields) == 3:
        return fields[0], fields[1], int(label in _SAME)
    return (fields[0], fields[1], int(label in _SAME), int(fields[3])) if fields[3].isdecimal() else None


def _is_header(fields: list[str]) -> bool:
    if len(fields) not in (3, 4) or fields[2].lower() in _SAME | _DIFFERENT:  # then it is the fold that is wrong
        return False
    try:
        float(fields[2])
    except ValueError:
        return True
    return False


def _lfw_rows(file: Path, lines: list[str], start: int) -> list[tuple[str, str, int]]:
    rows = []
    for number, line in enumerate(lines, start=start + 1):
        fields = line.split("\t")
        try:
            if len(fields) == 3:
                name, first, second = fields[0], int(fields[1]), int(fields[2])
                rows.append((_lfw_path(name, first), _lfw_path(name, second), 1))
            elif len(fields) == 4:
                rows.append((_lfw_path(fields[0], int(fields[1])), _lfw_path(fields[2], int(fields[3])), 0))
            elif line.strip() and number > start + 1:  # the first line counts folds and pairs
                raise ValueError(line)
        except ValueError as error:
            raise DataError(
                f"Expected line {number} of {file} to be 'name n1 n2' or 'name1 n1 name2 n2' with tabs between, "
                f"found {line!r}."
            ) from error
    return rows


def _lfw_path(name: str, number: int) -> str:
    return f"{name}/{name}_{number:04d}.jpg"


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Expected a readable list of pairs at {file}, but: {error}.") from error
