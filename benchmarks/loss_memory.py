"""The loss over all pairs of a batch of B embeddings: memory, seconds and gradients, in tiles and whole.

Arms, on the same B unit-length embeddings of 128 numbers in 10 classes:

- plain PyTorch: the matrix of similarities, and cross-entropy over it by autograd, as one would write it;
- whole: pairsim's loss with the matrix in one piece, which is what it does for a small batch;
- in tiles: pairsim's loss as it is by default, which never holds the matrix.

A run is the loss and its gradients in a fresh process, and once more for the seconds; before that, a small batch
starts threads and loads kernels. Memory is the highest resident memory of all that, less the resident memory after the
small batch; the embeddings themselves are not in it. The first two arms are left out where they would need more than
6 GB by what they needed for a smaller batch; memory goes with B squared there, and by that rule their figure is scaled
up for the comparison, which the table says.

Gradients of the arms are compared with those in tiles, as the largest difference relative to the largest gradient; and
those of some embeddings with float64 arithmetic of the benchmark's own.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.subprocesses import run_fresh
from benchmarks.timing import Row, Spread

PLAIN, WHOLE, TILES = "plain PyTorch", "pairsim, whole", "pairsim, in tiles"
ARMS = (PLAIN, WHOLE, TILES)
_BATCHES, _QUICK_BATCHES = (2_048, 8_192, 16_384, 32_768), (1_024, 2_048)
_LIMIT_BYTES = 6e9

_CODE = """
import json, sys, time
from pathlib import Path
import numpy as np
import torch
from benchmarks import loss_memory
arm, images, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
print(json.dumps(loss_memory.measure(arm, images, folder)))
"""


def run(options: Options) -> list[Table]:
    """Measure every arm at every batch size that it can take."""
    rounds = options.rounds or (1 if options.quick else 3)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        for images in _QUICK_BATCHES if options.quick else _BATCHES:
            found: dict[str, list[dict[str, Any]]] = {}
            for _ in range(rounds):  # arms take turns
                for arm in ARMS:
                    needed = expected_bytes(rows, arm, images)
                    if needed is not None and needed > _LIMIT_BYTES:
                        continue
                    print(f"loss-memory: {images}, {arm}", file=sys.stderr, flush=True)
                    found.setdefault(arm, []).append(run_fresh(_CODE, arm, str(images), name))
            rows += [_row(arm, images, found.get(arm), rows, Path(name)) for arm in ARMS]
            _add_ratios([row for row in rows if row["images"] == images])
    notes = (
        "Ratio: of memory, to pairsim's loss with the matrix in one piece. An entry under scaled MB is not measured: "
        "it is that of the largest batch that was, times the square of the ratio of batches.",
        "Each run in a fresh process, on the CPU in fp32; peak of resident memory during the loss and its gradients "
        "less resident memory before it.",
    )
    return [Table("Loss over all pairs of a batch", rows, notes)]


def expected_bytes(rows: list[Row], arm: str, images: int) -> float | None:
    """What an arm should need, by the largest batch that it was measured with; memory goes with the square."""
    if arm == TILES:
        return None
    measured = [row for row in rows if row["arm"] == arm and "peak_added_MB" in row]
    if not measured:
        return None
    last = max(measured, key=lambda row: int(row["images"]))
    return float(last["peak_added_MB"] * 1e6 * (images / last["images"]) ** 2)


def _row(arm: str, images: int, found: list[dict[str, Any]] | None, earlier: list[Row], folder: Path) -> Row:
    row: Row = {"images": images, "arm": arm}
    if found is None:
        needed = expected_bytes(earlier, arm, images)
        assert needed is not None, "an arm is left out by its earlier figures"
        return row | {"scaled_MB": needed / 1e6}
    seconds, peak = (Spread.of([run[key] for run in found]) for key in ("seconds", "bytes"))
    row |= {
        "peak_added_MB": peak.median / 1e6,
        "peak_added_MB_high": peak.high / 1e6,
        "seconds": seconds.median,
        "seconds_low": seconds.low,
        "seconds_high": seconds.high,
        "runs": len(found),
        "gradient_error_to_float64": max(run["error"] for run in found),
    }
    if arm != TILES:
        own, tiles = (np.load(folder / file_name(name, images)) for name in (arm, TILES))
        row["gradient_difference_to_tiles"] = relative_difference(own, tiles)
    return row


def _add_ratios(rows: list[Row]) -> None:
    """The memory of each arm to that of the matrix in one piece, which may be a scaled figure."""
    memory = {row["arm"]: float(row["peak_added_MB"] if "peak_added_MB" in row else row["scaled_MB"]) for row in rows}
    for row in rows:
        row["ratio"] = memory[row["arm"]] / memory[WHOLE]


def relative_difference(values: np.ndarray[Any, Any], reference: np.ndarray[Any, Any]) -> float:
    """Largest difference relative to the largest value of the reference."""
    return float(np.abs(values - reference).max() / np.abs(reference).max())


def file_name(arm: str, images: int) -> str:
    """The file with an arm's gradients."""
    return f"{arm.replace(' ', '-').replace(',', '')}-{images}.npy"


