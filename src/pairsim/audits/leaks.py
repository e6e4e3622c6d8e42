"""`find_leaks`: what makes a test set easier than new data: images, classes or pairs that it should not have.

Images are compared by their pixels and never by a model: a good model takes all images of a class for alike, so that
its neighbours would be the whole class.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from pairsim.audits.pixel_matching import (
    LARGEST_SIDE,
    QUERY_BLOCK,
    coarse_descriptors,
    coarse_matches,
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
"""A `PairDataset`, or `(first, second)` or `(first, second, target)` with image numbers of the test set."""

NEAR_DUPLICATE_SIMILARITY = 0.99
"""Correlation of pixels from which two images count as near-duplicates."""
MAX_MATCHES = 10
"""Training images listed for one test image, at most, of each kind: a set of blank pages would list millions."""

_COARSE_SLACK = 0.01
_MOST_CANDIDATES = 2 * MAX_MATCHES  # copies pixel by pixel are among them
_CONFIRMED_AT_ONCE = 512
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class ImageMatch:
    """A test image that is (nearly) a training image.

    Attributes:
        test: Number of the test image.
        train: Number of the training image.
        test_label: Label of the test image.
        train_label: Label of the training image.
        similarity: Correlation of their pixels; 1 where they are the same.
    """

    test: int
    train: int
    test_label: int | str
    train_label: int | str
    similarity: float

    @property
    def same_label(self) -> bool:
        """Whether the labels agree."""
        return self.test_label == self.train_label

    def __str__(self) -> str:
        labels = f"both {self.test_label}" if self.same_label else f"{self.test_label} and {self.train_label}: differ"
        return f"test {self.test} = train {self.train}, similarity {self.similarity:.4f}, labels {labels}"


@dataclass(frozen=True, kw_only=True)
class LeakReport:
    """What `find_leaks` found.

    Attributes:
        num_train: Training images.
        num_test: Test images.
        num_pairs: Pairs that were checked; `None` if none were given.
        exact_duplicates: Test images with the very pixels of a training image.
        near_duplicates: Test images that are nearly a training image; `None` if they were not looked for.
        shared_classes: Classes of both sets, where they were claimed to have none in common; ascending.
        self_pairs: Positions of pairs of an image with itself.
        repeated_pairs: Positions of pairs that come earlier in the list, in either order.
        identical_pairs: Positions of pairs of two images with the same pixels.
        near_duplicate_similarity: Level from which images counted as near-duplicates.
    """

    num_train: int
    num_test: int
    num_pairs: int | None
    exact_duplicates: tuple[ImageMatch, ...]
    near_duplicates: tuple[ImageMatch, ...] | None
    shared_classes: tuple[int | str, ...]
    self_pairs: tuple[int, ...]
    repeated_pairs: tuple[int, ...]
    identical_pairs: tuple[int, ...]
    near_duplicate_similarity: float | None

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not any(found for _, found in self._findings())

    @property
    def test_images(self) -> tuple[int, ...]:
        """Numbers of the test images that are exactly or nearly a training image, ascending."""
        return tuple(sorted({match.test for match in (*self.exact_duplicates, *(self.near_duplicates or ()))}))

    def to_dict(self) -> dict[str, Any]:
        """The findings as JSON values."""
        matches = {
            name: None if found is None else [{**vars(match), "same_label": match.same_label} for match in found]
            for name, found in (
                ("exact_duplicates", self.exact_duplicates),
                ("near_duplicates", self.near_duplicates),
            )
        }
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
        return {"clean": self.clean, **plain, **matches, "test_images": list(self.test_images)}

    def _findings(self) -> list[tuple[str, tuple[Any, ...]]]:
        return [
            ("test images that are training images, pixel by pixel", self.exact_duplicates),
            ("test images that are nearly training images", self.near_duplicates or ()),
            ("classes of both sets, claimed unseen", self.shared_classes),
            ("pairs of an image with itself, at positions", self.self_pairs),
            ("pairs that repeat an earlier one, at positions", self.repeated_pairs),
            ("pairs of different images with the same pixels, at positions", self.identical_pairs),
        ]

    def __str__(self) -> str:
        sizes = f"{self.num_train:,} training and {self.num_test:,} test images"
        sizes += "" if self.num_pairs is None else f", {self.num_pairs:,} pairs"
        lines = [f"{'No leaks' if self.clean else 'Leaks'} found in {sizes}."]
        for what, found in self._findings():
            if not found:
                continue
            shown = found[:_SHOWN]
            more = f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
            if isinstance(found[0], ImageMatch):
                images = len({match.test for match in found})
                lines += [f"{images:,} {what}:", *(f"  {match}" for match in shown), *([f" {more}"] if more else [])]
            else:
                lines.append(f"{len(found):,} {what}: {', '.join(map(str, shown))}{more}")
        if self.near_duplicates is None:
            lines.append("Near-duplicates were not looked for.")
        return "\n".join(lines)


def find_leaks(
    train: Any,
    test: Any,
    *,
    unseen_classes: bool = False,
    pairs: Pairs | None = None,
    near_duplicate_similarity: float | None = NEAR_DUPLICATE_SIMILARITY,
    workers: int | None = None,
    progress: bool | None = None,
) -> LeakReport:
    """Look for images, classes and pairs that make a test say more than is true.

    Exact duplicates have the same pixels, shape and dtype. Near-duplicates correlate in their pixels by at least
    `near_duplicate_similarity`, over images averaged down to 32 x 32 if they are larger, in the best of nine positions
    moved by up to a pixel of those. That finds copies that are somewhat brighter, darker, noisier or recompressed,
    moved by a pixel, and of images larger than 32 x 32 also resized ones. It does not find what was turned, mirrored,
    cropped, blurred at that size or moved by part of a pixel or by more than one, nor images of a single colour. It
    does find different images that look the same at that size, such as two straight strokes or neighbouring frames of a
    film, so look at what it lists. Images are read once, those that may be near-duplicates a second time.

    Args:
        train: Labelled dataset, map-style, whose images are the same every time.
        test: Likewise.
        unseen_classes: Whether the test set is claimed to have no class of the training set, which is then checked.
        pairs: Test pairs to check: a `PairDataset`, of which the epoch that was set is taken, or
            `(first, second)` with image numbers of the test set; a third item, the target, is not looked at. Drawn
            pairs of a small dataset repeat by chance.
        near_duplicate_similarity: In (0, 1]; lower finds more and is wrong more often. `None` does not look for them.
        workers: Reading processes for data that is not in memory; by default up to 4 where reading takes some seconds.
        progress: Whether to show progress bars; by default where there is a terminal.

    Returns:
        The report; `clean` if nothing was found. For each test image at most `MAX_MATCHES` (10) training images are
        listed, those of the highest similarity.

    Raises:
        DataError: If a dataset is empty, has random transforms or images of several shapes, the labels of one are text
            and of the other numbers, or pairs do not fit the test set.
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
    level = near_duplicate_similarity
    if level is not None and not 0.0 < level <= 1.0:  # also catches NaN
        raise ValueError(f"Expected near_duplicate_similarity to be in (0, 1], got {level}. Use 0.99, or None.")
    for name, dataset in (("train", train), ("test", test)):
        _check_dataset(name, dataset)
    train_labels, test_labels = read_labels(train), read_labels(test)
    if (train_labels.dtype.kind == "U") != (test_labels.dtype.kind == "U"):
        raise DataError(
            "Expected labels of one kind in train and test, found text in one and numbers in the other. "
            "Name the classes alike."
        )
    numbers = None if pairs is None else _pair_numbers(pairs, len(test))

    train_images, test_images = in_memory(train), in_memory(test)
    _, height, width = image_shape(train_images, _PICTURES)[0]
    size = (min(height, LARGEST_SIDE), min(width, LARGEST_SIDE))
    described = None if level is None else size
    train_digests, gallery = _scan(train_images, described, "training", workers, progress)
    test_digests, queries = _scan(test_images, described, "test", workers, progress)

    def matches(tests: Int64Array, trains: Int64Array, similarity: npt.NDArray[np.float64]) -> tuple[ImageMatch, ...]:
        order = np.lexsort((trains, -similarity, tests))
        order = order[np.arange(len(order)) - np.searchsorted(tests[order], tests[order]) < MAX_MATCHES]
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

    tests, trains = _same_digests(test_digests, train_digests)
    exact, near = matches(tests, trains, np.ones(len(tests))), None
    if level is not None and queries is not None and gallery is not None:
        tests, trains = _coarse_matches(queries, gallery, level - _COARSE_SLACK, progress)
        differ = [test_digests[t] != train_digests[n] for t, n in zip(tests, trains, strict=True)]
        tests, trains = tests[np.array(differ, dtype=bool)], trains[np.array(differ, dtype=bool)]
        similarity = _correlations(test_images, tests, train_images, trains, size)
        found = similarity >= level
        near = matches(tests[found], trains[found], similarity[found])
    flaws: dict[str, tuple[int, ...]] = {"self_pairs": (), "repeated_pairs": (), "identical_pairs": ()}
    if numbers is not None:
        paired: Any = pairs.dataset if isinstance(pairs, PairDataset) else test
        known = test_digests if paired is test else train_digests if paired is train else None
        flaws = _pair_flaws(*numbers, in_memory(paired), known)
    return LeakReport(
        num_train=len(train),
        num_test=len(test),
        num_pairs=None if numbers is None else len(numbers[0]),
        exact_duplicates=exact,
        near_duplicates=near,
        shared_classes=tuple(np.intersect1d(train_labels, test_labels).tolist()) if unseen_classes else (),
        near_duplicate_similarity=level,
        **flaws,
    )


