"""Genuine and forged signatures of writers that training never saw: frozen nets, fine-tuning, and a net on pairs.

The writers are split as `pairsim train --unseen 0.22 --groups` splits them: 14 of 64 for the test, a fifth of the
others for validation; three splits. There are two figures, as a model can be good at one kind of negative pair and bad
at the other: forgeries (skilled), and genuine signatures of other writers (strangers). Two forgeries are no pair.

Test writers choose nothing: the best epoch and what is kept come from validation writers.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.mnist_quality import SEEDS
from benchmarks.open_world import NET, Result
from benchmarks.options import Options
from benchmarks.report import Table, means
from benchmarks.timing import Row
from pairsim import EmbeddingNet, PairDataset, SimilarityModel, TrainConfig, Trainer, adapt, encode_dataset
from pairsim.data import LabelledImages, load_data, with_random_negatives
from pairsim.data.loading.resident import make_resident
from pairsim.data.named import data_root
from pairsim.encoding.features import backbone_features
from pairsim.evaluation import equal_error_rate
from pairsim.models.backbones.weight_files import find_weights, weight_folders
from pairsim.runs.class_splits import ClassSplit
from pairsim.training.adaptation.head_choice import Head, TrainingFeatures

FOLDER, GROUPS, GENUINE = "signatures", r"(w\d+)_", "_genuine"
SIZE, UNSEEN = (128, 288), 0.22
QUICK_SIZE = (32, 64)
PAIR_EPOCHS, PAIR_SIZE = 5, (32, 64)
FIGURES = ("eer_skilled", "eer_strangers")


@dataclass(frozen=True)
class Signatures:
    """Signatures in memory, with the writer of each and whether it is genuine `[N]`."""

    images: LabelledImages
    writers: Tensor
    genuine: Tensor


def run(options: Options) -> list[Table]:
    """Measure every arm on each split of the writers."""
    root, rows = data_root(options.data_dir), list[Row]()
    folder, weights = root / "open" / FOLDER, find_weights(NET, weight_folders(root))
    if weights is None or not folder.is_dir():
        what = [] if folder.is_dir() else [f"open/{FOLDER}"]
        what += [] if weights else [f"weights of {NET}"]
        return [Table(FOLDER, (), (f"Not measured: it needs {', '.join(what)} in --data-dir or $PAIRSIM_DATA.",))]
    for seed in SEEDS[:1] if options.quick else SEEDS:
        for arm, measure in arms(folder, seed, options, weights):
            print(f"signatures: split {seed}, {arm}", file=sys.stderr, flush=True)
            result, test = measure()
            row: Row = {"arm": arm, "split": seed, **figures(result.embeddings, test), "seconds": result.seconds}
            rows.append(row | ({"kept": result.kept} if result.kept else {}))
    notes = (
        "eer_skilled: equal error rate of pairs of genuine signatures of a writer, and of genuine and forged ones of "
        "the same writer; eer_strangers: of the former, and of genuine signatures of two writers.",
        "without and with groups: the same writers for training and validation, but the genuine and forged signatures "
        "of a writer come in the same batches only with groups.",
        "seconds: without reading the images; the arms with frozen nets share the features, whose time is in each.",
        "kept: what `pairsim train` decided by the validation writers.",
    )
    return [
        Table("Signatures of unseen writers", rows, notes),
        Table("Signatures of unseen writers, mean of splits", means(rows, FIGURES)),
    ]


def arms(
    folder: Path, seed: int, options: Options, weights: Path
) -> Iterator[tuple[str, Callable[[], tuple[Result, Signatures]]]]:
    """The arms by name, each with the test signatures that it is judged on."""
    model = model_of(options, weights)
    train, val, test = split(folder, seed, model)
    began = time.perf_counter()
    features, tests = (backbone_features(model, part.images.dataset, precision="auto") for part in (train, test))
    seconds = time.perf_counter() - began

    def frozen(fit: Callable[[], nn.Module]) -> tuple[Result, Signatures]:
        begun = time.perf_counter()
        head = fit()
        with torch.no_grad():
            return Result(head(tests), seconds + time.perf_counter() - begun), test

    def adapted(groups: bool) -> tuple[Result, Signatures]:
        net, config = model_of(options, weights), TrainConfig(seed=seed, device=options.device, progress=False)
        if options.quick:
            config = dataclasses.replace(config, epochs=1)
        images = train.images if groups else dataclasses.replace(train.images, groups=None)
        begun = time.perf_counter()
        result = adapt(net, config, train=images, val=val.images)
        taken = time.perf_counter() - begun
        return Result(embedded(net, test), taken, f"{result.kept}: {result.head}"), test

    codes = torch.from_numpy(train.images.index.codes.astype(np.int64))
    yield "frozen, cosine", partial(frozen, nn.Identity)
    yield (
        "frozen, whiten",
        partial(frozen, lambda: Head(name="whiten", shrinkage=0.5).fitted(TrainingFeatures(features, codes))[0]),
    )
    yield "pairsim train, without groups", partial(adapted, groups=False)
    yield "pairsim train, with groups", partial(adapted, groups=True)
    yield "reference network, pairs", partial(on_pairs, folder, seed, options)


def split(folder: Path, seed: int, model: SimilarityModel) -> list[Signatures]:
    """Read the signatures as a model does, and split them by writer: training, validation, test."""
    images = load_data(folder, "all", preprocessing=model.preprocessing, groups=GROUPS)
    parts = ClassSplit.of(images, UNSEEN, seed=seed).parts(images, folder.name)
    found = []
    for part in (parts["train"], parts["val"], parts["test"]):
        resident = make_resident(part.dataset, labels=part.targets, preprocessing=model.preprocessing)
        assert part.groups is not None, "they were asked for"
        writers = np.unique(part.groups, return_inverse=True)[1]
        genuine = np.array([name.endswith(GENUINE) for name in part.class_names])[part.index.codes]
        labelled = LabelledImages(resident, part.targets, groups=part.groups)
        found.append(Signatures(labelled, torch.from_numpy(writers), torch.from_numpy(genuine)))
    return found


def model_of(options: Options, weights: Path) -> SimilarityModel:
    """The pretrained net for wide pictures, with a random linear head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = EmbeddingNet(NET, weights=weights, image_size=QUICK_SIZE if options.quick else SIZE)
    model = SimilarityModel(net).to(options.device)
    model.preprocessing = dataclasses.replace(model.preprocessing, fit="pad")
    return model


