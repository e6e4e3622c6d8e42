"""Error rates of groups: how often their 95 % intervals hold the truth, and an example on photographs.

- Simulation: test sets of three groups, with 10 to 80 classes (identities) in each, of 2 to 8 images. Classes of a
  group lie around its direction in 16 dimensions, closely or less so, and some classes are odd: the more so, the more
  their pairs err together. The truth is what 1,500 classes in each group give. Intervals that take pairs for
  independent (Wilson's) stand beside.
- Groceries: products that the threshold was not chosen on, a frozen MobileNetV2 with cosine. The group is the first
  part of a class's name: fruit, packages or vegetables.
- Faces: people that the threshold was not chosen on, the same net. The pictures have no labels of age, sex or origin,
  and none are guessed. One grouping is by the brightness of the picture, in thirds; it groups pictures and not people.
  In the other, people are drawn into three groups by a hash of their names: these differ by chance only.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.open_world import NET
from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.timing import Row
from pairsim import EmbeddingNet, SimilarityModel, calibrate, encode_dataset, evaluate
from pairsim.data import load_data, split_by_class
from pairsim.data.image_sets import images_of, subset
from pairsim.data.named import data_root
from pairsim.evaluation import GroupRatio, GroupReport, group_errors
from pairsim.evaluation.uncertainty.wilson import wilson_interval
from pairsim.models.backbones.weight_files import find_weights, weight_folders
from pairsim.runs.group_names import find_group_names

SETS, SIZES, TRUTH_CLASSES = 1000, (10, 20, 40, 80), 1500
DIMENSIONS, NOISE, THRESHOLD = 16, 0.3, 0.4
TOWARDS = {"dense": 2.4, "even": 1.2, "wide": 0.0}
COMPUTED, INDEPENDENT = "computed", "pairs taken for independent"
FIGURES = ("fmr", "fnmr")

FOLDER, PATTERN = "groceries", "^([A-Za-z]+)__"
FACES, BRIGHTNESS, DRAWN = "lfw-people", ("dark", "middle", "bright"), ("first", "second", "third")
SEEN_SHARE, TARGET_FMR = 0.35, 0.01


def run(options: Options) -> list[Table]:
    """Simulate, and measure the example."""
    sets = 20 if options.quick else SETS
    truth = group_errors(*draw(100 if options.quick else TRUTH_CLASSES, options.seed + 1), THRESHOLD)
    inside: dict[tuple[int, str, str], list[bool]] = defaultdict(list)
    for size in SIZES:
        print(f"groups: {size} classes in a group", file=sys.stderr, flush=True)
        for number in range(sets):
            count(inside, size, group_errors(*draw(size, options.seed + 2 + number), THRESHOLD), truth)
    rows: list[Row] = [
        {"arm": arm, "figure": figure, "classes": size, "covered": float(np.mean(held)), "intervals": len(held)}
        for (size, arm, figure), held in sorted(inside.items(), key=lambda item: (item[0][1:], item[0][0]))
    ]
    rates = ", ".join(f"{row.name} FMR {row.fmr:.3%}, FNMR {row.fnmr:.1%}" for row in truth.groups)
    notes = (
        f"{sets} test sets of {len(TOWARDS)} groups; classes: of each group. True rates: {rates}.",
        f"worst_fmr, worst_fnmr: the ratio of the worst group to the geometric mean, truly {truth.worst_fmr.ratio:.2f} "
        f"and {truth.worst_fnmr.ratio:.2f}; its interval is made to be safe, so that it covers more.",
    )
    coverage = Table("Share of 95 % intervals of groups that hold the truth", rows, notes)
    return [coverage, groceries(options), *faces(options)]


def draw(num_classes: int, seed: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], list[str]]:
    """A test set: embeddings, labels and groups."""
    rng = np.random.default_rng([seed, num_classes])
    vectors, labels, groups = [], [], list[str]()
    for number, (name, towards) in enumerate(TOWARDS.items()):
        centres = rng.normal(size=(num_classes, DIMENSIONS))
        centres[:, number] += towards
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        own = np.repeat(np.arange(num_classes), rng.integers(2, 9, num_classes))
        oddness = rng.gamma(4.0, 0.25, num_classes)[own, None]
        vectors.append(centres[own] + NOISE * oddness * rng.normal(size=(len(own), DIMENSIONS)))
        labels.append(own + number * num_classes)
        groups += [name] * len(own)
    whole = np.concatenate(vectors)
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    return whole.astype(np.float32), np.concatenate(labels), groups


def count(inside: dict[tuple[int, str, str], list[bool]], size: int, found: GroupReport, truth: GroupReport) -> None:
    """Note which intervals of a set hold the truth."""
    for row, true in zip(found.groups, truth.groups, strict=True):
        pairs = {"fmr": (row.false_matches, row.num_negative), "fnmr": (row.false_non_matches, row.num_positive)}
        for figure in FIGURES:
            low, high = row.intervals[figure]
            inside[size, COMPUTED, figure].append(low <= getattr(true, figure) <= high)
            ends = wilson_interval(*pairs[figure])
            inside[size, INDEPENDENT, figure].append(bool(ends[0] <= getattr(true, figure) <= ends[1]))
    for figure in ("worst_fmr", "worst_fnmr"):
        ratio: GroupRatio = getattr(found, figure)
        if not math.isnan(ratio.ratio):
            low, high = ratio.interval
            inside[size, COMPUTED, figure].append(low <= getattr(truth, figure).ratio <= high)


def groceries(options: Options) -> Table:
    """Errors of groups of products at one threshold."""
    title = "Groups of products that the threshold was not chosen on"
    found = prepared(options, FOLDER)
    if found is None:
        return Table(title, (), (f"Not measured: it needs open/{FOLDER} and weights of {NET} in --data-dir.",))
    folder, model, chosen, test = found
    report = evaluate(model, test, groups=find_group_names(test, str(folder), PATTERN).names)
    assert report.by_group is not None
    note = (
        f"The threshold has an FMR of at most {TARGET_FMR:.0%} on other products ({len(chosen.class_names)} classes); "
        f"on all pairs of these, the FMR is {report.fmr:.2%} and the FNMR {report.fnmr:.1%}."
    )
    return example(title, report.by_group, note)


def faces(options: Options) -> list[Table]:
    """Errors of groups of faces at one threshold: by brightness, and drawn at random."""
    titles = ("Groups of faces by the brightness of the picture", "Groups of people drawn at random")
    found = prepared(options, FACES)
    if found is None:
        missing = (f"Not measured: it needs open/{FACES} and weights of {NET} in --data-dir.",)
        return [Table(title, (), missing) for title in titles]
    _, model, chosen, test = found
    vectors, paths = encode_dataset(model, test).cpu().numpy(), images_of(test).paths
    labels = np.asarray(test.index.codes, dtype=np.int64)
    brightness = np.array([float(np.asarray(Image.open(path).convert("L")).mean()) for path in paths])
    cuts = np.quantile(brightness, (1 / 3, 2 / 3))
    by_light = [BRIGHTNESS[int(np.searchsorted(cuts, value))] for value in brightness]
    drawn = [DRAWN[int(hashlib.sha256(Path(path).parent.name.encode()).hexdigest(), 16) % 3] for path in paths]
    notes = (
        f"A third of the pictures each: mean grey level of at most {cuts[0]:.0f}, of at most {cuts[1]:.0f}, and above, "
        "of 255. A person may be in several groups.",
        "What differs here differs by chance.",
    )
    return [
        example(title, group_errors(vectors, labels, groups, model.threshold), first, note)
        for title, groups, note in zip(titles, (by_light, drawn), notes, strict=True)
        for first in [
            f"The threshold has an FMR of at most {TARGET_FMR:.0%} on other people ({len(chosen.class_names)} of them)."
        ]
    ]


def prepared(options: Options, name: str) -> tuple[Path, SimilarityModel, Any, Any] | None:
    """A folder, a frozen net with a threshold, the images that it was chosen on, and those of other classes."""
    root = data_root(options.data_dir)
    folder, weights = root / "open" / name, find_weights(NET, weight_folders(root))
    if weights is None or not folder.is_dir():
        return None
    print(f"groups: {name}", file=sys.stderr, flush=True)
    size = 64 if options.quick else 160
    net = EmbeddingNet(NET, weights=weights, in_channels=3, image_size=size, head="none")
    model = SimilarityModel(net).to(options.device).eval()
    images = load_data(str(folder), "all", preprocessing=model.preprocessing)
    chosen, test = (
        subset(images, numbers) for numbers in split_by_class(images.index, unseen=1 - SEEN_SHARE, seed=options.seed)
    )
    calibrate(model, chosen, target_fmr=TARGET_FMR)
    return folder, model, chosen, test


def example(title: str, by_group: GroupReport, *notes: str) -> Table:
    """A table of the errors of each group, and a note on the worst ones."""
    rows: list[Row] = [
        {
            "group": row.name,
            "classes": row.num_classes,
            "images": row.num_images,
            **{
                name: value
                for figure in FIGURES
                for name, value in (
                    (figure, _json(getattr(row, figure))),
                    (f"{figure}_low", _json(row.intervals[figure][0])),
                    (f"{figure}_high", _json(row.intervals[figure][1])),
                )
            },
        }
        for row in by_group.groups
    ]
    ratios = [
        f"{figure.upper()} of the worst group, {worst.name}, over the geometric mean: {worst.ratio:.2f} "
        f"({worst.interval[0]:.2f} to {worst.interval[1]:.2f})."
        for figure, worst in (("fmr", by_group.worst_fmr), ("fnmr", by_group.worst_fnmr))
        if not math.isnan(worst.ratio)
    ]
    return Table(title, rows, (*notes, *ratios))


def _json(value: float) -> float | None:
    return None if math.isnan(value) else value
