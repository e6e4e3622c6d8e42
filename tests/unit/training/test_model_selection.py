"""The best model: how it is validated, chosen, kept and saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_runs import easy_images, fit, random_images, reference_model
from torch import Tensor

from pairsim import Callback, EmbeddingNet, PairDataset, SimilarityModel, TrainConfig, Trainer
from pairsim.data import ImageTensors
from pairsim.training import EpochRecord
from pairsim.training.validation import all_pairs, fit_projection


def test_best_weights_are_in_the_model_at_the_end(tmp_path: Path) -> None:
    trainer = fit(easy_images(), out=tmp_path / "run", learning_rate=0.3, epochs=5)
    saved = torch.load(tmp_path / "run" / "best_model.pt", weights_only=True)
    state = trainer.model.sealed_state_dict()
    assert saved.keys() == state.keys()
    assert all(torch.equal(saved[name], state[name]) for name in saved)
    loaded = SimilarityModel.from_pretrained(tmp_path / "run")
    assert loaded.operating_point == trainer.model.operating_point
    assert loaded.preprocessing == trainer.model.preprocessing


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


def test_the_best_model_has_the_fitted_projection() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (160, 1, 8, 8), generator=generator, dtype=torch.uint8)
    train, val = ImageTensors(pixels[:80], [0, 1] * 40), ImageTensors(pixels[80:], [0, 1] * 40)  # nothing to learn
    model = SimilarityModel(EmbeddingNet(image_size=8, embedding_dim=8))
    Trainer(model, TrainConfig(epochs=2, batch_size=16, device="cpu", precision="fp32"), train=train, val=val).fit()
    kept = [model.projection.weight.item(), model.projection.bias.item()]
    assert model.operating_point is not None or kept[0] <= 0
    parts = all_pairs(model.encode(val.images), torch.tensor([0, 1] * 40))
    fit_projection(model, parts)
    assert [model.projection.weight.item(), model.projection.bias.item()] == pytest.approx(kept, abs=1e-2)


def test_averaged_weights_are_saved() -> None:
    plain = fit(easy_images(), epochs=1)
    averaged = fit(easy_images(), epochs=1, ema_decay=0.9)
    assert not torch.equal(plain.model.projection.weight, averaged.model.projection.weight)


def test_the_best_model_has_the_lowest_validation_loss() -> None:
    states: list[dict[str, Tensor]] = []

    class Watch(Callback):
        def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
            states.append({name: value.clone() for name, value in trainer.model.state_dict().items()})

    config = TrainConfig(epochs=6, batch_size=16, precision="fp32", learning_rate=0.3, scheduler="none")
    trainer = Trainer(reference_model(), config, train=random_images(90), callbacks=[Watch()])
    history = trainer.fit()
    losses = [record.val_loss for record in history if record.val_loss is not None]
    assert history.best is not None
    assert history.best.epoch == losses.index(min(losses)) + 1 < 6
    expected, state = states[history.best.epoch - 1], trainer.model.state_dict()
    names = [name for name in state if not name.startswith("projection.")]  # which may be fitted
    assert all(torch.equal(state[name], expected[name]) for name in names)
    assert not trainer.model.training


def test_without_validation_data_the_last_epoch_is_the_best() -> None:
    trainer = fit(PairDataset(easy_images(), 64), objective="pairs")
    assert [record.best for record in trainer.history] == [True] * 3
    assert [record.val_loss for record in trainer.history] == [None] * 3
    assert trainer.model.operating_point is None


def test_batch_norm_is_estimated_again_before_validation() -> None:
    plain, again = fit(easy_images(), epochs=1), fit(easy_images(), epochs=1, batch_norm_batches=2)
    assert plain.history.records[0].train_loss == again.history.records[0].train_loss
    assert plain.history.records[0].val_loss != again.history.records[0].val_loss
    means = [name for name in plain.model.state_dict() if name.endswith("running_mean")]
    assert means
    assert not any(torch.equal(plain.model.state_dict()[name], again.model.state_dict()[name]) for name in means)


def test_a_calibration_of_other_weights_is_dropped() -> None:
    model = reference_model()
    model.encode(easy_images().images)
    trained = fit(easy_images(), model=model).model
    assert trained.calibration is None
    assert trained.operating_point is not None
    assert trained.operating_point.source == "validation pairs"
