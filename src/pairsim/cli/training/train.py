"""`pairsim train`."""

from __future__ import annotations

import dataclasses
import math
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

import pairsim
from pairsim._common.choices import Fit
from pairsim._common.progress import print_above_bars
from pairsim.cli.arguments import Data, DataDir, Flag, Json
from pairsim.cli.output import UsageError, expect, note, print_result
from pairsim.cli.training.chosen_net import REFERENCE, choose_net, why_not_adapted
from pairsim.cli.training.train_options import TrainOptions
from pairsim.cli.training.training_pairs import TrainingPairs, ValidationPairs
from pairsim.errors import DataError, PairsimError, require
from pairsim.training.callbacks import Callback

if TYPE_CHECKING:
    from pairsim.data import LabelledData, LabelledImages, PairDataset
    from pairsim.runs.training_data import RunImages
    from pairsim.training import EpochRecord, History

_DEFAULTS = TrainOptions()
_MAX_REPORTED = 20_000

EXPECTED_MNIST = (
    "Expect 99.4 to 99.5 % balanced accuracy on all pairs of the test images (seeds 0, 1 and 2 on a CPU in bf16); "
    "99.6 to 99.7 % with --epochs 22 --augment affine."
)


class CommandRecords(Callback):
    """Writes `data.json` into the run: what the command was given, for its card and to read the data again.

    Prints one line for each epoch to stderr, and the notes of the run.
    """

    def __init__(self, data: str, loaded: LabelledData, **more: Any) -> None:
        self._loaded: LabelledData = loaded
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
        """Write `data.json` before the first epoch, so that an interrupted run has it too."""
        from pairsim._common import storage
        from pairsim.runs.class_splits import held_classes

        assert trainer.config.out is not None, "commands write a run"
        record = {**self._record, **held_classes(self._loaded, trainer.data.split)}
        storage.write_file(trainer.config.out / "data.json", storage.to_json(record))
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


