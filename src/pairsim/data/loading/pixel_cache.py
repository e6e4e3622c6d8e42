"""Decoded pictures on disk: one file of pixels for a set of picture files, which is checked before it is used.

The file has a header of 4096 bytes, JSON padded with spaces, then uint8 pixels `[N, C, H, W]`. The header holds the
SHA-256 of the pixels and of what they were made from: paths, sizes, times of change, labels, image size, channels, how
pictures are resized, and the decoder's version. A file that does not match in all of it is made anew.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

from pairsim._common import storage
from pairsim.data.image_sets import ImageFiles, MappedImages
from pairsim.data.loading.resident import read_through
from pairsim.errors import ImageReadError

FORMAT = "pairsim-pixels"
FORMAT_VERSION = 1
_HEADER_BYTES = 4096
_HASHED_AT_ONCE = 2**24


def cached_images(
    dataset: ImageFiles, folder: Path, *, workers: int | None = None, progress: bool | None = None
) -> tuple[MappedImages, str]:
    """The pixels of picture files from a cache on disk, which is made or made anew where needed.

    Args:
        dataset: With a fixed `image_size`.
        folder: Holds one file for each set of pictures and way of reading them; made if needed.
        workers: Reading processes; by default up to 4 where decoding takes some seconds.
        progress: Whether to show a progress bar; by default where there is a terminal.

    Returns:
        The images, and a line that says whether the file was found, made, or made anew and why.

    Raises:
        ImageReadError: If a picture cannot be read; the message names it.
        RunError: If the file cannot be written (disk full, no permission). An older one stays as it was.
    """
    assert dataset.image_size is not None, "pictures of one size"
    shape = (len(dataset), dataset.channels, *dataset.image_size)
    names = [os.path.abspath(path) for path in dataset.paths]
    reading = [shape, dataset.resizing]
    path = folder / f"{_digest([*names, reading])[:16]}.pixels"
    source = _digest([*map(_state_of, names), reading, dataset.targets.tolist(), _decoder()])
    header = {"format": FORMAT, "format_version": FORMAT_VERSION, "shape": list(shape), "source": source}
    there = path.exists()
    problem = _problem(path, header, progress) if there else None
    if not there or problem is not None:
        _write(path, dataset, header, settings={"workers": workers, "progress": progress})
    made = "written to" if not there else "found in" if problem is None else "made anew in"
    because = "" if problem is None else f", as {problem}"
    note = f"Decoded pictures {made} {path}{because}."
    return MappedImages(path, _HEADER_BYTES, shape, dataset.targets), note


def _write(path: Path, dataset: ImageFiles, header: dict[str, Any], *, settings: dict[str, Any]) -> None:
    pixels = hashlib.sha256()
    with storage.replacing(path) as file:
        file.write(b" " * _HEADER_BYTES)  # its checksum is known when all is written
        for images in read_through(dataset, purpose="decoding pictures", **settings):
            content = images.numpy().reshape(-1).data
            pixels.update(content)
            file.write(content)
        file.seek(0)
        file.write(json.dumps({**header, "sha256": pixels.hexdigest()}).encode().ljust(_HEADER_BYTES - 1) + b"\n")


def _problem(path: Path, expected: dict[str, Any], progress: bool | None) -> str | None:
    """What keeps a file from being used, as a clause; `None` if it is whole and of these pictures."""
    size = math.prod(expected["shape"])
    try:
        with path.open("rb") as file:
            header = _header(file)
            if header is None or header.get("format") != FORMAT:
                return "what was there was damaged (no header)"
            if header.get("format_version") != FORMAT_VERSION:
                return "what was there was of another version"
            if any(header.get(name) != value for name, value in expected.items()):
                return "pictures, labels or the decoder have changed since"
            if os.fstat(file.fileno()).st_size != _HEADER_BYTES + size:
                return "what was there was damaged (a part is missing)"
            if _sha256(file, size, progress) != header.get("sha256"):
                return "what was there was damaged (its SHA-256 differs)"
    except OSError as error:
        return f"what was there could not be read ({error.strerror})"
    return None


def _header(file: BinaryIO) -> dict[str, Any] | None:
    try:
        header = json.loads(file.read(_HEADER_BYTES))
    except ValueError:
        return None
    return header if isinstance(header, dict) else None


def _sha256(file: BinaryIO, num_bytes: int, progress: bool | None) -> str:
    found = hashlib.sha256()
    shown = None if progress is None else not progress
    with tqdm(
        total=num_bytes,
        desc="checking pictures",
        unit="B",
        unit_scale=True,
        file=sys.stderr,
        disable=shown,
        leave=False,
    ) as bar:
        while part := file.read(_HASHED_AT_ONCE):
            found.update(part)
            bar.update(len(part))
    return found.hexdigest()


def _state_of(name: str) -> tuple[str, int, int]:
    """A file's name, size and time of change."""
    try:
        state = os.stat(name)
    except OSError as error:
        raise ImageReadError(f"Expected an image file at {name}, but: {error.strerror}. Check the path.") from error
    return name, state.st_size, state.st_mtime_ns


def _decoder() -> str:
    import PIL

    return PIL.__version__


def _digest(value: Any) -> str:
    return storage.sha256(json.dumps(value).encode())
