from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_runs import CutOff, CutOffError, easy_images, fit, reference_model
from states import assert_same
from torch import Tensor, nn

from pairsim import Callback, EmbeddingNet, PairDataset, SimilarityModel, TrainConfig, Trainer
from pairsim.errors import TrainingError
from pairsim.training.checkpointing.run_folder import read_log
from pairsim.training.optimize.step import TrainingStep

OPTIMIZERS, SCHEDULERS = ("adam", "adamw", "muon", "sgd"), ("plateau", "onecycle", "cosine", "none")


@pytest.mark.parametrize(
    ("objective", "optimizer", "scheduler"),  # every two of them together
    [
        (("pairs", "all-pairs")[(row + column) % 2], optimizer, scheduler)
        for row, optimizer in enumerate(OPTIMIZERS)
        for column, scheduler in enumerate(SCHEDULERS)
    ],
)
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


def test_pair_dataset_trains_and_validates() -> None:
    images = easy_images()
    trainer = fit(PairDataset(images, 64), PairDataset(images, 32, seed=1), objective="pairs")
    assert trainer.history.records[-1].val_loss is not None
    without = fit(PairDataset(images, 64), objective="pairs")
    assert without.history.records[-1].val_loss is None
    assert any("No validation data" in line for line in without.history.notes)


def test_training_does_not_depend_on_or_change_global_generators() -> None:
    torch.manual_seed(123)
    np.random.seed(5)  # noqa: NPY002
    state = torch.get_rng_state()
    model = reference_model()
    torch.set_rng_state(state)
    first = fit(easy_images(), model=model)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    again = reference_model()
    torch.manual_seed(77)
    second = fit(easy_images(), model=again)
    assert [vars(record) for record in first.history] == [vars(record) for record in second.history]


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


def test_deterministic_mode_is_put_back() -> None:
    fit(easy_images(), epochs=1, deterministic=True)
    assert not torch.are_deterministic_algorithms_enabled()


def test_loss_that_is_not_finite_keeps_what_was_saved(tmp_path: Path) -> None:
    fit(easy_images(), out=tmp_path / "run", scheduler="none", epochs=1)
    before = (tmp_path / "run" / "best_model.pt").read_bytes()

    class Poison(Callback):
        def on_step_end(self, trainer: Trainer, step: int) -> None:
            with torch.no_grad():
                trainer.model.projection.weight.fill_(float("nan"))

    config = TrainConfig(out=tmp_path / "run", epochs=2, batch_size=16, precision="fp32", scheduler="none")
    with pytest.raises(TrainingError, match=r"Expected a finite loss, found NaN or infinity by batch \d+ of epoch 2"):
        Trainer(reference_model(), config, train=easy_images(), callbacks=[Poison()]).fit()
    assert (tmp_path / "run" / "best_model.pt").read_bytes() == before


class PoisonedGradient(Callback):
    """Makes a gradient NaN before one step. The loss of that step is finite."""

    def __init__(self, step: int) -> None:
        self.step: int = step

    def on_step_end(self, trainer: Trainer, step: int) -> None:
        if step + 1 == self.step:
            weight = next(trainer.model.embedding_net.parameters())
            weight.register_hook(lambda gradient: torch.full_like(gradient, torch.nan))


@pytest.mark.parametrize("with_val", [True, False])
@pytest.mark.parametrize(
    ("step", "found"), [(3, "a finite loss"), (6, r"finite values of embedding_net\.\S+"), (8, "finite values of")]
)  # of 4 steps an epoch, with a checkpoint after every second
def test_a_gradient_that_is_not_finite_never_reaches_the_run(
    tmp_path: Path, with_val: bool, step: int, found: str
) -> None:
    images = easy_images()
    settings: dict[str, Any] = {"objective": "pairs", "epochs": 3, "batch_size": 16, "checkpoint_steps": 2}
    val = PairDataset(images, 32, seed=1) if with_val else None

    def trained(folder: Path, *callbacks: Callback) -> Trainer:
        config = TrainConfig(out=folder, precision="fp32", **settings)
        trainer = Trainer(reference_model(), config, train=PairDataset(images, 64), val=val, callbacks=callbacks)
        trainer.fit()
        return trainer

    with pytest.raises(TrainingError, match=f"Expected {found}.*, found NaN or infinity by batch"):
        trained(tmp_path / "run", PoisonedGradient(step))
    for path in (tmp_path / "run").rglob("*.safetensors"):
        assert not any(value.isnan().any() for value in load_file(path).values())
    resumed, whole = trained(tmp_path / "run"), trained(tmp_path / "whole")
    assert_same(resumed.model.state_dict(), whole.model.state_dict())


def test_early_stopping() -> None:
    trainer = fit(
        easy_images(), optimizer=lambda p: torch.optim.SGD(p, lr=0.0), scheduler="none", epochs=9, early_stopping=2
    )
    # with a learning rate of zero only batch norm changes, so the loss soon stops improving
    best = trainer.history.best
    assert best is not None
    assert len(trainer.history) in (9, best.epoch + 2)


