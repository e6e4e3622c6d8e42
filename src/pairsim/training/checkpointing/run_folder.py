"""The folder of a training run.

run.json          format, versions, device, data: what is needed to reproduce the run
config.json       the TrainConfig, resolved
split.json        which images of the training data are validation images, if some were split off
log.jsonl         one line for each epoch, without times
timings.jsonl     seconds, images per second and share of time spent waiting for data, of each epoch
best_model.pt     weights of the best model, for torch.load
model/            the best model, for SimilarityModel.from_pretrained
checkpoints/      the newest checkpoints, to resume from
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pairsim._common import storage
from pairsim.data.splits import ValidationSplit, write_split
from pairsim.errors import RunError
from pairsim.models import SimilarityModel
from pairsim.models.pretrained import check_format
from pairsim.training.checkpointing import checkpoint
from pairsim.training.config import TrainConfig
from pairsim.training.config_options import options_of
from pairsim.training.history import History

if TYPE_CHECKING:
    from pairsim.training.checkpointing.training_state import TrainingState

FORMAT_VERSION = 1


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
        exists = run_file.is_file()
        if exists:
            check_format(storage.read_json(run_file), "pairsim-run", FORMAT_VERSION, run_file)
        elif self._path.exists() and (not self._path.is_dir() or any(self._path.iterdir())):
            raise RunError(
                f"Expected {self._path} to be a run folder or empty, found "
                f"{'other files' if self._path.is_dir() else 'a file'}. "
                "Choose another --out."
            )
        state, problems = checkpoint.load_checkpoint(checkpoints) if exists and resume else (None, [])
        if state is None:
            checkpoint.remove_checkpoints(checkpoints)
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
            checkpoint.save_checkpoint(self._path / "checkpoints", state.step, state.state_dict())


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    storage.write_file(path, "".join(f"{line}\n" for line in lines).encode())


def _check_same_run(path: Path, info: dict[str, Any], config: TrainConfig) -> None:
    """Check that a run is resumed with its settings and data."""
    # a setting that did not exist when the run was started had its default
    before, now = {**type(config)().to_dict(), **storage.read_json(path / "config.json")}, config.to_dict()
    changed = _changed_settings(before, config)
    if changed:
        listed = ", ".join(f"{name} {before.get(name)!r} -> {now[name]!r}" for name in changed)
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


def _changed_settings(before: dict[str, Any], config: TrainConfig) -> list[str]:
    """Names of settings that differ although they must stay the same on a resume."""
    free = {name for name, option in options_of(config).items() if option.may_change_on_resume}
    if config.scheduler not in ("plateau", "none"):  # the other schedules depend on the number of epochs
        free.discard("epochs")
    return [name for name, value in config.to_dict().items() if name not in free and before.get(name) != value]


def _environment_changes(path: Path, info: dict[str, Any]) -> list[str]:
    """A line about changes of versions and hardware, if there are any."""
    before, now = storage.read_json(path / "run.json").get("environment", {}), info["environment"]
    before, now = ({"num_processes": 1, **environment} for environment in (before, now))
    changed = [f"{name} {before.get(name)} -> {now[name]}" for name in now if before.get(name) != now[name]]
    if not changed:
        return []
    return [f"Resumed in another environment ({'; '.join(changed)}): it continues, but not bit for bit."]
