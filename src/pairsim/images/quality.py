"""The quality of a picture as a model sees it: size, light, contrast and sharpness.

Sharpness is the share of the energy of the differences between neighbouring pixels that averaging five pixels in a row
takes away: a sharp picture loses most of it, a blurred one hardly any. This is the idea of Crete, Dolmiere, Ladret,
Nicolas, "The blur effect: perception and estimation with a new no-reference perceptual blur metric", 2007, with squares
in place of absolute values. The difference of two such averages is that of two pixels five apart, divided by five.
Contrast cancels out. It is measured along rows and along columns, and the smaller value counts, so that motion counts
as blur. Noise counts as sharp.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from torch import Tensor

from pairsim.images.preprocessing import Preprocessing
from pairsim.images.reading import PictureLike, decoded_picture, resized_pixels

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL.Image import Image

FlawKind: TypeAlias = Literal["too small", "too dark", "low contrast", "blurred"]

# Chosen on half of the classes of photographs, faces and drawings, and checked on the other half: see decision 20.
MAX_ENLARGEMENT = 4.0
MIN_LIGHT = 0.2
MIN_CONTRAST = 0.1
MIN_SHARPNESS = 0.3

_EXTREME = 0.01
"""Share of the pixels that the lightest and the darkest are of."""
_AVERAGED = 5
_MIN_ENERGY = 0.01
"""A direction with a smaller share of the other's energy shows stripes or nothing, and is not measured."""
_SAID: dict[FlawKind, tuple[str, str, str]] = {
    "too small": ("is enlarged {:.3g} times for the model", "at most", "Take a larger picture."),
    "too dark": ("its lightest pixels have {:.3g} of white", "at least", "Take it with more light."),
    "low contrast": (
        "lightness spans {:.3g} of black to white",
        "at least",
        "Take it with other light, or a clean lens.",
    ),
    "blurred": ("sharpness {:.3g}", "at least", "Take it again, in focus and without motion."),
}


@dataclass(frozen=True)
class Flaw:
    """What is poor about a picture.

    Attributes:
        kind: `"too small"`, `"too dark"`, `"low contrast"` or `"blurred"`.
        value: What was measured; see `PictureQuality`.
        limit: The worst value that is not poor.
    """

    kind: FlawKind
    value: float
    limit: float

    def __str__(self) -> str:
        found, bound, advice = _SAID[self.kind]
        return f"{self.kind}: {found.format(self.value)}, expected {bound} {self.limit:g}. {advice}"

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return dict(vars(self))


@dataclass(frozen=True, kw_only=True)
class PictureQuality:
    """The quality of a picture in grey, at the size at which a model sees it, but not enlarged.

    Attributes:
        enlargement: Factor by which the model's preprocessing enlarges the picture, of the two sides the larger one;
            below 1 if it is reduced.
        light: Lightness in [0, 1] that 1 % of the pixels exceed.
        contrast: That less the lightness that 99 % of the pixels exceed, in [0, 1].
        sharpness: Share of the energy of differences between neighbours that averaging takes away, in [0, 1]: 0.96
            for noise and 0 for an even slope; NaN if no side has six pixels, or all pixels are equal.
    """

    enlargement: float
    light: float
    contrast: float
    sharpness: float

    def flaws(self) -> tuple[Flaw, ...]:
        """Return what is poor; where a picture is dark or without contrast, sharpness is that of noise and not told."""
        found = []
        if self.enlargement > MAX_ENLARGEMENT:
            found.append(Flaw("too small", self.enlargement, MAX_ENLARGEMENT))
        if self.light < MIN_LIGHT:
            found.append(Flaw("too dark", self.light, MIN_LIGHT))
        elif self.contrast < MIN_CONTRAST:
            found.append(Flaw("low contrast", self.contrast, MIN_CONTRAST))
        elif self.sharpness < MIN_SHARPNESS:
            found.append(Flaw("blurred", self.sharpness, MIN_SHARPNESS))
        return tuple(found)


def read_measured(picture: PictureLike, preprocessing: Preprocessing) -> tuple[Tensor, PictureQuality]:
    """Read a picture as `Preprocessing.read` does, and measure its quality; it is decoded once.

    Args:
        picture: As for `read_image`.
        preprocessing: Of the model.

    Returns:
        Pixels, uint8 `[C, H, W]`, and the quality.
    """
    decoded = decoded_picture(picture, channels=preprocessing.channels, white=preprocessing.white)
    pixels = resized_pixels(decoded, preprocessing.image_size, preprocessing.fit, preprocessing.interpolation)
    return pixels, picture_quality(decoded, preprocessing)


def picture_quality(picture: Image, preprocessing: Preprocessing) -> PictureQuality:
    """Measure the quality of a decoded picture for a model.

    Args:
        picture: A PIL image in grey or colour.
        preprocessing: Of the model: the size, and how a picture of other proportions gets it.

    Returns:
        The measurements.
    """
    height, width = preprocessing.image_size
    scales = width / picture.width, height / picture.height
    if preprocessing.fit != "stretch":
        scales = ((max if preprocessing.fit == "crop" else min)(scales),) * 2
    seen = tuple(max(round(side * min(scale, 1.0)), 1) for side, scale in zip(picture.size, scales, strict=True))
    grey = picture.convert("L")
    if grey.size != seen:
        from PIL import Image

        grey = grey.resize((seen[0], seen[1]), Image.Resampling.BILINEAR, reducing_gap=2.0)
    pixels = np.asarray(grey, dtype=np.uint8)
    dark, light = lightness_range(pixels)
    return PictureQuality(enlargement=max(scales), light=light, contrast=light - dark, sharpness=sharpness(pixels))


def lightness_range(pixels: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """Return the lightness below and above which 1 % of the pixels are, in [0, 1].

    Args:
        pixels: Grey, uint8 `[H, W]`.
    """
    counted = np.bincount(pixels.ravel(), minlength=256).cumsum() / pixels.size
    dark, light = np.searchsorted(counted, [_EXTREME, 1.0 - _EXTREME])
    return float(dark) / 255, float(light) / 255


def sharpness(pixels: npt.NDArray[np.uint8]) -> float:
    """Return the share of the energy of differences that averaging five pixels takes away; see `PictureQuality`.

    Args:
        pixels: Grey, uint8 `[H, W]`.
    """
    energies = []
    for along in (pixels.T, pixels):
        lines = along.astype(np.float32)
        if len(lines) > _AVERAGED:
            averaged = (lines[_AVERAGED:] - lines[:-_AVERAGED]) / _AVERAGED
            energies.append((float((np.diff(lines, axis=0) ** 2).mean()), float((averaged**2).mean())))
    largest = max((energy for energy, _ in energies), default=0.0)
    shares = [max(1.0 - left / energy, 0.0) for energy, left in energies if energy > _MIN_ENERGY * largest]
    return min(shares, default=math.nan)
