"""What decides which of several copies to keep: size, compression and metadata of a file."""

from __future__ import annotations

import functools
import os
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from pairsim.audits.picture_matching import Size
from pairsim.images import PictureFile, PictureLike, samples
from pairsim.images.reading import undecoded

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImagePalette import ImagePalette

KeepOrder: TypeAlias = tuple[int, bool, int, int, int, bool, int, str, str]

_LOSSLESS = frozenset({"PNG", "BMP", "DIB", "PPM", "TGA", "PCX", "SGI", "QOI"})
_LOSSY = frozenset({"JPEG", "MPO", "HEIF", "AVIF"})
_LOSSY_TIFF = frozenset({"jpeg", "tiff_jpeg", "webp", "tiff_sgilog", "tiff_sgilog24"})
_BITS = {"1": 1, "L": 8, "P": 8, "LA": 16, "PA": 16, "I;16": 16, "I;16L": 16, "I;16B": 16, "I;16N": 16, "I": 16}
_BITS |= {"RGB": 24, "YCbCr": 24, "LAB": 24, "HSV": 24, "RGBX": 32, "RGBA": 32, "CMYK": 32, "F": 32}
_LUMA = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29),
    *(51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121),
    *(120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
"""The quantization of luminance in ITU-T T.81, table K.1, which libjpeg scales by the quality."""
_EXIF, _GPS, _TAKEN = 0x8769, 0x8825, 0x9003
_DESCRIPTIVE = frozenset({270, 271, 272, 305, 306, 315, 33432})
"""Tags of TIFF that do not say how its pixels are stored: description, camera, software, date, artist, copyright."""
_DATE = re.compile(r"[1-9]\d{3}:\d\d:\d\d \d\d:\d\d:\d\d", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """Facts on a picture's file.

    Attributes:
        width: Pixels, after the EXIF orientation.
        height: Pixels, after the EXIF orientation.
        num_bytes: Size of the file; `None` for a picture that is not a file, as all that follows.
        format: Pillow's name of the format, such as "JPEG".
        lossless: Whether the file holds its pixels without loss; a palette of colours is a loss in GIF. `None` where
            the header does not say.
        quality: JPEG quality in 1 to 100, estimated from the quantization tables; `None` for other formats.
        bits: Bits of a pixel before compression: 24 for colour of 8 bits, 8 for grey.
        taken: EXIF's original date, such as "2024:05:01 10:00:00".
        num_tags: Number of EXIF entries.
        frames: Pictures of the file: those of an animation, or pages. Previews of a JPEG do not count.
    """

    width: int
    height: int
    num_bytes: int | None = None
    format: str | None = None
    lossless: bool | None = None
    quality: int | None = None
    bits: int | None = None
    taken: str | None = None
    num_tags: int = 0
    frames: int = 1

    @property
    def num_pixels(self) -> int:
        """Width times height."""
        return self.width * self.height


def file_facts(picture: PictureLike, size: Size) -> FileFacts:
    """Read from the header of a picture's file what decides whether it is kept. Pixels are not decoded.

    Metadata that is damaged counts as none, as the picture can be read without it.

    Args:
        picture: A picture that `read_image` can read.
        size: Its height and width, as it is read.

    Returns:
        The facts; only the size for a picture that is not a file.

    Raises:
        ImageReadError: If the file can no longer be read; the message names it.
    """
    height, width = size
    if not isinstance(picture, str | os.PathLike | PictureFile):
        return FileFacts(width=width, height=height)
    with undecoded(picture) as (image, file):
        position = file.tell()
        num_bytes = file.seek(0, os.SEEK_END)
        lossless = _lossless(image, file)
        file.seek(position)
        tables: Any = getattr(image, "quantization", None) if image.format in ("JPEG", "MPO") else None
        taken, num_tags = _metadata(image)
        return FileFacts(
            width=width,
            height=height,
            num_bytes=num_bytes,
            format=image.format,
            lossless=lossless,
            quality=jpeg_quality(tables[0]) if tables and 0 in tables else None,
            bits=_BITS[image.mode] * (2 if samples.is_deep_colour(image) else 1) if image.mode in _BITS else None,
            taken=taken,
            num_tags=num_tags,
            frames=1 if tables else max(1, int(getattr(image, "n_frames", 1))),
        )


def jpeg_quality(table: list[int]) -> int:
    """Estimate the quality that a JPEG was saved with.

    libjpeg multiplies its table by 50 / quality below 50, and by 2 - quality / 50 from there. The result is the quality
    at which the sum of the entries comes closest, which is also a measure for tables of other programs.

    Args:
        table: 64 entries of the quantization of luminance, in any order.

    Returns:
        The quality, in 1 to 100.

    Example:
        >>> jpeg_quality([1] * 64)
        100
    """
    total = sum(table)
    sums = _sums()
    return min(range(100, 0, -1), key=lambda quality: abs(sums[quality] - total))


@functools.cache
def _sums() -> dict[int, int]:
    """Return the sum of libjpeg's table for each quality."""
    found = {}
    for quality in range(1, 101):
        percent = 5000 // quality if quality < 50 else 200 - 2 * quality
        found[quality] = sum(min(max((entry * percent + 50) // 100, 1), 255) for entry in _LUMA)
    return found


def _lossless(image: Image, file: BinaryIO) -> bool | None:
    match image.format:
        case "GIF":
            return image.mode != "P" or _is_grey(image.palette)
        case "TIFF":
            return image.info.get("compression") not in _LOSSY_TIFF
        case "WEBP":
            return _lossless_webp(file)
        case kind:
            return True if kind in _LOSSLESS else False if kind in _LOSSY else None


def _is_grey(palette: ImagePalette | None) -> bool:
    colours = b"" if palette is None or palette.mode != "RGB" else bytes(palette.palette)
    return bool(colours) and colours[0::3] == colours[1::3] == colours[2::3]


def _lossless_webp(file: BinaryIO) -> bool | None:
    """Look for the first chunk with pixels; that of an animation is in its first frame."""
    at = 12  # after RIFF, the size and WEBP
    while True:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return None
        kind, size = struct.unpack("<4sI", head)
        if kind in (b"VP8 ", b"VP8L"):
            return bool(kind == b"VP8L")
        at += 8 + (16 if kind == b"ANMF" else size + size % 2)


def _metadata(image: Image) -> tuple[str | None, int]:
    """Return EXIF's original date and the number of EXIF entries."""
    from PIL import Image as images

    try:
        # PNG's own `getexif` would decode the picture to look for what comes after its pixels
        exif = images.Image.getexif(image)
        parts = [exif.get_ifd(part) for part in (_EXIF, _GPS)]
        own = {tag for tag in exif if tag not in (_EXIF, _GPS)}
    except Exception:  # Pillow raises all kinds
        return None, 0
    if image.format == "TIFF":
        own &= _DESCRIPTIVE
    taken = str(parts[0].get(_TAKEN, "")).strip("\0 ")
    return taken if _DATE.fullmatch(taken) else None, len(own) + sum(map(len, parts))


def keep_order(facts: FileFacts, name: str) -> KeepOrder:
    """Return a sort key that puts the copy to keep first.

    It has the most pixels; of those, it is stored without loss; has the highest JPEG quality (other lossy formats come
    after JPEG); the most bits in a pixel; if it is lossy, the largest file; an original date; the most EXIF entries;
    the earliest original date; the first name.

    Args:
        facts: On the file.
        name: Of the picture.

    Example:
        >>> small, large = FileFacts(width=320, height=240), FileFacts(width=640, height=480)
        >>> keep_order(large, "b.png") < keep_order(small, "a.png")
        True
    """
    return (
        -facts.num_pixels,
        not facts.lossless,
        -_quality(facts),
        -(facts.bits or 0),
        -_lossy_bytes(facts),
        facts.taken is None,
        -facts.num_tags,
        facts.taken or "",
        name,
    )


def keep_reason(kept: FileFacts, other: FileFacts) -> str:
    """Say why one picture is kept, by the first fact in which `keep_order` prefers it.

    Args:
        kept: On the file that is kept.
        other: On the file that comes next in `keep_order`.

    Returns:
        The fact with both values.

    Example:
        >>> keep_reason(FileFacts(width=640, height=480), FileFacts(width=320, height=240))
        'most pixels: 640 x 480, others at most 320 x 240'
    """
    if kept.num_pixels != other.num_pixels:
        return f"most pixels: {kept.width} x {kept.height}, others at most {other.width} x {other.height}"
    if bool(kept.lossless) != bool(other.lossless):
        loss = "with loss" if other.lossless is False else "perhaps with loss"
        return f"stored without loss ({_format(kept)}), others {loss} ({_format(other)})"
    if _quality(kept) != _quality(other):
        others = "of another format" if other.quality is None else f"at most {other.quality}"
        return f"JPEG quality {kept.quality}, others {others}"
    if (kept.bits or 0) != (other.bits or 0):
        return f"most bits in a pixel: {kept.bits}, others at most {other.bits or 'unknown'}"
    if _lossy_bytes(kept) != _lossy_bytes(other):
        return f"largest file: {_lossy_bytes(kept):,} bytes, others at most {_lossy_bytes(other):,}"
    if (kept.taken is None) != (other.taken is None):
        return f"has an original date: {kept.taken}, others have none"
    if kept.num_tags != other.num_tags:
        return f"most EXIF entries: {kept.num_tags}, others at most {other.num_tags}"
    if kept.taken != other.taken:
        return f"earliest original date: {kept.taken}, others not before {other.taken}"
    return "first by name: equal in size, compression and metadata"


def _quality(facts: FileFacts) -> int:
    """Return 0 where all is lossless, or nothing is known."""
    return facts.quality or 0


def _lossy_bytes(facts: FileFacts) -> int:
    """Return the size of a lossy file, which tells how much it keeps; that of a lossless one tells nothing."""
    return 0 if facts.lossless or facts.num_bytes is None else facts.num_bytes


def _format(facts: FileFacts) -> str:
    if facts.format is None:
        return "unknown format"
    return facts.format + (f" of quality {facts.quality}" if facts.quality is not None else "")
