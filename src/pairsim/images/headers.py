"""Judge by the header of a picture file how much work and memory decoding it takes, before it is decoded."""

from __future__ import annotations

import struct
from typing import IO, TYPE_CHECKING, Any

from pairsim.errors import ImageReadError
from pairsim.images import samples
from pairsim.images.limits import advice

if TYPE_CHECKING:
    from PIL.Image import Image

_SCANS = 32
"""Passes over all pixels of a progressive JPEG of the largest size; common encoders need up to 14."""
_ICONS = (b"\0\0\1\0", b"\0\0\2\0", b"icns")
_PNG_START = b"\x89PNG\r\n\x1a\n"
_J2K_START = b"\xff\x4f\xff\x51"
_TILE_WIDTH, _TILE_LENGTH = 322, 323  # tags of TIFF


def check_header(image: Image, name: str, max_pixels: int) -> None:
    """Check the size of a picture that is not decoded yet.

    A pixel of 16-bit colour counts as two, as it takes twice the memory. The tiles of a TIFF, which may be larger than
    the picture, are checked too, and the passes of a progressive JPEG are limited. Only the first frame of an animation
    is decoded, so that the number of frames does not matter.

    Args:
        image: The picture.
        name: For messages.
        max_pixels: Pixels that it may have.

    Raises:
        ImageReadError: If it has none, or too many.
    """
    width, height = image.size
    if width * height == 0:
        raise ImageReadError(f"Expected {name} to have pixels, found {width} x {height}. Remove it.")
    if samples.is_deep_colour(image):
        _check((width, height), name, max_pixels // 2, " of 16-bit colour, which counts twice")
    _check((width, height), name, max_pixels, "")
    tags: Any = getattr(image, "tag_v2", {})
    sides = [tags.get(tag, 0) for tag in (_TILE_WIDTH, _TILE_LENGTH)]
    if all(isinstance(side, int) for side in sides):
        _check((sides[0], sides[1]), name, max_pixels, " in a tile")
    if image.format == "JPEG" and image.info.get("progressive"):
        scans = samples.content_of(image).count(b"\xff\xda")
        if scans * width * height > _SCANS * max_pixels:
            raise ImageReadError(
                f"Expected {name} to be decoded in at most {_SCANS} passes over {max_pixels:,} pixels, found {scans:,} "
                f"passes over {width} x {height}. Save it again as PNG or as a JPEG that is not progressive."
            )


def check_icon(file: IO[bytes], name: str, max_pixels: int) -> None:
    """Check the sizes of the pictures in an icon, which Pillow decodes when it opens the file; others are not read.

    Args:
        file: At its beginning, where it is left.
        name: For messages.
        max_pixels: Pixels that each picture may have.

    Raises:
        ImageReadError: If one has more.
    """
    content = file.read(4)
    if content in _ICONS:
        content += file.read()
        for start, offset in ((_PNG_START, 16), (_J2K_START, 8)):
            at = content.find(start)
            while at >= 0:
                if len(content) >= at + offset + 8:
                    _check(struct.unpack_from(">II", content, at + offset), name, max_pixels, " in an icon")
                at = content.find(start, at + 1)
    file.seek(0)


def _check(size: tuple[int, ...], name: str, max_pixels: int, what: str) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageReadError(
            f"Expected {name} to have at most {max_pixels:,} pixels, found {width} x {height}{what}. "
            f"{advice(max_pixels)}"
        )
