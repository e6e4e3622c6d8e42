"""Read pictures and convert them to the input of a model."""

from typing import TYPE_CHECKING

from pairsim._common import lazy

if TYPE_CHECKING:
    from pairsim._common.choices import Fit as Fit
    from pairsim.images.folders import pictures_below as pictures_below
    from pairsim.images.picture_file import PictureFile as PictureFile
    from pairsim.images.preprocessing import Preprocessing as Preprocessing
    from pairsim.images.quality import Flaw as Flaw
    from pairsim.images.reading import Interpolation as Interpolation
    from pairsim.images.reading import PictureLike as PictureLike
    from pairsim.images.reading import read_image as read_image
else:
    __all__, __dir__, __getattr__ = lazy.exports(__name__)
