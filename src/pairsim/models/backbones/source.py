"""The interface of a source of backbones, and what all sources share."""

from __future__ import annotations

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from pairsim.errors import RunError
from pairsim.images import Preprocessing


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


@dataclass(frozen=True, kw_only=True)
class BackboneRequest:
    """A backbone that is asked for by name; see `named_backbone`."""

    name: str
    weights: str | os.PathLike[str] | None
    in_channels: int | None
    image_size: tuple[int, int] | None

    def not_built(self, error: Exception) -> ValueError:
        """Return the error for a net that cannot be built."""
        size = self.image_size
        return ValueError(
            f"Expected {self.name} to take {'its own images' if size is None else f'images of {size[0]} x {size[1]}'}, "
            f"but building it failed: {_first_line(error)}. "
            "Leave image_size out for the size it was trained with, or use a multiple of its patch size."
        )

    def not_fitting(self, error: Exception) -> ValueError:
        """Return the error for weights of another net."""
        lines = [line.strip().rstrip(".")[:160] for line in str(error).splitlines()][1:3] or [_first_line(error)]
        return ValueError(
            f"Expected weights of {self.name} in {self.weights}, but they do not fit: {'; '.join(lines)}. "
            "Check the name; for transformers also leave image_size out."
        )

    def not_downloaded(self, error: Exception) -> RunError:
        """Return the error for pretrained weights that the library cannot load."""
        return RunError(
            f"Expected pretrained weights of {self.name} in the cache of its library or from the network, but loading "
            f"them failed: {_first_line(error)}. Connect to a network, or give weights=FILE with weights on disk."
        )


class BackboneSource(ABC):
    """A library of nets that are built by name. A new one takes one line in `registry.SOURCES`.

    Attributes:
        package: Python package and extra of pairsim that it needs; `None` if it is always installed.
    """

    package: ClassVar[str | None] = None

    @abstractmethod
    def names(self) -> Collection[str]:
        """Return the names of its nets, without the source's prefix."""

    @abstractmethod
    def build(self, name: str, request: BackboneRequest) -> tuple[nn.Module, Preprocessing]:
        """Build a net without its classifier.

        Args:
            name: One of `names()`.
            request: What was asked for; its name has the source's prefix.

        Returns:
            The net, and the preprocessing that its default weights were trained with.

        Raises:
            RunError: If weights cannot be read or downloaded.
            ValueError: If it cannot be built for such images, or the weights do not fit.
        """

    @abstractmethod
    def adapt(self, module: nn.Module) -> tuple[nn.Module, Preprocessing] | None:
        """Return a net of this library that was given as a module, without its classifier; `None` for any other."""


def channels_of(net: nn.Module) -> int | None:
    """Return the channels that a net takes: its `in_channels`, else those of its first convolution; else `None`."""
    if isinstance(stated := getattr(net, "in_channels", None), int):
        return stated
    return next((part.in_channels for part in net.modules() if isinstance(part, nn.Conv2d)), None)


def copy_sharing_tensors(module: nn.Module) -> nn.Module:
    """Copy a module, but not its parameters and buffers."""
    tensors: dict[int, Any] = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    return copy.deepcopy(module, tensors)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
