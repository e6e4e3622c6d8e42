"""Resumable checkpoints: a folder of safetensors and JSON with checksums, several kept, the newest whole one used."""

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
_KEEP = 2


def pack(value: Any, tensors: dict[str, Tensor], path: str = "") -> Any:
    """Turn nested state into JSON values, with its tensors put aside by path.

    Dictionaries become lists of entries, as JSON has text keys only; tuples and numbers that JSON lacks are marked.

    Args:
        value: Nested dictionaries, lists, tuples, tensors, numbers, text, booleans and `None`.
        tensors: Receives the tensors.
        path: Name of this value.

    Raises:
        TypeError: If something else is in it; the message names it.
    """
    if isinstance(value, Tensor):
        tensors[path] = value
        return {"tensor": path}
    if isinstance(value, dict):
        return {"dict": [[pack(k, tensors), pack(v, tensors, f"{path}/{k}")] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        items = [pack(item, tensors, f"{path}/{place}") for place, item in enumerate(value)]
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
    """Nested state, of what `pack` takes, as bytes to send to another process."""
    tensors: dict[str, Tensor] = {}
    body = json.dumps(pack(state, tensors)).encode()
    return len(body).to_bytes(8, "little") + body + serialize(tensors)


def from_bytes(content: bytes) -> Any:
    """The inverse of `to_bytes`."""
    end = 8 + int.from_bytes(content[:8], "little")
    return unpack(json.loads(content[8:end]), deserialize(content[end:], Path("the state of rank 0")))


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Save the state after a step, then remove all but the newest few.

    Args:
        folder: Holds one folder for each checkpoint.
        step: Optimizer steps so far.
        state: What `pack` takes.

    Raises:
        RunError: If it cannot be written; earlier checkpoints stay whole.
    """
    tensors: dict[str, Tensor] = {}
    body = {"format": "pairsim-checkpoint", "format_version": FORMAT_VERSION, "state": pack(state, tensors)}
    place = folder / f"step-{step:09d}"
    if place.exists():  # from before a resume that went back further; the same content would be written again
        shutil.rmtree(place)
    storage.write_folder(place, {"state.json": storage.to_json(body), "tensors.safetensors": serialize(tensors)})
    for old in _checkpoints(folder)[_KEEP:]:
        shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """Load the newest checkpoint that is whole.

    Returns:
        Its state, or `None` if there is none; and a line about each newer one that is damaged.

    Raises:
        RunError: If there are checkpoints and all are damaged, or one is of a newer format.
    """
    problems: list[str] = []
    for place in _checkpoints(folder):
        try:
            files = storage.read_folder(place)
            body = json.loads(files["state.json"])
            tensors = deserialize(files["tensors.safetensors"], place / "tensors.safetensors")
        except (RunError, KeyError, ValueError) as error:
            problems.append(f"Checkpoint {place.name} cannot be used: {error}")
            continue
        check_format(body, "pairsim-checkpoint", FORMAT_VERSION, place / "state.json")
        state: dict[str, Any] = unpack(body["state"], tensors)
        return state, problems
    if problems:
        raise RunError(
            f"No checkpoint in {folder} is whole. {' '.join(problems)} "
            "Start again with --resume never, or choose another folder."
        )
    return None, problems


def remove_checkpoints(folder: Path) -> None:
    """Remove every checkpoint, whole or not."""
    shutil.rmtree(folder, ignore_errors=True)


def _checkpoints(folder: Path) -> list[Path]:
    """Newest first."""
    return sorted(folder.glob("step-*"), reverse=True) if folder.is_dir() else []