class _Unresized(Preprocessing):
    """Reads pictures in colour and in their own size."""

    def read(self, image: PictureLike) -> Tensor:
        return read_image(image)


_PICTURES = _Unresized(image_size=(1, 1), channels=3)


def _check_dataset(name: str, dataset: Any) -> None:
    transform = random_transform(dataset)
    if transform is not None:
        raise DataError(
            f"Expected {name} to give the same images every time, found the random transform {transform}. "
            "Pass the dataset without it."
        )
    if hasattr(dataset, "__len__") and len(dataset) == 0:
        raise DataError(f"Expected images in {name}, found none. Check the path, the split or the filter.")


def _pair_numbers(pairs: Pairs, num_images: int) -> tuple[Int64Array, Int64Array]:
    """Image numbers of the first and of the second images."""
    if isinstance(pairs, PairDataset):
        drawn = pairs.all_pairs()
        return drawn.first, drawn.second
    if not isinstance(pairs, tuple) or len(pairs) not in (2, 3):
        raise TypeError(
            f"Expected pairs as a PairDataset or a tuple (first, second) of image numbers, got {type(pairs).__name__}. "
            "Pass pairs=(first, second)."
        )
    columns = [np.asarray(column) for column in pairs]
    if any(column.ndim != 1 or column.size != columns[0].size for column in columns):
        shapes = ", ".join(str(list(column.shape)) for column in columns)
        raise DataError(f"Expected first, second and target to have one length, got shapes {shapes}.")
    for column in columns[:2]:
        if column.size and (column.dtype.kind not in "iu" or column.min() < 0 or column.max() >= num_images):
            raise DataError(
                f"Expected pairs to hold image numbers of the test set, whole numbers from 0 to {num_images - 1}, got "
                f"{column.dtype} from {column.min()} to {column.max()}. For pairs of other images pass a PairDataset."
            )
    return columns[0].astype(np.int64), columns[1].astype(np.int64)


