"""What is frozen does not change by a bit, the rest learns, and each part at its own learning rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer
from pairsim.data import ImageTensors
from pairsim.training import Callback, EpochRecord
from pairsim.training.optimize.optimizers import FrozenParts, make_optimizer


def pictures(num: int = 24, channels: int = 3, size: int = 16) -> ImageTensors:
    shape = (num, channels, size, size)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageTensors(pixels, [n % 3 for n in range(num)])


def small_backbone() -> SimilarityModel:
    torch.manual_seed(1)
    parts = {
        "conv1": nn.Conv2d(3, 4, 3),
        "bn1": nn.BatchNorm2d(4),
        "drop": nn.Dropout(0.5),
        "conv10": nn.Conv2d(4, 4, 3),
        "bn2": nn.BatchNorm2d(4),
    }
    backbone = nn.Sequential()
    for name, part in parts.items():
        backbone.add_module(name, part)
    return SimilarityModel(EmbeddingNet(backbone, in_channels=3, image_size=16, embedding_dim=6))


def trained(model: SimilarityModel, callbacks: tuple[Callback, ...] = (), **settings: Any) -> Trainer:
    base: dict[str, Any] = {"epochs": 1, "batch_size": 8, "precision": "fp32", "progress": False}
    trainer = Trainer(model, TrainConfig(**{**base, **settings}), train=pictures(), callbacks=callbacks)
    trainer.fit()
    return trainer


def changed(model: SimilarityModel, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def copied(model: SimilarityModel) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("settings", [{}, {"ema_decay": 0.5, "batch_norm_batches": 2}, {"grad_clip": 1.0, "epochs": 2}])
@pytest.mark.parametrize("make", [small_backbone, lambda: SimilarityModel(EmbeddingNet("resnet18", image_size=16))])
def test_a_frozen_backbone_stays_bit_for_bit_and_the_head_learns(make: Any, settings: dict[str, Any]) -> None:
    model = make()
    before = copied(model)
    trained(model, freeze="backbone", **settings)
    found = changed(model, before)
    assert {"embedding_net.head.weight", "embedding_net.head.bias"} <= found
    assert not [name for name in found if name.startswith("embedding_net.backbone.")]
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_parts_are_frozen_by_whole_names() -> None:
    model = small_backbone()
    before = copied(model)
    trained(model, freeze="conv1, bn1")
    inside = {name.removeprefix("embedding_net.backbone.").partition(".")[0] for name in changed(model, before)}
    assert {"conv10", "bn2"} <= inside  # conv10 begins with conv1, but is another part
    assert not {"conv1", "bn1"} & inside


def test_one_parameter_is_frozen_by_its_name() -> None:
    model = small_backbone()
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


def test_no_gradients_are_computed_for_what_is_frozen_and_what_was_frozen_by_hand_stays_so() -> None:
    model = small_backbone()
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


def test_then_the_whole_net_is_trained() -> None:
    model = small_backbone()
    trained(model, freeze="backbone")
    before = copied(model)
    trained(model)
    assert {"embedding_net.backbone.conv1.weight", "embedding_net.backbone.bn1.running_mean"} <= changed(model, before)


@pytest.mark.parametrize("freeze", ["layer9", "conv1,layer9", "conv", "none,conv1"])
def test_unknown_parts_are_told_with_the_known_ones(freeze: str) -> None:
    unknown = "conv" if freeze == "conv" else "none" if "none" in freeze else "layer9"
    with pytest.raises(ValueError, match=rf"got '{unknown}'\. Its parts: conv1, bn1, conv10, bn2\."):
        FrozenParts(small_backbone(), freeze)


def test_no_backbone_to_freeze() -> None:
    with pytest.raises(
        ValueError, match=r'with a backbone for freeze="backbone", found none\. .*net instead: conv, fc\.'
    ):
        Trainer(
            SimilarityModel(EmbeddingNet(in_channels=3, image_size=16)),
            TrainConfig(freeze="backbone"),
            train=pictures(),
        )
    config = TrainConfig(backbone_learning_rate=1e-4).resolved()
    with pytest.raises(ValueError, match="with a backbone for backbone_learning_rate, found none"):
        make_optimizer(config, SimilarityModel())


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("recordable", [False, True])
def test_two_learning_rates_arrive_in_the_optimizer(optimizer: Any, recordable: bool) -> None:
    model = small_backbone()
    config = TrainConfig(optimizer=optimizer, learning_rate=0.5, backbone_learning_rate=0.25, freeze="conv1").resolved()
    rest, backbone = make_optimizer(config, model, recordable=recordable).param_groups
    assert [float(group["lr"]) for group in (rest, backbone)] == [0.5, 0.25]
    names = {id(value): name for name, value in model.named_parameters()}
    inside = {names[id(value)].removeprefix("embedding_net.backbone.") for value in backbone["params"]}
    assert inside == {f"{part}.{kind}" for part in ("bn1", "conv10", "bn2") for kind in ("weight", "bias")}
    outside = {names[id(value)] for value in rest["params"]}
    assert outside == {f"{part}.{kind}" for part in ("embedding_net.head", "projection") for kind in ("weight", "bias")}


@pytest.mark.parametrize("scheduler", ["onecycle", "cosine", "plateau", "none"])
def test_schedules_scale_both_learning_rates(scheduler: Any) -> None:
    rates: list[tuple[float, float]] = []

    class Look(Callback):
        def on_step_end(self, trainer: Trainer, step: int) -> None:
            rest, backbone = trainer.optimizer.param_groups
            rates.append((float(rest["lr"]), float(backbone["lr"])))

    settings: dict[str, Any] = {"plateau_patience": 0, "epochs": 6} if scheduler == "plateau" else {"epochs": 3}
    rate = {"learning_rate": 1e-2, "backbone_learning_rate": 1e-3}
    trained(small_backbone(), (Look(),), scheduler=scheduler, **rate, **settings)
    for rest, backbone in rates:
        assert backbone == pytest.approx(0.1 * rest, rel=1e-6)
    assert (len(set(rates)) > 1) == (scheduler != "none")


def test_a_backbone_without_trainable_weights_needs_no_group() -> None:
    config = TrainConfig(backbone_learning_rate=1e-3, freeze="conv1,bn1,conv10,bn2").resolved()
    assert len(make_optimizer(config, small_backbone()).param_groups) == 1


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"backbone_learning_rate": 0.0}, "Expected backbone_learning_rate to be positive, got 0.0"),
        ({"learning_rate": -1.0}, "Expected learning_rate to be positive, got -1.0"),
        ({"freeze": ""}, 'Expected freeze to be "none", "backbone" or names'),
        ({"freeze": "conv1,,bn1"}, 'Expected freeze to be "none", "backbone" or names'),
        ({"freeze": "backbone", "backbone_learning_rate": 1e-3}, "Expected no backbone_learning_rate with freeze="),
        (
            {"backbone_learning_rate": 1e-3, "optimizer": lambda p: torch.optim.SGD(p, lr=1.0)},
            "Expected no backbone_learning_rate with an optimizer of your own",
        ),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        TrainConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "backbone", "expected"),
    [
        ({}, None, ("adam", 1e-2, None)),
        ({"optimizer": "sgd"}, "random", ("sgd", 1e-2, None)),
        ({}, "random", ("adamw", 1e-3, None)),
        ({}, "pretrained", ("adamw", 1e-3, 1e-4)),
        ({"optimizer": "adam"}, "pretrained", ("adam", 1e-3, 1e-4)),
        ({"learning_rate": 1e-2}, "pretrained", ("adamw", 1e-2, 1e-3)),
        ({"backbone_learning_rate": 5e-4}, "pretrained", ("adamw", 1e-3, 5e-4)),
        ({"freeze": "backbone"}, "pretrained", ("adamw", 1e-3, None)),
    ],
)
def test_recipes_for_backbones(settings: dict[str, Any], backbone: Any, expected: tuple[Any, ...]) -> None:
    config = TrainConfig(**settings).resolved(1000, backbone=backbone)
    assert (config.optimizer, config.learning_rate, config.backbone_learning_rate) == pytest.approx(expected)


def test_the_recipe_is_noted_for_backbones_with_known_preprocessing_only(tmp_path: Path) -> None:
    net = EmbeddingNet("resnet18", image_size=16)
    torch.save(net.backbone.state_dict(), tmp_path / "w.pth")  # type: ignore[union-attr]
    net = EmbeddingNet("resnet18", image_size=16, weights=tmp_path / "w.pth")
    trainer = Trainer(SimilarityModel(net), TrainConfig(batch_size=8), train=pictures())
    note = "Backbone: adamw, learning rate 0.001 (0.0001 in the backbone), freeze none."
    assert note in trainer.history.notes
    assert [group["max_lr"] for group in trainer.optimizer.param_groups] == pytest.approx([1e-3, 1e-4])
    assert trainer.config.to_dict()["backbone_learning_rate"] == pytest.approx(1e-4)
    own = Trainer(small_backbone(), TrainConfig(batch_size=8), train=pictures())
    assert (own.config.optimizer, own.config.learning_rate) == ("adam", 1e-2)
    assert not [line for line in own.history.notes if line.startswith("Backbone")]


def test_the_backbones_normalisation_is_kept_in_training() -> None:
    model = SimilarityModel(EmbeddingNet("resnet18", image_size=16))
    known = model.preprocessing
    grey = pictures(channels=1)
    Trainer(model, TrainConfig(epochs=1, batch_size=8, freeze="backbone"), train=grey).fit()
    assert model.preprocessing == known
    assert known.mean == (0.485, 0.456, 0.406)
