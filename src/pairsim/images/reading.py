"""One way from any picture (file, PIL, array, tensor) to a uint8 tensor `[C, H, W]`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

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

Fit: TypeAlias = Literal["stretch", "crop", "pad"]
Interpolation: TypeAlias = Literal["bilinear", "bicubic"]

MAX_PIXELS = 178_956_970
"""Pictures of more pixels are refused before they are decoded (the limit at which Pillow calls it a bomb)."""

_SIXTEEN_BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_LARGEST = 2**16 - 1
_ORIENTATION = 0x0112
_UPRIGHT = 1
_WHITE = 255


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

    EXIF rotation is applied, transparency is laid on white, 16-bit pictures keep their high byte, of an animation
    the first frame is taken. A picture of another size is resized with antialiasing, as Pillow does.

    Args:
        image: Path, PIL image, uint8 array `[H, W]` or `[H, W, C]`, or uint8 tensor `[H, W]` or `[C, H, W]`.
        channels: 1 for grey (luma of a colour picture), 3 for colour (a grey picture has three equal ones).
        image_size: Height and width of the result; `None` keeps the picture's own.
        fit: How a picture of another shape gets `image_size`. `"stretch"` resizes both sides, whatever becomes of the
            proportions; `"crop"` keeps the largest part in the middle that has the right proportions; `"pad"` keeps
            the whole picture, in the middle of white, which is also what transparent pictures are laid on, so that a
            cut-out does not get an edge.
        interpolation: `"bilinear"` or `"bicubic"`.
        max_pixels: Files and PIL images of more pixels are refused before they are decoded. Pillow's own limit, twice
            `PIL.Image.MAX_IMAGE_PIXELS`, holds besides.

    Returns:
        uint8 tensor `[channels, H, W]`.

    Raises:
        ImageReadError: If a file is missing, is not an image, is damaged, has more than `max_pixels` pixels, or is of
            a mode that cannot be converted, such as floating point, which has no defined white; the message names it.
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
    opened, name = _as_pil(image, max_pixels)
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
    """Refuse options that there are not.

    Raises:
        ValueError: Naming those that there are.
    """
    for name, value, known in (("fit", fit, Fit), ("interpolation", interpolation, Interpolation)):
        if value not in get_args(known):
            raise ValueError(f"Expected {name} to be one of {', '.join(get_args(known))}, got {value!r}.")


def _open(name: str, max_pixels: int) -> Image:
    from PIL import Image, UnidentifiedImageError

    try:
        # Not by its name: Pillow 12.3 maps uncompressed files that it knows by name, and mixes up the sides of those
        # TIFFs in grey that are turned by a quarter.
        with open(name, "rb") as file, Image.open(file) as image:
            return _decoded(image, name, max_pixels)
    except (ImageReadError, MemoryError):
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageReadError(f"Expected an image file at {name}, found none. Check the path.") from error
    except IsADirectoryError as error:
        raise ImageReadError(
            f"Expected an image file at {name}, found a folder. Give the pictures in it: "
            "pairsim.images.pictures_below lists them."
        ) from error
    except PermissionError as error:
        raise ImageReadError(
            f"Expected to be allowed to read {name}, but permission was denied. Change its permissions."
        ) from error
    except UnidentifiedImageError as error:
        if os.path.getsize(name) == 0:
            raise ImageReadError(
                f"Expected {name} to be an image, but it is empty (0 bytes). Replace or remove it."
            ) from error
        raise ImageReadError(
            f"Expected {name} to be an image, but its content is not of any known image format. "
            "Convert it to PNG or JPEG, or remove it."
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageReadError(
            f"Expected {name} to have at most {max_pixels:,} pixels, found far more ({str(error).rstrip('.')}). "
            "Make it smaller first."
        ) from error
    except Exception as error:  # damaged files make decoders raise anything, an IndexError among them
        raise ImageReadError(
            f"Expected {name} to be a readable image, but decoding failed: {str(error).rstrip('.')}. "
            "Replace or remove it."
        ) from error


def _decoded(image: Image, name: str, max_pixels: int) -> Image:
    """A picture with its pixels, the right way up."""
    if image.width * image.height > max_pixels:
        raise ImageReadError(
            f"Expected {name} to have at most {max_pixels:,} pixels, found {image.width} x {image.height}. "
            "Make it smaller first."
        )
    image.load()
    # exif_transpose would copy pictures that are upright
    if image.getexif().get(_ORIENTATION, _UPRIGHT) != _UPRIGHT:
        from PIL import ImageOps

        image = ImageOps.exif_transpose(image)
    return image


def _as_pil(image: PictureLike, max_pixels: int) -> tuple[Image, str]:
    """A picture as Pillow holds it, and what to call it in a message."""
    from PIL import Image

    if isinstance(image, str | os.PathLike):
        name = os.fspath(image)
        return _open(name, max_pixels), name
    if isinstance(image, Image.Image):
        name = getattr(image, "filename", "") or "the picture"
        try:
            return _decoded(image, name, max_pixels), name
        except (ImageReadError, MemoryError):
            raise
        except Exception as error:  # as above: Pillow decodes a file only when its pixels are asked for
            raise ImageReadError(
                f"Expected {name} to be a readable image, but decoding failed: {str(error).rstrip('.')}. "
                "Replace or remove it."
            ) from error
    if isinstance(image, Tensor):
        array = image.detach().cpu()
        if array.ndim == 3:  # a tensor has its channels first, a picture last
            array = array.permute(1, 2, 0)
        if array.dtype == torch.bfloat16:  # which NumPy lacks; it is refused below
            array = array.float()
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
    return Image.fromarray(np.ascontiguousarray(pixels)), "the picture"


def _in_channels(image: Image, channels: int) -> Image:
    """A picture in 8-bit grey or colour, with what is transparent laid on white, as a page or a browser shows it.

    Raises ValueError where a mode cannot be converted, or its values have no defined scale.
    """
    mode = "L" if channels == 1 else "RGB"
    if image.mode == mode and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise ValueError("floating point has no defined white")
    if image.mode in _SIXTEEN_BIT:
        image = _high_byte(image)
    elif image.mode == "LAB":
        image = _from_lab(image)
    elif image.mode == "La":  # which Pillow converts to LA only
        image = image.convert("LA")
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = _on_white(image)
    return image.convert(mode)


def _high_byte(image: Image) -> Image:
    from PIL import Image

    values = np.asarray(image).astype(np.int64)
    if values.size and (values.min() < 0 or values.max() > _LARGEST):  # of mode I, which has 32 bits
        raise ValueError(f"whole numbers from {values.min()} to {values.max()} have no defined white")
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        values = np.where(values == clear, _LARGEST, values)
    return Image.fromarray((values >> 8).astype(np.uint8))


def _from_lab(image: Image) -> Image:
    from PIL import ImageCms

    lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
    assert converted is not None, "not in place"
    return converted


def _on_white(image: Image) -> Image:
    from PIL import Image

    rgba = image.convert("RGBA")
    page = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(page, rgba).convert("RGB")


def _resized(picture: Image, size: tuple[int, int], fit: Fit, interpolation: Interpolation) -> Image:
    """A picture in grey or colour brought to a width and height."""
    from PIL import Image, ImageOps

    method = Image.Resampling.BILINEAR if interpolation == "bilinear" else Image.Resampling.BICUBIC
    if fit == "stretch":
        return picture.resize(size, method)
    if fit == "crop":
        return ImageOps.fit(picture, size, method)
    scale = min(size[0] / picture.width, size[1] / picture.height)
    width, height = max(round(picture.width * scale), 1), max(round(picture.height * scale), 1)
    page = Image.new(picture.mode, size, _WHITE if picture.mode == "L" else (_WHITE, _WHITE, _WHITE))
    page.paste(picture.resize((width, height), method), ((size[0] - width) // 2, (size[1] - height) // 2))
    return page
