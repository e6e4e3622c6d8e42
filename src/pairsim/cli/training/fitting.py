"""Fit the model of `pairsim train`: choose and adapt a head, or train, and write pages on the result."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pairsim
from pairsim._common.choices import Resume
from pairsim._common.numbers import counted
from pairsim._common.progress import print_above_bars
from pairsim.cli.output import note
from pairsim.cli.signals import at_next_step, at_once
from pairsim.cli.training.chosen_net import ChosenNet, why_not_adapted
from pairsim.cli.training.train_options import TrainOptions
from pairsim.cli.training.training_pairs import TrainingPairs, ValidationPairs
from pairsim.errors import DataError, PairsimError, require
from pairsim.training.callbacks import Callback

if TYPE_CHECKING:
    from pairsim.data import LabelledData, LabelledImages, PairDataset
    from pairsim.models.heads.head_modules import HeadName
    from pairsim.runs.training_data import RunImages
    from pairsim.training import EpochRecord, History

_MAX_REPORTED = 20_000

EXPECTED_MNIST = (
    "Expect 99.4 to 99.5 % balanced accuracy on all pairs of the test images (seeds 0, 1 and 2 on a CPU in bf16); "
    "99.6 to 99.7 % with --epochs 22 --augment affine."
)


class CommandRecords(Callback):
    """Writes `data.json` into the run: what the command was given, for its card and to read the data again.

    Prints one line for each epoch to stderr, and the notes of the run.
    """

    def __init__(
        self,
        data: str,
        loaded: LabelledData,
        given: PairDataset | None = None,
        val: LabelledData | PairDataset | None = None,
        **more: Any,
    ) -> None:
        self._loaded: LabelledData = loaded
        self._trained_on: LabelledData | PairDataset = loaded if given is None else given
        self._validated_on: LabelledData | PairDataset | None = val
        self._record: dict[str, Any] = {
            "data": data,
            "source": loaded.source,
            "num_images": len(loaded.dataset),
            "class_names": list(loaded.class_names),
            "image_size": list(loaded.image_size),
            "channels": loaded.channels,
            **more,
        }
        self._printed: int = 0

    def on_fit_start(self, trainer: pairsim.Trainer) -> None:
        """Write `data.json` before the first epoch, so that an interrupted run has it too.

        Adds a note if validation pictures are also training pictures.
        """
        from pairsim._common import json_files, storage
        from pairsim.runs.class_splits import held_classes
        from pairsim.runs.trained_pictures import describe_trained, paths_of

        assert trainer.config.out is not None, "commands write a run"
        split = trainer.data.split
        paths = dict(enumerate(paths_of(self._trained_on)))
        held = [] if split is None else [paths.pop(number, "") for number in split.held_out.tolist()]
        validated = held if self._validated_on is None else paths_of(self._validated_on)
        trained, copies = describe_trained(paths.values(), filter(None, validated))
        trainer.history.notes += [copies] if copies else []
        record = {**self._record, **held_classes(self._loaded, split), **trained}
        storage.write_file(trainer.config.out / "data.json", json_files.sealed(record))
        self._print_notes(trainer.history)

    def on_fit_end(self, trainer: pairsim.Trainer, history: History) -> None:  # noqa: ARG002
        """Print the notes that were added since."""
        self._print_notes(history)

    def _print_notes(self, history: History) -> None:
        for line in history.notes[self._printed :]:
            note(line)
        self._printed = len(history.notes)

    def on_epoch_end(self, trainer: pairsim.Trainer, record: EpochRecord) -> None:
        """Print the results of an epoch."""
        line = f"epoch {record.epoch}/{trainer.config.epochs}  train loss {record.train_loss:.4f}"
        if record.val_loss is not None and record.val_balanced_accuracy is not None:
            line += f"  val loss {record.val_loss:.4f}  val balanced accuracy {record.val_balanced_accuracy:.4f}"
        seconds, waiting = trainer.history.seconds[-1], trainer.history.waiting[-1]
        line += f"  {seconds:.1f} s, {waiting:.1%} waiting for data{'  best' if record.best else ''}"
        print_above_bars(line)


class EndAtStep(Callback):
    """Lets a signal end training at its next step; several processes would not all end at the same one."""

    def on_fit_start(self, trainer: pairsim.Trainer) -> None:
        """A signal ends training from now on."""
        if trainer.world.size == 1:
            at_next_step(trainer.interrupt)

    def on_fit_end(self, trainer: pairsim.Trainer, history: History) -> None:  # noqa: ARG002
        """A signal interrupts what follows."""
        at_once()


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What came of training.

    Attributes:
        history: The epochs.
        shown: The validation images or pairs; `None` if there are too few.
        named: The data whose classes are those of the validation images.
        figures: Figures for the result, by key.
        lines: Figures in words.
    """

    history: History
    shown: LabelledImages | PairDataset | None
    named: LabelledData
    figures: dict[str, Any]
    lines: list[str]


