"""Read a picture (file, PIL image, array, tensor) as a uint8 tensor `[C, H, W]`."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from pairsim._common.choices import Fit
from pairsim._common.numbers import whole_number
from pairsim._common.storage import open_file
from pairsim.errors import DataError, ImageReadError
from pairsim.images import samples
from pairsim.images.headers import check_header, check_icon
from pairsim.images.limits import advice, pixel_limit
from pairsim.images.picture_file import PictureFile
from pairsim.images.samples import check_white

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL.Image import Image

    PictureLike: TypeAlias = str | os.PathLike[str] | PictureFile | Image | npt.NDArray[np.integer[Any]] | Tensor
else:
    PictureLike: TypeAlias = object

Interpolation: TypeAlias = Literal["bilinear", "bicubic"]
_FITS, _INTERPOLATIONS = get_args(Fit), get_args(Interpolation)

# what Pillow logs of a bad file is in the message of the error; without a handler it would be printed too
logging.getLogger("PIL").addHandler(logging.NullHandler())

_PILLOW_WARNINGS = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
"""A filter as in `warnings.filters`."""
_ORIENTATION = 0x0112
_TRIES_THE_NEXT = (SyntaxError, IndexError, TypeError, struct.error)
"""Errors of a format after which Pillow tries the next one."""
_UPRIGHT = 1


def read_image(
    image: PictureLike,
    *,
    channels: int = 3,
    image_size: tuple[int, int] | None = None,
    fit: Fit = "stretch",
    interpolation: Interpolation = "bilinear",
    max_pixels: int | None = None,
    white: int | None = None,
) -> Tensor:
    """Read one picture as uint8 pixels.

    EXIF rotation is applied, transparent pixels are blended with white, samples of more than 8 bits keep their 8
    highest, and only the first frame of an animation is read. A picture of another size is resized by Pillow, with
    antialiasing. The first 16-bit picture whose samples seem to have fewer bits gives a `UserWarning`.

    Args:
        image: Path, `PictureFile`, PIL image, uint8 array `[H, W]` or `[H, W, C]`, or uint8 tensor `[H, W]` or
            `[C, H, W]`; with `white`, also arrays and tensors of other whole numbers.
        channels: 1 for grey (luma of a colour picture), 3 for colour (a grey picture has three equal ones).
        image_size: Height and width of the result; `None` keeps the picture's own.
        fit: How a picture of another shape gets `image_size`. `"stretch"` resizes both sides and may change the
            proportions; `"crop"` keeps the largest centred part that has the right proportions; `"pad"` keeps the
            whole picture, centred on white. Transparent pictures are blended with the same white, so that a cut-out
            does not get an edge.
        interpolation: `"bilinear"` or `"bicubic"`.
        max_pixels: Files and PIL images with more pixels are rejected before they are decoded; a pixel of 16-bit
            colour counts as two. By default the number in the environment variable `PAIRSIM_MAX_PIXELS`, else
            67,108,864. Pillow's own limit, twice `PIL.Image.MAX_IMAGE_PIXELS`, applies too.
        white: The value from which samples are white, such as 4095 for 12-bit samples in 16-bit files; `None` is the
            largest of the file's type, 65535. Samples of 8 bits, and files that state their white (12-bit TIFF, PGM,
            PPM and JPEG 2000), are read without it.

    Returns:
        uint8 tensor `[channels, H, W]`.

    Raises:
        ImageReadError: If a file is missing, is not an image, is damaged, has more than `max_pixels` pixels, or has a
            mode that cannot be converted, such as floating point, which has no defined white; the message names it.
        DataError: If `channels` is neither 1 nor 3, as of a model of embeddings.
        TypeError: If `image` is none of the above.
        ValueError: If there is no such `fit` or `interpolation`, `white` is less than 1, `image_size` is not positive,
            or an array or tensor is not uint8, is empty or has another shape.

    Example:
        >>> read_image(np.zeros((5, 4), np.uint8), channels=1, image_size=(28, 28)).shape
        torch.Size([1, 28, 28])
    """
    check_resizing(fit, interpolation)
    if image_size is not None:
        check_image_size(image_size)
    picture = decoded_picture(image, channels=channels, max_pixels=max_pixels, white=white)
    return resized_pixels(picture, image_size, fit, interpolation)


def decoded_picture(
    image: PictureLike, *, channels: int, max_pixels: int | None = None, white: int | None = None
) -> Image:
    """Decode one picture of its own size; the first half of `read_image`, whose arguments and errors these are.

    Returns:
        A PIL image of mode "L" (1 channel) or "RGB" (3 channels), upright.
    """
    if channels not in (1, 3):
        raise DataError(
            f"Expected channels to be 1 (grey) or 3 (colour), got {channels}. A model of embeddings, which has others, "
            "takes no pictures: give it a file of embeddings to evaluate, calibrate, report or search, or use a model "
            "of pictures."
        )
    check_white(white)
    opened, name = _open(image, pixel_limit() if max_pixels is None else max_pixels, white)
    try:
        return _in_channels(opened, channels)
    except ValueError as error:
        raise ImageReadError(
            f"Expected {name} in grey or colour, found mode {opened.mode}: {_one_line(error)}. Convert it to 8-bit RGB."
        ) from error


def resized_pixels(
    picture: Image, image_size: tuple[int, int] | None, fit: Fit, interpolation: Interpolation
) -> Tensor:
    """Return the pixels of a decoded picture `[C, H, W]`, uint8; the second half of `read_image`."""
    if image_size is not None and (picture.height, picture.width) != tuple(image_size):
        picture = _resized(picture, (image_size[1], image_size[0]), fit, interpolation)
    pixels = torch.from_numpy(np.array(picture, dtype=np.uint8))
    return pixels[None] if picture.mode == "L" else pixels.permute(2, 0, 1).contiguous()


def stored_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return height and width of a picture file as they are stored, before rotation, without decoding it.

    Raises:
        ImageReadError: If it cannot be read; the message names it.
    """
    with undecoded(path) as (picture, _):
        width, height = picture.size
    return height, width