def train(
    data: Data,
    /,
    *,
    options: Annotated[TrainOptions, Parameter(name="*")] = _DEFAULTS,
    resume: Literal["auto", "never"] = "auto",
    backbone: str | None = None,
    weights: str | None = None,
    head: Literal["auto", "none", "standardize", "whiten", "linear", "mlp"] | None = None,
    embedding_dim: int | None = None,
    image_size: str | None = None,
    channels: Literal[1, 3] | None = None,
    fit: Fit | None = None,
    class_level: Annotated[int, Parameter(validator=Number(gte=1))] = 1,
    unseen: Annotated[float | None, Parameter(validator=Number(gt=0, lt=1))] = None,
    groups: str | None = None,
    white: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    data_dir: DataDir = None,
    pairs: Path | None = None,
    val_pairs: Path | None = None,
    random_negatives: bool = True,
    report: bool = True,
    tensorboard: Flag = False,
    config: Path | None = None,  # noqa: ARG001  read before the other options, in cli.app
    json: Json = False,
) -> None:
    """Train a similarity model and write a run folder.

    Test data is not used: validation data is split off the training images, unless a folder has its own val. If the
    model is to be used on new people or products, keep some of yours unseen: --unseen 0.3.

    Args:
        options: How to train.
        resume: Continue from the newest checkpoint in the run folder, or start again.
        backbone: A net of torchvision, such as resnet18, or of timm, such as timm/mobilenetv3_small_100; an ONNX file,
            whose net is not trained; "reference", the reference network; or "auto": for photographs a pretrained net
            whose weights are on this machine. By default auto for folders, and reference for named data.
        weights: Weights of the backbone: a file, or "pretrained" to find them on this machine or download them; by
            default random.
        head: What follows the backbone: its own features (none), these standardised, whitened within classes, one
            trained layer (linear) or two (mlp). "auto", the default for a pretrained backbone, an ONNX file and
            embeddings, chooses by cross-validation over classes. The net is then fine-tuned from there, unless --freeze
            backbone is given, and kept only if that is better on the validation classes.
        embedding_dim: Length of an embedding; by default 128, or that of the head.
        image_size: Height and width that pictures from a folder are resized to, one number or such as 128x288; by
            default what the backbone was made for, else that of the first picture, at most 64.
        channels: 1 (grey) or 3 (colour) for pictures from a folder.
        fit: How pictures from a folder get that size: stretched, their middle cropped, or padded with white; by default
            as the backbone was made for, else stretched. Wide pictures are padded for a net that auto chooses.
        class_level: Which folders below DATA are classes: 1 the first, 2 those in these, such as alphabet/character.
        unseen: Share of the classes to keep whole for the test. Others, by default one in five of the rest (see
            --val-fraction), are kept whole for validation, so that epoch and threshold suit classes that are new.
            evaluate, calibrate and report find these classes in the run.
        groups: What belongs together and is never split, such as the forged and genuine signatures of one writer: a
            column of metadata.csv, or a regular expression that is searched in the folder name, then in the path; its
            first group in parentheses, or the whole match, is the name.
        white: Value of white in pictures of more than 8 bits, such as 4095 for 12-bit samples in 16-bit files; it is
            saved with the model.
        pairs: CSV file of the pairs to train on, in place of labels: first,second,target with paths from DATA, and if
            you like kind and group, such as the writer. Validation pairs are split off by group. The net is then the
            reference network unless --backbone is given.
        val_pairs: CSV file of the pairs to validate on, with --pairs.
        random_negatives: Add pairs of pictures of different groups where all negative pairs are within groups.
        report: Evaluate the saved model on the validation images, and write report.html and curves.png.
        tensorboard: Write a log for TensorBoard in the run, with curves, figures and embeddings.
        config: TOML or JSON file with options below the name of the command, such as [train].
    """
    from pairsim._common.storage import check_writable
    from pairsim.data.named import NAMES, is_embedding_file
    from pairsim.data.splits import read_split
    from pairsim.integrations import TensorBoardLog
    from pairsim.models.heads.head_modules import CLOSED_FORM
    from pairsim.runs.run_records import changed_settings
    from pairsim.runs.training_data import load_training_data

    if options.out is None:
        raise UsageError("Expected --out RUN, the folder to write the run to, found none.")
    out = options.out
    check_writable(out, "a folder")
    expect(pairs is not None or val_pairs is None, "--pairs FILE together with --val-pairs, found none.")
    labels_only = (unseen, groups) == (None, None) and class_level == 1
    expect(pairs is None or labels_only, "--unseen, --groups and --class-level with labels, got --pairs as well.")
    needs_labels = head in ("auto", *CLOSED_FORM)
    expect(pairs is None or not needs_labels, f"--head linear or mlp with --pairs, got {head}, which needs labels.")
    if pairs is not None and backbone is None and not is_embedding_file(data):
        backbone = REFERENCE  # pairs have many images in an epoch, too many for a large net unasked
    net = choose_net(
        data,
        backbone=backbone,
        weights=weights,
        image_size=image_size,
        channels=channels,
        fit=fit,
        data_dir=data_dir,
        white=white,
        augment=options.augment,
    )
    backbone, weights = net.backbone, net.weights
    size = net.image_size
    expect(head is None or backbone is not None, "--backbone NAME together with --head, found none.")
    # a head of closed form is fitted, and "auto" chosen, once features are known
    layer = {} if head in (None, "auto", *CLOSED_FORM) else {"head": head}
    built: dict[str, Any] = {"backbone": backbone, "weights": weights, "embedding_dim": embedding_dim, **layer}
    make_model = partial(_make_model, options.seed, white, net.fit, **built)
    model = None
    if backbone is not None and data not in NAMES:  # it determines how pictures are read
        model = make_model(in_channels=net.channels, image_size=size)
    preprocessing = None if model is None else model.preprocessing
    reading: dict[str, Any] = {"image_size": size, "channels": channels, "fit": net.fit or "stretch"}
    reading |= {"white": white, "data_dir": data_dir}
    given: TrainingPairs | None = None
    images: RunImages | TrainingPairs
    if pairs is None:
        images = load_training_data(
            data,
            options,
            unseen=unseen,
            resume=resume == "auto",
            preprocessing=preprocessing,
            class_level=class_level,
            groups=groups,
            **reading,
        )
    else:
        images = given = TrainingPairs.read(
            data, pairs, val_pairs, preprocessing, options, random_negatives=random_negatives, **reading
        )
        if options.objective == "auto":
            options = dataclasses.replace(options, objective="pairs")
    loaded = images.train
    options = dataclasses.replace(options, val_fraction=images.val_fraction)
    if model is None:
        model = make_model(in_channels=loaded.channels if backbone is None else channels, image_size=loaded.image_size)
    val: Any = images.validation(model.preprocessing)
    callbacks: list[Callback] = [CommandRecords(data, loaded, **images.record, **net.record)]
    callbacks += [] if given is None else [ValidationPairs(given, data)]
    if tensorboard:
        callbacks.append(TensorBoardLog(images=loaded))
    is_main = int(os.environ.get("RANK", "0")) == 0
    what = f"{len(loaded.class_names)} classes" if given is None else f"{len(given.pairs):,} pairs"
    beginning = [images.account, images.warning, net.line]
    beginning.append(f"Training on {loaded.source}: {len(loaded.dataset):,} images, {what}.")
    adapts = given is None and head in ("auto", *CLOSED_FORM)
    if given is None and net.is_pretrained and not adapts:
        reason = why_not_adapted(len(loaded.class_names), has_val=val is not None)
        adapts = reason is None
        beginning.append(reason or "")
    if adapts:
        _print(beginning)
        adapted = pairsim.adapt(
            model, options, train=loaded, val=val, head=head or "auto", callbacks=callbacks, resume=resume
        )
        history = adapted.history
        shown: LabelledImages | PairDataset | None = adapted.val
        figures, lines = adapted.to_dict(), adapted.outcome.splitlines()
    else:
        train_on = loaded if given is None else given.pairs
        trainer = pairsim.Trainer(model, options, train=train_on, val=val, callbacks=callbacks)
        if is_main:  # of several processes, one prints and writes
            _print(beginning)
            note(f"Objective {trainer.config.objective}, {trainer.precision.name} on {trainer.device}.")
            default = {**changed_settings(_DEFAULTS.to_dict()), "seed": options.seed}
            if data == "mnist" and backbone is None and changed_settings(options.to_dict()) == default:
                note(EXPECTED_MNIST)
        shown = None if trainer.data.validation is None else trainer.data.validation.images
        if given is not None:
            shown = given.val
        figures, lines = {"kept": "trained", "baseline": _figures_of(model, shown) if is_main else None}, []
        history = trainer.fit(resume=resume)
    if not is_main:
        return
    named = loaded if val is None or given is not None else val
    written = _write_pages(out, model, shown, data, named, num_epochs=len(history)) if report else []
    best = history.best
    result: dict[str, Any] = {
        "run": str(out),
        "epochs": len(history),
        "best": best,
        "threshold": model.threshold,
        "written": [str(path) for path in written],
        "operating_point": model.operating_point,
        "notes": history.notes if given is None else [*given.notes, *history.notes],
        **figures,
        **images.counts(read_split(out)),
    }
    if best is not None:
        line = f"Best epoch {best.epoch} of {len(history)}."
        if best.val_balanced_accuracy is not None:
            accuracy, loss = best.val_balanced_accuracy, best.val_loss
            line += f" On validation pairs: balanced accuracy {accuracy:.4f}, loss {loss:.4f}."
        lines.insert(0, line)
        if options.augment == "auto" and weights is None and len(history) >= 10 and 2 * best.epoch <= len(history):
            lines.append("After that it overfitted the training images: try --augment affine, or more images.")
    lines += [f"Wrote {path}." for path in written]
    test = "" if given is None else " --pairs TEST.csv"
    lines.append(f"Wrote {out}. Next: pairsim evaluate {out} {data}{test}")
    print_result(result, "\n".join(lines), json)


