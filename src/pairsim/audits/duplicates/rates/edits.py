"""The changes that copies of photographs have: what a search for duplicates should see through.

Shares are of a side. A crop of 10 % keeps 90 % of the width and of the height (81 % of the area) at a random place.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from torch import Tensor

from pairsim.images import PictureFile, read_image

if TYPE_CHECKING:
    from PIL.Image import Image

Change: TypeAlias = "Callable[[Image, np.random.Generator], Image]"

_QUALITY = 90
_SEPIA = (0.393, 0.769, 0.189, 0.0, 0.349, 0.686, 0.168, 0.0, 0.272, 0.534, 0.131, 0.0)
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


@dataclass(frozen=True)
class EditedPicture:
    """An edited picture.

    Attributes:
        pixels: uint8 `[3, H, W]`, as they are read from the file.
        content: The bytes of the file.
        suffix: Of the file's name: ".jpg" or ".png".
    """

    pixels: Tensor
    content: bytes = field(repr=False)
    suffix: str


@dataclass(frozen=True)
class Edit:
    """A change that copies of photographs have.

    Attributes:
        name: Says what is done, such as "cropped 10 %".
        kind: What was changed, in the words of `pairsim.find_duplicates`.
        change: Gives the changed picture, with a generator of the random numbers that it needs.
        quality: JPEG quality of the file; `None` writes PNG.
    """

    name: str
    kind: str
    change: Change
    quality: int | None = _QUALITY

    def apply(self, pixels: Tensor, seed: int = 0) -> EditedPicture:
        """Change a picture and store it.

        Args:
            pixels: uint8 `[3, H, W]`, as `read_image` returns them.
            seed: Of what is random: the place of a crop, the noise, the place of a text.

        Returns:
            The edited picture, the same for the same pixels and seed.

        Example:
            >>> pixels = read_image(np.arange(16, dtype=np.uint8).reshape(4, 4))
            >>> mirrored = next(edit for edit in EDITS if edit.name == "mirrored")
            >>> mirrored.apply(pixels).pixels[0, 0].tolist()
            [3, 2, 1, 0]
        """
        from PIL import Image

        generator = np.random.default_rng([seed, zlib.crc32(self.name.encode())])
        image = self.change(Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()), generator)
        file = io.BytesIO()
        if self.quality is None:
            image.save(file, "PNG", compress_level=1)  # ten times as fast as by default
        else:
            image.save(file, "JPEG", quality=self.quality)
        content = file.getvalue()
        read = read_image(PictureFile(content, self.name), max_pixels=image.width * image.height)
        return EditedPicture(read, content, ".jpg" if self.quality is not None else ".png")


def _same(image: Image, _: np.random.Generator) -> Image:
    return image


def _transposed(method: str, image: Image, _: np.random.Generator) -> Image:
    from PIL import Image as images

    return image.transpose(images.Transpose[method])


def _resized(share: float, image: Image, _: np.random.Generator) -> Image:
    from PIL import Image as images

    return image.resize((_part(image.width, share), _part(image.height, share)), images.Resampling.LANCZOS)


def _cropped(share: float, image: Image, generator: np.random.Generator) -> Image:
    width, height = _part(image.width, 1 - share), _part(image.height, 1 - share)
    left = int(generator.integers(0, image.width - width + 1))
    top = int(generator.integers(0, image.height - height + 1))
    return image.crop((left, top, left + width, top + height))


def _bordered(share: float, image: Image, generator: np.random.Generator) -> Image:
    """Add a black or white border to all sides, as wide as this share of the shorter one."""
    from PIL import ImageOps

    return ImageOps.expand(image, _part(min(image.size), share), _BLACK if generator.random() < 0.5 else _WHITE)


def _letterboxed(share: float, image: Image, _: np.random.Generator) -> Image:
    """Add black bars above and below, each as high as this share of the height."""
    from PIL import ImageOps

    return ImageOps.expand(image, (0, _part(image.height, share)), _BLACK)


def _rotated(degrees: float, image: Image, _: np.random.Generator) -> Image:
    """Rotate counter-clockwise within the same frame; its corners become black."""
    from PIL import Image as images

    return image.rotate(degrees, images.Resampling.BICUBIC, fillcolor=_BLACK)


def _with_text(image: Image, generator: np.random.Generator) -> Image:
    """Write a line as high as a twelfth of the picture, white with a black outline."""
    from PIL import ImageDraw, ImageFont

    image = image.copy()
    size = max(_part(image.height, 1 / 12), 8)
    place = (image.width * float(generator.uniform(0.05, 0.3)), image.height * float(generator.uniform(0.05, 0.85)))
    ImageDraw.Draw(image).text(
        place, "Photo 2024", _WHITE, ImageFont.load_default(size), stroke_width=max(size // 12, 1), stroke_fill=_BLACK
    )
    return image


def _with_logo(image: Image, generator: np.random.Generator) -> Image:
    """Overlay a half transparent disc with a ring, a third as wide as the shorter side."""
    from PIL import Image as images
    from PIL import ImageDraw

    side = _part(min(image.size), 1 / 3)
    left, top = (float(generator.uniform(0, length - side)) for length in image.size)
    mask = images.new("L", image.size, 0)
    draw = ImageDraw.Draw(mask)
    draw.ellipse((left, top, left + side, top + side), fill=128)
    inset = side / 5
    draw.ellipse((left + inset, top + inset, left + side - inset, top + side - inset), fill=0, outline=200)
    return images.composite(images.new("RGB", image.size, _WHITE), image, mask)


def _enhanced(what: str, factor: float, image: Image, _: np.random.Generator) -> Image:
    """Multiply brightness, contrast or colour, by Pillow's class of this name."""
    from PIL import ImageEnhance

    changed: Image = getattr(ImageEnhance, what)(image).enhance(factor)
    return changed


