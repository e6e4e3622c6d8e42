"""State of a training run, as it is stored in checkpoints; validation after each epoch, and the best model."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from pairsim.errors import RunError, TrainingError
from pairsim.images import Preprocessing
from pairsim.models import OperatingPoint, SimilarityModel
from pairsim.models.verdict import one_decision
from pairsim.models.weight_names import check_kinds, unwrapped
from pairsim.training.checkpointing.run_folder import RunFolder
from pairsim.training.data_setup import TrainingData, ValidationData
from pairsim.training.distributed.world import World
from pairsim.training.history import EpochRecord
from pairsim.training.optimize.batch_norm import reestimate_batch_norm, share_buffers
from pairsim.training.optimize.optimizers import FrozenParts, Scheduler
from pairsim.training.optimize.step import TrainingStep
from pairsim.training.validation import Parts, Validation, fit_projection, fitted_projection, validate

_MAX_TEXT = 300
_COLLAPSED = 0.01
"""Variance of the embeddings, 0 if all are equal and at most 1, below which they carry hardly any information."""


@dataclass
class TrainingState:
    """Everything that changes during training. A checkpoint holds each attribute under its name.

    Attributes:
        model: The model in training; a checkpoint also holds its `preprocessing` and the name of its head.
        training_step: Optimizer, gradient scaler and the state of the objective.
        scheduler: Learning rate schedule, or `None`.
        ema: Moving average of the weights, or `None`.
        loss_sum: Sum of the batch losses of the current epoch, 0-dimensional, on the device.
        records: One record for each epoch.
        seconds: Wall time of each epoch.
        waiting: Share of each epoch's time spent waiting for data.
        next: Epoch and batch to train next.
        step: Optimizer steps so far.
        skipped: Those of the current epoch that the gradient scaler of fp16 skipped.
        stopped: Whether training ends after the current epoch.
        best: Weights of the best epoch, `None` before the first.
        best_loss: Validation loss of that epoch, or training loss without validation data.
        best_point: Operating point of that epoch.
    """

    model: SimilarityModel
    training_step: TrainingStep
    scheduler: Scheduler | None
    ema: AveragedModel | None
    loss_sum: Tensor
    records: list[EpochRecord]
    seconds: list[float]
    waiting: list[float]
    next: tuple[int, int] = (0, 0)
    step: int = 0
    skipped: int = 0
    stopped: bool = False
    best: dict[str, Tensor] | None = None
    best_loss: float = math.inf
    best_point: OperatingPoint | None = None

    @property
    def evaluated_model(self) -> SimilarityModel:
        """The model to validate and save: with averaged weights if there is an `ema`."""
        return self.model if self.ema is None else cast("SimilarityModel", self.ema.module)

    @property
    def models(self) -> list[SimilarityModel]:
        """The model in training and, if there is one, the model with averaged weights."""
        return [self.model] if self.ema is None else [self.model, self.evaluated_model]

    def state_dict(self, without: Collection[str] = ()) -> dict[str, Any]:
        """Return the state as nested dictionaries, lists, tensors, numbers and text.

        Args:
            without: Names of attributes to leave out.
        """
        state = {name: _encoded(value) for name, value in vars(self).items() if name not in without}
        head = getattr(unwrapped(self.model.embedding_net), "head_name", None)
        return {**state, "preprocessing": self.model.preprocessing.to_dict(), "head": head}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned. Lists and tensors are changed in place.

        Raises:
            RunError: If the state does not fit this run, or pictures are read in another way than before.
        """
        try:
            self._restore(state)
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            text = textwrap.shorten(str(error), _MAX_TEXT).rstrip(".")
            raise RunError(
                f"Expected a checkpoint of this net and these settings, found one that does not fit: "
                f"{type(error).__name__}: {text}. Start again with --resume never, or choose another --out."
            ) from error

    def _restore(self, state: dict[str, Any]) -> None:
        preprocessing = Preprocessing.from_dict(state["preprocessing"])
        for name in ("white", "fit", "interpolation", "image_size", "channels", "central_fraction"):
            before, now = getattr(preprocessing, name), getattr(self.model.preprocessing, name)
            if before != now:
                raise RunError(
                    f"Expected the {name} that the run was started with ({before}), found {now}. Restore it, choose "
                    "another --out, or start again with --resume never."
                )
        self.model.preprocessing = preprocessing
        state = {"skipped": 0, **state}  # which earlier versions did not count
        for name, value in vars(self).items():
            saved = state[name]
            if isinstance(value, nn.Module):
                check_kinds(saved, value.state_dict(), f"{name} of the checkpoint")
            if hasattr(value, "load_state_dict"):
                value.load_state_dict(saved)
            elif isinstance(value, Tensor):
                value.copy_(saved)
            elif isinstance(value, list):
                value[:] = [EpochRecord(**item) if isinstance(item, dict) else item for item in saved]
            else:
                setattr(self, name, saved)
        if state["best_point"] is not None:
            self.best_point = OperatingPoint.from_dict(state["best_point"])

    def not_finite(self) -> str | None:
        """Name weights, a moving average or state of the optimizer that are NaN or infinite; `None` if all are finite.

        Buffers may be infinite, as masks of minus infinity are, but not NaN. It waits for the device once.
        """
        objective = self.training_step.objective.state
        parts = [*self.models, *([] if objective is None else [objective])]
        weights = [item for part in parts for item in part.named_parameters()]
        moments = [
            (f"{name} of the optimizer", value)
            for values in self.training_step.optimizer.state.values()
            for name, value in values.items()
        ]
        buffers = [item for part in parts for item in part.named_buffers()]
        finite, known = (
            [(name, value.detach()) for name, value in named if _is_float(value)]
            for named in ([*weights, *moments], buffers)
        )
        bad = [*(~value.isfinite().all() for _, value in finite), *(value.isnan().any() for _, value in known)]
        # some optimizers count steps on the CPU
        places = torch.stack([one.to(self.loss_sum.device) for one in bad]).nonzero().flatten().tolist() if bad else []
        return f"finite values of {[*finite, *known][places[0]][0]}" if places else None

    def keep(self, run: RunFolder, point: OperatingPoint | None) -> None:
        """Keep the evaluated model as the best one so far, with its operating point, and save it."""
        model = self.evaluated_model
        self.best_point = model.operating_point = point
        model.calibration = None
        self.best = {name: value.detach().clone() for name, value in model.state_dict().items()}
        run.write_best(model)

    def fit_current(self, data: TrainingData) -> None:
        """Fit the projection and the operating point of the model in training to the validation pairs."""
        model, point = self.model.eval(), None
        if data.validation is not None:
            similarities = _similarities(self.training_step, model, data.validation)
            fit_projection(model, similarities)
            point = validate(model, similarities).operating_point(model)
        self.best_point = model.operating_point = point
        model.calibration = None

    def save(self, run: RunFolder, *, replaces: bool = True) -> None:
        """Save the model as the best one; if the run holds it, it gets the threshold and calibration stored there.

        Args:
            run: The folder.
            replaces: As for `RunFolder.keep_best`.
        """
        settings = self.training_step.world.call_on_main(lambda: run.keep_best(self.model, replaces=replaces))
        if settings is not None:
            self.model.load_settings(settings)

    def load_best(self, run: RunFolder, *, replaces: bool) -> None:
        """Load the best weights into the model, in all processes, and save it (see `save`)."""
        if self.best is not None:
            self.model.load_state_dict(self.best)
            self.training_step.world.broadcast((*self.model.parameters(), *self.model.buffers()))
        self.model.eval()
        self.model.operating_point = self.best_point
        self.model.calibration = None  # it was of other weights
        if self.best is not None:
            self.save(run, replaces=replaces)


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.numel() > 0