def _print(lines: list[str]) -> None:
    for line in lines:
        note(line)


def _figures_of(model: pairsim.SimilarityModel, images: LabelledImages | PairDataset | None) -> dict[str, float] | None:
    """Compute the EER and recall@1 of a model on the validation images, on at most 1,000 of them, or on pairs."""
    import torch

    from pairsim.training.adaptation.class_figures import eer_and_recall, judged_images
    from pairsim.verification.scoring import score_pairs

    if isinstance(images, pairsim.PairDataset):
        return {"eer": score_pairs(model, images).pairs.equal_error_rate(), "recall_at_1": math.nan}
    if images is None or images.index.num_classes < 2 or images.index.counts.max() < 2:
        return None
    codes = torch.from_numpy(images.index.codes.astype("int64"))
    kept = judged_images(codes)
    return eer_and_recall(pairsim.encode_dataset(model, images, indices=kept.numpy(), precision="auto"), codes[kept])


def make_trainer(
    loaded: LabelledData, config: pairsim.TrainConfig, *, callbacks: tuple[Callback, ...] = ()
) -> pairsim.Trainer:
    """Make a trainer of the reference network on loaded data, with weights initialised by the seed."""
    model = _make_model(config.seed, in_channels=loaded.channels, image_size=loaded.image_size)
    return pairsim.Trainer(model, config, train=loaded, callbacks=callbacks)


def _make_model(seed: int, white: int | None = None, fit: Fit | None = None, **options: Any) -> pairsim.SimilarityModel:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = pairsim.EmbeddingNet(**options)
    model = pairsim.SimilarityModel(net)
    model.preprocessing = dataclasses.replace(model.preprocessing, white=white, fit=fit or model.preprocessing.fit)
    return model


def _write_pages(
    run: Path,
    model: pairsim.SimilarityModel,
    images: LabelledImages | PairDataset | None,
    data: str,
    loaded: LabelledData,
    *,
    num_epochs: int,
) -> list[Path]:
    """Write a report on the validation images or pairs and the curves of training; a failure is only noted."""
    from pairsim.report import write_report
    from pairsim.visual import draw_training_curves

    written = []
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
    if num_epochs == 0:
        return written
    try:
        require("matplotlib", extra="viz", purpose="curves.png")
        draw_training_curves(run).savefig(run / "curves.png", dpi=120)
        written.append(run / "curves.png")
    except (PairsimError, OSError) as error:
        note(f"No curves: {error}")
    return written
