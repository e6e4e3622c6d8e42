"""Embed batches at inference: in eval mode, and with a faster copy of the net for more than a pair."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pairsim.models.embedding_net import check_images, to_unit_length
from pairsim.models.inference.inference_nets import MAX_WITHOUT_COPY, InferenceNet, InferenceNets

if TYPE_CHECKING:
    from pairsim.models.similarity_model import SimilarityModel


def embedder(
    model: SimilarityModel, nets: InferenceNets, dtype: torch.dtype | None, num_images: int | None, *, own_embed: bool
) -> Callable[[Tensor], Tensor]:
    """Return a function from batches to embeddings; the first batch selects the net that it runs.

    Args:
        model: The model; its mode is the same after each batch.
        nets: Copies of its net.
        dtype: From `inference_dtype`.
        num_images: Images in all batches, if it is known.
        own_embed: Whether to call the model's `embed`, which a subclass has replaced.
    """
    net: InferenceNet | None = InferenceNet(net=model.embed, dtype=dtype) if own_embed else None
    few = dtype is None and num_images is not None and num_images <= MAX_WITHOUT_COPY

    def embed(images: Tensor) -> Tensor:
        nonlocal net
        check_images(images, model.embedding_net, model.preprocessing)
        images = images.to(model.device)
        if not own_embed:
            images = model.preprocessing(images)
        if net is None:
            net = nets.get(model.embedding_net, images, dtype, few=few)
        # a copy stays in eval mode, so that the model's own mode need not change, which other threads would see
        with contextlib.nullcontext() if net.in_eval_mode else model.evaluating():
            embeddings = net(images)
        return embeddings if own_embed else to_unit_length(embeddings, model.embedding_net)

    return embed
