"""Read weights of backbones from files."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Final

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from pairsim.errors import RunError

PRETRAINED: Final = "pretrained"
"""Given instead of a file: the weights that the backbone's library downloads or has downloaded."""


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
