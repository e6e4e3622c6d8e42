"""Checks that processes agree, with worlds in which the other process is simulated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from small_runs import reference_model
from torch import Tensor, nn

from pairsim import TrainConfig
from pairsim.errors import DataError, RunError
from pairsim.training.distributed.world import World, check_same

T = TypeVar("T")
FINGERPRINT = {"num_images": 3, "labels": "abc"}
STATE = {"step": 3, "next": (1, 2), "weights": torch.arange(3.0)}


class Simulated(World):
    """One of two processes. Collects what is compared, and answers as the other process would."""

    digests: list[int]
    unlike: int | None
    received: Any

    def __init__(self, rank: int = 0, *, unlike: int | None = None, received: Any = None) -> None:
        super().__init__(rank=rank, size=2)
        vars(self).update(digests=[], unlike=unlike, received=received)

    def all_gather(self, own: Tensor, rows: slice, total: int) -> Tensor:
        assert (rows, total, own.shape) == (slice(0, 1), 2, (1,))
        self.digests.append(int(own))
        return torch.cat((own, own + (len(self.digests) == self.unlike)))

    def of_main(self, value: T) -> T:
        received: T = value if self.is_main else self.received
        return received


def digests(fingerprint: dict[str, Any] = FINGERPRINT, model: nn.Module | None = None, **settings: Any) -> list[int]:
    world = Simulated()
    check_same(world, fingerprint, TrainConfig(**settings), model or reference_model())
    return world.digests


@pytest.mark.parametrize(
    ("number", "error", "what"),
    [(1, DataError, "images and labels"), (2, ValueError, "settings"), (3, ValueError, "net")],
)
def test_a_difference_names_what_and_which_ranks(number: int, error: type[Exception], what: str) -> None:
    with pytest.raises(error, match=f"Expected the same {what} in all 2 processes, found others in rank 1"):
        check_same(Simulated(unlike=number), FINGERPRINT, TrainConfig(), reference_model())


def test_data_settings_and_shapes_are_compared_and_weights_are_not() -> None:
    data, settings, net = digests()
    other = reference_model()
    torch.nn.init.zeros_(other.projection.weight)
    assert digests(model=other) == [data, settings, net]
    assert digests({"labels": "abc", "num_images": 3}) == [data, settings, net]
    assert digests({**FINGERPRINT, "num_images": 4}) != [data, settings, net]
    assert digests(seed=1)[1] != settings
    assert digests(model=reference_model(12))[2] != net


def test_folder_and_progress_may_differ(tmp_path: Path) -> None:
    assert digests(out=tmp_path, progress=True) == digests()


def test_one_process_compares_nothing() -> None:
    check_same(World(), {"not JSON": object()}, TrainConfig(), reference_model())


def fail() -> dict[str, Any] | None:
    raise RunError("Expected a run folder.")


@pytest.mark.parametrize("world", [World(), Simulated()])
def test_rank_0_reads(world: World) -> None:
    assert world.call_on_main(lambda: STATE) is STATE
    assert world.call_on_main(lambda: None) is None
    with pytest.raises(RunError, match=r"Expected a run folder\."):
        world.call_on_main(fail)


def test_other_ranks_receive_the_state_or_the_error() -> None:
    def receive(state: dict[str, Any] | None, message: str | None = None) -> dict[str, Any] | None:
        read: Callable[[], None] = pytest.fail  # is not called
        return Simulated(rank=1, received=(state, message)).call_on_main(read)

    assert receive(STATE) is STATE
    assert receive(None) is None
    with pytest.raises(RunError, match=r"Expected a run folder\."):
        receive(None, "Expected a run folder.")
