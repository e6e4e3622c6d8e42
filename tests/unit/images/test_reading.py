from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from pairsim.errors import ImageReadError
from pairsim.images import PictureFile, read_image
from pairsim.images.reading import stored_size, undecoded


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def grey(value: int = 100) -> Image.Image:
    return Image.fromarray(np.full((4, 6), value, np.uint8))


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_jpeg(tmp_path: Path, options: dict[str, Any]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    image = Image.new("RGB", (16, 8), (200, 100, 30))
    found = read_image(save(tmp_path / "x.jpg", image, exif=exif, quality=100, **options))
    assert found.shape == (3, 16, 8)
    assert (found.int() - torch.tensor([200, 100, 30]).view(3, 1, 1)).abs().max() <= 2


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif", ".avif"])
def test_first_frame_of_an_animation(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"x{suffix}", grey(30), save_all=True, append_images=[grey(200)])
    assert abs(int(read_image(path, channels=1)[0, 0, 0]) - 30) <= 2
    with Image.open(path) as image:
        assert image.n_frames == 2  # type: ignore[attr-defined]
        image.seek(1)
        assert abs(int(read_image(image, channels=1)[0, 0, 0]) - 200) <= 2


def test_the_page_that_a_pillow_image_is_at(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((4, 6), value, np.uint16)) for value in (0x4000, 0x8000)]
    path = save(tmp_path / "x.tif", frames[0], save_all=True, append_images=frames[1:])
    with Image.open(path) as image:
        image.seek(1)
        assert read_image(image, channels=1, white=0xFFFF).unique().tolist() == [0x80]
    assert read_image(path, channels=1).unique().tolist() == [0x40]


@pytest.mark.parametrize(
    "image", [np.zeros((4, 6), np.uint8), np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6, 1), np.uint8)]
)
def test_arrays(image: Any) -> None:
    assert read_image(image, channels=3, image_size=(8, 9)).shape == (3, 8, 9)


def test_tensor_and_array_are_the_same_picture() -> None:
    pixels = torch.randint(0, 256, (3, 5, 7), dtype=torch.uint8)
    assert torch.equal(read_image(pixels, channels=3), pixels)
    assert torch.equal(read_image(pixels.permute(1, 2, 0).numpy(), channels=3), pixels)
    assert torch.equal(read_image(pixels[0], channels=1), pixels[:1])


def test_profiles_and_gamma_are_not_applied() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8))
    expected = read_image(image)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = srgb.replace(bytes.fromhex("00026666"), bytes.fromhex("00010000"))  # exponent 2.4 to 1
    other = ImageCms.profileToProfile(image, io.BytesIO(profile), io.BytesIO(srgb))
    assert (np.asarray(other) != np.asarray(image)).any()
    info = PngInfo()
    info.add(b"gAMA", (100_000).to_bytes(4))
    for kind, options in (("PNG", {"icc_profile": profile, "pnginfo": info}), ("TIFF", {"icc_profile": profile})):
        file = io.BytesIO()
        image.save(file, kind, **options)
        with Image.open(file) as saved:
            assert saved.info["icc_profile"] == profile
            assert torch.equal(read_image(saved), expected)


def test_the_content_of_a_file_decides_not_its_ending(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    grey(77).save(path, "PNG")
    assert read_image(path, channels=1).unique().tolist() == [77]


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0, 3), (4, 4, 0), (), (3,), (2, 2, 5), (1, 1, 1, 1)])
def test_shapes_that_are_no_picture(shape: tuple[int, ...]) -> None:
    for options in ({}, {"image_size": (4, 4)}, {"image_size": (4, 4), "fit": "pad"}):
        with pytest.raises(ValueError, match=r"Expected pixels as uint8 \[H, W\] or with 1, 3 or 4 channels"):
            read_image(np.zeros(shape, np.uint8), **options)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (torch.rand(1, 28, 28), r"got float32 \[1, 28, 28\] \(channels first\)\..* such as x\[None\] or torch.stack"),
        (np.zeros((1, 28, 28), np.float32), r"got float32 \[1, 28, 28\] \(channels last\)\..*such as torch.from_numpy"),
        (np.zeros((1, 28, 28), np.uint8), r"got uint8 \[1, 28, 28\] \(channels last\)\. Give one picture, with its"),
    ],
)
def test_a_message_has_the_shape_that_was_given(image: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_image(image)


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "I;16", "I"])
def test_an_empty_pillow_image(mode: str) -> None:
    with pytest.raises(ImageReadError, match=r"Expected the picture to have pixels, found 5 x 0\. Remove it"):
        read_image(Image.new(mode, (5, 0)), image_size=(4, 4))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(3, 3, dtype=torch.uint8, device="meta"),
        torch.zeros(3, 3, dtype=torch.uint8).to_sparse(),
        torch.zeros(3, 3).to(torch.float8_e4m3fn),
    ],
)
def test_tensors_without_numbers_that_numpy_holds(tensor: torch.Tensor) -> None:
    with pytest.raises(TypeError, match="Expected pixels as a dense uint8 tensor, got one that NumPy cannot hold"):
        read_image(tensor)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "complex64", "object", "S3", "M8[s]"])
def test_arrays_of_other_types(dtype: str) -> None:
    with pytest.raises(ValueError, match=r"Expected pixels as uint8 .* Convert|Expected pixels as uint8 .*to uint8\."):
        read_image(np.zeros((3, 3), dtype))


def test_bad_arguments() -> None:
    for size in ((0, 4), (4,), 4, (4, -1)):
        with pytest.raises(ValueError, match=r"Expected image_size as \(height, width\) in pixels, got "):
            read_image(np.zeros((4, 4), np.uint8), image_size=size)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Expected an image as a path, PIL image.*got int"):
        read_image(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"got float64 \[4, 4\]"):
        read_image(np.zeros((4, 4)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Expected channels to be 1 \(grey\) or 3 \(colour\), got 4"):
        read_image(grey(), channels=4)
    with pytest.raises(ValueError, match=r"got float32 \[1, 1, 2\]|got float32 \[1, 2\]"):
        read_image(torch.zeros(1, 1, 2, dtype=torch.bfloat16))


def test_a_header_is_read_without_the_pixels(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    cut = (tmp_path / "a.png").read_bytes()[:-30]  # its pixels cannot be decoded
    for picture in (tmp_path / "a.png", PictureFile(cut, "cut.png")):
        with undecoded(picture) as (image, file):
            assert (image.format, image.size) == ("PNG", (30, 20))
        assert file.closed
    found = r"Expected cut\.png to be a readable image, but decoding failed: no tag\."
    with pytest.raises(ImageReadError, match=found), undecoded(PictureFile(cut, "cut.png")):
        raise ValueError("no tag")


def test_the_size_that_is_stored(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    assert stored_size(tmp_path / "a.png") == (20, 30)
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(ImageReadError, match=r"Expected .*b\.png to be an image"):
        stored_size(tmp_path / "b.png")
