"""Rank images by how likely their label is wrong, with models that were not trained on that label."""

from __future__ import annotations

import dataclasses
import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pairsim._common.arrays import check_count
from pairsim._common.csv_files import write_csv
from pairsim.data import ClassIndex, LabelledImages
from pairsim.data.image_sets import in_memory, subset
from pairsim.data.items import image_of
from pairsim.data.loading.resident import image_shape
from pairsim.data.random import Int64Array, random_bits, stream_key
from pairsim.encoding.datasets import encode_dataset
from pairsim.errors import DataError, printable
from pairsim.evaluation.errors.label_agreement import LabelAgreement, label_agreement
from pairsim.images import read_image
from pairsim.models import EmbeddingNet, SimilarityModel
from pairsim.training import TrainConfig, Trainer

_COLUMNS = ("image", "given", "proposed", "score")
_SHOWN = 20
_MAX_SIDE = 64
_STEPS, _BATCH_SIZE, _MAX_EPOCHS = 200, 128, 10
"""Of each fold's training, by default: enough to separate classes, too few to memorise wrong labels."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelAudit:
    """Images in the order in which to check their labels.

    Attributes:
        images: Index of each image `[n]`, the most suspicious first.
        given: Its label `[n]`.
        proposed: The label whose images it is most similar to `[n]`; may be the given one.
        score: Similarity to the images of the best other label minus that to the images of its own `[n]`, descending
            (see `pairsim.evaluation.errors.label_agreement`); positive if another label is proposed.
        not_judged: Indices of images with a label that no other image has; they cannot be judged.
        notes: How the images were judged, a line each.
    """

    images: Int64Array
    given: npt.NDArray[Any]
    proposed: npt.NDArray[Any]
    score: npt.NDArray[np.float64]
    not_judged: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of images that were judged."""
        return len(self.images)

    @property
    def num_suspects(self) -> int:
        """Number of images for which another label is proposed; they are the first of the ranking.

        Most of the last of them lie between two classes; wrong labels come first.
        """
        return int(np.count_nonzero(self.score > 0))

    def rows(self, count: int | None = None) -> list[dict[str, Any]]:
        """Return the first images of the ranking as JSON values: `image`, `given`, `proposed`, `score`.

        Args:
            count: Number of images, at least 0; all suspects by default.

        Raises:
            ValueError: If `count` is negative.
        """
        stop = self.num_suspects if count is None else check_count(count, "count", 0, 10)
        columns = (values[:stop].tolist() for values in (self.images, self.given, self.proposed, self.score))
        return [dict(zip(_COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)]

    def to_dict(self, count: int | None = None) -> dict[str, Any]:
        """Return the audit as JSON values, with the first `count` images; all suspects by default."""
        return {
            "num_images": len(self) + len(self.not_judged),
            "num_suspects": self.num_suspects,
            "suspects": self.rows(count),
            "not_judged": list(self.not_judged),
            "notes": list(self.notes),
        }

    def to_csv(self, path: str | os.PathLike[str], count: int | None = None) -> None:
        """Write a row for each of the first images of the ranking: `image,given,proposed,score`.

        Args:
            path: The file, which is replaced in one step.
            count: Number of images; all suspects by default.

        Raises:
            RunError: If it cannot be written.
        """
        write_csv(path, _COLUMNS, [tuple(row.values()) for row in self.rows(count)])

    def __str__(self) -> str:
        shown = self.rows(min(_SHOWN, self.num_suspects))
        lines = [f"{self.num_suspects:,} of {len(self):,} images are more like those of another label.", *self.notes]
        width = max((len(str(row["image"])) for row in shown), default=0)
        lines += [
            f"  image {row['image']:>{width}}  {row['score']:.3f}  {printable(str(row['given']))} -> "
            f"{printable(str(row['proposed']))}"
            for row in shown
        ]
        if self.num_suspects > len(shown):
            lines.append(f"  and {self.num_suspects - len(shown):,} more")
        return "\n".join(lines)


def audit_labels(
    dataset: Any,
    *,
    labels: Any = None,
    folds: int = 3,
    config: TrainConfig | None = None,
    model: SimilarityModel | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> LabelAudit:
    """Rank the images of a dataset by how much similar images contradict their label.

    The images are split into folds, each class evenly. For each fold a reference net is trained on the other folds and
    embeds all images; each image of the fold is judged by its similarity to those of the other folds. So no image
    influences the net that judges it. Wrong labels are a small part of the training images: a short training hardly
    learns them, a long one memorises them.

    With `model` that model embeds all images, each is judged by all others, and nothing is trained. A model that was
    trained on these labels may have memorised wrong ones, and then does not report them.

    A label counts as wrong if images that look similar to the net mostly have another. Images of a class that is often
    labelled as another, and images that the net cannot distinguish, are listed too: look before you change a label.

    Args:
        dataset: Labelled dataset, map-style, as for `Trainer`.
        labels: One label per image, instead of the dataset's own.
        folds: At least 2; more folds train on more images each, and train more models.
        config: How each fold's model is trained; with `out` each fold has a run folder in there. By default about 200
            steps of 128 images, in 1 to 10 passes: 1 for MNIST.
        model: Judges the images; by default models are trained.
        seed: Seed of the folds, and of each fold's initial weights.
        progress: Whether to show progress bars; by default for long work on a terminal.

    Returns:
        The ranking of all images that could be judged.

    Raises:
        DataError: If labels do not fit, there are fewer than two classes, or the images cannot be trained on.
        ValueError: If `folds` is below 2, or both `model` and `config` are given.

    Example:
        >>> from pairsim.data import ImageTensors
        >>> pixels = torch.randint(0, 256, (40, 16, 16), generator=torch.manual_seed(0), dtype=torch.uint8)
        >>> images = ImageTensors(pixels, [0, 1] * 20)
        >>> audit = audit_labels(images, folds=2, config=TrainConfig(epochs=1), progress=False)
        >>> len(audit), set(audit.proposed.tolist()) <= {0, 1}
        (40, True)
    """
    check_count(folds, "folds", 2, 3)
    if model is not None and config is not None:
        raise ValueError("Expected model or config, got both. A given model is not trained: leave config out.")
    images = LabelledImages.of(dataset, labels)
    index, given = images.index, images.targets
    if index.num_classes < 2:
        raise DataError(
            f"Expected images of at least two classes, found only {index.classes[0].item()!r}. With one class there is "
            "no other label to propose."
        )
    if model is not None:
        agreement = label_agreement(encode_dataset(model, images, progress=progress), index.codes.astype(np.int64))
        note = (
            "Judged by a given model, each image by all others. Not out-of-fold: if the model was trained on these "
            "labels, it may have memorised wrong ones."
        )
    else:
        if config is None:
            epochs = math.ceil(_STEPS * _BATCH_SIZE / max(len(given) * (folds - 1) // folds, 1))
            config = TrainConfig(epochs=min(epochs, _MAX_EPOCHS), batch_size=_BATCH_SIZE, seed=seed)
        if progress is not None:
            config = dataclasses.replace(config, progress=progress)
        agreement = _out_of_fold(images, folds, config, seed)
        note = f"Judged out-of-fold by {folds} models, each trained on the images of the other folds."
    judged = np.flatnonzero(~np.isnan(agreement.score))
    order = judged[np.argsort(-agreement.score[judged], kind="stable")]
    return LabelAudit(
        images=order.astype(np.int64),
        given=given[order],
        proposed=index.classes[agreement.proposed[order]],
        score=agreement.score[order],
        not_judged=tuple(np.flatnonzero(np.isnan(agreement.score)).tolist()),
        notes=(note,),
    )


def _out_of_fold(images: LabelledImages, folds: int, config: TrainConfig, seed: int) -> LabelAgreement:
    codes = images.index.codes.astype(np.int64)
    fold_of = _folds(images.index, folds, seed)
    channels, height, width = _net_input(images)
    proposed, score = codes.copy(), np.full(len(codes), np.nan)
    for fold in range(folds):
        held, kept = np.flatnonzero(fold_of == fold), np.flatnonzero(fold_of != fold)
        if not len(held):
            continue
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_key("audit", seed, fold))
            model = SimilarityModel(EmbeddingNet(in_channels=channels, image_size=(height, width)))
        out = None if config.out is None else config.out / f"fold-{fold}"
        Trainer(model, dataclasses.replace(config, out=out), train=subset(images, kept)).fit()
        embeddings = encode_dataset(model, images, progress=config.progress).cpu().numpy()
        agreement = label_agreement(embeddings[kept], codes[kept], query=(embeddings[held], codes[held]))
        proposed[held], score[held] = agreement.proposed, agreement.score
    return LabelAgreement(proposed, score)


def _net_input(images: LabelledImages) -> tuple[int, int, int]:
    """Return channels, height and width of the images; of pictures those of the first, at most 64 pixels."""
    first = image_of(in_memory(images)[0])
    if isinstance(first, Tensor):
        return image_shape(images)[0]
    _, height, width = read_image(first).shape
    scale = min(1.0, _MAX_SIDE / max(height, width))
    return 3, max(round(height * scale), 1), max(round(width * scale), 1)


def _folds(index: ClassIndex, folds: int, seed: int) -> Int64Array:
    """Assign each image to a fold: those of a class in random order, continuing where the class before it ended."""
    keys = random_bits(stream_key("folds", seed), np.arange(index.num_images))
    fold_of = np.empty(index.num_images, dtype=np.int64)
    fold_of[np.lexsort((keys, index.codes))] = np.arange(index.num_images) % folds
    return fold_of