def fit_model(
    model: pairsim.SimilarityModel,
    data: str,
    images: RunImages | TrainingPairs,
    net: ChosenNet,
    options: TrainOptions,
    *,
    head: Literal["auto"] | HeadName | None,
    embedding_dim: int | None,
    tensorboard: bool,
    resume: Resume,
) -> Fitted | None:
    """Choose a head for a pretrained backbone and fine-tune it, or train a model.

    Args:
        model: Changed in place.
        data: The data of the command.
        images: What to train on.
        net: The choice of the net.
        options: How to train.
        head: --head.
        embedding_dim: --embedding-dim.
        tensorboard: Whether to write a log for TensorBoard.
        resume: --resume.

    Returns:
        What came of it; `None` in all but one of several processes.
    """
    from pairsim.integrations import TensorBoardLog
    from pairsim.models.heads.head_modules import CLOSED_FORM
    from pairsim.runs.run_records import changed_settings

    loaded = images.train
    given = images if isinstance(images, TrainingPairs) else None
    val: Any = images.validation(model.preprocessing)
    callbacks: list[Callback] = [
        EndAtStep(),
        CommandRecords(data, loaded, None if given is None else given.pairs, val, **images.record, **net.record),
    ]
    callbacks += [] if given is None else [ValidationPairs(given, data)]
    if tensorboard:
        callbacks.append(TensorBoardLog(images=loaded))
    is_main = is_main_process()
    what = counted(len(loaded.class_names), "class", "classes") if given is None else counted(len(given.pairs), "pair")
    beginning = [images.account, images.warning, net.line]
    beginning.append(f"Training on {loaded.source}: {counted(len(loaded.dataset), 'image')}, {what}.")
    named = loaded if val is None or given is not None else val
    adapts = given is None and head in ("auto", *CLOSED_FORM)
    if given is None and net.is_pretrained and not adapts:
        reason = why_not_adapted(len(loaded.class_names), has_val=val is not None)
        adapts = reason is None
        beginning.append(reason or "")
    if adapts:
        _print(beginning)
        adapted = pairsim.adapt(
            model,
            options,
            train=loaded,
            val=val,
            head=head or "auto",
            embedding_dim=embedding_dim,
            callbacks=callbacks,
            resume=resume,
        )
        return Fitted(
            history=adapted.history,
            shown=adapted.val,
            named=named,
            figures=adapted.to_dict(),
            lines=adapted.outcome.splitlines(),
        )
    trainer = pairsim.Trainer(
        model, options, train=loaded if given is None else given.pairs, val=val, callbacks=callbacks
    )
    if is_main:
        _print(beginning)
        note(f"Objective {trainer.config.objective}, {trainer.precision.name} on {trainer.device}.")
        default = {**changed_settings(TrainOptions().to_dict()), "seed": options.seed}
        if data == "mnist" and net.backbone is None and changed_settings(options.to_dict()) == default:
            note(EXPECTED_MNIST)
    shown: LabelledImages | PairDataset | None
    if given is not None:
        shown = given.val
    else:
        shown = None if trainer.data.validation is None else trainer.data.validation.images
    baseline = _figures_of(model, shown) if is_main else None
    history = trainer.fit(resume=resume)
    if not is_main:
        return None
    figures = {"kept": "trained", "baseline": baseline}
    return Fitted(history=history, shown=shown, named=named, figures=figures, lines=[])


