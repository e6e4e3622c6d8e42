"""Classes that training never saw: three digits of MNIST, and two alphabets of Omniglot.

- MNIST: trained on the digits 0 to 6 (validation from them too), judged on all pairs of the test images of 7, 8 and 9.
- Omniglot: trained on the characters of three alphabets, judged on all pairs of the other two's, and by 20-way one-shot
  episodes: a query among one drawing of each of 20 characters, chance being 5 %. Drawings are 105 x 105, here 28 x 28.

Intervals are for other images of the same classes, and, by resampling classes, for other classes: of three digits the
latter say little, of 50 characters they mean something. The same figures on seen classes stand beside them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.mnist import load
from benchmarks.mnist_quality import SEEDS
from benchmarks.options import OptionError, Options, mnist_root
from benchmarks.report import Table, means
from benchmarks.timing import Row
from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer
from pairsim.data import ImageTensors, read_labels
from pairsim.data.image_sets import ImageFiles, subset
from pairsim.evaluation import few_shot_accuracy
from pairsim.verification.scoring import AllPairsScored, score_pairs

SEEN_DIGITS = 7
TRAINED_ALPHABETS = ("Balinese", "Early_Aramaic", "Korean")
OMNIGLOT_EPOCHS = 60
RESAMPLES = 500


@dataclass(frozen=True)
class Split:
    """Images to train on and to judge by."""

    name: str
    train: Any
    judged: dict[str, Any]
    config: dict[str, Any]


def run(options: Options) -> list[Table]:
    """Train with each seed and judge."""
    rows: list[Row] = []
    shots: list[Row] = []
    for split in (digits(options), omniglot(options)):
        for seed in SEEDS[:1] if options.quick else SEEDS:
            print(f"unseen: {split.name}, seed {seed}", file=sys.stderr, flush=True)
            model = trained(split, seed, options)
            for judged, images in split.judged.items():
                scored = score_pairs(model, images)
                assert isinstance(scored, AllPairsScored)
                rows.append({"arm": f"{split.name}, {judged}", "seed": seed, **figures(model, scored)})
                if len(scored.classes) >= 20:
                    found = few_shot_accuracy(scored.embeddings, scored.codes, ways=20, shots=1, episodes=10_000)
                    low, high = found.class_interval
                    row: Row = {"arm": f"{split.name}, {judged}", "seed": seed, "accuracy": found.accuracy}
                    shots.append(row | {"low": low, "high": high})
    return [
        Table("Verification on seen and unseen classes", rows, ("EER with 95 % intervals, by images and by classes.",)),
        Table("The same, mean of seeds", means(rows, ("eer", "roc_auc", "balanced_accuracy"))),
        Table("20-way one-shot accuracy", shots, ("10,000 episodes each; the interval is for other classes.",)),
        Table("20-way one-shot accuracy, mean of seeds", means(shots, ("accuracy",))),
    ]


def digits(options: Options) -> Split:
    """The digits 0 to 6 against 7 to 9."""
    train, test = load(options, "train").dataset, load(options, "test").dataset

    def some(images: ImageTensors, seen: bool) -> Any:
        return subset(images, np.flatnonzero((read_labels(images) < SEEN_DIGITS) == seen))

    return Split(
        "MNIST 0-6",
        some(train, True),
        {"seen digits": some(test, True), "unseen digits 7-9": some(test, False)},
        {"epochs": 2},
    )


def omniglot(options: Options) -> Split:
    """Three alphabets against the others; of the three, each character's last 4 drawings are judged as seen classes."""
    root = mnist_root(options.data_dir).parent / "omniglot"
    if not root.is_dir():
        raise OptionError(f"Expected Omniglot's characters in {root.name} beside mnist, found none. Put them there.")
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    seen = [folder for folder in folders if folder.name.rpartition("_")[0] in TRAINED_ALPHABETS]
    unseen = [folder for folder in folders if folder not in seen]
    return Split(
        f"Omniglot, {len(TRAINED_ALPHABETS)} alphabets",
        drawings(seen, slice(0, 16)),
        {"seen characters": drawings(seen, slice(16, 20)), "unseen characters": drawings(unseen, slice(0, 20))},
        {"epochs": 2 if options.quick else OMNIGLOT_EPOCHS, "augment": "affine", "images_per_class": 4},
    )


def drawings(folders: list[Path], which: slice) -> ImageTensors:
    """Some drawings of each character, white on black as MNIST's digits are."""
    files = [(path, number) for number, folder in enumerate(folders) for path in sorted(folder.glob("*.png"))[which]]
    images = ImageFiles(
        [str(path) for path, _ in files], [number for _, number in files], image_size=(28, 28), channels=1
    )
    pixels = torch.stack([255 - images[place][0] for place in range(len(images))])
    return ImageTensors(pixels, [number for _, number in files])


def trained(split: Split, seed: int, options: Options) -> SimilarityModel:
    """A model that has seen the classes of the split only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SimilarityModel(EmbeddingNet())
    config = TrainConfig(seed=seed, device=options.device, progress=False, **split.config)
    Trainer(model, config, train=split.train).fit()
    return model


def figures(model: SimilarityModel, scored: AllPairsScored) -> Row:
    """With both intervals of the equal error rate."""
    by = {
        unit: scored.resampled(model.threshold, (), unit=unit, num_resamples=RESAMPLES, seed=0).intervals()["eer"]
        for unit in ("images", "classes")
    }
    return {
        "images": scored.num_images,
        "classes": len(scored.classes),
        "eer": scored.pairs.equal_error_rate(),
        "images_low": by["images"][0],
        "images_high": by["images"][1],
        "classes_low": by["classes"][0],
        "classes_high": by["classes"][1],
        "roc_auc": scored.pairs.roc_auc(),
        "balanced_accuracy": scored.pairs.balanced_accuracy(model.threshold),
    }