def test_epochs_are_trained_when_they_are_asked_for() -> None:
    trainer = Trainer(reference_model(), TrainConfig(epochs=3, batch_size=16, precision="fp32"), train=easy_images())
    records = trainer.epochs()
    assert len(trainer.history) == 0
    assert next(records).epoch == 1
    assert len(trainer.history) == 1
    assert [record.epoch for record in records] == [2, 3]
    assert [vars(record) for record in trainer.history] == [vars(record) for record in fit(easy_images()).history]


def test_unknown_values_of_resume() -> None:
    trainer = Trainer(reference_model(), train=easy_images())
    with pytest.raises(ValueError, match="Expected resume to be one of auto, never, changed-images, got 'always'"):
        trainer.fit(resume="always")  # type: ignore[arg-type]


def test_the_schedule_is_stepped_with_each_update_or_with_each_epoch() -> None:
    rates: list[float] = []

    class Watch(Callback):
        def on_step_end(self, trainer: Trainer, step: int) -> None:
            rates.append(float(trainer.optimizer.param_groups[0]["lr"]))

    def train(**settings: Any) -> list[float]:
        rates.clear()
        config = TrainConfig(epochs=3, batch_size=18, precision="fp32", **settings)
        Trainer(reference_model(), config, train=easy_images(), callbacks=[Watch()]).fit()
        return list(rates)

    assert len(set(train(scheduler="cosine", grad_accumulation=2))) == 6  # 2 updates of 2 batches, 3 epochs
    optimizer = {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr=1.0)}
    falling = train(scheduler="plateau", plateau_patience=0, plateau_factor=0.5, objective=rising(), **optimizer)
    assert [falling[4 * epoch : 4 * epoch + 4] for epoch in range(3)] == [[1.0] * 4, [1.0] * 4, [0.5] * 4]


def test_the_schedule_waits_where_the_gradient_scaler_skips_an_update(monkeypatch: pytest.MonkeyPatch) -> None:
    skipped, rates = [False, True, False, False, True, False], [1.0]
    given = iter(skipped)
    monkeypatch.setattr(TrainingStep, "skipped", property(lambda _: next(given), lambda *_: None), raising=False)

    class Watch(Callback):
        def on_step_end(self, trainer: Trainer, step: int) -> None:
            rates.append(float(trainer.optimizer.param_groups[0]["lr"]))

    config = TrainConfig(epochs=1, batch_size=14, scheduler="cosine", precision="fp32", learning_rate=1.0)
    Trainer(reference_model(), config, train=easy_images(), callbacks=[Watch()]).fit()
    assert [before == after for before, after in pairwise(rates)] == skipped


def rising() -> Any:
    """A loss without gradient towards anything, so that validation does not improve."""
    return lambda embeddings, labels: (embeddings * 0).sum() + 1


# --- progress bar ---