@contextlib.contextmanager
def undecoded(picture: str | os.PathLike[str] | PictureFile) -> Iterator[tuple[Image, BinaryIO]]:
    """Open a picture file to read its header. Its pixels are not decoded, but for those of icons.

    Yields:
        The picture, and its file.

    Raises:
        ImageReadError: If it cannot be read, or what is done with it inside fails; the message names it.
    """
    name = picture.name if isinstance(picture, PictureFile) else os.fspath(picture)
    limit = pixel_limit()
    opens: Callable[[], BinaryIO] = picture.open if isinstance(picture, PictureFile) else partial(open_file, name)
    with _named_errors(name, limit, opens), opens() as file, _opened(file, name, limit) as image:
        yield image, file


def check_image_size(size: object) -> None:
    """Check a height and width.

    Raises:
        ValueError: If these are not two whole numbers of at least 1, or too many pixels for a picture.
    """
    try:
        if not isinstance(size, Sequence) or len(size) != 2:
            raise ValueError
        for side in size:
            whole_number(side, "image_size", 1)
    except (TypeError, ValueError):
        raise ValueError(f"Expected image_size as (height, width) in pixels, got {size}.") from None
    if size[0] * size[1] > pixel_limit():
        raise ValueError(
            f"Expected image_size of at most {pixel_limit():,} pixels, got {size[0]} x {size[1]}. Use a smaller one."
        )


def check_resizing(fit: str, interpolation: str) -> None:
    """Check the options for resizing.

    Raises:
        ValueError: If there is no such option; the message names those that there are.
    """
    for name, value, known in (("fit", fit, _FITS), ("interpolation", interpolation, _INTERPOLATIONS)):
        if value not in known:
            raise ValueError(f"Expected {name} to be one of {', '.join(known)}, got {value!r}.")


def _opened(file: BinaryIO, name: str, max_pixels: int) -> Image:
    check_icon(file, name, max_pixels)
    return samples.opened(file)


def _open(image: PictureLike, max_pixels: int, white: int | None) -> tuple[Image, str]:
    """Decode a picture as Pillow holds it, and return it with its name for messages."""
    from PIL import Image

    if isinstance(image, str | os.PathLike | PictureFile):
        name = image.name if isinstance(image, PictureFile) else os.fspath(image)
        opens: Callable[[], BinaryIO] = image.open if isinstance(image, PictureFile) else partial(open_file, name)
        # Not opened by its name: Pillow 12.3 maps uncompressed files that it opens by name, and swaps the sides of
        # those grey TIFFs that are rotated by 90 degrees.
        with _named_errors(name, max_pixels, opens), opens() as file, _opened(file, name, max_pixels) as picture:
            return _decoded(picture, name, max_pixels, white), name
    if isinstance(image, Image.Image):
        name = getattr(image, "filename", "") or "the picture"
        # Pillow decodes a file when its pixels are accessed
        with _named_errors(name, max_pixels, partial(open_file, name)):
            image = image if samples.is_plain(image) else samples.opened_anew(image)
            return _decoded(image, name, max_pixels, white), name
    return Image.fromarray(np.ascontiguousarray(_as_array(image, white))), "the picture"


@contextlib.contextmanager
def _named_errors(name: str, max_pixels: int, opens: Callable[[], BinaryIO]) -> Iterator[None]:
    """Raise `ImageReadError` for any error in reading a file; damaged files make decoders raise all kinds.

    Warnings of Pillow are dropped: they are about metadata, or a size that `max_pixels` allows.
    """
    # Threads read at the same time, and `warnings.catch_warnings` would restore what another thread has set.
    filters: Any = warnings.filters
    filters.insert(0, _PILLOW_WARNINGS)
    try:
        yield
    except (ImageReadError, MemoryError, Warning):  # warnings are errors if the caller has set this
        raise
    except Exception as error:
        raise ImageReadError(_explanation(error, name, max_pixels, opens)) from error
    finally:
        if _PILLOW_WARNINGS in filters:  # the list was not cleared meanwhile
            filters.remove(_PILLOW_WARNINGS)


