"""Omniglot: drawings of characters that training never saw, by nets that are trained from scratch.

Trained on the 964 background characters (Lake et al. 2015), judged on the 659 evaluation characters in three ways:

- 20-way one-shot, any characters: 10,000 episodes, each of one drawing of 20 characters and one query.
- 20-way one-shot within an alphabet: the 20 official runs, in which queries and support are of different drawers; and
  5,000 episodes of any two drawers and any 20 characters (or all) of an alphabet, which are harder: the official runs
  have 10 of the 20 alphabets, and drawers who drew well.
- Verification: 20,000 pairs, half of them of one character, as in Koch et al. 2015. The threshold is the model's own,
  from validation drawings of background characters.

Evaluation characters choose nothing: recipes were chosen on held-out background alphabets.
"""

from __future__ import annotations

import io
import os
import statistics
import sys
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from benchmarks.options import Options
from benchmarks.report import Table, means
from benchmarks.timing import Row
from pairsim import EmbeddingNet, PairDataset, SimilarityModel, TrainConfig, Trainer
from pairsim.data import ImageTensors
from pairsim.evaluation import few_shot_accuracy
from pairsim.evaluation.pairs.pair_scores import PairScores
from pairsim.evaluation.uncertainty.wilson import wilson_interval
from pairsim.images import Preprocessing

PICTURES, RUNS = Path("open/omniglot-full.zip"), Path("open/omniglot-one-shot-runs.zip")
SEEDS = range(5)
SIZE = 35
"""A third of the drawings' 105 pixels."""
FIGURES = ("any_characters", "within_alphabet", "any_drawers", "verification", "eer")
NUM_PAIRS, EPISODES, ALPHABET_EPISODES, WAYS = 20_000, 10_000, 5_000, 20
QUICK_CHARACTERS = 40


@dataclass(frozen=True)
class Arm:
    """A net and its recipe; what the recipe leaves out is pairsim's default."""

    name: str
    backbone: str | None
    recipe: dict[str, Any] = field(default_factory=dict)


_AFFINE: dict[str, Any] = {"augment": "affine", "batch_size": 256, "epochs": 16}
_TURNED: dict[str, Any] = {**_AFFINE, "turns": True}
_CONTRASTIVE: dict[str, Any] = {**_TURNED, "objective": "supervised-contrastive"}
ARMS = (
    Arm("conv4, supervised contrastive, turns", "conv4", _CONTRASTIVE),
    Arm("conv4, all pairs, turns", "conv4", _TURNED),
    Arm("conv4, normalized softmax, turns", "conv4", {**_TURNED, "objective": "normalized-softmax"}),
    Arm("reference net, all pairs", None, {**_AFFINE, "epochs": 64}),
)
"""Every arm trains on as many images: with turns an epoch has four times as many."""


@dataclass(frozen=True)
class OneShotRun:
    """An official run: the support's drawings, the queries' drawings, and the support of each query."""

    support: Tensor
    queries: Tensor
    answers: list[int]


@dataclass(frozen=True)
class Drawings:
    """What is trained on and judged by."""

    background: ImageTensors
    evaluation: ImageTensors
    runs: list[OneShotRun]


def run(options: Options) -> list[Table]:
    """Train every arm with each seed, and judge it."""
    found = folder(options)
    if found is None:
        reason = f"Not measured: it needs {PICTURES} and {RUNS} in --data-dir or $PAIRSIM_DATA."
        return [Table("Omniglot", (), (reason,))]
    data = read(found, quick=options.quick)
    rows: list[Row] = []
    for seed in SEEDS[:1] if options.quick else SEEDS:
        for arm in ARMS:
            print(f"omniglot: {arm.name}, seed {seed}", file=sys.stderr, flush=True)
            rows.append(judged(arm, seed, data, options))
    return tables(rows)


def tables(rows: list[Row]) -> list[Table]:
    """The tables of the arms and seeds that were measured."""
    notes = (
        "any_characters and within_alphabet (the official runs): accuracy of 20-way one-shot classification, with 95 % "
        "intervals for other characters and for other queries; any_drawers: episodes within an alphabet.",
        "verification: accuracy on 20,000 pairs, half of them positive, at the model's own threshold; eer: equal error "
        "rate of the same pairs.",
        "seconds: training, validation included.",
    )
    return [
        Table("Omniglot, unseen characters", rows, notes),
        Table("Omniglot, unseen characters, mean of seeds", means(rows, FIGURES)),
    ]


def folder(options: Options) -> Path | None:
    """The folder that has both archives, or `None`."""
    given = options.data_dir if options.data_dir is not None else os.environ.get("PAIRSIM_DATA")
    root = None if given is None else Path(given)
    return root if root is not None and (root / PICTURES).is_file() and (root / RUNS).is_file() else None


def read(root: Path, *, quick: bool = False) -> Drawings:
    """Read both archives; with `quick` the first characters only."""
    reader = Preprocessing(image_size=(SIZE, SIZE), channels=1)
    with zipfile.ZipFile(root / PICTURES) as archive:
        background, evaluation = (
            characters(archive, part, reader, quick=quick) for part in ("images_background", "images_evaluation")
        )
    with zipfile.ZipFile(root / RUNS) as archive:
        runs = [one_shot_run(archive, name, reader) for name in sorted({n.split("/")[0] for n in archive.namelist()})]
    return Drawings(background, evaluation, runs)


