"""Write and read checkpoints: folders of safetensors and JSON with checksums."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from pairsim._common import storage
from pairsim.errors import RunError
from pairsim.models.pretrained import check_format, deserialize, serialize

FORMAT_VERSION = 1
_NUM_KEPT = 2
"""Checkpoints that are not removed: if the newest is damaged, the one before is used."""


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


def to_bytes(state: Any) -> bytes:
    """Convert nested state, as for `pack`, to bytes."""
    tensors: dict[str, Tensor] = {}
    body = json.dumps(pack(state, tensors)).encode()
    return len(body).to_bytes(8, "little") + body + serialize(tensors)


def from_bytes(content: bytes) -> Any:
    """The inverse of `to_bytes`."""
    end = 8 + int.from_bytes(content[:8], "little")
    return unpack(json.loads(content[8:end]), deserialize(content[end:], Path("the state of rank 0")))


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
    if path.exists():  # of the same step before a resume from an earlier checkpoint
        shutil.rmtree(path)
    storage.write_folder(path, {"state.json": storage.to_json(body), "tensors.safetensors": serialize(tensors)})
    for old in _checkpoints(folder)[_NUM_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """Load the newest checkpoint that is not damaged.

    Returns:
        Its state, `None` if there is no checkpoint; and a line about each newer checkpoint, which is damaged.

    Raises:
        RunError: If all checkpoints are damaged, or one has a newer format.
    """
    problems: list[str] = []
    for path in _checkpoints(folder):
        try:
            files = storage.read_folder(path)
            body = json.loads(files["state.json"])
            tensors = deserialize(files["tensors.safetensors"], path / "tensors.safetensors")
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


def remove_checkpoints(folder: Path) -> None:
    """Remove all checkpoints."""
    shutil.rmtree(folder, ignore_errors=True)


def _checkpoints(folder: Path) -> list[Path]:
    """List the folders of checkpoints, newest first."""
    return sorted(folder.glob("step-*"), reverse=True) if folder.is_dir() else []
