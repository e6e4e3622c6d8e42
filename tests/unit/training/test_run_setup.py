"""Settings, device, precision and initial state of a training run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import backbone_model, colour_images, easy_images, fit, random_images, reference_model
from torch.optim.lr_scheduler import OneCycleLR

from pairsim import EmbeddingNet, PairDataset, SimilarityModel, TrainConfig, Trainer
from pairsim._common.devices import resolve_device
from pairsim._common.storage import read_json
from pairsim.data import ImageTensors
from pairsim.errors import DeviceError

CPU = torch.device("cpu")


def set_up(
    model: SimilarityModel | None = None, train: ImageTensors | PairDataset | None = None, **settings: Any
) -> Trainer:
    return Trainer(model or reference_model(), TrainConfig(**settings), train=train or random_images())


def test_open_settings_are_resolved_and_recorded() -> None:
    trainer = set_up(device="auto", precision="auto")
    config = trainer.config
    assert (config.device, config.precision) == (str(trainer.device), trainer.precision.name)
    assert trainer.world.device == trainer.device
    assert (config.epochs, config.batch_size) == (30, 128)  # 30 is the most of the recipe
    assert trainer._state.training_step.objective.batch_size == 128
    assert trainer.world.size == 1
    assert not trainer._setup.syncs_batch_norm


def test_the_objective_of_pairs_is_chosen_for_pairs() -> None:
    trainer = set_up(train=PairDataset(random_images(16)))
    assert (trainer.config.objective, trainer.config.scheduler) == ("pairs", "plateau")


def test_the_model_is_moved_and_laid_out() -> None:
    model = backbone_model()
    weight = model.get_parameter("embedding_net.backbone.conv10.weight")
    set_up(model, colour_images(), channels_last=False, batch_size=8)
    assert weight.is_contiguous()
    set_up(model, colour_images(), batch_size=8)
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_the_description_holds_data_precision_and_environment(tmp_path: Path) -> None:
    trainer = fit(random_images(), epochs=1, out=tmp_path / "run")
    description = read_json(tmp_path / "run" / "run.json")
    assert description["data"] == trainer.data.fingerprint
    assert description["precision"] == "fp32"
    assert description["environment"]["device"] == str(trainer.device)


def test_parts_to_freeze_are_checked() -> None:
    assert set_up(freeze="conv")._setup.frozen.holds("embedding_net.conv.0.weight")
    with pytest.raises(ValueError, match=r"Expected freeze to name parts of the net"):
        set_up(freeze="layer9")


def test_notes_name_the_recipe_of_a_backbone() -> None:
    trainer = set_up(SimilarityModel(EmbeddingNet("resnet18", image_size=16)), colour_images(), batch_size=8)
    assert trainer.history.notes == [*trainer.data.notes, "Backbone: adamw, learning rate 0.001, freeze none."]
    assert set_up().history.notes[-1].startswith("Validation images resident on cpu")


def test_the_initial_state() -> None:
    model = reference_model()
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 9, "grad_accumulation": 4}
    trainer = set_up(model, ema_decay=0.9, **settings)
    state = trainer._state
    assert state.models == [model, state.evaluated_model]
    assert state.evaluated_model is not model
    assert (state.next, state.step, state.stopped, state.best, state.best_loss) == (
        (0, 0),
        0,
        False,
        None,
        float("inf"),
    )
    assert state.records is trainer.history.records
    assert isinstance(state.scheduler, OneCycleLR)
    assert state.scheduler.total_steps == 2 * 2  # 54 images are 6 batches, and 2 updates
    without = set_up(model, scheduler="none")._state
    assert without.scheduler is None
    assert without.models == [model]
    assert without.evaluated_model is model


# --- devices ---


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_asked_for_and_absent() -> None:
    with pytest.raises(DeviceError, match=r"Expected a device for 'cuda', but PyTorch .* finds 0 CUDA devices"):
        fit(easy_images(), device="cuda")


@pytest.mark.parametrize("name", ["cuda:0", "mps"])
def test_processes_choose_no_device_by_number(name: str) -> None:
    with pytest.raises(ValueError, match='Expected device to be "auto", "cpu" or "cuda" with several processes'):
        resolve_device(name, local_rank=1)


def test_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto", local_rank=1) == torch.device("cuda:1")
    with pytest.raises(DeviceError, match=r"found 2 for LOCAL_RANK 2\. Start with torchrun --nproc-per-node 2"):
        resolve_device("auto", local_rank=2)
    assert resolve_device("cpu", local_rank=2) == CPU
