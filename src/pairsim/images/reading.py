"""Read a picture (file, PIL image, array, tensor) as a uint8 tensor `[C, H, W]`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from pairsim._common.storage import open_file
from pairsim.errors import ImageReadError

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL.Image import Image

    PictureLike: TypeAlias = str | os.PathLike[str] | Image | npt.NDArray[np.uint8] | Tensor
else:
    PictureLike: TypeAlias = object

Fit: TypeAlias = Literal["stretch", "crop", "pad"]
Interpolation: TypeAlias = Literal["bilinear", "bicubic"]

MAX_PIXELS = 178_956_970
"""Pictures with more pixels are rejected before they are decoded (Pillow warns of a bomb from here on)."""

_SIXTEEN_BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_LARGEST = 2**16 - 1
_ORIENTATION = 0x0112
_UPRIGHT = 1


def read_image(
    image: PictureLike,
    *,
    channels: int = 3,
    image_size: tuple[int, int] | None = None,
    fit: Fit = "stretch",
    interpolation: Interpolation = "bilinear",
    max_pixels: int = MAX_PIXELS,
) -> Tensor:
    """Read one picture as uint8 pixels.

    EXIF rotation is applied, transparent pixels are blended with white, 16-bit pictures keep their high byte, and only
    the first frame of an animation is read. A picture of another size is resized by Pillow, with antialiasing.

    Args:
        image: Path, PIL image, uint8 array `[H, W]` or `[H, W, C]`, or uint8 tensor `[H, W]` or `[C, H, W]`.
        channels: 1 for grey (luma of a colour picture), 3 for colour (a grey picture has three equal ones).
        image_size: Height and width of the result; `None` keeps the picture's own.
        fit: How a picture of another shape gets `image_size`. `"stretch"` resizes both sides and may change the
            proportions; `"crop"` keeps the largest centred part that has the right proportions; `"pad"` keeps the
            whole picture, centred on white. Transparent pictures are blended with the same white, so that a cut-out
            does not get an edge.
        interpolation: `"bilinear"` or `"bicubic"`.
        max_pixels: Files and PIL images with more pixels are rejected before they are decoded. Pillow's own limit,
            twice `PIL.Image.MAX_IMAGE_PIXELS`, applies too.

    Returns:
        uint8 tensor `[channels, H, W]`.

    Raises:
        ImageReadError: If a file is missing, is not an image, is damaged, has more than `max_pixels` pixels, or has a
            mode that cannot be converted, such as floating point, which has no defined white; the message names it.
        TypeError: If `image` is none of the above.
        ValueError: If `channels` is neither 1 nor 3, there is no such `fit` or `interpolation`, or an array or tensor
            is not uint8 or has another shape.

    Example:
        >>> read_image(np.zeros((5, 4), np.uint8), channels=1, image_size=(28, 28)).shape
        torch.Size([1, 28, 28])
    """
    if channels not in (1, 3):
        raise ValueError(f"Expected channels to be 1 (grey) or 3 (colour), got {channels}.")
    check_resizing(fit, interpolation)
    opened, name = _open(image, max_pixels)
    try:
        picture = _in_channels(opened, channels)
    except ValueError as error:
        raise ImageReadError(
            f"Expected {name} in grey or colour, found mode {opened.mode}: {str(error).rstrip('.')}. "
            "Convert it to 8-bit RGB."
        ) from error
    if image_size is not None and (picture.height, picture.width) != tuple(image_size):
        picture = _resized(picture, (image_size[1], image_size[0]), fit, interpolation)
    pixels = torch.from_numpy(np.array(picture, dtype=np.uint8))
    return pixels[None] if channels == 1 else pixels.permute(2, 0, 1).contiguous()


def check_resizing(fit: str, interpolation: str) -> None:
    """Check the options for resizing.

    Raises:
        ValueError: If there is no such option; the message names those that there are.
    """
    for name, value, known in (("fit", fit, Fit), ("interpolation", interpolation, Interpolation)):
        if value not in get_args(known):
            raise ValueError(f"Expected {name} to be one of {', '.join(get_args(known))}, got {value!r}.")


def _open(image: PictureLike, max_pixels: int) -> tuple[Image, str]:
    """Decode a picture as Pillow holds it, and return it with its name for messages."""
    from PIL import Image

    if isinstance(image, str | os.PathLike):
        name = os.fspath(image)
        # Not opened by its name: Pillow 12.3 maps uncompressed files that it opens by name, and swaps the sides of
        # those grey TIFFs that are rotated by 90 degrees.
        with _named_errors(name, max_pixels), open_file(name) as file, Image.open(file) as picture:
            return _decoded(picture, name, max_pixels), name
    if isinstance(image, Image.Image):
        name = getattr(image, "filename", "") or "the picture"
        with _named_errors(name, max_pixels):  # Pillow decodes a file when its pixels are accessed
            return _decoded(image, name, max_pixels), name
    return Image.fromarray(np.ascontiguousarray(_as_array(image))), "the picture"


@contextlib.contextmanager
def _named_errors(name: str, max_pixels: int) -> Iterator[None]:
    """Raise `ImageReadError` for any error in reading a file; damaged files make decoders raise all kinds."""
    try:
        yield
    except (ImageReadError, MemoryError):
        raise
    except Exception as error:
        raise ImageReadError(_explanation(error, name, max_pixels)) from error


def _explanation(error: Exception, name: str, max_pixels: int) -> str:
    from PIL import Image, UnidentifiedImageError

    text = str(error).rstrip(".")
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return f"Expected an image file at {name}, found none. Check the path."
        case IsADirectoryError():
            return (
                f"Expected an image file at {name}, found a folder. Give the pictures in it: "
                "pairsim.images.pictures_below lists them."
            )
        case PermissionError():
            return f"Expected to be allowed to read {name}, but permission was denied. Change its permissions."
        case UnidentifiedImageError() if os.path.isfile(name) and os.path.getsize(name) == 0:
            return f"Expected {name} to be an image, but it is empty (0 bytes). Replace or remove it."
        case UnidentifiedImageError():
            return (
                f"Expected {name} to be an image, but its content is not of any known image format. "
                "Convert it to PNG or JPEG, or remove it."
            )
        case Image.DecompressionBombError():
            return f"Expected {name} to have at most {max_pixels:,} pixels, found far more ({text}). Resize it first."
    return f"Expected {name} to be a readable image, but decoding failed: {text}. Replace or remove it."


def _decoded(image: Image, name: str, max_pixels: int) -> Image:
    """Load the pixels of a picture and apply its EXIF rotation."""
    if image.width * image.height > max_pixels:
        raise ImageReadError(
            f"Expected {name} to have at most {max_pixels:,} pixels, found {image.width} x {image.height}. "
            "Resize it first."
        )
    image.load()
    # exif_transpose would copy pictures that need no rotation
    if image.getexif().get(_ORIENTATION, _UPRIGHT) != _UPRIGHT:
        from PIL import ImageOps

        image = ImageOps.exif_transpose(image)
    return image


def _as_array(image: PictureLike) -> npt.NDArray[np.uint8]:
    """Return an array or tensor as checked uint8 pixels `[H, W]` or `[H, W, C]`."""
    if isinstance(image, Tensor):
        tensor = image.detach().cpu().movedim(0, -1) if image.ndim == 3 else image.detach().cpu()
        pixels = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()  # NumPy has no bfloat16
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
    return pixels


def _in_channels(image: Image, channels: int) -> Image:
    """Convert a picture to 8-bit grey or colour; transparent pixels are blended with white, as a browser shows them.

    Raises ValueError if a mode cannot be converted, or its values have no defined scale.
    """
    from PIL import Image

    mode = "L" if channels == 1 else "RGB"
    if image.mode == mode and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise ValueError("floating point has no defined white")
    if image.mode in _SIXTEEN_BIT:
        values = np.asarray(image).astype(np.int64)
        if values.size and (values.min() < 0 or values.max() > _LARGEST):  # mode I has 32 bits
            raise ValueError(f"whole numbers from {values.min()} to {values.max()} have no defined white")
        clear = image.info.get("transparency")
        if isinstance(clear, int):
            values = np.where(values == clear, _LARGEST, values)
        image = Image.fromarray((values >> 8).astype(np.uint8))
    elif image.mode == "LAB":
        from PIL import ImageCms

        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
        assert converted is not None, "not in place"
        image = converted
    elif image.mode == "La":  # Pillow converts it to LA only
        image = image.convert("LA")
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert(mode)


def _resized(picture: Image, size: tuple[int, int], fit: Fit, interpolation: Interpolation) -> Image:
    """Resize a picture in grey or colour to a width and height."""
    from PIL import Image, ImageOps

    method = Image.Resampling.BILINEAR if interpolation == "bilinear" else Image.Resampling.BICUBIC
    if fit == "stretch":
        return picture.resize(size, method)
    if fit == "crop":
        return ImageOps.fit(picture, size, method)
    scale = min(size[0] / picture.width, size[1] / picture.height)
    width, height = max(round(picture.width * scale), 1), max(round(picture.height * scale), 1)
    page = Image.new(picture.mode, size, "white")
    page.paste(picture.resize((width, height), method), ((size[0] - width) // 2, (size[1] - height) // 2))
    return page
