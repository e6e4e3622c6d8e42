"""Recognise the pictures that a run was trained on among those that it is judged on, by the content of their files.

Names would not do: which pictures of a folder without splits are for the test depends on their names, so that added or
renamed files move pictures from one split to another.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from pairsim._common import storage
from pairsim._common.numbers import counted
from pairsim.data import ImageFiles, PairDataset
from pairsim.data.image_sets import images_of
from pairsim.errors import RunError
from pairsim.runs.run_pairs import pictures_of

KEY = "trained_pictures"
_HASH = np.dtype("<u8")
"""Of a million pictures two are taken for one with a probability of about 3e-8."""


def describe_trained(trained: Iterable[str], validated: Iterable[str]) -> tuple[dict[str, str], str]:
    """Describe the pictures that a run is trained on, and find those among the pictures that it is validated on.

    Files that cannot be read are left out.

    Args:
        trained: The files that it is trained on.
        validated: The files that it is validated on.

    Returns:
        What `data.json` has of the first: the hashes of their files, in base64. One line on copies, empty without.
    """
    hashes = np.array(sorted(_hashes(trained)), dtype=_HASH)
    record = {KEY: base64.b64encode(hashes.tobytes()).decode()} if len(hashes) else {}
    of_validation = list(_hashes(validated))
    if not (common := int(np.isin(np.array(of_validation, dtype=_HASH), hashes).sum())):
        return record, ""
    are = "is also a training picture" if common == 1 else "are also training pictures"
    return record, (
        f"Warning: {common:,} of {counted(len(of_validation), 'validation picture')} {are}, in equal files. Expect "
        "more errors on others. `pairsim duplicates` names them."
    )


def paths_of(dataset: Any) -> list[str]:
    """Return the picture files of a labelled dataset or of given pairs; none if it has none."""
    if isinstance(dataset, PairDataset):
        return sorted(picture for picture in pictures_of(dataset) if isinstance(picture, str))
    images = images_of(dataset)
    return list(images.paths) if isinstance(images, ImageFiles) else []


def warning_of_trained(record: Mapping[str, Any], dataset: Any, *, is_training_data: bool) -> str:
    """Say in one line that a run was trained on images that it is to be judged on; empty if it was not.

    Args:
        record: The values of its `data.json`.
        dataset: The images or pairs to judge it on.
        is_training_data: Whether it was trained on this data, for images without files and runs that do not have the
            hashes.

    Raises:
        RunError: If the record is damaged.
    """
    paths, of = paths_of(dataset), "these images" if is_training_data else ""
    if KEY in record and paths:
        try:
            trained = set(np.frombuffer(base64.b64decode(record[KEY], validate=True), dtype=_HASH).tolist())
        except (TypeError, ValueError) as error:
            raise RunError(
                f"Expected hashes of pictures as {KEY} in the data.json of the run, but: {error}."
            ) from error
        common = sum(number in trained for number in _hashes(paths))
        of = f"{common:,} of these {counted(len(paths), 'picture')}" if common else ""
    return f"Warning: the model was trained on {of}. Expect more errors on others." if of else ""


def _hashes(paths: Iterable[str]) -> Iterator[int]:
    for path in paths:
        try:
            with storage.open_file(path) as file:
                digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_HASH.itemsize)).digest()
        except OSError:  # reading the picture says so
            continue
        yield int.from_bytes(digest, "little")
