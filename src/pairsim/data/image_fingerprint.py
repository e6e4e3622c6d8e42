"""Recognise the images of a run when it is resumed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pairsim._common import storage
from pairsim.data.image_sets import ImageFiles, ImageTensors, LabelledImages, in_memory
from pairsim.data.pairs.pair_dataset import PairDataset
from pairsim.data.pairs.pair_lists import PairList

CONTENTS = 1_000
"""Picture files of which the content is read."""
TIMES = "modification times of files, as after a copy"
_CHANGES = {
    "pixels": "pixels",
    "files": "names, sizes or number of files",
    "contents": "content of files",
    "times": TIMES,
}


def image_fingerprint(dataset: Any) -> dict[str, str]:
    """Return hashes by which the images of a dataset are recognised, also after their folder was moved or copied.

    Args:
        dataset: Map-style.

    Returns:
        Of images in memory `pixels`. Of picture files `files`, of their names from the folder that all are in and their
        sizes; `contents`, of at most 1,000 of them, spread evenly; and `times`, of their modification times, which a
        copy may change. Of other datasets nothing, as reading an item may be slow or random.

    Example:
        >>> images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
        >>> image_fingerprint(ImageTensors(images, [0, 1])) == image_fingerprint(ImageTensors(images + 1, [0, 1]))
        False
    """
    images = in_memory(dataset)
    if isinstance(images, ImageTensors):
        return {"pixels": pixels_sha256(images)}
    if not isinstance(images, ImageFiles) or not len(images):
        return {}
    paths = [os.path.abspath(path) for path in images.paths]
    folder = os.path.commonpath(list(map(os.path.dirname, paths)))
    states = [_state(path) for path in paths]
    names = [
        [os.path.relpath(path, folder).replace(os.sep, "/"), size]
        for path, (size, _) in zip(paths, states, strict=True)
    ]
    chosen = np.unique(np.linspace(0, len(paths) - 1, num=CONTENTS).astype(np.int64)).tolist()
    return {
        "files": storage.sha256(storage.encoded(json.dumps(names))),
        "contents": storage.sha256("".join(_content_sha256(paths[number]) for number in chosen).encode()),
        "times": storage.sha256(json.dumps([time for _, time in states]).encode()),
    }


def data_sha256(dataset: Any) -> str | None:
    """Return one hash of the images of a dataset and their labels, or their pairs.

    Args:
        dataset: Labelled, or a `PairDataset`.

    Returns:
        64 hexadecimal digits, the same after the folder was moved or copied; `None` where `image_fingerprint` has none.
    """
    if isinstance(dataset, PairDataset):
        images, grouping = dataset.dataset, PairList.of(dataset).sha256
    else:
        images, grouping = dataset, LabelledImages.of(dataset).index.fingerprint()["labels"]
    found = image_fingerprint(images)
    found.pop("times", None)
    return storage.sha256(json.dumps([found, grouping]).encode()) if found else None


def image_changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return what differs between fingerprints of images: `TIMES` last, which alone does not show other images.

    Args:
        before: As earlier versions recorded none, it may be empty; then nothing differs.
        now: The other one.
    """
    return [text for name, text in _CHANGES.items() if name in before and before[name] != now.get(name)]


def pixels_sha256(images: ImageTensors) -> str:
    """Return the SHA-256 of the shape, dtype and pixels of images in memory."""
    pixels = images.images.cpu().contiguous()
    digest = hashlib.sha256(json.dumps([list(pixels.shape), str(pixels.dtype)]).encode())
    digest.update(pixels.view(torch.uint8).numpy().reshape(-1).data)
    return digest.hexdigest()


def _state(path: str) -> tuple[int, int]:
    try:
        state = os.stat(path)
    except OSError:  # reading the picture says so
        return -1, 0
    return state.st_size, state.st_mtime_ns


def _content_sha256(path: str) -> str:
    try:
        with storage.open_file(Path(path)) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
