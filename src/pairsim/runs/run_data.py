"""Images and pairs that a run is evaluated or calibrated on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pairsim._common import storage
from pairsim._common.choices import Split
from pairsim.data import ClassIndex, LabelledData, stratified_split
from pairsim.data.image_sets import subset
from pairsim.data.named import NAMES, load_data
from pairsim.data.splits import read_split
from pairsim.errors import RunError
from pairsim.images import Preprocessing
from pairsim.images.folders import LeftOut
from pairsim.models import SimilarityModel
from pairsim.runs.run_pairs import read_numbered_list, read_picture_list, validation_pairs_of


@dataclass(frozen=True)
class Judged:
    """The data that a run is evaluated on.

    Attributes:
        dataset: A labelled dataset, or a `PairDataset`.
        source: Where it was read from, for records.
        class_names: Its classes; empty for given pairs.
        account: One line on what was read from a folder and what was left out; empty for other data.
        left_out: What was left out.
    """

    dataset: Any
    source: str
    class_names: tuple[str, ...] = ()
    account: str = ""
    left_out: tuple[LeftOut, ...] = ()


def load_evaluation_data(
    run: Path,
    model: SimilarityModel,
    data: str,
    split: Split,
    *,
    pairs: Path | None = None,
    data_dir: Path | None,
    class_level: int | None = None,
) -> Judged:
    """Load a labelled dataset, or the pairs of a file, with pictures read as the model does.

    Without pairs, the split "val" is the validation images of the run (see `held_out_images`), or its validation pairs
    if it was trained on pairs. The class level is by default that of the run.
    """
    record = _record(run)
    if pairs is None and split == "val" and "pairs" in record:
        pairs, split = validation_pairs_of(run), "train"
    if pairs is not None and data not in NAMES:
        listed, images = read_picture_list(pairs, data, model.preprocessing)
        return Judged(listed, images.source)
    level = class_level
    if level is None:
        level = 1 if data in NAMES else int(record.get("class_level", 1))
    if pairs is not None:
        loaded = load_labelled(model, data, split, data_dir, level)
        return Judged(read_numbered_list(pairs, loaded), f"{pairs.name}, {loaded.source}")
    used: tuple[Split, ...] = (split,)
    if split == "val":
        loaded = held_out_images(run, model, data, data_dir, level)
        if loaded.account is not None and "val" not in loaded.account.splits:
            used = ("train",)  # they are a part of it
    else:
        loaded = load_labelled(model, data, split, data_dir, level)
    known = loaded.account
    account, left_out = ("", ()) if known is None else (known.line(*used), known.left_out_of(*used))
    return Judged(loaded, loaded.source, loaded.class_names, account, left_out)


def _record(run: Path) -> dict[str, Any]:
    """Return what the command line recorded of the data of a run; nothing where it has no record."""
    inside = run.resolve()
    folders = [inside, inside.parent] if inside.name == "model" else [inside]  # the model folder of a run
    path = next((path for path in (folder / "data.json" for folder in folders) if storage.is_file(path)), None)
    return {} if path is None else storage.read_json(path)


def load_labelled(
    model: SimilarityModel, data: str, split: Split, data_dir: Path | None, class_level: int = 1
) -> LabelledData:
    """Load one split of a dataset, with pictures read as the model does."""
    return load_data(data, split, data_dir=data_dir, preprocessing=model.preprocessing, class_level=class_level)


def held_out_images(
    run: Path, model: SimilarityModel, data: str, data_dir: Path | None, class_level: int = 1
) -> LabelledData:
    """Load the validation images of a run.

    These are the images of the folder's own `val`, or those that the run split off its training set. Runs of earlier
    versions have no file of the split; it is then computed again from their settings.

    Raises:
        RunError: If `run` is not a run folder, or was trained on other data.
    """
    loaded = load_labelled(model, data, "train", data_dir, class_level)
    own = own_validation(data, loaded, data_dir, model.preprocessing, class_level)
    if own is not None:
        return own
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
        config = storage.read_json(config_file)
        kept, held_out = stratified_split(loaded.index, config["val_fraction"], seed=config["seed"])
        expected = storage.read_json(run_file)["data"]
        found = ClassIndex.from_labels(loaded.targets[kept]).fingerprint()
    if any(expected.get(name) != value for name, value in found.items()):
        raise RunError(
            f"Expected the data that {run} was trained on ({expected.get('num_images')} images of "
            f"{expected.get('num_classes')} classes), found {found['num_images']} of {found['num_classes']}, or other "
            "labels. Give that data, or --split or --pairs with images that it was not trained on."
        )
    names = tuple(loaded.class_names[code] for code in np.unique(loaded.index.codes[held_out]))
    return dataclasses.replace(loaded, dataset=subset(loaded, held_out), class_names=names, groups=None)


def own_validation(
    data: str, loaded: LabelledData, data_dir: Path | None, preprocessing: Preprocessing, class_level: int
) -> LabelledData | None:
    """Load a folder's own validation images; `None` where it has none."""
    if loaded.account is None or "val" not in loaded.account.splits:
        return None
    return load_data(data, "val", data_dir=data_dir, preprocessing=preprocessing, class_level=class_level)
