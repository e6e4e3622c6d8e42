"""Reading pictures and turning them into what a model takes."""

from pairsim.images.folders import pictures_below as pictures_below
from pairsim.images.preprocessing import Preprocessing as Preprocessing
from pairsim.images.reading import Fit as Fit
from pairsim.images.reading import Interpolation as Interpolation
from pairsim.images.reading import PictureLike as PictureLike
from pairsim.images.reading import read_image as read_image

__all__ = ["Fit", "Interpolation", "PictureLike", "Preprocessing", "pictures_below", "read_image"]
