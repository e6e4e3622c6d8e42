"""Read the records of a run folder, and write and read its latest evaluation.

`evaluation.json` has the figures of `evaluate`, the data, and checksums of the model, so that a card or report never
shows the figures of another model.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairsim._common import json_files, storage
from pairsim.data.named import NAMES, is_embedding_file
from pairsim.errors import RunError
from pairsim.models import pretrained
from pairsim.models.backbones.registry import EMBEDDINGS, is_backbone_name
from pairsim.models.pretrained import check_format, saved_sha256
from pairsim.training import TrainConfig
from pairsim.training.checkpointing.run_folder import read_log
from pairsim.training.config import VAL_FRACTION
from pairsim.training.config_options import options_of
from pairsim.verification.verification_report import VerificationReport

EVALUATION = "evaluation.json"
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A stored evaluation.

    Attributes:
        figures: The values of `VerificationReport.to_dict`; any key may be missing.
        data: Name or folder of the data, such as "mnist"; empty if unknown.
        split: "train", "val" or "test"; empty if unknown.
        source: Where the data came from.
        class_names: Classes of the images; empty if unknown.
        of_these_weights: Whether the model still has the weights that were evaluated.
        of_this_calibration: Whether it also still has the same threshold and calibration.
    """

    figures: Mapping[str, Any]
    data: str = ""
    split: str = ""
    source: str = ""
    class_names: tuple[str, ...] = ()
    of_these_weights: bool = True
    of_this_calibration: bool = True


@dataclass(frozen=True, kw_only=True)
class RunRecords:
    """The content of a run folder, as JSON values; empty for missing files.

    Attributes:
        name: Name of the folder, without its path.
        model_folder: The model folder in it.
        model: Its `config.json`: architecture, preprocessing, operating point, calibration.
        run: `run.json`: data fingerprint, precision, environment.
        config: `config.json`: the resolved `TrainConfig`.
        data: `data.json`: data, source, classes, size.
        epochs: `log.jsonl`: one record for each epoch.
        seconds: Wall time of all epochs, `None` if unknown.
        evaluation: The latest evaluation, `None` if there is none.
    """

    name: str
    model_folder: Path
    model: Mapping[str, Any]
    run: Mapping[str, Any]
    config: Mapping[str, Any]
    data: Mapping[str, Any]
    epochs: tuple[Mapping[str, Any], ...]
    seconds: float | None
    evaluation: Evaluation | None


def read_run(folder: str | os.PathLike[str]) -> RunRecords:
    """Read all records of a run or model folder, without weights.

    Args:
        folder: A run folder, or a model folder. For a model folder inside a run, the run is read.

    Returns:
        The records.

    Raises:
        RunError: If there is no model, or a file is damaged or of a newer format.
    """
    model_folder = pretrained.find(Path(folder))
    model = pretrained.read_config(model_folder)
    run = _run_folder(Path(folder), model_folder)
    of_a_run = storage.is_file(run / "run.json")
    log, timings = read_log(run)
    return RunRecords(
        name=run.resolve().name,
        model_folder=model_folder,
        model=model,
        run=_read(run / "run.json"),
        config=_read(run / "config.json") if of_a_run else {},  # in a model folder this file is the model's
        data=_read(run / "data.json"),
        epochs=tuple(log),
        seconds=sum(float(record["seconds"]) for record in timings) if timings and len(timings) == len(log) else None,
        evaluation=load_evaluation(folder),
    )


def save_evaluation(
    run_folder: str | os.PathLike[str],
    report: VerificationReport,
    *,
    data: str,
    split: str,
    source: str,
    class_names: Sequence[str] = (),
) -> None:
    """Store an evaluation in the run, and replace an earlier one.

    Args:
        run_folder: The run or model folder that was evaluated.
        report: The result of `evaluate`.
        data: Name or folder of the data, such as "mnist".
        split: "train", "val" or "test".
        source: Where the data came from.
        class_names: Classes of the images, to compare with those of training.

    Raises:
        RunError: If there is no model, or the file cannot be written; an earlier evaluation then stays.
    """
    folder = Path(run_folder)
    model_folder = pretrained.find(folder)
    body = {
        "format": "pairsim-evaluation",
        "format_version": FORMAT_VERSION,
        "data": data,
        "split": split,
        "source": source,
        "class_names": list(class_names),
        **saved_sha256(model_folder),
        "report": report.to_dict(),
    }
    storage.write_file(_run_folder(folder, model_folder) / EVALUATION, json_files.sealed(body))


def load_evaluation(run_folder: str | os.PathLike[str]) -> Evaluation | None:
    """Load the evaluation stored in a run.

    Args:
        run_folder: The run or model folder.

    Returns:
        The evaluation, with whether the model is still the one that was evaluated; `None` if there is none.

    Raises:
        RunError: If there is no model, or the file is damaged or of a newer format.
    """
    folder = Path(run_folder)
    model_folder = pretrained.find(folder)
    path = _run_folder(folder, model_folder) / EVALUATION
    if not storage.is_file(path):
        return None
    body, now = json_files.read_sealed(path), saved_sha256(model_folder)
    check_format(body, "pairsim-evaluation", FORMAT_VERSION, path)
    figures, names = body.get("report"), body.get("class_names") or []
    if not isinstance(figures, dict) or not isinstance(names, list):
        raise RunError(f"{path} is damaged: it has no figures. Write it again with: pairsim evaluate RUN DATA")
    return Evaluation(
        figures=figures,
        **{name: str(body.get(name, "")) for name in ("data", "split", "source")},
        class_names=tuple(map(str, names)),
        of_these_weights=body.get("weights_sha256") == now["weights_sha256"],
        of_this_calibration=body.get("config_sha256") == now["config_sha256"],
    )


