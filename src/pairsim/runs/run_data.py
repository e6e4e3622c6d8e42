"""Images and pairs that a run is evaluated or calibrated on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pairsim._common import storage
from pairsim._common.choices import Split
from pairsim.data import ClassIndex, LabelledData, PairDataset, stratified_split
from pairsim.data.image_sets import ImageFiles, subset
from pairsim.data.named import NAMES, embedding_files, is_embedding_file, load_data
from pairsim.data.pairs.pair_files import read_numbered_pairs
from pairsim.data.splits import read_split
from pairsim.errors import RunError
from pairsim.images import Preprocessing
from pairsim.images.folders import LeftOut
from pairsim.models import SimilarityModel


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

    Without pairs, the split "val" is the validation images of the run (see `held_out_images`). A file of embeddings is
    used whole, unless the run was trained on it. The class level is by default that of the run.
    """
    if pairs is not None and data not in NAMES:
        listed = PairDataset.from_csv(pairs, data)
        files, numbers = listed.dataset, listed.all_pairs()
        assert isinstance(files, ImageFiles), "no transform was asked for"
        files = ImageFiles(files.paths, files.targets, preprocessing=model.preprocessing)
        listed = PairDataset.from_pairs(files, numbers.first, numbers.second, numbers.target)
        return Judged(listed, f"{pairs.name}, pictures in {data}")
    level = recorded_class_level(run, data) if class_level is None else class_level
    if pairs is not None:
        loaded = load_labelled(model, data, split, data_dir, level)
        return Judged(PairDataset.from_pairs(loaded, *read_numbered_pairs(pairs)), f"{pairs.name}, {loaded.source}")
    used: tuple[Split, ...] = (split,)
    other = _other_embeddings(run, model, data)
    if other is not None:
        loaded = other
    elif split == "val":
        loaded = held_out_images(run, model, data, data_dir, level)
        if loaded.account is not None and "val" not in loaded.account.splits:
            used = ("train",)  # they are a part of it
    else:
        loaded = load_labelled(model, data, split, data_dir, level)
    known = loaded.account
    account, left_out = ("", ()) if known is None else (known.line(*used), known.left_out_of(*used))
    return Judged(loaded, loaded.source, loaded.class_names, account, left_out)


def _other_embeddings(run: Path, model: SimilarityModel, data: str) -> LabelledData | None:
    """Load a file of embeddings whole; `None` for other data, and for the file that the run was trained on."""
    if not is_embedding_file(data):
        return None
    record, loaded = run / "data.json", embedding_files.load(Path(data), "all", model.preprocessing)
    trained_on = str(storage.read_json(record).get("source")) if storage.is_file(record) else ""
    # the source ends in a checksum, so that a copy under another name is known too
    return None if loaded.source.rpartition(" (")[2] == trained_on.rpartition(" (")[2] else loaded


def recorded_class_level(run: Path, data: str) -> int:
    """Return the class level that a run was trained at; 1 for named data, and where it has no record."""
    inside = run.resolve()
    folders = [inside, inside.parent] if inside.name == "model" else [inside]  # the model folder of a run
    record = next((path for path in (folder / "data.json" for folder in folders) if storage.is_file(path)), None)
    return 1 if record is None or data in NAMES else int(storage.read_json(record).get("class_level", 1))


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
