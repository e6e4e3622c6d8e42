"""Indexing labels: seconds and memory for the images of each class.

pairsim's `ClassIndex.from_labels` runs in a fresh process for each measurement, on labels read from a file, so that
neither earlier work nor the making of the labels hides what it needs. Memory is the highest resident memory during
the call, less the resident memory before it; the labels themselves are not in it. The targets are for 10,000,000 whole
numbers.

The notebook finds the labels by decoding all images, and so is compared on MNIST from torchvision, where pairsim reads
`.targets`: the same dataset object, the same dictionary or index of 60,000 training images. As its cost is the same
for each image, it decodes a part of them and is scaled up, which the table says.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.notebook_recipe import index_by_decoding, load_mnist
from benchmarks.options import OptionError, Options, mnist_root
from benchmarks.report import Table
from benchmarks.subprocesses import run_fresh
from benchmarks.timing import Row, Spread, alternate, interleave, timing_rows

TARGET_S, TARGET_MB = 5.0, 400.0
_DECODED = 2_000

_CODE = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
from pairsim.data import ClassIndex

def memory(field):
    # VmHWM and not ru_maxrss where there is a choice: the latter begins at the size of the parent process
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))
    except OSError:
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used if sys.platform == "darwin" else used * 1024

ClassIndex.from_labels(np.array([1, 0, 1]))
ClassIndex.from_labels(np.array(["b", "a", "b"]))
labels = np.load(sys.argv[1])
before = memory("VmRSS")
began = time.perf_counter()
index = ClassIndex.from_labels(labels)
seconds = time.perf_counter() - began
print(json.dumps({"seconds": seconds, "bytes": memory("VmHWM") - before, "classes": index.num_classes}))
"""


def run(options: Options) -> list[Table]:
    """Measure large sets of labels, then the notebook's way where MNIST is there."""
    tables = [_large(options)]
    try:
        root = mnist_root(options.data_dir)
    except OptionError:
        return tables
    return [*tables, _mnist(options, root)]


def _large(options: Options) -> Table:
    rounds = options.rounds or (1 if options.quick else 5)
    rng = np.random.default_rng(options.seed)
    share = 10 if options.quick else 1
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, Path] = {}
        sizes: dict[str, tuple[int, int]] = {}
        for name, labels in _labels(rng, share).items():
            files[name] = Path(folder) / f"{len(files)}.npy"
            np.save(files[name], labels)
            sizes[name] = len(labels), labels.nbytes
            del labels
        arms = {name: _arm(path) for name, path in files.items()}
        for name, found in alternate(arms, rounds=rounds).items():
            seconds, memory = (Spread.of([run[key] for run in found]) for key in ("seconds", "bytes"))
            rows.append(
                {
                    "arm": name,
                    "labels": sizes[name][0],
                    "classes": found[0]["classes"],
                    "labels_MB": sizes[name][1] / 1e6,
                    "seconds": seconds.median,
                    "seconds_low": seconds.low,
                    "seconds_high": seconds.high,
                    "peak_added_MB": memory.median / 1e6,
                    "peak_added_MB_high": memory.high / 1e6,
                    "runs": rounds,
                }
            )
    notes = (
        f"Target for 10,000,000 whole numbers: under {TARGET_S:g} s and {TARGET_MB:g} MB besides the labels.",
        "Each run in a fresh process; peak of resident memory during the call less resident memory before it.",
    )
    return Table("ClassIndex.from_labels", rows, notes)


def _labels(rng: np.random.Generator, share: int) -> dict[str, Any]:
    million = 1_000_000 // share
    names = np.array([f"class-{number:04d}" for number in range(1_000)])
    return {
        "int64, 1,000 classes": rng.integers(0, 1_000, size=10 * million),
        "int64, sparse numbers, 1,000 classes": rng.integers(0, 2**62, size=1_000)[
            rng.integers(0, 1_000, size=10 * million)
        ],
        "strings, 1,000 classes": names[rng.integers(0, 1_000, size=million)],
    }


def _arm(path: Path) -> Any:
    return lambda: run_fresh(_CODE, str(path))


def _mnist(options: Options, root: Path) -> Table:
    from pairsim.data import ClassIndex, read_labels

    dataset: Any = load_mnist(root, train=True)
    decoded = min(_DECODED, len(dataset))
    part, whole = f"notebook: decodes every image (scaled from {decoded:,})", "pairsim: read_labels, ClassIndex"
    timings = interleave(
        {
            part: lambda: index_by_decoding(dataset, decoded),
            whole: lambda: ClassIndex.from_labels(read_labels(dataset)),
        },
        rounds=options.rounds or (3 if options.quick else 7),
        work={part: decoded, whole: len(dataset)},
    )
    rows = timing_rows(timings, unit="images")
    for key in ("seconds", "seconds_low", "seconds_high"):
        rows[0][key] *= len(dataset) / decoded
    rows[0]["images"] = len(dataset)
    notes = (
        f"The notebook's seconds are those of {decoded:,} decoded images times {len(dataset) / decoded:g}.",
        "Ratio: per image, to the notebook.",
    )
    return Table(f"Index of {len(dataset):,} MNIST training images", rows, notes)
