"""Find images, classes and pairs of a test set that make it easier than new data.

Images are compared by their pixels, not by a model: a good model finds all images of a class similar, so the neighbours
of a test image would be its whole class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pairsim._common.arrays import Float64Array
from pairsim._common.numbers import real_number, truth_value
from pairsim._common.progress import progress_bar
from pairsim.audits.leak_report import ImageMatch, LeakReport
from pairsim.audits.picture_matching import (
    BATCH_SIZE,
    COARSE_SLACK,
    MAX_SIDE,
    NEAR_DUPLICATE_SIMILARITY,
    Size,
    coarse_descriptors,
    coarse_matches,
    first_of_each,
    indices_by_key,
    pixel_correlations,
    pixel_digests,
    thumbnails,
)
from pairsim.data import PairDataset, read_labels
from pairsim.data.image_sets import fetch_images, in_memory
from pairsim.data.loading.resident import image_shape, read_through
from pairsim.data.random import Int64Array
from pairsim.data.random_transforms import random_transform
from pairsim.errors import DataError
from pairsim.images import PictureLike, Preprocessing, read_image

Column: TypeAlias = Sequence[int] | npt.NDArray[np.integer] | Tensor
Pairs: TypeAlias = PairDataset | tuple[Column, Column] | tuple[Column, Column, Column]
"""A `PairDataset`, or `(first, second)` or `(first, second, target)` with indices of test images."""

MAX_MATCHES = 10
"""Training images listed for one test image, at most, of each kind: a set of blank pages would list millions."""

_MAX_CANDIDATES = 2 * MAX_MATCHES  # copies with the same pixels are among them


def find_leaks(
    train: Any,
    test: Any,
    *,
    unseen_classes: bool = False,
    groups: tuple[Any, Any] | None = None,
    pairs: Pairs | None = None,
    near_duplicate_similarity: float | None = NEAR_DUPLICATE_SIMILARITY,
    workers: int | None = None,
    progress: bool | None = None,
) -> LeakReport:
    """Find images, classes and pairs in a test set that make results look better than they are.

    Exact duplicates have the same pixels, shape and dtype. Near-duplicates have a correlation of their pixels of at
    least `near_duplicate_similarity`, over images averaged down to 32 x 32 if they are larger, in the best of nine
    positions moved by up to one of these pixels. That finds copies that are somewhat brighter, darker, noisier,
    recompressed or moved by a pixel, and resized copies of images larger than 32 x 32. It does not find copies that
    were rotated, mirrored, cropped, blurred at that size, or moved by part of a pixel or by more than one, nor images
    of one colour. It also finds different images that look the same at that size, such as two straight strokes or
    neighbouring frames of a film, so look at what it lists. Images are read once, candidates for near-duplicates a
    second time.

    Args:
        train: Labelled dataset, map-style, whose images are the same every time.
        test: Another such dataset.
        unseen_classes: Whether the test set should have no class of the training set, which is then checked, by name
            where labels are text.
        groups: Group of each training image and of each test image, such as the writer, of which none should be in
            both; by default those of `load_data(..., groups=)`, if both sets have some.
        pairs: Test pairs to check: a `PairDataset`, of which the epoch that was set is taken, or
            `(first, second)` with indices of test images; a third item, the target, is ignored. Drawn pairs of a small
            dataset repeat by chance.
        near_duplicate_similarity: In (0, 1]; lower finds more and is wrong more often. `None` skips the search for
            near-duplicates.
        workers: Reading processes for data that is not in memory; by default up to 4 if reading takes some seconds.
        progress: Whether to show progress bars; by default for long work on a terminal.

    Returns:
        The report; `clean` if nothing was found. For each test image at most `MAX_MATCHES` (10) training images are
        listed, those of the highest similarity.

    Raises:
        DataError: If a dataset is empty, has random transforms or images of several shapes, the labels of one are text
            and of the other numbers, or groups or pairs do not fit the sets.
        ImageReadError: If a file cannot be read; the message names it.
        ValueError: If `near_duplicate_similarity` is not in (0, 1].

    Example:
        >>> from pairsim.data import ImageTensors
        >>> pixels = torch.randint(0, 256, (6, 28, 28), dtype=torch.uint8)
        >>> report = find_leaks(ImageTensors(pixels[:4], [0, 0, 1, 1]), ImageTensors(pixels[3:], [0, 0, 1]))
        >>> print(report)
        Leaks found in 4 training and 3 test images.
        1 test images that are training images, pixel by pixel:
          test 0 = train 3, similarity 1.0000, labels 0 and 1: differ
    """
    truth_value(unseen_classes, "unseen_classes")
    threshold = near_duplicate_similarity
    if threshold is not None:
        threshold = real_number(threshold, "near_duplicate_similarity")
    if threshold is not None and not 0.0 < threshold <= 1.0:  # also catches NaN
        raise ValueError(f"Expected near_duplicate_similarity to be in (0, 1], got {threshold}. Use 0.99, or None.")
    for name, dataset in (("train", train), ("test", test)):
        transform = random_transform(dataset)
        if transform is not None:
            raise DataError(
                f"Expected {name} to give the same images every time, found the random transform {transform}. "
                "Pass the dataset without it."
            )
        if hasattr(dataset, "__len__") and len(dataset) == 0:
            raise DataError(f"Expected images in {name}, found none. Check the path, the split or the filter.")
    train_labels, test_labels = read_labels(train), read_labels(test)
    if (train_labels.dtype.kind == "U") != (test_labels.dtype.kind == "U"):
        raise DataError(
            "Expected labels of one kind in train and test, found text in one and numbers in the other. "
            "Use the same class names in both."
        )
    shared_groups = _shared_groups(train, test, groups)
    pair_indices = None if pairs is None else _pair_indices(pairs, len(test))

    train_images, test_images = in_memory(train), in_memory(test)
    _, height, width = image_shape(train_images, _PICTURES)[0]
    size = (min(height, MAX_SIDE), min(width, MAX_SIDE))
    described = None if threshold is None else size
    train_digests, gallery = _scan(train_images, described, "training", workers, progress)
    test_digests, queries = _scan(test_images, described, "test", workers, progress)

    def matches(tests: Int64Array, trains: Int64Array, similarity: Float64Array) -> tuple[ImageMatch, ...]:
        order = first_of_each(tests, np.lexsort((trains, -similarity, tests)), MAX_MATCHES)
        return tuple(
            ImageMatch(
                test=int(tests[k]),
                train=int(trains[k]),
                test_label=test_labels[tests[k]].item(),
                train_label=train_labels[trains[k]].item(),
                similarity=float(similarity[k]),
            )
            for k in order
        )

    same_pixels = indices_by_key(train_digests)
    copies = [(t, n) for t, digest in enumerate(test_digests) for n in same_pixels.get(digest, [])[:MAX_MATCHES]]
    tests, trains = np.array(copies, dtype=np.int64).reshape(-1, 2).T
    exact, near = matches(tests, trains, np.ones(len(tests))), None
    if threshold is not None and queries is not None and gallery is not None:
        parts = []
        with progress_bar(len(queries), "comparing images", "images", progress) as bar:
            for part in coarse_matches(queries, gallery, threshold - COARSE_SLACK, limit=_MAX_CANDIDATES):
                parts.append(np.stack(part))
                bar.update(min(BATCH_SIZE, len(queries) - bar.n))
        tests, trains = np.concatenate(parts, axis=1)
        differ = np.array([test_digests[t] != train_digests[n] for t, n in zip(tests, trains, strict=True)], dtype=bool)
        tests, trains = tests[differ], trains[differ]
        similarity = _correlations(test_images, tests, train_images, trains, size)
        reached = similarity >= threshold
        near = matches(tests[reached], trains[reached], similarity[reached])
    paired: Any = pairs.dataset if isinstance(pairs, PairDataset) else test
    known = test_digests if paired is test else train_digests if paired is train else None
    first, second = pair_indices or np.zeros((2, 0), dtype=np.int64)
    itself, repeated, identical = _pair_flaws(first, second, paired, known)
    return LeakReport(
        num_train=len(train),
        num_test=len(test),
        num_pairs=None if pair_indices is None else len(first),
        exact_duplicates=exact,
        near_duplicates=near,
        shared_classes=tuple(np.intersect1d(train_labels, test_labels).tolist()) if unseen_classes else (),
        shared_groups=shared_groups,
        self_pairs=itself,
        repeated_pairs=repeated,
        identical_pairs=identical,
        near_duplicate_similarity=threshold,
    )


def _shared_groups(train: Any, test: Any, groups: tuple[Any, Any] | None) -> tuple[int | str, ...]:
    """Return the groups that are in both sets, those of the datasets by default."""
    ours, theirs = groups or (getattr(train, "groups", None), getattr(test, "groups", None))
    if ours is None or theirs is None:
        return ()
    columns = read_labels(train, ours), read_labels(test, theirs)
    if (columns[0].dtype.kind == "U") != (columns[1].dtype.kind == "U"):
        raise DataError(
            "Expected groups of one kind in train and test, found text in one and numbers in the other. Use the same "
            "names in both."
        )
    return tuple(np.intersect1d(*columns).tolist())


class _Unresized(Preprocessing):
    """Reads pictures in colour and in their own size."""

    def read(self, image: PictureLike) -> Tensor:
        return read_image(image)


_PICTURES = _Unresized(image_size=(1, 1), channels=3)


def _pair_indices(pairs: Pairs, num_images: int) -> tuple[Int64Array, Int64Array]:
    """Return the indices of the first and of the second images."""
    if isinstance(pairs, PairDataset):
        drawn = pairs.all_pairs()
        return drawn.first, drawn.second
    if not isinstance(pairs, tuple) or len(pairs) not in (2, 3):
        raise TypeError(
            f"Expected pairs as a PairDataset or a tuple (first, second) of image indices, got {type(pairs).__name__}. "
            "Pass pairs=(first, second)."
        )
    columns = [np.asarray(column) for column in pairs]
    if any(column.ndim != 1 or column.size != columns[0].size for column in columns):
        shapes = ", ".join(str(list(column.shape)) for column in columns)
        raise DataError(f"Expected first, second and target to have one length, got shapes {shapes}.")
    for column in columns[:2]:
        if column.size and (column.dtype.kind not in "iu" or column.min() < 0 or column.max() >= num_images):
            raise DataError(
                f"Expected pairs to hold indices of test images, whole numbers from 0 to {num_images - 1}, got "
                f"{column.dtype} from {column.min()} to {column.max()}. For pairs of other images pass a PairDataset."
            )
    return columns[0].astype(np.int64), columns[1].astype(np.int64)


def _scan(
    dataset: Any, size: Size | None, name: str, workers: int | None, progress: bool | None
) -> tuple[list[bytes], Tensor | None]:
    """Read all images once, and return their digests, and their descriptors if a size is given."""
    digests: list[bytes] = []
    parts: list[Tensor] = []
    purpose = f"reading {name} images"
    for images in read_through(dataset, _PICTURES, workers=workers, progress=progress, purpose=purpose):
        digests += pixel_digests(images)
        if size is not None:
            parts.append(coarse_descriptors(thumbnails(images, size), shifted=name == "test"))
    return digests, torch.cat(parts) if parts else None


def _correlations(test: Any, tests: Int64Array, train: Any, trains: Int64Array, size: Size) -> Float64Array:
    """Correlate the pixels of pairs of images `[n]`."""
    correlations = np.zeros(len(tests))
    for start in range(0, len(tests), BATCH_SIZE):
        part = slice(start, start + BATCH_SIZE)
        first = thumbnails(fetch_images(test, tests[part], _PICTURES), size)
        second = thumbnails(fetch_images(train, trains[part], _PICTURES), size)
        correlations[part] = pixel_correlations(first, second).numpy()
    return correlations


def _pair_flaws(
    first: Int64Array, second: Int64Array, dataset: Any, known: Sequence[bytes] | None
) -> tuple[tuple[int, ...], ...]:
    """Return the positions of pairs of an image with itself, repeated pairs, and pairs of images with the same pixels.

    Args:
        first: Index of each first image `[P]`.
        second: Index of each second image `[P]`.
        dataset: The images.
        known: Digest of each image; by default the images are read.
    """
    itself = first == second
    low, high = np.minimum(first, second), np.maximum(first, second)
    keys = low * (int(high.max(initial=0)) + 1) + high
    _, earliest, inverse = np.unique(keys, return_index=True, return_inverse=True)
    repeated = (earliest[inverse] != np.arange(len(first))) & ~itself

    digests = dict(enumerate(known or ()))
    if known is None:
        dataset = in_memory(dataset)
        used = np.unique(np.concatenate((first, second)))
        for start in range(0, len(used), BATCH_SIZE):
            part = used[start : start + BATCH_SIZE]
            digests |= zip(part.tolist(), pixel_digests(fetch_images(dataset, part, _PICTURES)), strict=True)
    same = [digests[a] == digests[b] for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    flaws = (itself, repeated, np.array(same, dtype=bool) & ~itself)
    return tuple(tuple(np.flatnonzero(flaw).tolist()) for flaw in flaws)
