"""Heads that are trained for some steps only, for tests that do not judge how good they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pairsim.training.adaptation import trained_heads


@contextmanager
def few_head_steps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trained_heads, "_EPOCHS", 1)
        patch.setattr(trained_heads, "_STEPS", 3)
        yield
