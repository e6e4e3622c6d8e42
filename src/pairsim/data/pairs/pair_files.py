"""Read and write lists of pairs: CSV, and the `pairs.txt` of Labeled Faces in the Wild.

A CSV has rows `path1,path2,label` or `number1,number2,label`, each with a fold number as an optional fourth column, and
an optional header. A header may name the columns in any order, such as `first,second,target,kind,group`: `kind` is the
kind of a negative pair (such as skilled or random), `group` what a pair was drawn from (such as a writer). Other
columns are ignored. Fields are separated by commas, semicolons, tabs or bars. Lines at the top that begin with `#` are
comments. A comment of the form

    # pairsim pairs: 6000, sha256 <64 hexadecimal digits>

freezes the list: readers get exactly these pairs, or an error. The hash is computed from the rows as `write_pair_file`
writes them, without comments and header, so that `tail -n +3 pairs.csv | sha256sum` prints it too.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from pairsim._common.choices import OnError, check_on_error
from pairsim._common.storage import sha256, write_file
from pairsim.data.pairs.lfw_rows import is_lfw, lfw_rows
from pairsim.data.pairs.pair_columns import Columns, header_columns, is_pair, rank, targets_of, without_empty_columns
from pairsim.data.pairs.pair_text import Record, find_separator, picture_path, read_text
from pairsim.data.pairs.skipped_pairs import SkippedPairs, check_exist, skip_pairs
from pairsim.errors import DataError

Row: TypeAlias = tuple[str, str, int]
Images: TypeAlias = Sequence[str] | Sequence[int]  # paths or numbers

_CSV_ROW = "path1,path2,label with label 1 (same) or 0 (different) and, if you like, a fold number from 0"
_ADVICE = (
    "Labels may be words such as same and different, or 1 and -1. Columns in another order need a first line with "
    "their names, such as label,path1,path2."
)
_SHOWN = 200
_MARK = "# pairsim pairs"
_FROZEN = re.compile(_MARK + r": (\d+), sha256 ([0-9a-f]{64})")


@dataclass(frozen=True)
class PairTable:
    """A list of pairs as it is written in a file.

    Attributes:
        file: The file, for messages.
        pairs: First and second image of each pair.
        target: 1 = same class, 0 = different; `None` where the list has no labels.
        folds: Fold number of each pair, where a CSV gives it.
        kinds: Kind of each pair, where a CSV gives it; a positive pair may have none, which is an empty text.
        groups: Group of each pair, where a CSV gives it.
        encoding: How the file was decoded.
        frozen: Whether the file has the hash of its pairs; it was checked.
        lfw_header: First line of an LFW list, which gives the numbers of folds and pairs.
    """

    file: Path
    pairs: list[tuple[str, str]]
    target: list[int] | None
    folds: list[int] | None
    encoding: str
    kinds: list[str] | None = None
    groups: list[str] | None = None
    frozen: bool = False
    lfw_header: str | None = None

    @property
    def rows(self) -> list[Row]:
        """First image, second image and target of each pair.

        Raises:
            DataError: If the list has no labels.
        """
        if self.target is None and self.pairs:
            raise DataError(
                f"Expected {self.file} to list pairs as path1,path2,label, found no label, as in "
                f"{','.join(self.pairs[0])[:_SHOWN]!r}. Add a column with 1 (same) or 0 (different), named label if "
                "there is a header; pairsim compare --pairs takes lists without labels."
            )
        return [(*pair, target) for pair, target in zip(self.pairs, self.target or (), strict=True)]

    def only(self, skipped: SkippedPairs) -> PairTable:
        """Return the pairs that are not skipped, with their other columns."""
        kept: dict[str, Any] = {key: skipped.of_kept(of) for key, of in vars(self).items() if isinstance(of, list)}
        return dataclasses.replace(self, **kept)

    def with_names_in(self, folder: Path) -> PairTable:
        """Return the list with those names of files that are not UTF-8 as they are in a folder, byte for byte."""
        if self.encoding.startswith("utf"):
            return self

        @cache
        def in_folder(name: str) -> str:
            raw = os.fsdecode(name.encode(self.encoding))
            return raw if os.path.isfile(folder / raw) and not os.path.isfile(folder / name) else name

        return dataclasses.replace(self, pairs=[(in_folder(first), in_folder(second)) for first, second in self.pairs])

    def numbers(self) -> tuple[list[int], list[int], list[int]]:
        """Return first image numbers, second image numbers and targets.

        Raises:
            DataError: If there are no rows, they have no label, or an image is not a whole number.
        """
        if not self.pairs or not all(name.isdecimal() for pair in self.pairs for name in pair):
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
    return read_picture_pairs(path, root)[0].rows


def read_picture_pairs(
    path: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    *,
    on_error: OnError = "raise",
    white: int | None = None,
) -> tuple[PairTable, SkippedPairs | None]:
    """Read a list of pairs of picture files with its other columns, as `read_pair_file` does.

    Args:
        path: As for `read_pair_file`.
        root: As for `read_pair_file`.
        on_error: "raise" stops at pictures that are missing; "skip" reads all pictures once, and leaves out the pairs
            of those that are missing or cannot be read, in every column.
        white: As for `read_image`.

    Returns:
        The list, whose pairs are the paths, and what was left out of it; `None` unless skipped.
    """
    check_on_error(on_error)
    folder = Path(path).parent if root is None else Path(root)
    table = read_table(path).with_names_in(folder)
    if not table.rows:
        raise DataError(f"Expected {table.file} to list pairs as path1,path2,label, found none. Add some.")
    found = {name: picture_path(folder, name) for pair in table.pairs for name in pair}
    same = {os.path.realpath(path): path for path in reversed(found.values())}  # "a.png" and "./a.png" are one picture
    paths = {name: same[os.path.realpath(path)] for name, path in found.items()}
    if own := [pair for pair in table.pairs if len({paths[name] for name in pair}) == 1]:
        raise DataError(
            f"Expected two different pictures in every pair of {table.file}, found {len(own)} of a picture with "
            f"itself, such as {','.join(own[0])[:_SHOWN]!r}. Remove them: they carry no information on similarity."
        )
    table = dataclasses.replace(table, pairs=[(paths[first], paths[second]) for first, second in table.pairs])
    if on_error == "skip":
        skipped = skip_pairs(table.pairs, table.target or (), white)
        return table.only(skipped), skipped
    check_exist(dict.fromkeys(paths.values()), table.file, table.encoding)
    return table, None


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
    if len(table.pairs) != num_folds * 2 * num_positive:
        raise DataError(
            f"Expected {path} to list {num_folds} folds of {num_positive} positive and {num_positive} negative pairs, "
            f"as its first line says, found {len(table.pairs)} pairs. Get the whole list, or fix its first line."
        )
    return [number // (2 * num_positive) for number in range(len(table.pairs))]


def read_table(path: str | os.PathLike[str]) -> PairTable:
    """Read a list of pairs as it is written, whether its images are paths or numbers, with or without labels.

    Args:
        path: CSV, or LFW's `pairs.txt`.

    Returns:
        The pairs, none for an empty file.

    Raises:
        DataError: If the file is missing, a row cannot be parsed, or the pairs differ from its own hash.
    """
    text = read_text(Path(path), is_pair)
    lfw = [line.split("\t") for line in text.lines]
    if text.separator is None and is_lfw(lfw):
        parsed = lfw_rows(text, lfw)
        pairs = [(first, second) for first, second, _ in parsed]
        table = PairTable(text.file, pairs, [target for *_, target in parsed], None, text.encoding)
        frozen = _is_frozen(table, text.comments)
        return dataclasses.replace(table, frozen=frozen, lfw_header=text.lines[0])
    separator = find_separator(text, rank)
    records = without_empty_columns(list(text.records(separator)))
    try:
        columns = header_columns([fields for _, fields in records]) if records else None
    except DataError as error:
        raise DataError(f"{error} It is in line {records[0][0]} of {text.file}.") from error
    if columns is None:
        columns = Columns() if records and len(records[0][1]) != 2 else Columns(target=None, width=2)
    else:
        del records[0]

    def wrong(record: Record, expected: str = _CSV_ROW, advice: str = _ADVICE) -> DataError:
        found = separator.join(record[1])[:_SHOWN]
        return DataError(f"Expected line {record[0]} of {text.file} to be {expected}, found {found!r}. {advice}")

    pairs, labels, folds = list[tuple[str, str]](), list[str](), list[int]()
    for record in records:
        fields = record[1]
        if columns.width not in (None, len(fields)):
            raise wrong(record, f"{columns.width} fields, like the first line", "Put names with separators in quotes.")
        if len(fields) not in (3, 4) and columns.width is None:
            raise wrong(record)
        pairs.append((fields[columns.first], fields[columns.second]))
        if not all(pairs[-1]):
            raise wrong(record)
        if columns.target is not None:
            labels.append(fields[columns.target])
        fold = fields[3:] if columns.width is None else fields[columns.fold :][:1] if columns.fold is not None else []
        if not all(value.isdecimal() for value in fold):
            raise wrong(record)
        if len(pairs) > 1 and len(fold) != bool(folds):
            raise DataError(
                f"Expected a fold in every row of {text.file} or in none, found line {record[0]} unlike those before. "
                "Add the missing ones, or remove the column."
            )
        folds.extend(map(int, fold))
    targets = targets_of(labels)
    if None in targets:
        raise wrong(records[targets.index(None)])
    target = None if columns.target is None else [target for target in targets if target is not None]
    kinds, groups = (
        None if column is None else [fields[column] for _, fields in records]
        for column in (columns.kind, columns.group)
    )
    for name, values in (("kind", kinds), ("group", groups)):
        for number, value in enumerate(values or ()):
            if not value and not (name == "kind" and target is not None and target[number]):
                which = "negative pair" if name == "kind" else "pair"
                raise wrong(records[number], f"a {which} with its {name}", f"Fill in the column {name}, or remove it.")
    table = PairTable(text.file, pairs, target, folds or None, text.encoding, kinds, groups)
    return dataclasses.replace(table, frozen=_is_frozen(table, text.comments))


def write_pair_file(
    path: str | os.PathLike[str],
    first: Images,
    second: Images,
    target: Sequence[int],
    fold: Sequence[int] | None = None,
    *,
    kind: Sequence[str] | None = None,
    group: Sequence[str] | None = None,
) -> None:
    """Write a CSV of pairs with their number and hash, in one step.

    Args:
        path: The file, which is replaced.
        first: Path (relative to the folder that the list is read with) or number of each first image `[P]`.
        second: The same of each second image `[P]`.
        target: 1 = same class, 0 = different `[P]`.
        fold: Fold number from 0 of each pair `[P]`.
        kind: Kind of each pair `[P]`, such as "skilled"; it may be empty for a positive pair.
        group: Group of each pair `[P]`, such as the writer.

    Raises:
        ValueError: If a text has a line break, or a space at an end, which would be lost when it is read, or is not
            UTF-8.
        RunError: If the file cannot be written.
    """
    for name, values in (
        ("paths", (*first, *second)),
        ("kinds", tuple(filter(None, kind or ()))),
        ("groups", group or ()),
    ):
        unsafe = [text for text in values if isinstance(text, str) and not _comes_back(text)]
        if unsafe:
            raise ValueError(
                f"Expected {name} in UTF-8 without line breaks or spaces at an end, got {unsafe[0]!r} "
                f"({len(unsafe)} such). Rename {'the pictures' if name == 'paths' else 'them'}."
            )
    rows = _csv_text(first, second, target, fold, kind, group)
    what = "path" if isinstance(next(iter(first), None), str) else "number"
    given = [name for name, values in (("fold", fold), ("kind", kind), ("group", group)) if values is not None]
    header = ",".join((f"{what}1", f"{what}2", "label", *given)) + "\n"
    write_file(Path(path), f"{_MARK}: {len(target)}, sha256 {sha256(rows.encode())}\n{header}{rows}".encode())


def pairs_sha256(
    first: Images,
    second: Images,
    target: Sequence[int],
    fold: Sequence[int] | None = None,
    *,
    kind: Sequence[str] | None = None,
    group: Sequence[str] | None = None,
) -> str:
    r"""Compute the hash of pairs that `write_pair_file` writes.

    Args:
        first: As in `write_pair_file`.
        second: As there.
        target: As there.
        fold: As there.
        kind: As there.
        group: As there.

    Returns:
        SHA-256 of the rows as CSV in UTF-8, each ended by a line feed, as 64 hexadecimal digits.

    Example:
        >>> import hashlib
        >>> pairs_sha256([3, 0], [4, 2], [1, 0]) == hashlib.sha256(b"3,4,1\n0,2,0\n").hexdigest()
        True
    """
    return sha256(_csv_text(first, second, target, fold, kind, group).encode())


def _comes_back(name: str) -> bool:
    return name.strip().splitlines() == [name] and "\0" not in name and name == name.encode(errors="ignore").decode()


def _csv_text(first: Images, second: Images, target: Sequence[int], *others: Sequence[object] | None) -> str:
    text = io.StringIO()
    columns = [first, second, list(map(int, target)), *(values for values in others if values is not None)]  # True as 1
    csv.writer(text, lineterminator="\n").writerows(zip(*columns, strict=True))
    return text.getvalue()


def _is_frozen(table: PairTable, comments: list[str]) -> bool:
    """Return whether a comment gives number and hash of the pairs, and check them."""
    marks = [line.strip() for line in comments if line.startswith(_MARK)]
    if not marks:
        return False
    frozen = _FROZEN.fullmatch(marks[0])
    if frozen is None or len(marks) > 1:
        raise DataError(
            f"Expected one line '{_MARK}: COUNT, sha256 64 HEXADECIMAL DIGITS' in {table.file}, found {marks[-1]!r}. "
            "Get the original file, or remove the line to take the pairs as they are."
        )
    count, expected = int(frozen[1]), frozen[2]
    first, second, target = zip(*table.rows, strict=True) if table.rows else ((), (), ())
    found = pairs_sha256(first, second, target, table.folds, kind=table.kinds, group=table.groups)
    if (count, expected) != (len(table.rows), found):
        raise DataError(
            f"Expected {table.file} to hold {count} pairs with sha256 {expected}, as its first line says, found "
            f"{len(table.rows)} with sha256 {found}. It was changed: get the original file, or remove the line to take "
            "the pairs as they are."
        )
    return True
