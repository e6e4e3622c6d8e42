from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from pairsim.data.generators import seeded_generators


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002


def fail_inside() -> None:
    with seeded_generators(6):
        draws()
        raise ValueError("inside")


def test_all_generators_are_seeded_inside_and_restored_afterwards() -> None:
    with seeded_generators(2**63 + 5):
        first = draws()
    states = torch.get_rng_state(), random.getstate(), repr(np.random.get_state())  # noqa: NPY002
    with seeded_generators(2**63 + 5):
        assert draws() == first
    with pytest.raises(ValueError, match="inside"):
        fail_inside()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert repr(np.random.get_state()) == states[2]  # noqa: NPY002


@pytest.mark.gpu
def test_a_gpu_is_seeded_only_where_asked() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    before = torch.cuda.get_rng_state(device)
    with seeded_generators(1):
        assert torch.equal(torch.cuda.get_rng_state(device), before)
    with seeded_generators(1, device):
        first = torch.rand(3, device=device)
    with seeded_generators(1, device):
        assert torch.equal(torch.rand(3, device=device), first)
    assert torch.equal(torch.cuda.get_rng_state(device), before)
