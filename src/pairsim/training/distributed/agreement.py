"""What several processes must have in common, checked or handed on by rank 0."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from torch import nn

from pairsim.errors import DataError, RunError
from pairsim.training.checkpoint import from_bytes, to_bytes
from pairsim.training.config import TrainConfig
from pairsim.training.distributed.world import World

_OWN = {"out", "progress"}
"""Settings that may differ between processes."""


def check_alike(world: World, fingerprint: dict[str, Any], config: TrainConfig, model: nn.Module) -> None:
    """Check that all processes train the same model on the same data; all of them raise if one does not.

    Args:
        world: The processes.
        fingerprint: Of the data.
        config: Resolved.
        model: By names, shapes and dtypes of its state.

    Raises:
        DataError: If images or labels differ.
        ValueError: If settings or models differ.
    """
    if world.size == 1:
        return
    state = [(name, list(value.shape), str(value.dtype)) for name, value in model.state_dict().items()]
    settings = {name: value for name, value in config.to_dict().items() if name not in _OWN}
    for kind, what, content in (
        (DataError, "images and labels", fingerprint),
        (ValueError, "settings", settings),
        (ValueError, "net", state),
    ):
        digest = hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=8).digest()
        others = world.unlike_main(digest)
        if others:
            raise kind(
                f"Expected the same {what} in all {world.size} processes, found others in rank "
                f"{', '.join(map(str, others))} than in rank 0. Each process takes its own part of what it is given: "
                "give all of them the same."
            )


def read_on_main(world: World, read: Callable[[], dict[str, Any] | None]) -> dict[str, Any] | None:
    """What rank 0 reads, in all processes, whose machines may not have the files.

    Args:
        world: The processes.
        read: Called on rank 0 alone. Nested state, of what a checkpoint can hold.

    Raises:
        RunError: If reading raised it, with the same message everywhere.
    """
    if world.size == 1:
        return read()
    answer: dict[str, Any] = {"error": None, "state": None}
    failure: RunError | None = None
    if world.is_main:
        try:
            answer["state"] = read()
        except RunError as error:
            failure, answer["error"] = error, str(error)
    answer = from_bytes(world.shared(to_bytes(answer) if world.is_main else b""))
    if failure is not None:
        raise failure
    if answer["error"] is not None:
        raise RunError(answer["error"])
    state: dict[str, Any] | None = answer["state"]
    return state
