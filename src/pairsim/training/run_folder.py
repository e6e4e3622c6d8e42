"""The folder of a run: what it holds and how each file is written.

run.json          format, versions, device, what makes the run reproducible
config.json       the TrainConfig, resolved
log.jsonl         one line for each epoch, without times
timings.jsonl     seconds, images per second and share of waiting for data of each epoch
best_model.pt     weights of the best model, for torch.load
model/            the best model, for SimilarityModel.from_pretrained
checkpoints/      the newest checkpoints, to resume from
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from pairsim._common import storage
from pairsim.errors import RunError
from pairsim.models import SimilarityModel
from pairsim.models.pretrained import check_format
from pairsim.training import checkpoint
from pairsim.training.config import TrainConfig
from pairsim.training.config_options import options_of
from pairsim.training.history import History

FORMAT_VERSION = 1


class RunFolder:
    """Reads and writes one run.

    Args:
        path: The folder; made by `start`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints: Path = path / "checkpoints"

    def start(self, info: dict[str, Any], config: dict[str, Any], *, resume: bool) -> dict[str, Any] | None:
        """Open the run, anew or to go on with it.

        Args:
            info: What the data and the machine are.
            config: The resolved config.
            resume: Whether to go on from the newest checkpoint; otherwise an earlier run here is removed.

        Returns:
            The state to go on from, or `None` to begin, with a list of problems under the key `problems`.

        Raises:
            RunError: If the folder holds something else, another run, or a run of a newer format.
        """
        existing = self.path / "run.json"
        if existing.is_file():
            check_format(storage.read_json(existing), "pairsim-run", FORMAT_VERSION, existing)
        elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise RunError(
                f"Expected {self.path} to be a run folder or empty, found "
                f"{'other files' if self.path.is_dir() else 'a file'}. "
                "Choose another --out."
            )
        state = None
        if resume and existing.is_file():
            state, problems = checkpoint.load_checkpoint(self.checkpoints)
            if state is not None:
                self._check_same_run(info, config)
                state["problems"] = problems + self._other_environment(info)
        if state is None:
            checkpoint.remove_checkpoints(self.checkpoints)
            for name in ("log.jsonl", "timings.jsonl"):
                storage.write_file(self.path / name, b"")
        body = {"format": "pairsim-run", "format_version": FORMAT_VERSION, **info}
        storage.write_file(self.path / "run.json", storage.to_json(body))
        storage.write_file(self.path / "config.json", storage.to_json(config))
        return state

    def _check_same_run(self, info: dict[str, Any], config: dict[str, Any]) -> None:
        # a setting that there was not when the run was begun had its default
        before = {**TrainConfig().to_dict(), **storage.read_json(self.path / "config.json")}
        free = {name for name, rules in options_of(TrainConfig).items() if rules.may_change_on_resume}
        if config["scheduler"] not in ("plateau", "none"):  # the others follow the number of epochs
            free.discard("epochs")
        changed = [name for name in config if name not in free and before.get(name) != config[name]]
        if changed:
            listed = ", ".join(f"{name} {before.get(name)!r} -> {config[name]!r}" for name in changed)
            raise RunError(
                f"Expected the settings that {self.path} was begun with, found changes: {listed}. "
                "Restore them, choose another --out, or start again with --resume never."
            )
        data = storage.read_json(self.path / "run.json").get("data")
        if data != info["data"]:
            raise RunError(
                f"Expected the data that {self.path} was begun with ({data}), found {info['data']}. "
                "Restore it, choose another --out, or start again with --resume never."
            )

    def _other_environment(self, info: dict[str, Any]) -> list[str]:
        before, now = storage.read_json(self.path / "run.json").get("environment", {}), info["environment"]
        before, now = ({"num_processes": 1, **environment} for environment in (before, now))
        changed = [f"{name} {before.get(name)} -> {now[name]}" for name in now if before.get(name) != now[name]]
        if not changed:
            return []
        return [f"Resumed in another environment ({'; '.join(changed)}): it goes on, but not to the last bit the same."]

    def write_log(self, history: History) -> None:
        """Write the log of all epochs so far."""
        self._write_lines("log.jsonl", [record.to_json() for record in history])
        timings = [
            {
                "epoch": record.epoch,
                "seconds": round(seconds, 3),
                "images_per_s": round(history.num_images / seconds, 1),
                "waiting": round(waiting, 4),
            }
            for record, seconds, waiting in zip(history.records, history.seconds, history.waiting, strict=True)
        ]
        self._write_lines("timings.jsonl", map(json.dumps, timings))

    def _write_lines(self, name: str, lines: Iterable[str]) -> None:
        storage.write_file(self.path / name, "".join(f"{line}\n" for line in lines).encode())

    def write_best(self, model: SimilarityModel) -> None:
        """Save the best model, as plain weights and as a model folder."""
        buffer = io.BytesIO()
        torch.save({name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}, buffer)
        storage.write_file(self.path / "best_model.pt", buffer.getvalue())
        model.save_pretrained(self.path / "model")

    def write_checkpoint(self, step: int, state: dict[str, Any]) -> None:
        """Save the state after a step."""
        checkpoint.save_checkpoint(self.checkpoints, step, state)
