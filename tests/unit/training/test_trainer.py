from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from pairsim import Callback, EmbeddingNet, PairDataset, SimilarityModel, TrainConfig, Trainer
from pairsim.data import ImageTensors
from pairsim.errors import DataError, DeviceError, TrainingError


def easy_images(num: int = 80, size: int = 8) -> ImageTensors:
    """Two classes that differ in brightness."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(num) % 2
    noise = torch.randint(0, 60, (num, 1, size, size), generator=generator)
    return ImageTensors((noise + labels.view(-1, 1, 1, 1) * 150).to(torch.uint8), labels)


def small_model(size: int = 8) -> SimilarityModel:
    torch.manual_seed(0)
    return SimilarityModel(EmbeddingNet(image_size=size, embedding_dim=8))


def fit(train: Any, val: Any = None, model: SimilarityModel | None = None, **settings: Any) -> Trainer:
    settings = {"epochs": 3, "batch_size": 16, "precision": "fp32", **settings}
    trainer = Trainer(model or small_model(), TrainConfig(**settings), train=train, val=val)
    trainer.fit()
    return trainer


@pytest.mark.parametrize("objective", ["pairs", "all-pairs"])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("scheduler", ["plateau", "onecycle", "cosine", "none"])
def test_learns(objective: Any, optimizer: Any, scheduler: Any) -> None:
    trainer = fit(easy_images(), objective=objective, optimizer=optimizer, scheduler=scheduler, epochs=4)
    records = trainer.history.records
    assert records[-1].train_loss < records[0].train_loss
    best = trainer.history.best
    assert best is not None
    assert best.val_loss == min(record.val_loss for record in records if record.val_loss is not None)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_precisions_train_on_cpu(precision: Any) -> None:
    trainer = fit(easy_images(), precision=precision, epochs=5)
    best = trainer.history.best
    assert best is not None
    assert best.val_balanced_accuracy == 1.0


def test_best_weights_are_in_the_model_at_the_end(tmp_path: Path) -> None:
    trainer = fit(easy_images(), out=tmp_path / "run", learning_rate=0.3, epochs=5)
    saved = torch.load(tmp_path / "run" / "best_model.pt", weights_only=True)
    state = trainer.model.state_dict()
    assert saved.keys() == state.keys()
    assert all(torch.equal(saved[name], state[name]) for name in saved)
    loaded = SimilarityModel.from_pretrained(tmp_path / "run")
    assert loaded.operating_point == trainer.model.operating_point
    assert loaded.preprocessing == trainer.model.preprocessing


def test_run_folder_has_a_log_line_for_each_epoch_and_no_time_in_it(tmp_path: Path) -> None:
    fit(easy_images(), out=tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert all(
        set(line) == {"epoch", "train_loss", "val_loss", "val_balanced_accuracy", "learning_rate", "best"}
        for line in lines
    )
    timings = (tmp_path / "run" / "timings.jsonl").read_text().splitlines()
    assert all(json.loads(line)["images_per_s"] > 0 for line in timings)


def test_normalisation_is_learned_from_the_training_images() -> None:
    images = easy_images()
    trainer = fit(images, val=easy_images(20))
    values = images.images.double() / 255
    assert trainer.model.preprocessing.mean == pytest.approx([values.mean().item()], rel=1e-12)
    assert trainer.model.preprocessing.std == pytest.approx([values.std(correction=0).item()], rel=1e-12)


def test_callable_objective_gets_embeddings_and_labels_and_a_fitted_projection() -> None:
    seen: list[tuple[torch.Size, torch.Size]] = []

    def contrast(embeddings: Tensor, labels: Tensor) -> Tensor:
        seen.append((embeddings.shape, labels.shape))
        same = (labels[:, None] == labels[None, :]).float()
        return ((embeddings @ embeddings.T - same) ** 2).mean()

    trainer = fit(easy_images(), objective=contrast, epochs=5)
    # 72 of the 80 images in 5 nearly equal batches
    assert {embeddings[0] for embeddings, _ in seen} == {14, 15}
    assert all(embeddings == (labels[0], 8) for embeddings, labels in seen)
    best = trainer.history.best
    assert best is not None
    assert best.val_balanced_accuracy == 1.0


def test_objective_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"Expected the objective to return a scalar tensor, got \[14\]"):
        fit(easy_images(), objective=lambda embeddings, labels: embeddings.sum(dim=1))


def test_pair_dataset_trains_and_validates() -> None:
    images = easy_images()
    trainer = fit(PairDataset(images, 64), PairDataset(images, 32, seed=1), objective="pairs")
    assert trainer.history.records[-1].val_loss is not None
    without = fit(PairDataset(images, 64), objective="pairs")
    assert without.history.records[-1].val_loss is None
    assert any("No validation data" in line for line in without.history.notes)


def test_pair_dataset_for_all_pairs_is_refused() -> None:
    with pytest.raises(TypeError, match="Expected a labelled dataset for objective 'all-pairs', got a PairDataset"):
        fit(PairDataset(easy_images(), 8))


class LoadedOneByOne(Dataset[Any]):
    """Not in memory, so it goes through the loader."""

    def __init__(self, images: ImageTensors) -> None:
        self.inner = images
        self.targets = images.targets

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> Any:
        return self.inner[index]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("objective", ["pairs", "all-pairs"])
def test_loader_and_memory_give_the_same_training(objective: Any, num_workers: int) -> None:
    images = easy_images()
    resident = fit(images, objective=objective)
    loaded = fit(LoadedOneByOne(images), objective=objective, num_workers=num_workers)
    assert [vars(record) for record in resident.history] == [vars(record) for record in loaded.history]
    assert all(
        torch.equal(a, b)
        for a, b in zip(resident.model.state_dict().values(), loaded.model.state_dict().values(), strict=True)
    )


def test_training_does_not_depend_on_or_change_global_generators() -> None:
    torch.manual_seed(123)
    np.random.seed(5)  # noqa: NPY002
    state = torch.get_rng_state()
    model = small_model()
    torch.set_rng_state(state)
    first = fit(easy_images(), model=model)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    again = small_model()
    torch.manual_seed(77)
    second = fit(easy_images(), model=again)
    assert [vars(record) for record in first.history] == [vars(record) for record in second.history]


def test_early_stopping_and_stop() -> None:
    class Stop(Callback):
        def on_epoch_end(self, trainer: Trainer, record: Any) -> None:
            trainer.stop()

    config = TrainConfig(epochs=5, batch_size=16)
    assert len(Trainer(small_model(), config, train=easy_images(), callbacks=[Stop()]).fit()) == 1
    frozen = fit(
        easy_images(), optimizer=lambda p: torch.optim.SGD(p, lr=0.0), scheduler="none", epochs=9, early_stopping=2
    )
    # with a learning rate of zero only batch norm moves, so the loss soon stops improving
    best = frozen.history.best
    assert best is not None
    assert len(frozen.history) in (9, best.epoch + 2)


def test_callbacks_are_called_in_order() -> None:
    calls: list[str] = []

    class Record(Callback):
        def on_fit_start(self, trainer: Trainer) -> None:
            calls.append("start")

        def on_step_end(self, trainer: Trainer, step: int) -> None:
            calls.append(f"step {step}")

        def on_epoch_end(self, trainer: Trainer, record: Any) -> None:
            calls.append(f"epoch {record.epoch}")

        def on_fit_end(self, trainer: Trainer, history: Any) -> None:
            calls.append("end")

    config = TrainConfig(epochs=2, batch_size=36, precision="fp32")
    Trainer(small_model(), config, train=easy_images(), callbacks=[Record()]).fit()
    assert calls == ["start", "step 1", "step 2", "epoch 1", "step 3", "step 4", "epoch 2", "end"]


def test_gradient_accumulation_adds_up_to_the_large_batch() -> None:
    """Without batch norm, two half batches of pairs make the same step as one whole one."""

    def weights(batch_size: int, accumulation: int) -> Tensor:
        torch.manual_seed(0)
        linear = nn.Linear(64, 8)
        backbone = nn.Sequential(nn.Flatten(), linear)
        model = SimilarityModel(EmbeddingNet(backbone, image_size=8, embedding_dim=8))
        settings: dict[str, Any] = {"optimizer": "sgd", "scheduler": "none", "learning_rate": 0.1, "epochs": 2}
        fit(
            PairDataset(easy_images(), 32),
            model=model,
            objective="pairs",
            batch_size=batch_size,
            grad_accumulation=accumulation,
            **settings,
        )
        return linear.weight.detach().clone()

    torch.testing.assert_close(weights(8, 2), weights(16, 1), rtol=1e-5, atol=1e-6)


def test_ema_is_what_is_saved() -> None:
    plain = fit(easy_images(), epochs=1)
    averaged = fit(easy_images(), epochs=1, ema_decay=0.9)
    assert not torch.equal(plain.model.projection.weight, averaged.model.projection.weight)


def test_deterministic_mode_is_put_back() -> None:
    fit(easy_images(), epochs=1, deterministic=True)
    assert not torch.are_deterministic_algorithms_enabled()


# --- bad input: one clear line each, before training ---


def test_empty_dataset() -> None:
    with pytest.raises(DataError, match="Expected a dataset with images, found none"):
        fit(ImageTensors(torch.zeros(0, 1, 8, 8, dtype=torch.uint8), []))


def test_one_class_only() -> None:
    with pytest.raises(DataError, match="Expected images of at least two classes, found only"):
        fit(ImageTensors(torch.zeros(9, 1, 8, 8, dtype=torch.uint8), [1] * 9))


def test_classes_of_one_image_each() -> None:
    with pytest.raises(DataError, match="Expected a class with at least two images"):
        fit(ImageTensors(torch.zeros(9, 1, 8, 8, dtype=torch.uint8), range(9)))


def test_class_with_one_image_is_said() -> None:
    images = easy_images()
    images.targets[0] = 7
    trainer = fit(images)
    assert any("1 classes have one image (7): it serves in negative pairs" in line for line in trainer.history.notes)


def test_wrong_size_and_channels() -> None:
    with pytest.raises(ValueError, match="Expected images of 8 x 8 pixels"):
        fit(easy_images(size=12))
    with pytest.raises(ValueError, match="Expected images with 1 channel"):
        fit(ImageTensors(torch.zeros(8, 3, 8, 8), [0, 1] * 4))


def test_colour_pixels_train_a_grey_net() -> None:
    pixels = torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8)
    trainer = fit(ImageTensors(pixels, [0, 1] * 4))
    assert trainer.model.preprocessing.mean is not None
    assert len(trainer.model.preprocessing.mean) == 1


def test_images_of_differing_shapes() -> None:
    class Ragged(LoadedOneByOne):
        def __getitem__(self, index: int) -> Any:
            image, label = self.inner[index]
            return image[:, : 8 - index % 3], label

    with pytest.raises(DataError, match="Expected all images to have one shape, found"):
        fit(Ragged(easy_images()))


def test_pixels_that_are_not_finite() -> None:
    images = torch.rand(8, 1, 8, 8)
    images[5, 0, 0, 0] = float("nan")
    with pytest.raises(DataError, match="found NaN or infinite values in image 5"):
        fit(ImageTensors(images, [0, 1] * 4))


def test_loss_that_is_not_finite_keeps_what_was_saved(tmp_path: Path) -> None:
    fit(easy_images(), out=tmp_path / "run", scheduler="none", epochs=1)
    before = (tmp_path / "run" / "best_model.pt").read_bytes()

    class Poison(Callback):
        def on_step_end(self, trainer: Trainer, step: int) -> None:
            with torch.no_grad():
                trainer.model.projection.weight.fill_(float("nan"))

    config = TrainConfig(out=tmp_path / "run", epochs=2, batch_size=16, precision="fp32", scheduler="none")
    with pytest.raises(TrainingError, match=r"Expected a finite loss, found NaN or infinity by batch \d+ of epoch 2"):
        Trainer(small_model(), config, train=easy_images(), callbacks=[Poison()]).fit()
    assert (tmp_path / "run" / "best_model.pt").read_bytes() == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_asked_for_and_absent() -> None:
    with pytest.raises(DeviceError, match=r"Expected a device for 'cuda', but PyTorch .* finds 0 CUDA devices"):
        fit(easy_images(), device="cuda")


def test_frozen_model_is_refused() -> None:
    model = small_model()
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="Expected a model with parameters that need gradients"):
        fit(easy_images(), model=model)
