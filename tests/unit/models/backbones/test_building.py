"""What the sources of backbones share: the request and its errors, and weights that are read without running code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from backbone_nets import torchvision_net
from torch import nn

from pairsim.errors import RunError
from pairsim.models.backbones import named_backbone, read_weights
from pairsim.models.backbones.building import BackboneRequest, channels_of, copy_sharing_tensors


def test_channels_of_a_net() -> None:
    net = nn.Sequential(nn.Flatten(1, 1), nn.Conv2d(5, 2, 3), nn.Conv2d(2, 1, 3))
    assert channels_of(net) == 5
    net.in_channels = 7  # type: ignore[assignment]
    assert channels_of(net) == 7
    assert channels_of(nn.Linear(2, 2)) is None


def test_a_copy_shares_tensors_and_nothing_else() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    copied = copy_sharing_tensors(net)
    assert copied is not net
    theirs, ours = dict(net.named_parameters()) | dict(net.named_buffers()), copied.state_dict(keep_vars=True)
    assert theirs.keys() == ours.keys()
    assert all(ours[name] is value for name, value in theirs.items())
    copied.set_submodule("1", nn.Identity())
    assert isinstance(net[1], nn.BatchNorm2d)
    with torch.no_grad():
        net.get_parameter("0.weight").zero_()
    assert bool((copied.get_parameter("0.weight") == 0).all())


@pytest.mark.parametrize(("size", "asked"), [(None, "its own images"), ((30, 40), "images of 30 x 40")])
def test_errors_name_the_backbone_and_one_line_of_the_cause(size: tuple[int, int] | None, asked: str) -> None:
    request = BackboneRequest(name="toy/net", weights="w.pth", in_channels=None, image_size=size)
    built = str(request.not_built(RuntimeError("first.\nsecond")))
    assert built.startswith(f"Expected toy/net to take {asked}, but building it failed: first. Leave image_size out")
    downloaded = str(request.not_downloaded(OSError()))
    assert "pretrained weights of toy/net" in downloaded
    assert "in a file or from the network, but loading them failed: OSError. Connect" in downloaded
    state = RuntimeError("Error(s) in loading state_dict:\n\tMissing key(s): a.\n\tUnexpected key(s): " + "b" * 500)
    fitting = str(request.not_fitting(state))
    assert fitting.startswith(
        "Expected weights of toy/net in w.pth, but they do not fit: Missing key(s): a; Unexpected"
    )
    assert len(fitting) < 400


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
