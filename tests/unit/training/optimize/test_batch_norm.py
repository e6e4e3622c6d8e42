from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from small_runs import dropout_model
from torch import Tensor, nn

from pairsim import SimilarityModel, TrainConfig
from pairsim.errors import DeviceError
from pairsim.training.distributed.world import World
from pairsim.training.optimize.batch_norm import (
    processes_note,
    reestimate_batch_norm,
    share_buffers,
    synchronised,
    syncs_batch_norm,
)


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


def test_modes_and_momenta_do_not_change() -> None:
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


def test_weights_and_gradients_do_not_change() -> None:
    model = Net()
    before = {name: value.clone() for name, value in model.named_parameters()}
    reestimate_batch_norm(model, [torch.randn(4, 1, 6, 6)], model)
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name])
        assert value.grad is None


def test_skipped_norms_do_not_change() -> None:
    model = Net()
    reestimate_batch_norm(model, [torch.randn(4, 1, 6, 6)], model, skip=lambda name: name == "norm")
    assert model.norm.running_mean is not None
    assert model.norm.running_mean.tolist() == [0.0] * 3


def test_batch_norms_are_replaced_and_restored() -> None:
    model = dropout_model()
    [(name, norm)] = [(name, part) for name, part in model.named_modules() if isinstance(part, nn.BatchNorm2d)]
    names = model.state_dict().keys()
    with synchronised([model], skip=lambda other: other == name):
        assert model.get_submodule(name) is norm
    with synchronised([model]):
        inside = model.get_submodule(name)
        assert type(inside) is nn.SyncBatchNorm
        assert inside.weight is norm.weight
        assert inside.running_mean is norm.running_mean
        assert model.state_dict().keys() == names
        model.eval()
    assert model.get_submodule(name) is norm
    assert not norm.training


def test_batch_norm_is_synchronised_on_gpus_only() -> None:
    several, config = World(size=2, device=torch.device("cuda", 0)), TrainConfig()
    assert syncs_batch_norm(dropout_model(), config, several)
    assert not syncs_batch_norm(SimilarityModel(nn.Flatten()), config, several)
    assert not syncs_batch_norm(dropout_model(), config, World(size=2))
    with pytest.raises(DeviceError, match="Expected GPUs for sync_batch_norm=True, found the device cpu"):
        syncs_batch_norm(dropout_model(), TrainConfig(sync_batch_norm=True), World(size=2))


class Doubling(World):
    """Two processes with the same values; collects what is broadcast."""

    sent: list[Tensor]

    def __init__(self) -> None:
        super().__init__(size=2)
        vars(self)["sent"] = []

    def all_reduce(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            tensor.mul_(2).add_(4)  # the other process has 4 more

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        self.sent.extend(tensors)


def test_statistics_are_averaged_and_other_buffers_are_broadcast() -> None:
    net, other = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2)), nn.BatchNorm1d(3)
    net.register_buffer("own", torch.tensor([7]))
    world = Doubling()
    share_buffers([net, other], world, skip=lambda name: name == "1")
    first, second = net
    assert isinstance(first, nn.BatchNorm1d)
    assert isinstance(second, nn.BatchNorm1d)
    assert first.running_mean is not None
    assert first.running_var is not None
    assert (first.running_mean.tolist(), first.running_var.tolist()) == ([2.0, 2.0], [3.0, 3.0])
    assert second.running_mean is not None
    assert second.running_mean.tolist() == [0.0, 0.0]
    assert other.running_mean is not None
    assert other.running_mean.tolist() == [2.0] * 3
    expected = [net.own, first.num_batches_tracked, *second.buffers(), other.num_batches_tracked]
    assert {id(value) for value in world.sent} == {id(value) for value in expected}


def test_one_process_shares_nothing() -> None:
    net = nn.BatchNorm1d(2)
    before = [value.clone() for value in net.buffers()]
    share_buffers([net], World())
    assert all(torch.equal(a, b) for a, b in zip(net.buffers(), before, strict=True))


def test_the_note_says_where_statistics_come_from() -> None:
    world, model = World(size=3), dropout_model()
    line = "3 processes train together, each on its part of every batch."
    assert processes_note(world, False, nn.Flatten()) == line
    assert processes_note(world, True, model) == f"{line} Batch norm takes its statistics over all parts."
    assert processes_note(world, False, model).startswith(f"{line} Batch norm takes its statistics of each part, so")