@pytest.mark.parametrize("objective", ["all-pairs", "pairs"])
def test_images_epoch_and_loss_are_shown_on_stderr(capsys: pytest.CaptureFixture[str], objective: Any) -> None:
    data = easy_images() if objective == "all-pairs" else PairDataset(easy_images(), 32)
    trainer = fit(data, objective=objective, epochs=2, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    last = shown.err.split("\r")[-1]
    assert last.startswith("epoch 2/2")
    num_images, record = 2 * trainer.history.num_images, trainer.history.records[-1]
    assert f"{num_images}/{num_images}" in last
    assert " images/s" in last
    kind, loss = ("train", record.train_loss) if record.val_loss is None else ("val", record.val_loss)
    assert kind == ("val" if objective == "all-pairs" else "train")
    assert f"{kind} loss {loss:.4f}" in last


@pytest.mark.parametrize("shown", [False, None])  # stderr is no terminal here
def test_nothing_is_shown_unless_asked_for(capsys: pytest.CaptureFixture[str], shown: bool | None) -> None:
    fit(easy_images(), epochs=1, progress=shown)
    assert capsys.readouterr().err == ""


class Overflow(Callback):
    """Makes the gradient of the projection infinite in some steps, and records the learning rate after each."""

    def __init__(self, steps: set[int]) -> None:
        self.steps = steps
        self.step = 0
        self.states: list[tuple[float, float]] = []

    def on_fit_start(self, trainer: Trainer) -> None:
        self.step = trainer._state.step
        self.record(trainer)

        def overflow(gradient: Tensor) -> Tensor:
            return gradient * torch.inf if self.step + 1 in self.steps else gradient

        trainer.model.embedding_net.get_parameter("fc.1.bias").register_hook(overflow)

    def on_step_end(self, trainer: Trainer, step: int) -> None:
        self.step = step
        self.record(trainer)

    def record(self, trainer: Trainer) -> None:
        rate = float(trainer.optimizer.param_groups[0]["lr"])
        self.states.append((rate, trainer.model.projection.weight.item()))

    def unmoved(self) -> tuple[set[int], set[int]]:
        """Steps that did not change the learning rate, and those that did not change the weights."""
        rates, weights = zip(*self.states, strict=True)
        steps = range(1, len(self.states))
        return {n for n in steps if rates[n] == rates[n - 1]}, {n for n in steps if weights[n] == weights[n - 1]}


FP16: dict[str, Any] = {
    "precision": "fp16",
    "device": "cpu",
    "batch_size": 16,
    "progress": False,
    "scheduler": "cosine",
}


def test_skipped_steps_of_fp16_are_counted_and_do_not_move_the_schedule(tmp_path: Path) -> None:
    overflow = Overflow({2, 3, 7})
    config = TrainConfig(epochs=3, out=tmp_path / "run", **FP16)
    history = Trainer(reference_model(), config, train=easy_images(), callbacks=[overflow]).fit()
    total = len(overflow.states) - 1
    same_rates, skipped = overflow.unmoved()
    assert {2, 3, 7} <= skipped == same_rates  # the first scale may be too large too
    expected = [sum(epoch * total // 3 < step <= (epoch + 1) * total // 3 for step in skipped) for epoch in range(3)]
    assert [record.skipped_steps for record in history] == expected
    (note,) = [note for note in history.notes if note.startswith("fp16: ")]
    assert f"{len(skipped)} of {total} steps were skipped, as a gradient was not finite" in note
    logged, _ = read_log(tmp_path / "run")
    assert [line.get("skipped_steps") for line in logged] == [number or None for number in expected]


def test_skipped_steps_are_counted_over_a_resume(tmp_path: Path) -> None:
    config = TrainConfig(epochs=2, out=tmp_path / "run", checkpoint_steps=1, **FP16)

    class Stop(Overflow):
        def on_step_end(self, trainer: Trainer, step: int) -> None:
            super().on_step_end(trainer, step)
            if step == 4:
                raise KeyboardInterrupt

    first, second = Stop({2}), Overflow({4})
    with pytest.raises(KeyboardInterrupt):
        Trainer(reference_model(), config, train=easy_images(), callbacks=[first]).fit()
    history = Trainer(reference_model(), config, train=easy_images(), callbacks=[second]).fit()
    before = first.unmoved()[1] - {4}  # which is trained again
    assert 2 in before
    assert [record.skipped_steps for record in history] == [len(before) + 1, 0]


def test_without_skipped_steps_nothing_is_said() -> None:
    history = fit(easy_images(), epochs=1).history
    assert not any("skipped" in note for note in history.notes)
    assert "skipped_steps" not in history.to_dict()["epochs"][0]


def test_a_trainer_that_has_trained_does_not_start_again(tmp_path: Path) -> None:
    """Its model and optimizer are not those of the start, and the run would be removed for nothing."""
    trainer = fit(easy_images(), epochs=1, out=tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match='"auto" of a Trainer that has trained, got "never"'):
        trainer.fit(resume="never")
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    assert len(trainer.fit()) == 1


@pytest.mark.parametrize("out", [None, "run"])
def test_a_trainer_that_failed_within_an_epoch_does_not_go_on_with_half_of_its_state(
    tmp_path: Path, out: str | None
) -> None:
    config = TrainConfig(epochs=2, batch_size=16, out=None if out is None else tmp_path / out)
    trainer = Trainer(reference_model(), config, train=easy_images(), callbacks=[CutOff(2)])
    with pytest.raises(CutOffError):
        trainer.fit()
    trainer.callbacks = ()
    with pytest.raises(TrainingError, match="an error ended within epoch 1"):
        trainer.fit()


def test_a_trainer_that_failed_after_a_checkpoint_goes_on_from_it(tmp_path: Path) -> None:
    whole = fit(easy_images(), epochs=2, out=tmp_path / "whole")
    config = TrainConfig(epochs=2, batch_size=16, precision="fp32", out=tmp_path / "cut")
    trainer = Trainer(reference_model(), config, train=easy_images(), callbacks=[CutOff(whole._state.step - 1)])
    with pytest.raises(CutOffError):
        trainer.fit()
    trainer.callbacks = ()
    assert trainer.fit().records == whole.history.records
    assert_same(trainer.model.state_dict(), whole.model.state_dict())


@pytest.mark.parametrize("change", ["another net", "unfrozen"])
def test_parameters_that_the_optimizer_does_not_have_are_refused(change: str) -> None:
    model = reference_model()
    first = next(model.embedding_net.parameters())
    first.requires_grad_(False)
    trainer = Trainer(model, TrainConfig(epochs=1, batch_size=16), train=easy_images())
    if change == "unfrozen":
        first.requires_grad_(True)
    else:
        model.embedding_net = EmbeddingNet(image_size=8, embedding_dim=8)
    with pytest.raises(TrainingError, match="the parameters to train that the model had"):
        trainer.fit()
