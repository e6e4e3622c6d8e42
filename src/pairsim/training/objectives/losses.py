"""What training minimises."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from pairsim.errors import TrainingError
from pairsim.training.objectives.all_pairs import Memory, all_pairs_cross_entropy

if TYPE_CHECKING:
    from pairsim.models import SimilarityModel
    from pairsim.training.config import ObjectiveFunction


def pairs_loss(model: SimilarityModel, embeddings: Tensor, targets: Tensor) -> Tensor:
    """Mean binary cross-entropy of pairs.

    Args:
        model: For its projection from similarity to logit.
        embeddings: First images, then second images, unit length `[2N, D]`.
        targets: 1 = same class, 0 = different, float `[N]`.

    Returns:
        Scalar, float32.
    """
    first, second = embeddings.chunk(2)
    return functional.binary_cross_entropy_with_logits(model.logits((first * second).sum(dim=-1)), targets)


def all_pairs_loss(
    model: SimilarityModel,
    embeddings: Tensor,
    labels: Tensor,
    *,
    prior: float = 0.5,
    hard_pairs: float = 0.0,
    block_size: int | None = None,
    memory: Memory | None = None,
) -> Tensor:
    """Weighted binary cross-entropy of all N(N-1)/2 pairs of a batch.

    Positive pairs weigh `prior` together and negative pairs `1 - prior`, however many there are of each. So a
    probability means what it would among pairs of which the share `prior` is positive, and 0.5 is where such pairs are
    as likely the same as different. A batch that has only one kind gives that kind its share and no more.

    With `hard_pairs`, a pair's weight is multiplied by `|probability - target| ** hard_pairs`, without a gradient
    through it, as in the focal loss, and each kind is scaled back to its share. Training then works on the pairs that
    are still wrong, but the probabilities are no longer calibrated: log-odds come out smaller by about
    `1 + hard_pairs`, that is, probabilities too close to 0.5. The place of 0.5 stays about where it was as long as
    both kinds are about equally hard. Calibrate afterwards.

    Memory grows with N, not with N squared, and shapes depend on nothing but the shapes given: no step waits for the
    device. The gradient can be taken once, not twice.

    Args:
        model: For its projection from similarity to logit.
        embeddings: Unit length `[N, D]`, computed in float32, float64 if given that.
        labels: Class numbers `[N]`, integers.
        prior: Share of positive pairs that probabilities are meant for, in (0, 1).
        hard_pairs: Exponent of the weight for hard pairs, at least 0; 0 weighs all pairs of a kind alike.
        block_size: Images in a block: this many rows and columns of the matrix of pairs are held at a time. By default
            2,048, and 256 on a CPU. It changes speed and memory, and the result only by rounding.
        memory: Embeddings `[M, D]` and labels `[M]` of earlier batches, as of `EmbeddingMemory`. Adds the pairs of
            batch and memory, with gradients for the batch only. Slots with a negative label are empty.

    Returns:
        Scalar, float32 (float64 for float64); 0 without pairs, NaN if an embedding is NaN.

    Raises:
        TypeError: If labels are no integers.
        ValueError: If a number is out of range or shapes do not fit.

    Example:
        >>> from pairsim import SimilarityModel
        >>> embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> loss = all_pairs_loss(SimilarityModel(), embeddings, torch.tensor([0, 0, 1]))
        >>> round(loss.item(), 4)  # the same as far on the right side as the different: logits of 5 and -5
        0.0067

    References:
        Lin et al., "Focal loss for dense object detection", ICCV 2017.
        Charoenphakdee et al., "On focal loss for class-posterior probability estimation", CVPR 2021.
        Wang et al., "Cross-batch memory for embedding learning", CVPR 2020.
    """
    _check_settings(prior, hard_pairs, block_size)
    _check_shapes(embeddings, labels, "embeddings")
    if memory is not None:
        _check_shapes(*memory, "memory")
        if memory[0].shape[1] != embeddings.shape[1]:
            raise ValueError(
                f"Expected memory of {embeddings.shape[1]}-dimensional embeddings, got {memory[0].shape[1]}. "
                "Make EmbeddingMemory with the model's embedding_dim."
            )
    dtype = torch.float64 if embeddings.dtype == torch.float64 else torch.float32
    if memory is not None:
        memory = memory[0].detach().to(dtype), memory[1].long().contiguous()
    # Half precision is for the net: the sum over all pairs needs the digits. Projected here and not by model.logits,
    # as the gradients are computed together with the loss.
    with torch.autocast(embeddings.device.type, enabled=False):
        return all_pairs_cross_entropy(
            embeddings.to(dtype),
            model.projection.weight.view(()).to(dtype),
            model.projection.bias.view(()).to(dtype),
            labels.long().contiguous(),
            prior=prior,
            hard_pairs=hard_pairs,
            tile_rows=block_size,
            memory=memory,
        )


def function_loss(function: ObjectiveFunction, embeddings: Tensor, labels: Tensor) -> Tensor:
    """The loss of a user's function, checked to be one number.

    Raises:
        TrainingError: If it is not a tensor of one element.
    """
    loss = function(embeddings, labels)
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        found = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise TrainingError(
            f"Expected the objective to return a scalar tensor, got {found}. Take the mean of its losses."
        )
    return loss.reshape(())


def _check_settings(prior: float, hard_pairs: float, block_size: int | None) -> None:
    if not 0 < prior < 1:
        raise ValueError(
            f"Expected prior to be in (0, 1), got {prior}. Give the share of positive pairs that probabilities are "
            "meant for, such as 0.5."
        )
    if not 0 <= hard_pairs < math.inf:
        raise ValueError(
            f"Expected hard_pairs to be at least 0 and finite, got {hard_pairs}. Use 0 to weigh pairs alike, or 1 to 2."
        )
    if block_size is not None and (block_size < 1 or block_size != int(block_size)):
        raise ValueError(
            f"Expected block_size to be a whole number of at least 1, got {block_size}. Leave it out to have it chosen."
        )


def _check_shapes(embeddings: Tensor, labels: Tensor, name: str) -> None:
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"Expected {name} [N, D] with labels [N], got {list(embeddings.shape)} and {list(labels.shape)}. "
            "Give one label for each row."
        )
    if labels.is_floating_point() or labels.is_complex():
        raise TypeError(f"Expected class numbers as integers for {name}, got {labels.dtype}. Convert: labels.long().")
