"""Write CSV files, and read the bytes of tables."""

from __future__ import annotations

import csv
import errno
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from pairsim._common import storage

SEPARATORS = (",", ";", "\t", "|")
"""What may separate the values in a line of a table, the most common first."""
_MAX_TABLE_BYTES = 2**28


def write_csv(path: str | os.PathLike[str], header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file in UTF-8, with a line feed at the end of each line.

    Args:
        path: The file, which is replaced in one step.
        header: Name of each column.
        rows: Values of each row, in the order of `header`; True and False are written as 1 and 0. Names of files need
            not be UTF-8.

    Raises:
        RunError: If it cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([int(value) if isinstance(value, bool) else value for value in row] for row in rows)
    storage.write_file(Path(path), text.getvalue().encode("utf-8", "surrogateescape"))


def read_table_file(path: str | os.PathLike[str]) -> bytes:
    """Read a file of text that is held in memory as a table, of at most 256 MB.

    Raises:
        OSError: If it cannot be read, is no regular file, or is larger.
    """
    with storage.open_file(path) as file:
        if os.fstat(file.fileno()).st_size > _MAX_TABLE_BYTES:
            raise OSError(errno.EFBIG, f"it has more than {_MAX_TABLE_BYTES:,} bytes. Split it", os.fspath(path))
        return file.read(_MAX_TABLE_BYTES)