def _scan(
    dataset: Any, size: tuple[int, int] | None, name: str, workers: int | None, progress: bool | None
) -> tuple[list[bytes], Tensor | None]:
    """Go through the images once, a batch at a time: their digests, and their descriptors if a size is given."""
    digests: list[bytes] = []
    parts: list[Tensor] = []
    purpose = f"reading {name} images"
    for images in read_through(dataset, _PICTURES, workers=workers, progress=progress, purpose=purpose):
        digests += pixel_digests(images)
        if size is not None:
            parts.append(coarse_descriptors(thumbnails(images, size), shifted=name == "test"))
    return digests, torch.cat(parts) if parts else None


def _same_digests(tests: list[bytes], trains: list[bytes]) -> tuple[Int64Array, Int64Array]:
    """Numbers of test and training images with one digest."""
    places: dict[bytes, list[int]] = {}
    for number, digest in enumerate(trains):
        places.setdefault(digest, []).append(number)
    found = [(test, train) for test, digest in enumerate(tests) for train in places.get(digest, [])[:MAX_MATCHES]]
    both = np.array(found, dtype=np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _coarse_matches(
    queries: Tensor, gallery: Tensor, level: float, progress: bool | None
) -> tuple[Int64Array, Int64Array]:
    parts = []
    bar = tqdm(
        total=len(queries),
        desc="comparing images",
        unit=" images",
        file=sys.stderr,
        disable=None if progress is None else not progress,
        leave=False,
    )
    with bar:
        for part in coarse_matches(queries, gallery, level, most=_MOST_CANDIDATES):
            parts.append(np.stack(part))
            bar.update(min(QUERY_BLOCK, len(queries) - bar.n))
    tests, trains = np.concatenate(parts, axis=1)
    return tests, trains


def _correlations(
    test: Any, tests: Int64Array, train: Any, trains: Int64Array, size: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Correlation of the pixels of pairs of images `[n]`."""
    found = np.zeros(len(tests))
    for start in range(0, len(tests), _CONFIRMED_AT_ONCE):
        part = slice(start, start + _CONFIRMED_AT_ONCE)
        first = thumbnails(fetch_images(test, tests[part], _PICTURES), size)
        second = thumbnails(fetch_images(train, trains[part], _PICTURES), size)
        found[part] = pixel_correlations(first, second).numpy()
    return found


def _pair_flaws(
    first: Int64Array, second: Int64Array, dataset: Any, digests: list[bytes] | None
) -> dict[str, tuple[int, ...]]:
    """Positions of pairs that should not be there."""
    itself = first == second
    low, high = np.minimum(first, second), np.maximum(first, second)
    keys = low * (int(high.max(initial=0)) + 1) + high
    _, earliest, inverse = np.unique(keys, return_index=True, return_inverse=True)
    repeated = (earliest[inverse] != np.arange(len(first))) & ~itself

    used = np.unique(np.concatenate((first, second)))
    groups: dict[bytes, int] = {}
    codes = np.empty(len(used), dtype=np.int64)
    for start in range(0, len(used), _CONFIRMED_AT_ONCE):
        part = used[start : start + _CONFIRMED_AT_ONCE]
        found = pixel_digests(fetch_images(dataset, part, _PICTURES)) if digests is None else [digests[n] for n in part]
        codes[start : start + len(part)] = [groups.setdefault(digest, len(groups)) for digest in found]
    identical = (codes[np.searchsorted(used, first)] == codes[np.searchsorted(used, second)]) & ~itself
    return {
        name: tuple(np.flatnonzero(flawed).tolist())
        for name, flawed in (("self_pairs", itself), ("repeated_pairs", repeated), ("identical_pairs", identical))
    }