def training_command(records: RunRecords) -> str | None:
    """Return the `pairsim train` command that reproduces a run, with the last name of a data folder.

    Args:
        records: From `read_run`.

    Returns:
        One line for a shell; `None` if the command line did not train it to the end, or cannot express it.
    """
    data, config = str(records.data.get("data") or ""), records.config
    architecture = records.model.get("architecture", {})
    options = options_of(TrainConfig).items()
    by_name = all(config.get(name) in rules.names for name, rules in options if rules.accepts_callables)
    if not data or not by_name or own_code(records) is not None:
        return None
    words = ["pairsim", "train", last_name(data), "--out", "RUN"]
    processes, backbone = records.run.get("environment", {}).get("num_processes", 1), own_net(records)
    if processes > 1:
        words = ["torchrun", "--nproc-per-node", str(processes), "-m", *words]
    if backbone == EMBEDDINGS:
        backbone = None
    if (option_given := records.data.get("backbone")) is not None:
        words += ["--backbone", str(option_given)]
    elif backbone is not None:
        words += ["--backbone", backbone]
        weights = first_weights(records)
        words += [] if weights in (None, "random") else ["--weights", last_name(str(weights))]
    pairs = records.data.get("pairs")
    if isinstance(pairs, Mapping):
        words += ["--pairs", last_name(str(pairs["file"]))]
        words += ["--val-pairs", last_name(str(pairs["val_file"]))] if pairs.get("val_file") else []
        words += [] if pairs.get("random_negatives", True) else ["--no-random-negatives"]
    for name, value in changed_settings(config).items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", str(value)]
    if architecture.get("embedding_dim", 128) != 128:
        words += ["--embedding-dim", str(architecture["embedding_dim"])]
    if records.data.get("class_level", 1) != 1:
        words += ["--class-level", str(records.data["class_level"])]
    if (classes := records.data.get("class_split")) is not None:
        words += ["--unseen", str(classes["unseen"])]
    if records.data.get("on_error") is not None:
        words += ["--on-error", str(records.data["on_error"])]
    if records.data.get("groups") is not None:
        words += ["--groups", str(records.data["groups"])]
    preprocessing = records.model.get("preprocessing", {})
    named = data in NAMES or is_embedding_file(data)
    if not named and (sizes := preprocessing.get("image_size")) is not None:
        words += ["--image-size", "x".join(map(str, sizes if sizes[0] != sizes[1] else sizes[:1]))]
        words += ["--fit", preprocessing.get("fit", "stretch")]
    if not named or (backbone is not None and preprocessing.get("channels") != 3):
        words += ["--channels", str(preprocessing.get("channels"))]
    if (white := preprocessing.get("white")) is not None:
        words += ["--white", str(white)]
    return shlex.join(words)


def changed_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that differ from the defaults, including those that the recipe or the machine filled in.

    Args:
        config: A run's settings as JSON values, from `TrainConfig.to_dict`.
    """
    defaults, rules = TrainConfig(val_fraction=VAL_FRACTION).to_dict(), options_of(TrainConfig)
    always = {"objective", "epochs", "batch_size", "seed"}
    return {
        name: value
        for name, value in config.items()
        if name in defaults and rules[name].is_setting and (value != defaults[name] or name in always)
    }


def own_net(records: RunRecords) -> str | None:
    """Return the name of a net other than the reference network.

    Args:
        records: From `read_run`.

    Returns:
        The name, or `None` for the reference network.
    """
    architecture = records.model.get("architecture", {})
    name = architecture.get("backbone", architecture.get("embedding_net"))
    return None if name is None else str(name)


def own_code(records: RunRecords) -> str | None:
    """Return the name of a net that is code and not saved; `None` for one that `from_pretrained` builds itself.

    Args:
        records: From `read_run`.
    """
    net = own_net(records)
    built = "embedding_net" not in records.model.get("architecture", {}) and is_backbone_name(net or "")
    return None if built else net


def first_weights(records: RunRecords) -> str | None:
    """Return the weights that training of a named backbone began with: "pretrained", "random", a file, or `None`.

    Args:
        records: From `read_run`; runs from Python and of earlier versions do not have it.
    """
    return str(records.data["weights"] or "random") if "weights" in records.data else None


def last_name(text: str) -> str:
    """Shorten the paths in a text to their last names, so that a card does not show folders of a machine.

    Example:
        >>> last_name("validation images of /home/me/faces"), last_name("mnist (/data/mnist/MNIST/raw)")
        ('validation images of faces', 'mnist')
    """
    without_folder = re.sub(r" \([^()]*[/\\].*\)$", "", text.strip())
    trimmed = re.sub(r"[/\\]+$", "", without_folder)
    return re.sub(r"\S*[/\\](?:.*[/\\])?", "", trimmed)


def _run_folder(folder: Path, model_folder: Path) -> Path:
    """Return the run that a model folder is part of, or else the folder itself."""
    above = model_folder.resolve().parent
    return above if model_folder.resolve().name == "model" and storage.is_file(above / "run.json") else folder


def _read(path: Path) -> dict[str, Any]:
    return json_files.read_sealed(path) if storage.is_file(path) else {}
