"""A copy for inference never outlives the weights that it was made from, and is used for more than a pair."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_models import model_with_statistics, small_model
from torch import Tensor, nn

from pairsim import SimilarityModel
from pairsim._common.choices import PrecisionName
from pairsim._common.precision import inference_dtype
from pairsim.models.inference import folding, inference_nets
from pairsim.models.inference.inference_nets import InferenceNets, default_batch_size

IMAGES = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def reference(model: SimilarityModel) -> Tensor:
    """Embeddings from the net itself."""
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        return model.embed(IMAGES)


def optimizer_step(model: SimilarityModel) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    model.train()
    model(IMAGES, IMAGES.flip(0)).sum().backward()
    optimizer.step()


def train_mode_forward(model: SimilarityModel) -> None:
    with torch.no_grad():
        model.train().embed(5 * IMAGES + 3)  # moves the running statistics only


def load(model: SimilarityModel) -> None:
    model.load_state_dict(model_with_statistics(seed=1).state_dict())


def load_by_assignment(model: SimilarityModel) -> None:
    model.load_state_dict(model_with_statistics(seed=1).state_dict(), assign=True)


def edit_in_place(model: SimilarityModel) -> None:
    with torch.no_grad():
        model.embedding_net.get_parameter("conv.0.weight").neg_()


def edit_in_inference_mode(model: SimilarityModel) -> None:
    with torch.inference_mode():
        model.embedding_net.get_parameter("fc.1.bias")[2] += 3


def edit_data(model: SimilarityModel) -> None:
    model.embedding_net.get_parameter("conv.4.weight").data.mul_(torch.rand(64, 1, 1, 1))


def prune_a_filter(model: SimilarityModel) -> None:
    model.embedding_net.get_parameter("conv.4.weight").data[3] = 5.0


def edit_a_bias(model: SimilarityModel) -> None:
    model.embedding_net.get_parameter("conv.0.bias").data[3] += 4.0


def edit_a_mean(model: SimilarityModel) -> None:
    model.embedding_net.get_buffer("conv.1.running_mean").data[5] += 2.0


def set_data(model: SimilarityModel) -> None:
    """Twice, so that the last may come to lie where the first was."""
    for _ in range(2):
        weight = model.embedding_net.get_parameter("fc.1.weight")
        weight.data = weight.data * 0.5 + torch.rand_like(weight) * 0.1


def edit_buffer(model: SimilarityModel) -> None:
    model.embedding_net.get_buffer("conv.1.running_var").fill_(30.0)


def replace_parameter(model: SimilarityModel) -> None:
    model.embedding_net.get_submodule("fc.1").weight = nn.Parameter(torch.randn(8, 256))


def replace_module(model: SimilarityModel) -> None:
    model.embedding_net.set_submodule("conv.3", nn.GELU())


def replace_a_forward(model: SimilarityModel) -> None:
    norm = model.embedding_net.get_submodule("conv.1")
    norm.forward = lambda images: images.square()


def change_setting(model: SimilarityModel) -> None:
    norm = model.embedding_net.get_submodule("conv.1")
    assert isinstance(norm, nn.BatchNorm2d)
    norm.eps = 0.5


CHANGES = [
    optimizer_step, train_mode_forward, load, load_by_assignment, edit_in_place, edit_in_inference_mode, edit_data,
    prune_a_filter, edit_a_bias, edit_a_mean, set_data, edit_buffer, replace_parameter, replace_module, change_setting,
    replace_a_forward,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_change_goes_unnoticed(change: Callable[[SimilarityModel], None], precision: PrecisionName) -> None:
    model = model_with_statistics()
    before = model.encode(IMAGES, precision=precision)
    change(model)
    after = model.encode(IMAGES, precision=precision)
    tolerance = 1e-5 if precision == "fp32" else 0.03
    torch.testing.assert_close(after, reference(model), rtol=0, atol=tolerance)
    assert float((after - before).abs().max()) > (1e-3 if precision == "fp32" else 0.0)


class WithAttributes(nn.Module):
    """A net whose result depends on attributes that are no weights."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
        self.act = torch.tanh
        self.scales = [1.0, -2.0, 0.5, 3.0]
        self.names = {"power": 1}
        self.shift = torch.zeros(4)

    def forward(self, images: Tensor) -> Tensor:
        means = self.act(self.body(images)).mean(dim=(2, 3)) ** self.names["power"]
        return means * torch.tensor(self.scales) + self.shift


ATTRIBUTES: dict[str, Callable[[Any], None]] = {
    "another function": lambda net: setattr(net, "act", torch.cos),
    "a number in a list": lambda net: net.scales.__setitem__(1, 2.0),
    "a number in a dictionary": lambda net: net.names.__setitem__("power", 2),
    "values of a tensor": lambda net: net.shift.add_(torch.arange(4)),
    "another tensor": lambda net: setattr(net, "shift", torch.arange(4)),
    "a method of this object": lambda net: setattr(net, "forward", lambda images: images.flatten(1)[:, :4]),
}


