"""Write the model of a run folder, and recognise it, so that a run that is asked for again does not replace it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import torch

from pairsim._common import storage
from pairsim.errors import RunError
from pairsim.images import Preprocessing
from pairsim.models import EmbeddingNet, SimilarityModel, pretrained
from pairsim.models.pretrained import deserialize, serialize
from pairsim.models.weight_names import unwrapped

MODEL, PLAIN_WEIGHTS = "model", "best_model.pt"
_BACKBONE = "embedding_net.backbone."


def write_model(run: Path, model: SimilarityModel) -> None:
    """Save the model of a run, as plain weights and as a model folder."""
    buffer = io.BytesIO()
    torch.save(model.sealed_state_dict(), buffer)
    storage.write_file(run / PLAIN_WEIGHTS, buffer.getvalue())
    model.save_pretrained(run / MODEL)
    storage.remove_leftovers(run / MODEL)


def saved_config(run: Path) -> dict[str, Any] | None:
    """Return the `config.json` of the saved model of a run; `None` if a file of it is missing or damaged."""
    if not storage.is_file(run / PLAIN_WEIGHTS):
        return None
    try:
        pretrained.read_files(run / MODEL)
        return pretrained.read_config(run / MODEL)
    except RunError:
        return None


def is_saved(run: Path, config: dict[str, Any], model: SimilarityModel) -> bool:
    """Return whether a saved model has the weights and the preprocessing of another.

    If so, a save that was interrupted before the new weights got their name is completed.

    Args:
        run: The run folder.
        config: From `saved_config`.
        model: The other one.
    """
    weights = serialize(model.weights())
    if Preprocessing.from_dict(config["preprocessing"]) != model.preprocessing:
        return False
    if config["weights_sha256"] != storage.sha256(weights):
        return False
    if storage.is_file(run / MODEL / pretrained.NEW_WEIGHTS):
        storage.write_file(run / MODEL / pretrained.WEIGHTS, weights)
        storage.remove(run / MODEL / pretrained.NEW_WEIGHTS)
    storage.remove_leftovers(run / MODEL)
    return True


def check_same_net(run: Path, config: dict[str, Any] | None, model: SimilarityModel, *, has_epochs: bool) -> None:
    """Check that the saved model of a run without epochs has the backbone, kind of head and preprocessing of another.

    The values of the head are not compared: fitted again they may differ in their last digits.

    Args:
        run: The run folder.
        config: From `saved_config`.
        model: The other one.
        has_epochs: Whether the run has checkpoints of epochs.

    Raises:
        RunError: If one of them differs, or the run has epochs.
    """
    if config is None or has_epochs:
        raise RunError(
            f"Expected {run} to hold a run without epochs, found one with checkpoints. Choose another --out, or start "
            "again with --resume never."
        )
    net = unwrapped(model.embedding_net)
    differs = list[str]()
    if isinstance(net, EmbeddingNet) and json.loads(json.dumps(net.architecture())) != config["architecture"]:
        differs.append("net or head")
    if Preprocessing.from_dict(config["preprocessing"]) != model.preprocessing:
        differs.append("preprocessing")
    if not differs:
        saved = deserialize(pretrained.read_files(run / MODEL)[pretrained.WEIGHTS], run / MODEL)
        backbone = {name: value for name, value in model.weights().items() if name.startswith(_BACKBONE)}
        if not all(name in saved and torch.equal(saved[name], value.cpu()) for name, value in backbone.items()):
            differs.append("weights of the backbone")
    if differs:
        raise RunError(
            f"Expected the model that {run} was started with, found another {' and '.join(differs)}. "
            "Restore it, choose another --out, or start again with --resume never."
        )
