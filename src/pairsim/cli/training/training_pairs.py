"""The pairs that `pairsim train --pairs` trains and validates on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pairsim
from pairsim._common.numbers import counted
from pairsim.cli.output import note
from pairsim.training.callbacks import Callback
from pairsim.training.config import VAL_FRACTION, TrainConfig

if TYPE_CHECKING:
    from pairsim._common.choices import Fit, OnError
    from pairsim.data import LabelledData, PairDataset
    from pairsim.data.pairs.skipped_pairs import SkippedPairs
    from pairsim.images import Preprocessing


@dataclass(frozen=True, kw_only=True)
class TrainingPairs:
    """Pairs to train and validate on, with what `RunImages` has of labelled images.

    Attributes:
        pairs: Pairs to train on.
        val: Pairs for validation; `None` if there are too few.
        train: The pictures of the pairs for training and of those split off.
        val_fraction: Share of the positive pairs to split off, as it was given.
        notes: Decisions about the pairs, a line each.
        record: What the run records of them, as JSON values.
        skipped: What was left out of the lists.
    """

    pairs: PairDataset
    val: PairDataset | None
    train: LabelledData
    val_fraction: float | None
    notes: list[str]
    record: dict[str, Any]
    skipped: tuple[SkippedPairs, ...]
    account: ClassVar[str] = ""
    warning: ClassVar[str] = ""

    @classmethod
    def read(
        cls,
        data: str,
        pairs: Path,
        val_pairs: Path | None,
        preprocessing: Preprocessing | None,
        options: TrainConfig,
        *,
        random_negatives: bool,
        image_size: tuple[int, int] | None,
        channels: int | None,
        fit: Fit,
        white: int | None,
        data_dir: Path | None,
        on_error: OnError,
    ) -> TrainingPairs:
        """Read the pairs, split off validation pairs unless they are given, and add random negative pairs.

        Args:
            data: The folder that paths start from, or a named dataset of which lists give image numbers.
            pairs: The list to train on.
            val_pairs: The list to validate on, or `None`.
            preprocessing: How the model reads pictures, or `None` if it is made for them.
            options: The settings of the run: its seed and share of validation data.
            random_negatives: Whether to add random negative pairs; see `with_random_negatives`.
            image_size: Height and width, for no preprocessing.
            channels: Channels, for no preprocessing.
            fit: How pictures get their size, for no preprocessing.
            white: Value of white, for no preprocessing.
            data_dir: Folder of named datasets.
            on_error: What happens to pairs of pictures that are missing or cannot be read.
        """
        from pairsim.data import load_data, split_pairs, with_random_negatives
        from pairsim.runs.run_pairs import (
            describe_pairs,
            lists_numbers,
            pictures_of,
            read_numbered_list,
            read_picture_list,
        )

        skipped: list[SkippedPairs | None] = []
        if lists_numbers(data):
            images = load_data(data, "train", data_dir=data_dir)
            train = read_numbered_list(pairs, images)
        else:
            train, images = read_picture_list(
                pairs,
                data,
                preprocessing,
                image_size=image_size,
                channels=channels,
                fit=fit,
                white=white,
                on_error=on_error,
            )
            skipped.append(train.skipped)
        notes, seed = list[str](), options.seed
        if val_pairs is None:
            split = split_pairs(train, options.val_fraction or VAL_FRACTION, seed=seed)
            train, val = split.train, split.val
            notes.append(split.note)
        elif lists_numbers(data):
            val = read_numbered_list(val_pairs, images)
        else:
            val, _ = read_picture_list(val_pairs, data, _reading(train), on_error=on_error)
            skipped.append(val.skipped)
        common = 0 if val is None or val_pairs is None else len(pictures_of(train) & pictures_of(val))
        if common and val_pairs is not None:
            notes.append(
                f"{counted(common, 'picture')} {'is' if common == 1 else 'are'} in {pairs.name} and in "
                f"{val_pairs.name}: results on the latter will look better than on other pictures."
            )
        added = 0
        if random_negatives:
            before, train = len(train), with_random_negatives(train, seed=seed)
            added = len(train) - before
            if val is not None and val_pairs is None:
                val = with_random_negatives(val, seed=seed)
        if added:
            notes.append(
                f"All negative pairs are within groups: added {counted(added, 'random negative pair')}, of pictures of "
                "different groups, so that the model learns these as well. Leave them out with --no-random-negatives."
            )
        left_out = [one for one in skipped if one is not None]
        notes = list(filter(None, [*map(str, left_out), *notes]))
        record = {
            "file": str(pairs),
            "val_file": None if val_pairs is None else str(val_pairs),
            **describe_pairs(train),
            "num_val_pairs": 0 if val is None else len(val),
            "num_random_negatives": added,
            "random_negatives": random_negatives,
        }
        return cls(
            pairs=train,
            val=val,
            train=images,
            val_fraction=options.val_fraction,
            notes=notes,
            skipped=tuple(left_out),
            record={"pairs": record, **({"on_error": "skip"} if on_error == "skip" else {})},
        )

    def validation(self, preprocessing: Preprocessing) -> PairDataset | None:  # noqa: ARG002
        """Return the validation pairs, whose pictures are read as the model does."""
        return self.val

    def counts(self, split: object) -> dict[str, Any]:  # noqa: ARG002
        """Count the images, as values for JSON."""
        from pairsim.runs.run_pairs import pictures_of

        return {
            "num_train": len(pictures_of(self.pairs)),
            "num_val": 0 if self.val is None else len(pictures_of(self.val)),
            "num_test": 0,
            "unseen_classes": [],
            "left_out": (),
            "num_skipped": sum(one.num_skipped for one in self.skipped),
            "skipped": [picture for one in self.skipped for picture in one.to_dict()["skipped"]],
        }


class ValidationPairs(Callback):
    """Writes the validation pairs into the run, so that other commands can read them again."""

    def __init__(self, given: TrainingPairs, data: str) -> None:
        self._given, self._data = given, data

    def on_fit_start(self, trainer: pairsim.Trainer) -> None:
        """Write the file before the first epoch, or remove that of an earlier run."""
        from pairsim.runs.run_pairs import VALIDATION_PAIRS, write_validation_pairs

        assert trainer.config.out is not None, "commands write a run"
        for line in self._given.notes:
            note(line)
        if self._given.val is None:
            (trainer.config.out / VALIDATION_PAIRS).unlink(missing_ok=True)
        else:
            write_validation_pairs(trainer.config.out, self._given.val, self._data)


def _reading(pairs: PairDataset) -> Preprocessing:
    """Return how the pictures of pairs are read."""
    preprocessing: Preprocessing = pairs.dataset.preprocessing
    return preprocessing
