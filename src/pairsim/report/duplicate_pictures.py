"""Reduced pictures of duplicates for a page, and how a duplicate differs from the picture that is kept."""

from __future__ import annotations

import base64
import io
import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pairsim.images import read_image

SIDE = 256
"""Longer side of a reduced picture, in pixels."""

GAIN = 4
"""Factor by which a difference image is brighter than the difference."""

_QUALITY = 80
_SAME_SHAPE = 0.03
"""Relative difference of proportions up to which pictures are laid over each other."""
_PARTS = ("cropped", "framed", "border", "padded", "frame added")
"""Words in a kind of change after which two pictures show different parts."""


@dataclass(frozen=True)
class Reduced:
    """A picture, made smaller.

    Attributes:
        pixels: uint8 `[h, w, 3]`, with a longer side of at most `SIDE`.
        width: Of the picture itself, in pixels.
        height: Of the picture itself, in pixels.
    """

    pixels: npt.NDArray[np.uint8]
    width: int
    height: int

    @property
    def uri(self) -> str:
        """The reduced picture as a JPEG in a `data:` URI."""
        return _jpeg_uri(self.pixels)


@dataclass(frozen=True)
class Difference:
    """How a duplicate differs from the picture that is kept.

    Attributes:
        uri: Its image, the differences of pixels times `GAIN`, as a `data:` URI; empty if there is none.
        text: What was compared and what it shows, in words.
    """

    uri: str
    text: str


def reduced(path: str | os.PathLike[str]) -> Reduced:
    """Read a picture and make it smaller. Only one picture of full size is in memory at a time.

    Raises:
        ImageReadError: If it cannot be read; the message names it.
    """
    from PIL import Image

    image = read_image(path)
    height, width = image.shape[1:]
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return Reduced(np.asarray(picture, dtype=np.uint8), width, height)


def difference(kept: Reduced, other: Reduced, kind: str) -> Difference:
    """Compare a duplicate with the picture that is kept.

    It is turned and mirrored as its kind says and resized to the reduced size of the other. Pictures of other
    proportions, and parts of pictures, are not compared.

    Args:
        kept: The picture that is kept.
        other: The duplicate.
        kind: What was changed, as in `Duplicate.kind`.

    Returns:
        The image and its text, or the reason why there is no image.
    """
    if kind in ("identical file", "identical pixels"):
        return Difference("", "No difference: the pixels are the same.")
    if any(word in kind for word in _PARTS):
        return Difference("", "No difference image: the two show different parts.")
    size = kept.pixels.shape[1], kept.pixels.shape[0]
    steps, best = "", None
    for words, turned in _orientations(other.pixels, kind):
        if abs(np.log(turned.shape[1] * size[1] / (turned.shape[0] * size[0]))) > _SAME_SHAPE + 1 / min(size):
            continue
        apart = _apart(kept.pixels, _resized(turned, size))
        if best is None or apart.mean() < best.mean():
            steps, best = words, apart
    if best is None:
        return Difference("", "No difference image: the two have other proportions.")
    how = [steps] if steps else []
    turned_size = (other.height, other.width)
    if (kept.width, kept.height) not in ((other.width, other.height), turned_size if "turned" in steps else None):
        how.append("resized to the same size")
    text = f"Mean difference {best.mean():.1f} of 255, largest {int(best.max())}"
    shown = np.clip(best.astype(np.int64) * GAIN, 0, 255).astype(np.uint8)
    return Difference(_jpeg_uri(shown), f"{text}{' (' + ', '.join(how) + ')' if how else ''}.")


def _orientations(pixels: npt.NDArray[np.uint8], kind: str) -> list[tuple[str, npt.NDArray[np.uint8]]]:
    """Return the orientations that a kind allows with their words; which way a picture was turned is tried."""
    turns = {0}
    if "turned" in kind:
        turns = {2} if "180" in kind else {1, 3} if "90" in kind or "270" in kind else {1, 2, 3}
    if "mirrored" in kind:
        pixels = pixels[:, ::-1]
        turns = {0, 2} if turns == {0} else turns  # left and right, or top and bottom
    words = ("mirrored" if "mirrored" in kind else "", "turned" if "turned" in kind else "")
    text = " and ".join(filter(None, words))
    return [(text, np.rot90(pixels, turn)) for turn in sorted(turns)]


def _resized(pixels: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    from PIL import Image

    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS), dtype=np.uint8)


def _apart(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the largest difference of the three channels at each pixel."""
    apart = np.maximum(first, second) - np.minimum(first, second)
    largest: npt.NDArray[np.uint8] = apart.max(axis=2)
    return largest


def _jpeg_uri(pixels: npt.NDArray[np.uint8]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