def is_main_process() -> bool:
    """Return whether this is the only process, or of several processes the one that prints and writes."""
    return int(os.environ.get("RANK", "0")) == 0


def best_lines(history: History, *, overfits: bool, between: list[str]) -> list[str]:
    """Describe the best epoch.

    Args:
        history: The epochs.
        overfits: Whether to advise against overfitting if the best epoch came early.
        between: Lines to put after that on the epoch.
    """
    best = history.best
    if best is None:
        return between
    line = f"Best epoch {best.epoch} of {len(history)}."
    if best.val_balanced_accuracy is not None:
        line += f" On validation pairs: balanced accuracy {best.val_balanced_accuracy:.4f}, loss {best.val_loss:.4f}."
    lines = [line, *between]
    if overfits and len(history) >= 10 and 2 * best.epoch <= len(history):
        lines.append("After that it overfitted the training images: try --augment affine, or more images.")
    return lines


def _print(lines: list[str]) -> None:
    for line in lines:
        note(line)


def _figures_of(model: pairsim.SimilarityModel, images: LabelledImages | PairDataset | None) -> dict[str, float]:
    """Compute the EER and recall@1 of a model on the validation images, on at most 1,000 of them, or on pairs.

    A figure that they do not show is NaN.
    """
    import torch

    from pairsim.training.adaptation.class_figures import eer_and_recall, judged_images
    from pairsim.verification.scoring import score_pairs

    if isinstance(images, pairsim.PairDataset):
        return {"eer": score_pairs(model, images).pairs.equal_error_rate(), "recall_at_1": math.nan}
    if images is None or images.index.num_classes < 2 or images.index.counts.max() < 2:
        return {"eer": math.nan, "recall_at_1": math.nan}
    codes = torch.from_numpy(images.index.codes.astype("int64"))
    kept = judged_images(codes)
    return eer_and_recall(pairsim.encode_dataset(model, images, indices=kept.numpy(), precision="auto"), codes[kept])


def write_pages(
    run: Path,
    model: pairsim.SimilarityModel,
    data: str,
    fitted: Fitted,
) -> list[Path]:
    """Write a report on the validation images or pairs and the curves of training; a failure is only noted.

    Args:
        run: The run folder.
        model: The trained model.
        data: The data of the command.
        fitted: What came of training.

    Returns:
        The files.
    """
    from pairsim._common import storage
    from pairsim.report import write_report
    from pairsim.visual import draw_training_curves

    images, loaded, written = fitted.shown, fitted.named, list[Path]()
    try:
        if images is None:
            raise DataError("Expected at least two validation images, found fewer. Use: pairsim report")
        if not isinstance(images, pairsim.PairDataset) and len(images) > _MAX_REPORTED:
            raise DataError(f"{len(images):,} validation images are more than {_MAX_REPORTED:,}. Use: pairsim report")
        names = None
        if not isinstance(images, pairsim.PairDataset) and images.index.num_classes == len(loaded.class_names):
            names = loaded.class_names
        page = run / "report.html"
        write_report(run, images, page, names=names, data=data, split="val", source=loaded.source, model=model)
        written.append(page)
    except (PairsimError, ValueError) as error:
        note(f"No report: {error}")
    if len(fitted.history) == 0:
        return written
    try:
        require("matplotlib", extra="viz", purpose="curves.png")
        with storage.replacing(run / "curves.png") as file:
            draw_training_curves(run).savefig(file, format="png", dpi=120)
        written.append(run / "curves.png")
    except (PairsimError, OSError) as error:
        note(f"No curves: {error}")
    return written