def _with_gamma(gamma: float, image: Image, _: np.random.Generator) -> Image:
    return image.point([round(255 * (value / 255) ** gamma) for value in range(256)] * 3)


def _tinted(red: float, blue: float, image: Image, _: np.random.Generator) -> Image:
    factors = (red, 1.0, blue)
    return image.point([min(round(value * factor), 255) for factor in factors for value in range(256)])


def _grey(image: Image, _: np.random.Generator) -> Image:
    return image.convert("L").convert("RGB")


def _sepia(image: Image, _: np.random.Generator) -> Image:
    return image.convert("RGB", _SEPIA)


def _blurred(image: Image, _: np.random.Generator) -> Image:
    """Blur by a Gaussian whose standard deviation is 1 pixel, or in large pictures 0.5 % of the longer side."""
    from PIL import ImageFilter

    return image.filter(ImageFilter.GaussianBlur(max(0.005 * max(image.size), 1.0)))


def _sharpened(image: Image, _: np.random.Generator) -> Image:
    from PIL import ImageFilter

    return image.filter(ImageFilter.UnsharpMask(radius=2, percent=150, threshold=0))


def _noisy(deviation: float, image: Image, generator: np.random.Generator) -> Image:
    """Add Gaussian noise to each sample."""
    from PIL import Image as images

    pixels: Any = np.asarray(image, dtype=np.float64)
    noisy = pixels + generator.normal(0.0, deviation, pixels.shape)
    return images.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


def _part(side: int, share: float) -> int:
    return max(round(side * share), 1)


_TONES, _COLOURS = "brightness or contrast changed", "colours changed"
_mirrored = partial(_transposed, "FLIP_LEFT_RIGHT")

EDITS: tuple[Edit, ...] = (
    Edit("png copy", "identical pixels", _same, None),
    Edit("jpeg quality 80", "re-encoded", _same, 80),
    Edit("jpeg quality 30", "re-encoded", _same, 30),
    Edit("jpeg quality 10", "re-encoded", _same, 10),
    Edit("resized to 50 %", "resized", partial(_resized, 0.5)),
    Edit("resized to 30 %", "resized", partial(_resized, 0.3)),
    Edit("resized to 150 %", "resized", partial(_resized, 1.5)),
    Edit("grey", "grey", _grey),
    Edit("brighter x1.4", _TONES, partial(_enhanced, "Brightness", 1.4)),
    Edit("darker x0.6", _TONES, partial(_enhanced, "Brightness", 0.6)),
    Edit("contrast x1.5", _TONES, partial(_enhanced, "Contrast", 1.5)),
    Edit("gamma 0.6", _TONES, partial(_with_gamma, 0.6)),
    Edit("warm tint", _COLOURS, partial(_tinted, 1.2, 0.8)),
    Edit("saturation x1.6", _COLOURS, partial(_enhanced, "Color", 1.6)),
    Edit("sepia", _COLOURS, _sepia),
    Edit("blurred", "blurred", _blurred),
    Edit("sharpened", "sharpened", _sharpened),
    Edit("noise", "noise added", partial(_noisy, 12.0)),
    Edit("text added", "text or logo added", _with_text),
    Edit("logo added", "text or logo added", _with_logo),
    Edit("border 5 %", "border added", partial(_bordered, 0.05)),
    Edit("letterbox", "border added", partial(_letterboxed, 0.125)),
    Edit("cropped 5 %", "cropped", partial(_cropped, 0.05)),
    Edit("cropped 10 %", "cropped", partial(_cropped, 0.10)),
    Edit("cropped 20 %", "cropped", partial(_cropped, 0.20)),
    Edit("mirrored", "mirrored", _mirrored, None),
    Edit("mirrored, jpeg quality 50", "mirrored", _mirrored, 50),
    Edit("flipped", "flipped", partial(_transposed, "FLIP_TOP_BOTTOM")),
    Edit("turned 90 degrees", "turned 90 degrees", partial(_transposed, "ROTATE_270")),  # Pillow counts the other way
    Edit("turned 180 degrees", "turned 180 degrees", partial(_transposed, "ROTATE_180")),
    Edit("turned 270 degrees", "turned 270 degrees", partial(_transposed, "ROTATE_90")),
    Edit("rotated 2 degrees", "rotated", partial(_rotated, 2.0)),
)
"""The edits of which recall is measured. Angles of turned pictures are clockwise."""