def on_pairs(folder: Path, seed: int, options: Options) -> tuple[Result, Signatures]:
    """The reference network on small grey pictures, trained on pairs: genuine ones, forgeries and strangers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SimilarityModel(EmbeddingNet(image_size=PAIR_SIZE))
    train, val, test = split(folder, seed, model)
    config = TrainConfig(
        objective="pairs",
        epochs=1 if options.quick else PAIR_EPOCHS,
        augment="affine",
        seed=seed,
        device=options.device,
        progress=False,
    )
    began = time.perf_counter()
    trained, held = (with_random_negatives(pairs_of(part), seed=seed) for part in (train, val))
    Trainer(model, config, train=trained, val=held).fit()
    seconds = time.perf_counter() - began
    return Result(embedded(model, test), seconds), test


def embedded(model: SimilarityModel, part: Signatures) -> Tensor:
    """Embeddings of signatures."""
    return torch.as_tensor(encode_dataset(model, part.images, precision="auto"))


def pairs_of(part: Signatures) -> PairDataset:
    """All pairs of a writer: genuine ones are positive, a genuine and a forged one negative."""
    first, second, positive, skilled, _ = kinds(part)
    kept = positive | skilled
    numbers, others = first[kept].numpy(), second[kept].numpy()
    assert part.images.groups is not None, "writers are groups"
    group = part.images.groups[numbers]
    return PairDataset.from_pairs(part.images, numbers, others, positive[kept].long().numpy(), group=group)


def figures(embeddings: Tensor, part: Signatures) -> dict[str, float]:
    """The equal error rate of each kind of negative pair, beside all positive pairs."""
    first, second, positive, *negatives = kinds(part)
    unit = nn.functional.normalize(embeddings.double(), dim=1)
    scores = (unit @ unit.T)[first, second]
    rates = (equal_error_rate(scores[positive | kind], positive[positive | kind]) for kind in negatives)
    return dict(zip(FIGURES, rates, strict=True))


def kinds(part: Signatures) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """All pairs, and which are positive, skilled negatives, and negatives of strangers."""
    first, second = torch.triu_indices(len(part.writers), len(part.writers), offset=1)
    same = part.writers[first] == part.writers[second]
    both, one = (part.genuine[first] & part.genuine[second], part.genuine[first] ^ part.genuine[second])
    return first, second, same & both, same & one, ~same & both
