"""Samples of more than 8 bits: which value is white, and how they become 8 bits."""

from __future__ import annotations

import contextlib
import io
import math
import sys
import threading
import warnings
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from pairsim.errors import ImageReadError
from pairsim.images.plug_ins import register_plug_ins

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL.Image import Image

_GREY = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
"""The byte order that gives the low byte of a sample where Pillow keeps the high one."""
_LARGEST = 2**16 - 1
_AT_ONCE = 2**20
_UNUSED_BITS = 2**14
"""10-, 12- and 14-bit samples stay below; a 16-bit picture hardly ever does."""
_BITS, _PHOTOMETRIC, _PLANES, _PALETTE, _SAMPLE_FORMAT = 258, 262, 284, 320, 339  # tags of TIFF
_J2K_START, _J2K_PRECISION = b"\xff\x4f\xff\x51", 42


def check_white(white: object) -> None:
    """Check the value of white.

    Raises:
        ValueError: If it is not a whole number of at least 1.
    """
    if white is not None and not (isinstance(white, int | np.integer) and white >= 1):
        raise ValueError(f"Expected white as a whole number of at least 1, such as 4095 for 12 bits, got {white!r}.")


def scaled(values: npt.NDArray[Any], white: int, *, inverted: bool = False) -> npt.NDArray[np.uint8]:
    """Map whole numbers to uint8: 0 and below to 0, `white` and above to 255.

    For 65535 this keeps the high byte, as Pillow does. With `inverted`, `white` is mapped to 0, and 0 to 255. Memory is
    needed for a few rows only, beside the result.
    """
    eight = np.empty(values.shape, np.uint8)
    rows = max(_AT_ONCE // max(math.prod(values.shape[1:]), 1), 1)
    for start in range(0, len(values), rows):
        part = np.clip(values[start : start + rows].astype(np.int64), 0, white)
        eight[start : start + rows] = np.minimum((white - part if inverted else part) * 256 // white, 255)
    return eight


def opened(file: IO[bytes]) -> Image:
    """Open a picture file, also of formats of plug-ins, and grey TIFF of 12 bits in which zero is white.

    The samples of these TIFF files are not inverted yet.
    """
    from PIL import Image as images

    try:
        return images.open(file)
    except OSError:  # Pillow does not know the file
        register_plug_ins()
        file.seek(0)
        with contextlib.suppress(OSError):
            return images.open(file)
        file.seek(0)
        if file.read(2) in (b"II", b"MM"):
            with contextlib.suppress(OSError, SyntaxError):
                return _white_is_zero(file)
        raise


def _white_is_zero(file: IO[bytes]) -> Image:
    from PIL.TiffImagePlugin import TiffImageFile

    class WhiteIsZero(TiffImageFile):
        def _setup(self) -> None:
            given = self.tag_v2.get(_PHOTOMETRIC, 0)
            self.tag_v2[_PHOTOMETRIC] = given or 1
            super()._setup()
            self.tag_v2[_PHOTOMETRIC] = given

    file.seek(0)
    return WhiteIsZero(file)


def opened_anew(image: Image) -> Image:
    """Open the file of a picture that is not decoded yet a second time; the picture does not change."""
    content = content_of(image)
    if not content:
        return image
    other: Any = opened(io.BytesIO(content))
    if image.tell():
        other.seek(image.tell())
    return other  # type: ignore[no-any-return]


def is_plain(image: Image) -> bool:
    """Return whether Pillow gives a picture the right 8 bits; ask before it is decoded."""
    if image.mode in _GREY:
        return False
    match image.format:
        case "PNG":
            return not _rawmode(image).endswith(("L;2", "L;4", ";16B"))
        case "TIFF":
            return image.mode != "P" and max(_tag(image, _BITS, 1)) <= 8 and 2 not in _tag(image, _SAMPLE_FORMAT, 1)
        case "PPM" | "JPEG2000":
            return image.mode not in ("RGB", "RGBA", "LA")
        case _:
            return True


def is_deep_colour(image: Image) -> bool:
    """Return whether a picture is in colour, or grey with alpha, with samples of 16 bits; ask before it is decoded."""
    return image.mode in ("RGB", "RGBA", "LA") and not is_plain(image) and _stated_white(image) is None


def decoded(image: Image, white: int | None, name: str, load: Callable[[Image], Image]) -> Image:
    """Decode a picture that is not plain.

    Args:
        image: The picture; only `load` changes it.
        white: The value of white of samples of more than 8 bits, where the file does not state it; by default 65535.
        name: Of the picture, for messages.
        load: Decodes a picture and turns it upright.

    Raises:
        ImageReadError: If the file does not state which value is white, and `white` is not given.
    """
    if image.mode in _GREY:
        return _from_grey(image, white, name, load)
    if _rawmode(image) in ("L;2", "L;4"):
        return _with_scaled_transparency(image, load)
    if image.mode in ("P", "PA"):
        return _with_palette_of_8_bits(image, load)
    if image.format == "TIFF" and 2 in _tag(image, _SAMPLE_FORMAT, 1):
        raise ImageReadError(f"Expected {name} with unsigned samples, found signed ones. Convert it to 8-bit RGB.")
    return _from_colour(image, white, name, load)


def _from_grey(image: Image, white: int | None, name: str, load: Callable[[Image], Image]) -> Image:
    from PIL import Image as images

    kind, mode, stated = image.format, image.mode, _stated_white(image)
    if kind == "FITS":
        raise ImageReadError(
            f"Expected {name} with samples from black to white, found FITS, whose own scale Pillow does not apply. "
            "Convert it to 8-bit grey."
        )
    inverted = kind == "TIFF" and _tag(image, _PHOTOMETRIC, 0) == (0,)
    unsigned = kind == "TIFF" and 2 not in _tag(image, _SAMPLE_FORMAT, 1)
    tiles: Any = getattr(image, "tile", None)
    if tiles and tiles[0][0] == "libtiff" and _rawmode(image).endswith("BS"):  # libtiff has swapped the bytes already
        codec, extents, offset, (raw, *rest) = tiles[0]
        image.tile = [type(tiles[0])(codec, extents, offset, (raw.replace("BS", "NS"), *rest))]  # type: ignore[attr-defined]
    image = load(image)
    values = np.asarray(image)
    if mode == "I" and unsigned:
        values = values.view(np.uint32)
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    # mode I holds 16 bits in PGM, in PNG with older Pillow, and perhaps where it comes from no file
    if mode == "I" and white is None and (kind not in (None, "PNG", "PPM") or low < 0 or high > _LARGEST):
        raise ImageReadError(
            f"Expected {name} in grey or colour, found mode I: whole numbers from {low} to {high} have no defined "
            f"white. Give it, such as white={max(high, 1)}, or convert the picture to 8-bit RGB."
        )
    clear = image.info.get("transparency")
    hidden = values == clear if isinstance(clear, int) else np.zeros(values.shape, bool)
    if stated is None and white is None:
        _note_unused_bits(int(values[~hidden].max(initial=0)), name, "light" if inverted else "dark")
    level = stated or white or _LARGEST
    eight = scaled(values, level, inverted=inverted)
    return images.fromarray(np.where(hidden, np.uint8(255), eight))


def _from_colour(image: Image, white: int | None, name: str, load: Callable[[Image], Image]) -> Image:
    from PIL import Image as images

    if not is_deep_colour(image):
        return load(image)
    clear, again, split = image.info.get("transparency"), _opened_again(image), _rawmode(image) == "R"
    image = load(image)
    largest = int(np.asarray(image.convert("RGB")).max(initial=0))
    if white is None and clear is None and not split and (largest == 0 or largest >= _UNUSED_BITS >> 8):
        return image
    values = _sixteen_bits(again, load) if again else np.asarray(image) * np.uint16(257)
    hidden = (values == clear).all(axis=-1) if isinstance(clear, tuple) else np.zeros(values.shape[:2], bool)
    if white is None:
        colours = 1 if values.shape[-1] == 2 else 3
        _note_unused_bits(int(values[~hidden][:, :colours].max(initial=0)), name, "dark")
    eight = scaled(values, white or _LARGEST)
    eight[hidden] = 255
    return images.fromarray(eight)


def _with_palette_of_8_bits(image: Image, load: Callable[[Image], Image]) -> Image:
    """Decode a TIFF file with a palette; some programs write its colours with 8 bits in place of 16."""
    colours = _tag(image, _PALETTE, 0)
    image = load(image)
    if max(colours) < 256:
        image = image.copy()
        image.putpalette(np.array(colours, np.uint8).reshape(3, -1).T.tobytes())
    return image


def _with_scaled_transparency(image: Image, load: Callable[[Image], Image]) -> Image:
    """Decode a grey PNG of 2 or 4 bits; Pillow scales its pixels to 8 bits, but not its transparent grey."""
    factor = {"L;2": 85, "L;4": 17}[_rawmode(image)]
    image = load(image)
    if "transparency" in image.info:
        image = image.copy()
        image.info["transparency"] *= factor
    return image


def _stated_white(image: Image) -> int | None:
    """Return the value of white, in what Pillow decodes, if the file states it; ask before the picture is decoded."""
    tile = getattr(image, "tile", None)
    match image.format:
        case "TIFF":
            bits = max(_tag(image, _BITS, 1))
            return 2**bits - 1 if bits < 16 else None
        case "PPM":  # scaled by Pillow, if the largest value is not 65535
            unstated = ("I;16B", ("L", _LARGEST), ("RGB", _LARGEST))
            return None if (tile[0][3] in unstated if tile else image.mode == "I") else _LARGEST
        case "JPEG2000":  # scaled by Pillow, if the precision is not 16 bits
            content = content_of(image)
            start = content.find(_J2K_START)
            precision = content[start + _J2K_PRECISION : start + _J2K_PRECISION + 1]
            return None if start >= 0 and precision and (precision[0] & 0x7F) == 15 else _LARGEST
    return None


def _opened_again(image: Image) -> list[Image]:
    """Open a colour file of 16 bits twice, for the high and the low bytes; `[]` if Pillow only decodes the high ones.

    Grey with alpha is opened once, with the four bytes of a pixel as four channels.
    """
    tiles: Any = getattr(image, "tile", None)
    raw, again = _rawmode(image), []
    if not tiles or tiles[0][0] in ("jpeg2k", "ppm_plain") or raw.startswith("RGBa"):
        return []
    own = raw[-1] if ";16" in raw else "L" if content_of(image).startswith(b"II") else "B"
    for order in (own,) if raw == "LA;16B" else (own, _OTHER_BYTE[own]):
        other: Any = opened_anew(image)
        other.tile = [_retargeted(tile, order) for tile in tiles]
        again.append(other)
    return again


def _retargeted(tile: Any, order: str) -> Any:
    """Return a tile whose decoder takes, of each 16-bit sample, the byte that is high in this byte order."""
    codec, extents, offset, args = tile
    raw, *rest = (args,) if isinstance(args, str) else args
    raw = "RGBA" if raw == "LA;16B" else f"{raw.split(';')[0]};16{order}"
    return (
        type(tile)("raw", extents, offset, raw) if codec == "ppm" else type(tile)(codec, extents, offset, (raw, *rest))
    )


def _sixteen_bits(again: list[Image], load: Callable[[Image], Image]) -> npt.NDArray[np.uint16]:
    """Decode the files that `_opened_again` returned; returns samples `[H, W, channels]`."""
    parts = [np.asarray(load(image)) for image in again]
    high, low = (parts[0][..., ::2], parts[0][..., 1::2]) if len(parts) == 1 else parts
    both: npt.NDArray[np.uint16] = high.astype(np.uint16) << 8 | low
    return both


def _rawmode(image: Image) -> str:
    """Return Pillow's name of the samples in a file that is not decoded yet; "" otherwise."""
    tiles: Any = getattr(image, "tile", None)
    args = tiles[0][3] if tiles else ""
    return args if isinstance(args, str) else str(args[0]) if args else ""


def _tag(image: Image, tag: int, default: int) -> tuple[Any, ...]:
    """Return the values of a tag of a TIFF file."""
    tags: Any = getattr(image, "tag_v2", {})
    values = tags.get(tag, default)
    return values if isinstance(values, tuple) else (values,)


def content_of(image: Image) -> bytes:
    """Return the bytes of the file of a picture that is not decoded yet."""
    file: Any = getattr(image, "fp", None)
    if file is None:
        return b""
    position = file.tell()
    file.seek(0)
    content: bytes = file.read()
    file.seek(position)
    return content


_noting = threading.Lock()
_noted_under: object = None


def _note_unused_bits(largest: int, name: str, shade: str) -> None:
    """Warn, once, if a 16-bit picture may hold samples of fewer bits.

    `warnings.catch_warnings` sets a new list of filters; inside of it, the warning is given again.
    """
    global _noted_under  # noqa: PLW0603
    if not 0 < largest < _UNUSED_BITS or _noted_under is warnings.filters or not _noting.acquire(blocking=False):
        return  # a thread that does not get the lock leaves the warning to the one that has it
    try:
        if _noted_under is not warnings.filters:
            hint = next(2**bits - 1 for bits in (10, 12, 14) if largest < 2**bits)
            warnings.warn(
                f"Expected the 16-bit samples of {name} to be up to {_LARGEST}, found none above {largest}. If its "
                f"white is {hint}, it is read much too {shade}: give white={hint} to read_image or Preprocessing, or "
                f"pairsim train --white {hint}. If it is meant to be so, give white={_LARGEST}. "
                "Other such pictures are not named.",
                UserWarning,
                stacklevel=2,
            )
            _noted_under = warnings.filters
    finally:
        _noting.release()
