"""Find backbones by name: small nets of pairsim, and those of torchvision and timm; take modules as backbones."""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from torch import Tensor, nn
from torch.nn import functional

from pairsim.errors import require
from pairsim.images import Preprocessing
from pairsim.models.backbones import small_nets, timm_nets, torchvision_nets
from pairsim.models.backbones.building import PRETRAINED, BackboneRequest, channels_of
from pairsim.models.backbones.onnx_nets import OnnxNet, is_onnx_file, read_onnx_net
from pairsim.models.backbones.weight_files import find_weights, weight_folders

SOURCES: tuple[tuple[str, ModuleType], ...] = (("", small_nets), ("", torchvision_nets), ("timm/", timm_nets))
"""Modules with nets, with the prefix of their names; of two nets of one name the first counts.

Each has `EXTRA`, the extra and the package that the nets need, if any; `names()`; `build(name, request)`, which gives
the net and its preprocessing, `None` if that follows from the images of training; and `adapt(module)`, which is `None`
for a module of another library.
"""

EMBEDDINGS = "embeddings"
"""The backbone of a model for embeddings that another model computed; see `GivenEmbeddings`."""


class GivenEmbeddings(nn.Module):
    """Scale embeddings `[N, D, 1, 1]` that another model computed to length 1."""

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return `[N, D, 1, 1]`; zero stays zero."""
        return functional.normalize(embeddings, dim=1)


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A net that computes features, and what is known about it.

    Attributes:
        module: From images `[N, C, H, W]` to features.
        name: By which it can be built again; `None` if it was given as a module.
        preprocessing: Size, channels and normalisation of its training; `None` if that is not known.
        pretrained: Whether weights were loaded into it.
    """

    module: nn.Module
    name: str | None = None
    preprocessing: Preprocessing | None = None
    pretrained: bool = False


def backbone_names(contains: str = "") -> list[str]:
    """Return the names that `EmbeddingNet` takes: small nets, torchvision's, then those of timm if installed.

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
        for prefix, nets in SOURCES
        if nets.EXTRA is None or importlib.util.find_spec(nets.EXTRA) is not None
        for name in sorted(nets.names())
    ]
    return [name for name in names if contains.lower() in name.lower()]


def is_backbone_name(name: str) -> bool:
    """Return whether a text has the form of a backbone's name, rather than of a class such as `package.module.Net`."""
    return _prefix(name) != "" or "." not in name or is_onnx_file(name)


def _prefix(name: str) -> str:
    return next((prefix for prefix, _ in SOURCES if prefix and name.startswith(prefix)), "")


def named_backbone(
    name: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    in_channels: int | None = None,
    image_size: tuple[int, int] | None = None,
) -> Backbone:
    """Build a backbone by its name, without its classifier.

    Args:
        name: From `backbone_names`; an ONNX file, whose net is not trained (see `read_onnx_net`); or `"embeddings"`
            for images that are embeddings of another model, `[N, D, 1, 1]`, with `in_channels` D.
        weights: `None` for random ones; `"pretrained"` for those that `find_weights` finds, else those that the library
            downloads, which small nets do not have; or a file (`.safetensors`, or a state dict saved by `torch.save`),
            which has to fit except for the classifier.
        in_channels: Channels of the images; by default those it was trained with, 3, and 1 for a small net. A net of
            torchvision takes no others.
        image_size: Height and width; by default those it was trained with, and 28 x 28 for a small net. Convolutional
            nets take nearly any.

    Returns:
        The backbone, with its preprocessing; small nets have none.

    Raises:
        MissingExtraError: If timm or onnxruntime is needed and not installed.
        RunError: If weights or an ONNX file cannot be read, or weights not be downloaded.
        ValueError: If there is no such backbone, it cannot be built for such images, or the weights do not fit.

    Example:
        >>> named_backbone("resnet18").preprocessing.mean
        (0.485, 0.456, 0.406)
    """
    if name == EMBEDDINGS:
        if in_channels is None:
            raise ValueError("Expected in_channels, the length of an embedding, for embeddings, got none.")
        vectors = Preprocessing(image_size=(1, 1), channels=in_channels)
        return Backbone(module=GivenEmbeddings(), name=name, preprocessing=vectors)
    if is_onnx_file(name):
        if weights is not None:
            raise ValueError(f"Expected no weights for {name}, which has its own, got {weights}. Leave them out.")
        onnx_net, of_file = read_onnx_net(name, in_channels=in_channels, image_size=image_size)
        return Backbone(module=onnx_net, name=onnx_net.file_name, preprocessing=of_file, pretrained=True)
    prefix = _prefix(name)
    plain, sources = name.removeprefix(prefix), [nets for known, nets in SOURCES if known == prefix]
    for extra in filter(None, (nets.EXTRA for nets in sources)):
        require(extra, extra=extra, purpose=f"The backbone {name}")
    nets = next((nets for nets in sources if plain in nets.names()), None)
    if nets is None:
        near = difflib.get_close_matches(name, backbone_names(), n=3, cutoff=0.6)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(
            f"Expected the name of a backbone, got {name!r}.{hint} "
            'List them with pairsim.models.backbones.backbone_names("...").'
        )
    folders: tuple[Path, ...] = ()
    if weights == PRETRAINED:
        folders = weight_folders()
        weights = find_weights(name, folders) or PRETRAINED
    request = BackboneRequest(
        name=name, weights=weights, in_channels=in_channels, image_size=image_size, looked_in=folders
    )
    module, known = nets.build(plain, request)
    preprocessing = None if known is None else _for_images(known, in_channels or known.channels, image_size)
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
    if isinstance(module, OnnxNet):  # of a saved model, which has the preprocessing
        size = image_size or module.fixed_size
        assert size is not None, "a saved model has its size"
        known = Preprocessing(image_size=size, channels=module.in_channels)
        return Backbone(module=module, name=module.file_name, preprocessing=known, pretrained=True)
    adapted = next(filter(None, (nets.adapt(module) for _, nets in SOURCES)), None)
    if adapted is None:
        return Backbone(module=module)
    module, known = adapted
    channels = in_channels or channels_of(module) or known.channels
    return Backbone(module=module, preprocessing=_for_images(known, channels, image_size))


def _for_images(known: Preprocessing, channels: int, image_size: tuple[int, int] | None) -> Preprocessing:
    """Change channels and size: grey gets the mean over the colours as its normalisation, others get none."""
    if channels != known.channels:
        mean, std = (
            (sum(values) / len(values),) if channels == 1 and values is not None else None
            for values in (known.mean, known.std)
        )
        known = dataclasses.replace(known, channels=channels, mean=mean, std=std)
    return dataclasses.replace(known, image_size=image_size or known.image_size)
