from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_models import small_model

from pairsim.cli.arguments import check_out, load_model
from pairsim.cli.output import UsageError
from pairsim.errors import DeviceError, RunError


def test_check_out() -> None:
    assert check_out(Path("a/b.csv"), ".npz", ".csv") == ".csv"
    assert check_out(Path("B.NPZ"), ".npz", ".csv") == ".npz"
    for name in ("b", "b.txt", ".csv", "b.csv.gz"):
        with pytest.raises(UsageError, match=rf"^Expected --out to end in .npz or .csv, got {name}\.$"):
            check_out(Path("a", name), ".npz", ".csv")


def test_load_model(tmp_path: Path) -> None:
    model = small_model(12)
    model.save_pretrained(tmp_path / "model")
    loaded = load_model(tmp_path / "model", "cpu")
    images = torch.zeros(1, 1, 12, 12, dtype=torch.uint8)
    assert torch.equal(loaded.encode(images), model.encode(images))
    with pytest.raises(ValueError, match='Expected device to be "auto"'):
        load_model(tmp_path / "model", "gpu")
    with pytest.raises(DeviceError, match="cuda:99"):
        load_model(tmp_path / "model", "cuda:99")
    with pytest.raises(RunError, match="Expected a model or run folder"):
        load_model(tmp_path / "absent", "cpu")
