"""Compute frozen batch norms by the layers before them while a net trains."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pairsim.models import SimilarityModel
from pairsim.models.inference.folding import FOLDABLE, foldable_pairs, is_plain, parts_of
from pairsim.training.optimize.optimizers import FrozenParts

_NET = "embedding_net"


class FrozenNorms:
    """The frozen batch norms of a model that a convolution or linear layer can compute by itself.

    A frozen batch norm multiplies each channel by a number and adds one. The layer before it gets the same result from
    weights and bias that are multiplied likewise, without a pass over its outputs. Its own weights are trained as
    before: the gradient passes through the product. Results differ by rounding.

    Args:
        model: The model, on its device. It is changed only during `folded`.
        frozen: Its frozen parts.
    """

    def __init__(self, model: SimilarityModel, frozen: FrozenParts) -> None:
        self._model = model
        self._frozen = frozen
        self._pairs: list[tuple[nn.Module, nn.Module]] | None = None

    @contextlib.contextmanager
    def folded(self, images: Tensor) -> Iterator[int]:
        """Let the layers before them compute the batch norms for the duration of the context.

        Args:
            images: A batch as of `SimilarityModel.embed`; the first time it shows which layers these are.

        Yields:
            The number of batch norms.
        """
        if self._pairs is None:
            self._pairs = self._found(images)
        try:
            for layer, norm in self._pairs:
                vars(layer)["forward"] = partial(_with_norm, layer, norm)
                vars(norm)["forward"] = _unchanged
            yield len(self._pairs)
        finally:
            for module in chain(*self._pairs):
                vars(module).pop("forward", None)

    def _found(self, images: Tensor) -> list[tuple[nn.Module, nn.Module]]:
        net = self._model.embedding_net
        modules: dict[str, Any] = dict(net.named_modules())
        norms = [name for name, module in modules.items() if type(module) in FOLDABLE]
        frozen = {name for name in norms if self._frozen.holds(f"{_NET}.{name}")}
        if not frozen or not is_plain(*parts_of(net)) or any("forward" in vars(module) for module in modules.values()):
            return []
        devices = [images.device] if images.device.type == "cuda" else []
        # A copy runs, so that no statistics change. A net that cannot be copied raises anything: it trains as it is.
        with contextlib.suppress(Exception), torch.no_grad(), torch.random.fork_rng(devices):
            example = self._model.preprocessed(images[:1]).to(self._model.weights_dtype)
            pairs = foldable_pairs(copy.deepcopy(net).eval(), example)
            return [(modules[layer], modules[norm]) for layer, norm in pairs if norm in frozen]
        return []


def _with_norm(layer: Any, norm: Any, inputs: Tensor) -> Tensor:
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale
    for bias, factor in ((norm.bias, 1), (layer.bias, scale)):
        if bias is not None:
            shift = shift + bias * factor
    weight = layer.weight * scale.view(-1, *(1,) * (layer.weight.dim() - 1))
    if isinstance(layer, nn.Linear):
        return functional.linear(inputs, weight, shift)
    result: Tensor = layer._conv_forward(inputs, weight, shift)
    return result


def _unchanged(inputs: Tensor) -> Tensor:
    return inputs
