"""Frozen batch norms that are computed by the layers before them."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer
from pairsim.data import ImageTensors
from pairsim.training.optimize.frozen_norms import FrozenNorms
from pairsim.training.optimize.optimizers import FrozenParts


def make_net() -> nn.Sequential:
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 4, 3, groups=2, padding=1, padding_mode="reflect"),
        nn.BatchNorm2d(4, affine=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 36, 8),
        nn.BatchNorm1d(8),
        nn.Dropout(0.2),
    )
    generator = torch.Generator().manual_seed(0)
    for module in net:
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for name, value in [*module.named_parameters(), *module.named_buffers()]:
                if value.is_floating_point():
                    value.data = torch.rand(value.shape, generator=generator) + (name == "running_var")
    return net


def make_model(net: nn.Module | None = None) -> SimilarityModel:
    torch.manual_seed(0)
    model = SimilarityModel(EmbeddingNet(net or make_net(), in_channels=1, image_size=8))
    return model.double()


def gradients(model: SimilarityModel, freeze: str, *, folds: bool) -> tuple[int, dict[str, Tensor]]:
    frozen = FrozenParts(model, freeze)
    images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    model.train()
    frozen.set_eval(model)
    count = 0
    with frozen.without_gradients(model):
        torch.manual_seed(3)
        if folds:
            with FrozenNorms(model, frozen).folded(images) as count:
                model.embed(images)[:, 0].sum().backward()
        else:
            model.embed(images)[:, 0].sum().backward()
    return count, {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


@pytest.mark.parametrize(("freeze", "count"), [("batch-norm", 3), ("1", 1), ("0,1,3", 1), ("1,8", 2), ("7", 0)])
def test_gradients_and_statistics_are_those_of_separate_batch_norms(freeze: str, count: int) -> None:
    model = make_model()
    plain = copy.deepcopy(model)
    found, computed = gradients(model, freeze, folds=True)
    _, expected = gradients(plain, freeze, folds=False)
    assert found == count
    assert computed.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(computed[name], value, rtol=1e-9, atol=1e-12)
    for (name, value), other in zip(model.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(value, other, msg=name)


def test_the_net_is_as_before_afterwards_also_after_an_error() -> None:
    model = make_model()
    frozen = FrozenParts(model, "batch-norm")
    before = [set(vars(module)) for module in model.modules()]
    folded = FrozenNorms(model, frozen).folded(torch.rand(2, 1, 8, 8))
    with folded:
        assert "forward" in vars(model.get_submodule("embedding_net.backbone.0"))
    with pytest.raises(ValueError, match="channels"), FrozenNorms(model, frozen).folded(torch.rand(2, 1, 8, 8)):
        model.embed(torch.rand(2, 3, 8, 8))
    assert [set(vars(module)) for module in model.modules()] == before


class Shared(nn.Module):
    """Uses the output of a convolution twice, so that its batch norm cannot be part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        values = self.conv(images)
        return torch.flatten(self.norm(values) + values, 1)


class Uncopied(nn.Sequential):
    def __deepcopy__(self, _: Any) -> nn.Module:
        raise RuntimeError


def hooked(net: nn.Module) -> nn.Module:
    net.register_forward_hook(lambda *_: None)
    return net


@pytest.mark.parametrize("net", [Shared(), Uncopied(*make_net()), hooked(make_net())], ids=["shared", "copy", "hook"])
def test_other_nets_train_as_they_are(net: nn.Module) -> None:
    model = make_model(net)
    with FrozenNorms(model, FrozenParts(model, "batch-norm")).folded(torch.rand(2, 1, 8, 8)) as count:
        assert count == 0


@pytest.mark.parametrize("rho", [0.0, 0.05])
def test_training_gives_the_same_model_except_for_rounding(rho: float, monkeypatch: pytest.MonkeyPatch) -> None:
    images = ImageTensors(torch.randint(0, 256, (40, 8, 8), dtype=torch.uint8), torch.arange(40).numpy() % 4)
    first = make_model().float()
    second = copy.deepcopy(first)
    config = TrainConfig(
        epochs=2, batch_size=20, freeze="batch-norm", precision="fp32", device="cpu", sam_rho=rho, optimizer="sgd"
    )
    Trainer(first, config, train=images, val=images).fit()
    monkeypatch.setattr(FrozenNorms, "_found", lambda *_: [])
    Trainer(second, config, train=images, val=images).fit()
    for (name, value), other in zip(first.named_parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-3, atol=1e-5, msg=name)
