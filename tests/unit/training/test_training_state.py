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

from pairsim import TrainConfig, Trainer
from pairsim.errors import RunError
from pairsim.images import Preprocessing
from pairsim.models import OperatingPoint
from pairsim.training import EpochRecord
from pairsim.training.checkpointing.run_folder import pack, unpack
from pairsim.training.training_state import TrainingState

KEYS = (
    "next step loss_sum model preprocessing training_step scheduler ema best best_loss best_point stopped "
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


def test_values_that_are_not_set_stay_none() -> None:
    state = trained_state()
    state.load_state_dict(new_state().state_dict())
    assert (state.best, state.best_point, state.records) == (None, None, [])


def test_pictures_are_not_read_with_another_white() -> None:
    saved, state = stored(trained_state()), new_state()
    state.model.preprocessing = dataclasses.replace(state.model.preprocessing, white=4095)
    said = r"Expected the white that the run was started with \(None\), found 4095. Restore it, choose another"
    with pytest.raises(RunError, match=said):
        state.load_state_dict(saved)
