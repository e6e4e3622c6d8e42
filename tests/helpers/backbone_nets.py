"""Nets of torchvision and timm with classifiers of their own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def images(num: int = 2, size: int = 32, channels: int = 3) -> Tensor:
    return torch.rand(num, channels, size, size, generator=torch.Generator().manual_seed(3))


def torchvision_net(name: str = "resnet18") -> Any:
    from torchvision import models

    return models.get_model(name, weights=None, num_classes=7).eval()


def timm_net(name: str = "resnet10t", **settings: Any) -> Any:
    timm = pytest.importorskip("timm")
    return timm.create_model(name, pretrained=False, **settings).eval()


def same_state(a: nn.Module, b: nn.Module) -> bool:
    states = a.state_dict(), b.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][name], states[1][name]) for name in states[0]
    )
