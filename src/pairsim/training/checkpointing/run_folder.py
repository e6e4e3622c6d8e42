"""The folder of a training run.

features/         features of a frozen backbone, with checksums (see pairsim.encoding.features)
run.json          format, versions, device, data: what is needed to reproduce the run
config.json       the TrainConfig, resolved
split.json        which images of the training data are validation images, if some were split off
log.jsonl         one line for each epoch, without times
timings.jsonl     seconds, images per second and share of time spent waiting for data, of each epoch
best_model.pt     weights of the best model, for torch.load
model/            the best model, for SimilarityModel.from_pretrained
checkpoints/      the newest checkpoints, to resume from: folders of safetensors and JSON with checksums
"""

from __future__ import annotations

import io
import json
import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pairsim._common import storage
from pairsim.data.splits import ValidationSplit, write_split
from pairsim.errors import RunError
from pairsim.models import SimilarityModel
from pairsim.models.pretrained import check_format, deserialize, name_of_nan, serialize
from pairsim.training.config import TrainConfig
from pairsim.training.config_options import options_of
from pairsim.training.history import History

if TYPE_CHECKING:
    from pairsim.training.training_state import TrainingState

FORMAT_VERSION = 1
_NUM_KEPT = 2
"""Checkpoints that are not removed: if the newest is damaged, the one before is used."""


