"""`pairsim train`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from cyclopts import Parameter

from pairsim._common import storage
from pairsim._common.progress import print_above_bars
from pairsim.cli.output import UsageError, note, print_result
from pairsim.cli.training.train_options import TrainOptions
from pairsim.data import read_labels
from pairsim.data.named import NAMES, LabelledData, load_data
from pairsim.errors import PairsimError, require
from pairsim.integrations.tensorboard_log import TensorBoardLog
from pairsim.models import EmbeddingNet, SimilarityModel
from pairsim.report import write_report
from pairsim.runs.run_data import held_out_images, own_validation
from pairsim.training import Callback, EpochRecord, TrainConfig, Trainer
from pairsim.visual.curves.training_figures import draw_training_curves

_DEFAULTS = TrainOptions()
_MOST_JUDGED = 20_000

EXPECTED_MNIST = (
    "Expect 99.4 to 99.5 % balanced accuracy on all pairs of the test images (seeds 0, 1 and 2 on a CPU in bf16); "
    "99.6 to 99.7 % with --epochs 22 --augment affine."
)


class _Report(Callback):
    """One line for each epoch, for the person watching."""

    def on_fit_start(self, trainer: Trainer) -> None:
        for line in trainer.history.notes:
            note(line)

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
        line = f"epoch {record.epoch}/{trainer.config.epochs}  train loss {record.train_loss:.4f}"
        if record.val_loss is not None and record.val_balanced_accuracy is not None:
            line += f"  val loss {record.val_loss:.4f}  val balanced accuracy {record.val_balanced_accuracy:.4f}"
        seconds, waiting = trainer.history.seconds[-1], trainer.history.waiting[-1]
        line += f"  {seconds:.1f} s, {waiting:.1%} waiting for data{'  best' if record.best else ''}"
        print_above_bars(line)


def train(
    data: str,
    /,
    *,
    options: Annotated[TrainOptions, Parameter(name="*")] = _DEFAULTS,
    resume: Literal["auto", "never"] = "auto",
    backbone: str | None = None,
    weights: str | None = None,
    embedding_dim: int = 128,
    image_size: int | None = None,
    channels: Literal[1, 3] | None = None,
    data_dir: Path | None = None,
    report: bool = True,
    tensorboard: Annotated[bool, Parameter(negative=())] = False,
    config: Path | None = None,  # noqa: ARG001  read before the other options, in cli.app
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Train a similarity model and write a run folder.

    Test data is not touched: validation data is split off the training images, unless a folder has a `val` of its own.

    Args:
        data: mnist, fashion-mnist, digits, or a folder with one sub-folder per class (or train, val, test above those).
        options: How to train.
        resume: Go on from the newest checkpoint in the run folder, or start again.
        backbone: A net of torchvision, such as resnet18, or of timm, such as timm/mobilenetv3_small_100, to train in
            place of the reference network.
        weights: Weights of the backbone: a file, or "pretrained" to download them; by default random.
        embedding_dim: Length of an embedding.
        image_size: Height and width that pictures from a folder are resized to; by default what the backbone was made
            for, else that of the first picture, at most 64.
        channels: 1 (grey) or 3 (colour) for pictures from a folder.
        data_dir: Where mnist and fashion-mnist are kept; else PAIRSIM_DATA, else the user's cache.
        report: Whether to judge the kept model on the validation images and write report.html and curves.png.
        tensorboard: Write a log for TensorBoard in the run, with curves, figures and embeddings.
        config: TOML or JSON file with options below the name of the command, such as [train].
        json: Print one JSON object.
    """
    if options.out is None:
        raise UsageError("Expected --out RUN, the folder to write the run to, found none.")
    if weights is not None and backbone is None:
        raise UsageError("Expected --backbone NAME together with --weights, found none.")
    size = None if image_size is None else (image_size, image_size)
    settings: dict[str, Any] = {"weights": weights, "embedding_dim": embedding_dim, "seed": options.seed}
    net: EmbeddingNet | None = None
    if backbone is not None and data not in NAMES:  # which has a say in how pictures are read
        net = _make_net(backbone, channels=channels, image_size=size, **settings)
    preprocessing = None if net is None else net.preprocessing
    if preprocessing is None:
        loaded = load_data(data, "train", data_dir=data_dir, image_size=size, channels=channels)
    else:
        loaded = load_data(data, "train", data_dir=data_dir, preprocessing=preprocessing)
    if net is None:
        given = channels if backbone is not None else loaded.channels
        net = _make_net(backbone, channels=given, image_size=loaded.image_size, **settings)
    val = own_validation(data, loaded, data_dir, preprocessing)
    callbacks: list[Callback] = [_Report()]
    if tensorboard:
        callbacks.append(TensorBoardLog(images=loaded.dataset))
    trainer = Trainer(SimilarityModel(net), options, train=loaded.dataset, val=val, callbacks=callbacks)
    if trainer.is_main:  # of several processes one tells and writes
        note(f"Training on {loaded.source}: {len(loaded.dataset):,} images, {len(loaded.class_names)} classes.")
        note(f"Objective {options.objective}, {trainer.precision.name} on {trainer.device}.")
        if data == "mnist" and backbone is None and _is_default(options):
            note(EXPECTED_MNIST)
    history = trainer.fit(resume=resume)
    if not trainer.is_main:
        return
    storage.write_file(options.out / "data.json", storage.to_json(_describe(data, loaded)))
    written = _write_pages(options.out, trainer.model, data, data_dir, loaded) if report else []
    best = history.best
    assert best is not None
    point = trainer.model.operating_point
    result: dict[str, Any] = {
        "run": str(options.out),
        "epochs": len(history),
        "best": dataclasses.asdict(best),
        "threshold": trainer.model.threshold,
        "written": [str(path) for path in written],
        "operating_point": None if point is None else dataclasses.asdict(point),
    }
    lines = [f"Best epoch {best.epoch} of {len(history)}."]
    if best.val_balanced_accuracy is not None and best.val_loss is not None:
        lines[0] += (
            f" On validation pairs: balanced accuracy {best.val_balanced_accuracy:.4f}, loss {best.val_loss:.4f}."
        )
    if options.augment == "none" and len(history) >= 10 and 2 * best.epoch <= len(history):
        lines.append("From then on it only learned the training images by heart: try --augment affine, or more images.")
    lines += [f"Wrote {path}." for path in written]
    lines += [f"Wrote {options.out}. Next: pairsim evaluate {options.out} {data}"]
    print_result(result, "\n".join(lines), as_json=json)


