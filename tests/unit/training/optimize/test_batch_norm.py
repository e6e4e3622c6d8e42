from __future__ import annotations

import torch
from torch import nn

from pairsim.training.optimize.batch_norm import reestimate_batch_norm


class Net(nn.Sequential):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.dropout = nn.Dropout(0.5)


def test_statistics_are_the_means_over_the_batches() -> None:
    model = Net().train()
    batches = [torch.randn(8, 1, 6, 6) * scale for scale in (1.0, 2.0, 3.0)]
    reestimate_batch_norm(model, batches, model)
    features = [model.conv(batch).detach().transpose(0, 1).flatten(1) for batch in batches]
    torch.testing.assert_close(model.norm.running_mean, torch.stack([f.mean(dim=1) for f in features]).mean(dim=0))
    torch.testing.assert_close(model.norm.running_var, torch.stack([f.var(dim=1) for f in features]).mean(dim=0))


def test_modes_and_momenta_stay() -> None:
    model = Net().train()
    model.norm.momentum = 0.3
    model.dropout.eval()
    reestimate_batch_norm(model, [torch.randn(4, 1, 6, 6)], model)
    assert model.norm.momentum == 0.3
    assert [module.training for module in model] == [True, True, False]


def test_without_batches_or_norms_nothing_changes() -> None:
    model = Net()
    assert model.norm.running_mean is not None
    model.norm.running_mean.fill_(7.0)
    reestimate_batch_norm(model, [], model)
    assert model.norm.running_mean.tolist() == [7.0] * 3
    calls: list[int] = []
    reestimate_batch_norm(nn.Linear(2, 2), [torch.zeros(1, 2)], lambda images: calls.append(len(images)))
    assert calls == []


def test_weights_stay_and_gradients_are_not_kept() -> None:
    model = Net()
    before = {name: value.clone() for name, value in model.named_parameters()}
    reestimate_batch_norm(model, [torch.randn(4, 1, 6, 6)], model)
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name])
        assert value.grad is None


def test_norms_that_are_skipped_stay() -> None:
    model = Net()
    reestimate_batch_norm(model, [torch.randn(4, 1, 6, 6)], model, skip=lambda name: name == "norm")
    assert model.norm.running_mean is not None
    assert model.norm.running_mean.tolist() == [0.0] * 3
