"""`pairsim train`."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from cyclopts import Parameter
from tqdm import tqdm

from pairsim import storage
from pairsim.cli.output import UsageError, note, print_result
from pairsim.data.augment import AugmentName
from pairsim.data.named import LabelledData, load_data
from pairsim.errors import DatasetNotFoundError
from pairsim.models import EmbeddingNet, SimilarityModel
from pairsim.training import Callback, EpochRecord, TrainConfig, Trainer
from pairsim.training.config import ObjectiveName, OptimizerName


@dataclass(frozen=True, kw_only=True)
class TrainOptions(TrainConfig):  # noqa: D101  the docstring is set below
    objective: ObjectiveName = "all-pairs"
    optimizer: OptimizerName = "adam"
    augment: AugmentName = "none"


# The options and their help are those of the config; only what can be written on a command line is narrower.
TrainOptions.__doc__ = TrainConfig.__doc__
_DEFAULTS = TrainOptions()

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
        tqdm.write(line, file=sys.stderr)  # above a progress bar, where there is one


def train(
    data: str,
    /,
    *,
    options: Annotated[TrainOptions, Parameter(name="*")] = _DEFAULTS,
    resume: Literal["auto", "never"] = "auto",
    embedding_dim: int = 128,
    image_size: int | None = None,
    channels: Literal[1, 3] | None = None,
    data_dir: Path | None = None,
    config: Path | None = None,  # noqa: ARG001  read before the other options, in cli.app
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Train a similarity model and write a run folder.

    Test data is not touched: validation data is split off the training images, unless a folder has a `val` of its own.

    Args:
        data: mnist, fashion-mnist, digits, or a folder with one sub-folder per class (or train, val, test above those).
        options: How to train.
        resume: Go on from the newest checkpoint in the run folder, or start again.
        embedding_dim: Length of an embedding.
        image_size: Height and width that pictures from a folder are resized to.
        channels: 1 (grey) or 3 (colour) for pictures from a folder.
        data_dir: Where mnist and fashion-mnist are kept; else PAIRSIM_DATA, else the user's cache.
        config: TOML or JSON file with options below the name of the command, such as [train].
        json: Print one JSON object.
    """
    if options.out is None:
        raise UsageError("Expected --out RUN, the folder to write the run to, found none.")
    size = None if image_size is None else (image_size, image_size)
    loaded = load_data(data, "train", data_dir=data_dir, image_size=size, channels=channels)
    note(f"Training on {loaded.source}: {len(loaded.dataset):,} images, {len(loaded.class_names)} classes.")
    trainer = make_trainer(loaded, options, embedding_dim=embedding_dim, val=own_validation(data, loaded, data_dir))
    note(f"Objective {options.objective}, {trainer.precision.name} on {trainer.device}.")
    if data == "mnist" and _is_default(options):
        note(EXPECTED_MNIST)
    history = trainer.fit(resume=resume)
    storage.write_file(options.out / "data.json", storage.to_json(_describe(data, loaded)))
    best = history.best
    assert best is not None
    point = trainer.model.operating_point
    result: dict[str, Any] = {
        "run": str(options.out),
        "epochs": len(history),
        "best": dataclasses.asdict(best),
        "threshold": trainer.model.threshold,
        "operating_point": None if point is None else dataclasses.asdict(point),
    }
    lines = [f"Best epoch {best.epoch} of {len(history)}."]
    if best.val_balanced_accuracy is not None and best.val_loss is not None:
        lines[0] += (
            f" On validation pairs: balanced accuracy {best.val_balanced_accuracy:.4f}, loss {best.val_loss:.4f}."
        )
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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        net = EmbeddingNet(in_channels=loaded.channels, image_size=loaded.image_size, embedding_dim=embedding_dim)
    return Trainer(SimilarityModel(net), config, train=loaded.dataset, val=val, callbacks=callbacks)


def own_validation(data: str, loaded: LabelledData, data_dir: Path | None) -> Any:
    """The images in a folder's own `val`, or `None` where it has none."""
    if not (Path(data) / "val").is_dir():
        return None
    try:
        size, channels = loaded.image_size, loaded.channels
        return load_data(data, "val", data_dir=data_dir, image_size=size, channels=channels).dataset
    except DatasetNotFoundError:  # a class that happens to be called val
        return None


def _describe(data: str, loaded: LabelledData) -> dict[str, Any]:
    return {
        "data": data,
        "source": loaded.source,
        "num_images": len(loaded.dataset),
        "class_names": list(loaded.class_names),
        "image_size": list(loaded.image_size),
        "channels": loaded.channels,
    }
