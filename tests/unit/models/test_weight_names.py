"""Names in state dicts do not depend on wrappers."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from small_models import small_model
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from pairsim import EmbeddingNet, SimilarityModel
from pairsim.errors import RunError
from pairsim.models.weight_names import check_kinds, check_weights, unwrapped


def compiled(module: nn.Module) -> nn.Module:
    wrapper = torch.compile(module)
    assert isinstance(wrapper, nn.Module)
    return wrapper


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "plain": lambda net: net,
    "compiled": compiled,
    "data parallel": nn.DataParallel,
    "averaged": AveragedModel,
    "compiled data parallel": lambda net: nn.DataParallel(compiled(net)),
}
PAIRS = [(one, other) for one in WRAPPERS for other in WRAPPERS]


def net(seed: int) -> EmbeddingNet:
    torch.manual_seed(seed)
    return EmbeddingNet(image_size=8, embedding_dim=8).eval()


def inner_model(seed: int, wrapper: str) -> SimilarityModel:
    return SimilarityModel(WRAPPERS[wrapper](net(seed))).eval()


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_names_are_plain_with_a_wrapper_inside(wrapper: str) -> None:
    state = inner_model(0, wrapper).state_dict()
    plain = SimilarityModel(net(0)).state_dict()
    assert set(plain) == set(state)
    assert all(torch.equal(state[name], value) for name, value in plain.items())


@pytest.mark.parametrize(("saved", "loaded"), PAIRS)
def test_any_wrapper_loads_the_weights_of_any_other(saved: str, loaded: str) -> None:
    model = inner_model(2, loaded)
    model.load_state_dict(inner_model(1, saved).state_dict())
    for name, value in net(1).state_dict().items():
        assert torch.equal(unwrapped(model.embedding_net).state_dict()[name], value)


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("strict", [True, False])
def test_the_state_dict_of_a_wrapped_model_fits_the_model(wrapper: str, strict: bool) -> None:
    state = WRAPPERS[wrapper](small_model(seed=1)).state_dict()
    model = small_model(seed=2)
    model.load_state_dict(state, strict=strict)
    expected = small_model(seed=1).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_the_state_dict_of_a_wrapped_net_fits_the_net(wrapper: str) -> None:
    own = net(2)
    own.load_state_dict(WRAPPERS[wrapper](net(1)).state_dict())
    assert all(torch.equal(value, net(1).state_dict()[name]) for name, value in own.state_dict().items())


def test_wrappers_deep_inside() -> None:
    def build(seed: int, wrapped: bool) -> SimilarityModel:
        torch.manual_seed(seed)
        backbone = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
        backbone[0] = nn.DataParallel(backbone[0]) if wrapped else backbone[0]
        return SimilarityModel(EmbeddingNet(backbone, in_channels=1, image_size=8, embedding_dim=4))

    one, other = build(1, True), build(2, False)
    assert set(one.state_dict()) == set(other.state_dict())
    other.load_state_dict(one.state_dict())
    weight = one.get_parameter("embedding_net.backbone.0.module.weight")
    assert torch.equal(other.get_parameter("embedding_net.backbone.0.weight"), weight)


def test_a_part_that_is_called_module_keeps_its_name() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Linear(64, 4)

        def forward(self, images: Tensor) -> Tensor:
            return self.module(images.flatten(1))  # type: ignore[no-any-return]

    one, other = SimilarityModel(Net()), SimilarityModel(Net())
    assert "embedding_net.module.weight" in one.state_dict()
    other.load_state_dict(one.state_dict())
    assert torch.equal(
        other.state_dict()["embedding_net.module.weight"], one.state_dict()["embedding_net.module.weight"]
    )


def test_foreign_names_are_an_error_even_if_not_strict() -> None:
    state = {f"model.{name}": value for name, value in small_model().state_dict().items()}
    with pytest.raises(RuntimeError, match=r"Expected weights of SimilarityModel, found none among \d+ names, such as"):
        small_model().load_state_dict(state, strict=False)
    with pytest.raises(RuntimeError, match="Expected weights of EmbeddingNet, found none"):
        net(0).load_state_dict(small_model().state_dict(), strict=False)
    part = {"projection.weight": torch.ones(1, 1)}
    model = small_model()
    model.load_state_dict(part, strict=False)
    assert model.projection.weight.item() == 1.0


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrapped_models_are_saved_and_load_again(wrapper: str, tmp_path: object) -> None:
    model = inner_model(3, wrapper)
    model.save_pretrained(str(tmp_path))
    images = torch.rand(3, 1, 8, 8)
    loaded = SimilarityModel.from_pretrained(str(tmp_path))
    assert torch.allclose(loaded.encode(images), SimilarityModel(net(3)).encode(images), atol=1e-6)
    again = SimilarityModel.from_pretrained(str(tmp_path), embedding_net=WRAPPERS[wrapper](net(4)))
    assert all(torch.equal(v, net(3).state_dict()[k]) for k, v in unwrapped(again.embedding_net).state_dict().items())


def test_weights_that_are_not_finite_are_named() -> None:
    module = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    module.register_buffer("mask", torch.tensor([-torch.inf]))
    check_weights(module)
    for part, value in (("0.bias", torch.nan), ("0.weight", torch.inf), ("1.running_mean", torch.nan)):
        damaged = copy.deepcopy(module)
        damaged.load_state_dict({part: torch.full_like(module.state_dict()[part], value)}, strict=False)
        with pytest.raises(
            ValueError, match=rf"Expected finite weights of the model, found NaN or infinity in {part}: "
        ):
            check_weights(damaged)


@pytest.mark.parametrize(
    ("own", "given", "fits"),
    [
        (torch.float32, torch.float16, True),
        (torch.bfloat16, torch.float64, True),
        (torch.int64, torch.int64, True),
        (torch.int64, torch.float32, False),
        (torch.float32, torch.int32, False),
        (torch.float32, torch.complex64, False),
        (torch.float32, torch.bool, False),
    ],
)
def test_kinds_of_numbers(own: torch.dtype, given: torch.dtype, fits: bool) -> None:
    weights, module = {"w": torch.zeros(1, dtype=given), "unknown": torch.zeros(1)}, {"w": torch.zeros(1, dtype=own)}
    if fits:
        check_kinds(weights, module, "file.pt")
        return
    with pytest.raises(RunError, match=rf"^Expected w in file\.pt as {own}, found {given}\. Save weights of the model"):
        check_kinds(weights, module, "file.pt")
