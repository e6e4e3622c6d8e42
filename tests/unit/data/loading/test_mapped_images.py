from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import torch

from pairsim.data.loading.mapped_images import MappedImages


def test_pixels_after_the_offset_are_read(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 1, 2, 3), dtype=np.uint8)
    (tmp_path / "pixels").write_bytes(b"12345" + pixels.tobytes())
    images = MappedImages(tmp_path / "pixels", 5, (4, 1, 2, 3), np.array(["c", "a"]), np.array([3, 1]))
    assert len(images) == 2
    assert torch.equal(images.batch(np.array([1, 0, 1])), torch.from_numpy(pixels[[1, 3, 1]]))
    image, label = images[0]
    assert torch.equal(image, torch.from_numpy(pixels[3]))
    assert label == "c"


def test_another_process_maps_the_file_itself(tmp_path: Path) -> None:
    (tmp_path / "pixels").write_bytes(bytes(range(100)) * 100)
    images = MappedImages(tmp_path / "pixels", 0, (100, 1, 10, 10), np.arange(100), np.arange(100))
    images.batch(np.array([0]))
    sent = pickle.dumps(images)
    assert len(sent) < 5_000  # without pixels
    assert torch.equal(pickle.loads(sent).batch(np.array([99])), images.batch(np.array([99])))
