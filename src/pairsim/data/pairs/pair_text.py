"""Split the text of a list of pairs into fields, and find the pictures that these name.

It may have any encoding, line ends, comments, separators and quotes.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from pairsim._common.csv_files import SEPARATORS, read_table_file
from pairsim.errors import DataError

Record: TypeAlias = tuple[int, list[str]]  # number of its line, from 1, and its fields

_SAMPLE = 100
_MAX_FIELDS = 1_000
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WORKBOOK = b"PK\x03\x04"
_SEPARATOR_LINE = re.compile(r'\s*"?sep=([,;|\t])"?\s*', re.IGNORECASE)


@dataclass(frozen=True)
class ListText:
    """The text of a list of pairs.

    Attributes:
        file: The file, for messages.
        encoding: How it was decoded.
        comments: Lines at the top that begin with `#`.
        lines: The other lines, without their ends.
        first: Number of the first of them, from 1.
        separator: The separator of the fields, if a line `sep=` at the top gives it.
    """

    file: Path
    encoding: str
    comments: list[str]
    lines: list[str]
    first: int
    separator: str | None

    def records(self, separator: str, count: int | None = None) -> Iterator[Record]:
        """Yield the number and the fields of each line that is not empty.

        Args:
            separator: One character.
            count: Lines to split; all by default.

        Raises:
            DataError: If a quote is not closed, a field is too long, or there are too many fields.
        """
        lines = (f"{line}\n" for line in self.lines[:count])
        reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
        begun = 0
        while True:
            try:
                fields = next(reader, None)
            except csv.Error as error:
                raise DataError(
                    f"Expected line {self.first + begun} of {self.file} to be a pair, but: {error}."
                ) from error
            if fields is None:
                return
            if any("\n" in field for field in fields):
                raise DataError(
                    f"Expected quotes around whole fields in line {self.first + begun} of {self.file}, found one that "
                    "is not closed. Close it, or write each quote inside of a field twice."
                )
            if len(fields) > _MAX_FIELDS:
                raise DataError(
                    f"Expected line {self.first + begun} of {self.file} to be a pair with at most {_MAX_FIELDS:,} "
                    f"fields, found {len(fields):,}. Remove the others."
                )
            fields = [field.strip() for field in fields]
            if any(fields):
                yield self.first + begun, fields
            begun = reader.line_num


def read_text(path: Path, is_pair: Callable[[Sequence[str]], bool]) -> ListText:
    """Read the lines of a list of pairs.

    UTF-8, UTF-16 and UTF-32 are recognised, with or without a byte order mark; other text is cp1252, as spreadsheets
    write it. Lines end in a line feed, a carriage return, or both.

    Args:
        path: The file.
        is_pair: Whether fields are a pair with its label; such a line that begins with `#` is not a comment.

    Raises:
        DataError: If the file cannot be read, or is not text.
    """
    try:
        text, encoding = _decoded(read_table_file(path))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        advice = " Check the path." if isinstance(error, FileNotFoundError | IsADirectoryError) else ""
        raise DataError(f"Expected a readable list of pairs at {path}, but: {reason}.{advice}") from error
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    given = _SEPARATOR_LINE.fullmatch(lines[0])
    top = 0 if given is None else 1

    def is_comment(number: int) -> bool:
        line = lines[number]
        if not line.startswith("#"):
            return not line.strip()
        following = next((other for other in lines[number + 1 :] if other.strip() and not other.startswith("#")), "")
        for separator in SEPARATORS:
            fields, others = _fields(line, separator), _fields(following, separator)
            # "#1.png,b.png" is two pictures where the lines below are two fields as well
            if is_pair(fields) or (len(fields) == len(others) == 2 and not line.startswith("# ")):
                return False
        return True

    start = next((number for number in range(top, len(lines)) if not is_comment(number)), len(lines))
    separator = None if given is None else given[1]
    return ListText(path, encoding, lines[top:start], lines[start:], start + 1, separator)


def find_separator(text: ListText, rank: Callable[[list[list[str]]], tuple[int, ...]]) -> str:
    """Return the separator of a list: that of its `sep=` line, else the one whose fields rank highest.

    Args:
        text: The list; its first lines are looked at.
        rank: Ranks the fields of lines. Of equal ranks the first of `SEPARATORS` counts.
    """
    if text.separator is not None:
        return text.separator
    ranks, errors = dict[str, tuple[int, ...]](), list[DataError]()
    for separator in SEPARATORS:
        try:
            ranks[separator] = rank([fields for _, fields in text.records(separator, _SAMPLE)])
        except DataError as error:  # the quotes may belong to another separator
            errors.append(error)
    if errors and not any(map(any, ranks.values())):
        raise errors[0]
    return max(ranks, key=ranks.__getitem__)


def _decoded(content: bytes) -> tuple[str, str]:
    if content.startswith(_WORKBOOK):
        raise ValueError("it is a workbook or an archive. Save the table as CSV in UTF-8")
    encodings = [name for mark, name in _MARKS if content.startswith(mark)][:1]
    if not encodings and b"\0" in content:
        encodings = ["utf-16-le" if content[1::2].count(0) > content[::2].count(0) else "utf-16-be"]
    for encoding in encodings or ("utf-8", "cp1252"):
        with contextlib.suppress(UnicodeDecodeError):
            return content.decode(encoding), encoding
    raise ValueError("it is not text in utf-8, utf-16 or cp1252. Save it as CSV in UTF-8")


def _fields(line: str, separator: str) -> list[str]:
    try:
        return [field.strip() for field in next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])]
    except csv.Error:
        return []


def picture_path(folder: Path | None, name: str) -> str:
    """Return the path of a picture that a list names; backslashes of a list from Windows separate folders elsewhere."""
    path = name if folder is None else str(folder / name)
    if "\\" in name and os.sep != "\\" and not os.path.isfile(path):
        return path.replace("\\", "/")
    return path
