"""Objective "normalized-softmax": classify each image by the cosine to a trained weight of its class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from pairsim.data import LabelledImages
from pairsim.data.loading.batches import BatchPlan
from pairsim.data.random import stream_key
from pairsim.models import SimilarityModel, unit_length
from pairsim.training.objectives.objective import ClassBalancedObjective, embedding_dim_of


class ClassWeights(nn.Module):
    """One vector for each class, trained with the model.

    Args:
        num_classes: Number of classes, at least 1.
        dim: Dimensions of an embedding, at least 1.
        seed: Any whole number, for the first values.

    Attributes:
        weight: `[num_classes, dim]`, float32, at first about of length 1.

    Example:
        >>> ClassWeights(num_classes=3, dim=2, seed=0).weight.shape
        torch.Size([3, 2])
    """

    def __init__(self, num_classes: int, dim: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(stream_key("class weights", seed))
        # Only directions count. Shorter vectors turn faster at the same learning rate: at length 1 training begins at
        # once, at that of a standard normal distribution it begins after hundreds of steps.
        self.weight: nn.Parameter = nn.Parameter(torch.randn(num_classes, dim, generator=generator) / dim**0.5)


@dataclass(kw_only=True)
class NormalizedSoftmaxObjective(ClassBalancedObjective):
    """The cross-entropy of `normalized_softmax_loss`; the class weights are dropped after training."""

    trains_projection = False

    temperature: float
    margin: float
    state: ClassWeights | None = field(default=None, init=False)
    _num_classes: int = field(default=0, init=False)

    def batches(self, images: LabelledImages, *, note: Callable[[str], object]) -> BatchPlan:
        """Plan class-balanced batches, and remember the number of classes."""
        self._num_classes = images.index.num_classes
        return super().batches(images, note=note)

    def initial_state(self, model: SimilarityModel) -> ClassWeights:
        """Create the class weights; they depend on the seed only.

        Raises:
            TypeError: If the net has no `embedding_dim`.
        """
        dim = embedding_dim_of(model, 'objective "normalized-softmax"', "choose another objective")
        return ClassWeights(self._num_classes, dim, self.seed).to(model.device)

    def loss(self, model: SimilarityModel, embeddings: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002
        """Compute the loss of a batch."""
        assert self.state is not None, "initial_state comes first"
        temperature, margin = self.temperature, self.margin
        return normalized_softmax_loss(embeddings, targets, self.state.weight, temperature=temperature, margin=margin)


def normalized_softmax_loss(
    embeddings: Tensor, labels: Tensor, weight: Tensor, *, temperature: float = 0.05, margin: float = 0.0
) -> Tensor:
    """Mean cross-entropy of classes; logits are `(cosine to the class weight - margin of the own class) / temperature`.

    With `margin=0` this is the normalised softmax, with a margin the large-margin cosine loss (CosFace).

    Args:
        embeddings: Unit length `[N, D]`, computed in float32, or in float64 if they are float64.
        labels: Class numbers `[N]`, integers in [0, C).
        weight: One vector for each class `[C, D]`, of any length but 0.
        temperature: Positive; a lower one is for more classes.
        margin: What the cosine to the own class is lowered by, at least 0.

    Returns:
        Scalar, float32 (float64 for float64); NaN without images or if an embedding is NaN.

    Example:
        >>> loss = normalized_softmax_loss(torch.eye(2), torch.tensor([0, 1]), torch.eye(2), temperature=0.5)
        >>> round(loss.item(), 4)  # log(1 + exp(-2))
        0.1269

    References:
        Wang et al., "NormFace: L2 hypersphere embedding for face verification", ACM Multimedia 2017.
        Wang et al., "CosFace: Large margin cosine loss for deep face recognition", CVPR 2018.
        Zhai, Wu, "Classification is a strong baseline for deep metric learning", BMVC 2019.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        vectors = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
        cosines = vectors @ unit_length(weight).to(vectors.dtype).T
        if margin:
            cosines = cosines.scatter_add(1, labels[:, None], cosines.new_full((1, 1), -margin).expand(len(labels), 1))
        return functional.cross_entropy(cosines / temperature, labels)
