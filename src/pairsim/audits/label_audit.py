"""`audit_labels`: images whose label is probably wrong, judged by models that never saw that label."""

from __future__ import annotations

import csv
import dataclasses
import math
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pairsim.data import ClassIndex, ImageTensors, read_labels
from pairsim.data.image_sets import in_memory, subset
from pairsim.data.loading.resident import image_shape
from pairsim.data.random import Int64Array, random_bits, stream_key
from pairsim.encoding.datasets import encode_dataset
from pairsim.errors import DataError
from pairsim.evaluation.errors.label_agreement import LabelAgreement, label_agreement
from pairsim.models import EmbeddingNet, SimilarityModel
from pairsim.training import TrainConfig, Trainer

_SHOWN = 20
_STEPS, _MOST_EPOCHS = 200, 10
"""Of each fold's training, by default: enough to tell classes apart, too few to learn wrong labels by heart."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelAudit:
    """Images in the order in which their labels should be looked at.

    Attributes:
        images: Image numbers `[n]`, the most suspicious first.
        given: The label that each has `[n]`.
        proposed: The label whose images it is most similar to `[n]`; the given one where that is it.
        score: Similarity to the images of the best other label less that to those of its own `[n]`, falling (see
            `pairsim.evaluation.errors.label_agreement`); positive where another label is proposed.
        not_judged: Numbers of images that no other image shares the label of; nothing can be said of them.
        notes: How the images were judged, a line each.
    """

    images: Int64Array
    given: npt.NDArray[Any]
    proposed: npt.NDArray[Any]
    score: npt.NDArray[np.float64]
    not_judged: tuple[int, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        """Images that were judged."""
        return len(self.images)

    @property
    def num_suspects(self) -> int:
        """Images for which another label is proposed, the first so many of the ranking.

        Most of the last of them lie between two classes; wrong labels are the first.
        """
        return int(np.count_nonzero(self.score > 0))

    def rows(self, count: int | None = None) -> list[dict[str, Any]]:
        """The first images of the ranking as JSON values: `image`, `given`, `proposed`, `score`.

        Args:
            count: How many, at least 0; all suspects by default.
        """
        stop = self.num_suspects if count is None else count
        columns = (values[:stop].tolist() for values in (self.images, self.given, self.proposed, self.score))
        names = ("image", "given", "proposed", "score")
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def to_dict(self, count: int | None = None) -> dict[str, Any]:
        """The audit as JSON values, with the first `count` images; all suspects by default."""
        return {
            "num_images": len(self) + len(self.not_judged),
            "num_suspects": self.num_suspects,
            "suspects": self.rows(count),
            "not_judged": list(self.not_judged),
            "notes": list(self.notes),
        }

    def to_csv(self, path: str | os.PathLike[str], count: int | None = None) -> None:
        """Write the first `count` images, by default all suspects, as a table with a header.

        Args:
            path: The file to write.
            count: How many images; by default all suspects.

        Raises:
            OSError: If the file cannot be written.
        """
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["image", "given", "proposed", "score"])
            writer.writeheader()
            writer.writerows(self.rows(count))

    def __str__(self) -> str:
        shown = self.rows(min(_SHOWN, self.num_suspects))
        lines = [f"{self.num_suspects:,} of {len(self):,} images are more like those of another label."]
        lines += self.notes
        if shown:
            width = max(len(f"{row['image']}") for row in shown)
            lines += [
                f"  image {row['image']:>{width}}  {row['score']:.3f}  {row['given']} -> {row['proposed']}"
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

    The images are dealt into folds, each class evenly. For each fold a reference net is trained on the other folds and
    embeds all images; each image of the fold is judged by its similarity to those of the other folds. So no image has a
    say in how it is judged itself. Wrong labels are a small part of what the net learns from: a short training
    hardly takes them in, a long one learns them by heart.

    With `model` that model embeds all images, each is judged by all others, and nothing is trained. If it was trained
    on these very labels it may have learned wrong ones by heart, and then it will not report them.

    It takes a label for wrong where images that look alike to the net mostly have another. A class that is often called
    by another's name, or images that the net cannot tell apart, are listed too: look before you change a label.

    Args:
        dataset: Labelled dataset, map-style, as for `Trainer`.
        labels: One label per image, instead of the dataset's own.
        folds: At least 2; more folds train on more images each, and take as many trainings.
        config: How each fold's model is trained; with `out` each fold has a run folder of its own in there. By default
            about 200 steps of 128 images, in 1 to 10 passes: 1 for MNIST.
        model: Judges instead of trained ones.
        seed: Picks the folds, and each fold's initial weights.
        progress: Whether to show progress bars; by default where there is a terminal.

    Returns:
        The ranking of all images that could be judged.

    Raises:
        DataError: If labels do not fit, there are fewer than two classes, or the images cannot be trained on.
        ValueError: If `folds` is below 2, or `model` is given along with `config`.

    Example:
        >>> pixels = torch.randint(0, 256, (40, 16, 16), generator=torch.manual_seed(0), dtype=torch.uint8)
        >>> images = ImageTensors(pixels, [0, 1] * 20)
        >>> audit = audit_labels(images, folds=2, config=TrainConfig(epochs=1), progress=False)
        >>> len(audit), set(audit.proposed.tolist()) <= {0, 1}
        (40, True)
    """
    if isinstance(folds, bool) or folds != int(folds) or folds < 2:
        raise ValueError(f"Expected folds to be a whole number of at least 2, got {folds}. Use 3, say.")
    if model is not None and config is not None:
        raise ValueError("Expected model or config, got both. A given model is not trained: leave config out.")
    images = in_memory(dataset)
    given = read_labels(images, labels)
    index = ClassIndex.from_labels(given)
    if index.num_classes < 2:
        raise DataError(
            f"Expected images of at least two classes, found only {index.classes[0].item()!r}. With one class there is "
            "no other label to propose."
        )
    codes = index.codes.astype(np.int64)
    if model is not None:
        embeddings = encode_dataset(model, images, progress=progress)
        agreement = label_agreement(embeddings, codes)
        note = (
            "Judged by a given model, each image by all others. Not out-of-fold: if the model was trained on these "
            "labels, it may have learned wrong ones by heart."
        )
    else:
        chosen = config or _short_training(len(given) * (folds - 1) // folds, seed)
        if progress is not None:
            chosen = dataclasses.replace(chosen, progress=progress)
        agreement = _out_of_fold(images if labels is None else _relabelled(images, given), index, folds, chosen, seed)
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


def _short_training(num_images: int, seed: int) -> TrainConfig:
    batch_size = 128
    epochs = math.ceil(_STEPS * batch_size / max(num_images, 1))
    return TrainConfig(epochs=min(epochs, _MOST_EPOCHS), batch_size=batch_size, seed=seed)


def _out_of_fold(images: Any, index: ClassIndex, folds: int, config: TrainConfig, seed: int) -> LabelAgreement:
    codes = index.codes.astype(np.int64)
    fold_of = _folds(index, folds, seed)
    (channels, height, width), _ = image_shape(images)
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
        found = label_agreement(embeddings[kept], codes[kept], query=(embeddings[held], codes[held]))
        proposed[held], score[held] = found.proposed, found.score
    return LabelAgreement(proposed, score)


def _folds(index: ClassIndex, folds: int, seed: int) -> Int64Array:
    """The fold of each image: those of a class are dealt in random order, and the next class goes on where it ended."""
    keys = random_bits(stream_key("folds", seed), np.arange(index.num_images))
    fold_of = np.empty(index.num_images, dtype=np.int64)
    fold_of[np.lexsort((keys, index.codes))] = np.arange(index.num_images) % folds
    return fold_of


class _Relabelled:
    """A dataset with other labels."""

    def __init__(self, dataset: Any, targets: npt.NDArray[Any]) -> None:
        self.dataset = dataset
        self.targets = targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        item = self.dataset[index]
        return item[0] if isinstance(item, tuple | list) else item, self.targets[index].item()


def _relabelled(images: Any, labels: npt.NDArray[Any]) -> Any:
    return ImageTensors(images.images, labels) if isinstance(images, ImageTensors) else _Relabelled(images, labels)
