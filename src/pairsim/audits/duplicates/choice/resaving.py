"""Tell whether a JPEG file was made by saving another one again."""

from __future__ import annotations

import io
import math
import os

import numpy as np

from pairsim.errors import ImageReadError
from pairsim.images import PictureFile, PictureLike
from pairsim.images.reading import decoded_picture, undecoded

_SAME = 0.25
"""Mean difference of pixels, in grey levels, within which a second saving gives the same picture."""
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
