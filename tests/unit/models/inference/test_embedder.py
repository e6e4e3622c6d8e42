"""One or two images run through the net itself, more through its copy, and the mode never changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_models import model_with_statistics
from torch import Tensor, nn

from pairsim import SimilarityModel
from pairsim.models.inference import folding, inference_nets


@pytest.fixture
def model() -> SimilarityModel:
    return model_with_statistics()


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The nets of which a copy was made."""
    made: list[nn.Module] = []
    original = folding.inference_copy

    def counting(net: nn.Module, *args: Any, **settings: Any) -> nn.Module | None:
        made.append(net)
        return original(net, *args, **settings)

    monkeypatch.setattr(inference_nets, "inference_copy", counting)
    return made


IMAGES = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_a_pair_does_not_pay_for_a_copy(model: SimilarityModel, copies: list[nn.Module]) -> None:
    with torch.no_grad():
        expected = model.embed(IMAGES[:2])
    assert torch.equal(model.encode(IMAGES[:2]), expected)
    assert torch.equal(model.encode(IMAGES[:1]), model.embed(IMAGES[:1]).detach())
    model.verify(IMAGES[:1], IMAGES[1:2])
    model.predict_proba(IMAGES[:1], IMAGES[1:2])
    assert copies == []
    model.encode(IMAGES[:3])
    assert copies == [model.embedding_net]
    assert torch.equal(model.encode(IMAGES[:2]), expected)  # whether there is a copy or not


def test_more_images_of_unknown_number_and_16_bits_use_a_copy(model: SimilarityModel, copies: list[nn.Module]) -> None:
    model.encode_batches(iter(IMAGES.split(2)))
    model.encode(IMAGES[:1], precision="bf16")
    assert len(copies) == 2


def test_in_training_mode_a_pair_uses_a_copy_and_leaves_the_mode(
    model: SimilarityModel, copies: list[nn.Module]
) -> None:
    expected = model.encode(IMAGES[:2])
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    torch.testing.assert_close(model.encode(IMAGES[:2]), expected, rtol=0, atol=1e-6)
    assert copies == [model.embedding_net]
    assert all(module.training for module in model.modules())
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def test_weights_in_another_format(model: SimilarityModel) -> None:
    expected = model.encode(IMAGES[:2])
    model.double()
    assert model.encode(IMAGES[:2]).dtype == torch.float64
    torch.testing.assert_close(model.encode(IMAGES[:2]).float(), expected, rtol=0, atol=1e-6)
    model.bfloat16()
    assert float((model.encode(IMAGES[:2]) - expected).abs().max()) < 0.05


def test_a_net_that_does_not_scale_to_unit_length() -> None:
    model = SimilarityModel(nn.Sequential(nn.Flatten(), nn.Linear(64, 3))).eval()
    for count in (2, 5):
        lengths = model.encode(IMAGES[:count]).norm(dim=1)
        torch.testing.assert_close(lengths, torch.ones(count), rtol=0, atol=1e-6)


def test_hooks_run_in_a_pair_too(model: SimilarityModel) -> None:
    calls: list[Tensor] = []
    handle = model.embedding_net.register_forward_hook(lambda *values: calls.append(values[2]))
    model.verify(IMAGES[:1], IMAGES[1:2])
    handle.remove()
    assert [len(output) for output in calls] == [2]
