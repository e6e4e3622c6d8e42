"""Hooks into training."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pairsim.training.history import EpochRecord, History
    from pairsim.training.trainer import Trainer


class Callback:
    """Override what you need; each hook gets the trainer, whose `model`, `config` and `stop()` are there to use.

    Example:
        >>> class Stop(Callback):
        ...     def on_epoch_end(self, trainer, record):
        ...         if record.val_loss is not None and record.val_loss < 0.05:
        ...             trainer.stop()
    """

    def on_fit_start(self, trainer: Trainer) -> None:
        """Called once before the first epoch, after a checkpoint has been loaded.

        Args:
            trainer: The one that calls.
        """

    def on_step_end(self, trainer: Trainer, step: int) -> None:
        """Called after each optimizer step.

        Args:
            trainer: The one that calls.
            step: Number of steps so far.
        """

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
        """Called after each epoch, its validation and its checkpoint.

        Args:
            trainer: The one that calls.
            record: The epoch's figures.
        """

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        """Called once at the end, with the best weights in the model.

        Args:
            trainer: The one that calls.
            history: The records of all epochs.
        """
