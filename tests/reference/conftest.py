from __future__ import annotations

from pathlib import Path

import pytest

from pairsim.data.named import data_root


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """The folder that holds MNIST; skips where there is none, and never downloads."""
    for folder in (data_root(), data_root() / "mnist"):
        if (folder / "MNIST" / "raw").is_dir():
            return folder
    pytest.skip("no MNIST: set PAIRSIM_DATA to a folder with MNIST/raw in it")
