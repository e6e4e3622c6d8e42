"""Training with frozen parts and two learning rates: frozen parts do not change by a bit, the rest learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_runs import backbone_model, colour_images
from torch import Tensor, nn

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer
from pairsim.training import Callback, EpochRecord


def trained(model: SimilarityModel, callbacks: tuple[Callback, ...] = (), **settings: Any) -> Trainer:
    base: dict[str, Any] = {"epochs": 1, "batch_size": 8, "precision": "fp32", "progress": False}
    trainer = Trainer(model, TrainConfig(**{**base, **settings}), train=colour_images(), callbacks=callbacks)
    trainer.fit()
    return trainer


def changed(model: SimilarityModel, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def copied(model: SimilarityModel) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("settings", [{}, {"ema_decay": 0.5, "batch_norm_batches": 2}, {"grad_clip": 1.0, "epochs": 2}])
@pytest.mark.parametrize("make", [backbone_model, lambda: SimilarityModel(EmbeddingNet("resnet18", image_size=16))])
def test_a_frozen_backbone_stays_bit_for_bit_and_the_head_learns(make: Any, settings: dict[str, Any]) -> None:
    model = make()
    before = copied(model)
    trained(model, freeze="backbone", **settings)
    found = changed(model, before)
    assert {"embedding_net.head.weight", "embedding_net.head.bias"} <= found
    assert not [name for name in found if name.startswith("embedding_net.backbone.")]
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_parts_are_frozen_by_whole_names() -> None:
    model = backbone_model()
    before = copied(model)
    trained(model, freeze="conv1, bn1")
    inside = {name.removeprefix("embedding_net.backbone.").partition(".")[0] for name in changed(model, before)}
    assert {"conv10", "bn2"} <= inside  # conv10 begins with conv1, but is another part
    assert not {"conv1", "bn1"} & inside


def test_one_parameter_is_frozen_by_its_name() -> None:
    model = backbone_model()
    before = copied(model)
    trained(model, freeze="bn1.weight")
    found = changed(model, before)
    assert "embedding_net.backbone.bn1.weight" not in found
    assert {"embedding_net.backbone.bn1.bias", "embedding_net.backbone.bn1.running_mean"} <= found


def test_parts_of_the_reference_network() -> None:
    model = SimilarityModel(EmbeddingNet(in_channels=3, image_size=16))
    before = copied(model)
    trained(model, freeze="conv")
    found = changed(model, before)
    assert found
    assert not [name for name in found if name.startswith("embedding_net.conv.")]


def test_no_gradients_are_computed_for_frozen_parts_and_parameters_frozen_by_hand_stay_frozen() -> None:
    model = backbone_model()
    model.embedding_net.head.bias.requires_grad_(False)  # type: ignore[union-attr]
    seen: list[tuple[bool, bool]] = []

    class Look(Callback):
        def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
            backbone = trainer.model.embedding_net.backbone
            assert isinstance(backbone, nn.Module)
            features = backbone(torch.rand(2, 3, 16, 16))
            seen.append((features.requires_grad, any(part.training for part in backbone.modules())))

    trained(model, (Look(),), freeze="backbone", epochs=2)
    assert seen == [(False, False)] * 2
    assert not model.embedding_net.head.bias.requires_grad  # type: ignore[union-attr]


def test_frozen_parts_can_be_trained_afterwards() -> None:
    model = backbone_model()
    trained(model, freeze="backbone")
    before = copied(model)
    trained(model)
    assert {"embedding_net.backbone.conv1.weight", "embedding_net.backbone.bn1.running_mean"} <= changed(model, before)


@pytest.mark.parametrize("scheduler", ["onecycle", "cosine", "plateau", "none"])
def test_schedules_scale_both_learning_rates(scheduler: Any) -> None:
    rates: list[tuple[float, float]] = []

    class Look(Callback):
        def on_step_end(self, trainer: Trainer, step: int) -> None:
            rest, backbone = trainer.optimizer.param_groups
            rates.append((float(rest["lr"]), float(backbone["lr"])))

    settings: dict[str, Any] = {"plateau_patience": 0, "epochs": 6} if scheduler == "plateau" else {"epochs": 3}
    rate = {"learning_rate": 1e-2, "backbone_learning_rate": 1e-3}
    trained(backbone_model(), (Look(),), scheduler=scheduler, **rate, **settings)
    for rest, backbone in rates:
        assert backbone == pytest.approx(0.1 * rest, rel=1e-6)
    assert (len(set(rates)) > 1) == (scheduler != "none")


def test_the_normalisation_of_a_backbone_does_not_change() -> None:
    model = SimilarityModel(EmbeddingNet("resnet18", image_size=16))
    known = model.preprocessing
    grey = colour_images(channels=1)
    Trainer(model, TrainConfig(epochs=1, batch_size=8, freeze="backbone"), train=grey).fit()
    assert model.preprocessing == known
    assert known.mean == (0.485, 0.456, 0.406)


class TiedWeights(nn.Module):
    """Two layers that share a weight, whose second name is in no list of distinct parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3 * 16 * 16, 4)
        self.second = nn.Linear(3 * 16 * 16, 4)
        self.second.weight = self.first.weight

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.flatten(1)
        return torch.relu(self.first(pixels)) + torch.as_tensor(self.second(pixels))


@pytest.mark.parametrize(
    ("freeze", "kept"),
    [
        ("first", {"first.weight", "first.bias"}),
        ("second", {"second.weight", "second.bias"}),
        ("second.weight", {"second.weight"}),
    ],
)
def test_a_tied_weight_is_frozen_by_each_of_its_names(freeze: str, kept: set[str]) -> None:
    model = SimilarityModel(EmbeddingNet(TiedWeights(), in_channels=3, image_size=16))
    before = copied(model)
    trained(model, freeze=freeze)
    names = {f"{part}.{name}" for part in ("first", "second") for name in ("weight", "bias")}
    expected = kept | {"first.weight", "second.weight"}
    assert changed(model, before) & {f"embedding_net.backbone.{name}" for name in names} == {
        f"embedding_net.backbone.{name}" for name in names - expected
    }
    assert all(parameter.requires_grad for parameter in model.parameters())
