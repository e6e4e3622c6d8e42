"""Check that all processes train the same model on the same data, and send the state of rank 0 to all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from pairsim.errors import DataError, RunError
from pairsim.training.checkpointing.checkpoint import from_bytes, to_bytes
from pairsim.training.config import TrainConfig
from pairsim.training.distributed.world import World

_PER_PROCESS = {"out", "progress"}
"""Settings that may differ between processes."""


def check_same(world: World, fingerprint: dict[str, Any], config: TrainConfig, model: nn.Module) -> None:
    """Check that all processes train the same model on the same data; if one does not, all of them raise.

    Args:
        world: The processes.
        fingerprint: Of the data.
        config: Resolved.
        model: Compared by names, shapes and dtypes of its state.

    Raises:
        DataError: If images or labels differ.
        ValueError: If settings or models differ.
    """
    if world.size == 1:
        return
    state = [(name, list(value.shape), str(value.dtype)) for name, value in model.state_dict().items()]
    settings = {name: value for name, value in config.to_dict().items() if name not in _PER_PROCESS}
    for error, what, content in (
        (DataError, "images and labels", fingerprint),
        (ValueError, "settings", settings),
        (ValueError, "net", state),
    ):
        digest = hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=7).digest()
        own = torch.tensor([int.from_bytes(digest)], device=world.device)
        digests = world.all_gather(own, slice(world.rank, world.rank + 1), world.size).tolist()
        others = [rank for rank, other in enumerate(digests) if other != digests[0]]
        if others:
            raise error(
                f"Expected the same {what} in all {world.size} processes, found others in rank "
                f"{', '.join(map(str, others))} than in rank 0. Each process takes its own part of what it is given: "
                "give all of them the same."
            )


def call_on_main(world: World, read: Callable[[], dict[str, Any] | None]) -> dict[str, Any] | None:
    """Call a function in rank 0 and return its result in all processes, whose machines may not have its files.

    Args:
        world: The processes.
        read: Returns nested state, of values that a checkpoint can hold.

    Returns:
        What `read` returned in rank 0.

    Raises:
        RunError: If `read` raised it in rank 0, with the same message in all processes.
    """
    if world.size == 1:
        return read()
    state: dict[str, Any] | None = None
    failure: RunError | None = None
    if world.is_main:
        try:
            state = read()
        except RunError as error:
            failure = error
    sent = to_bytes((state, None if failure is None else str(failure))) if world.is_main else b""
    state, message = from_bytes(world.broadcast_bytes(sent))
    if message is not None:
        raise failure or RunError(message)
    return state
