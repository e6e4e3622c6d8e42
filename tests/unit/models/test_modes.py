"""Eval mode is left as it was entered."""

from __future__ import annotations

import pytest
from torch import nn

from pairsim.models.modes import eval_mode


def net() -> nn.Sequential:
    made = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(2), nn.ReLU()))
    made[1].eval()
    return made


def test_each_part_gets_its_own_mode_back() -> None:
    module = net()
    before = [part.training for part in module.modules()]
    with eval_mode(module):
        assert not any(part.training for part in module.modules())
    assert [part.training for part in module.modules()] == before
    module.eval()
    with eval_mode(module):
        pass
    assert not any(part.training for part in module.modules())


def test_after_an_error_too() -> None:
    module = net()
    with pytest.raises(ValueError, match="stop"), eval_mode(module):
        raise ValueError("stop")
    assert module.training
    assert not module[1].training
