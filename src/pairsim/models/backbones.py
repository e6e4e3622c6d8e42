"""Backbones by name, from torchvision and timm: without their classifier, with the preprocessing they were made for."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import importlib.util
import os
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from pairsim.errors import RunError, require
from pairsim.images import Preprocessing

PRETRAINED: Final = "pretrained"
_TIMM = "timm/"
_CLASSIFIERS = ("fc", "classifier", "head", "heads")
"""Where torchvision's nets have theirs."""
_AUXILIARY = ("AuxLogits", "aux1", "aux2")
_FITS: dict[str, Literal["stretch", "crop", "pad"]] = {"center": "crop", "squash": "stretch", "border": "pad"}
_OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A net that gives features, and what is known of it.

    Attributes:
        module: From images `[N, C, H, W]` to features.
        name: By which it can be built again; `None` if it was given as a module.
        preprocessing: Size, channels and normalisation that it was made for; `None` if that is not known.
        pretrained: Whether weights were loaded into it.
    """

    module: nn.Module
    name: str | None = None
    preprocessing: Preprocessing | None = None
    pretrained: bool = False


def backbone_names(contains: str = "") -> list[str]:
    """Names that `EmbeddingNet` takes: torchvision's classification nets, then those of timm if it is installed.

    Args:
        contains: Only names with this in them, in upper or lower case.

    Returns:
        Sorted names; those of timm begin with `timm/` and may end with a tag that says which weights are meant.

    Example:
        >>> backbone_names("resnet18")[0]
        'resnet18'
    """
    names = sorted(_torchvision_names())
    if importlib.util.find_spec("timm") is not None:
        names += sorted(_TIMM + name for name in _timm_names())
    return [name for name in names if contains.lower() in name.lower()]


def is_backbone_name(name: str) -> bool:
    """Whether a text has the form of a backbone's name, rather than of a class such as `package.module.Net`."""
    return name.startswith(_TIMM) or "." not in name


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
            file (`.safetensors`, or a state dict saved by `torch.save`), which must fit but for the classifier.
        in_channels: Channels of the images; by default those it was made for, 3. Others only with timm.
        image_size: Height and width; by default those it was made for. Convolutional nets take nearly any.

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
    if name.startswith(_TIMM):
        return _from_timm(name, weights, in_channels, image_size)
    return _from_torchvision(name, weights, in_channels, image_size)


def given_backbone(
    module: nn.Module, *, in_channels: int | None = None, image_size: tuple[int, int] | None = None
) -> Backbone:
    """A module as a backbone: nets of torchvision and timm lose their classifier, any other is taken as it is.

    Args:
        module: Stays as it is; a net that loses its classifier is copied, but for its weights, which are shared.
        in_channels: Channels of the images; by default those that a net of torchvision or timm takes.
        image_size: Height and width; likewise.

    Returns:
        The backbone; its preprocessing is known for nets of torchvision and timm only.
    """
    config = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None)
    if isinstance(config, Mapping) and hasattr(module, "reset_classifier"):
        if getattr(module, "num_classes", None) != 0:
            module = _copy_sharing_tensors(module)
            module.reset_classifier(0)  # type: ignore[operator]  # a method, as asked for above
        known = _timm_preprocessing(config)
    elif any(kind.__module__.startswith("torchvision.models") for kind in type(module).__mro__):
        if _classifier_of(module) is not None or any(getattr(module, name, None) is not None for name in _AUXILIARY):
            module = _copy_sharing_tensors(module)
            _drop_classifier(module)
        size = getattr(module, "image_size", None)
        known = _torchvision_preprocessing("resnet18", (size, size) if isinstance(size, int) else None)
    else:
        return Backbone(module=module)
    channels = in_channels or channels_of(module) or known.channels
    return Backbone(module=module, preprocessing=_for_images(known, channels, image_size))


