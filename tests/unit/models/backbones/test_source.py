"""What all sources of backbones share."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pairsim.models.backbones.source import BackboneRequest, channels_of, copy_sharing_tensors


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
    assert "failed: OSError. Connect" in downloaded
    state = RuntimeError("Error(s) in loading state_dict:\n\tMissing key(s): a.\n\tUnexpected key(s): " + "b" * 500)
    fitting = str(request.not_fitting(state))
    assert fitting.startswith(
        "Expected weights of toy/net in w.pth, but they do not fit: Missing key(s): a; Unexpected"
    )
    assert len(fitting) < 400
