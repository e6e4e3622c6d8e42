"""Ranks, shards, the environment, and collective operations."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from processes import run_together
from small_runs import dropout_model, random_images
from torch import Tensor

from pairsim import TrainConfig, Trainer
from pairsim.data import ClassBalancedBatches, ClassIndex
from pairsim.data.loading.batches import PartialBatches
from pairsim.errors import TrainingError
from pairsim.training.distributed import world as world_module
from pairsim.training.distributed.world import World


@given(total=st.integers(0, 200), size=st.integers(1, 17))
def test_shards_cover_everything_once_and_differ_by_one(total: int, size: int) -> None:
    shards = [World(rank=rank, size=size).shard(total) for rank in range(size)]
    assert [index for shard in shards for index in range(total)[shard]] == list(range(total))
    lengths = [shard.stop - shard.start for shard in shards]
    assert max(lengths) - min(lengths) <= 1
    assert lengths == sorted(lengths, reverse=True)


def test_shards_of_a_batch_make_the_batch() -> None:
    plan = ClassBalancedBatches(ClassIndex.from_labels(np.arange(22) % 4), 8, seed=3)
    parts = [PartialBatches(plan, World(rank=rank, size=3).shard) for rank in range(3)]
    for number in range(plan.num_batches):
        images, codes = plan.batch(5, number)
        own = [part.batch(5, number) for part in parts]
        assert np.concatenate([indices for indices, _ in own]).tolist() == images.tolist()
        assert all(torch.equal(targets, codes) for _, targets in own)
    empty = PartialBatches(plan, World(rank=8, size=9).shard)
    assert empty.batch(0, 0)[0].tolist() == plan.batch(0, 0)[0][:1].tolist()  # one image, as a batch cannot be empty


def test_from_env(monkeypatch: pytest.MonkeyPatch) -> None:
    assert World.from_env() == World()
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert World.from_env() == World()  # a size without a rank is that of independent processes
    monkeypatch.setenv("RANK", "3")
    assert World.from_env() == World(rank=3, size=4, local_rank=3, local_size=4)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    several = World.from_env()
    assert several == World(rank=3, size=4, local_rank=1, local_size=2)
    assert not several.is_main
    monkeypatch.setenv("RANK", "4")
    with pytest.raises(ValueError, match=r"Expected RANK to be in \[0, WORLD_SIZE\), found RANK 4 and WORLD_SIZE 4"):
        World.from_env()
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(ValueError, match="Expected RANK in the environment to be a whole number, found 'first'"):
        World.from_env()


def test_a_size_of_one_is_a_single_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert World.from_env() == World()


def test_processes_that_cannot_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(TrainingError, match="Expected 2 processes to find each other, rank 0 did not"):
        Trainer(dropout_model(), TrainConfig(), train=random_images())


def test_one_process_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def sent(*arguments: Any, **options: Any) -> None:
        raise AssertionError

    for name in ("init_process_group", "all_reduce", "broadcast"):
        monkeypatch.setattr(torch.distributed, name, sent)
    config = TrainConfig(epochs=3, batch_size=8, precision="fp32", ema_decay=0.9, sync_batch_norm=True)
    assert len(Trainer(dropout_model(), config, train=random_images()).fit()) == 3
    world, values = World(), torch.tensor([1.0, 2.0])
    world.all_reduce([values])
    world.broadcast([values])
    world.destroy_at_exit()
    with world.main_first():
        assert values.tolist() == [1.0, 2.0]
    assert world.of_main((0.5, "content")) == (0.5, "content")
    assert world.any_rank(True)
    assert not world.any_rank(False)
    gathered = world.all_gather(values.requires_grad_(), slice(0, 2), 2)
    assert gathered.tolist() == [1.0, 2.0]
    assert not gathered.requires_grad


def test_messages_have_one_dtype_and_a_limited_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world_module, "_BUCKET_BYTES", 16)
    tensors = [torch.zeros(3), torch.zeros(2, dtype=torch.int64), torch.zeros(1), torch.zeros(9), torch.zeros(0)]
    buckets = list(world_module._buckets(tensors))
    assert [[tensor.numel() for tensor in bucket] for bucket in buckets] == [[3, 1], [2], [9, 0]]
    assert all(len({tensor.dtype for tensor in bucket}) == 1 for bucket in buckets)


def test_others_may_wait_for_the_first_process_for_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL's own limit is ten minutes."""
    calls = list[Any]()

    def new_group(*, backend: str, timeout: datetime.timedelta) -> str:
        calls.append((backend, timeout))
        return "group"

    monkeypatch.setattr(torch.distributed, "new_group", new_group)
    monkeypatch.setattr(torch.distributed, "barrier", lambda group: calls.append(("barrier", group)))
    made = ("gloo", datetime.timedelta(hours=12))
    for rank, expected in ((0, [made, "block", ("barrier", "group")]), (1, [made, ("barrier", "group"), "block"])):
        calls.clear()
        with World(rank=rank, size=2, local_rank=rank, local_size=2).main_first():
            calls.append("block")
        assert calls == expected
    with World(rank=0, size=2).main_first(False):
        pass
    assert calls == expected  # nothing more


# --- two and three processes ---


def collectives(folder: Path) -> dict[str, Any]:
    world = World.from_env()
    rank, size = world.rank, world.size
    summed: list[Tensor] = [torch.full((2, 3), float(rank)), torch.tensor(rank + 1), torch.zeros(0)]
    world.all_reduce(summed)
    sent: list[Tensor] = [torch.full((3,), rank), torch.tensor([rank == 0]), torch.tensor(rank / 7)]
    world.broadcast(sent)
    rows = world.shard(size + 1)
    own = torch.full((rows.stop - rows.start, 2), float(rank))
    with world.main_first():
        is_first = not list(folder.glob("order-0"))
        (folder / f"order-{rank}").touch()
    return {
        "summed": summed,
        "sent": sent,
        "gathered": world.all_gather(own, rows, size + 1),
        "numbers": world.of_main([rank + 0.1, 1e300, float("nan") if rank else float("inf")]),
        "text": [world.of_main(f"from {rank}" * 1000), world.of_main("x" if rank else "")],
        "state": world.of_main({"next": (rank, 2), "weights": torch.arange(3.0) + rank}),
        "any": [world.any_rank(rank == size - 1), world.any_rank(False)],
        "is_first": is_first,
    }


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_collective_operations(tmp_path: Path, size: int) -> None:
    results = [result["collectives"] for result in run_together(size, tmp_path, [collectives])]
    total = size * (size - 1) // 2
    owners = [rank for rank in range(size) for _ in range(size + 1)[World(rank=rank, size=size).shard(size + 1)]]
    for result in results:
        assert [value.tolist() for value in result["summed"]] == [[[float(total)] * 3] * 2, total + size, []]
        assert [value.tolist() for value in result["sent"]] == [[0, 0, 0], [True], 0.0]
        assert result["gathered"].tolist() == [[float(rank)] * 2 for rank in owners]
        assert result["numbers"] == [0.1, 1e300, float("inf")]
        assert result["text"] == ["from 0" * 1000, ""]
        assert (result["state"]["next"], result["state"]["weights"].tolist()) == ((0, 2), [0.0, 1.0, 2.0])
        assert result["any"] == [True, False]
    assert [result["is_first"] for result in results] == [rank == 0 for rank in range(size)]
