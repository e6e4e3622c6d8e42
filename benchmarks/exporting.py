"""Exported files beside the model they were made from, on MNIST: the same embeddings, fewer bytes, how fast.

Models are those of `quality` (objective "all-pairs", 2 epochs, seeds 0, 1 and 2): with `--runs DIR` they are taken from
there, else trained. Each is exported to ONNX in fp32 and in int8, with ranges from 512 of its training images.

- Quality: largest difference of a component of an embedding to `model.encode`, and balanced accuracy at the model's
  threshold, on all pairs of the 10,000 test images, which nothing was chosen by.
- Speed: the same uint8 pixels to embeddings by `model.encode` in fp32 and by onnxruntime's CPU provider with as many
  threads, one image at a time and in batches of 256.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.judge import judge
from benchmarks.mnist import labels_of, load, split_as_trainer
from benchmarks.mnist_quality import RECIPES, SEEDS, trained_run
from benchmarks.optional import optional
from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.timing import Row, interleave, timing_rows
from pairsim import SimilarityModel
from pairsim.data import ImageTensors
from pairsim.data.image_sets import subset
from pairsim.export import OnnxModel, Quantization, export_onnx, load_onnx, quantize_onnx

TITLE = "Exported files on all pairs of MNIST's test images"
ENCODE, FP32, INT8 = "pairsim encode, fp32", "onnxruntime, fp32", "onnxruntime, int8"
BATCH = 256


def run(options: Options) -> list[Table]:
    """Export, judge and time."""
    if any(optional(name, name) is None for name in ("onnx", "onnxscript", "onnxruntime")):
        return [Table(TITLE, (), ("Not measured: it needs pip install 'pairsim[onnx]'.",))]
    test = load(options, "test").dataset
    rows: list[Row] = []
    speeds: list[Table] = []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in SEEDS[:1] if options.quick else SEEDS:
            print(f"exporting: seed {seed}", file=sys.stderr, flush=True)
            model = trained_run(options, options.runs or Path(temporary), RECIPES[0], seed)
            train = load(options, "train").dataset
            kept = subset(train, split_as_trainer(train, seed)[0])
            made = files(model, kept, Path(temporary) / str(seed))
            opened = {
                FP32: load_onnx(made.path.with_name("fp32.onnx"), threads=torch.get_num_threads()),
                INT8: load_onnx(made.path, threads=torch.get_num_threads()),
            }
            rows += quality(model, opened, made, test, seed)
            if not speeds:
                speeds = [speed(model, opened, test, options, batch) for batch in (1, BATCH)]
    return [Table(TITLE, rows, ("Loss in points of balanced accuracy, at the threshold stored in the file.",)), *speeds]


def files(model: SimilarityModel, images: ImageTensors, folder: Path) -> Quantization:
    """A model in fp32 and in int8, in a folder."""
    full = export_onnx(model, folder / "fp32.onnx")
    return quantize_onnx(full.path, folder / "int8.onnx", calibration=images.images)


def embed(model: OnnxModel, images: ImageTensors, batch: int = BATCH) -> npt.NDArray[np.float32]:
    """Embeddings of all images."""
    pixels = images.images.numpy()
    return np.concatenate([model.embed(pixels[start : start + batch]) for start in range(0, len(pixels), batch)])


def quality(
    model: SimilarityModel, opened: dict[str, OnnxModel], made: Quantization, test: ImageTensors, seed: int
) -> list[Row]:
    """Differences to the model, sizes, and balanced accuracies."""
    expected = model.encode(test.images).numpy()
    found = {ENCODE: expected} | {arm: embed(of, test) for arm, of in opened.items()}
    sizes = {FP32: made.bytes_before, INT8: made.bytes_after}
    rows: list[Row] = []
    for arm, embeddings in found.items():
        judged = judge(torch.from_numpy(embeddings), labels_of(test), weight=1.0, bias=-model.threshold)
        row: Row = {"arm": arm, "seed": seed, "balanced_accuracy": judged.balanced_accuracy, "eer": judged.eer}
        if arm in sizes:
            row |= {
                "max_difference": float(np.abs(embeddings - expected).max()),
                "loss_points": 100 * (rows[0]["balanced_accuracy"] - judged.balanced_accuracy),
                "bytes": sizes[arm],
                "times_smaller": made.bytes_before / sizes[arm],
            }
        rows.append(row)
    return rows


def speed(
    model: SimilarityModel, opened: dict[str, OnnxModel], test: ImageTensors, options: Options, batch: int
) -> Table:
    """Time the arms in turns."""
    some = test if batch > 1 else subset(test, np.arange(min(len(test), 200)))
    parts = some.images.split(batch)
    arms: dict[str, Callable[[], object]] = {ENCODE: lambda: [model.encode(part) for part in parts]}
    for arm, of in opened.items():
        arms[arm] = lambda of=of: embed(of, some, batch)  # type: ignore[misc]
    timings = interleave(
        arms,
        rounds=options.rounds or (3 if options.quick else 15),
        warmup=2,
        work=dict.fromkeys(arms, float(len(some))),
    )
    title = "One image at a time" if batch == 1 else f"Batches of {batch}"
    return Table(
        f"{title}: exported files beside encode",
        timing_rows(timings, unit="images"),
        (f"On the CPU, {torch.get_num_threads()} threads. Ratio: images a second, to encode.",),
    )
