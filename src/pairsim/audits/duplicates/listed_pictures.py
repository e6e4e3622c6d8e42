"""List the pictures to search, each file once, and read them in threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from pairsim._common.choices import OnError
from pairsim._common.ordered_map import ordered_map
from pairsim._common.progress import progress_bar
from pairsim.encoding.pictures import Skipped
from pairsim.errors import DataError, ImageReadError
from pairsim.images import PictureLike
from pairsim.images.folders import FolderScan
from pairsim.images.reading import decoded_picture

Result = TypeVar("Result")

_AHEAD = 128
MAX_THREADS = 4
"""Threads that read pictures, at most."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A picture to search.

    Attributes:
        index: Place among all pictures.
        picture: A path, or the picture itself.
        name: How the report names it.
        path: Of its file; `None` if it is not a file.
        reference: Whether it is of the folder that others are compared against.
    """

    index: int
    picture: PictureLike
    name: str
    path: str | None
    reference: bool = False


def listed(given: FolderScan | Sequence[PictureLike], against: FolderScan | None = None) -> list[Listed]:
    """List pictures, and each file once: a second path or a link to it is no copy.

    Args:
        given: What is searched.
        against: A second folder. A file that is in both belongs to it; if all of `given` are, as of a folder inside of
            it, those that are no links belong to `given`, and are compared with the others. Its pictures are named by
            their whole paths, without links above them, so that no name depends on where the command runs or is also
            one of `given`.

    Raises:
        DataError: If both have the same files, so that there is nothing to compare with.
    """
    found = []
    if against is not None:
        root = os.path.realpath(against.folder)
        named = zip(map(os.fspath, against.pictures), against.names, strict=True)
        found = [Listed(0, path, os.path.join(root, name), path, True) for path, name in named]
    if isinstance(given, FolderScan):
        named = zip(map(os.fspath, given.pictures), given.names, strict=True)
        found += [Listed(0, path, name, path) for path, name in named]
    else:
        for index, picture in enumerate(given):
            path = os.fspath(picture) if isinstance(picture, str | os.PathLike) else None
            found.append(Listed(0, picture, f"#{index}" if path is None else path, path))
    found = [replace(one, index=index) for index, one in enumerate(found)]
    unique: dict[str | int, Listed] = {}
    is_link = {one.index: one.path is not None and os.path.islink(one.path) for one in found}
    file = {one.index: one.index if one.path is None else os.path.realpath(one.path) for one in found}
    searched, others = ({file[one.index] for one in found if one.reference is which} for which in (False, True))
    if against is not None and searched == others:
        raise DataError(
            f"Expected {against.folder} to have pictures that are not searched, to compare with, found none: all "
            f"{len(others):,} are. Give another folder, or search one folder alone."
        )
    inside = searched <= others

    def place(one: Listed) -> tuple[bool, bool, str]:
        link = is_link[one.index]
        return (link, one.reference, one.name) if inside else (not one.reference, link, one.name)

    for one in sorted(found, key=place):
        unique.setdefault(file[one.index], one)
    return sorted(unique.values(), key=lambda one: one.index)


def pixels_of(one: Listed, *, white: int | None) -> Tensor:
    """Decode a picture, uint8 `[3, H, W]`.

    Args:
        one: Of those listed.
        white: As for `read_image`.

    Raises:
        ImageReadError: If it cannot be read.
    """
    decoded = decoded_picture(one.picture, channels=3, white=white)
    # a view in which the channels come last in memory, as the file has them: turning it costs as much as decoding
    return torch.from_numpy(np.array(decoded, dtype=np.uint8)).permute(2, 0, 1)


def read_all(
    pictures: Sequence[Listed],
    reduce: Callable[[Tensor], Result],
    *,
    white: int | None,
    on_error: OnError,
    progress: bool | None,
) -> Generator[tuple[Listed, Result | Skipped]]:
    """Read pictures in threads, and yield what is kept of each, or why it cannot be read.

    Args:
        pictures: In the order of the results.
        reduce: Called with the pixels of each, uint8 `[3, H, W]`, in a thread.
        white: As for `read_image`.
        on_error: "raise" raises at the first picture that cannot be read.
        progress: Whether to show a progress bar.
    """

    def load(one: Listed) -> tuple[Listed, Result | Skipped]:
        try:
            pixels = pixels_of(one, white=white)
        except ImageReadError as error:
            if on_error == "raise":
                raise
            return one, Skipped(one.index, one.name, str(error))
        return one, reduce(pixels)

    threads = min(MAX_THREADS, os.cpu_count() or 1)
    with progress_bar(len(pictures), "reading pictures", "pictures", progress) as bar:
        for result in ordered_map(load, pictures, threads=threads, ahead=_AHEAD, name="pairsim-read"):
            bar.update()
            yield result