def characters(archive: zipfile.ZipFile, part: str, reader: Preprocessing, *, quick: bool) -> ImageTensors:
    """All drawings of a part, labelled by alphabet and character."""
    files = sorted(name for name in archive.namelist() if f"{part}/" in name and name.endswith(".png"))
    names = sorted({name.split("/")[-2] for name in files})
    kept = set(names[:QUICK_CHARACTERS] if quick else names)
    files = [name for name in files if name.split("/")[-2] in kept]
    images = torch.stack([drawing(archive, name, reader) for name in files])
    return ImageTensors(images, [name.split("/")[-2] for name in files])


def drawing(archive: zipfile.ZipFile, name: str, reader: Preprocessing) -> Tensor:
    """One drawing, white on black as MNIST's digits are."""
    with Image.open(io.BytesIO(archive.read(name))) as picture:
        return 255 - reader.read(picture.convert("L"))


def one_shot_run(archive: zipfile.ZipFile, name: str, reader: Preprocessing) -> OneShotRun:
    """An official run, as its class_labels.txt has it: a query and its support in each line."""
    lines = archive.read(f"{name}/class_labels.txt").decode().splitlines()
    queries, support = zip(*(line.split() for line in lines if line.strip()), strict=True)
    places = {file: number for number, file in enumerate(sorted(set(support)))}
    shown, asked = (torch.stack([drawing(archive, file, reader) for file in files]) for files in (places, queries))
    return OneShotRun(shown, asked, [places[file] for file in support])


def judged(arm: Arm, seed: int, data: Drawings, options: Options) -> Row:
    """Train an arm and judge it on the evaluation characters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SimilarityModel(EmbeddingNet(arm.backbone, image_size=SIZE))
    recipe = arm.recipe | ({"epochs": 1, "batch_size": 128} if options.quick else {})
    config = TrainConfig(seed=seed, device=options.device, progress=False, **recipe)
    trainer = Trainer(model, config, train=data.background)
    began = time.perf_counter()
    history = trainer.fit()
    seconds = time.perf_counter() - began
    row: Row = {"arm": arm.name, "seed": seed, "epochs": len(history), "seconds": seconds}
    return row | figures(model, data, episodes=100 if options.quick else EPISODES)


def figures(model: SimilarityModel, data: Drawings, *, episodes: int) -> Row:
    """What a model reaches on the evaluation characters."""
    embeddings = model.encode(data.evaluation.images)
    codes = np.unique(data.evaluation.targets, return_inverse=True)[1]
    any_characters = few_shot_accuracy(embeddings, codes, ways=WAYS, shots=1, episodes=episodes, seed=0)
    hits = sum(right(model, run) for run in data.runs)
    trials = sum(len(run.answers) for run in data.runs)
    low, high = wilson_interval(hits, trials)
    pairs = PairDataset(data.evaluation, NUM_PAIRS, seed=0).all_pairs()
    scores = (embeddings[pairs.first] * embeddings[pairs.second]).sum(dim=1)
    scored = PairScores.from_scores(scores, pairs.target)
    return {
        "any_characters": any_characters.accuracy,
        "any_low": any_characters.class_interval[0],
        "any_high": any_characters.class_interval[1],
        "within_alphabet": hits / trials,
        "within_low": float(low),
        "within_high": float(high),
        "any_drawers": within_alphabets(embeddings, data.evaluation.targets, min(episodes, ALPHABET_EPISODES)),
        "verification": scored.balanced_accuracy(model.threshold),
        "eer": scored.equal_error_rate(),
    }


def right(model: SimilarityModel, run: OneShotRun) -> int:
    """How many queries of a run are most similar to the right support."""
    nearest = model.similarity_matrix(run.queries, run.support).argmax(dim=1)
    return sum(int(found) == answer for found, answer in zip(nearest, run.answers, strict=True))


def within_alphabets(embeddings: Tensor, labels: npt.NDArray[Any], episodes: int) -> float:
    """Accuracy in episodes of an alphabet: one drawer's characters are classified by those of another.

    Args:
        embeddings: `[N, D]`, unit length.
        labels: `Alphabet__character` of each `[N]`, in the order of the drawers within each.
        episodes: Each has an alphabet, two drawers, and 20 of its characters, or all of fewer.
    """
    generator = np.random.Generator(np.random.PCG64(0))
    places: dict[str, list[npt.NDArray[Any]]] = {}
    for name in np.unique(labels):
        places.setdefault(str(name).split("__")[0], []).append(np.flatnonzero(labels == name))
    shares = []
    for _ in range(episodes):
        characters = places[sorted(places)[generator.integers(len(places))]]
        chosen = generator.permutation(len(characters))[:WAYS]
        support, query = generator.permutation(min(len(characters[number]) for number in chosen))[:2]
        shown, asked = (embeddings[[characters[number][drawer] for number in chosen]] for drawer in (support, query))
        nearest = (asked @ shown.T).argmax(dim=1)
        shares.append(float((nearest == torch.arange(len(chosen))).double().mean()))
    return statistics.mean(shares)
