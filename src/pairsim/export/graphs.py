"""A model as a fixed graph from uint8 pixels on: traced once, for ONNX and for archives alike."""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pairsim.errors import ExportError
from pairsim.export.description import KINDS, Description, Kind
from pairsim.models import SimilarityModel
from pairsim.models.embedding_net import to_unit_length

if TYPE_CHECKING:
    from torch.export import ExportedProgram

INPUTS: dict[Kind, tuple[str, ...]] = {"embed": ("images",), "pair": ("first", "second")}
OUTPUTS: dict[Kind, tuple[str, ...]] = {"embed": ("embeddings",), "pair": ("similarity", "probability")}

TOLERANCE = 1e-4
"""Largest difference to the model with which a file is still written."""

BATCH_SIZES = (1, 2, 5)
"""Tried after each export: one image alone is what goes wrong first where a batch size was taken for a constant."""


class Embedding(nn.Module):
    """uint8 pixels `[N, C, H, W]` to unit-length embeddings `[N, D]`, with the preprocessing inside."""

    factor: Tensor
    offset: Tensor

    def __init__(self, model: SimilarityModel) -> None:
        super().__init__()
        self.model = model
        self.own: bool = type(model).embed is not SimilarityModel.embed  # a subclass that embeds in its own way
        mean, std = model.preprocessing.mean or (0.0,), model.preprocessing.std or (1.0,)
        deviation, centre = (torch.tensor(values).view(-1, 1, 1) for values in (std, mean))
        # constants of the graph: those that Preprocessing keeps for all models must not see a tracer
        self.register_buffer("factor", 1 / (255.0 * deviation))
        self.register_buffer("offset", centre / deviation)

    def forward(self, images: Tensor) -> Tensor:
        """Embed a batch."""
        if self.own:
            return self.model.embed(images)
        scaled = images.to(torch.float32) * self.factor - self.offset
        return to_unit_length(self.model.embedding_net(scaled), self.model.embedding_net)


class Comparison(nn.Module):
    """Two batches of uint8 pixels to similarities and probabilities, both `[N]`."""

    similarities: Tensor
    evidence: Tensor

    def __init__(self, model: SimilarityModel) -> None:
        super().__init__()
        self.embedding: Embedding = Embedding(model)
        found = model.calibration
        if found is None:
            self.weight, self.bias = model.projection.weight.item(), model.projection.bias.item()
        else:
            self.weight, self.bias = found.weight, found.bias
        self.prior_log_odds: float = 0.0 if found is None else math.log(found.prior) - math.log1p(-found.prior)
        self.on_points: bool = found is not None and found.method == "isotonic"
        x, y = ((), ()) if found is None else (found.similarities, found.evidence)
        if len(x) == 1:  # level everywhere
            x, y = (x[0], x[0] + 1.0), (y[0], y[0])
        self.register_buffer("similarities", torch.tensor(x, dtype=torch.float64))
        self.register_buffer("evidence", torch.tensor(y, dtype=torch.float64))

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Compare pairs."""
        embeddings = self.embedding(torch.cat((first, second)))  # one run of the net, as in the model
        size = first.shape[0]
        similarity = (embeddings[:size] * embeddings[size:]).sum(dim=-1).clamp(-1.0, 1.0)
        return similarity, torch.sigmoid(self._evidence(similarity.double()).float() + self.prior_log_odds)

    def _evidence(self, similarity: Tensor) -> Tensor:
        if not self.on_points:
            return similarity * self.weight + self.bias
        x, y = self.similarities, self.evidence
        # what searchsorted counts, which ONNX has not; comparing with every point is little beside the net
        right = (similarity[:, None] >= x).sum(dim=-1).clamp(1, len(x) - 1)
        left = right - 1
        share = (similarity.clamp(x[0].item(), x[-1].item()) - x[left]) / (x[right] - x[left])
        return y[left] + share * (y[right] - y[left])


@dataclass(frozen=True)
class Traced:
    """A model as a graph.

    Attributes:
        program: The graph with its weights; the batch size is free.
        description: What it is the graph of.
        model: A copy of the model on the CPU, in float32 and eval mode, which the graph is compared with.
    """

    program: ExportedProgram
    description: Description
    model: SimilarityModel


def trace(model: SimilarityModel, kind: Kind) -> Traced:
    """Trace a model, leaving it as it is.

    Args:
        model: In any mode, on any device.
        kind: `"embed"` or `"pair"`.

    Returns:
        The graph, for images of the model's size.

    Raises:
        ExportError: If the net does something that has no graph.
        ValueError: If there is no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"Expected kind to be one of {', '.join(KINDS)}, got {kind!r}.")
    own = copy.deepcopy(model).to("cpu", torch.float32).eval().requires_grad_(False)
    shape = (own.preprocessing.channels, *own.preprocessing.image_size)
    # two tensors: the tracer would take one given twice for the same image
    images = tuple(random_pixels(shape, 2, seed=number) for number in range(len(INPUTS[kind])))
    embedding_dim = own.encode(images[0]).shape[1]
    graph = Embedding(own) if kind == "embed" else Comparison(own)
    shapes = tuple({0: torch.export.Dim("batch")} for _ in images)
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(graph.eval(), images, dynamic_shapes=shapes, strict=False)
    except Exception as error:  # of many kinds, down to bare ones
        raise ExportError(
            f"Expected a net that can be traced, but tracing {type(own.embedding_net).__name__} failed: "
            f"{type(error).__name__}: {first_line(error)}. Rewrite what depends on pixels or on the number of images."
        ) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # would be written, with the paths of this machine
    return Traced(program, Description.of(own, kind, embedding_dim), own)


