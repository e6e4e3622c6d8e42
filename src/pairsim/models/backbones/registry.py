"""Find backbones among their sources."""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
import os

from torch import nn

from pairsim.errors import require
from pairsim.images import Preprocessing
from pairsim.models.backbones.source import Backbone, BackboneRequest, BackboneSource, channels_of
from pairsim.models.backbones.timm_nets import TimmNets
from pairsim.models.backbones.torchvision_nets import TorchvisionNets

SOURCES: dict[str, BackboneSource] = {
    "": TorchvisionNets(),
    "timm/": TimmNets(),
}
"""Each source by the prefix of its names. A module that no source knows is a backbone as it is."""


def backbone_names(contains: str = "") -> list[str]:
    """Return the names that `EmbeddingNet` takes: torchvision's classification nets, then those of timm if installed.

    Args:
        contains: Only names that contain this, in upper or lower case.

    Returns:
        Sorted names; those of timm begin with `timm/` and may end with a tag for the weights.

    Example:
        >>> backbone_names("resnet18")[0]
        'resnet18'
    """
    names = [
        prefix + name
        for prefix, source in SOURCES.items()
        if source.package is None or importlib.util.find_spec(source.package) is not None
        for name in sorted(source.names())
    ]
    return [name for name in names if contains.lower() in name.lower()]


def is_backbone_name(name: str) -> bool:
    """Return whether a text has the form of a backbone's name, rather than of a class such as `package.module.Net`."""
    return _prefix_of(name) != "" or "." not in name


def find_backbone(
    backbone: nn.Module | str | None,
    *,
    weights: str | os.PathLike[str] | None = None,
    in_channels: int | None = None,
    image_size: tuple[int, int] | None = None,
) -> Backbone | None:
    """Return a backbone by its name, or a module as a backbone; see `named_backbone` and `given_backbone`.

    Raises:
        ValueError: If weights are given together with a module, and as for `named_backbone`.
    """
    if isinstance(backbone, str):
        return named_backbone(backbone, weights=weights, in_channels=in_channels, image_size=image_size)
    if weights is not None:
        raise ValueError(
            f"Expected weights together with a backbone's name, got them with {type(backbone).__name__}. "
            "Load them into the module before it is given."
        )
    return None if backbone is None else given_backbone(backbone, in_channels=in_channels, image_size=image_size)


def named_backbone(
    name: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    in_channels: int | None = None,
    image_size: tuple[int, int] | None = None,
) -> Backbone:
    """Build a backbone by its name, without its classifier.

    Args:
        name: From `backbone_names`.
        weights: `None` for random ones; `"pretrained"` for those that the library downloads or has downloaded; or a
            file (`.safetensors`, or a state dict saved by `torch.save`), which has to fit except for the classifier.
        in_channels: Channels of the images; by default those it was trained with, 3. Others only with timm.
        image_size: Height and width; by default those it was trained with. Convolutional nets take nearly any.

    Returns:
        The backbone, with its preprocessing.

    Raises:
        MissingExtraError: If timm is needed and not installed.
        RunError: If weights cannot be read or downloaded.
        ValueError: If there is no such backbone, it cannot be built for such images, or the weights do not fit.

    Example:
        >>> named_backbone("resnet18").preprocessing.mean
        (0.485, 0.456, 0.406)
    """
    prefix = _prefix_of(name)
    source, plain = SOURCES[prefix], name.removeprefix(prefix)
    if source.package is not None:
        require(source.package, extra=source.package, purpose=f"The backbone {name}")
    if plain not in source.names():
        near = difflib.get_close_matches(name, backbone_names(), n=3, cutoff=0.6)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(
            f"Expected the name of a backbone, got {name!r}.{hint} "
            'List them with pairsim.models.backbones.backbone_names("...").'
        )
    request = BackboneRequest(name=name, weights=weights, in_channels=in_channels, image_size=image_size)
    module, known = source.build(plain, request)
    preprocessing = _for_images(known, in_channels or known.channels, image_size)
    return Backbone(module=module, name=name, preprocessing=preprocessing, pretrained=weights is not None)


def given_backbone(
    module: nn.Module, *, in_channels: int | None = None, image_size: tuple[int, int] | None = None
) -> Backbone:
    """Return a module as a backbone: nets of torchvision and timm lose their classifier, others stay as they are.

    Args:
        module: It is not changed; a net that loses its classifier is copied, except for its weights, which are shared.
        in_channels: Channels of the images; by default those that a net of torchvision or timm takes.
        image_size: Height and width; likewise.

    Returns:
        The backbone; its preprocessing is known for nets of torchvision and timm only.
    """
    for source in SOURCES.values():
        adapted = source.adapt(module)
        if adapted is not None:
            module, known = adapted
            channels = in_channels or channels_of(module) or known.channels
            return Backbone(module=module, preprocessing=_for_images(known, channels, image_size))
    return Backbone(module=module)


def _prefix_of(name: str) -> str:
    return max((prefix for prefix in SOURCES if name.startswith(prefix)), key=len)


def _for_images(known: Preprocessing, channels: int, image_size: tuple[int, int] | None) -> Preprocessing:
    """Change channels and size: grey gets the mean over the colours as its normalisation, others get none."""
    mean, std = known.mean, known.std
    if channels != known.channels:
        grey = channels == 1 and mean is not None and std is not None
        mean = (sum(mean) / len(mean),) if grey and mean is not None else None
        std = (sum(std) / len(std),) if grey and std is not None else None
    size = image_size or known.image_size
    return dataclasses.replace(known, image_size=size, channels=channels, mean=mean, std=std)