def _encoded(value: Any) -> Any:
    if hasattr(value, "state_dict"):
        return value.state_dict()
    if isinstance(value, EpochRecord | OperatingPoint):
        return dataclasses.asdict(value)
    return [_encoded(item) for item in value] if isinstance(value, list) else value


def end_epoch(
    state: TrainingState, data: TrainingData, frozen: FrozenParts, run: RunFolder, *, train_loss: float
) -> EpochRecord:
    """Validate the model after an epoch, and keep it if it has the lowest validation loss so far.

    Without validation data each epoch counts as the best so far.

    Args:
        state: Holds the model and the best weights; `next` is still in the epoch.
        data: Batches and validation data.
        frozen: Parts of the model that are not trained.
        run: Where the best model is saved.
        train_loss: Mean loss of the batches of the epoch.

    Returns:
        The record of the epoch.
    """
    step, model, epoch = state.training_step, state.evaluated_model, state.next[0]
    train_loss = step.world.of_main(train_loss)
    if step.config.batch_norm_batches:
        batches = islice(data.loader.epoch(epoch), step.config.batch_norm_batches)
        with step.precision.autocast():
            reestimate_batch_norm(model, (images for images, _ in batches), model.embed, skip=frozen.holds)
    share_buffers(state.models, step.world, skip=frozen.holds)
    validation = None
    if data.validation is None:
        is_best, state.best_loss = True, train_loss
        state.keep(run, None)
    else:
        similarities = _similarities(step, model, data.validation)
        validation = _of_main(step.world, model, validate(model, similarities))
        if math.isnan(validation.loss):
            raise TrainingError(
                f"Expected finite embeddings of the validation images, found NaN after epoch {epoch + 1}. "
                "Lower learning_rate, set grad_clip=1.0, or use precision fp32. Saved checkpoints are from before."
            )
        is_best = validation.loss < state.best_loss
        if is_best:
            state.best_loss = validation.loss
            with fitted_projection(model, similarities, validation) as fitted:
                state.keep(run, _of_main(step.world, model, fitted).operating_point(model))
    return EpochRecord(
        epoch=epoch + 1,
        train_loss=train_loss,
        val_loss=None if validation is None else validation.loss,
        val_balanced_accuracy=None if validation is None else validation.balanced_accuracy,
        learning_rate=float(step.optimizer.param_groups[0]["lr"]),
        best=is_best,
        skipped_steps=state.skipped,
    )


