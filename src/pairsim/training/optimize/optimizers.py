"""Frozen parts of a model, and optimizers and learning rate schedules by name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from pairsim.models import EmbeddingNet, SimilarityModel
from pairsim.models.weight_names import unwrapped
from pairsim.training.config import TrainConfig
from pairsim.training.optimize.muon import MuonAndAdamW

Scheduler: TypeAlias = LRScheduler | ReduceLROnPlateau

BATCH_NORM = "batch-norm"
"""In `TrainConfig.freeze`: all batch norms."""


def backbone_prefix(model: nn.Module) -> str | None:
    """Prefix of the names of the backbone's parameters in a similarity model; `None` without a backbone."""
    backbone = getattr(getattr(model, "embedding_net", None), "backbone", None)
    return "embedding_net.backbone." if isinstance(backbone, nn.Module) else None


class FrozenParts:
    """The parts of a similarity model that are not trained.

    Args:
        model: The model, which is not changed.
        freeze: As in `TrainConfig`.

    Raises:
        ValueError: If the model has no backbone to freeze, or no such parts.
    """

    def __init__(self, model: nn.Module, freeze: str) -> None:
        prefix = backbone_prefix(model)
        self._names: tuple[str, ...] = ()
        if freeze == "backbone":
            if prefix is None:
                raise ValueError(
                    'Expected a net with a backbone for freeze="backbone", found none. '
                    f"Name parts of the net instead: {_children(model, 'embedding_net.')}."
                )
            self._names = (prefix[:-1],)
        elif freeze != "none":
            inside = prefix or "embedding_net."
            parts = [part.strip().strip(".") for part in freeze.split(",")]
            norms = [name for name, part in model.named_modules() if isinstance(part, _BatchNorm)]
            named = [inside + part for part in parts if part != BATCH_NORM]
            self._names = (
                *named,
                *([name for name in norms if name.startswith(inside)] if BATCH_NORM in parts else []),
            )
            for name in named:
                if not any(_is_inside(parameter, name) for parameter, _ in _all_named(model)):
                    raise ValueError(
                        f"Expected freeze to name parts of the {'net' if prefix is None else 'backbone'}, "
                        f'"none", "backbone" or "{BATCH_NORM}", got {name.removeprefix(inside)!r}. '
                        f"Its parts: {_children(model, inside)}."
                    )

    def holds(self, name: str) -> bool:
        """Whether the module or parameter of this name in the model is frozen."""
        return any(_is_inside(name, part) for part in self._names)

    def parameters(self, model: nn.Module) -> set[nn.Parameter]:
        """Return the frozen parameters: of one that has several names, as tied weights have, any name freezes it."""
        return {value for name, value in _all_named(model) if self.holds(name)}

    def set_eval(self, model: nn.Module) -> None:
        """Put frozen modules in eval mode: no dropout, and running statistics do not change."""
        for name in self._names:
            with contextlib.suppress(AttributeError):  # a parameter, not a module
                model.get_submodule(name).eval()

    @contextlib.contextmanager
    def without_gradients(self, model: nn.Module) -> Iterator[None]:
        """Turn off gradients of frozen parameters for the duration of the context."""
        frozen = [value for value in self.parameters(model) if value.requires_grad]
        for value in frozen:
            value.requires_grad_(False)
        try:
            yield
        finally:
            for value in frozen:
                value.requires_grad_(True)


