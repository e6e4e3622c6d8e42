"""What the backbones of torchvision and timm share: the request and its errors, and weights from files."""

from __future__ import annotations

import contextlib
import copy
import os
import socket
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from pairsim._common import storage
from pairsim.errors import RunError

PRETRAINED: Final = "pretrained"
"""Given instead of a file: the weights that the backbone's library downloads or has downloaded."""


_FOLDER = 0x10  # the attribute of a folder in a ZIP file
_CONNECT_S, _STALL_S = 10.0, 30.0


@dataclass(frozen=True, kw_only=True)
class BackboneRequest:
    """A backbone that is asked for by name; see `named_backbone`. `looked_in`: where weights were looked for."""

    name: str
    weights: str | os.PathLike[str] | None
    in_channels: int | None
    image_size: tuple[int, int] | None
    looked_in: Sequence[Path] = ()

    def not_built(self, error: Exception) -> ValueError:
        """Return the error for a net that cannot be built."""
        size = self.image_size
        return ValueError(
            f"Expected {self.name} to take {'its own images' if size is None else f'images of {size[0]} x {size[1]}'}, "
            f"but building it failed: {first_line(error)}. "
            "Leave image_size out for the size it was trained with, or use a multiple of its patch size."
        )

    def not_fitting(self, error: Exception) -> ValueError:
        """Return the error for weights of another net."""
        lines = [line.strip().rstrip(".")[:160] for line in str(error).splitlines()][1:3] or [first_line(error)]
        return ValueError(
            f"Expected weights of {self.name} in {self.weights}, but they do not fit: {'; '.join(lines)}. "
            "Check the name; for transformers also leave image_size out."
        )

    def not_downloaded(self, error: Exception) -> RunError:
        """Return the error for pretrained weights that the library cannot load."""
        return RunError(
            f"Expected pretrained weights of {self.name} in {', '.join(map(str, self.looked_in)) or 'a file'} or from "
            f"the network, but loading them failed: {first_line(error)}. Connect to a network, copy the file into one "
            "of these folders, or give weights=FILE."
        )


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
    if not storage.is_file(file):
        raise RunError(f"Expected weights at {file}, found no such file. Check the path, or use weights='pretrained'.")
    try:
        if file.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(file))
        _check_parts(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except RunError:
        raise
    except Exception as error:  # a damaged file raises many kinds, and the restricted unpickler for what is no pickle
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


def _check_parts(file: Path) -> None:
    """Compare the parts of a file of `torch.save` with the checksums (CRC-32) in it, which `torch.load` does not.

    Raises:
        RunError: If one differs; the message names it.
    """
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as parts:
            folders = (part.filename for part in parts.infolist() if part.external_attr & _FOLDER)
            if damaged := parts.testzip() or next(folders, None):  # of a folder PyTorch reads memory that nothing set
                raise RunError(f"{file} is damaged: {damaged} in it differs from its CRC-32. Copy it or save it again.")


def check_reachable(url: str) -> None:
    """Check that a server answers, so that a download that cannot work fails at once.

    Args:
        url: Of the download; a proxy of the environment is used.

    Raises:
        OSError: If it does not answer.
    """
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310  of a library, never of a user
    with contextlib.suppress(urllib.error.HTTPError):  # an answer
        urllib.request.urlopen(request, timeout=_CONNECT_S).close()  # noqa: S310


@contextlib.contextmanager
def network_timeout() -> Iterator[None]:
    """Inside, a download that gets no data for half a minute fails."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_STALL_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def channels_of(net: nn.Module) -> int | None:
    """Return the channels that a net takes: its `in_channels`, else those of its first convolution; else `None`."""
    if isinstance(stated := getattr(net, "in_channels", None), int):
        return stated
    return next((part.in_channels for part in net.modules() if isinstance(part, nn.Conv2d)), None)


def copy_sharing_tensors(module: nn.Module) -> nn.Module:
    """Copy a module, but not its parameters and buffers."""
    tensors: dict[int, Any] = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    return copy.deepcopy(module, tensors)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
