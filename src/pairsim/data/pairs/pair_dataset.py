"""`PairDataset`: pairs of images of any labelled dataset, as a map-style dataset."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pairsim._common.choices import Negatives, OnError
from pairsim._common.numbers import whole_number
from pairsim.data.image_sets import ImageFiles, LabelledImages, images_of
from pairsim.data.items import image_of
from pairsim.data.pairs.pair_files import read_picture_pairs
from pairsim.data.pairs.pair_lists import PairList
from pairsim.data.pairs.pair_sampler import PairIndices, PairSampler
from pairsim.data.pairs.repeated_pairs import warn_of_repeats
from pairsim.data.pairs.skipped_pairs import SkippedPairs
from pairsim.errors import DataError, require
from pairsim.images import Preprocessing

if TYPE_CHECKING:
    import pandas as pd


class PairDataset(Dataset[tuple[Any, Any, Tensor]]):
    """Pairs of images, each item `(first, second, target)` with **target 1 = same class, 0 = different**.

    Many papers on contrastive losses have the target the other way round.

    Labels are read without decoding images (see `read_labels`). Pair k of an epoch depends only on `seed`, the epoch
    and k, not on workers, batch size or order of access. Until `set_epoch` is called the pairs are those of epoch 0,
    so a validation set stays fixed; `set_epoch(e)` sets the pairs of another epoch, in persistent workers too.

    Args:
        dataset: Map-style dataset of `(image, label)`; images are returned as the dataset returns them.
        num_pairs: Pairs in an epoch; as many as images by default.
        positive_fraction: Share of positive pairs in [0, 1], exact in every group of pairs (see `PairSampler`).
        seed: Any whole number.
        labels: One label per image, instead of the dataset's own.
        negatives: `"class"`: the second image of a negative pair comes from a uniformly chosen other class;
            `"instance"`: uniformly from all images of other classes.

    Attributes:
        kind: Kind of each given pair, such as "skilled" or "random" for negative pairs, text `[P]`; empty for positive
            pairs without one. `None` for drawn pairs, and where it was not given.
        group: Group of each given pair, such as the writer of a signature, text `[P]`; `None` as for `kind`.
        skipped: What `from_csv(on_error="skip")` left out; `None` without it.

    Raises:
        ValueError: If an argument is out of range.
        DataError: If the dataset is empty, its labels do not fit, or no pair can be drawn from it.

    Example:
        >>> from pairsim.data import ImageTensors
        >>> digits = ImageTensors(torch.zeros(4, 28, 28, dtype=torch.uint8), [3, 3, 7, 7])
        >>> pairs = PairDataset(digits, num_pairs=10)
        >>> first, second, target = pairs[0]
        >>> first.shape, len(pairs)
        (torch.Size([1, 28, 28]), 10)
    """

    labels: npt.NDArray[Any] | None
    sampler: PairSampler | None
    kind: npt.NDArray[Any] | None
    group: npt.NDArray[Any] | None
    skipped: SkippedPairs | None = None

    def __init__(
        self,
        dataset: Any,
        num_pairs: int | None = None,
        *,
        positive_fraction: float = 0.5,
        seed: int = 0,
        labels: Any = None,
        negatives: Negatives = "class",
    ) -> None:
        images = LabelledImages.of(dataset, labels)
        if num_pairs is not None:
            num_pairs = whole_number(num_pairs, "num_pairs", 1)
        self.labels = images.targets
        self.sampler = PairSampler(images.index, positive_fraction=positive_fraction, seed=seed, negatives=negatives)
        self._set(images, seed=self.sampler.seed, num_pairs=num_pairs if num_pairs is not None else len(images))

    def _set(self, dataset: Any, *, num_pairs: int, seed: int = 0, given: PairList | None = None) -> None:
        self.dataset: Any = images_of(dataset)
        self.seed: int = seed
        self._given = None if given is None else PairIndices(given.first, given.second, given.target)
        self.kind, self.group = (None, None) if given is None else (given.kind, given.group)
        self._num_pairs = int(num_pairs)
        # In shared memory, so that running workers see a new epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._epoch.share_memory_()  # the memory of a copied or unpickled tensor is not shared

    @classmethod
    def from_pairs(
        cls,
        dataset: Any,
        first: Sequence[int] | npt.NDArray[np.integer] | Tensor,
        second: Sequence[int] | npt.NDArray[np.integer] | Tensor,
        target: Sequence[int] | npt.NDArray[Any] | Tensor,
        *,
        kind: Sequence[str] | npt.NDArray[Any] | None = None,
        group: Sequence[str] | npt.NDArray[Any] | None = None,
    ) -> PairDataset:
        """Use given pairs instead of drawn ones; no labels are needed.

        Args:
            dataset: Map-style dataset of images or `(image, ...)`.
            first: Image number of each first image, in [0, N).
            second: Image number of each second image, in [0, N).
            target: 1 = same class, 0 = different.
            kind: Kind of each pair, such as "skilled"; each negative pair needs one if any is given.
            group: Group of each pair, such as the writer.

        Raises:
            DataError: If lengths differ, a number is outside the dataset, a target is neither 0 nor 1, a kind or group
                is empty or no text, or an image is paired with itself.
            TypeError: If the dataset is not map-style, or numbers have no regular shape.
        """
        dataset = images_of(dataset)
        given = PairList(first, second, target, None, kind, group)  # type: ignore[arg-type]  # it converts them
        for name, numbers in (("first", given.first), ("second", given.second)):
            if numbers.max() >= len(dataset):
                raise DataError(
                    f"Expected {name} to hold image numbers from 0 to {len(dataset) - 1}, found {numbers.max()}."
                )
        pairs = cls.__new__(cls)
        pairs.labels = pairs.sampler = None
        pairs._set(dataset, num_pairs=len(given), given=given)
        return pairs

    @classmethod
    def from_csv(
        cls,
        path: str | os.PathLike[str],
        root: str | os.PathLike[str] | None = None,
        *,
        image_size: tuple[int, int] | None = None,
        channels: int = 3,
        preprocessing: Preprocessing | None = None,
        transform: Callable[[Tensor], Any] | None = None,
        on_error: OnError = "raise",
    ) -> PairDataset:
        """Return the pairs of a file: a CSV of pairs, or the `pairs.txt` of Labeled Faces in the Wild.

        Pairs that are listed more than once, in either order, with both targets or with one, cause a warning.

        Args:
            path: The file. A CSV, also with semicolons, tabs or bars, has the columns `first,second,target`, and if you
                like `kind`, `group` and `fold`; a header may name them in any order, also as `path1,path2,label`. It is
                optional for three columns. Targets are 1/0, 1/-1, or words such as true/false, same/different.
            root: Folder that relative paths start from; the file's own folder by default.
            image_size: Height and width that pictures are resized to.
            channels: 1 for grey, 3 for colour.
            preprocessing: The preprocessing of a model, to read pictures as the model does; `image_size` and `channels`
                are then ignored.
            transform: Applied to each uint8 `[C, H, W]`.
            on_error: `"raise"` stops at pictures that are missing; `"skip"` reads all pictures once, leaves out the
                pairs of those that are missing or cannot be read, and lists them in `skipped` of the result.

        Raises:
            DataError: If a row cannot be parsed (the message gives its line), or no pair is left.
            ImageReadError: If a picture is missing, unless skipped; the message names it.
        """
        white = None if preprocessing is None else preprocessing.white
        table, skipped = read_picture_pairs(path, root, on_error=on_error, white=white)
        numbers: dict[str, int] = {}
        first, second = (
            [numbers.setdefault(name, len(numbers)) for name in side] for side in zip(*table.pairs, strict=True)
        )
        files = ImageFiles(
            list(numbers),
            np.arange(len(numbers)),
            image_size=image_size,
            channels=channels,
            preprocessing=preprocessing,
        )
        dataset = files if transform is None else _Transformed(files, transform)
        target = [target for *_, target in table.rows]
        pairs = cls.from_pairs(dataset, first, second, target, kind=table.kinds, group=table.groups)
        pairs.skipped = skipped
        warn_of_repeats(pairs, files.paths)
        return pairs

    @property
    def is_fixed_list(self) -> bool:
        """Whether the pairs were given (`from_pairs`, `from_csv`) and not drawn."""
        return self._given is not None

    @property
    def epoch(self) -> int:
        """The current epoch."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch. It has no effect on given pairs.

        Args:
            epoch: Whole number >= 0.

        Raises:
            TypeError: If `epoch` is not a whole number.
            ValueError: If it is negative, or 2^63 or more.
        """
        self._epoch.fill_(whole_number(epoch, "epoch", 0))

    def pairs_at(self, positions: npt.NDArray[np.integer], *, epoch: int | None = None) -> PairIndices:
        """Return the image numbers and targets of pairs, without reading images.

        Args:
            positions: Numbers of the pairs, in [0, len) `[n]`.
            epoch: Epoch of the pairs; by default the current one.
        """
        given = self._given
        if given is not None:
            return PairIndices(given.first[positions], given.second[positions], given.target[positions])
        assert self.sampler is not None
        return self.sampler.draw(self.epoch if epoch is None else epoch, positions)

    def all_pairs(self) -> PairIndices:
        """Return the image numbers and targets of all pairs of the current epoch, in order."""
        return self.pairs_at(np.arange(len(self)))

    def __len__(self) -> int:
        return self._num_pairs

    def __getitem__(self, index: int) -> tuple[Any, Any, Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[tuple[Any, Any, Tensor]]:
        """Return several pairs, as a `DataLoader` requests them; each image is read once."""
        positions = np.asarray(indices)
        if positions.size and positions.dtype.kind not in "iu":
            raise TypeError(f"Expected whole numbers of pairs, got {indices}.")
        positions = positions.astype(np.int64)
        positions = np.where(positions < 0, positions + len(self), positions)
        if positions.size and (positions.min() < 0 or positions.max() >= len(self)):
            raise IndexError(f"Expected a pair number from 0 to {len(self) - 1}, got {indices}.")
        pairs = self.pairs_at(positions)
        numbers = dict.fromkeys(np.concatenate((pairs.first, pairs.second)).tolist())
        images = {number: image_of(self.dataset[number]) for number in numbers}
        columns = (pairs.first.tolist(), pairs.second.tolist(), pairs.target.tolist())
        return [(images[a], images[b], torch.tensor(float(target))) for a, b, target in zip(*columns, strict=True)]

    def to_dataframe(self) -> pd.DataFrame:
        """Return the current pairs as a table.

        Its columns are `first`, `second` and `target`, and where they are known `kind` and `group`, and the two labels
        or paths.

        Raises:
            MissingExtraError: If pandas is not installed.
        """
        pandas = require("pandas", extra="table", purpose="to_dataframe()")
        pairs = self.all_pairs()
        columns = {"first": pairs.first, "second": pairs.second, "target": pairs.target}
        columns |= {name: text for name, text in (("kind", self.kind), ("group", self.group)) if text is not None}
        files = self.dataset.dataset if isinstance(self.dataset, _Transformed) else self.dataset
        if self.labels is not None:
            columns |= {"first_label": self.labels[pairs.first], "second_label": self.labels[pairs.second]}
        elif isinstance(files, ImageFiles):
            paths = np.array(files.paths, dtype=object)
            columns |= {"first_path": paths[pairs.first], "second_path": paths[pairs.second]}
        table: pd.DataFrame = pandas.DataFrame(columns)
        return table


class _Transformed(Dataset[Any]):
    """A dataset of images with a transform."""

    def __init__(self, dataset: ImageFiles, transform: Callable[[Tensor], Any]) -> None:
        self.dataset = dataset
        self.transform = transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, label = self.dataset[index]
        return self.transform(image), label
