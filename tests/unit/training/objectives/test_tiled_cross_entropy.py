"""Tiles change the loss by rounding only, bound its memory, and never wait for the device."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_losses import CASES, assert_close, batch_of, outputs, projection_model
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from pairsim.training.objectives.all_pairs_objective import EmbeddingMemory, all_pairs_loss
from pairsim.training.objectives.tiled_cross_entropy import _softplus, _tiles


@settings(max_examples=60)
@given(
    CASES,
    st.integers(1, 50),
    st.sampled_from([0.0, 1.0, 3.0]),
    st.sampled_from([0.02, 0.5, 0.9]),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_blocks_change_nothing_but_rounding(
    case: tuple[int, int, int, int, int], block_size: int, hard_pairs: float, prior: float, dtype: torch.dtype
) -> None:
    num_images, num_classes, dim, seed, num_memory = case
    embeddings, labels = batch_of(num_images, num_classes, dim, seed)
    others, other_labels = batch_of(num_memory, num_classes, dim, seed + 1, empty=0.2)
    if num_images > 2:
        embeddings[1], embeddings[2] = embeddings[0], 0.0
    options: dict[str, Any] = {
        "prior": prior,
        "hard_pairs": hard_pairs,
        "memory": (others.to(dtype), other_labels) if num_memory else None,
    }
    model, batch = projection_model(dtype=dtype), (embeddings.to(dtype), labels)
    whole = outputs(all_pairs_loss, model, batch, block_size=10**4, **options)
    cut = outputs(all_pairs_loss, model, batch, block_size=block_size, **options)
    assert all(torch.isfinite(part).all() for part in cut)
    assert_close(cut, whole, 1e-5 if dtype == torch.float32 else 1e-12)


@given(st.integers(0, 30), st.integers(0, 40), st.integers(1, 35))
def test_tiles_cover_every_pair(num_images: int, num_memory: int, tile_rows: int) -> None:
    counts = {"batch": torch.zeros(num_images, num_images), "memory": torch.zeros(num_images, num_memory)}
    for tile in _tiles(num_images, num_memory, tile_rows):
        counts["memory" if tile.kind == "memory" else "batch"][tile.rows, tile.columns] += 1
        assert (tile.rows == tile.columns) == (tile.kind == "own") or tile.kind == "memory"
    # tiles on the diagonal have each pair twice, the others once
    both = counts["batch"] + counts["batch"].T
    assert bool(((both == 2) | (both == 1)).all())
    assert bool((counts["batch"].triu() >= 1).equal(torch.ones(num_images, num_images).triu().bool()))
    assert bool((counts["memory"] == 1).all())


class Peak(TorchDispatchMode):
    """Counts the bytes of tensors that operations make, as long as they live, and the operations' names."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self.names: set[str] = set()
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.names.add(func.overloadpacket._qualified_op_name)
        for part in out if isinstance(out, tuple | list) else [out]:
            if isinstance(part, Tensor) and part.device.type != "meta":
                self._add(part.untyped_storage())
        return out

    def _add(self, storage: Any) -> None:
        key = storage._cdata
        if key in self.known:
            return
        self.known.add(key)
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


@contextmanager
def _measured() -> Iterator[Peak]:
    with Peak() as peak:
        yield peak


def test_blocks_never_hold_all_pairs() -> None:
    size = 1536
    embeddings, labels = batch_of(size, 20, 16)
    model, given = projection_model(dtype=torch.float32), embeddings.float().requires_grad_()

    def peak_of(**options: Any) -> int:
        given.grad = None
        with _measured() as peak:
            all_pairs_loss(model, given, labels, **options).backward()
        return peak.peak

    matrix = 4 * size * size
    dense = peak_of(block_size=size)
    assert dense > 2 * matrix, "the count misses what is there"
    assert peak_of(block_size=48) < dense / 32
    assert peak_of(block_size=48, hard_pairs=2.0) < dense / 32


def test_every_shape_follows_from_the_shapes_given() -> None:
    embeddings, labels = batch_of(20, 3)
    memory = EmbeddingMemory(30, 6)
    memory.update(*batch_of(10, 3, seed=1))
    with _measured() as peak:
        loss = all_pairs_loss(
            projection_model(),
            embeddings.requires_grad_(),
            labels,
            hard_pairs=1.0,
            memory=(memory.embeddings, memory.labels),
        )
        loss.backward()
        memory.update(embeddings, labels)
    waiting = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::index", "aten::item"}
    assert peak.names
    assert not peak.names & (waiting | {name for name in peak.names if "unique" in name})


def test_second_derivative_is_refused_and_not_wrong() -> None:
    embeddings, labels = batch_of(6, 2)
    given = embeddings.requires_grad_()
    with pytest.raises(RuntimeError, match="Expected all_pairs_loss to be differentiated once, got create_graph=True"):
        torch.autograd.grad(all_pairs_loss(projection_model(), given, labels), given, create_graph=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_softplus_keeps_its_digits(dtype: torch.dtype) -> None:
    values = torch.cat((torch.linspace(-80, 200, 20_001), torch.tensor([0.0, -0.0, 1e-30]))).to(dtype)
    exact = functional.softplus(values.double(), threshold=100)
    torch.testing.assert_close(_softplus(values).double(), exact, rtol=4 * torch.finfo(dtype).eps, atol=0)
    ends = _softplus(torch.tensor([math.inf, -math.inf, math.nan], dtype=dtype))
    assert ends[0] == math.inf
    assert ends[1] == 0
    assert ends[2].isnan()
