"""A picture file in memory is read as one on disk is: the same pixels, limits and messages."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pairsim import SimilarityModel
from pairsim.errors import ImageReadError
from pairsim.images import PictureFile, read_image
from pairsim.models.inputs import is_single


def files(folder: Path) -> dict[str, Path]:
    """Pictures in which the reader has something to do."""
    generator = np.random.default_rng(0)
    colour = Image.fromarray(generator.integers(0, 256, (9, 7, 4), dtype=np.uint8), "RGBA")
    colour.save(folder / "clear.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    colour.convert("RGB").save(folder / "turned.jpg", exif=exif)
    Image.fromarray(generator.integers(0, 65536, (9, 7), dtype=np.uint16)).save(folder / "deep.png")
    colour.convert("L").save(folder / "grey.tif", tiffinfo={0x0112: 6})
    colour.resize((16, 16)).save(folder / "icon.ico", sizes=[(16, 16)])
    return {path.name: path for path in sorted(folder.iterdir())}


def test_the_same_pixels(tmp_path: Path) -> None:
    paths = files(tmp_path)
    assert len(paths) == 5
    for name, path in paths.items():
        for channels in (1, 3):
            found = read_image(PictureFile(path.read_bytes(), name), channels=channels, image_size=(8, 8))
            assert torch.equal(found, read_image(path, channels=channels, image_size=(8, 8)))


def said(picture: Path | PictureFile) -> str:
    with pytest.raises(ImageReadError) as raised:
        read_image(picture, max_pixels=50)
    return str(raised.value)


def test_the_same_messages(tmp_path: Path) -> None:
    found = files(tmp_path)
    for name, content in (
        ("empty.png", b""),
        ("text.png", b"hello"),
        ("cut.png", found["clear.png"].read_bytes()[:60]),
        ("odd.bmp", b"BM" + b"\xff" * 60),
        ("program.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\n%%EndComments\n"),
    ):
        (tmp_path / name).write_bytes(content)
        found[name] = tmp_path / name
    for path in found.values():
        assert said(PictureFile(path.read_bytes(), str(path))) == said(path)


def test_its_name_is_never_opened(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "there.png")
    (tmp_path / "empty.png").touch()
    for name in ("there.png", "empty.png"):
        assert "its content is not of any known" in said(PictureFile(b"hello", str(tmp_path / name)))
    assert "it is empty (0 bytes)" in said(PictureFile(b"", str(tmp_path / "there.png")))


def test_wherever_one_picture_is_taken() -> None:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)).save(file, "PNG")
    picture, model = PictureFile(file.getvalue()), SimilarityModel().eval()
    assert is_single(picture)
    assert model.verify(picture, picture).similarity == pytest.approx(1.0)
    assert model.encode(picture).shape == (1, 128)
    assert model.encode([picture, PictureFile(file.getvalue())]).shape == (2, 128)