class RunFolder:
    """Reads and writes the folder of a run. Without a folder its methods do nothing.

    Args:
        path: The folder, which `start` creates; `None` for no folder.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def start(
        self, info: dict[str, Any], config: TrainConfig, split: ValidationSplit | None, *, resume: bool
    ) -> dict[str, Any] | None:
        """Open the folder for a new run or to resume one.

        Args:
            info: Description of the data and the machine, for `run.json`.
            config: Resolved.
            split: Which images of the training data are validation images, `None` if none were split off.
            resume: Whether to resume from the newest checkpoint; otherwise an earlier run in the folder is removed.

        Returns:
            The state to resume from, with a list of problems as `problems`, or `None` for a new run.

        Raises:
            RunError: If the folder holds other files, another run, or a run of a newer format.
        """
        if self._path is None:
            return None
        run_file, checkpoints = self._path / "run.json", self._path / "checkpoints"
        exists, found = storage.is_file(run_file), storage.found_at(self._path)
        if exists:
            check_format(storage.read_json(run_file), "pairsim-run", FORMAT_VERSION, run_file)
        elif found != "nothing" and (
            found != "a folder" or any(path.name != "features" for path in self._path.iterdir())
        ):
            other = "other files" if found == "a folder" else found
            raise RunError(f"Expected {self._path} to be a run folder or empty, found {other}. Choose another --out.")
        state, problems = load_checkpoint(checkpoints) if exists and resume else (None, [])
        if state is None:
            shutil.rmtree(checkpoints, ignore_errors=True)
            for name in ("log.jsonl", "timings.jsonl"):
                storage.write_file(self._path / name, b"")
        else:
            _check_same_run(self._path, info, config)
            state["problems"] = problems + _environment_changes(self._path, info)
        body = {"format": "pairsim-run", "format_version": FORMAT_VERSION, **info}
        storage.write_file(run_file, storage.to_json(body))
        storage.write_file(self._path / "config.json", storage.to_json(config.to_dict()))
        write_split(self._path, split)
        return state

    def write_log(self, history: History) -> None:
        """Write the log of all epochs so far."""
        if self._path is None:
            return
        timings = [
            {
                "epoch": record.epoch,
                "seconds": round(seconds, 3),
                "images_per_s": round(history.num_images / seconds, 1),
                "waiting": round(waiting, 4),
            }
            for record, seconds, waiting in zip(history.records, history.seconds, history.waiting, strict=True)
        ]
        _write_lines(self._path / "log.jsonl", (record.to_json() for record in history))
        _write_lines(self._path / "timings.jsonl", map(json.dumps, timings))

    def write_best(self, model: SimilarityModel) -> None:
        """Save the best model, as plain weights and as a model folder."""
        if self._path is None:
            return
        buffer = io.BytesIO()
        torch.save({name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}, buffer)
        storage.write_file(self._path / "best_model.pt", buffer.getvalue())
        model.save_pretrained(self._path / "model")

    def write_checkpoint(self, state: TrainingState) -> None:
        """Save the state after a step."""
        if self._path is not None:
            save_checkpoint(self._path / "checkpoints", state.step, state.state_dict())


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    storage.write_file(path, "".join(f"{line}\n" for line in lines).encode())


def _check_same_run(path: Path, info: dict[str, Any], config: TrainConfig) -> None:
    """Check that a run is resumed with its settings and data."""
    # a setting that did not exist when the run was started had its default
    before = {**type(config)().resolved().to_dict(), **storage.read_json(path / "config.json")}
    fixed = {name for name, option in options_of(config).items() if not option.may_change_on_resume}
    if config.scheduler not in ("plateau", "none"):  # the other schedules depend on the number of epochs
        fixed.add("epochs")
    changed = [(name, now) for name, now in config.to_dict().items() if name in fixed and before[name] != now]
    if changed:
        listed = ", ".join(f"{name} {before[name]!r} -> {now!r}" for name, now in changed)
        raise RunError(
            f"Expected the settings that {path} was started with, found changes: {listed}. "
            "Restore them, choose another --out, or start again with --resume never."
        )
    data = storage.read_json(path / "run.json").get("data")
    if data != info["data"]:
        raise RunError(
            f"Expected the data that {path} was started with ({data}), found {info['data']}. "
            "Restore it, choose another --out, or start again with --resume never."
        )


def _environment_changes(path: Path, info: dict[str, Any]) -> list[str]:
    """A line about changes of versions and hardware, if there are any."""
    before, now = storage.read_json(path / "run.json").get("environment", {}), info["environment"]
    before, now = ({"num_processes": 1, **environment} for environment in (before, now))
    changed = [f"{name} {before.get(name)} -> {now[name]}" for name in now if before.get(name) != now[name]]
    note = f"Resumed in another environment ({'; '.join(changed)}): it continues, but not bit for bit."
    return [note] if changed else []


def pack(value: Any, tensors: dict[str, Tensor], path: str = "") -> Any:
    """Convert nested state to JSON values and named tensors.

    Dictionaries become lists of entries, because JSON has text keys only. Tuples, and numbers that JSON does not have,
    are marked.

    Args:
        value: Nested dictionaries, lists, tuples, tensors, numbers, text, booleans and `None`.
        tensors: The tensors of the state are added here, by path.
        path: Path of this value in the state.

    Raises:
        TypeError: If the state holds another type; the message has its path.
    """
    if isinstance(value, Tensor):
        tensors[path] = value
        return {"tensor": path}
    if isinstance(value, dict):
        return {"dict": [[pack(k, tensors), pack(v, tensors, f"{path}/{k}")] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        items = [pack(item, tensors, f"{path}/{index}") for index, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"Expected state of numbers, text and tensors, found {type(value).__name__} at {path}.")


def unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of `pack`."""
    if isinstance(value, list):
        return [unpack(item, tensors) for item in value]
    if isinstance(value, dict):
        ((kind, content),) = value.items()
        if kind == "tensor":
            return tensors[content]
        if kind == "dict":
            return {unpack(k, tensors): unpack(v, tensors) for k, v in content}
        if kind == "tuple":
            return tuple(unpack(item, tensors) for item in content)
        return float(content)
    return value


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Save the state after a step, and remove all but the newest checkpoints.

    Args:
        folder: Folder of all checkpoints.
        step: Optimizer steps so far.
        state: Nested state, as for `pack`.

    Raises:
        RunError: If it cannot be written; earlier checkpoints are not changed.
    """
    tensors: dict[str, Tensor] = {}
    body = {"format": "pairsim-checkpoint", "format_version": FORMAT_VERSION, "state": pack(state, tensors)}
    path = folder / f"step-{step:09d}"
    if storage.is_folder(path):  # of the same step before a resume from an earlier checkpoint
        shutil.rmtree(path)
    storage.write_folder(path, {"state.json": storage.to_json(body), "tensors.safetensors": serialize(tensors)})
    for old in _checkpoints(folder)[_NUM_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """Load the newest checkpoint that is not damaged and has no NaN.

    Returns:
        Its state, `None` if there is no checkpoint; and a line about each newer checkpoint, which is damaged.

    Raises:
        RunError: If all checkpoints are damaged, or one has a newer format.
    """
    problems: list[str] = []
    for path in _checkpoints(folder):
        try:
            files = storage.read_folder(path)
            body = storage.parsed_json(files["state.json"])
            tensors = deserialize(files["tensors.safetensors"], path / "tensors.safetensors")
            if name := name_of_nan(tensors):
                raise RunError(f"Expected numbers in {name}, found NaN.")
        except (RunError, KeyError, ValueError) as error:
            problems.append(f"Checkpoint {path.name} cannot be used: {error}")
            continue
        check_format(body, "pairsim-checkpoint", FORMAT_VERSION, path / "state.json")
        state: dict[str, Any] = unpack(body["state"], tensors)
        return state, problems
    if problems:
        raise RunError(
            f"All checkpoints in {folder} are damaged. {' '.join(problems)} "
            "Start again with --resume never, or choose another folder."
        )
    return None, problems


def _checkpoints(folder: Path) -> list[Path]:
    """List the folders of checkpoints, newest first."""
    return sorted(folder.glob("step-*"), reverse=True) if storage.is_folder(folder) else []
