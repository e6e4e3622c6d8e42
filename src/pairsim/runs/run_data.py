"""Images and pairs that a run is trained on, evaluated or calibrated on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairsim._common import json_files, storage
from pairsim._common.choices import OnError, Split
from pairsim.data import ClassIndex, LabelledData, stratified_split
from pairsim.data.image_sets import subset
from pairsim.data.named import NAMES, is_embedding_file, load_data
from pairsim.data.pairs.pair_files import read_folds
from pairsim.data.pairs.skipped_pairs import SkippedPairs
from pairsim.data.splits import read_split
from pairsim.errors import RunError
from pairsim.images import Preprocessing
from pairsim.images.folders import LeftOut
from pairsim.models import SimilarityModel
from pairsim.runs.calibration_records import calibration_classes
from pairsim.runs.class_splits import FILE_NAME, ClassSplit
from pairsim.runs.group_names import GroupNames, Names, find_group_names
from pairsim.runs.run_pairs import (
    lists_numbers,
    read_numbered_list,
    read_picture_list,
    validation_pairs_of,
)
from pairsim.runs.trained_pictures import warning_of_trained
from pairsim.verification import VerificationReport
from pairsim.verification.report_parts import Overlap

SEEN_THRESHOLD = (
    "The threshold was chosen on classes that training had; on new classes expect more errors. Train with --unseen."
)


@dataclass(frozen=True)
class Judged:
    """The data that a run is evaluated on.

    Attributes:
        dataset: A labelled dataset, or a `PairDataset`.
        source: Where it was read from, for records.
        class_names: Its classes; empty for given pairs.
        unseen_classes: How many of these training did not have; `None` for given pairs, and where the run does not say.
        account: One line on what was read from a folder and what was left out; empty for other data.
        left_out: What was left out.
        warning: One line where the threshold was chosen on classes of training, and these are others; else empty.
        trained: One line where the model was trained on some of it; else empty.
        folds: Fold of each given pair; `None` if their file has none.
        skipped: What was left out of the given pairs.
        groups: Groups to report on; `None` if none were asked for.
        shared_classes: How many of its classes the threshold was chosen on; `None` if it is not known.
    """

    dataset: Any
    source: str
    class_names: tuple[str, ...] = ()
    unseen_classes: int | None = None
    account: str = ""
    left_out: tuple[LeftOut, ...] = ()
    warning: str = ""
    trained: str = ""
    folds: Sequence[int] | None = None
    skipped: SkippedPairs | None = None
    groups: GroupNames | None = None
    shared_classes: int | None = None

    @property
    def group_names(self) -> Names | tuple[Names, Names] | None:
        """The groups as `evaluate` takes them, or `None`."""
        return None if self.groups is None else self.groups.names

    def completed(self, report: VerificationReport) -> VerificationReport:
        """Return a report with what only the run and its data know."""
        origin, by_group = report.threshold_origin, report.by_group
        if self.shared_classes is not None and origin.source != "given":
            overlap: Overlap = "shared" if self.shared_classes else "disjoint"
            origin = dataclasses.replace(origin, classes=overlap, num_common_classes=self.shared_classes)
        if by_group is not None and self.groups is not None:
            by_group = dataclasses.replace(by_group, by=self.groups.by)
        return dataclasses.replace(
            report, unseen_classes=self.unseen_classes, threshold_origin=origin, by_group=by_group
        )


def load_evaluation_data(
    run: Path,
    model: SimilarityModel,
    data: str,
    split: Split,
    *,
    pairs: Path | None = None,
    data_dir: Path | None,
    class_level: int | None = None,
    groups: str | None = None,
    on_error: OnError | None = None,
) -> Judged:
    """Load a labelled dataset, or the pairs of a file, with pictures read as the model does.

    Without pairs, the split "val" is the validation images of the run, or its validation pairs if it was trained on
    pairs. In a run that kept classes unseen, each split has the classes of that split (see `load_labelled`). The class
    level and `on_error` are by default those of the run. `groups` are groups to report on (see `find_group_names`).
    """
    record = recorded_data(run)
    of_pairs = record.get("pairs", {})
    is_same_file = pairs is not None and Path(of_pairs.get("file", "")).resolve() == pairs.resolve()
    if pairs is None and of_pairs:
        if split == "val":
            pairs, split = validation_pairs_of(run), "train"
        elif not lists_numbers(data) and Path(data).resolve() == Path(str(record.get("data"))).resolve():
            raise RunError(
                f"Expected --pairs FILE or --split val for {run}, which was trained on pairs of pictures in {data}, "
                f"found --split {split}: the run has no such split. Give pairs that it was not trained on."
            )
    if pairs is not None and not lists_numbers(data):
        skips: OnError = on_error or record.get("on_error", "raise")
        listed, pictures = read_picture_list(pairs, data, model.preprocessing, on_error=skips)
        folds, skipped = read_folds(pairs), listed.skipped
        if skipped is not None:
            folds = None if folds is None else skipped.of_kept(folds)
        account = "" if skipped is None else str(skipped)
        named = None if groups is None else find_group_names(listed, data, groups)
        return Judged(
            listed,
            pictures.source,
            account=account,
            trained=warning_of_trained(record, listed, is_training_data=is_same_file),
            folds=folds,
            skipped=skipped,
            groups=named,
        )
    loaded = load_labelled(run, model, data, split, data_dir=data_dir, class_level=class_level, on_error=on_error)
    is_trained = split == "train" and loaded.source == record.get("source") and (is_same_file or not of_pairs)
    if pairs is not None:
        listed = read_numbered_list(pairs, loaded)
        named = None if groups is None else find_group_names(listed, data, groups)
        source = f"{pairs.name}, {loaded.source}"
        trained = warning_of_trained(record, listed, is_training_data=is_trained)
        return Judged(listed, source, trained=trained, folds=read_folds(pairs), groups=named)
    known = loaded.account
    inside = known is not None and split == "val" and "val" not in known.splits  # validation images are among train
    used: Split = "train" if inside else split
    account, left_out = ("", ()) if known is None else (known.line(used), known.left_out_of(used))
    known_classes = set(map(str, record.get("class_names", ())))
    of_val = set(map(str, record.get("class_split", {}).get("val", ()) or record.get("val_class_names", ())))
    of_val = of_val or known_classes
    unseen = len(set(loaded.class_names) - known_classes) if known_classes else None
    here = set(known.classes.get("test", ())) if split == "val" and known is not None else set(loaded.class_names)
    point = model.operating_point
    on_val = split == "val" or point is None or point.source.startswith("validation ")
    warns = bool(known_classes) and of_val <= known_classes and bool(here - known_classes) and on_val
    level = int(record.get("class_level", 1)) if class_level is None else class_level
    chosen_on = calibration_classes(run, model, record)
    return Judged(
        loaded,
        loaded.source,
        loaded.class_names,
        unseen,
        account,
        left_out,
        SEEN_THRESHOLD if warns else "",
        warning_of_trained(record, loaded, is_training_data=is_trained),
        groups=None if groups is None else find_group_names(loaded, data, groups, level),
        shared_classes=len(chosen_on & set(loaded.class_names)) if chosen_on else None,
    )


def recorded_data(run: Path) -> Mapping[str, Any]:
    """Return the values of `data.json` of a run, or of the run that a model folder is in; empty without one."""
    inside = run.resolve()
    folders = [inside, inside.parent] if inside.name == "model" else [inside]
    path = next((path for path in (folder / FILE_NAME for folder in folders) if storage.is_file(path)), None)
    return {} if path is None else json_files.read_sealed(path)


def load_labelled(
    run: Path,
    model: SimilarityModel,
    data: str,
    split: Split,
    *,
    data_dir: Path | None,
    class_level: int | None = None,
    on_error: OnError | None = None,
) -> LabelledData:
    """Load one split of a dataset as a run has it, with pictures read as the model does.

    If the run kept classes unseen, "test" has these classes, "val" those for validation and "train" the others, told
    by their names. That holds for any data with one of its classes, unless the data has splits of its own. Other data
    is split as by `load_data`, and "val" is the images that the run split off (see `held_out_images`). A file of
    embeddings is not split unless the run was trained on it.

    Raises:
        RunError: If the split is "val", and `run` is not a run folder, or was trained on other data.
    """
    record = recorded_data(run)
    reading = _reading(record, model, data, data_dir, class_level, on_error=on_error)
    if is_embedding_file(data):
        whole = load_data(data, "all", **reading)
        # a source ends in a checksum, so that a copy under another name is known too
        if whole.source.rpartition(" (")[2] != str(record.get("source")).rpartition(" (")[2]:
            return whole
    classes = ClassSplit.from_record(record, run / FILE_NAME)
    if classes is not None:
        images = load_data(data, "all", **reading)
        shared = {*classes.train, *classes.val, *classes.test}.intersection(images.class_names)
        if shared and not (images.account is not None and images.account.splits):
            parts = classes.parts(images, data)
            if split not in parts:
                raise RunError(
                    f"Expected classes of {split} of {run} in {images.source}, found none of them. Give the data that "
                    "the run was trained on."
                )
            return parts[split]
    if split == "val":
        return held_out_images(run, model, data, data_dir, class_level, on_error=on_error)
    return load_data(data, split, **reading)


def _reading(
    record: Mapping[str, Any],
    model: SimilarityModel,
    data: str,
    data_dir: Path | None,
    class_level: int | None,
    *,
    on_error: OnError | None,
) -> dict[str, Any]:
    """Return how a run reads a dataset; its groups are only of data that has a class of the run."""
    level = 1 if data in NAMES else int(record.get("class_level", 1)) if class_level is None else class_level
    reading: dict[str, Any] = {"data_dir": data_dir, "preprocessing": model.preprocessing, "class_level": level}
    reading["on_error"] = on_error or record.get("on_error", "raise")
    groups = None if data in NAMES else record.get("groups")
    if groups is not None:
        kept = record.get("class_split", {})
        of_val = record.get("val_class_names", kept.get("val", ()))
        classes = {*record.get("class_names", ()), *of_val, *kept.get("test", ())}
        if classes.intersection(load_data(data, "all", **reading).class_names):
            reading["groups"] = groups
    return reading


def held_out_images(
    run: Path,
    model: SimilarityModel,
    data: str,
    data_dir: Path | None,
    class_level: int | None = None,
    *,
    on_error: OnError | None = None,
) -> LabelledData:
    """Load the validation images of a run that did not keep classes unseen.

    These are the images of the folder's own `val`, or those that the run split off its training set. Runs of earlier
    versions have no file of the split; it is then computed again from their settings.

    Raises:
        RunError: If `run` is not a run folder, or was trained on other data.
    """
    reading = _reading(recorded_data(run), model, data, data_dir, class_level, on_error=on_error)
    loaded = load_data(data, "train", **reading)
    if loaded.account is not None and "val" in loaded.account.splits:
        return load_data(data, "val", **reading)
    config_file, run_file = run / "config.json", run / "run.json"
    if not (storage.is_file(config_file) and storage.is_file(run_file)):
        raise RunError(
            f"Expected a run folder at {run}, which records its validation images, found none. Give "
            "--split train or --split test, or --pairs FILE, with images that the model was not trained on."
        )
    split = read_split(run)
    if split is not None:
        held_out, expected, found = split.held_out, split.data, loaded.index.fingerprint()
    else:
        config = json_files.read_sealed(config_file)
        kept, held_out = stratified_split(loaded.index, config["val_fraction"], seed=config["seed"])
        expected = json_files.read_sealed(run_file)["data"]
        found = ClassIndex.from_labels(loaded.targets[kept]).fingerprint()
        if expected == expected | loaded.index.fingerprint():  # all of them
            raise RunError(
                f"Expected {run} with validation images, found none: too few could be split off when it was trained. "
                "Train with a larger --val-fraction, such as 0.5, or with --unseen 0.3, which keeps whole classes; or "
                "give --pairs FILE, or --split train with a folder that the model was not trained on."
            )
    if any(expected.get(name) != value for name, value in found.items()):
        raise RunError(
            f"Expected the data that {run} was trained on ({expected.get('num_images')} images of "
            f"{expected.get('num_classes')} classes), found {found['num_images']} of {found['num_classes']}, or other "
            "labels. Give that data, or --split or --pairs with images that it was not trained on."
        )
    part: LabelledData = subset(loaded, held_out)
    return part


def own_validation(
    data: str,
    loaded: LabelledData,
    data_dir: Path | None,
    preprocessing: Preprocessing,
    class_level: int,
    *,
    groups: str | None = None,
    on_error: OnError = "raise",
) -> LabelledData | None:
    """Load a folder's own validation images; `None` where it has none."""
    if loaded.account is None or "val" not in loaded.account.splits:
        return None
    reading: dict[str, Any] = {"preprocessing": preprocessing, "class_level": class_level, "groups": groups}
    reading["on_error"] = on_error
    return load_data(data, "val", data_dir=data_dir, **reading)
