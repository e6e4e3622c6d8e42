"""Find all picture files of a dataset that cannot be read, so that they can be replaced or left out in one go."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from pairsim._common.ordered_map import ordered_map
from pairsim._common.progress import progress_bar
from pairsim.data.image_sets import ImageFiles, images_of
from pairsim.errors import ImageReadError, printable
from pairsim.images import read_image

_MAX_NAMED = 10
_MAX_THREADS = 8


def unreadable(paths: Sequence[str | os.PathLike[str]], white: int | None = None) -> dict[int, str]:
    """Read each picture once, in threads and with a progress bar.

    Args:
        paths: The files.
        white: As for `read_image`.

    Returns:
        The reason for each that cannot be read, by its index.
    """

    def reason(path: str | os.PathLike[str]) -> str:
        try:
            read_image(path, white=white)
        except ImageReadError as error:
            return str(error)
        return ""

    threads = min(_MAX_THREADS, os.cpu_count() or 1)
    reasons = ordered_map(reason, paths, threads=threads, ahead=4 * threads, name="pairsim-check")
    found = {}
    with closing(reasons), progress_bar(len(paths), "checking pictures", "pictures") as bar:
        for index, text in enumerate(reasons):
            if text:
                found[index] = text
            bar.update()
    return found


def unreadable_error(paths: Sequence[str | os.PathLike[str]], found: Mapping[int, str]) -> ImageReadError:
    """Return one error on all pictures that cannot be read: their number, the first ten, and why the first cannot.

    Args:
        paths: All pictures.
        found: From `unreadable`, not empty.
    """
    names = [printable(os.fspath(paths[index])) for index in found]
    more = f" and {len(names) - _MAX_NAMED:,} more" if len(names) > _MAX_NAMED else ""
    return ImageReadError(
        f"Expected {len(paths):,} readable pictures, found {len(names):,} that cannot be read: "
        f"{', '.join(names[:_MAX_NAMED])}{more}. Replace or remove them, or skip them with --on-error skip "
        f"(on_error='skip'). The first: {next(iter(found.values()))}"
    )


def check_readable(dataset: Any) -> None:
    """Read each picture file of a dataset once; other datasets are not read.

    Raises:
        ImageReadError: If some cannot be read; the message counts them and names the first ten.
    """
    files = images_of(dataset)
    if isinstance(files, ImageFiles) and (found := unreadable(files.paths, files.white)):
        raise unreadable_error(files.paths, found)


@contextmanager
def all_named(dataset: Any) -> Iterator[None]:
    """Inside, an error of one picture file of a dataset becomes the error of all that cannot be read."""
    try:
        yield
    except ImageReadError:
        check_readable(dataset)
        raise
