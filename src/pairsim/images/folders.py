"""Pictures in a folder and its sub-folders."""

from __future__ import annotations

import os
from pathlib import Path

from pairsim.errors import DataError, DatasetNotFoundError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})


def pictures_below(folder: str | os.PathLike[str]) -> list[Path]:
    """The pictures of a folder and its sub-folders, told by their names.

    Args:
        folder: Where to look.

    Returns:
        Paths that begin with `folder`, sorted; at least one. Hidden files, and those in hidden folders, are left out.

    Raises:
        DatasetNotFoundError: If there is no such folder.
        DataError: If it has no picture.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DatasetNotFoundError(f"Expected a folder of pictures at {root}, found no such folder. Check the path.")
    paths = sorted(path for path in root.rglob("*") if is_picture(path.relative_to(root)) and path.is_file())
    if not paths:
        raise DataError(
            f"Expected pictures ({', '.join(sorted(IMAGE_SUFFIXES))}) in {root}, found none. Choose another folder."
        )
    return paths


def is_picture(path: Path) -> bool:
    """Whether a path, relative to the folder looked in, has the name of a picture that is not hidden.

    Hidden files and folders hold what editors and systems keep for themselves, such as copies.
    """
    return path.suffix.lower() in IMAGE_SUFFIXES and not any(part.startswith(".") for part in path.parts)
