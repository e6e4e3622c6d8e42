"""The state of a run is restored from what it returned, in place where others share it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import torch
from small_runs import random_images, reference_model
from states import assert_same
from torch import Tensor

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer
from pairsim.data import ImageTensors
from pairsim.errors import RunError, TrainingError
from pairsim.images import Preprocessing
from pairsim.models import OperatingPoint
from pairsim.training import EpochRecord
from pairsim.training.checkpointing.run_folder import pack, unpack
from pairsim.training.training_state import TrainingState

KEYS = (
    "next step skipped loss_sum model preprocessing head training_step scheduler ema best best_loss best_point stopped "
    "records seconds waiting"
)


def new_state(seed: int = 0, **settings: Any) -> TrainingState:
    model = reference_model()
    torch.manual_seed(seed)
    torch.nn.init.normal_(model.projection.weight)
    config = TrainConfig(batch_size=8, precision="fp32", **settings)
    return Trainer(model, config, train=random_images())._state


def trained_state(**settings: Any) -> TrainingState:
    state = new_state(**settings)
    images = random_images(8)
    state.loss_sum += state.training_step(images.images, torch.as_tensor(images.targets), update=True)
    if state.ema is not None:
        state.ema.update_parameters(state.model)
    state.next, state.step, state.stopped = (1, 2), 9, True
    state.best = {name: value.clone() for name, value in state.model.state_dict().items()}
    state.best_loss = 0.5
    state.best_point = OperatingPoint(0.3, 0.1, 0.2, 5, 6, source="validation pairs", fmr_interval=(0.0, 0.2))
    state.records.append(
        EpochRecord(epoch=1, train_loss=0.5, val_loss=None, val_balanced_accuracy=None, learning_rate=0.1, best=True)
    )
    state.seconds.append(2.5)
    state.waiting.append(0.125)
    return state


def stored(state: TrainingState) -> Any:
    """The state as a checkpoint gives it back."""
    tensors: dict[str, Tensor] = {}
    packed = json.loads(json.dumps(pack(state.state_dict(), tensors)))
    return unpack(packed, {name: tensor.clone() for name, tensor in tensors.items()})


def test_the_keys_are_those_of_the_format() -> None:
    assert sorted(new_state().state_dict()) == sorted(KEYS.split())


@pytest.mark.parametrize("settings", [{}, {"ema_decay": 0.9, "memory_size": 12}, {"scheduler": "none"}])
def test_a_restored_state_is_the_same(settings: dict[str, Any]) -> None:
    state = trained_state(**settings)
    saved = stored(state)
    restored = new_state(seed=1, **settings)
    restored.load_state_dict(saved)
    assert_same(restored.state_dict(), state.state_dict())
    assert restored.best_point == state.best_point
    assert restored.records == state.records


def test_lists_and_tensors_are_changed_in_place() -> None:
    state = new_state()
    records, loss_sum = state.records, state.loss_sum
    records.append(dataclasses.replace(trained_state().records[0], epoch=7))
    state.load_state_dict(trained_state().state_dict())
    assert state.records is records
    assert [record.epoch for record in records] == [1]
    assert state.loss_sum is loss_sum
    assert loss_sum > 0


def test_preprocessing_is_stored_with_the_model() -> None:
    state, other = trained_state(), new_state()
    expected = Preprocessing(image_size=(8, 8), channels=1, mean=(0.25,), std=(0.75,))
    state.model.preprocessing = expected
    other.load_state_dict(stored(state))
    assert other.model.preprocessing == expected


def test_preprocessing_is_restored_where_the_weights_do_not_hold_it() -> None:
    state, other = trained_state(), new_state()  # as in a checkpoint of version 0.1.0
    state.model.preprocessing = Preprocessing(image_size=(8, 8), channels=1, mean=(0.25,), std=(0.75,))
    saved = stored(state)
    del saved["model"]["_extra_state"]
    other.load_state_dict(saved)
    assert other.model.preprocessing == state.model.preprocessing


def test_values_that_are_not_set_stay_none() -> None:
    state = trained_state()
    state.load_state_dict(new_state().state_dict())
    assert (state.best, state.best_point, state.records) == (None, None, [])


def contrast(embeddings: Tensor, labels: Tensor) -> Tensor:
    same = (labels[:, None] == labels[None]).float()
    return (embeddings @ embeddings.T - same).square().mean()


def shaded(kind: str) -> ImageTensors:
    """Images whose class is their brightness; all alike; or noise with labels that mean nothing."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(160) % 4
    pixels = torch.randint(0, 60, (160, 1, 16, 16), generator=generator) + 45 * labels[:, None, None, None]
    if kind == "random labels":
        labels = torch.randint(0, 4, (160,), generator=generator)
    return ImageTensors(torch.full_like(pixels, 7).byte() if kind == "alike" else pixels.byte(), labels)


def trained(kind: str, objective: Any, learning_rate: float, epochs: int = 3) -> Trainer:
    torch.manual_seed(1)
    config = TrainConfig(
        objective=objective,
        epochs=epochs,
        batch_size=32,
        learning_rate=learning_rate,
        val_fraction=0.25,
        precision="fp32",
        device="cpu",
        progress=False,
    )
    trainer = Trainer(SimilarityModel(EmbeddingNet(image_size=16, embedding_dim=16)), config, train=shaded(kind))
    trainer.fit()
    return trainer


