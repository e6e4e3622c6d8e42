"""Backbones of torchvision: its nets for classification."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from torch import nn

from pairsim.images import Preprocessing
from pairsim.models.backbones.building import (
    PRETRAINED,
    BackboneRequest,
    check_reachable,
    copy_sharing_tensors,
    network_timeout,
    read_weights,
)
from pairsim.models.weight_names import check_kinds

EXTRA = None
"""torchvision is always installed."""

_CLASSIFIERS = ("fc", "classifier", "head", "heads")
_AUXILIARY = ("AuxLogits", "aux1", "aux2")
_OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")


def names() -> Collection[str]:
    """Return the names of its nets."""
    from torchvision import models

    names: list[str] = models.list_models(module=models)  # those of the top level: classification
    return names


def weights_file(name: str) -> str:
    """Return the name of the file of a net's default weights."""
    from torchvision import models

    url: str = models.get_model_weights(name).DEFAULT.url
    return url.rpartition("/")[2]


def build(name: str, request: BackboneRequest) -> tuple[nn.Module, Preprocessing]:
    """Build a net without its classifier; see `named_backbone`."""
    from torchvision import models

    weights, image_size = request.weights, request.image_size
    if request.in_channels not in (None, 3):
        raise ValueError(
            f"Expected in_channels=3 for {request.name}, got {request.in_channels}. Leave it out: pictures and "
            "grey pixels are given to it in 3 channels. Nets of timm can be built for other channels."
        )
    settings: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        # as for pretrained weights: normalised images are normalised again, with other constants
        settings = {"init_weights": True, "transform_input": True}
    if image_size is not None and name.startswith("vit_"):
        if image_size[0] != image_size[1]:
            raise ValueError(f"Expected a square image_size for {request.name}, got {image_size}. Give one number.")
        settings["image_size"] = image_size[0]
    elif image_size is not None and name.startswith("maxvit"):
        settings["input_size"] = image_size
    try:
        module: nn.Module = models.get_model(name, weights=None, **settings)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise request.not_built(error) from error
    dropped = _drop_classifiers(module)
    if weights is not None:
        if weights == PRETRAINED:
            chosen = models.get_model_weights(name).DEFAULT
            try:
                check_reachable(chosen.url)
                with network_timeout():
                    state = chosen.get_state_dict(progress=False, check_hash=True, weights_only=True)
            except Exception as error:  # a failed download raises many kinds
                raise request.not_downloaded(error) from error
        else:
            state = read_weights(weights)
        state = {_OLD_DENSENET.sub(r"\1\2", key): value for key, value in state.items() if not key.startswith(dropped)}
        check_kinds(state, module.state_dict(), weights)
        try:
            module.load_state_dict(state, strict=True)
        except RuntimeError as error:
            raise request.not_fitting(error) from error
    return module, _preprocessing(name, None)


def adapt(module: nn.Module) -> tuple[nn.Module, Preprocessing] | None:
    """Return one of its nets without the classifier; `None` for any other module."""
    if not any(kind.__module__.startswith("torchvision.models") for kind in type(module).__mro__):
        return None
    copied = copy_sharing_tensors(module)
    module = copied if _drop_classifiers(copied) else module
    size = getattr(module, "image_size", None)
    return module, _preprocessing("resnet18", (size, size) if isinstance(size, int) else None)


def _preprocessing(name: str, image_size: tuple[int, int] | None) -> Preprocessing:
    """Return the preprocessing of a net's default weights; nothing is downloaded."""
    from torchvision import models

    transform = models.get_model_weights(name).DEFAULT.transforms()
    side = int(transform.crop_size[0])
    return Preprocessing(
        image_size=image_size or (side, side),
        channels=3,
        mean=tuple(transform.mean),
        std=tuple(transform.std),
        fit="crop",
        interpolation="bicubic" if transform.interpolation.value == "bicubic" else "bilinear",
    )


def _drop_classifiers(module: nn.Module) -> tuple[str, ...]:
    """Remove the layers that compute classes from a net, in place, and return the prefixes of their weights."""
    dropped = [name for name in _AUXILIARY if getattr(module, name, None) is not None]  # for training only
    for name in dropped:
        setattr(module, name, None)
        vars(module)["aux_logits"] = False
    head = next((name for name in _CLASSIFIERS if isinstance(getattr(module, name, None), nn.Module)), None)
    if head is not None:  # its last layer with weights
        parts = module.get_submodule(head).named_modules(prefix=head)
        for name in [name for name, part in parts if isinstance(part, nn.Linear | nn.Conv2d)][-1:]:
            module.set_submodule(name, nn.Identity())
            dropped.append(name)
    return tuple(f"{name}." for name in dropped)