# What follows runs in the fresh process.


def measure(arm: str, images: int, folder: Path) -> dict[str, Any]:
    """Loss and gradients of one arm, twice: memory of both, seconds of the second time."""
    import time

    from pairsim import EmbeddingNet, SimilarityModel

    embeddings, labels = batch(images)
    model = SimilarityModel(EmbeddingNet(image_size=4))
    once(arm, model, embeddings[:256], labels[:256])  # threads and kernels
    before = resident_bytes("VmRSS")
    once(arm, model, embeddings, labels)
    embeddings.grad = None
    began = time.perf_counter()
    once(arm, model, embeddings, labels)
    seconds = time.perf_counter() - began
    peak = resident_bytes("VmHWM")
    gradient = embeddings.grad
    assert gradient is not None
    np.save(folder / file_name(arm, images), gradient.numpy())
    chosen = np.linspace(0, images - 1, num=min(64, images)).astype(np.int64)
    slope, bias = model.projection.weight.item(), model.projection.bias.item()
    exact = exact_gradient(embeddings.detach().numpy(), labels.numpy(), slope, bias, chosen)
    return {
        "seconds": seconds,
        "bytes": max(peak - before, 0),
        "error": relative_difference(gradient.numpy()[chosen].astype(np.float64), exact),
    }


def batch(images: int, dim: int = 128, classes: int = 10) -> tuple[Any, Any]:
    """Embeddings that gather around their classes, as those of a net in training, and their labels."""
    import torch

    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, classes, (images,), generator=generator)
    centres = torch.randn(classes, dim, generator=generator)
    noise = torch.randn(images, dim, generator=generator)
    embeddings = torch.nn.functional.normalize(centres[labels] + 0.8 * noise)
    return embeddings.requires_grad_(), labels


def once(arm: str, model: Any, embeddings: Any, labels: Any) -> None:
    """Loss and gradients of an arm."""
    from pairsim.training.objectives.all_pairs_objective import all_pairs_loss

    if arm == PLAIN:
        loss = plain_loss(model, embeddings, labels)
    elif arm == WHOLE:
        loss = all_pairs_loss(model, embeddings, labels, block_size=len(labels))
    else:
        loss = all_pairs_loss(model, embeddings, labels)
    loss.backward()


def plain_loss(model: Any, embeddings: Any, labels: Any) -> Any:
    """Cross-entropy over the matrix of pairs, positives and negatives weighing one half each."""
    import torch
    from torch.nn import functional

    logits = model.logits(embeddings @ embeddings.T)
    same = labels[:, None] == labels[None, :]
    costs = functional.binary_cross_entropy_with_logits(logits, same.to(logits.dtype), reduction="none")
    positive = same & ~torch.eye(len(labels), dtype=torch.bool)
    return (costs[positive].mean() + costs[~same].mean()) / 2


def exact_gradient(
    embeddings: np.ndarray[Any, Any],
    labels: np.ndarray[Any, Any],
    slope: float,
    bias: float,
    chosen: np.ndarray[Any, Any],
) -> np.ndarray[Any, Any]:
    """Gradients of some embeddings in float64, `[len(chosen), D]`."""
    vectors = embeddings.astype(np.float64)
    counts = np.bincount(labels).astype(np.float64)
    num_positive = float((counts * (counts - 1)).sum())  # each pair counted twice
    num_negative = float(len(labels) ** 2 - (counts**2).sum())
    logits = slope * (vectors[chosen] @ vectors.T) + bias
    same = labels[chosen, None] == labels[None, :]
    probability = 1 / (1 + np.exp(-logits))
    derivative = np.where(same, (probability - 1) / num_positive, probability / num_negative) / 2
    derivative[np.arange(len(chosen)), chosen] = 0.0
    # an embedding is in its row of the matrix and in its column
    gradient: np.ndarray[Any, Any] = 2 * slope * (derivative @ vectors)
    return gradient


def resident_bytes(field: str) -> int:
    """Resident memory now (VmRSS) or at most (VmHWM)."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))
    except OSError:
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used if sys.platform == "darwin" else used * 1024