def channels_of(net: nn.Module) -> int | None:
    """Channels of the images that a net takes: its `in_channels`, else those of its first convolution; else `None`."""
    if isinstance(stated := getattr(net, "in_channels", None), int):
        return stated
    return next((part.in_channels for part in net.modules() if isinstance(part, nn.Conv2d)), None)


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read a state dict from a file, without running code that might be in it.

    Args:
        path: `.safetensors`, or what `torch.save(model.state_dict(), path)` wrote.

    Returns:
        The tensors by their names, on the CPU.

    Raises:
        RunError: If there is no such file, or no state dict in it.
    """
    file = Path(path)
    if not file.is_file():
        raise RunError(f"Expected weights at {file}, found no such file. Check the path, or use weights='pretrained'.")
    try:
        if file.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(file))
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, OSError, EOFError, pickle.UnpicklingError, safetensors.SafetensorError) as error:
        raise RunError(
            f"Expected a state dict in {file}, but reading it failed ({type(error).__name__}). Save the weights with "
            "torch.save(model.state_dict(), FILE) or safetensors.torch.save_file; pickled modules are not loaded."
        ) from error
    for key in ("state_dict", "model"):  # checkpoints of common training scripts
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise RunError(f"Expected a state dict, names and tensors, in {file}, found something else.")
    consume_prefix_in_state_dict_if_present(content, "module.")  # of data-parallel training
    return content


def _from_torchvision(
    name: str,
    weights: str | os.PathLike[str] | None,
    in_channels: int | None,
    image_size: tuple[int, int] | None,
) -> Backbone:
    from torchvision import models

    if name not in _torchvision_names():
        raise ValueError(_unknown(name))
    if in_channels not in (None, 3):
        raise ValueError(
            f"Expected in_channels=3 for {name}, got {in_channels}. Leave it out: pictures and grey pixels are given "
            "to it in 3 channels. Nets of timm can be built for other channels."
        )
    settings: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        # as pretrained weights have it: normalised images are normalised anew, with other constants
        settings = {"init_weights": True, "transform_input": True}
    if image_size is not None and name.startswith("vit_"):
        if image_size[0] != image_size[1]:
            raise ValueError(f"Expected a square image_size for {name}, got {image_size}. Give one number.")
        settings["image_size"] = image_size[0]
    elif image_size is not None and name.startswith("maxvit"):
        settings["input_size"] = image_size
    try:
        module: nn.Module = models.get_model(name, weights=None, **settings)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(_cannot_be_built(name, image_size, error)) from error
    dropped = _drop_classifier(module)
    if weights is not None:
        if weights == PRETRAINED:
            try:
                state = models.get_model_weights(name).DEFAULT.get_state_dict(
                    progress=False, check_hash=True, weights_only=True
                )
            except Exception as error:  # whatever the failed download raised
                raise RunError(_no_download(name, error)) from error
        else:
            state = read_weights(weights)
        for key in list(state):
            old = _OLD_DENSENET.match(key)
            if key.startswith(dropped):
                del state[key]
            elif old is not None:
                state["".join(old.groups())] = state.pop(key)
        try:
            module.load_state_dict(state, strict=True)
        except RuntimeError as error:
            raise ValueError(_does_not_fit(name, weights, error)) from error
    known = _torchvision_preprocessing(name, None)
    preprocessing = _for_images(known, 3, image_size)
    return Backbone(module=module, name=name, preprocessing=preprocessing, pretrained=weights is not None)


def _from_timm(
    name: str,
    weights: str | os.PathLike[str] | None,
    in_channels: int | None,
    image_size: tuple[int, int] | None,
) -> Backbone:
    timm = require("timm", extra="timm", purpose=f"The backbone {name}")
    plain = name.removeprefix(_TIMM)
    if plain not in _timm_names():
        raise ValueError(_unknown(name))
    found = timm.models.get_pretrained_cfg(plain)
    config: dict[str, Any] = {} if found is None else found.to_dict()
    known = _timm_preprocessing(config)
    settings: dict[str, Any] = {"num_classes": 0, "in_chans": in_channels or known.channels}
    if image_size is not None and config.get("fixed_input_size"):
        settings["img_size"] = image_size
    file = weights if weights != PRETRAINED else None
    if file is not None:
        state = read_weights(file)
        heads = config.get("classifier") or ()
        for head in (heads,) if isinstance(heads, str) else heads:
            for kind in ("weight", "bias"):
                state.pop(f"{head}.{kind}", None)
        # timm converts what is of an older format; that it sees no classifier makes it load the rest strictly
        settings["pretrained_cfg_overlay"] = {"state_dict": state, "num_classes": 0, "classifier": None}
    try:
        module = timm.create_model(plain, pretrained=weights is not None, **settings)
    except Exception as error:  # timm and the hub raise whatever made them stumble
        if weights == PRETRAINED and not isinstance(error, AssertionError | TypeError):
            raise RunError(_no_download(name, error)) from error
        if file is not None and "state_dict" in str(error):
            raise ValueError(_does_not_fit(name, file, error)) from error
        raise ValueError(_cannot_be_built(name, image_size, error)) from error
    module.pretrained_cfg = module.default_cfg = config  # without the weights
    preprocessing = _for_images(known, settings["in_chans"], image_size)
    return Backbone(module=module, name=name, preprocessing=preprocessing, pretrained=weights is not None)


def _torchvision_names() -> list[str]:
    from torchvision import models

    return list(models.list_models(module=models))  # those of the top level: classification


def _timm_names() -> set[str]:
    timm = require("timm", extra="timm", purpose="A backbone of timm")
    return {*timm.list_models(), *timm.list_pretrained()}


def _torchvision_preprocessing(name: str, image_size: tuple[int, int] | None) -> Preprocessing:
    """What pictures get before a net with its default weights; nothing is downloaded for it."""
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


def _timm_preprocessing(config: Mapping[str, Any]) -> Preprocessing:
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


def _for_images(known: Preprocessing, channels: int, image_size: tuple[int, int] | None) -> Preprocessing:
    """The preprocessing for other channels or another size: grey gets the mean over the colours, others none."""
    mean, std = known.mean, known.std
    if channels != known.channels:
        grey = channels == 1 and mean is not None and std is not None
        mean = (sum(mean) / len(mean),) if grey and mean is not None else None
        std = (sum(std) / len(std),) if grey and std is not None else None
    size = image_size or known.image_size
    return dataclasses.replace(known, image_size=size, channels=channels, mean=mean, std=std)


def _classifier_of(module: nn.Module) -> str | None:
    """Name of the layer that gives the classes in a net of torchvision: the last with weights in its head."""
    for name in _CLASSIFIERS:
        part = getattr(module, name, None)
        if isinstance(part, nn.Module):
            layers = [n for n, layer in part.named_modules(prefix=name) if isinstance(layer, nn.Linear | nn.Conv2d)]
            return layers[-1] if layers else None
    return None


def _drop_classifier(module: nn.Module) -> tuple[str, ...]:
    """Take the classifier out of a net of torchvision, in place, and give what names of its weights begin with."""
    name = _classifier_of(module)
    if name is not None:
        module.set_submodule(name, nn.Identity())
    for auxiliary in _AUXILIARY:  # further classifiers, for training only
        if getattr(module, auxiliary, None) is not None:
            setattr(module, auxiliary, None)
            vars(module)["aux_logits"] = False
    return tuple(f"{part}." for part in (name, *_AUXILIARY) if part is not None)


def _copy_sharing_tensors(module: nn.Module) -> nn.Module:
    tensors: dict[int, Any] = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    return copy.deepcopy(module, tensors)


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, backbone_names(), n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return (
        f"Expected the name of a backbone of torchvision, or of timm as timm/NAME, got {name!r}.{hint} "
        'List them with pairsim.models.backbones.backbone_names("...").'
    )


def _cannot_be_built(name: str, image_size: tuple[int, int] | None, error: Exception) -> str:
    asked = "its own images" if image_size is None else f"images of {image_size[0]} x {image_size[1]}"
    return (
        f"Expected {name} to take {asked}, but building it failed: {_first_line(error)}. "
        "Leave image_size out for the size it was made for, or use a multiple of its patch size."
    )


def _does_not_fit(name: str, weights: str | os.PathLike[str], error: Exception) -> str:
    lines = [line.strip().rstrip(".") for line in str(error).splitlines()][1:3] or [_first_line(error)]
    shown = "; ".join(line if len(line) <= 160 else f"{line[:160]}..." for line in lines)
    return (
        f"Expected weights of {name} in {os.fspath(weights)}, but they do not fit: {shown}. "
        "Check the name; for transformers also leave image_size out."
    )


def _no_download(name: str, error: Exception) -> str:
    return (
        f"Expected pretrained weights of {name} in the cache of its library or from the network, but loading them "
        f"failed: {_first_line(error)}. Connect to a network, or give weights=FILE with weights on disk."
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
