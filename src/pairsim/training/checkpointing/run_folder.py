"""The folder of a training run.

.lock             who trains in the folder; not part of the run (see run_lock)
features/         features of a frozen backbone, with checksums (see pairsim.encoding.features)
run.json          format, versions, device, data: what is needed to reproduce the run
config.json       the TrainConfig, resolved
split.json        which images of the training data are validation images, if some were split off
log.jsonl         one line for each epoch, without times
timings.jsonl     seconds, images per second and share of time spent waiting for data, of each epoch
best_model.pt     weights of the best model, for torch.load
model/            the best model, for SimilarityModel.from_pretrained
checkpoints/      the newest checkpoints, to resume from: folders of safetensors and JSON with checksums

A kill at any moment leaves a folder from which the same command continues: `run.json` comes first and a checkpoint
after everything that it refers to. The lines of `log.jsonl` and `timings.jsonl` that a checkpoint does not count are of
an epoch that is trained again.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pairsim._common import json_files, storage
from pairsim.data.image_fingerprint import TIMES, image_changes
from pairsim.data.splits import ValidationSplit, write_split
from pairsim.errors import RunError
from pairsim.models import SimilarityModel
from pairsim.models.pretrained import check_format, deserialize, name_of_nan, serialize
from pairsim.training.checkpointing.run_lock import RUN_FILE, RUN_FORMAT_VERSION, check_usable, training_in
from pairsim.training.checkpointing.saved_model import (
    MODEL,
    PLAIN_WEIGHTS,
    check_same_net,
    is_saved,
    saved_config,
    write_model,
)
from pairsim.training.config import TrainConfig
from pairsim.training.config_options import options_of
from pairsim.training.history import History

if TYPE_CHECKING:
    from pairsim.training.training_state import TrainingState

FORMAT = "pairsim-checkpoint"
FORMAT_VERSION = 2
"""Of checkpoints. Those of version 1 hold the history itself, where others refer to the log."""

LOG, TIMINGS = "log.jsonl", "timings.jsonl"
_CHECKPOINTS, _FEATURES = "checkpoints", "features"
_OF_A_RUN = (
    *(_CHECKPOINTS, MODEL, PLAIN_WEIGHTS),
    *("evaluation.json", "calibration.json", "report.html", "curves.png", "data.json", "validation_pairs.csv"),
)
"""What is removed before a new run in the same folder, checkpoints first. The rest is replaced."""

_FUNCTIONS = "functions"
"""The settings inside the functions of a `TrainConfig`; those of runs of earlier versions are not known."""

_IMAGES = {"images": "images", "val_images": "validation images"}
_NUM_KEPT = 2
"""Checkpoints that are not removed: if the newest is damaged, the one before is used."""


class RunFolder:
    """Reads and writes the folder of a run. Without a folder its methods do nothing.

    Args:
        path: The folder, which `start` creates; `None` for no folder.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._log, self._timings = _Lines(), _Lines()

    def locked(self) -> AbstractContextManager[None]:
        """Keep the folder to this trainer (see `training_in`)."""
        return training_in(self._path)

    def start(
        self,
        info: dict[str, Any],
        config: TrainConfig,
        split: ValidationSplit | None,
        *,
        resume: bool,
        accepts_images: bool = False,
        result: SimilarityModel | None = None,
    ) -> dict[str, Any] | None:
        """Open the folder for a new run or to resume one, and remove what a killed process left in it.

        A folder with a model is not taken for another run unless `resume` is false.

        Args:
            info: Description of the data and the machine, for `run.json`.
            config: Resolved.
            split: Which images of the training data are validation images, `None` if none were split off.
            resume: Whether to resume from the newest checkpoint; otherwise an earlier run in the folder is removed.
            accepts_images: Whether to resume also with other images than the run was started with.
            result: The model that a run without epochs is to hold, `None` for a run with epochs.

        Returns:
            The state to resume from, with a list of problems as `problems`, or `None` for a new run.

        Raises:
            RunError: If the folder holds other files, another run, the run of another model than `result`, or a run of
                a newer format.
        """
        if self._path is None:
            return None
        exists = check_usable(self._path)
        for folder in (self._path, self._path / _CHECKPOINTS, self._path / _FEATURES):
            storage.remove_leftovers(folder)
        state, problems = load_checkpoint(self._path) if exists and resume else (None, [])
        saved = saved_config(self._path) if exists and resume else None
        if saved is not None or state is not None:
            changes = _check_same_run(self._path, info, config, accepts_images=accepts_images)
            if result is not None:
                check_same_net(self._path, saved, result, has_epochs=state is not None)
        if state is not None:
            checkpoints = _checkpoints(self._path)  # the damaged ones first, which would count as the newest
            _remove([*checkpoints[: len(problems)], *checkpoints[len(problems) + _NUM_KEPT :]])
            state["problems"] = problems + changes + _environment_changes(self._path, info)
        elif exists and (saved is None or result is None):
            for name in _OF_A_RUN:
                storage.remove(self._path / name)
        body = {"format": "pairsim-run", "format_version": RUN_FORMAT_VERSION, **info}
        storage.write_file(self._path / RUN_FILE, json_files.sealed(body))
        settings = config.to_dict() | ({_FUNCTIONS: inside} if (inside := config.function_settings()) else {})
        storage.write_file(self._path / "config.json", json_files.sealed(settings))
        write_split(self._path, split)
        self._log, self._timings = _Lines(), _Lines()
        if state is None:
            self.write_log(History())
        return state

    def write_log(self, history: History) -> None:
        """Write the log of all epochs so far."""
        if self._path is None:
            return
        storage.write_file(self._path / LOG, self._log.of(len(history), lambda k: history.records[k].to_dict()))
        storage.write_file(self._path / TIMINGS, self._timings.of(len(history), history.timing))

    def write_best(self, model: SimilarityModel) -> None:
        """Save the best model, as plain weights and as a model folder."""
        if self._path is not None:
            write_model(self._path, model)

    def keep_best(self, model: SimilarityModel, *, replaces: bool) -> dict[str, Any] | None:
        """Save the best model unless the folder holds it already, perhaps with a calibration that was made since.

        Args:
            model: The best model.
            replaces: Whether to replace another model; otherwise one that is not damaged stays.

        Returns:
            The settings that the same model is saved with; `None` if the folder held another model, or none.
        """
        saved = None if self._path is None else saved_config(self._path)
        if self._path is not None and saved is not None and is_saved(self._path, saved, model):
            return {name: saved.get(name) for name in model.settings()}
        if saved is None or replaces:
            self.write_best(model)
        return None

    def write_checkpoint(self, state: TrainingState) -> None:
        """Save the state after a step, with a reference to the log, which has all epochs so far."""
        if self._path is None:
            return
        values, records = state.state_dict(without=_HISTORY), state.records
        lines = self._log.of(len(records), lambda k: records[k].to_dict())
        log = {"epochs": len(records), "sha256": storage.sha256(lines)}
        save_checkpoint(self._path, state.step, {**values, "log": log})


