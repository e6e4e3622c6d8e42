"""Pairs that a run is trained, validated or evaluated on: reading them, and the validation pairs in the run folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from pairsim._common import storage
from pairsim._common.choices import OnError
from pairsim.data import ImageFiles, LabelledData, LabelledImages, PairDataset, PairList
from pairsim.data.named import NAMES, is_embedding_file
from pairsim.data.named.class_folders import default_preprocessing
from pairsim.data.pairs.pair_files import write_pair_file
from pairsim.data.pairs.repeated_pairs import warn_of_repeats
from pairsim.errors import RunError
from pairsim.images import Fit, Preprocessing

VALIDATION_PAIRS = "validation_pairs.csv"


def lists_numbers(data: str) -> bool:
    """Return whether lists of pairs of this data give image numbers, as it has no picture files."""
    return data in NAMES or is_embedding_file(data)


def read_picture_list(
    file: Path,
    folder: str,
    preprocessing: Preprocessing | None,
    *,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    fit: Fit = "stretch",
    white: int | None = None,
    on_error: OnError = "raise",
) -> tuple[PairDataset, LabelledData]:
    """Read pairs of picture files.

    Args:
        file: The list.
        folder: The folder that its paths start from.
        preprocessing: How to read pictures; `None` for the size and channels below.
        image_size: Height and width; by default those of the first picture, at most 64.
        channels: 1 or 3; by default 1 if the first pictures are grey.
        fit: How pictures of other proportions get their size.
        white: Value of white of samples of more than 8 bits.
        on_error: "raise" stops at pictures that are missing; "skip" leaves out the pairs of those that are missing or
            cannot be read (`PairDataset.skipped`).

    Returns:
        The pairs, and their pictures.
    """
    listed = PairDataset.from_csv(file, folder, preprocessing=preprocessing, on_error=on_error)
    files = listed.dataset
    assert isinstance(files, ImageFiles), "no transform was asked for"
    if preprocessing is None:
        preprocessing = default_preprocessing(files.paths, image_size, channels, white, fit)
        files = ImageFiles(files.paths, files.targets, preprocessing=preprocessing)
        pairs, skipped = listed.all_pairs(), listed.skipped
        listed = PairDataset.from_pairs(
            files, pairs.first, pairs.second, pairs.target, kind=listed.kind, group=listed.group
        )
        listed.skipped = skipped
    images = LabelledData(
        dataset=LabelledImages(files, files.targets),
        class_names=(),
        image_size=preprocessing.image_size,
        channels=preprocessing.channels,
        source=f"{file.name}, pictures in {folder}",
    )
    return listed, images


def read_numbered_list(file: Path, images: LabelledData) -> PairDataset:
    """Read pairs of images of a named dataset, or of embeddings in a file, by their numbers."""
    listed = PairList.load(file)
    pairs = PairDataset.from_pairs(
        images, listed.first, listed.second, listed.target, kind=listed.kind, group=listed.group
    )
    warn_of_repeats(pairs, range(len(images)))
    return pairs


def describe_pairs(pairs: PairDataset) -> dict[str, Any]:
    """Return the number of pairs, of groups and of negative pairs of each kind, and the hash of the pairs, as JSON."""
    listed = PairList.of(pairs)
    negative = listed.target == 0
    kinds = np.full(len(listed), "negative") if listed.kind is None else listed.kind
    names, counts = np.unique(kinds[negative], return_counts=True)
    return {
        "num_pairs": len(listed),
        "num_groups": None if listed.group is None else len(np.unique(listed.group)),
        "negatives": dict(zip(names.tolist(), counts.tolist(), strict=True)),
        "sha256": listed.sha256,
    }


def pictures_of(pairs: PairDataset) -> set[str | int]:
    """Return the pictures that given pairs have, by path or number."""
    listed = pairs.all_pairs()
    names = getattr(pairs.dataset, "paths", range(len(pairs.dataset)))
    return {names[number] for number in np.unique(np.concatenate((listed.first, listed.second))).tolist()}


def write_validation_pairs(run: Path, pairs: PairDataset, data: str) -> None:
    """Write the validation pairs of a run, with paths from the data folder, or image numbers of a named dataset.

    Raises:
        RunError: If the file cannot be written.
    """
    listed = pairs.all_pairs()
    kind, group = (None if text is None else text.tolist() for text in (pairs.kind, pairs.group))
    target = listed.target.tolist()
    if lists_numbers(data):
        numbers = listed.first.tolist(), listed.second.tolist()
        write_pair_file(run / VALIDATION_PAIRS, *numbers, target, kind=kind, group=group)
        return
    folder = os.path.abspath(data)
    names = [_name_in(folder, os.path.abspath(path)) for path in pairs.dataset.paths]
    paths = [names[number] for number in listed.first], [names[number] for number in listed.second]
    write_pair_file(run / VALIDATION_PAIRS, *paths, target, kind=kind, group=group)


def validation_pairs_of(run: Path) -> Path:
    """Return the list of the validation pairs of a run that was trained on pairs.

    Raises:
        RunError: If it has none.
    """
    path = run / VALIDATION_PAIRS
    if not storage.is_file(path):
        raise RunError(
            f"Expected {path} with the validation pairs of the run, found none: it was trained without. Give --pairs "
            "FILE with pairs that the model was not trained on."
        )
    return path


def _name_in(folder: str, path: str) -> str:
    """Return a path from a folder, with slashes; a picture elsewhere keeps its whole path."""
    inside = os.path.relpath(path, folder)
    return path if inside.startswith(os.pardir) else inside.replace(os.sep, "/")
