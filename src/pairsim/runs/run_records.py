"""What a run folder holds, read back, and the latest evaluation of it.

`evaluation.json` holds what `evaluate` found, on which data, and of which weights, so that a card or a report never
shows the figures of another model.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pairsim._common import storage
from pairsim.data.augment import AugmentName
from pairsim.data.named import NAMES
from pairsim.errors import RunError
from pairsim.models import pretrained
from pairsim.models.identity import saved_sha256
from pairsim.models.pretrained import check_format
from pairsim.training import TrainConfig
from pairsim.training.config import ObjectiveName, OptimizerName
from pairsim.verification.verification_report import VerificationReport

EVALUATION = "evaluation.json"
FORMAT_VERSION = 1

# settings that say where and how fast a run goes, not what it computes
_NOT_SHOWN = {
    "out", "device", "resident", "memory_budget_mb", "cache_dir", "num_workers", "pin_memory", "checkpoint_steps",
    "progress", "cuda_graph",
}  # fmt: skip


_NAMED = {"objective": ObjectiveName, "optimizer": OptimizerName, "augment": AugmentName}


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """An evaluation as it was kept.

    Attributes:
        figures: What `VerificationReport.to_dict` gives; any key may be absent.
        data: The data as it was asked for, such as "mnist" or a folder; empty if unknown.
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
    """The content of a run folder, as JSON values; what is not there is empty.

    Attributes:
        name: Name of the folder, without its path.
        model_folder: Where the model is.
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
    """Read everything that a run or model folder says of itself; weights are not loaded.

    Args:
        folder: A run folder, or a model folder. Of a model folder inside a run, the run is read.

    Returns:
        The records.

    Raises:
        RunError: If there is no model, or a file is damaged or of a newer format.
    """
    model_folder = pretrained.find(Path(folder))
    model = storage.read_json(model_folder / pretrained.CONFIG)
    check_format(model, "pairsim-model", pretrained.FORMAT_VERSION, model_folder / pretrained.CONFIG)
    run = _run_folder(Path(folder), model_folder)
    of_a_run = (run / "run.json").is_file()
    seconds = [float(record.get("seconds", 0.0)) for record in _read_lines(run / "timings.jsonl")]
    return RunRecords(
        name=run.resolve().name,
        model_folder=model_folder,
        model=model,
        run=_read(run / "run.json"),
        config=_read(run / "config.json") if of_a_run else {},  # in a model folder it is the model's
        data=_read(run / "data.json"),
        epochs=tuple(_read_lines(run / "log.jsonl")),
        seconds=sum(seconds) if seconds else None,
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
    """Keep an evaluation in the run, in place of an earlier one.

    Args:
        run_folder: The run or model folder that was evaluated.
        report: What `evaluate` found.
        data: The data as it was asked for, such as "mnist" or a folder.
        split: Which images: "train", "val" or "test".
        source: Where the data came from, for the record.
        class_names: Classes of the images, which tell whether training had them.

    Raises:
        RunError: If there is no model, or it cannot be written; an earlier evaluation then stays.
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
    storage.write_file(_run_folder(folder, model_folder) / EVALUATION, storage.to_json(body))


def load_evaluation(run_folder: str | os.PathLike[str]) -> Evaluation | None:
    """The evaluation that was kept in a run.

    Args:
        run_folder: The run or model folder.

    Returns:
        The evaluation, which says whether the model is still the one that was evaluated; `None` if there is none.

    Raises:
        RunError: If there is no model, or the file is damaged or of a newer format.
    """
    folder = Path(run_folder)
    model_folder = pretrained.find(folder)
    path = _run_folder(folder, model_folder) / EVALUATION
    if not path.is_file():
        return None
    body, now = storage.read_json(path), saved_sha256(model_folder)
    check_format(body, "pairsim-evaluation", FORMAT_VERSION, path)
    figures, names = body.get("report"), body.get("class_names") or []
    if not isinstance(figures, dict) or not isinstance(names, list):
        raise RunError(f"{path} is damaged: it holds no figures. Make it again with: pairsim evaluate RUN DATA")
    return Evaluation(
        figures=figures,
        data=str(body.get("data", "")),
        split=str(body.get("split", "")),
        source=str(body.get("source", "")),
        class_names=tuple(map(str, names)),
        of_these_weights=body.get("weights_sha256") == now["weights_sha256"],
        of_this_calibration=body.get("config_sha256") == now["config_sha256"],
    )


def training_command(records: RunRecords) -> str | None:
    """The `pairsim train` command that gives such a run, with a folder of data by its last name.

    Args:
        records: What `read_run` found in the run's folder.

    Returns:
        One line for a shell, or `None` if the command line did not train it, or cannot.
    """
    data, config = str(records.data.get("data") or ""), records.config
    architecture = records.model.get("architecture", {})
    named = all(config.get(name) in get_args(choices) for name, choices in _NAMED.items())
    if not data or not named or own_net(records) is not None:
        return None
    words = ["pairsim", "train", last_name(data), "--out", "RUN"]
    for name, value in changed_settings(config).items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", str(value)]
    if architecture.get("embedding_dim", 128) != 128:
        words += ["--embedding-dim", str(architecture["embedding_dim"])]
    preprocessing = records.model.get("preprocessing", {})
    sizes = set(preprocessing.get("image_size", []))
    if data not in NAMES and len(sizes) == 1:  # other sizes and channels are only ever found in the pictures
        words += ["--image-size", str(sizes.pop()), "--channels", str(preprocessing.get("channels"))]
    return shlex.join(words)


def changed_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that differ from the defaults, with those that the recipe or the machine filled in.

    Args:
        config: A run's settings as JSON values, as `TrainConfig.to_dict` gives them.
    """
    defaults = TrainConfig().to_dict()
    always = {"objective", "epochs", "batch_size", "seed"}
    return {
        name: value
        for name, value in config.items()
        if name in defaults and name not in _NOT_SHOWN and (value != defaults[name] or name in always)
    }


def own_net(records: RunRecords) -> str | None:
    """The net's name where it is not the reference network, and so is code that is not saved.

    Args:
        records: What `read_run` found in the run's folder.

    Returns:
        The name, or `None` for the reference network.
    """
    architecture = records.model.get("architecture", {})
    name = architecture.get("backbone", architecture.get("embedding_net"))
    return None if name is None else str(name)


def last_name(text: str) -> str:
    """A text with paths in it, each shortened to its last name, so that no card tells how a machine is laid out.

    Example:
        >>> last_name("validation images of /home/me/faces"), last_name("mnist (/data/mnist/MNIST/raw)")
        ('validation images of faces', 'mnist')
    """
    without_place = re.sub(r" \([^()]*[/\\].*\)$", "", text.strip())
    trimmed = re.sub(r"[/\\]+$", "", without_place)
    return re.sub(r"\S*[/\\](?:.*[/\\])?", "", trimmed)


def _run_folder(folder: Path, model_folder: Path) -> Path:
    """The run that a model folder is part of, or else the folder itself."""
    above = model_folder.resolve().parent
    return above if model_folder.resolve().name == "model" and (above / "run.json").is_file() else folder


def _read(path: Path) -> dict[str, Any]:
    return storage.read_json(path) if path.is_file() else {}


def _read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise RunError(f"Expected lines of JSON in {path}, but: {error}.") from error
    if not all(isinstance(record, dict) for record in records):
        raise RunError(f"Expected one JSON object in each line of {path}, found something else.")
    return records