def skip_notes(state: TrainingState) -> list[str]:
    """Return a line if fp16 skipped steps: how many."""
    skipped = sum(record.skipped_steps for record in state.records)
    if not skipped:
        return []
    return [
        f"fp16: {skipped:,} of {state.step:,} steps were skipped, as a gradient was not finite; weights and learning "
        "rate stayed the same. If they are many, lower learning_rate, set grad_clip=1.0, or use precision bf16 or fp32."
    ]


def collapse_notes(state: TrainingState, data: TrainingData) -> list[str]:
    """Return a line if the best model gives every validation pair the same decision: why, and what to try."""
    step, model = state.training_step, state.model
    reason = one_decision(model)
    if reason is None or data.validation is None:
        return []
    embeddings = _embeddings(step, model, data.validation).float()
    variance = float(embeddings.square().sum(dim=1).mean() - embeddings.mean(dim=0).square().sum())
    collapsed = variance < _COLLAPSED
    what = "Training collapsed, all embeddings are nearly equal" if collapsed else "Training did not succeed"
    rate = f"a learning_rate below {step.config.learning_rate:g}, more epochs, images or classes"
    objective = "" if step.config.objective == "all-pairs" else ', objective "all-pairs"'
    return [
        f"{what}: the model gives every validation pair the same decision ({reason}). Try {rate}{objective}, and check "
        "the labels and the images."
    ]


def _embeddings(step: TrainingStep, model: SimilarityModel, data: ValidationData) -> Tensor:
    """Embed all validation images, `[N, D]`, in all processes."""
    with model.evaluating(), torch.no_grad():
        with step.precision.autocast():
            embeddings = [model.embed(images) for images, _ in data.loader.epoch(0)]
        own = torch.cat(embeddings)[: data.rows.stop - data.rows.start]
        return step.world.all_gather(own, data.rows, data.num_images)


def _similarities(step: TrainingStep, model: SimilarityModel, data: ValidationData) -> Parts:
    """Compute the similarities of positive and negative validation pairs, part by part."""
    with torch.no_grad():
        similarities = data.similarities(_embeddings(step, model, data))
        if not step.objective.trains_projection:
            fit_projection(model, similarities)
    return similarities


def _of_main(world: World, model: SimilarityModel, validation: Validation) -> Validation:
    """Take projection and results from rank 0, so that all processes decide equally: GPUs may round differently."""
    world.broadcast(model.projection.parameters())
    return Validation(*world.of_main(dataclasses.astuple(validation)))