def _is_inside(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def _all_named(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return model.named_parameters(remove_duplicate=False)


def _children(model: nn.Module, inside: str) -> str:
    names = [name.removeprefix(inside) for name, _ in model.named_parameters() if name.startswith(inside)]
    return ", ".join(dict.fromkeys(name.partition(".")[0] for name in names))


def make_optimizer(
    config: TrainConfig, model: nn.Module, state: nn.Module | None = None, *, recordable: bool = False
) -> Optimizer:
    """Create an optimizer of the parameters that need gradients and are not frozen.

    Args:
        config: Resolved. With `backbone_learning_rate` the backbone's parameters are a second group. A named optimizer
            is fused, one kernel for all parameters, if the device supports it.
        model: A similarity model.
        state: Of the objective; its parameters are trained too.
        recordable: Whether its step must work in a CUDA graph. The learning rate is then a tensor on the device.

    Returns:
        The optimizer.

    Raises:
        ValueError: If no parameter needs gradients, or there is no backbone for `backbone_learning_rate`.
        TypeError: If a factory does not return an optimizer.
    """
    frozen, prefix = FrozenParts(model, config.freeze).parameters(model), backbone_prefix(model)
    named = {n: value for n, value in model.named_parameters() if value.requires_grad and value not in frozen}
    if not named:
        raise ValueError("Expected a model with parameters that need gradients, found none. Unfreeze some.")
    of_state = [] if state is None else [(n, value) for n, value in state.named_parameters() if value.requires_grad]
    named |= {f"objective.{name}": value for name, value in of_state}
    trained = list(named.values())
    if callable(config.optimizer):
        optimizer = config.optimizer(trained)
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"Expected the optimizer factory to return an Optimizer, got {type(optimizer).__name__}.")
        return optimizer
    groups: list[dict[str, Any]] = [{"params": trained, "lr": config.learning_rate}]
    if config.backbone_learning_rate is not None:
        if prefix is None:
            raise ValueError("Expected a net with a backbone for backbone_learning_rate, found none. Leave it out.")
        parts = ([v for n, v in named.items() if n.startswith(prefix) == inside] for inside in (False, True))
        rates = (config.learning_rate, config.backbone_learning_rate)
        groups = [{"params": part, "lr": rate} for part, rate in zip(parts, rates, strict=True) if part]
    if recordable:
        for group in groups:
            group["lr"] = torch.tensor(group["lr"], device=trained[0].device)
    fused = all(parameter.device.type in ("cpu", "cuda") and parameter.is_floating_point() for parameter in trained)
    if config.optimizer == "sgd":
        momentum = config.momentum
        return SGD(groups, weight_decay=config.weight_decay, momentum=momentum, nesterov=momentum > 0, fused=fused)
    if config.optimizer == "muon":
        of_classes = [value for _, value in of_state]
        return MuonAndAdamW(groups, weight_decay=config.weight_decay, embeddings=of_classes, fused=fused)
    kind = AdamW if config.optimizer == "adamw" else Adam
    return kind(groups, weight_decay=config.weight_decay, fused=fused, capturable=recordable)


def make_scheduler(config: TrainConfig, optimizer: Optimizer, *, total_steps: int) -> Scheduler | None:
    """Create the learning rate schedule.

    Args:
        config: Resolved. "plateau" is stepped once an epoch with the loss, "onecycle" and "cosine" once a step.
        optimizer: Its learning rates are changed.
        total_steps: Optimizer steps of all epochs.

    Returns:
        The schedule, `None` for "none".
    """
    if config.scheduler == "plateau":
        return ReduceLROnPlateau(optimizer, patience=config.plateau_patience, factor=config.plateau_factor)
    if config.scheduler == "onecycle":
        peaks = [float(group["lr"]) for group in optimizer.param_groups]
        # A CUDA graph would not see changes of the momentum.
        return OneCycleLR(optimizer, max_lr=peaks, total_steps=max(total_steps, 2), cycle_momentum=False)
    if config.scheduler == "cosine":
        return CosineAnnealingLR(optimizer, T_max=max(total_steps, 1))
    return None


def known_backbone(model: SimilarityModel) -> Literal["random", "pretrained"] | None:
    """Return the kind of weights of a backbone that pairsim builds, or with weights; `None` for any other net."""
    net = unwrapped(model.embedding_net)
    if not isinstance(net, EmbeddingNet):
        return None
    if net.pretrained:
        return "pretrained"
    return "random" if net.has_known_backbone else None


def has_parameters(model: SimilarityModel) -> bool:
    """Return whether the backbone has parameters; an ONNX file has none that can be trained."""
    return any(name.startswith(backbone_prefix(model) or "embedding_net.") for name, _ in model.named_parameters())


def recipe_note(config: TrainConfig) -> str:
    """A line about the optimizer of a backbone."""
    if callable(config.optimizer):
        return f"Backbone: optimizer of your own, freeze {config.freeze}."
    apart = "" if config.backbone_learning_rate is None else f" ({config.backbone_learning_rate:g} in the backbone)"
    return f"Backbone: {config.optimizer}, learning rate {config.learning_rate:g}{apart}, freeze {config.freeze}."
