"""Backbones of timm (extra `timm`)."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
from collections.abc import Collection, Mapping
from typing import Any, Literal

from torch import nn

from pairsim.images import Preprocessing
from pairsim.models.backbones.building import (
    PRETRAINED,
    BackboneRequest,
    check_reachable,
    copy_sharing_tensors,
    read_weights,
)
from pairsim.models.weight_names import check_kinds

EXTRA = "timm"
"""The extra and the package that the nets need."""

_FITS: dict[str, Literal["stretch", "crop", "pad"]] = {"center": "crop", "squash": "stretch", "border": "pad"}


def names() -> Collection[str]:
    """Return the names of its nets."""
    timm = importlib.import_module("timm")
    return {*timm.list_models(), *timm.list_pretrained()}


def stored_as(name: str) -> tuple[str, list[str]]:
    """Return where weights of a net may be stored.

    Args:
        name: Of the net, without prefix; without a tag it is that of its default weights.

    Returns:
        The repository on the Hugging Face Hub, and names of files, the last ones without their ending.
    """
    default = None
    if importlib.util.find_spec("timm") is not None:
        with contextlib.suppress(RuntimeError):  # a tag that timm does not have
            default = importlib.import_module("timm").models.get_pretrained_cfg(name)
    if default is None:
        return f"timm/{name}", [name]
    full = name if "." in name or not default.tag else f"{name}.{default.tag}"
    downloaded = [default.url.rpartition("/")[2]] if default.url else []
    return default.hf_hub_id or f"timm/{full}", [*downloaded, *dict.fromkeys((name, full))]


def build(name: str, request: BackboneRequest) -> tuple[nn.Module, Preprocessing]:
    """Build a net without its classifier; see `named_backbone`."""
    timm = importlib.import_module("timm")
    default = timm.models.get_pretrained_cfg(name)
    config: dict[str, Any] = {} if default is None else default.to_dict()
    known = _preprocessing(config)
    settings: dict[str, Any] = {"num_classes": 0, "in_chans": request.in_channels or known.channels}
    if request.image_size is not None and config.get("fixed_input_size"):
        settings["img_size"] = request.image_size
    weights = request.weights
    if weights is not None and weights != PRETRAINED:
        heads = config.get("classifier") or ()
        heads = (heads,) if isinstance(heads, str) else heads
        state = {key: value for key, value in read_weights(weights).items() if key.rpartition(".")[0] not in heads}
        # timm converts weights of older formats; without a classifier in them it loads the rest strictly
        settings["pretrained_cfg_overlay"] = {"state_dict": state, "num_classes": 0, "classifier": None}
    try:
        if weights == PRETRAINED:
            check_reachable(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
        module: nn.Module = timm.create_model(name, pretrained=weights is not None, **settings)
    except Exception as error:  # timm and the hub raise many kinds
        if weights == PRETRAINED and not isinstance(error, AssertionError | TypeError):
            raise request.not_downloaded(error) from error
        if weights is not None and "state_dict" in str(error):
            raise request.not_fitting(error) from error
        raise request.not_built(error) from error
    if weights is not None and weights != PRETRAINED:
        check_kinds(state, module.state_dict(), weights)
    vars(module).update(pretrained_cfg=config, default_cfg=config)  # without the weights
    return module, known


def adapt(module: nn.Module) -> tuple[nn.Module, Preprocessing] | None:
    """Return one of its nets without the classifier; `None` for any other module."""
    config = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None)
    if not isinstance(config, Mapping) or not hasattr(module, "reset_classifier"):
        return None
    if getattr(module, "num_classes", None) != 0:
        module = copy_sharing_tensors(module)
        module.reset_classifier(0)  # type: ignore[operator]  # a method, as checked above
    return module, _preprocessing(config)


def _preprocessing(config: Mapping[str, Any]) -> Preprocessing:
    """Return the preprocessing that a pretrained configuration states."""
    channels, height, width = config.get("input_size") or (3, 224, 224)
    mean, std = config.get("mean") or (), config.get("std") or ()
    whole = len(mean) == len(std) == channels
    return Preprocessing(
        image_size=(int(height), int(width)),
        channels=int(channels),
        mean=tuple(mean) if whole else None,
        std=tuple(std) if whole else None,
        fit=_FITS.get(config.get("crop_mode") or "center", "crop"),
        interpolation="bilinear" if config.get("interpolation") == "bilinear" else "bicubic",
    )
