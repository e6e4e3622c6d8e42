"""Tell whether a JPEG file was made by saving another one again."""

from __future__ import annotations

import io
import math
import os

import numpy as np
import numpy.typing as npt

from pairsim.errors import ImageReadError
from pairsim.images import PictureFile, PictureLike
from pairsim.images.reading import decoded_picture, undecoded

_SAME = 0.25
"""Mean difference of pixels, in grey levels, within which a second saving gives the same picture."""
_EXPLAINED, _LOSS = 0.9, 0.8
"""Correlation with the loss of a rough compression, and strength to its usual one, from which it explains a file."""
_GRID, _CENTRE = 8, 1024
"""Side of the blocks of JPEG, and of the middle of a picture that is looked at."""
_MAX_PIXELS = 2**25
_MAX_ENTRY = 255
"""Largest entry of a table that libjpeg writes without a caution on stderr."""


def saved_again(source: PictureLike, copy: PictureLike, *, finer: bool) -> bool:
    """Tell whether saving a picture again, with the tables of a JPEG file, gives the pixels of that file.

    Args:
        source: The picture that may have been saved.
        copy: A JPEG file that may be the result.
        finer: Whether the copy is of a higher quality than its source. Then nothing else explains that it has no more
            detail. If not, saving the copy with the tables of the source has to give another picture than the source.

    Returns:
        `False` also if either cannot be read, or has more than 2^25 pixels.
    """
    difference = _difference(source, copy)
    return difference < _SAME and (finer or difference < _difference(copy, source))


def saved_roughly(source: PictureLike, copy: PictureLike) -> bool:
    """Tell whether a JPEG file was made from another copy of the same size or a smaller one: resized and compressed.

    Resizing the source and compressing it with the tables of the file then gives what the file has lost. A picture that
    was made from the file has hardly lost anything against it, or has lost something else.

    Args:
        source: The picture that may have been saved.
        copy: The JPEG file, whose compression is so rough that its loss is seen.

    Returns:
        `False` also if either cannot be read, or has more than 2^25 pixels.
    """
    from PIL import Image

    if not isinstance(copy, str | os.PathLike | PictureFile):
        return False
    try:
        with undecoded(copy) as (image, _):
            table = getattr(image, "quantization", {}).get(0)
            if image.format != "JPEG" or image.width * image.height > _MAX_PIXELS or not table:
                return False
        first, second = (decoded_picture(one, channels=1) for one in (source, copy))
    except ImageReadError:
        return False
    if max(table) > _MAX_ENTRY:
        return False
    left, top = (max(side - _CENTRE, 0) // 2 // _GRID * _GRID for side in second.size)
    box = (left, top, min(left + _CENTRE, second.width), min(top + _CENTRE, second.height))
    shares = first.width / second.width, first.height / second.height
    place = (box[0] * shares[0], box[1] * shares[1], box[2] * shares[0], box[3] * shares[1])
    if min(box[2] - left, box[3] - top) <= 2 * _GRID:
        return False

    def lost(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", qtables=[table])
        return np.asarray(Image.open(file)).astype(np.float64) - pixels

    found = np.asarray(second.crop(box)).astype(np.float64)
    for resampling in (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BILINEAR):
        resized = np.asarray(first.resize((box[2] - left, box[3] - top), resampling, box=place))
        loss, expected = found - resized, lost(resized)
        usual = lost(np.ascontiguousarray(resized[_GRID // 2 :, _GRID // 2 :])).std()  # in other blocks
        strong = min(float(loss.std()), float(expected.std())) > _LOSS * max(float(usual), _SAME)
        if strong and np.corrcoef(loss.ravel(), expected.ravel())[0, 1] > _EXPLAINED:
            return True
    return False


def _difference(source: PictureLike, copy: PictureLike) -> float:
    """Return the mean difference of a JPEG file from a second saving, in grey levels; infinite if there is none."""
    from PIL import Image, JpegImagePlugin

    if not isinstance(copy, str | os.PathLike | PictureFile):
        return math.inf
    try:
        with undecoded(copy) as (image, _):
            if image.format != "JPEG" or image.width * image.height > _MAX_PIXELS:
                return math.inf
            tables = getattr(image, "quantization", {})
            sampling = JpegImagePlugin.get_sampling(image)
        first, second = (np.asarray(decoded_picture(one, channels=3)) for one in (source, copy))
    except ImageReadError:
        return math.inf
    if first.shape != second.shape or not tables or sampling < 0:
        return math.inf
    if max(map(max, tables.values())) > _MAX_ENTRY:
        return math.inf
    file = io.BytesIO()
    Image.fromarray(first).save(file, "JPEG", qtables=tables, subsampling=sampling)
    again = np.asarray(decoded_picture(Image.open(file), channels=3))
    return float(np.abs(again.astype(np.int16) - second).mean())
