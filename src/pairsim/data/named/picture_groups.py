"""Put labelled pictures into groups by a pattern in the names of their classes or files."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from pairsim.data.named.folder_labels import LabelledPicture
from pairsim.errors import DataError, printable

_MAX_SHOWN = 3


def group_by_pattern(
    pictures: Sequence[LabelledPicture], pattern: str, *, needs_all: bool = True
) -> list[LabelledPicture]:
    r"""Give each picture the group that a pattern finds in the name of its class, or else in its path.

    Args:
        pictures: The pictures.
        pattern: Regular expression. The first group in it, or else the whole match, is the name of the group.
        needs_all: Whether each picture needs a group; without it, those without a match have none.

    Returns:
        The same pictures, with their groups.

    Raises:
        DataError: If a picture needs a group and there is no match for it, or an empty one; the message names some.
        ValueError: If the pattern is no regular expression.

    Example:
        >>> picture = LabelledPicture("w001_forged/3.png", "w001_forged", None)
        >>> group_by_pattern([picture], r"(w\d+)_")[0].group
        'w001'
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"Expected groups to be a regular expression, got {pattern!r}: {error}.") from error

    def name_in(text: str) -> str | None:
        match = expression.search(text)
        return None if match is None else match[min(1, expression.groups)] or None

    found = {label: name_in(label) for label in {picture.label for picture in pictures}}
    grouped = [
        dataclasses.replace(picture, group=found[picture.label] or name_in(picture.name)) for picture in pictures
    ]
    missed = [picture.name for picture in grouped if picture.group is None]
    if missed and needs_all:
        some = ", ".join(map(printable, missed[:_MAX_SHOWN])) + (" and others" if len(missed) > _MAX_SHOWN else "")
        raise DataError(
            f"Expected the pattern {pattern} to name the group of every picture, found no match in {len(missed):,} of "
            f"{len(pictures):,}: {some}. It is searched in the name of the class, then in the path below the folder. "
            "Change it, or name a column of the metadata file."
        )
    return grouped
