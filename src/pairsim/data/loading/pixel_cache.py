"""Cache decoded pictures on disk, in one file of pixels for a set of picture files, which is checked before use.

The file has a header of 4096 bytes, JSON padded with spaces, then uint8 pixels `[N, C, H, W]`. The header holds the
SHA-256 of the pixels and of their source: paths, sizes, modification times, labels, image size, channels, fit,
interpolation and white, and the version of the decoder. A file that differs in any of them is written again.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from pairsim._common import storage
from pairsim._common.progress import progress_bar
from pairsim.data.image_sets import ImageFiles
from pairsim.data.loading.mapped_images import MappedImages
from pairsim.data.loading.resident import read_through
from pairsim.errors import ImageReadError

FORMAT = "pairsim-pixels"
FORMAT_VERSION = 1
_HEADER_BYTES = 4096
_HASHED_AT_ONCE = 2**24


def cached_images(
    dataset: ImageFiles, folder: Path, *, workers: int | None = None, progress: bool | None = None
) -> tuple[MappedImages, str]:
    """Return the pixels of picture files from a cache on disk, which is written where needed.

    Args:
        dataset: Pictures with a fixed `image_size`.
        folder: Holds one file for each set of pictures and way of reading them; made if needed.
        workers: Reading processes; by default up to 4 where decoding takes some seconds.
        progress: Whether to show a progress bar; by default for long work on a terminal.

    Returns:
        The images, and a line that states whether the file was found, written, or written again and why.

    Raises:
        ImageReadError: If a picture cannot be read; the message names it.
        RunError: If the file cannot be written (disk full, no permission). An older one stays as it was.
    """
    import PIL

    assert dataset.image_size is not None, "pictures of one size"
    shape = (len(dataset), dataset.channels, *dataset.image_size)
    names = [os.path.abspath(path) for path in dataset.paths]
    reading = [shape, dataset.resizing, *([] if dataset.white is None else [dataset.white])]
    path = folder / f"{_digest([*names, reading])[:16]}.pixels"
    source = _digest([*map(_state_of, names), reading, dataset.targets.tolist(), PIL.__version__])
    header = {"format": FORMAT, "format_version": FORMAT_VERSION, "shape": list(shape), "source": source}
    is_new = storage.found_at(path) == "nothing"
    reason = None if is_new else _why_not_usable(path, header, progress)
    if is_new or reason is not None:
        pixels = hashlib.sha256()
        with storage.replacing(path) as file:
            file.write(b" " * _HEADER_BYTES)  # overwritten when the checksum is known
            for images in read_through(dataset, workers=workers, progress=progress, purpose="decoding pictures"):
                content = images.numpy().reshape(-1).data
                pixels.update(content)
                file.write(content)
            file.seek(0)
            file.write(json.dumps({**header, "sha256": pixels.hexdigest()}).encode().ljust(_HEADER_BYTES - 1) + b"\n")
    made = "written to" if is_new else "found in" if reason is None else "written again to"
    note = f"Decoded pictures {made} {path}{'' if reason is None else f', as {reason}'}."
    return MappedImages(path, _HEADER_BYTES, shape, dataset.targets, np.arange(len(dataset))), note


def _why_not_usable(path: Path, expected: dict[str, Any], progress: bool | None) -> str | None:
    """Return why a file cannot be used, as a clause; `None` if it is whole and of these pictures."""
    try:
        with storage.open_file(path) as file:
            header = storage.parsed_json(file.read(_HEADER_BYTES))
            if not isinstance(header, dict) or header.get("format") != FORMAT:
                return "the old file was damaged (no header)"
            if any(header.get(name) != value for name, value in expected.items()):
                return "pictures, labels or the decoder have changed since"
            digest = hashlib.sha256()
            with progress_bar(math.prod(expected["shape"]), "checking pictures", "bytes", progress) as bar:
                while part := file.read(_HASHED_AT_ONCE):
                    digest.update(part)
                    bar.update(len(part))
            if digest.hexdigest() != header.get("sha256"):
                return "the old file was damaged (its SHA-256 differs)"
    except OSError as error:
        return f"the old file could not be read ({error.strerror})"
    except ValueError:
        return "the old file was damaged (no header)"
    return None


def _state_of(name: str) -> tuple[str, int, int]:
    """Return a file's name, size and modification time."""
    try:
        state = os.stat(name)
    except OSError as error:
        raise ImageReadError(f"Expected an image file at {name}, but: {error.strerror}. Check the path.") from error
    return name, state.st_size, state.st_mtime_ns


def _digest(value: Any) -> str:
    return storage.sha256(json.dumps(value).encode())
