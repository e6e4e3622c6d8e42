from __future__ import annotations

from typing import Any

import pytest
from small_runs import easy_images, reference_model

from pairsim import Callback, History, TrainConfig, Trainer
from pairsim.training import EpochRecord


class Recorder(Callback):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_fit_start(self, trainer: Trainer) -> None:
        self.calls.append("start")

    def on_step_end(self, trainer: Trainer, step: int) -> None:
        self.calls.append(f"step {step}")

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
        assert trainer.history.records[-1] == record
        self.calls.append(f"epoch {record.epoch}")

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        assert history is trainer.history
        self.calls.append("end")


def trainer_of(*callbacks: Callback, **settings: Any) -> Trainer:
    config = TrainConfig(**{"epochs": 2, "batch_size": 36, "precision": "fp32", **settings})
    return Trainer(reference_model(), config, train=easy_images(), callbacks=callbacks)


def test_hooks_are_called_in_order() -> None:
    recorder = Recorder()
    trainer_of(recorder).fit()
    assert recorder.calls == ["start", "step 1", "step 2", "epoch 1", "step 3", "step 4", "epoch 2", "end"]


def test_steps_are_updates_and_not_batches() -> None:
    recorder = Recorder()
    trainer_of(recorder, epochs=1, batch_size=18, grad_accumulation=3).fit()
    assert recorder.calls == ["start", "step 1", "step 2", "epoch 1", "end"]


def test_the_base_class_does_nothing() -> None:
    plain, with_callback = trainer_of(), trainer_of(Callback())
    assert [vars(record) for record in plain.fit()] == [vars(record) for record in with_callback.fit()]


def test_stop_ends_training_after_the_epoch() -> None:
    class Stop(Callback):
        def on_step_end(self, trainer: Trainer, step: int) -> None:
            trainer.stop()

    recorder = Recorder()
    assert len(trainer_of(Stop(), recorder, epochs=5).fit()) == 1
    assert recorder.calls == ["start", "step 1", "step 2", "epoch 1", "end"]


def test_an_error_in_a_callback_reaches_the_caller() -> None:
    class Broken(Callback):
        def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
            raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        trainer_of(Broken()).fit()


@pytest.mark.parametrize("callbacks", [Recorder(), [Recorder], [print], None, "ab"])
def test_what_is_no_list_of_callbacks(callbacks: Any) -> None:
    with pytest.raises(TypeError, match="Expected callbacks to be a list of Callback objects, got"):
        Trainer(reference_model(), TrainConfig(epochs=1), train=easy_images(), callbacks=callbacks)
