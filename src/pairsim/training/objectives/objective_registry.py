"""Objectives by name. Neither this module nor the names in it import PyTorch: an objective is imported on first use."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from pairsim.training.config import TrainConfig
    from pairsim.training.objectives.objective import Objective

_BUILT_IN = {
    "pairs": "pairsim.training.objectives.pairs_objective:PairsObjective",
    "all-pairs": "pairsim.training.objectives.all_pairs_objective:AllPairsObjective",
    "supervised-contrastive": (
        "pairsim.training.objectives.supervised_contrastive_objective:SupervisedContrastiveObjective"
    ),
    "normalized-softmax": "pairsim.training.objectives.normalized_softmax_objective:NormalizedSoftmaxObjective",
}
DEFAULT_OBJECTIVE = "all-pairs"
"""What "auto" stands for in a `Trainer`."""

_FUNCTION = "pairsim.training.objectives.function_objective:FunctionObjective"
_REGISTERED: dict[str, type[Objective]] = {}


def register_objective(name: str, objective: type[Objective]) -> None:
    """Make an objective available as `TrainConfig(objective=name)`.

    A name that is registered again stands for the newer class. An installed package can register an objective without
    being imported, also for the command line, by an entry point `name = "module:Class"` in the group
    `pairsim.objectives`.

    Args:
        name: The value of `TrainConfig.objective`.
        objective: The class, which is created for each training run.

    Raises:
        ValueError: If the name is that of an objective of pairsim.

    Example:
        >>> from pairsim.training import ClassBalancedObjective, TrainConfig
        >>> class Compact(ClassBalancedObjective):
        ...     def loss(self, model, embeddings, targets):
        ...         return (1 - embeddings @ embeddings.T)[targets[:, None] == targets].mean()
        >>> register_objective("compact", Compact)
        >>> TrainConfig(objective="compact").objective
        'compact'
    """
    if name in ("auto", *_BUILT_IN):
        raise ValueError(f"Expected a new name for an objective, got {name!r}, which is one of pairsim's own.")
    _REGISTERED[name] = objective


def objective_names() -> tuple[str, ...]:
    """Names of all objectives: pairsim's own, those of installed packages, and registered ones."""
    return tuple(_objectives())


def objective_choices() -> tuple[str, ...]:
    """What `TrainConfig.objective` accepts besides a function: "auto", and the names of all objectives."""
    return ("auto", *objective_names())


def objective_class(objective: str | Callable[..., Any]) -> type[Objective]:
    """Look up the class of an objective.

    Args:
        objective: The value of `TrainConfig.objective`: a name or a function.

    Returns:
        The class; its module is imported if needed.

    Raises:
        KeyError: If there is no objective of this name.
    """
    found = _FUNCTION if callable(objective) else _objectives()[objective]
    return cast("type[Objective]", resolve_name(found) if isinstance(found, str) else found)


def objective_for(config: TrainConfig) -> Objective:
    """The objective of a resolved config."""
    return objective_class(config.objective).from_config(config)


def _objectives() -> dict[str, str | type[Objective]]:
    """All objectives by name, as classes or as "module:Class"."""
    return {**_BUILT_IN, **_installed(), **_REGISTERED, **_BUILT_IN}  # in this order, but no package replaces our own


@cache
def _installed() -> dict[str, str]:
    """Objectives of installed packages, as "module:Class" by name."""
    from importlib.metadata import entry_points

    return {point.name: point.value for point in entry_points(group="pairsim.objectives")}
