"""Validation after each epoch, and the choice of the best model."""

from __future__ import annotations

import dataclasses
from itertools import islice

import torch
from torch import Tensor

from pairsim.models import OperatingPoint, SimilarityModel
from pairsim.training.checkpointing.run_folder import RunFolder
from pairsim.training.checkpointing.training_state import TrainingState
from pairsim.training.data_setup import ValidationData
from pairsim.training.history import EpochRecord
from pairsim.training.optimize.batch_norm import reestimate_batch_norm, share_buffers
from pairsim.training.run_setup import RunSetup
from pairsim.training.validation import Validation, fit_projection, fitted_projection, validate


class ModelSelection:
    """Validates the model after each epoch and keeps the weights of the epoch with the lowest validation loss.

    Without validation data each epoch counts as the best so far.

    Args:
        state: Holds the model and the best weights.
        setup: The training run.
        run: Where the best model is saved.
    """

    def __init__(self, state: TrainingState, setup: RunSetup, run: RunFolder) -> None:
        self._state = state
        self._setup = setup
        self._run = run

    def end_epoch(self, epoch: int, train_loss: float) -> EpochRecord:
        """Validate the model, and keep it if it is the best so far.

        Args:
            epoch: Number of the epoch, from 0.
            train_loss: Mean loss of its batches.

        Returns:
            The record of the epoch.
        """
        state, setup = self._state, self._setup
        (train_loss,) = setup.world.broadcast_numbers([train_loss])
        model = state.evaluated_model
        if setup.config.batch_norm_batches:
            batches = islice(setup.data.loader.epoch(epoch), setup.config.batch_norm_batches)
            with setup.precision.autocast():
                images = (images for images, _ in batches)
                reestimate_batch_norm(model, images, model.embed, skip=setup.frozen.holds)
        share_buffers(state.models, setup.world, skip=setup.frozen.holds)
        validation = None
        if setup.data.validation is None:
            is_best, state.best_loss = True, train_loss
            self._keep(model, None)
        else:
            similarities = self._similarities(model, setup.data.validation)
            validation = self._of_main(model, validate(model, similarities))
            is_best = validation.loss < state.best_loss
            if is_best:
                state.best_loss = validation.loss
                with fitted_projection(model, similarities, validation) as fitted:
                    self._keep(model, self._of_main(model, fitted).operating_point(model))
        return EpochRecord(
            epoch=epoch + 1,
            train_loss=train_loss,
            val_loss=None if validation is None else validation.loss,
            val_balanced_accuracy=None if validation is None else validation.balanced_accuracy,
            learning_rate=float(state.training_step.optimizer.param_groups[0]["lr"]),
            best=is_best,
        )

    def load_best(self) -> None:
        """Load the best weights into the model, in all processes, and save it."""
        state = self._state
        if state.best is not None:
            state.model.load_state_dict(state.best)
            self._setup.world.broadcast(state.model.state_dict().values())
        state.model.eval()
        state.model.operating_point = state.best_point
        state.model.calibration = None  # it was of other weights
        if state.best is not None:
            self._run.write_best(state.model)

    def _similarities(self, model: SimilarityModel, data: ValidationData) -> list[tuple[Tensor, Tensor]]:
        """Compute the similarities of positive and negative validation pairs, part by part."""
        with model.evaluating(), torch.no_grad():
            embeddings = []
            for images, _ in data.loader.epoch(0):
                with self._setup.precision.autocast():
                    embeddings.append(model.embed(images))
            own = torch.cat(embeddings)[: data.rows.stop - data.rows.start]
            similarities = data.pairs.parts(self._setup.world.all_gather(own, data.rows, data.num_images))
            if not self._setup.objective.trains_projection:
                fit_projection(model, similarities)
        return similarities

    def _of_main(self, model: SimilarityModel, validation: Validation) -> Validation:
        """Take projection and results from rank 0, so that all processes decide equally: GPUs may round differently."""
        world = self._setup.world
        world.broadcast(model.projection.parameters())
        loss, accuracy, fmr, fnmr = world.broadcast_numbers(
            [validation.loss, validation.balanced_accuracy, validation.fmr, validation.fnmr]
        )
        return dataclasses.replace(validation, loss=loss, balanced_accuracy=accuracy, fmr=fmr, fnmr=fnmr)

    def _keep(self, model: SimilarityModel, point: OperatingPoint | None) -> None:
        self._state.best_point = model.operating_point = point
        model.calibration = None
        self._state.best = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self._run.write_best(model)
