"""Check that an argument is a model."""

from __future__ import annotations

from typing import Any

from torch import nn

from pairsim.models.similarity_model import SimilarityModel


def check_model(model: Any) -> None:
    """Check that this is a `SimilarityModel`, and not its net or its folder.

    Raises:
        TypeError: If it is not.

    Example:
        >>> check_model(SimilarityModel())
    """
    if not isinstance(model, SimilarityModel):
        how = "Wrap the net in one." if isinstance(model, nn.Module) else "Load one: SimilarityModel.from_pretrained."
        raise TypeError(f"Expected model to be a SimilarityModel, got {type(model).__name__}. {how}")