OBJECTIVES = pytest.mark.parametrize("objective", ["pairs", "all-pairs", contrast], ids=["pairs", "all-pairs", "loss"])


@OBJECTIVES
def test_a_training_on_images_that_are_all_alike_collapses(objective: Any) -> None:
    history = trained("alike", objective, 1e-2, epochs=1).history
    assert history.records[0].val_balanced_accuracy == 0.5
    assert history.notes[-1].startswith(
        "Training collapsed, all embeddings are nearly equal: the model gives every validation pair the same decision"
    )
    assert "Try a learning_rate below 0.01, more epochs, images or classes" in history.notes[-1]
    assert ('objective "all-pairs"' in history.notes[-1]) == (objective != "all-pairs")


@pytest.mark.parametrize("objective", ["pairs", "all-pairs"])
@pytest.mark.parametrize("learning_rate", [1e4, 1e8])
def test_a_training_with_a_far_too_high_learning_rate_says_so(objective: str, learning_rate: float) -> None:
    trainer = trained("brightness", objective, learning_rate)
    assert {record.val_balanced_accuracy for record in trainer.history} == {0.5}
    # at such rates rounding decides whether all embeddings end up equal
    assert trainer.history.notes[-1].startswith(("Training collapsed", "Training did not succeed"))
    assert f"Try a learning_rate below {learning_rate:g}" in trainer.history.notes[-1]


@OBJECTIVES
def test_a_training_that_works_has_no_such_note(objective: Any) -> None:
    history = trained("brightness", objective, 1e-2, epochs=4).history
    best = history.best
    assert best is not None
    assert best.val_balanced_accuracy is not None
    assert best.val_balanced_accuracy > 0.7
    assert not [note for note in history.notes if "same decision" in note]


@OBJECTIVES
def test_labels_that_mean_nothing_are_no_collapse(objective: Any) -> None:
    trainer = trained("random labels", objective, 1e-2, epochs=6)
    assert not [note for note in trainer.history.notes if "collapsed" in note]
    embeddings = trainer.model.encode(shaded("random labels").images)
    assert float((embeddings @ embeddings.T).min()) < 0.9


def test_embeddings_that_are_not_finite_end_the_training() -> None:
    class Broken(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Linear(64, 8)

        def forward(self, images: Tensor) -> Tensor:
            embeddings: Tensor = self.net(images.flatten(1))
            return embeddings if self.training else embeddings * torch.nan

    images = ImageTensors(torch.rand(32, 1, 8, 8), [0, 1] * 16)
    model = SimilarityModel(Broken(), preprocessing=Preprocessing(image_size=(8, 8), channels=1))
    trainer = Trainer(model, TrainConfig(epochs=1, batch_size=8, val_fraction=0.25, device="cpu"), train=images)
    with pytest.raises(TrainingError, match="finite embeddings of the validation images, found NaN after epoch 1"):
        trainer.fit()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"white": 4095}, r"the white that the run was started with \(None\), found 4095. Restore it, choose another"),
        ({"fit": "pad"}, r"the fit that the run was started with \(stretch\), found pad. Restore it"),
        ({"interpolation": "bicubic"}, r"the interpolation that the run was started with \(bilinear\), found bicubic."),
        ({"central_fraction": 0.8}, r"the central_fraction that the run was started with \(1.0\), found 0.8."),
        ({"image_size": (9, 7)}, r"the image_size that the run was started with \(.*\), found \(9, 7\)."),
    ],
)
def test_pictures_are_not_read_in_another_way(change: dict[str, Any], said: str) -> None:
    saved, state = stored(trained_state()), new_state()
    state.model.preprocessing = dataclasses.replace(state.model.preprocessing, **change)
    with pytest.raises(RunError, match=f"^Expected {said}"):
        state.load_state_dict(saved)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"step": ...}, "KeyError: 'step'"),
        ({"preprocessing": 7}, "AttributeError: 'int' object has no attribute 'get'"),
        ({"model": {}}, "RuntimeError: Error"),
        ({"training_step": {"optimizer": {"state": {}, "param_groups": []}}}, "ValueError"),
        ({"scheduler": [1]}, "Error"),
        ({"loss_sum": torch.zeros(3, 3)}, "RuntimeError"),
        ({"records": [{"epoch": 1}]}, "TypeError"),
        ({"best_point": {"threshold": "x"}}, "TypeError"),
    ],
)
def test_a_state_that_does_not_fit_is_one_line(change: dict[str, Any], said: str) -> None:
    state = {name: value for name, value in {**trained_state().state_dict(), **change}.items() if value is not ...}
    with pytest.raises(RunError) as caught:
        new_state().load_state_dict(state)
    assert str(caught.value).startswith("Expected a checkpoint of this net and these settings, found one that does not")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_another_kind_are_not_restored() -> None:
    state = trained_state().state_dict()
    state["model"] = {**state["model"], "projection.bias": torch.ones(1, dtype=torch.int32)}
    with pytest.raises(RunError, match=r"Expected projection\.bias in model of the checkpoint as torch\.float32"):
        new_state().load_state_dict(state)


def test_a_state_that_did_not_count_skipped_steps() -> None:
    state = trained_state().state_dict()
    del state["skipped"]
    restored = new_state()
    restored.load_state_dict(state)
    assert restored.skipped == 0