@pytest.mark.parametrize("change", ATTRIBUTES.values(), ids=ATTRIBUTES)
def test_no_change_of_an_attribute_goes_unnoticed(change: Callable[[Any], None]) -> None:
    model = SimilarityModel(WithAttributes()).eval()
    before = model.encode(IMAGES)
    torch.testing.assert_close(model.encode(IMAGES), before, rtol=0, atol=0)
    change(model.embedding_net)
    after = model.encode(IMAGES)
    torch.testing.assert_close(after, reference(model), rtol=0, atol=1e-6)
    assert float((after - before).abs().max()) > 0.01


def test_change_of_number_format() -> None:
    model = model_with_statistics()
    before = model.encode(IMAGES)
    model.double()
    after = model.encode(IMAGES.double())
    assert after.dtype == torch.float64
    with torch.no_grad():
        torch.testing.assert_close(after, model.embed(IMAGES.double()), rtol=0, atol=1e-13)
    torch.testing.assert_close(after.float(), before, rtol=0, atol=1e-6)
    model.to(torch.bfloat16)
    assert float((model.encode(IMAGES) - before).abs().max()) < 0.05
    model.float()
    torch.testing.assert_close(model.encode(IMAGES), reference(model), rtol=0, atol=1e-6)


def test_change_of_device() -> None:
    model = model_with_statistics()
    model.encode(IMAGES)
    model.to("meta")
    assert model.encode(IMAGES).device.type == "meta"


def test_a_copy_is_kept_as_long_as_nothing_changes() -> None:
    net = model_with_statistics().embedding_net
    nets = InferenceNets()
    first = nets.get(net, IMAGES, None)
    assert first.in_eval_mode
    assert nets.get(net, IMAGES[:1], None) is first
    low = nets.get(net, IMAGES, torch.bfloat16)
    assert low is not first
    assert nets.get(net, IMAGES, None) is first
    net.train()
    net.eval()
    assert nets.get(net, IMAGES, torch.bfloat16) is low
    edit_in_place(SimilarityModel(net))
    assert nets.get(net, IMAGES, None) is not first


def test_images_that_do_not_fit_do_not_stand_in_the_way_of_a_copy() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2 * 6 * 6, 3)).eval()
    nets = InferenceNets()
    large = torch.randn(2, 1, 9, 9)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            nets.get(net, large, None)(large)
    assert nets.get(net, IMAGES, None).in_eval_mode


def test_the_model_does_not_show_that_there_are_copies() -> None:
    model = model_with_statistics()
    names = list(model.state_dict())
    modules = len(list(model.modules()))
    model.train()
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    for precision in ("fp32", "bf16"):
        model.encode(IMAGES, precision=precision)
    assert list(model.state_dict()) == names
    assert len(list(model.modules())) == modules
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_copies_of_a_model_have_their_own() -> None:
    model = model_with_statistics()
    before = model.encode(IMAGES)
    size = len(pickle.dumps(model_with_statistics()))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        edit_in_place(other)
        torch.testing.assert_close(other.encode(IMAGES), reference(other), rtol=0, atol=1e-6)
        assert torch.equal(model.encode(IMAGES), before)
    # a copy for inference would double it; PyTorch writes addresses of tensors as decimal numbers of any length
    assert len(pickle.dumps(model)) == pytest.approx(size, rel=0.01)


def test_model_made_in_inference_mode() -> None:
    with torch.inference_mode():
        model = small_model()
        model.encode(IMAGES)
        model.embedding_net.get_parameter("fc.1.bias")[2] += 3
        torch.testing.assert_close(model.encode(IMAGES), model.embed(IMAGES), rtol=0, atol=1e-6)


def test_weights_that_are_not_numbers() -> None:
    model = model_with_statistics()
    with torch.no_grad():
        model.embedding_net.get_parameter("fc.1.bias").fill_(torch.nan)
    with pytest.raises(ValueError, match=r"found NaN or infinity in embedding_net\.fc\.1\.bias"):
        model.encode(IMAGES)
    load(model)
    torch.testing.assert_close(model.encode(IMAGES), reference(model), rtol=0, atol=1e-6)


def test_precisions() -> None:
    cpu = torch.device("cpu")
    assert inference_dtype("fp32", cpu) is None
    assert inference_dtype("bf16", cpu) is torch.bfloat16
    assert inference_dtype("auto", cpu) in (None, torch.bfloat16)
    assert inference_dtype("auto", torch.device("mps")) is None
    with pytest.raises(ValueError, match="Expected precision to be one of auto, fp32, bf16, fp16, got 'fp8'"):
        inference_dtype("fp8", cpu)  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", ["auto", "bf16", "fp16"])
def test_similarities_in_16_bits(precision: PrecisionName) -> None:
    model = SimilarityModel()
    with torch.no_grad():
        model.embed(torch.randn(64, 1, 28, 28))
    images = torch.randn(40, 1, 28, 28)
    exact, found = model.encode(images), model.encode(images, precision=precision)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.norm(dim=1), torch.ones(40), rtol=0, atol=1e-5)
    torch.testing.assert_close(found @ found.T, exact @ exact.T, rtol=0, atol=0.01)


def test_batch_sizes() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert default_batch_size(cpu, (28, 28)) == 256
    assert default_batch_size(cpu, (4, 4)) == 256
    assert default_batch_size(cpu, (4000, 4000)) == 4
    assert default_batch_size(gpu, (28, 28)) == 2048
    assert default_batch_size(gpu, (224, 224)) == 256


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
