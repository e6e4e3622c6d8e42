"""Embeddings a second on MNIST's 10,000 test images, with the same weights in every arm.

The weights are those of one pass of objective "all-pairs". Every arm starts from the same uint8 pixels, scales and
normalises them alike, and ends with embeddings in float32:

- the notebook's net as a user would run it: an eager loop over batches of 256 under `torch.inference_mode`, fp32, in
  the default layout;
- `model.encode` in fp32;
- `model.encode` in bf16. On a processor without bf16 arithmetic this is slower.

As speed must not change results, each arm's similarities of all pairs are compared with the first arm's, and its
balanced accuracy at probability 0.5 is given.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks import notebook_recipe
from benchmarks.judge import judge
from benchmarks.mnist import labels_of, load, trained_model
from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.timing import interleave, synchronizer, timing_rows
from pairsim import SimilarityModel

_ROWS = 1024
NOTEBOOK, FP32, BF16 = "notebook's net, eager loop, fp32", "pairsim encode, fp32", "pairsim encode, bf16"


def run(options: Options) -> list[Table]:
    """Time the arms and compare what they give."""
    test = load(options, "test").dataset
    model = trained_model(options)
    pixels = test.images.to(options.device)
    arms: dict[str, Callable[[], Tensor]] = {
        NOTEBOOK: notebook_loop(model, pixels),
        FP32: lambda: model.encode(pixels, precision="fp32"),
        BF16: lambda: model.encode(pixels, precision="bf16"),
    }
    timings = interleave(
        arms,
        rounds=options.rounds or (3 if options.quick else 9),
        work=dict.fromkeys(arms, float(len(pixels))),
        synchronize=synchronizer(options.device),
    )
    found = {name: arm().float() for name, arm in arms.items()}
    projection = model.projection
    rows = timing_rows(timings, unit="images")
    for row in rows:
        embeddings = found[row["arm"]]
        quality = judge(embeddings, labels_of(test), weight=projection.weight.item(), bias=projection.bias.item())
        row["largest_difference_of_similarity"] = largest_difference(found[NOTEBOOK], embeddings)
        row["balanced_accuracy"] = quality.balanced_accuracy
    return [
        Table(
            f"Embeddings of {len(pixels):,} MNIST test images",
            rows,
            ("Ratio: embeddings a second, to the notebook's net.",),
        )
    ]


def notebook_loop(model: SimilarityModel, pixels: Tensor) -> Callable[[], Tensor]:
    """The notebook's net with a model's weights, in a loop over batches."""
    net = notebook_recipe.EmbeddingNet()
    weights = {name: value.detach().clone().contiguous() for name, value in model.embedding_net.state_dict().items()}
    net.load_state_dict(weights)
    net = net.to(pixels.device).eval()
    mean, std = model.preprocessing.mean, model.preprocessing.std
    assert mean is not None, "training has measured it"
    assert std is not None

    def loop() -> Tensor:
        with torch.inference_mode():
            return torch.cat(
                [net((part.float() / 255 - mean[0]) / std[0]) for part in pixels.split(notebook_recipe.BATCH_SIZE)]
            )

    return loop


def largest_difference(first: Tensor, second: Tensor) -> float:
    """Largest absolute difference between the similarities of all pairs of one set of embeddings and of another."""
    largest = 0.0
    for start in range(0, len(first), _ROWS):
        rows = slice(start, start + _ROWS)
        largest = max(largest, float((first[rows] @ first.T - second[rows] @ second.T).abs().max()))
    return largest
