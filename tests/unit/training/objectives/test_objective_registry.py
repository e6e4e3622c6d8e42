"""Objectives by name, and an objective of a plug-in that is trained, saved and resumed by its name."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import CutOff, CutOffError, last_state, random_images, reference_model
from states import assert_same
from torch import Tensor, nn

from pairsim import PairDataset, SimilarityModel, TrainConfig, Trainer
from pairsim.training import ClassBalancedObjective, Recipe, register_objective
from pairsim.training.objectives import objective_registry as registry
from pairsim.training.objectives.all_pairs_objective import AllPairsObjective
from pairsim.training.objectives.function_objective import FunctionObjective
from pairsim.training.objectives.pairs_objective import PairsObjective


@dataclass(kw_only=True)
class CentreObjective(ClassBalancedObjective):
    """Pulls embeddings to a running centre of all of them, which is its state."""

    recipe = Recipe(batch_size=20, epochs=3, scheduler="cosine")
    trains_projection = False

    seed: int
    pull: float = 0.5

    def initial_state(self, model: SimilarityModel) -> nn.Module:
        state = nn.Module()
        state.register_buffer("centre", torch.zeros(8))
        return state

    def loss(self, model: SimilarityModel, embeddings: Tensor, targets: Tensor) -> Tensor:
        assert self.state is not None
        centre = self.state.get_buffer("centre")
        loss = (embeddings - centre).square().mean() * self.pull
        centre.lerp_(embeddings.detach().mean(dim=0), 0.1)
        return loss


@pytest.fixture
def centre() -> None:
    register_objective("centre", CentreObjective)


def trainer_of(out: Path, callbacks: Any = (), **settings: Any) -> Trainer:
    settings = {"objective": "centre", "out": out, "checkpoint_steps": 2, "precision": "fp32", **settings}
    config = TrainConfig(**settings)
    return Trainer(reference_model(), config, train=random_images(), callbacks=callbacks)


@pytest.mark.usefixtures("centre")
def test_a_registered_objective_is_trained_by_its_name_with_its_recipe(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path / "run")
    config = trainer.config
    assert (config.batch_size, config.epochs, config.scheduler) == (20, 3, "cosine")
    history = trainer.fit()
    assert len(history) == 3
    assert history.records[-1].train_loss < history.records[0].train_loss
    assert SimilarityModel.from_pretrained(tmp_path / "run").operating_point == trainer.model.operating_point
    saved = last_state(tmp_path / "run")["training_step"]["memory"]
    assert saved.keys() == {"centre"}
    assert saved["centre"].norm() > 0.1


@pytest.mark.usefixtures("centre")
def test_a_registered_objective_is_resumed_with_its_state(tmp_path: Path) -> None:
    trainer_of(tmp_path / "whole").fit()
    with pytest.raises(CutOffError):
        trainer_of(tmp_path / "parted", (CutOff(5),)).fit()
    trainer_of(tmp_path / "parted").fit()
    assert_same(last_state(tmp_path / "whole"), last_state(tmp_path / "parted"))
    best = Path("model/model.safetensors")
    assert (tmp_path / "whole" / best).read_bytes() == (tmp_path / "parted" / best).read_bytes()


@pytest.mark.usefixtures("centre")
def test_settings_go_before_the_recipe(tmp_path: Path) -> None:
    config = trainer_of(tmp_path / "run", epochs=1, batch_size=30, scheduler="none", images_per_class=3).config
    assert (config.batch_size, config.epochs, config.scheduler) == (30, 1, "none")


@pytest.mark.usefixtures("centre")
def test_an_objective_on_labelled_images_takes_no_pairs() -> None:
    pairs, config = PairDataset(random_images(), 10), TrainConfig(objective="centre")
    with pytest.raises(TypeError, match="Expected a labelled dataset for objective 'centre', got a PairDataset"):
        Trainer(reference_model(), config, train=pairs)


@pytest.mark.usefixtures("centre")
def test_names_are_those_of_the_registry() -> None:
    assert registry.objective_names() == (
        "pairs",
        "all-pairs",
        "supervised-contrastive",
        "normalized-softmax",
        "centre",
    )
    with pytest.raises(
        ValueError,
        match=r"Expected objective to be one of auto, pairs, all-pairs, .*, centre, got 'triplets'",
    ):
        TrainConfig(objective="triplets")


def test_classes_of_names_and_functions() -> None:
    assert registry.objective_class("pairs") is PairsObjective
    assert registry.objective_class("all-pairs") is AllPairsObjective
    assert registry.objective_class(lambda embeddings, labels: embeddings.sum()) is FunctionObjective
    with pytest.raises(KeyError):
        registry.objective_class("triplets")


@pytest.mark.usefixtures("centre")
def test_a_name_can_be_registered_again_but_not_one_of_pairsim() -> None:
    register_objective("centre", PairsObjective)
    assert registry.objective_class("centre") is PairsObjective
    with pytest.raises(ValueError, match="Expected a new name for an objective, got 'pairs'"):
        register_objective("pairs", CentreObjective)


def test_installed_packages_register_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("installed", f"{PairsObjective.__module__}:PairsObjective", "pairsim.objectives")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [point] if group == point.group else [])
    registry._installed.cache_clear()
    try:
        assert TrainConfig(objective="installed").resolved().batch_size == 256
        assert registry.objective_names() == (
            "pairs",
            "all-pairs",
            "supervised-contrastive",
            "normalized-softmax",
            "installed",
        )
    finally:
        registry._installed.cache_clear()


def test_names_need_no_import_of_pytorch() -> None:
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('registry', {registry.__file__!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "print(module.objective_names(), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "('pairs', 'all-pairs', 'supervised-contrastive', 'normalized-softmax') False"
