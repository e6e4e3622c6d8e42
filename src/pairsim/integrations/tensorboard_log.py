"""Log training to TensorBoard: curves, figures and embeddings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pairsim.data import LabelledImages
from pairsim.data.image_sets import fetch_images
from pairsim.encoding.datasets import encode_dataset
from pairsim.errors import require
from pairsim.training import Callback, EpochRecord, History, Trainer
from pairsim.visual.curves.training_figures import draw_training_curves
from pairsim.visual.maps.class_matrix import draw_class_similarity
from pairsim.visual.page.pixels import to_pixels
from pairsim.visual.page.text_styles import name_of

MAX_EMBEDDINGS = 1000
"""Images that are embedded, at most: the projector draws each picture."""


class TensorBoardLog(Callback):
    """Log losses, accuracy and learning rate after each epoch, and figures and embeddings at the end.

    It needs the extras `tensorboard` and `viz`. Show the log with `tensorboard --logdir FOLDER`.

    Args:
        folder: Folder of the log; by default `tensorboard` in the run folder.
        images: Labelled images, of which embeddings and class similarities are logged at the end, at most
            `MAX_EMBEDDINGS` of them, evenly spaced; by default none.

    Raises:
        MissingExtraError: If TensorBoard or matplotlib is not installed.

    Example:
        >>> TensorBoardLog("logs").folder.name  # doctest: +SKIP
        'logs'
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None, *, images: Any = None) -> None:
        require("tensorboard", extra="tensorboard", purpose="TensorBoardLog")
        require("matplotlib", extra="viz", purpose="TensorBoardLog")
        self.folder: Path = Path("tensorboard" if folder is None else folder)
        self._of_run = folder is None
        self._images = images
        self._writer: Any = None  # a SummaryWriter from `on_fit_start` to `on_fit_end`

    def on_fit_start(self, trainer: Trainer) -> None:
        """Open the log. When a run is resumed, steps logged after its checkpoint are replaced."""
        from torch.utils.tensorboard import SummaryWriter

        if self._of_run and trainer.config.out is not None:
            self.folder = trainer.config.out / "tensorboard"
        self._writer = SummaryWriter(str(self.folder), purge_step=len(trainer.history) + 1)

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
        """Log the values of an epoch."""
        values = {
            "loss/training": record.train_loss,
            "loss/validation": record.val_loss,
            "balanced accuracy/validation": record.val_balanced_accuracy,
            "learning rate": record.learning_rate,
            "seconds": trainer.history.seconds[-1],
            "waiting for data": trainer.history.waiting[-1],
        }
        for name, value in values.items():
            if value is not None:
                self._writer.add_scalar(name, value, record.epoch)

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        """Log figures and embeddings, and close the log."""
        last = len(history)
        self._writer.add_figure("training", draw_training_curves(history), last, close=False)
        if self._images is not None:
            self._write_embeddings(trainer, last)
        self._writer.close()
        self._writer = None

    def _write_embeddings(self, trainer: Trainer, epoch: int) -> None:
        images, model = self._images, trainer.model
        labels = LabelledImages.of(images).targets
        indices = np.unique(np.linspace(0, len(labels) - 1, min(MAX_EMBEDDINGS, len(labels))).round().astype(np.int64))
        embeddings = encode_dataset(model, images, indices=indices, progress=False).cpu()
        pictures = None
        if not model.preprocessing.of_vectors:
            pixels = to_pixels(fetch_images(images, indices, model.preprocessing), model.preprocessing)
            channels = torch.stack([torch.from_numpy(np.atleast_3d(picture)).permute(2, 0, 1) for picture in pixels])
            pictures = channels.expand(-1, 3, -1, -1) / 255
        chosen = [name_of(label) for label in labels[indices]]
        self._writer.add_embedding(embeddings, metadata=chosen, label_img=pictures, global_step=epoch)
        names, codes = np.unique(labels[indices], return_inverse=True)
        if len(names) > 1:
            figure = draw_class_similarity(embeddings, codes, names=[name_of(name) for name in names])
            self._writer.add_figure("class similarity", figure, epoch, close=False)
