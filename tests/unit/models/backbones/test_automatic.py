"""Photographs get a pretrained net whose weights are there; other pictures the reference network."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pairsim.models.backbones import backbone_names
from pairsim.models.backbones.automatic import PREFERRED, PictureKind, choose_backbone, look_at

PHOTOGRAPHS = PictureKind(200, 1.3, is_colour=True)


def write(folder: Path, sizes: list[tuple[int, int]], *, colours: int = 0) -> list[Path]:
    """Write pictures of these widths and heights, the first few in colour."""
    paths = []
    for number, (width, height) in enumerate(sizes):
        pixels = np.full((height, width, 3), 100, dtype=np.uint8)
        pixels[..., 0] += 50 * (number < colours)
        paths.append(folder / f"{number:03d}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def test_a_few_pictures_are_looked_at(tmp_path: Path) -> None:
    sizes = [(300, 100), (110, 300), (120, 130)]
    assert look_at(write(tmp_path, sizes, colours=2)) == (110, 300 / 110, True, 120 / 130)
    assert look_at(write(tmp_path, sizes, colours=1)) == (110, 300 / 110, False, 120 / 130)
    assert look_at(write(tmp_path, [(90, 300)], colours=1)) == (90, 1.0, False, 1.0)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert look_at([tmp_path / "bad.png", tmp_path / "absent.png"]).shorter_side == 0
    many = write(tmp_path, [(20, 20)] * 30)
    for path in many[10:20]:
        path.write_bytes(b"")
    assert look_at(many).shorter_side == 20


@pytest.mark.parametrize(
    ("side", "colour", "photographs"),
    [(95, True, False), (96, True, True), (105, False, False), (127, False, False), (128, False, True)],
)
def test_which_pictures_count_as_photographs(side: int, colour: bool, photographs: bool) -> None:
    assert PictureKind(side, 1.0, is_colour=colour).are_photographs is photographs


def test_the_first_preferred_net_with_weights(tmp_path: Path) -> None:
    (tmp_path / "resnet18.pth").write_bytes(b"")
    choice = choose_backbone(PHOTOGRAPHS, folders=[tmp_path])
    assert choice[:4] == ("resnet18", tmp_path / "resnet18.pth", (224, 224), None)
    assert f"backbone resnet18 with the weights in {tmp_path}/resnet18.pth, pictures at 224 px" in choice.line
    wide = choose_backbone(PHOTOGRAPHS, image_size=(64, 128), fit="pad", folders=[tmp_path])
    assert (wide.image_size, wide.fit) == ((64, 128), "pad")
    assert "pictures at 64 x 128 px, padded" in wide.line
    digest = hashlib.sha256(b"").hexdigest()[:8]
    (tmp_path / f"mobilenet_v2-{digest}.pth").write_bytes(b"")
    assert choose_backbone(PHOTOGRAPHS, folders=[tmp_path]).name == "mobilenet_v2"
    (tmp_path / f"mobilenet_v2-{digest}.pth").write_bytes(b"damaged")
    choice = choose_backbone(PHOTOGRAPHS, folders=[tmp_path])
    assert choice.name == "resnet18"
    assert "is damaged" in choice.line


def test_wide_pictures_are_padded(tmp_path: Path) -> None:
    (tmp_path / "resnet18.pth").write_bytes(b"")
    choice = choose_backbone(PictureKind(175, 2.2, is_colour=False), folders=[tmp_path])
    assert (choice.name, choice.fit) == ("resnet18", "pad")
    assert "224 px, padded" in choice.line
    choice = choose_backbone(PictureKind(175, 2.2, is_colour=False), fit="crop", folders=[tmp_path])
    assert choice.fit == "crop"
    assert "224 px. For" in choice.line


@pytest.mark.parametrize(
    ("proportion", "aspect", "size"),
    [
        (1.4, 1.4, (224, 224)),
        (2.2, 2.2, (160, 320)),
        (2.2, 1 / 2.2, (320, 160)),
        (2.2, 1.0, (224, 224)),  # as many wide as tall ones
        (30.0, 30.0, (128, 448)),
    ],
)
def test_wide_and_tall_pictures_get_their_own_proportions(
    tmp_path: Path, proportion: float, aspect: float, size: tuple[int, int]
) -> None:
    (tmp_path / "resnet18.pth").write_bytes(b"")
    choice = choose_backbone(PictureKind(175, proportion, is_colour=True, aspect=aspect), folders=[tmp_path])
    assert choice.image_size == size
    assert 0.7 < size[0] * size[1] / 224**2 < 1.3


def test_the_reference_network_with_the_reason(tmp_path: Path) -> None:
    small = choose_backbone(PictureKind(28, 1.0, is_colour=False), folders=[tmp_path])
    assert small[:4] == (None, None, None, None)
    assert small.line == "The reference network, as the pictures are small (shorter side 28 px)."
    without = choose_backbone(PHOTOGRAPHS, folders=[tmp_path])
    assert without[:4] == (None, None, None, None)
    assert f"Put a file such as mobilenet_v2-b0353104.pth in {tmp_path}, or" in without.line


def test_the_preferred_nets_exist() -> None:
    pytest.importorskip("timm")
    assert set(PREFERRED) <= set(backbone_names())
