from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairsim.data import load_data
from pairsim.errors import DataError, DatasetNotFoundError

IDX = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


def write_idx(raw: Path, num: int = 20) -> None:
    raw.mkdir(parents=True)
    for name in IDX:
        shape = (num, 28, 28) if "images" in name else (num,)
        header = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
        (raw / f"{name}-ubyte").write_bytes(header + bytes(int(np.prod(shape))))


@pytest.mark.parametrize("folder", ["", "mnist"])
def test_idx_files_are_found_below_the_root(tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_idx(tmp_path / folder / "MNIST" / "raw")
    monkeypatch.setenv("PAIRSIM_DATA", str(tmp_path))
    loaded = load_data("mnist", "train")
    assert loaded.dataset.images.shape == (20, 1, 28, 28)
    assert loaded.class_names[:2] == ("0 - zero", "1 - one")


@pytest.mark.parametrize("cut", [0, 3, 10, 1000])
def test_damaged_idx_files_are_named(tmp_path: Path, cut: int) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_idx(raw)
    file = raw / "t10k-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(
        DataError, match=r"Expected whole IDX files of mnist in .*raw, but reading them failed .*Remove"
    ):
        load_data("mnist", "test", data_dir=tmp_path)


def test_no_data_and_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    def fail(self: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(datasets.MNIST, "download", fail)
    with pytest.raises(DatasetNotFoundError) as caught:
        load_data("mnist", "train", data_dir=tmp_path)
    said = str(caught.value)
    assert str(tmp_path / "MNIST" / "raw") in said
    assert "no route to host" in said
    assert "PAIRSIM_DATA" in said
