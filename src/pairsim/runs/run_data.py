"""Images and pairs that a run is judged by, or its threshold is chosen on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairsim._common import storage
from pairsim._common.choices import Split
from pairsim.data import ClassIndex, PairDataset, read_labels, stratified_split
from pairsim.data.image_sets import ImageFiles, subset
from pairsim.data.named import NAMES, LabelledData, load_data
from pairsim.data.pairs.pair_files import read_numbered_pairs
from pairsim.errors import DatasetNotFoundError, RunError
from pairsim.images import Preprocessing
from pairsim.models import SimilarityModel


@dataclass(frozen=True)
class Judged:
    """What a run is judged by.

    Attributes:
        dataset: A labelled dataset, or a `PairDataset`.
        source: Where it came from, for the record.
        class_names: Its classes; empty for given pairs.
    """

    dataset: Any
    source: str
    class_names: tuple[str, ...] = ()


def load_evaluation_data(
    model: SimilarityModel, data: str, split: Split, pairs: Path | None, data_dir: Path | None
) -> Judged:
    """A labelled dataset, or the pairs of a file, with pictures read as the model does."""
    if pairs is not None and data not in NAMES:
        listed = PairDataset.from_csv(pairs, data)
        files, numbers = listed.dataset, listed.all_pairs()
        assert isinstance(files, ImageFiles), "no transform was asked for"
        files = ImageFiles(files.paths, files.targets, preprocessing=model.preprocessing)
        listed = PairDataset.from_pairs(files, numbers.first, numbers.second, numbers.target)
        return Judged(listed, f"{pairs.name}, pictures in {data}")
    loaded = load_labelled(model, data, split, data_dir)
    if pairs is None:
        return Judged(loaded.dataset, loaded.source, loaded.class_names)
    return Judged(PairDataset.from_pairs(loaded.dataset, *read_numbered_pairs(pairs)), f"{pairs.name}, {loaded.source}")


def load_labelled(model: SimilarityModel, data: str, split: Split, data_dir: Path | None) -> LabelledData:
    """One split of a dataset, with pictures read as the model does."""
    return load_data(data, split, data_dir=data_dir, preprocessing=model.preprocessing)


def held_out_images(run: Path, model: SimilarityModel, data: str, data_dir: Path | None) -> Any:
    """The images that a run kept for validation: those of the folder's own `val`, or those split off its training set.

    Raises:
        RunError: If `run` is not a run folder, or was trained on other data.
    """
    loaded = load_data(data, "train", data_dir=data_dir, preprocessing=model.preprocessing)
    own = own_validation(data, loaded, data_dir, model.preprocessing)
    if own is not None:
        return own
    config_file, run_file = run / "config.json", run / "run.json"
    if not (config_file.is_file() and run_file.is_file()):
        raise RunError(
            f"Expected a run folder at {run}, which says what images it kept for validation, found none. Give "
            "--split train or --split test, or --pairs FILE, with images that the model was not trained on."
        )
    config, known = storage.read_json(config_file), storage.read_json(run_file)["data"]
    labels = read_labels(loaded.dataset)
    kept, held = stratified_split(ClassIndex.from_labels(labels), config["val_fraction"], seed=config["seed"])
    found = ClassIndex.from_labels(labels[kept]).fingerprint()
    if any(known.get(name) != value for name, value in found.items()):
        raise RunError(
            f"Expected the data that {run} was trained on ({known.get('num_images')} images of "
            f"{known.get('num_classes')} classes besides those for validation), found {found['num_images']} of "
            f"{found['num_classes']}, or others. Give that data, or --split or --pairs with images that it was not "
            "trained on."
        )
    return subset(loaded.dataset, held)


def own_validation(
    data: str, loaded: LabelledData, data_dir: Path | None, preprocessing: Preprocessing | None = None
) -> Any:
    """The images in a folder's own `val`, or `None` where it has none."""
    if not (Path(data) / "val").is_dir():
        return None
    try:
        if preprocessing is not None:
            return load_data(data, "val", data_dir=data_dir, preprocessing=preprocessing).dataset
        size, channels = loaded.image_size, loaded.channels
        return load_data(data, "val", data_dir=data_dir, image_size=size, channels=channels).dataset
    except DatasetNotFoundError:  # a class that happens to be called val
        return None
