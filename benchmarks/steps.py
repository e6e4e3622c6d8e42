"""One training step of the reference net on images that stay on the device: what `graph`, `roofline` and
`throughput` time.

It is the trainer's own step for objective "all-pairs": normalised images `[N, 1, 28, 28]` with channels last, forward,
loss, backward, Adam; no data is drawn or moved. Compiled means that the embedding net is compiled, as with
`compile=True`; graphed that the whole step is replayed as a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from pairsim import SimilarityModel, TrainConfig
from pairsim._common.choices import PrecisionName
from pairsim._common.precision import resolve_precision
from pairsim.training.distributed.world import World
from pairsim.training.objectives.objective_registry import objective_for
from pairsim.training.optimize.step import TrainingStep

Mode = Literal["eager", "compiled", "graphed"]
_CLASSES = 10
_TO_RECORD = 5


def make_step(
    num_images: int,
    precision: PrecisionName,
    *,
    device: str,
    mode: Mode = "eager",
    seed: int = 0,
) -> Callable[[], Tensor]:
    """A step to call, warmed up; it gives the loss.

    Args:
        num_images: Images in its batch.
        precision: To compute in.
        device: Where.
        mode: How it is carried out; "graphed" needs CUDA.
        seed: Of weights and images.
    """
    place = torch.device(device)
    config = TrainConfig(device=device, precision=precision, cuda_graph=mode == "graphed", progress=False).resolved()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SimilarityModel().to(place).to(memory_format=torch.channels_last)
        images = torch.randn(num_images, 1, 28, 28)
    images = images.to(place).contiguous(memory_format=torch.channels_last)
    labels = (torch.arange(num_images) % _CLASSES).to(place)
    model.train()
    if mode == "compiled":
        model.embedding_net.compile()
    notes: list[str] = []
    step = TrainingStep(
        model, objective_for(config), config, resolve_precision(precision, place), note=notes.append, world=World()
    )

    def once() -> Tensor:
        return step(images, labels, update=True)

    for _ in range(_TO_RECORD):
        once()
    if mode == "graphed" and notes:
        raise RuntimeError(notes[-1])
    return once


def repeated(step: Callable[[], Tensor], count: int) -> Callable[[], object]:
    """A run of several steps."""

    def run_steps() -> None:
        for _ in range(count):
            step()

    return run_steps
