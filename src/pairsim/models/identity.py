"""Checksums that tell one model from another.

| value | of | stored in |
|---|---|---|
| `embedding_sha256` | the net's weights, the preprocessing | galleries, as `model_sha256` |
| `model_sha256` | all weights, the preprocessing | exported files |
| `weights_sha256` | all weights | `config.json` of a model folder, `evaluation.json` |
| `config_sha256` | the bytes of `config.json`: also threshold and calibration | `evaluation.json` |
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from pairsim._common import storage
from pairsim.images import Preprocessing
from pairsim.models import pretrained

if TYPE_CHECKING:
    from pairsim.models.similarity_model import SimilarityModel


def embedding_sha256(model: SimilarityModel) -> str:
    """Return the SHA-256 of what embeddings depend on: the net's weights and the preprocessing."""
    return _sha256(model.embedding_net, model.preprocessing)


def model_sha256(model: SimilarityModel) -> str:
    """Return the SHA-256 of all weights, the projection's too, and the preprocessing."""
    return _sha256(model, model.preprocessing)


def saved_sha256(model_folder: Path) -> dict[str, str]:
    """Return `weights_sha256` and `config_sha256` of a saved model, whose weights are not read.

    Args:
        model_folder: The folder that holds the model itself.

    Raises:
        RunError: If the config cannot be read.
    """
    path = model_folder / pretrained.CONFIG
    weights_sha256 = str(storage.read_json(path).get("weights_sha256"))
    return {"weights_sha256": weights_sha256, "config_sha256": storage.sha256(path.read_bytes())}


def short(sha256: str | None) -> str:
    """Return the beginning of a SHA-256, for messages."""
    return f"SHA-256 {(sha256 or '')[:12]}"


def _sha256(module: nn.Module, preprocessing: Preprocessing) -> str:
    return storage.sha256(pretrained.serialize(module.state_dict()) + storage.to_json(preprocessing.to_dict()))
