"""Faces of people that training never saw: the pairs of LFW's development test.

Trained on the people of lfw-people who are in none of these pairs. A fifth of them is for validation: it decides which
model is kept, and the threshold; three splits. The net is torchvision's MobileNetV2 with ImageNet weights at 224 px in
every arm.

The pairs choose nothing.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.mnist_quality import SEEDS
from benchmarks.open_world import FROZEN, NET, QUICK_CLASSES, model_of, what_was_kept
from benchmarks.options import Options
from benchmarks.report import Table, means
from benchmarks.timing import Row
from pairsim import SimilarityModel, TrainConfig, adapt
from pairsim.data import ImageTensors, load_data
from pairsim.data.image_sets import fetch_images, subset
from pairsim.data.loading.resident import make_resident
from pairsim.data.named import data_root
from pairsim.data.pairs.pair_files import read_table
from pairsim.evaluation import PairScores
from pairsim.images import Preprocessing
from pairsim.models.backbones.weight_files import find_weights, weight_folders

PEOPLE, PAIRS, PICTURES = (
    Path("open") / part for part in ("lfw-people", "lfw-pairs/pairsDevTest.txt", "lfw-pairs/images")
)
QUICK_STEP = 20
"""With `--quick` every so many pairs."""

TRAINED = "pairsim train"
ARMS: Mapping[str, dict[str, Any]] = {
    FROZEN: {"head": "none", "freeze": "backbone"},
    "frozen, whiten": {"head": "whiten", "freeze": "backbone"},
    TRAINED: {"head": "auto", "freeze": "none"},
}
"""Head and frozen layers of `pairsim train`."""


@dataclass(frozen=True)
class FacePairs:
    """The pairs whose pictures are there.

    Attributes:
        images: Each picture once `[N, C, H, W]`.
        first: Its number for the first picture of each pair `[P]`.
        second: Likewise for the second.
        target: 1 = same person, 0 = different `[P]`.
        people: Everyone in the list.
        missing: Pictures that are not there.
        listed: Pairs in the list.
    """

    images: Tensor
    first: Tensor
    second: Tensor
    target: Tensor
    people: frozenset[str]
    missing: tuple[str, ...]
    listed: int


def run(options: Options) -> list[Table]:
    """Measure every arm with each split of the training people."""
    root = data_root(options.data_dir)
    weights = find_weights(NET, weight_folders(root))
    missing = [str(path) for path in (PEOPLE, PAIRS, PICTURES) if not (root / path).exists()]
    if weights is None or missing:
        what = ", ".join([*missing, *([] if weights else [f"weights of {NET}"])])
        return [Table("LFW pairs", (), (f"Not measured: it needs {what} in --data-dir or $PAIRSIM_DATA.",))]
    preprocessing = model_of(options, weights).preprocessing
    pairs = read_pairs(root, preprocessing, step=QUICK_STEP if options.quick else 1)
    train = training_images(root / PEOPLE, pairs.people, preprocessing, quick=options.quick)
    rows = [
        measured(arm, seed, options, weights, train=train, pairs=pairs)
        for seed in (SEEDS[:1] if options.quick else SEEDS)
        for arm in ARMS
    ]
    return tables(rows, pairs, train)


def tables(rows: list[Row], pairs: FacePairs, train: ImageTensors) -> list[Table]:
    """The tables of the arms and seeds that were measured."""
    lost = f", as {', '.join(pairs.missing)} is missing among the pictures" if pairs.missing else ""
    notes = (
        f"{len(pairs.target):,} of the {pairs.listed:,} pairs of pairsDevTest.txt{lost}.",
        f"Training and validation: {len(set(train.targets.tolist()))} people, {len(train):,} images, none of the "
        "people in these pairs. Their images are aligned (deep-funneled), the pictures of the pairs are not.",
        "best_accuracy: at the threshold that is best on these same pairs, as some published figures are; accuracy: at "
        "the model's own threshold, from validation people.",
        "seconds: without reading the images; seed: of the validation people.",
    )
    return [
        Table("LFW development test", rows, notes),
        Table("LFW development test, mean of seeds", means(rows, ("eer", "best_accuracy", "accuracy"))),
    ]


def read_pairs(root: Path, preprocessing: Preprocessing, *, step: int = 1) -> FacePairs:
    """Read the list, and each of its pictures once; pairs with a missing picture are left out."""
    table = read_table(root / PAIRS)
    names = sorted({name for pair in table.pairs for name in pair})
    missing = tuple(name for name in names if not (root / PICTURES / name).is_file())
    rows = [row for row in table.rows if not {*row[:2]} & {*missing}][::step]
    used = sorted({name for row in rows for name in row[:2]})
    places = {name: number for number, name in enumerate(used)}
    first, second, target = (
        torch.tensor(column)
        for column in zip(*((places[one], places[other], same) for one, other, same in rows), strict=True)
    )
    files = [str(root / PICTURES / name) for name in used]
    images = fetch_images(files, np.arange(len(files)), preprocessing)
    people = frozenset(name.split("/")[0] for name in names)
    return FacePairs(images, first, second, target, people, missing, len(table.pairs))


def training_images(folder: Path, people: frozenset[str], preprocessing: Preprocessing, *, quick: bool) -> ImageTensors:
    """Read the pictures of everyone but the people of the pairs."""
    every = load_data(folder, "all", preprocessing=preprocessing)
    others = [number for number, name in enumerate(every.class_names) if name not in people]
    kept = subset(every, np.flatnonzero(np.isin(every.index.codes, others[:QUICK_CLASSES] if quick else others)))
    assert not people & set(kept.class_names), "people of the test pairs are not in training"
    return make_resident(kept.dataset, labels=kept.index.codes.astype("int64"), preprocessing=preprocessing)


def measured(arm: str, seed: int, options: Options, weights: Path, *, train: ImageTensors, pairs: FacePairs) -> Row:
    """Train an arm and judge it on the pairs."""
    print(f"lfw-pairs: {arm}, seed {seed}", file=sys.stderr, flush=True)
    model, how = model_of(options, weights), ARMS[arm]
    config = TrainConfig(freeze=how["freeze"], seed=seed, device=options.device, progress=False)
    if options.quick:
        config = dataclasses.replace(config, epochs=1)
    began = time.perf_counter()
    result = adapt(model, config, train=train, head=how["head"])
    seconds = time.perf_counter() - began
    return {
        "arm": arm,
        "seed": seed,
        **figures(model, pairs),
        "seconds": seconds,
        "kept": what_was_kept(result),
    }


def figures(model: SimilarityModel, pairs: FacePairs) -> Row:
    """What a model reaches on the pairs."""
    embeddings = model.encode(pairs.images, precision="auto").cpu()
    scores = (embeddings[pairs.first] * embeddings[pairs.second]).sum(dim=1)
    scored = PairScores.from_scores(scores, pairs.target)
    curve = scored.roc_curve()
    errors = curve.fmr * scored.num_negative + curve.fnmr * scored.num_positive
    return {
        "eer": scored.equal_error_rate(),
        "best_accuracy": 1 - float(errors.min()) / scored.num_pairs,
        "accuracy": math.nan if math.isnan(model.threshold) else scored.accuracy(model.threshold),
    }
