"""What must hold on a GPU, run on the CPU as well, where it shows that the tests themselves are right."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import CutOff, CutOffError, dropout_model, easy_images, random_images, reference_model
from torch import Tensor

from pairsim import Callback, Gallery, TrainConfig, Trainer, evaluate
from pairsim.errors import TrainingError

GPU = pytest.param("cuda", marks=pytest.mark.gpu)
DEVICES = [pytest.param("cpu", marks=pytest.mark.slow), GPU]


def train(device: str, *callbacks: Callback, images: Any = None, **settings: Any) -> Trainer:
    values = {"precision": "fp32", "batch_size": 16, "epochs": 3, "progress": False, "deterministic": True, **settings}
    config = TrainConfig(device=device, **values)
    data = easy_images() if images is None else images
    trainer = Trainer(reference_model(), config, train=data, callbacks=callbacks)
    trainer.fit()
    return trainer


def weights(trainer: Trainer) -> list[Tensor]:
    return [value.detach().cpu().double() for value in trainer.model.state_dict().values() if value.is_floating_point()]


def assert_near(found: Trainer, expected: Trainer, tolerance: float) -> None:
    for one, other in zip(weights(found), weights(expected), strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adam"},
        {"optimizer": "sgd", "scheduler": "cosine", "grad_clip": 0.5},
        {"optimizer": "adamw", "batch_size": 24, "ema_decay": 0.9},  # the last batch has another size
        {"objective": "pairs", "num_pairs": 64, "sam_rho": 0.05},
        {"objective": "normalized-softmax"},
    ],
    ids=lambda settings: " ".join(map(str, settings.values())),
)
def test_a_replayed_step_is_the_eager_one(device: str, precision: str, settings: dict[str, Any]) -> None:
    eager = train(device, precision=precision, cuda_graph=False, **settings)
    graphed = train(device, precision=precision, cuda_graph=True, **settings)
    assert_near(graphed, eager, 0 if device == "cpu" else 1e-5 if precision == "fp32" else 1e-2)
    if device == "cuda":
        assert graphed._state.training_step._graphed is not None
        assert not any("cannot be recorded" in note for note in graphed.history.notes)


@pytest.mark.parametrize("device", DEVICES)
def test_an_objective_that_waits_for_the_device_still_trains(device: str) -> None:
    def waits(embeddings: Tensor, labels: Tensor) -> Tensor:
        same = labels[:, None] == labels
        distances = 1 - embeddings @ embeddings.T
        return distances[same].mean() - float(distances.detach().max()) * distances[~same].mean()

    found = train(device, objective=waits, cuda_graph=True)
    expected = train(device, objective=waits, cuda_graph=False)
    assert_near(found, expected, 0)
    assert len(found.history) == 3


@pytest.mark.parametrize("device", DEVICES)
def test_equal_runs_have_equal_weights(device: str) -> None:
    first, second = (train(device, augment="affine", precision="bf16") for _ in range(2))
    assert_near(first, second, 0)


@pytest.mark.parametrize("device", DEVICES)
def test_a_resumed_run_ends_as_an_undisturbed_one(device: str, tmp_path: Path) -> None:
    def run(out: Path, *callbacks: Callback) -> Trainer:
        config = TrainConfig(
            out=out, device=device, precision="fp32", batch_size=16, epochs=3, checkpoint_steps=2, progress=False,
            deterministic=True, ema_decay=0.9,
        )  # fmt: skip
        trainer = Trainer(dropout_model(), config, train=random_images(), callbacks=callbacks)
        trainer.fit()
        return trainer

    with pytest.raises(CutOffError):
        run(tmp_path / "a", CutOff(5))
    assert_near(run(tmp_path / "a"), run(tmp_path / "b"), 0 if device == "cpu" else 1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_fit_goes_on_after_an_interruption_with_steps_that_are_recorded_anew(device: str, tmp_path: Path) -> None:
    class Interrupt(Callback):
        def on_step_end(self, trainer: Trainer, step: int) -> None:
            if step == 7:
                trainer.interrupt()

    values: dict[str, Any] = {"device": device, "precision": "fp32", "batch_size": 16, "epochs": 4, "progress": False}
    config = TrainConfig(out=tmp_path / "run", deterministic=True, **values)
    trainer = Trainer(reference_model(), config, train=easy_images(), callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    trainer.callbacks = ()
    trainer.fit()
    assert_near(trainer, train(device, epochs=4), 0 if device == "cpu" else 1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_a_skipped_step_of_fp16_is_counted(device: str) -> None:
    class Overflow(Callback):
        def on_step_end(self, trainer: Trainer, step: int) -> None:
            if step == 2:
                trainer._state.training_step._scaler.update(1e30)

    trainer = train(device, Overflow(), precision="fp16")
    assert sum(record.skipped_steps for record in trainer.history) >= 1
    assert all(value.isfinite().all() for value in weights(trainer))


@pytest.mark.parametrize("device", DEVICES)
def test_embeddings_neighbours_and_figures_are_those_of_the_cpu(device: str) -> None:
    images = easy_images(60)
    model = train("cpu").model.eval()
    expected = model.encode(images.images, precision="fp32")
    report = evaluate(model, images)
    gallery = Gallery(model)
    gallery.add(images.images, list(range(60)))
    neighbours = gallery.search(images.images[:7], k=5)
    model.to(device)
    found = model.encode(images.images, precision="fp32").cpu()
    torch.testing.assert_close(found, expected, rtol=0, atol=0 if device == "cpu" else 1e-5)
    again = evaluate(model, images)
    assert again.roc_auc == pytest.approx(report.roc_auc, abs=1e-4)
    assert again.eer == pytest.approx(report.eer, abs=1e-3)
    other = gallery.search(images.images[:7], k=5)
    torch.testing.assert_close(other.similarities.cpu(), neighbours.similarities, rtol=0, atol=1e-5)


@pytest.mark.gpu
def test_memory_is_given_back() -> None:
    train("cuda")
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    for _ in range(3):
        train("cuda", cuda_graph=True)
        gc.collect()
    torch.cuda.empty_cache()
    assert torch.cuda.memory_allocated() - before <= 2**20


@pytest.mark.gpu
def test_a_batch_size_that_fits_is_named() -> None:
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**29) / total)
    try:
        with pytest.raises(TrainingError, match=r"there is not enough; batch_size=\d+ fits"):
            train("cuda", images=easy_images(20_000, size=28), batch_size=16_384, cuda_graph=False)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
