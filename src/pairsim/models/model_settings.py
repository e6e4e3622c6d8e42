"""What a model has besides weights: preprocessing, operating point and calibration. Its state dict holds them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from pairsim._common.json_files import KEY
from pairsim._common.storage import sha256
from pairsim.images import Preprocessing
from pairsim.images.preprocessing import other_scale
from pairsim.models.calibration import Calibration
from pairsim.models.embedding_net import EmbeddingNet, default_preprocessing
from pairsim.models.pretrained import serialize
from pairsim.models.verdict import OperatingPoint
from pairsim.models.weight_names import PlainNamesModule, unwrapped

_SETTINGS = "_extra_state"
"""The name of the settings in a state dict, which PyTorch gives them."""


class ModelSettings(PlainNamesModule):
    """A net with preprocessing, operating point and calibration.

    In the state dict these settings are JSON text as uint8 values, which `torch.load(..., weights_only=True)` reads. A
    state dict without them can be loaded, such as that of the reference notebook.

    Args:
        embedding_net: Any module that maps images to embeddings.
        preprocessing: By default that of the net.

    Attributes:
        operating_point: The stored threshold, with the error rates measured at it, or `None`.
        calibration: Maps similarities to probabilities; `None` for the projection.

    Raises:
        TypeError: If `embedding_net` is not a module, or `preprocessing` no `Preprocessing`.
        ValueError: If `preprocessing` has other channels than the net's `in_channels`.
    """

    def __init__(self, embedding_net: nn.Module, preprocessing: Preprocessing | None) -> None:
        super().__init__()
        if not isinstance(embedding_net, nn.Module):
            raise TypeError(f"Expected embedding_net to be a torch.nn.Module, got {type(embedding_net).__name__}.")
        if preprocessing is not None:
            _check_preprocessing(preprocessing, embedding_net)
        self.embedding_net: nn.Module = embedding_net
        self.operating_point: OperatingPoint | None = None
        self.calibration: Calibration | None = None
        self._preprocessing: Preprocessing | None = preprocessing
        self._default: Preprocessing = default_preprocessing(embedding_net)
        self._came_without_settings: bool = False
        self._warned: bool = False
        # a buffer, so that a copy with averaged weights, which is updated by parameters and buffers, gets it too
        self.register_buffer("_has_scale", torch.zeros(()), persistent=False)
        self._has_scale: Tensor

    @property
    def preprocessing(self) -> Preprocessing:
        """How pixels are scaled; an `EmbeddingNet` holds what is set here, as its weights depend on it."""
        known = getattr(unwrapped(self.embedding_net), "preprocessing", None)
        return self._preprocessing or (known if isinstance(known, Preprocessing) else self._default)

    @preprocessing.setter
    def preprocessing(self, preprocessing: Preprocessing) -> None:
        _check_preprocessing(preprocessing, self.embedding_net)
        self._set_preprocessing(preprocessing)

    def _set_preprocessing(self, preprocessing: Preprocessing) -> None:
        net, self._came_without_settings, self._warned = unwrapped(self.embedding_net), False, False
        if isinstance(net, EmbeddingNet):
            net.preprocessing, self._preprocessing = preprocessing, None
        else:
            self._preprocessing = preprocessing
        if preprocessing.mean is not None or preprocessing.float_range is not None:
            self._has_scale.fill_(1.0)

    def settings(self) -> dict[str, Any]:
        """Return what the state dict holds besides weights, as JSON values."""
        return {
            "preprocessing": self.preprocessing.to_dict(),
            "operating_point": None if self.operating_point is None else asdict(self.operating_point),
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
        }

    def load_settings(self, settings: Mapping[str, Any] | None) -> None:
        """Restore what `settings` returned; `None` removes operating point and calibration, which belong to weights."""
        point, calibration = (None if settings is None else settings.get(n) for n in ("operating_point", "calibration"))
        self.operating_point = None if point is None else OperatingPoint.from_dict(point)
        self.calibration = None if calibration is None else Calibration.from_dict(calibration)
        if settings is not None:
            # not compared with the net: images in floating point do not need its channels
            self._set_preprocessing(Preprocessing.from_dict(settings["preprocessing"]))

    def get_extra_state(self) -> Tensor:
        """Return the settings for the state dict, uint8 `[bytes]`; PyTorch calls it."""
        return torch.tensor(list(json.dumps(self.settings()).encode("ascii")), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor | None) -> None:
        """Restore the settings from a state dict; PyTorch calls it.

        Raises:
            ValueError: If they are damaged.
        """
        self._came_without_settings = state is None
        try:
            self.load_settings(None if state is None else _decoded(state))
        except (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(
                f"Expected the settings of {type(self).__name__} in {_SETTINGS} of the state dict, found damage "
                f"({type(error).__name__}: {error}). Copy them unchanged from a state dict of the model."
            ) from error

    def sealed_state_dict(self) -> dict[str, Tensor]:
        """Return the state dict, on the CPU, with its SHA-256 among the settings, which `load_state_dict` compares."""
        settings = self.settings()
        state = {name: value.detach().cpu().contiguous() for name, value in self.weights().items()}
        text = json.dumps({KEY: _sha256(state, settings), **settings})
        return {**state, _SETTINGS: torch.tensor(list(text.encode("ascii")), dtype=torch.uint8)}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        state_dict.setdefault(prefix + _SETTINGS, None)
        if not _is_as_sealed(state_dict, prefix):
            args[-1].append(
                f"Expected the weights and settings that the SHA-256 in {prefix}{_SETTINGS} is of, found others: the "
                "file is damaged or was edited. Copy it again; to load edited weights, remove that key, as its "
                "threshold and calibration are of the old ones."
            )
        super()._load_from_state_dict(state_dict, prefix, *args)

    def weights(self) -> dict[str, Tensor]:
        """Return the state dict without the settings."""
        return {name: value for name, value in self.state_dict().items() if name != _SETTINGS}

    def preprocessed(self, images: Tensor, *, checked: bool = False) -> Tensor:
        """Preprocess images, and warn where they or the preprocessing seem not to be those of training.

        Args:
            images: `[N, C, H, W]`.
            checked: Whether to compare the values of images in floating point with those of training.
        """
        preprocessing = self.preprocessing
        scale = preprocessing.float_range or (preprocessing.pixel_range if preprocessing.mean else None)
        if not (self._warned or preprocessing.of_vectors or torch.compiler.is_compiling()):
            if not images.is_floating_point():
                if scale is None and not self.training and self._lacks_scale():  # which may wait for the device
                    self._warn(
                        "The weights of this model came without mean and standard deviation of its pixels. Results "
                        "are wrong until model.preprocessing is set to that of its training."
                    )
            elif checked and scale is not None and images.numel():
                low, high = torch.aminmax(images.detach())
                margin = 0.02 if preprocessing.float_range is None else 0.15  # pixels have limits
                if other_scale((float(low), float(high)), scale, margin=margin):
                    self._warn(
                        f"Expected floating point images of the scale of training, about {scale[0]:.4g} to "
                        f"{scale[1]:.4g}, got values from {low:.4g} to {high:.4g}, which are used as they are. Give "
                        "uint8 pixels, or normalise images as in training (see model.preprocessing)."
                    )
        return preprocessing(images)

    def warn_of_whole(self, images: Tensor) -> None:
        """Warn of images in floating point that a model of the central part of pixels may see whole."""
        if not self._warned and self.preprocessing.may_lack_cut(images):
            self._warn(
                f"Expected pixels, of which the model sees the central {self.preprocessing.central_fraction:.0%}, got "
                "images in floating point, which are used as they are. Give uint8 pixels or pictures, or what "
                "model.preprocessing(pixels) returns; torchvision has PILToTensor in place of ToTensor."
            )

    @contextmanager
    def without_scale_checks(self) -> Iterator[None]:
        """Inside, `preprocessed` warns of nothing."""
        warned, self._warned = self._warned, True
        try:
            yield
        finally:
            self._warned = warned

    def _lacks_scale(self) -> bool:
        net = unwrapped(self.embedding_net)
        without = self._came_without_settings or (isinstance(net, EmbeddingNet) and net.came_alone)
        return without or bool(self._has_scale > 0)

    def _warn(self, text: str) -> None:
        self._warned = True  # once for each model
        warnings.warn(text, UserWarning, stacklevel=2)


def _check_preprocessing(preprocessing: Preprocessing, net: nn.Module) -> None:
    if not isinstance(preprocessing, Preprocessing):
        raise TypeError(
            f"Expected preprocessing as a Preprocessing, got {type(preprocessing).__name__}. Give "
            "Preprocessing(image_size=(height, width), channels=...)."
        )
    channels = getattr(unwrapped(net), "in_channels", None)
    if isinstance(channels, int) and channels != preprocessing.channels:
        raise ValueError(
            f"Expected preprocessing with channels={channels}, as the net takes, got {preprocessing.channels}. Set it, "
            f"or build the net with in_channels={preprocessing.channels}."
        )


def _decoded(settings: Tensor) -> Any:
    # numbers of other types are accepted, as code that averages state dicts makes them
    return json.loads(bytes(settings.round().to(torch.uint8).tolist()))


def _sha256(weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> str:
    return sha256(serialize(weights) + json.dumps(settings).encode("ascii"))


def _is_as_sealed(state: Mapping[str, Any], prefix: str) -> bool:
    """Return whether a state dict is equal to its SHA-256, or has none."""
    try:
        settings = _decoded(state[prefix + _SETTINGS])
        expected = settings.pop(KEY)
    except (
        AttributeError,
        KeyError,
        RecursionError,
        TypeError,
        ValueError,
    ):  # no settings, or damaged ones
        return True
    weights = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    del weights[_SETTINGS]
    return bool(expected == _sha256(weights, settings))
