"""Write CSV files."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from pairsim._common.storage import write_file


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
    write_file(Path(path), text.getvalue().encode("utf-8", "surrogateescape"))
