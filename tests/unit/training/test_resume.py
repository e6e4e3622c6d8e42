"""A run that was cut off and resumed ends exactly like one that was not: whole checkpoints, zero tolerance."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from states import assert_same
from torch import nn
from torch.utils.data import Dataset

from pairsim import Callback, EmbeddingNet, SimilarityModel, TrainConfig, Trainer
from pairsim.data import ImageTensors, RandomAffine
from pairsim.errors import RunError
from pairsim.training.checkpoint import load_checkpoint


class CutOffError(Exception):
    pass


class CutOff(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer: Trainer, step: int) -> None:
        if step == self.step:
            raise CutOffError


def toy_images(num: int = 60) -> ImageTensors:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (num, 1, 8, 8), dtype=torch.uint8, generator=generator)
    return ImageTensors(images, [n % 3 for n in range(num)])


def toy_model() -> SimilarityModel:
    torch.manual_seed(1)
    backbone = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3))
    return SimilarityModel(EmbeddingNet(backbone, image_size=8, embedding_dim=6))


def train(out: Path, settings: dict[str, Any], cut: int | None = None) -> None:
    config = TrainConfig(out=out, batch_size=8, epochs=3, **settings)
    callbacks = () if cut is None else (CutOff(cut),)
    Trainer(toy_model(), config, train=toy_images(), callbacks=callbacks).fit()


def final_state(out: Path) -> dict[str, Any]:
    state, problems = load_checkpoint(out / "checkpoints")
    assert state is not None
    assert not problems
    del state["seconds"], state["waiting"]
    return state


SETTINGS: list[dict[str, Any]] = [
    {"objective": "all-pairs", "precision": "fp32"},
    {"objective": "all-pairs", "precision": "bf16", "ema_decay": 0.9},
    {"objective": "pairs", "num_pairs": 50, "precision": "fp32", "optimizer": "sgd", "scheduler": "cosine"},
    {"objective": "pairs", "num_pairs": 50, "optimizer": "adamw", "grad_accumulation": 2, "grad_clip": 0.5},
    {"objective": "pairs", "num_pairs": 50, "scheduler": "none", "negatives": "instance", "channels_last": False},
    {"objective": "all-pairs", "augment": "affine", "resident": True},
    {"objective": "all-pairs", "memory_size": 24, "hard_pairs": 1.0, "prior": 0.3},
    {"objective": "all-pairs", "ema_decay": 0.9, "batch_norm_batches": 2},
    {"objective": "all-pairs", "freeze": "0,1", "backbone_learning_rate": 1e-3, "ema_decay": 0.9},
    {"objective": "pairs", "num_pairs": 50, "freeze": "backbone", "scheduler": "onecycle"},
]


def test_a_run_without_graphs_is_not_taken_up_with_them(tmp_path: Path) -> None:
    train(tmp_path / "run", {"cuda_graph": False})  # its learning rate is a number, which a graph would record for good
    with pytest.raises(RunError, match="found changes: cuda_graph False -> None"):
        train(tmp_path / "run", {})


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize(("cut", "checkpoint_steps"), [(4, 3), (9, None)])
def test_resumed_run_equals_uninterrupted(
    tmp_path: Path, settings: dict[str, Any], cut: int, checkpoint_steps: int | None
) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    settings = {**settings, "checkpoint_steps": checkpoint_steps}
    train(whole, settings)
    with pytest.raises(CutOffError):
        train(parted, settings, cut=cut)
    train(parted, settings)
    assert_same(final_state(whole), final_state(parted))
    assert (whole / "log.jsonl").read_bytes() == (parted / "log.jsonl").read_bytes()
    assert (whole / "model" / "model.safetensors").read_bytes() == (parted / "model" / "model.safetensors").read_bytes()


def test_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    train(tmp_path / "run", SETTINGS[0])
    steps: list[int] = []

    class Count(Callback):
        def on_step_end(self, trainer: Trainer, step: int) -> None:
            steps.append(step)

    config = TrainConfig(out=tmp_path / "run", batch_size=8, epochs=3, **SETTINGS[0])
    history = Trainer(toy_model(), config, train=toy_images(), callbacks=[Count()]).fit()
    assert steps == []
    assert len(history) == 3


def test_resume_never_starts_again(tmp_path: Path) -> None:
    train(tmp_path / "run", SETTINGS[0])
    config = TrainConfig(out=tmp_path / "run", batch_size=8, epochs=2, **SETTINGS[0])
    assert len(Trainer(toy_model(), config, train=toy_images()).fit(resume="never")) == 2


def test_more_epochs_can_be_added_without_a_schedule_that_knows_the_end(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"objective": "all-pairs", "scheduler": "plateau", "batch_size": 8}
    short = TrainConfig(out=tmp_path / "a", epochs=2, **settings)
    Trainer(toy_model(), short, train=toy_images()).fit()
    longer = TrainConfig(out=tmp_path / "a", epochs=4, **settings)
    assert len(Trainer(toy_model(), longer, train=toy_images()).fit()) == 4


def test_changed_settings_are_refused(tmp_path: Path) -> None:
    train(tmp_path / "run", SETTINGS[0])
    config = TrainConfig(out=tmp_path / "run", batch_size=8, epochs=3, learning_rate=0.5, **SETTINGS[0])
    with pytest.raises(RunError, match=r"learning_rate 0.01 -> 0.5.*--resume never"):
        Trainer(toy_model(), config, train=toy_images()).fit()


def test_changed_data_is_refused(tmp_path: Path) -> None:
    train(tmp_path / "run", SETTINGS[0])
    config = TrainConfig(out=tmp_path / "run", batch_size=8, epochs=3, **SETTINGS[0])
    with pytest.raises(RunError, match="Expected the data that"):
        Trainer(toy_model(), config, train=toy_images(72)).fit()


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def drop_a_file(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize("damage", [flip_a_byte, drop_a_file])
def test_damaged_checkpoint_is_named_and_the_one_before_used(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    whole, hurt = tmp_path / "whole", tmp_path / "hurt"
    for out in (whole, hurt):
        train(out, SETTINGS[0])
    newest = sorted((hurt / "checkpoints").iterdir())[-1]
    damage(newest / "tensors.safetensors")
    config = TrainConfig(out=hurt, batch_size=8, epochs=3, **SETTINGS[0])
    history = Trainer(toy_model(), config, train=toy_images()).fit()
    assert any(newest.name in line and "cannot be used" in line for line in history.notes)
    assert_same(final_state(whole), final_state(hurt))


def test_all_checkpoints_damaged_is_one_clear_line(tmp_path: Path) -> None:
    train(tmp_path / "run", SETTINGS[0])
    for place in (tmp_path / "run" / "checkpoints").iterdir():
        flip_a_byte(place / "tensors.safetensors")
    with pytest.raises(RunError, match=r"No checkpoint in .* is whole"):
        train(tmp_path / "run", SETTINGS[0])


def test_newer_format_is_refused(tmp_path: Path) -> None:
    train(tmp_path / "run", SETTINGS[0])
    file = tmp_path / "run" / "run.json"
    file.write_text(file.read_text().replace('"format_version": 1', '"format_version": 99'))
    with pytest.raises(RunError, match=r"format version 1 at most, found 99"):
        train(tmp_path / "run", SETTINGS[0])


def test_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(RunError, match="run folder or empty, found other files"):
        train(tmp_path, SETTINGS[0])
    assert (tmp_path / "thesis.txt").read_text() == "precious"


class ReadOneByOne(Dataset[Any]):
    """The same images, but not in memory as far as a trainer can see."""

    def __init__(self) -> None:
        self.images = toy_images()
        self.targets = self.images.targets

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        return self.images[index]


def test_a_run_may_be_resumed_with_its_images_elsewhere(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"batch_size": 8, "epochs": 3, "augment": "affine", "precision": "fp32"}

    def run(name: str, cut: int | None = None, **where: Any) -> None:
        config = TrainConfig(out=tmp_path / name, **settings, **where)
        callbacks = () if cut is None else (CutOff(cut),)
        Trainer(toy_model(), config, train=ReadOneByOne(), callbacks=callbacks).fit()

    run("whole", resident=True)
    with pytest.raises(CutOffError):
        run("parted", cut=9, resident=True)
    with pytest.raises(CutOffError):
        run("parted", cut=16, resident=False, num_workers=1)
    run("parted", resident=None, num_workers=0, memory_budget_mb=1, cache_dir=tmp_path / "cache")
    assert_same(final_state(tmp_path / "whole"), final_state(tmp_path / "parted"))
    assert (tmp_path / "whole" / "log.jsonl").read_bytes() == (tmp_path / "parted" / "log.jsonl").read_bytes()


def test_another_augmentation_is_refused(tmp_path: Path) -> None:
    train(tmp_path / "run", {"augment": RandomAffine(degrees=5)})
    with pytest.raises(RunError, match=r"augment 'RandomAffine\(degrees=5, .* -> 'RandomAffine\(degrees=6, "):
        train(tmp_path / "run", {"augment": RandomAffine(degrees=6)})


def test_setting_that_an_older_version_did_not_have(tmp_path: Path) -> None:
    train(tmp_path / "run", {"precision": "fp32"}, cut=None)
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    del config["freeze"]
    path.write_text(json.dumps(config))
    train(tmp_path / "run", {"precision": "fp32"})  # as its default
    path.write_text(json.dumps(config))
    with pytest.raises(RunError, match="freeze 'none' -> 'backbone'"):
        train(tmp_path / "run", {"precision": "fp32", "freeze": "backbone"})
