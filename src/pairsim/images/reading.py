"""One way from any picture (file, PIL, array, tensor) to a uint8 tensor `[C, H, W]`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor

from pairsim.errors import ImageReadError

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL.Image import Image

    PictureLike: TypeAlias = str | os.PathLike[str] | Image | npt.NDArray[np.uint8] | Tensor
else:
    PictureLike: TypeAlias = object

MAX_PIXELS = 178_956_970
"""Pictures of more pixels are refused before they are decoded (the limit at which Pillow calls it a bomb)."""

_SIXTEEN_BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def _open(path: str | os.PathLike[str]) -> Image:
    from PIL import Image, ImageOps, UnidentifiedImageError

    name = os.fspath(path)
    try:
        with Image.open(name) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageReadError(
                    f"Expected {name} to have at most {MAX_PIXELS:,} pixels, found {image.width} x {image.height}. "
                    "Make it smaller first."
                )
            image.load()
            return ImageOps.exif_transpose(image)
    except ImageReadError:
        raise
    except FileNotFoundError as error:
        raise ImageReadError(f"Expected an image file at {name}, found none. Check the path.") from error
    except UnidentifiedImageError as error:
        raise ImageReadError(
            f"Expected {name} to be an image, but its content is not of any known image format. "
            "Convert it to PNG or JPEG, or remove it."
        ) from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageReadError(
            f"Expected {name} to be a readable image, but decoding failed: {str(error).rstrip('.')}. "
            "Replace or remove it."
        ) from error


def _flatten_alpha(image: Image) -> Image:
    """Lay a transparent picture on white, as a page or a browser shows it."""
    from PIL import Image

    rgba = image.convert("RGBA")
    page = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(page, rgba).convert("RGB")


def _to_mode(image: Image, channels: int) -> Image:
    if image.mode in _SIXTEEN_BIT:
        from PIL import Image

        high_byte = np.asarray(image).astype(np.int64).clip(0, 65535) >> 8
        image = Image.fromarray(high_byte.astype(np.uint8))
    if image.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in image.info:
        image = _flatten_alpha(image)
    return image.convert("L" if channels == 1 else "RGB")


def _as_pil(image: PictureLike) -> Image:
    from PIL import Image

    if isinstance(image, Image.Image):
        return image
    if isinstance(image, str | os.PathLike):
        return _open(image)
    if isinstance(image, Tensor):
        array = image.detach().cpu()
        if array.ndim == 3:  # a tensor has its channels first, a picture last
            array = array.permute(1, 2, 0)
        pixels = array.numpy()
    elif isinstance(image, np.ndarray):
        pixels = image
    else:
        raise TypeError(
            "Expected an image as a path, PIL image, uint8 array [H, W] or [H, W, C], or uint8 tensor [C, H, W], "
            f"got {type(image).__name__}."
        )
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        raise ValueError(
            "Expected pixels as uint8 [H, W] or with 1, 3 or 4 channels, "
            f"got {pixels.dtype} {list(pixels.shape)} (channels last). Scale to 0..255 and convert to uint8."
        )
    return Image.fromarray(np.ascontiguousarray(pixels))


def read_image(image: PictureLike, *, channels: int = 3, image_size: tuple[int, int] | None = None) -> Tensor:
    """Read one picture as uint8 pixels.

    EXIF rotation is applied, transparency is laid on white, 16-bit pictures keep their high byte, of an animation
    the first frame is taken. A picture of another size is resized (bilinear, antialiased), not cropped.

    Args:
        image: Path, PIL image, uint8 array `[H, W]` or `[H, W, C]`, or uint8 tensor `[H, W]` or `[C, H, W]`.
        channels: 1 for grey, 3 for colour.
        image_size: Height and width of the result; `None` keeps the picture's own.

    Returns:
        uint8 tensor `[channels, H, W]`.

    Raises:
        ImageReadError: If a file is missing, is not an image, is damaged, has more than `MAX_PIXELS` pixels, or is of
            a mode that cannot be converted; the message names the file.
        TypeError: If `image` is none of the above.
        ValueError: If `channels` is neither 1 nor 3, or an array or tensor is not uint8 or has another shape.

    Example:
        >>> read_image(np.zeros((5, 4), np.uint8), channels=1, image_size=(28, 28)).shape
        torch.Size([1, 28, 28])
    """
    if channels not in (1, 3):
        raise ValueError(f"Expected channels to be 1 (grey) or 3 (colour), got {channels}.")
    opened = _as_pil(image)
    try:
        picture = _to_mode(opened, channels)
    except ValueError as error:
        name = os.fspath(image) if isinstance(image, str | os.PathLike) else "the picture"
        raise ImageReadError(
            f"Expected {name} in grey or colour, found mode {opened.mode}: {error}. Convert it to RGB."
        ) from error
    if image_size is not None and (picture.height, picture.width) != tuple(image_size):
        from PIL import Image

        picture = picture.resize((image_size[1], image_size[0]), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(picture, dtype=np.uint8))
    return pixels[None] if channels == 1 else pixels.permute(2, 0, 1).contiguous()
