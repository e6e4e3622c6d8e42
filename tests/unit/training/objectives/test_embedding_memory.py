from __future__ import annotations

import copy

import torch
from hypothesis import given
from hypothesis import strategies as st
from pair_losses import batch_of

from pairsim.training.objectives.all_pairs_objective import EmbeddingMemory


@given(st.integers(1, 9), st.lists(st.integers(0, 12), max_size=8))
def test_ring_holds_the_newest(size: int, batches: list[int]) -> None:
    memory = EmbeddingMemory(size, 2)
    seen = 0
    for count in batches:
        numbers = torch.arange(seen, seen + count)
        memory.update(torch.stack((numbers, -numbers), dim=1).double(), numbers)
        seen += count
        held = memory.labels[memory.labels >= 0]
        assert sorted(held.tolist()) == list(range(max(0, seen - size), seen))
        filled = memory.embeddings[memory.labels >= 0]
        assert torch.equal(filled, torch.stack((held, -held), dim=1).float())
        assert int((memory.labels == -1).sum()) == size - len(held)


def test_a_restored_memory_continues_as_before() -> None:
    memory = EmbeddingMemory(7, 6)
    memory.update(*batch_of(5, 3))
    resumed = EmbeddingMemory(7, 6)
    resumed.load_state_dict(copy.deepcopy(memory.state_dict()))
    for part in (memory, resumed):
        part.update(*batch_of(4, 3, seed=1))
    assert all(torch.equal(a, b) for a, b in zip(memory.buffers(), resumed.buffers(), strict=True))
    assert sorted(memory.state_dict()) == ["cursor", "embeddings", "labels"]


def test_an_update_keeps_no_graph() -> None:
    memory = EmbeddingMemory(3, 6)
    embeddings, labels = batch_of(2, 2)
    memory.update(embeddings.requires_grad_(), labels)
    assert not memory.embeddings.requires_grad
    assert memory.embeddings.dtype == torch.float32
