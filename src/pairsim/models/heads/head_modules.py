"""The modules of heads, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

HeadName: TypeAlias = Literal["none", "standardize", "whiten", "linear", "mlp"]

HEAD_NAMES: Final[tuple[HeadName, ...]] = get_args(HeadName)

CLOSED_FORM: Final = ("standardize", "whiten")
"""Heads that are computed from features, without training (see `pairsim.models.heads.closed_form`)."""

_WHITENED_DIM, _LINEAR_DIM = 512, 128


class Standardize(nn.Module):
    """Scale and shift each feature: `features * weight + bias`.

    Args:
        num_features: Features F.

    Example:
        >>> Standardize(2)(torch.tensor([[1.0, 2.0]])).tolist()
        [[1.0, 2.0]]
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.weight: nn.Parameter = nn.Parameter(torch.ones(num_features))
        self.bias: nn.Parameter = nn.Parameter(torch.zeros(num_features))

    def forward(self, features: Tensor) -> Tensor:
        """Map features `[N, F]` to `[N, F]`."""
        return features * self.weight + self.bias


def _whitening(features: int, dim: int) -> nn.Module:
    linear = nn.Linear(features, dim)
    with torch.no_grad():  # until it is fitted, the first features as they are
        nn.init.eye_(linear.weight)
        nn.init.zeros_(linear.bias)
    return linear


def _mlp(features: int, dim: int) -> nn.Module:
    return nn.Sequential(nn.Linear(features, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim))


_BUILDERS: Final[dict[HeadName, Callable[[int, int], nn.Module]]] = {
    "none": lambda features, dim: nn.Identity(),  # noqa: ARG005
    "standardize": lambda features, dim: Standardize(features),  # noqa: ARG005
    "whiten": _whitening,
    "linear": nn.Linear,
    "mlp": _mlp,
}


def embedding_dim_of(name: HeadName, num_features: int, wanted: int | None) -> int:
    """Return the length of an embedding.

    Args:
        name: The head.
        num_features: Features of the backbone, F.
        wanted: What was asked for; by default F without a head and for "standardize", at most 512 for "whiten", and
            128 for the others.

    Raises:
        ValueError: If the head cannot have this length.

    Example:
        >>> embedding_dim_of("none", 1280, None), embedding_dim_of("whiten", 1280, None)
        (1280, 512)
    """
    if name in ("none", "standardize"):
        if wanted not in (None, num_features):
            raise ValueError(
                f'Expected embedding_dim {num_features}, the features of the backbone, for head "{name}", got {wanted}.'
                ' Leave it out, or use head "whiten" or "linear".'
            )
        return num_features
    if name == "whiten":
        if wanted is not None and wanted > num_features:
            raise ValueError(
                f"Expected embedding_dim of at most {num_features}, the features of the backbone, got {wanted}. "
                "Lower it, or leave it out."
            )
        return wanted or min(_WHITENED_DIM, num_features)
    return wanted or _LINEAR_DIM


def is_neutral(head: nn.Module) -> bool:
    """Return whether a head in closed form has the weights that it is made with."""
    weight, bias = (getattr(head, name).detach().cpu().float() for name in ("weight", "bias"))
    initial = torch.ones(len(weight)) if weight.ndim == 1 else torch.eye(*weight.shape)
    return torch.equal(weight, initial) and not bias.any()


def make_head(name: HeadName, num_features: int, embedding_dim: int) -> nn.Module:
    """Build a head, with random or, for those in closed form, neutral weights.

    Args:
        name: One of `HEAD_NAMES`.
        num_features: Features of the backbone, F.
        embedding_dim: Length of an embedding, D, from `embedding_dim_of`.

    Returns:
        A module from `[N, F]` to `[N, D]`.

    Raises:
        ValueError: If there is no such head.

    Example:
        >>> make_head("mlp", 8, 2)(torch.zeros(3, 8)).shape
        torch.Size([3, 2])
    """
    if name not in _BUILDERS:
        raise ValueError(f"Expected head to be one of {', '.join(HEAD_NAMES)}, got {name!r}.")
    return _BUILDERS[name](num_features, embedding_dim)
