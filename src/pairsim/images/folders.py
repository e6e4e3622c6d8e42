"""Find the pictures in a folder."""

from __future__ import annotations

import os
from pathlib import Path

from pairsim.errors import DataError, DatasetNotFoundError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})


def pictures_below(folder: str | os.PathLike[str]) -> list[Path]:
    """List the pictures of a folder and its sub-folders, which are recognised by their suffix.

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
    paths = list_pictures(root)
    if not paths:
        raise DataError(
            f"Expected pictures ({', '.join(sorted(IMAGE_SUFFIXES))}) in {root}, found none. Choose another folder."
        )
    return paths


def list_pictures(folder: Path) -> list[Path]:
    """List the pictures of a folder as `pictures_below` does; the list may be empty."""
    return sorted(path for path in folder.rglob("*") if _is_picture(path.relative_to(folder)) and path.is_file())


def _is_picture(path: Path) -> bool:
    # Hidden files and folders hold files of editors and systems, such as copies of pictures.
    return path.suffix.lower() in IMAGE_SUFFIXES and not any(part.startswith(".") for part in path.parts)
