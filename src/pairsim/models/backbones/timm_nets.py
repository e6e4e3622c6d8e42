"""Backbones of timm (extra `timm`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal

from torch import nn

from pairsim.errors import require
from pairsim.images import Preprocessing
from pairsim.models.backbones.source import BackboneRequest, BackboneSource, copy_sharing_tensors
from pairsim.models.backbones.weight_files import PRETRAINED, read_weights

_FITS: dict[str, Literal["stretch", "crop", "pad"]] = {"center": "crop", "squash": "stretch", "border": "pad"}


class TimmNets(BackboneSource):
    """The nets of timm, whose names may end with a tag for the weights."""

    package: ClassVar[str | None] = "timm"

    def names(self) -> Collection[str]:
        """Return the names of its nets."""
        timm = _timm()
        return {*timm.list_models(), *timm.list_pretrained()}

    def build(self, name: str, request: BackboneRequest) -> tuple[nn.Module, Preprocessing]:
        """Build a net without its classifier; see `BackboneSource.build`."""
        timm = _timm()
        default = timm.models.get_pretrained_cfg(name)
        config: dict[str, Any] = {} if default is None else default.to_dict()
        known = _preprocessing(config)
        settings: dict[str, Any] = {"num_classes": 0, "in_chans": request.in_channels or known.channels}
        if request.image_size is not None and config.get("fixed_input_size"):
            settings["img_size"] = request.image_size
        weights = request.weights
        if weights is not None and weights != PRETRAINED:
            state = read_weights(weights)
            heads = config.get("classifier") or ()
            for head in (heads,) if isinstance(heads, str) else heads:
                for kind in ("weight", "bias"):
                    state.pop(f"{head}.{kind}", None)
            # timm converts weights of older formats; without a classifier in them it loads the rest strictly
            settings["pretrained_cfg_overlay"] = {"state_dict": state, "num_classes": 0, "classifier": None}
        try:
            module: nn.Module = timm.create_model(name, pretrained=weights is not None, **settings)
        except Exception as error:  # timm and the hub raise many kinds
            if weights == PRETRAINED and not isinstance(error, AssertionError | TypeError):
                raise request.not_downloaded(error) from error
            if weights is not None and "state_dict" in str(error):
                raise request.not_fitting(error) from error
            raise request.not_built(error) from error
        vars(module).update(pretrained_cfg=config, default_cfg=config)  # without the weights
        return module, known

    def adapt(self, module: nn.Module) -> tuple[nn.Module, Preprocessing] | None:
        """Return one of its nets without the classifier; `None` for any other module."""
        config = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None)
        if not isinstance(config, Mapping) or not hasattr(module, "reset_classifier"):
            return None
        if getattr(module, "num_classes", None) != 0:
            module = copy_sharing_tensors(module)
            module.reset_classifier(0)  # type: ignore[operator]  # a method, as checked above
        return module, _preprocessing(config)


def _timm() -> Any:
    return require("timm", extra="timm", purpose="A backbone of timm")


def _preprocessing(config: Mapping[str, Any]) -> Preprocessing:
    """Return the preprocessing that a pretrained configuration states."""
    channels, height, width = config.get("input_size") or (3, 224, 224)
    mean, std = config.get("mean"), config.get("std")
    whole = mean is not None and std is not None and len(mean) == len(std) == channels
    return Preprocessing(
        image_size=(int(height), int(width)),
        channels=int(channels),
        mean=tuple(mean) if whole and mean is not None else None,
        std=tuple(std) if whole and std is not None else None,
        fit=_FITS.get(config.get("crop_mode") or "center", "crop"),
        interpolation="bilinear" if config.get("interpolation") == "bilinear" else "bicubic",
    )
