"""Weights are read from files without running code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from backbone_nets import torchvision_net
from torch import nn

from pairsim.errors import RunError
from pairsim.models.backbones import named_backbone, read_weights


def test_wrapped_state_dicts_are_unwrapped(tmp_path: Path) -> None:
    state = {f"module.{name}": value for name, value in torchvision_net().state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "w.pt")
    assert "conv1.weight" in read_weights(tmp_path / "w.pt")
    assert named_backbone("resnet18", weights=tmp_path / "w.pt").pretrained


def test_files_that_are_no_state_dict(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"Expected weights at .*absent.pth, found no such file"):
        named_backbone("resnet18", weights=tmp_path / "absent.pth")
    file = tmp_path / "w.pth"
    torch.save(nn.Linear(2, 2), file)  # a pickled module is code
    with pytest.raises(RunError, match=r"Expected a state dict in .*UnpicklingError.*pickled modules are not loaded"):
        named_backbone("resnet18", weights=file)
    torch.save([1, 2], file)
    with pytest.raises(RunError, match=r"Expected a state dict, names and tensors, in .*found something else"):
        named_backbone("resnet18", weights=file)
    for bad in (tmp_path / "text.pth", tmp_path / "text.safetensors"):
        bad.write_text("no weights at all")
        with pytest.raises(RunError, match=r"Expected a state dict in .*but reading it failed"):
            named_backbone("resnet18", weights=bad)
