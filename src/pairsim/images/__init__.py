"""Reading pictures and turning them into what a model takes."""

from pairsim.images.preprocessing import Preprocessing as Preprocessing
from pairsim.images.reading import PictureLike as PictureLike
from pairsim.images.reading import read_image as read_image

__all__ = ["PictureLike", "Preprocessing", "read_image"]