def _explanation(error: Exception, name: str, max_pixels: int, opens: Callable[[], BinaryIO]) -> str:
    from PIL import Image, UnidentifiedImageError

    text = _one_line(error)
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
        case UnidentifiedImageError() if _is_empty(opens):
            return f"Expected {name} to be an image, but it is empty (0 bytes). Replace or remove it."
        case UnidentifiedImageError():
            why = _why_unidentified(opens) or "its content is not of any known image format"
            return f"Expected {name} to be an image, but {why}. Convert it to PNG or JPEG, or remove it."
        case Image.DecompressionBombError():
            found = f"found far more ({text}). {advice(max_pixels)}"
            return f"Expected {name} to have at most {max_pixels:,} pixels, {found}"
    return f"Expected {name} to be a readable image, but decoding failed: {text}. Replace or remove it."


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _is_empty(opens: Callable[[], BinaryIO]) -> bool:
    with contextlib.suppress(OSError), opens() as file:
        return not file.read(1)
    return False


def _why_unidentified(opens: Callable[[], BinaryIO]) -> str | None:
    """Return what Pillow does not support in a file whose format it knows, as a clause."""
    from PIL import Image

    with contextlib.suppress(OSError), opens() as file:
        start = file.read(16)
        for kind in Image.ID:
            factory, accepts = Image.OPEN[kind]
            if not _has_start(accepts, start):
                continue
            try:
                file.seek(0)
                factory(file, "")
            except _TRIES_THE_NEXT as error:
                return f"Pillow does not read {kind} files of this kind: {_one_line(error)}"
    return None


def _has_start(accepts: Any, start: bytes) -> bool:
    with contextlib.suppress(*_TRIES_THE_NEXT):  # of a file that is too short
        return accepts is not None and accepts(start) is True
    return False


def _decoded(image: Image, name: str, max_pixels: int, white: int | None) -> Image:
    """Decode a picture, if it is not too large, and apply its EXIF rotation."""
    check_header(image, name, max_pixels)
    if image.format == "EPS" and getattr(image, "tile", None):  # Ghostscript would run it, with no limit of time
        raise ImageReadError(f"Expected {name} to hold pixels, found a PostScript program. Convert it to PNG.")
    return _upright(image) if samples.is_plain(image) else samples.decoded(image, white, name, _upright)


def _upright(image: Image) -> Image:
    """Load the pixels of a picture and apply its EXIF rotation."""
    image.load()
    # exif_transpose would copy pictures that need no rotation
    if image.getexif().get(_ORIENTATION, _UPRIGHT) != _UPRIGHT:
        from PIL import ImageOps

        image = ImageOps.exif_transpose(image)
    return image


def _as_array(image: PictureLike, white: int | None) -> npt.NDArray[np.uint8]:
    """Return an array or tensor as checked uint8 pixels `[H, W]` or `[H, W, C]`."""
    if isinstance(image, Tensor):
        tensor = image.detach().movedim(0, -1) if image.ndim == 3 else image.detach()
        tensor = tensor.float() if tensor.dtype == torch.bfloat16 else tensor  # NumPy has no bfloat16
        try:
            pixels = tensor.cpu().numpy()
        except (TypeError, NotImplementedError) as error:
            what = "one that NumPy cannot hold"
            raise TypeError(f"Expected pixels as a dense uint8 tensor, got {what}: {error}") from error
    elif isinstance(image, np.ndarray):
        pixels = image
    else:
        raise TypeError(
            "Expected an image as a path, PIL image, uint8 array [H, W] or [H, W, C], or uint8 tensor [C, H, W], "
            f"got {type(image).__name__}."
        )
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    is_whole = pixels.dtype.kind in "iu" and pixels.dtype not in (np.uint8, np.uint64)
    if is_whole and white is not None:
        pixels = samples.scaled(pixels, white)
    fits = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if pixels.dtype != np.uint8 or not fits or pixels.size == 0:
        scale = "Scale to 0..255 and convert to uint8."
        advice = f"Give the value of white, such as white=4095, or {scale.lower()}" if is_whole else scale
        is_tensor = isinstance(image, Tensor)
        if pixels.dtype.kind == "f":
            joined = "x[None] or torch.stack(images)" if is_tensor else "torch.from_numpy(x)"
            advice = f"{scale} Preprocessed images go in one tensor [N, C, H, W], such as {joined}."
        elif pixels.dtype == np.uint8 or not fits:
            advice = "Give one picture, with its channels last in an array and first in a tensor."
        raise ValueError(
            f"Expected pixels as uint8 [H, W] or with 1, 3 or 4 channels, got {pixels.dtype} {list(image.shape)} "
            f"(channels {'first' if is_tensor else 'last'}). {advice}"
        )
    return pixels


def _in_channels(image: Image, channels: int) -> Image:
    """Convert a picture to 8-bit grey or colour; transparent pixels are blended with white, as a browser shows them.

    Raises ValueError if a mode cannot be converted, or its values have no defined scale.
    """
    mode = "L" if channels == 1 else "RGB"
    if image.mode == mode and "transparency" not in image.info:
        return image
    from PIL import Image

    if image.mode == "F":
        raise ValueError("floating point has no defined white")
    if image.mode == "LAB":
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
