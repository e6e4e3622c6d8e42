"""`pairsim train`."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

import pairsim
from pairsim._common.choices import Fit, OnError, Resume
from pairsim.cli.arguments import Data, DataDir, Flag, Json
from pairsim.cli.option_names import in_options
from pairsim.cli.output import UsageError, expect, print_result
from pairsim.cli.training.chosen_net import REFERENCE, choose_net
from pairsim.cli.training.fitting import best_lines, fit_model, is_main_process, write_pages
from pairsim.cli.training.train_options import TrainOptions
from pairsim.cli.training.training_pairs import TrainingPairs
from pairsim.training.callbacks import Callback

if TYPE_CHECKING:
    from pairsim.data import LabelledData
    from pairsim.runs.training_data import RunImages

_DEFAULTS = TrainOptions()


def train(
    data: Data,
    /,
    *,
    options: Annotated[TrainOptions, Parameter(name="*")] = _DEFAULTS,
    resume: Resume = "auto",
    backbone: str | None = None,
    weights: str | None = None,
    head: Literal["auto", "none", "standardize", "whiten", "linear", "mlp"] | None = None,
    embedding_dim: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
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
    on_error: OnError = "raise",
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
        resume: Continue from the newest checkpoint in the run folder (auto), also with pixels or picture files that
            changed since (changed-images), or start again (never).
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
        val_pairs: CSV file of the pairs to validate on, positive and negative, with --pairs.
        on_error: "raise" stops before the first epoch at pictures or folders that cannot be read and names them; "skip"
            leaves them out, with their --pairs, and counts them.
        random_negatives: Add pairs of pictures of different groups where all negative pairs are within groups.
        report: Evaluate the saved model on the validation images, and write report.html and curves.png.
        tensorboard: Write a log for TensorBoard in the run, with curves, figures and embeddings.
        config: TOML or JSON file with options below the name of the command, such as [train].
    """
    from pairsim._common.storage import check_writable
    from pairsim.data.named import NAMES, is_embedding_file
    from pairsim.data.splits import read_split
    from pairsim.models.heads.head_modules import CLOSED_FORM
    from pairsim.runs.training_data import load_training_data
    from pairsim.training.checkpointing.run_lock import locked
    from pairsim.training.objectives.objective_registry import objective_class

    if options.out is None:
        raise UsageError("Expected --out RUN, the folder to write the run to, found none.")
    out = options.out
    check_writable(out, "a folder")
    expect(pairs is not None or val_pairs is None, "--pairs FILE together with --val-pairs, found none.")
    labels_only = (unseen, groups) == (None, None) and class_level == 1
    expect(pairs is None or labels_only, "--unseen, --groups and --class-level with labels, got --pairs as well.")
    if pairs is not None:
        takes_pairs = options.objective == "auto" or objective_class(options.objective).images_per_target == 2
        fits = takes_pairs and not options.turns
        expect(fits, "--objective pairs and no --turns with --pairs, got others, which need labels.")
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
    ignored = data in NAMES and (image_size is not None or (channels is not None and net.backbone is None))
    expect(not ignored, f"a folder with --image-size or --channels, got {data}, whose pictures are read as they are.")
    expect(head is None or net.backbone is not None, "--backbone NAME together with --head, found none.")
    # a head of closed form is fitted, and "auto" chosen, once features are known
    layer = {} if head in (None, "auto", *CLOSED_FORM) else {"head": head}
    built: dict[str, Any] = {"backbone": net.backbone, "weights": net.weights, "embedding_dim": embedding_dim, **layer}
    make_model = partial(_make_model, options.seed, white, net.fit, **built)
    model = None
    if net.backbone is not None and data not in NAMES:  # it determines how pictures are read
        model = make_model(in_channels=net.channels, image_size=net.image_size)
    preprocessing = None if model is None else model.preprocessing
    reading: dict[str, Any] = {"image_size": net.image_size, "channels": channels, "fit": net.fit or "stretch"}
    reading |= {"white": white, "data_dir": data_dir}
    images: RunImages | TrainingPairs
    if pairs is None:
        images = load_training_data(
            data,
            options,
            unseen=unseen,
            resume=resume != "never",
            preprocessing=preprocessing,
            class_level=class_level,
            groups=groups,
            on_error=on_error,
            **reading,
        )
    else:
        reading |= {"random_negatives": random_negatives, "on_error": on_error}
        images = TrainingPairs.read(data, pairs, val_pairs, preprocessing, options, **reading)
    options = dataclasses.replace(options, val_fraction=images.val_fraction)
    if model is None:
        size, num = images.train.image_size, images.train.channels if net.backbone is None else channels
        model = make_model(in_channels=num, image_size=size)
    with locked(out if is_main_process() else None):
        fitted = fit_model(
            model,
            data,
            images,
            net,
            options,
            head=head,
            embedding_dim=embedding_dim,
            tensorboard=tensorboard,
            resume=resume,
        )
        if fitted is None:
            return
        written = write_pages(out, model, data, fitted) if report else []
        history = fitted.history
        result: dict[str, Any] = {
            "run": str(out),
            "epochs": len(history),
            "best": history.best,
            "threshold": model.threshold,
            "written": [str(path) for path in written],
            "operating_point": model.operating_point,
            "notes": [*map(in_options, (*images.notes, *history.notes))],
            **fitted.figures,
            **images.counts(read_split(out)),
        }
    overfits = options.augment == "auto" and net.weights is None
    lines = [*best_lines(history, overfits=overfits, between=fitted.lines), *(f"Wrote {path}." for path in written)]
    test = "" if pairs is None else " --pairs TEST.csv"
    lines.append(f"Wrote {out}. Next: pairsim evaluate {out} {data}{test}")
    print_result(result, "\n".join(lines), json)


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
