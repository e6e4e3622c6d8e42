"""Whole training states, compared without tolerance."""

from __future__ import annotations

from typing import Any

import torch


def assert_same(a: Any, b: Any, path: str = "") -> None:
    """Fail, naming the place, unless both hold the same numbers to the last bit."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_same(a[key], b[key], f"{path}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for place, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{path}/{place}")
    else:
        assert a == b, path
