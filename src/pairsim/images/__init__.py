"""Read pictures and convert them to the input of a model."""

from pairsim.images.folders import pictures_below
from pairsim.images.preprocessing import Preprocessing
from pairsim.images.reading import Fit, Interpolation, PictureLike, read_image

__all__ = ["Fit", "Interpolation", "PictureLike", "Preprocessing", "pictures_below", "read_image"]
