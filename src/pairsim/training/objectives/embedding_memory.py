"""Store the embeddings of the last batches, for more pairs than a batch has."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
