"""What all tests share."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _same_numbers_in_every_run() -> None:
    """A failure must come back when the test is run again."""
    torch.manual_seed(0)