def random_pixels(shape: tuple[int, ...], number: int, *, seed: int) -> Tensor:
    """Noise as uint8 images `[number, *shape]`, darker and lighter ones among them."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 256, (number, *shape), generator=generator)
    return (noise >> torch.arange(number).view(-1, 1, 1, 1) % 4).to(torch.uint8)


def largest_difference(traced: Traced, run: Callable[..., Sequence[Tensor]]) -> float:
    """Compare a graph with the model on random images, at each of `BATCH_SIZES`.

    Args:
        traced: The model.
        run: The graph: takes uint8 images, one batch for each input, and gives its outputs.

    Returns:
        The largest absolute difference of a component of an embedding, or of a similarity or probability.

    Raises:
        ExportError: If it is above `TOLERANCE`, or the graph does not take one of the batch sizes.
    """
    model, kind = traced.model, traced.description.kind
    shape = (model.preprocessing.channels, *model.preprocessing.image_size)
    largest = 0.0
    for size in BATCH_SIZES:
        images = [random_pixels(shape, size, seed=100 * size + number) for number in range(len(INPUTS[kind]))]
        try:
            found = run(*images)
        except Exception as error:
            raise ExportError(
                f"Expected the exported graph to run on {size} image{'s' if size > 1 else ''} at once, but: "
                f"{first_line(error)}. The net may take the number of images for a constant. Nothing was written."
            ) from error
        encoded = [model.encode(batch) for batch in images]
        if kind == "embed":
            expected = encoded
        else:
            # the probability of the graph's own similarity: a steep calibration enlarges rounding
            expected = [(encoded[0] * encoded[1]).sum(dim=-1).clamp(-1, 1), model.probability(found[0])]
        for a, b in zip(found, expected, strict=True):
            difference = float((a - b).abs().max()) if a.shape == b.shape else math.inf
            largest = max(largest, math.inf if math.isnan(difference) else difference)
    if largest > TOLERANCE:
        raise ExportError(
            f"Expected the exported graph to give what the model gives to {TOLERANCE:g}, found a difference of "
            f"{largest:.3g}. Nothing was written. Does the net draw random numbers, or depend on other images?"
        )
    return largest


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep to itself what exporters have to say to their developers."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def first_line(error: BaseException) -> str:
    """What an error says, without what follows for developers."""
    return (str(error).strip() or "no reason given").splitlines()[0].rstrip(".")
