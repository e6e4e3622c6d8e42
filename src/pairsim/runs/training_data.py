"""Images that `pairsim train` trains on and validates with, and what is recorded of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pairsim._common.choices import OnError, Split
from pairsim.data import LabelledData
from pairsim.data.named import NAMES, load_data
from pairsim.data.splits import ValidationSplit
from pairsim.images import Preprocessing
from pairsim.runs.class_splits import VAL_FRACTION, ClassSplit, check_same_classes
from pairsim.runs.run_data import SEEN_THRESHOLD, own_validation
from pairsim.training import TrainConfig


@dataclass(frozen=True, kw_only=True)
class RunImages:
    """The images of a run.

    Attributes:
        data: Name or folder of the dataset.
        val_fraction: Share to validate on, as it was given, or the default where classes are kept unseen.
        train: Images to train on; validation images are split off them if there are no others.
        parts: The images of each split, if classes are kept unseen; else empty.
        classes: Names of the classes of each split, likewise.
        reading: How the dataset is read.
    """

    data: str
    val_fraction: float | None
    train: LabelledData
    parts: Mapping[Split, LabelledData]
    classes: ClassSplit | None
    reading: Mapping[str, Any]
    notes: ClassVar[tuple[str, ...]] = ()

    @property
    def record(self) -> dict[str, Any]:
        """What `data.json` has of them, beside the names of the training classes."""
        record = {"class_level": self.reading["class_level"], "groups": self.reading["groups"]}
        if self.reading["on_error"] == "skip":
            record["on_error"] = "skip"
        own = self._own_classes("val")
        if own is not None:
            record["val_class_names"] = list(own)
        return record if self.classes is None else {**record, "class_split": self.classes.to_record()}

    @property
    def account(self) -> str:
        """One line on what became of every picture; empty for a named dataset that is not split by class."""
        return "" if self.train.account is None else self.train.account.line(*self._used)

    @property
    def warning(self) -> str:
        """One line where validation is of classes of training, and the test of others; else empty."""
        trained = set(self.train.class_names)
        new = set(self._own_classes("test") or ()) - trained
        seen = set(self._own_classes("val") or ()) <= trained
        return SEEN_THRESHOLD if new and seen and self.classes is None else ""

    def validation(self, preprocessing: Preprocessing) -> LabelledData | None:
        """Return validation images: those of classes kept for it, or of the folder's own `val`; else `None`."""
        if self.classes is not None:
            return self.parts["val"]
        reading = self.reading
        return own_validation(
            self.data,
            self.train,
            reading["data_dir"],
            preprocessing,
            reading["class_level"],
            groups=reading["groups"],
            on_error=reading["on_error"],
        )

    def counts(self, split: ValidationSplit | None) -> dict[str, Any]:
        """Count the images, as values for JSON.

        Args:
            split: What was split off for validation, if anything was.
        """
        account = self.train.account
        numbers = {} if account is None else account.splits
        held = numbers.get("val", 0) if split is None else len(split.held_out)
        num_test = numbers.get("test", 0)
        if self.data in NAMES and self.classes is None:
            num_test = len(load_data(self.data, "test", data_dir=self.reading["data_dir"]))
        unseen = sorted(set(self._own_classes("test") or ()) - set(self.train.class_names))
        return {
            "num_train": len(self.train) - (0 if split is None else held),
            "num_val": held,
            "num_test": num_test,
            "unseen_classes": unseen if self.classes is None else list(self.classes.test),
            "left_out": () if account is None else account.left_out_of(*self._used),
        }

    @property
    def _used(self) -> tuple[Split, ...]:
        return ("train", "val") if self.classes is None else ("train", "val", "test")

    def _own_classes(self, split: Split) -> tuple[str, ...] | None:
        """Return the classes of a split of the folder's own; `None` if it has no such split."""
        account = self.train.account
        return None if account is None or self.classes is not None else account.classes.get(split)


def load_training_data(
    data: str,
    options: TrainConfig,
    *,
    unseen: float | None = None,
    resume: bool = True,
    class_level: int = 1,
    groups: str | None = None,
    data_dir: Path | None = None,
    on_error: OnError = "raise",
    **reading: Any,
) -> RunImages:
    """Load the images to train on, and those of the validation classes if classes are kept unseen.

    Args:
        data: Name or folder of the dataset.
        options: The settings of the run: its folder, seed and share of validation data.
        unseen: Share of the classes to keep for the test, in (0, 1).
        resume: Whether a run that is in the folder goes on, and so needs the same classes.
        class_level: Which folders are classes.
        groups: What puts pictures into groups (see `load_data`).
        data_dir: Folder of named datasets.
        on_error: What happens to pictures that cannot be read (see `load_data`).
        **reading: How pictures are read (see `load_data`).

    Raises:
        DataError: If the data cannot be loaded, or has too few classes.
        RunError: If the run was begun with other classes or groups.
    """
    reading |= {"class_level": class_level, "groups": groups, "data_dir": data_dir, "on_error": on_error}
    classes, parts, val_fraction = None, dict[Split, LabelledData](), options.val_fraction
    if unseen is None:
        train = load_data(data, "train", **reading)
    else:
        val_fraction = val_fraction or VAL_FRACTION
        images = load_data(data, "all", **reading)
        classes = ClassSplit.of(images, unseen, val_fraction=val_fraction, seed=options.seed)
        parts = classes.parts(images, data)
        train = parts["train"]
    if resume and options.out is not None:
        check_same_classes(options.out, classes, groups)
    return RunImages(data=data, val_fraction=val_fraction, train=train, parts=parts, classes=classes, reading=reading)
