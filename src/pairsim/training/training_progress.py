"""Progress bar of training."""

from __future__ import annotations

from pairsim._common.progress import progress_bar
from pairsim.training.history import EpochRecord


class TrainingProgress:
    """Shows on stderr how many images have been trained on, the epoch, and the loss of the last one.

    Args:
        num_epochs: Epochs in all.
        images_per_epoch: Image forwards in an epoch.
        done_epochs: Epochs of an earlier run that is resumed.
        shown: Whether to show the bar; `None` for only on a terminal.
    """

    def __init__(self, num_epochs: int, images_per_epoch: int, done_epochs: int, shown: bool | None) -> None:
        self._num_epochs = num_epochs
        total, done = num_epochs * images_per_epoch, done_epochs * images_per_epoch
        self._bar = progress_bar(total, "", "images", shown, initial=done, leave=True)

    def close(self) -> None:
        """Close the bar."""
        self._bar.close()

    def start_epoch(self, epoch: int) -> None:
        """Show the number of an epoch, counted from 0."""
        self._bar.set_description(f"epoch {epoch + 1}/{self._num_epochs}", refresh=False)

    def add_images(self, num_images: int) -> None:
        """Advance by a number of images."""
        self._bar.update(num_images)

    def end_epoch(self, record: EpochRecord) -> None:
        """Show the loss of an epoch."""
        name, loss = ("train", record.train_loss) if record.val_loss is None else ("val", record.val_loss)
        self._bar.set_postfix_str(f"{name} loss {loss:.4f}", refresh=False)
