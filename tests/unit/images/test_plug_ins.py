"""Pictures in HEIC, which a plug-in reads, in processes that did not import it themselves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_command import pairsim

from pairsim.images import pictures_below, read_image
from pairsim.images.folders import picture_endings
from pairsim.images.plug_ins import register_plug_ins

pytest.importorskip("pillow_heif", reason="the extra heif is not installed")
pytestmark = pytest.mark.slow  # the plug-in comes with what the slow tests need


def write_heic(path: Path, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    register_plug_ins()
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    pixels = coarse.repeat(16, axis=0).repeat(16, axis=1)
    Image.fromarray(pixels).save(path, quality=95)
    return pixels


def test_heic_is_read_and_found_in_folders(tmp_path: Path) -> None:
    pixels = write_heic(tmp_path / "photo.HEIC", 0)
    found = read_image(tmp_path / "photo.HEIC").permute(1, 2, 0).numpy().astype(int)
    assert found.shape == pixels.shape
    assert abs(found - pixels).mean() < 8
    assert pictures_below(tmp_path) == [tmp_path / "photo.HEIC"]
    assert {".heic", ".heif"} <= picture_endings()


def test_a_command_reads_heic(tmp_path: Path) -> None:
    for number in (0, 1):
        write_heic(tmp_path / f"{number}.heic", number)
    (tmp_path / "2.heic").write_bytes((tmp_path / "1.heic").read_bytes())
    done = pairsim("duplicates", ".", "--json", cwd=tmp_path)
    assert done.status == 0, done.err
    result = json.loads(done.out)
    assert (result["num_images"], len(result["clusters"]), result["left_out"]) == (3, 1, [])
