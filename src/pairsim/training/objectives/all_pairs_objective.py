"""Objective "all-pairs": binary cross-entropy of every pair inside a batch of images."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pairsim.models import SimilarityModel
from pairsim.training.objectives.objective import ClassBalancedObjective, embedding_dim_of
from pairsim.training.objectives.tiled_cross_entropy import Constants, Memory, TiledCrossEntropy


class EmbeddingMemory(nn.Module):
    """Ring buffer of the newest `size` embeddings and their labels.

    After the first steps a net changes slowly, so embeddings from a few steps before are still useful. Pairs of batch
    and memory need no forward pass. `state_dict` holds the memory, so a resumed run continues with the same one.
    Nothing waits for the device, and shapes are constant: an empty slot has label -1.

    Compute the loss before `update`: once the memory contains the batch, each image would be a positive pair with
    itself.

    Args:
        size: Number of embeddings, at least 1; some thousands are usual.
        dim: Dimensions of an embedding, at least 1.

    Attributes:
        embeddings: `[size, dim]`, float32, zero where empty.
        labels: `[size]`, int64, -1 where empty.
        cursor: Slot of the next embedding, 0-dimensional, int64.

    Example:
        >>> memory = EmbeddingMemory(size=3, dim=2)
        >>> memory.update(torch.eye(2), torch.tensor([5, 6]))
        >>> memory.update(torch.eye(2), torch.tensor([7, 8]))
        >>> memory.labels.tolist()
        [8, 6, 7]

    References:
        Wang et al., "Cross-batch memory for embedding learning", CVPR 2020.
    """

    embeddings: Tensor
    labels: Tensor
    cursor: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("embeddings", torch.zeros(size, dim))
        self.register_buffer("labels", torch.full((size,), -1))
        self.register_buffer("cursor", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, embeddings: Tensor, labels: Tensor) -> None:
        """Replace the oldest embeddings by a batch.

        Args:
            embeddings: `[N, dim]` on the memory's device, stored without gradient; of more than `size` the last.
            labels: `[N]`, at least 0.
        """
        size = len(self.labels)
        embeddings, labels = embeddings[-size:], labels[-size:]
        slots = (self.cursor + torch.arange(len(labels), device=self.cursor.device)) % size
        self.embeddings.index_copy_(0, slots, embeddings.to(self.embeddings.dtype))
        self.labels.index_copy_(0, slots, labels.to(self.labels.dtype))
        self.cursor.add_(len(labels)).remainder_(size)


@dataclass(kw_only=True)
class AllPairsObjective(ClassBalancedObjective):
    """The cross-entropy of `all_pairs_loss`, with an optional memory of earlier embeddings."""

    prior: float
    hard_pairs: float
    memory_size: int
    state: EmbeddingMemory | None = field(default=None, init=False)

    def initial_state(self, model: SimilarityModel) -> EmbeddingMemory | None:
        """Create an empty memory if `memory_size` is above 0.

        Raises:
            TypeError: If the net has no `embedding_dim`.
        """
        if not self.memory_size:
            return None
        dim = embedding_dim_of(model, "memory_size > 0", "set memory_size=0")
        return EmbeddingMemory(self.memory_size, dim).to(model.device)

    def loss(self, model: SimilarityModel, embeddings: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of a batch and add its embeddings to the memory."""
        memory = None if self.state is None else (self.state.embeddings, self.state.labels)
        loss = all_pairs_loss(model, embeddings, targets, prior=self.prior, hard_pairs=self.hard_pairs, memory=memory)
        if self.state is not None:
            self.state.update(embeddings.detach(), targets)
        return loss


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

    The weights of positive pairs sum to `prior` and those of negative pairs to `1 - prior`, whatever their numbers. So
    a probability is that of pairs of which the share `prior` is positive, and 0.5 is where such a pair is equally
    likely to be positive or negative. If a batch has only one kind of pairs, their weights still sum to their share.

    With `hard_pairs`, a pair's weight is multiplied by `|probability - target| ** hard_pairs`, without a gradient
    through it, as in the focal loss, and the weights of each kind are scaled to sum to their share. Training then
    concentrates on pairs that are still wrong, but the probabilities are no longer calibrated: log-odds come out
    smaller by about `1 + hard_pairs`, so probabilities are too close to 0.5. The similarity at which the probability is
    0.5 stays about the same as long as both kinds are about equally hard. Calibrate after training.

    Memory is proportional to N, not to N squared. Shapes depend on the shapes of the inputs only, so that no step waits
    for the device. The loss can be differentiated once, not twice.

    Args:
        model: For its projection from similarity to logit.
        embeddings: Unit length `[N, D]`, computed in float32, or in float64 if they are float64.
        labels: Class numbers `[N]`, integers.
        prior: Share of positive pairs that probabilities are meant for, in (0, 1).
        hard_pairs: Exponent of the weight for hard pairs, at least 0; 0 gives all pairs of a kind the same weight.
        block_size: Images in a block: so many rows and columns of the matrix of pairs are in memory at a time. By
            default 2,048, and 256 on a CPU. It changes speed and memory, and the result only by rounding.
        memory: Embeddings `[M, D]` and labels `[M]` of earlier batches, as of `EmbeddingMemory`. Adds the pairs of
            batch and memory, with gradients for the batch only. Slots with a negative label are empty.

    Returns:
        Scalar, float32 (float64 for float64); 0 without pairs, NaN if an embedding is NaN.

    Raises:
        ValueError: If the embeddings of the memory have another length.

    Example:
        >>> from pairsim import SimilarityModel
        >>> embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> loss = all_pairs_loss(SimilarityModel(), embeddings, torch.tensor([0, 0, 1]))
        >>> round(loss.item(), 4)  # logits are 5 for the positive pair and -5 for the negative pairs
        0.0067

    References:
        Lin et al., "Focal loss for dense object detection", ICCV 2017.
        Charoenphakdee et al., "On focal loss for class-posterior probability estimation", CVPR 2021.
        Wang et al., "Cross-batch memory for embedding learning", CVPR 2020.
    """
    dtype = torch.float64 if embeddings.dtype == torch.float64 else torch.float32
    if memory is not None:
        if memory[0].shape[1] != embeddings.shape[1]:
            raise ValueError(
                f"Expected memory of {embeddings.shape[1]}-dimensional embeddings, got {memory[0].shape[1]}. "
                "Make EmbeddingMemory with the model's embedding_dim."
            )
        memory = memory[0].detach().to(dtype), memory[1].long().contiguous()
    # Half precision is for the net: the sum over all pairs needs float32. The projection is applied here and not by
    # model.logits because its gradients are computed together with the loss.
    scale, bias = model.projection.weight.view(()), model.projection.bias.view(())
    inputs = [value.to(dtype) for value in (embeddings, scale, bias)]
    with_gradients = torch.is_grad_enabled() and any(value.requires_grad for value in inputs)
    constants = Constants(labels.long().contiguous(), memory, prior, hard_pairs, block_size, with_gradients)
    with torch.autocast(embeddings.device.type, enabled=False):
        loss: Tensor = TiledCrossEntropy.apply(*inputs, constants)
    return loss