def _is_default(options: TrainOptions) -> bool:
    """Whether what is learned is left to the defaults."""
    free = {name: getattr(_DEFAULTS, name) for name in ("out", "seed", "device", "progress", "checkpoint_steps")}
    return dataclasses.replace(options, **free) == _DEFAULTS


def make_trainer(
    loaded: LabelledData,
    config: TrainConfig,
    *,
    embedding_dim: int = 128,
    val: Any = None,
    callbacks: tuple[Callback, ...] = (_Report(),),
) -> Trainer:
    """A trainer of the reference network on loaded data, with weights initialised by the seed."""
    net = _make_net(
        None, channels=loaded.channels, image_size=loaded.image_size, embedding_dim=embedding_dim, seed=config.seed
    )
    return Trainer(SimilarityModel(net), config, train=loaded.dataset, val=val, callbacks=callbacks)


def _make_net(
    backbone: str | None,
    *,
    weights: str | None = None,
    channels: int | None,
    image_size: tuple[int, int] | None,
    embedding_dim: int,
    seed: int,
) -> EmbeddingNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EmbeddingNet(
            backbone, weights=weights, in_channels=channels, image_size=image_size, embedding_dim=embedding_dim
        )


def _write_pages(
    run: Path, model: SimilarityModel, data: str, data_dir: Path | None, loaded: LabelledData
) -> list[Path]:
    """A page on the validation images and the training curves; what cannot be made is said, and fails nothing."""
    written = []
    try:
        images = held_out_images(run, model, data, data_dir)
        if len(images) > _MOST_JUDGED:
            note(
                f"No report: {len(images):,} validation images are more than {_MOST_JUDGED:,}. Make it: pairsim report"
            )
        else:
            classes = np.unique(read_labels(images))
            names = loaded.class_names if len(classes) == len(loaded.class_names) else None
            write_report(
                run, images, run / "report.html", names=names, data=data, split="val", source=loaded.source,
                device=str(model.device),
            )  # fmt: skip
            written.append(run / "report.html")
    except (PairsimError, ValueError) as error:
        note(f"No report: {error}")
    try:
        require("matplotlib", extra="viz", purpose="curves.png")
        draw_training_curves(run).savefig(run / "curves.png", dpi=120)
        written.append(run / "curves.png")
    except (PairsimError, OSError) as error:
        note(f"No curves: {error}")
    return written


def _describe(data: str, loaded: LabelledData) -> dict[str, Any]:
    return {
        "data": data,
        "source": loaded.source,
        "num_images": len(loaded.dataset),
        "class_names": list(loaded.class_names),
        "image_size": list(loaded.image_size),
        "channels": loaded.channels,
    }
