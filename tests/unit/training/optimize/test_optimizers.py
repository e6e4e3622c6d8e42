"""Frozen parts, optimizers with their parameter groups, schedules, and the recipe of backbones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import backbone_model, colour_images
from torch import nn
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer
from pairsim.training.optimize.optimizers import (
    FrozenParts,
    backbone_prefix,
    has_parameters,
    known_backbone,
    make_optimizer,
    make_scheduler,
    recipe_note,
)


def test_parts_hold_what_is_inside_them_by_whole_names() -> None:
    frozen = FrozenParts(backbone_model(), "conv1, bn1.weight")
    inside = "embedding_net.backbone."
    assert [frozen.holds(inside + name) for name in ("conv1", "conv1.bias", "bn1.weight")] == [True] * 3
    assert [frozen.holds(inside + name) for name in ("conv10", "conv10.bias", "bn1.bias", "bn1")] == [False] * 4
    assert not FrozenParts(backbone_model(), "none").holds(inside + "conv1")


def test_gradients_are_off_inside_the_context_only() -> None:
    model = backbone_model()
    model.get_parameter("embedding_net.backbone.conv1.bias").requires_grad_(False)
    frozen = FrozenParts(model, "conv1,bn1")
    with frozen.without_gradients(model):
        trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert not any(frozen.holds(name) for name in trained)
    assert "embedding_net.backbone.conv10.weight" in trained
    after = {name for name, value in model.named_parameters() if not value.requires_grad}
    assert after == {"embedding_net.backbone.conv1.bias"}


def test_frozen_modules_are_put_in_eval_mode() -> None:
    model = backbone_model().train()
    FrozenParts(model, "bn1,conv1.weight").set_eval(model)
    modes = {name: module.training for name, module in model.named_modules() if not list(module.children())}
    assert [name for name, training in modes.items() if not training] == ["embedding_net.backbone.bn1"]


@pytest.mark.parametrize("freeze", ["layer9", "conv1,layer9", "conv", "none,conv1"])
def test_unknown_parts_are_told_with_the_known_ones(freeze: str) -> None:
    unknown = "conv" if freeze == "conv" else "none" if "none" in freeze else "layer9"
    with pytest.raises(ValueError, match=rf"got '{unknown}'\. Its parts: conv1, bn1, conv10, bn2\."):
        FrozenParts(backbone_model(), freeze)


def test_no_backbone_to_freeze() -> None:
    with pytest.raises(
        ValueError, match=r'with a backbone for freeze="backbone", found none\. .*net instead: conv, fc\.'
    ):
        Trainer(
            SimilarityModel(EmbeddingNet(in_channels=3, image_size=16)),
            TrainConfig(freeze="backbone"),
            train=colour_images(),
        )
    config = TrainConfig(backbone_learning_rate=1e-4).resolved()
    with pytest.raises(ValueError, match="with a backbone for backbone_learning_rate, found none"):
        make_optimizer(config, SimilarityModel())


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("recordable", [False, True])
def test_two_learning_rates_arrive_in_the_optimizer(optimizer: Any, recordable: bool) -> None:
    model = backbone_model()
    config = TrainConfig(optimizer=optimizer, learning_rate=0.5, backbone_learning_rate=0.25, freeze="conv1").resolved()
    rest, backbone = make_optimizer(config, model, recordable=recordable).param_groups
    assert [float(group["lr"]) for group in (rest, backbone)] == [0.5, 0.25]
    names = {id(value): name for name, value in model.named_parameters()}
    inside = {names[id(value)].removeprefix("embedding_net.backbone.") for value in backbone["params"]}
    assert inside == {f"{part}.{kind}" for part in ("bn1", "conv10", "bn2") for kind in ("weight", "bias")}
    outside = {names[id(value)] for value in rest["params"]}
    assert outside == {f"{part}.{kind}" for part in ("embedding_net.head", "projection") for kind in ("weight", "bias")}


def test_a_backbone_without_trainable_weights_needs_no_group() -> None:
    config = TrainConfig(backbone_learning_rate=1e-3, freeze="conv1,bn1,conv10,bn2").resolved()
    assert len(make_optimizer(config, backbone_model()).param_groups) == 1


@pytest.mark.parametrize(("name", "kind"), [("adam", Adam), ("adamw", AdamW), ("sgd", SGD)])
def test_optimizers_by_name(name: Any, kind: type[torch.optim.Optimizer]) -> None:
    config = TrainConfig(optimizer=name, weight_decay=0.25, momentum=0.5).resolved()
    optimizer = make_optimizer(config, SimilarityModel())
    (group,) = optimizer.param_groups
    assert type(optimizer) is kind
    assert (group["weight_decay"], group["fused"]) == (0.25, True)
    if name == "sgd":
        assert (group["momentum"], group["nesterov"]) == (0.5, True)


def test_muon_has_matrices_of_their_own_in_each_group() -> None:
    config = TrainConfig(optimizer="muon", learning_rate=0.5, backbone_learning_rate=0.25).resolved()
    model = backbone_model()
    optimizer = make_optimizer(config, model)
    found = [(group["lr"], group["matrices"], len(group["params"])) for group in optimizer.param_groups]
    convolutions = sum(value.ndim > 1 for value in model.embedding_net.backbone.parameters())  # type: ignore[union-attr]
    others = sum(value.ndim == 1 for value in model.embedding_net.backbone.parameters())  # type: ignore[union-attr]
    # the projection has one row and one column
    assert sorted(found) == sorted([(0.5, False, 3), (0.25, False, others), (0.5, True, 1), (0.25, True, convolutions)])


def test_muon_leaves_class_weights_to_adamw() -> None:
    classes = nn.Linear(8, 5, bias=False)
    optimizer = make_optimizer(TrainConfig(optimizer="muon").resolved(), SimilarityModel(), classes)
    (matrices,) = (group["params"] for group in optimizer.param_groups if group["matrices"])
    assert all(weight is not classes.weight for weight in matrices)
    assert len(matrices) == 3


def test_a_learning_rate_for_a_cuda_graph_is_a_tensor() -> None:
    (group,) = make_optimizer(TrainConfig().resolved(), SimilarityModel(), recordable=True).param_groups
    assert isinstance(group["lr"], torch.Tensor)
    assert group["capturable"]


def test_a_factory_gets_the_trained_parameters_and_must_return_an_optimizer() -> None:
    model = backbone_model()
    config = TrainConfig(optimizer=lambda parameters: SGD(parameters, lr=0.5), freeze="backbone").resolved()
    (group,) = make_optimizer(config, model).param_groups
    assert len(group["params"]) == 4  # weights and biases of head and projection
    wrong: Any = list
    with pytest.raises(TypeError, match="Expected the optimizer factory to return an Optimizer, got list"):
        make_optimizer(TrainConfig(optimizer=wrong).resolved(), model)


def test_a_model_without_trainable_parameters() -> None:
    model = SimilarityModel()
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="Expected a model with parameters that need gradients, found none"):
        make_optimizer(TrainConfig().resolved(), model)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("plateau", ReduceLROnPlateau), ("onecycle", OneCycleLR), ("cosine", CosineAnnealingLR), ("none", type(None))],
)
def test_schedules_by_name(name: Any, kind: type) -> None:
    config = TrainConfig(scheduler=name, optimizer="sgd", plateau_patience=5, plateau_factor=0.3).resolved()
    optimizer = make_optimizer(config, SimilarityModel())
    scheduler = make_scheduler(config, optimizer, total_steps=0)
    assert type(scheduler) is kind
    if isinstance(scheduler, ReduceLROnPlateau):
        assert (scheduler.patience, scheduler.factor) == (5, 0.3)
    if isinstance(scheduler, OneCycleLR):
        assert scheduler.total_steps == 2
        assert optimizer.param_groups[0]["momentum"] == 0.9  # is not cycled


def test_backbones_with_known_preprocessing() -> None:
    assert known_backbone(SimilarityModel(EmbeddingNet("resnet18", image_size=16))) == "random"
    assert known_backbone(SimilarityModel()) is None
    assert known_backbone(backbone_model()) is None
    assert known_backbone(SimilarityModel(nn.Flatten())) is None
    assert backbone_prefix(backbone_model()) == "embedding_net.backbone."
    assert backbone_prefix(SimilarityModel()) is None


def test_the_note_of_the_recipe() -> None:
    config = TrainConfig(optimizer=lambda parameters: SGD(parameters, lr=0.5), freeze="layer1").resolved()
    assert recipe_note(config) == "Backbone: optimizer of your own, freeze layer1."
    assert recipe_note(TrainConfig(learning_rate=0.5).resolved(backbone="random")) == (
        "Backbone: adamw, learning rate 0.5, freeze none."
    )


def test_the_recipe_is_noted_for_backbones_with_known_preprocessing_only(tmp_path: Path) -> None:
    net = EmbeddingNet("resnet18", image_size=16)
    torch.save(net.backbone.state_dict(), tmp_path / "w.pth")  # type: ignore[union-attr]
    net = EmbeddingNet("resnet18", image_size=16, weights=tmp_path / "w.pth")
    trainer = Trainer(SimilarityModel(net), TrainConfig(batch_size=8), train=colour_images())
    note = "Backbone: adamw, learning rate 0.001 (0.0001 in the backbone), freeze none."
    assert note in trainer.history.notes
    assert [group["max_lr"] for group in trainer.optimizer.param_groups] == pytest.approx([1e-3, 1e-4])
    assert trainer.config.to_dict()["backbone_learning_rate"] == pytest.approx(1e-4)
    own = Trainer(backbone_model(), TrainConfig(batch_size=8), train=colour_images())
    assert (own.config.optimizer, own.config.learning_rate) == ("adam", 1e-2)
    assert not [line for line in own.history.notes if line.startswith("Backbone")]


def test_backbones_without_parameters() -> None:
    assert has_parameters(SimilarityModel(EmbeddingNet("resnet18", image_size=32)))
    assert not has_parameters(SimilarityModel(EmbeddingNet("embeddings", in_channels=4, image_size=1)))
