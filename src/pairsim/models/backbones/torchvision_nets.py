"""Backbones of torchvision: its nets for classification."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from torch import nn

from pairsim.images import Preprocessing
from pairsim.models.backbones.source import BackboneRequest, BackboneSource, copy_sharing_tensors
from pairsim.models.backbones.weight_files import PRETRAINED, read_weights

_CLASSIFIERS = ("fc", "classifier", "head", "heads")
_AUXILIARY = ("AuxLogits", "aux1", "aux2")
_OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")


class TorchvisionNets(BackboneSource):
    """torchvision's nets for classification."""

    def names(self) -> Collection[str]:
        """Return the names of its nets."""
        from torchvision import models

        names: list[str] = models.list_models(module=models)  # those of the top level: classification
        return names

    def build(self, name: str, request: BackboneRequest) -> tuple[nn.Module, Preprocessing]:
        """Build a net without its classifier; see `BackboneSource.build`."""
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
        dropped = _drop_classifier(module)
        if weights is not None:
            if weights == PRETRAINED:
                try:
                    state = models.get_model_weights(name).DEFAULT.get_state_dict(
                        progress=False, check_hash=True, weights_only=True
                    )
                except Exception as error:  # a failed download raises many kinds
                    raise request.not_downloaded(error) from error
            else:
                state = read_weights(weights)
            state = {
                _OLD_DENSENET.sub(r"\1\2", key): value for key, value in state.items() if not key.startswith(dropped)
            }
            try:
                module.load_state_dict(state, strict=True)
            except RuntimeError as error:
                raise request.not_fitting(error) from error
        return module, _preprocessing(name, None)

    def adapt(self, module: nn.Module) -> tuple[nn.Module, Preprocessing] | None:
        """Return one of its nets without the classifier; `None` for any other module."""
        if not any(kind.__module__.startswith("torchvision.models") for kind in type(module).__mro__):
            return None
        if _classifier_of(module) is not None or any(getattr(module, name, None) is not None for name in _AUXILIARY):
            module = copy_sharing_tensors(module)
            _drop_classifier(module)
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


def _classifier_of(module: nn.Module) -> str | None:
    """Return the name of the layer that computes the classes: the last with weights in the net's head."""
    for name in _CLASSIFIERS:
        part = getattr(module, name, None)
        if isinstance(part, nn.Module):
            layers = [n for n, layer in part.named_modules(prefix=name) if isinstance(layer, nn.Linear | nn.Conv2d)]
            return layers[-1] if layers else None
    return None


def _drop_classifier(module: nn.Module) -> tuple[str, ...]:
    """Remove the classifiers from a net, in place, and return the prefixes of their weights."""
    name = _classifier_of(module)
    if name is not None:
        module.set_submodule(name, nn.Identity())
    for auxiliary in _AUXILIARY:  # further classifiers, for training only
        if getattr(module, auxiliary, None) is not None:
            setattr(module, auxiliary, None)
            vars(module)["aux_logits"] = False
    return tuple(f"{part}." for part in (name, *_AUXILIARY) if part is not None)
