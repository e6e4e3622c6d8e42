"""Hooks into training."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pairsim.training.history import EpochRecord, History
    from pairsim.training.trainer import Trainer


class Callback:
    """Base class of callbacks: override the hooks you need.

    Each hook gets the trainer, and may use its `model`, `config`, `history` and `stop()`.

    Example:
        >>> class Stop(Callback):
        ...     def on_epoch_end(self, trainer, record):
        ...         if record.val_loss is not None and record.val_loss < 0.05:
        ...             trainer.stop()
    """

    def on_fit_start(self, trainer: Trainer) -> None:
        """Called once before the first epoch, after loading a checkpoint.

        Args:
            trainer: The trainer that calls.
        """

    def on_step_end(self, trainer: Trainer, step: int) -> None:
        """Called after each optimizer step.

        Args:
            trainer: The trainer that calls.
            step: Optimizer steps so far.
        """

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
        """Called after each epoch, its validation and its checkpoint.

        Args:
            trainer: The trainer that calls.
            record: The results of the epoch.
        """

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        """Called once at the end, with the best weights in the model.

        Args:
            trainer: The trainer that calls.
            history: The records of all epochs.
        """
