"""Trace a model as a graph that takes uint8 pixels, for any batch size."""

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

from pairsim._common.choices import ExportKind
from pairsim.errors import ExportError
from pairsim.export.description import Description
from pairsim.export.onnx_models import Float32Array, Pixels, first_line
from pairsim.models import SimilarityModel
from pairsim.models.backbones.onnx_nets import OnnxNet

if TYPE_CHECKING:
    from torch.export import ExportedProgram

INPUTS: dict[ExportKind, tuple[str, ...]] = {"embed": ("images",), "pair": ("first", "second")}
OUTPUTS: dict[ExportKind, tuple[str, ...]] = {"embed": ("embeddings",), "pair": ("similarity", "probability")}

TOLERANCE = 1e-4
"""Largest difference to the model with which a file is still written."""

BATCH_SIZES = (1, 2, 5)
"""Batch sizes on which a graph is compared with the model. A graph that took a batch size for a constant usually fails
for a single image."""


class Embedding(nn.Module):
    """uint8 pixels `[N, C, H, W]` to unit-length embeddings `[N, D]`, with the preprocessing inside."""

    def __init__(self, model: SimilarityModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Embed a batch."""
        return self.model.embed(images)


class Comparison(nn.Module):
    """Two batches of uint8 pixels to similarities and probabilities, both `[N]`."""

    similarities: Tensor
    evidence: Tensor

    def __init__(self, model: SimilarityModel) -> None:
        super().__init__()
        self.model = model
        points = (getattr(model.calibration, name, ()) for name in ("similarities", "evidence"))
        x, y = (torch.tensor(values, dtype=torch.float64) for values in points)
        if len(x) == 1:  # constant
            x, y = torch.cat((x, x + 1.0)), torch.cat((y, y))
        self.register_buffer("similarities", x)
        self.register_buffer("evidence", y)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Compare pairs."""
        embeddings = self.model.embed(torch.cat((first, second)))  # one run of the net, as in the model
        size = first.shape[0]
        similarity = (embeddings[:size] * embeddings[size:]).sum(dim=-1).clamp(-1.0, 1.0)
        return similarity, self.probability(similarity)

    def probability(self, similarity: Tensor) -> Tensor:
        """Compute the model's probability with operations that ONNX has."""
        calibration = self.model.calibration
        if calibration is None or calibration.method == "platt":
            return self.model.probability(similarity)
        x, y, values = self.similarities, self.evidence, similarity.double()
        # searchsorted, which ONNX lacks; comparing with every point costs little beside the net
        right = (values[:, None] >= x).sum(dim=-1).clamp(1, len(x) - 1)
        left = right - 1
        share = (values.clamp(x[0].item(), x[-1].item()) - x[left]) / (x[right] - x[left])
        evidence = y[left] + share * (y[right] - y[left])
        return torch.sigmoid(evidence.float() + math.log(calibration.prior) - math.log1p(-calibration.prior))


@dataclass(frozen=True)
class Traced:
    """A model as a graph.

    Attributes:
        program: The graph with its weights; the batch size is free.
        description: Its description.
        model: A copy of the model on the CPU, in float32 and eval mode, to compare the graph with.
    """

    program: ExportedProgram
    description: Description
    model: SimilarityModel


def trace(model: SimilarityModel, kind: ExportKind) -> Traced:
    """Trace a model without changing it.

    Args:
        model: In any mode, on any device.
        kind: `"embed"` or `"pair"`.

    Returns:
        The graph, for images of the model's size.

    Raises:
        ExportError: If the net has an operation that cannot be traced.
        ValueError: If the kind is unknown.
    """
    if kind not in INPUTS:
        raise ValueError(f"Expected kind to be one of {', '.join(INPUTS)}, got {kind!r}.")
    files = [module.file_name for module in model.modules() if isinstance(module, OnnxNet)]
    if files:
        raise ExportError(
            f"Expected a net of PyTorch, got the ONNX file {files[0]} as its backbone. Run that file itself, and what "
            "follows it from the model folder."
        )
    own = copy.deepcopy(model).to("cpu", torch.float32).eval().requires_grad_(False)
    images = _random_inputs(own, kind, 2, seed=0)
    # also computes the constants of the preprocessing before the tracer sees them: it would replace them by symbols
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
    return Traced(program, Description.of(own, kind, embedding_dim), own)


def random_pixels(shape: tuple[int, ...], number: int, *, seed: int) -> Tensor:
    """Make noise of varying brightness as uint8 images `[number, *shape]`."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 256, (number, *shape), generator=generator)
    return (noise >> torch.arange(number).view(-1, 1, 1, 1) % 4).to(torch.uint8)


def _random_inputs(model: SimilarityModel, kind: ExportKind, size: int, *, seed: int) -> tuple[Tensor, ...]:
    # different images for the two inputs of a pair: the tracer would merge equal ones
    shape = (model.preprocessing.channels, *model.preprocessing.image_size)
    inputs = tuple(random_pixels(shape, size, seed=seed + number) for number in range(len(INPUTS[kind])))
    if model.preprocessing.of_vectors:
        return tuple(pixels.float() - 127.5 for pixels in inputs)
    return inputs


def largest_difference(traced: Traced, run: Callable[..., Sequence[Float32Array]]) -> float:
    """Compare a graph with the model on random images, at each of `BATCH_SIZES`.

    Args:
        traced: The model.
        run: The graph: takes uint8 images, one array for each input, and returns its outputs.

    Returns:
        The largest absolute difference of a component of an embedding, or of a similarity or probability.

    Raises:
        ExportError: If it is above `TOLERANCE`, or the graph does not take one of the batch sizes.
    """
    model, kind = traced.model, traced.description.kind
    largest = 0.0
    for size in BATCH_SIZES:
        images = _random_inputs(model, kind, size, seed=100 * size)
        pixels: list[Pixels] = [batch.numpy() for batch in images]
        try:
            outputs = [torch.from_numpy(output) for output in run(*pixels)]
        except Exception as error:
            raise ExportError(
                f"Expected the exported graph to run on {size} image{'s' if size > 1 else ''} at once, but: "
                f"{first_line(error)}. The net may take the number of images for a constant. Nothing was written."
            ) from error
        expected = [model.encode(batch) for batch in images]
        if kind == "pair":
            # the probability of the graph's own similarity: a steep calibration amplifies rounding
            expected = [(expected[0] * expected[1]).sum(dim=-1).clamp(-1, 1), model.probability(outputs[0])]
        for a, b in zip(outputs, expected, strict=True):
            difference = float((a - b).abs().max()) if a.shape == b.shape else math.inf
            largest = max(largest, math.inf if math.isnan(difference) else difference)
    if largest > TOLERANCE:
        raise ExportError(
            f"Expected the outputs of the exported graph to differ from the model's by at most {TOLERANCE:g}, found a "
            f"difference of {largest:.3g}. Nothing was written. Does the net draw random numbers, or does its output "
            "for an image depend on other images?"
        )
    return largest


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings and messages of the exporters."""
    with warnings.catch_warnings(action="ignore"), contextlib.ExitStack() as stack:
        for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir"):
            logger = logging.getLogger(name)
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.ERROR)
        yield