_HISTORY = ("records", "seconds", "waiting")
"""What a checkpoint refers to instead of holding it."""


class _Lines:
    """The lines of a file that only grows; each is encoded once."""

    def __init__(self) -> None:
        self._encoded: list[bytes] = []

    def of(self, num: int, record: Callable[[int], Mapping[str, Any]]) -> bytes:
        """Encode records by their index, from 0; those of an earlier call are not asked for again."""
        for index in range(len(self._encoded), num):
            self._encoded.append(json_files.sealed_lines([record(index)], first=index + 1))
        return b"".join(self._encoded)


def read_log(run: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Read `log.jsonl` and `timings.jsonl` of a run, one object for each epoch; a kill may leave one timing less.

    Raises:
        RunError: If a file is damaged or epochs are missing; the message names it.
    """
    files = [run / name for name in (LOG, TIMINGS)]
    log, timings = (json_files.read_sealed_lines(file) if storage.is_file(file) else [] for file in files)
    for file, lines, least in ((files[0], log, len(timings)), (files[1], timings, len(log) - 1)):
        if len(lines) < least and all(map(storage.is_file, files)):
            raise RunError(f"{file} is damaged: expected {least} epochs, found {len(lines)}. Copy it again.")
    return log, timings


def _read_history(run: Path, log: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Read the epochs that a checkpoint refers to.

    Returns:
        Values by the names of `_HISTORY`; records are dictionaries.

    Raises:
        RunError: If the log is not the one that was written.
    """
    num = log["epochs"]
    records, timings = (json_files.read_sealed_lines(run / name, num) for name in (LOG, TIMINGS))
    if storage.sha256(json_files.sealed_lines(records)) != log["sha256"]:
        raise RunError(f"{run / LOG} was changed: the SHA-256 of its first {num} lines differs from the one stored.")
    if len(timings) != num:
        raise RunError(f"Expected {num} lines in {run / TIMINGS}, found {len(timings)}.")
    return dict(zip(_HISTORY, (records, *([one[name] for one in timings] for name in _HISTORY[1:])), strict=True))


def _check_same_run(
    path: Path, info: dict[str, Any], config: TrainConfig, *, accepts_images: bool = False
) -> list[str]:
    """Check that a run is resumed with its settings and data, and return a line about each change of its images."""
    # a setting that did not exist when the run was started had its default
    before = {**type(config)().resolved().to_dict(), **json_files.read_sealed(path / "config.json")}
    fixed = {name for name, option in options_of(config).items() if not option.may_change_on_resume}
    if config.scheduler not in ("plateau", "none"):  # the other schedules depend on the number of epochs
        fixed.add("epochs")
    changed = [(name, before[name], now) for name, now in config.to_dict().items() if name in fixed]
    inside = before.get(_FUNCTIONS, {})
    changed += [(name, inside[name], now) for name, now in config.function_settings().items() if name in inside]
    if listed := ", ".join(f"{name} {was!r} -> {now!r}" for name, was, now in changed if was != now):
        raise RunError(
            f"Expected the settings that {path} was started with, found changes: {listed}. "
            "Restore them, choose another --out, or start again with --resume never."
        )
    began, given = json_files.read_sealed(path / RUN_FILE).get("data", {}), info["data"]
    data, now = ({name: value for name, value in all_.items() if name not in _IMAGES} for all_ in (began, given))
    if data != now:
        raise RunError(
            f"Expected the data that {path} was started with ({data}), found {now}. "
            "Restore it, choose another --out, or start again with --resume never."
        )
    changes = [
        f"{what} with other {change}"
        for name, what in _IMAGES.items()
        for change in image_changes(began.get(name, {}), given.get(name, {}))
    ]
    found = "; ".join(changes)
    if not accepts_images and not all(change.endswith(TIMES) for change in changes):
        raise RunError(
            f"Expected the images that {path} was started with, found {found}. Restore them, choose another --out, "
            "start again with --resume never, or accept them with --resume changed-images."
        )
    return [f"Resumed with changes: {found}."] if changes else []


def _environment_changes(path: Path, info: dict[str, Any]) -> list[str]:
    """A line about changes of versions and hardware, if there are any."""
    before, now = json_files.read_sealed(path / RUN_FILE).get("environment", {}), info["environment"]
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


def save_checkpoint(run: Path, step: int, state: dict[str, Any]) -> None:
    """Save the state after a step, and remove all but the newest checkpoints.

    Args:
        run: Folder of the run.
        step: Optimizer steps so far, which no checkpoint has yet.
        state: Nested state, as for `pack`.

    Raises:
        RunError: If it cannot be written; earlier checkpoints are not changed.
    """
    tensors: dict[str, Tensor] = {}
    body = {"format": FORMAT, "format_version": FORMAT_VERSION, "state": pack(state, tensors)}
    path = run / _CHECKPOINTS / f"step-{step:09d}"
    storage.write_folder(path, {"state.json": storage.to_json(body), "tensors.safetensors": serialize(tensors)})
    _remove(_checkpoints(run)[_NUM_KEPT:])


def load_checkpoint(run: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """Load the newest checkpoint that is not damaged and has no NaN.

    Args:
        run: Folder of the run.

    Returns:
        Its state, `None` if there is no checkpoint; and a line about each newer checkpoint, which is damaged.

    Raises:
        RunError: If all checkpoints are damaged, or one has a newer format.
    """
    problems: list[str] = []
    for path in _checkpoints(run):
        try:
            files = storage.read_folder(path)
            body = storage.json_object(files["state.json"], path / "state.json")
            tensors = deserialize(files["tensors.safetensors"], path / "tensors.safetensors")
            if body.get("format") != FORMAT:
                raise RunError(f"Expected state.json to say format {FORMAT}, found {body.get('format')!r}.")
            is_newer = body["format_version"] > FORMAT_VERSION  # its state may be of another kind
            state = {} if is_newer else _unpacked(run, body["state"], tensors)
        except (RunError, ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            reason = str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"
            problems.append(f"Checkpoint {path.name} cannot be used: {reason}")
            continue
        check_format(body, FORMAT, FORMAT_VERSION, path / "state.json")
        return state, problems
    if problems:
        raise RunError(
            f"All checkpoints in {run / _CHECKPOINTS} are damaged. {' '.join(problems)} "
            "Start again with --resume never, or choose another folder."
        )
    return None, problems


def _unpacked(run: Path, packed: Any, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Return the state of a checkpoint with its history.

    Raises:
        RunError: If a tensor has NaN, or the log is not the one that was written.
    """
    if name := name_of_nan(tensors):
        raise RunError(f"Expected numbers in {name}, found NaN.")
    state: dict[str, Any] = unpack(packed, tensors)
    log = state.pop("log", None)
    return state if log is None else state | _read_history(run, log)


def _checkpoints(run: Path) -> list[Path]:
    """List the folders of checkpoints, newest first."""
    folder = run / _CHECKPOINTS
    return sorted(folder.glob("step-*"), reverse=True) if storage.is_folder(folder) else []


def _remove(checkpoints: list[Path]) -> None:
    for path in checkpoints:
        with contextlib.suppress(RunError):  # a checkpoint more does no harm
            storage.remove(path)
