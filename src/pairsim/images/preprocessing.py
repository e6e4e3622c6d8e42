"""Preprocessing of pixels before the net: size, channels, scale. It is stored with the model."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pairsim._common.choices import Fit
from pairsim._common.numbers import real_number, whole_number
from pairsim.images.reading import Interpolation, PictureLike, check_image_size, check_resizing, read_image
from pairsim.images.samples import check_white

CUT = "_pairsim_cut"
"""Name of the mark of images whose central part was cut out."""
_LATER_FIELDS = {"float_range": None, "white": None, "central_fraction": 1.0}
"""Fields that older versions did not have, with their defaults."""


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Size, channels, part and normalisation of the images that a model takes.

    uint8 images are pixels of a picture, 0 to 255. Grey ones are repeated for a model in colour, those in colour are
    converted to luma for a model in grey; they are scaled to [0, 1], then `(x - mean) / std` per channel. Of
    `central_fraction` below 1 the central part is enlarged to the size that the image has. Floating point images are
    taken as preprocessed and returned unchanged; a model warns of those that may lack that cut.

    Args:
        image_size: Height and width in pixels.
        channels: 1 (grey) or 3 (colour) for pictures read from files; any number for tensors.
        mean: Mean of each channel on the [0, 1] scale.
        std: Standard deviation of each channel on the [0, 1] scale, positive.
        fit: How pictures of other proportions get `image_size`: `"stretch"`, `"crop"` or `"pad"` (see `read_image`).
        interpolation: Interpolation of resized pictures: `"bilinear"` or `"bicubic"`, with antialiasing.
        float_range: Smallest and largest value of the floating point images that the model was trained on, which
            training sets; `None` if it was trained on pixels.
        white: Value of white of samples of more than 8 bits, such as 4095 (see `read_image`).
        central_fraction: Share of height and width that the net sees, in the centre of the image, in (0, 1].

    Raises:
        TypeError: If `channels` is not a whole number, or `central_fraction`, `mean` or `std` no number.
        ValueError: If a size is not positive, `mean` or `std` does not have one number per channel, there is no such
            `fit` or `interpolation`, `white` is less than 1, or `central_fraction` is not in (0, 1].

    Example:
        >>> mnist = Preprocessing(image_size=(28, 28), channels=1, mean=(0.1307,), std=(0.3081,))
        >>> mnist(torch.full((1, 1, 28, 28), 255, dtype=torch.uint8)).max().item()
        2.8214...
    """

    image_size: tuple[int, int]
    channels: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    fit: Fit = "stretch"
    interpolation: Interpolation = "bilinear"
    float_range: tuple[float, float] | None = None
    white: int | None = None
    central_fraction: float = 1.0

    def __post_init__(self) -> None:
        check_image_size(self.image_size)
        height, width = (whole_number(side, "image_size", 1) for side in self.image_size)
        self._set(image_size=(height, width), channels=whole_number(self.channels, "channels", 1))
        if (self.mean is None) != (self.std is None):
            raise ValueError("Expected mean and std together, or neither.")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != self.channels:
                raise ValueError(
                    f"Expected {name} to have one number for each of {self.channels} channels, got {values}."
                )
            if values is not None:
                self._set(**{name: tuple(real_number(value, name) for value in values)})
        if self.std is not None and min(self.std) <= 0:
            raise ValueError(f"Expected std to be positive, got {self.std}.")
        check_resizing(self.fit, self.interpolation)
        check_white(self.white)
        fraction = real_number(self.central_fraction, "central_fraction")
        if not 0.0 < fraction <= 1.0:  # also catches NaN
            raise ValueError(f"Expected central_fraction to be in (0, 1], got {fraction}. Use 1 for whole images.")
        self._set(central_fraction=fraction, white=None if self.white is None else int(self.white))

    def _set(self, **values: Any) -> None:
        """Keep numbers of NumPy as those of Python, which JSON has."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise a batch.

        Args:
            images: `[N, C, H, W]`, uint8 pixels, or a floating dtype that is returned unchanged.

        Returns:
            Floating point `[N, C, H, W]` on the same device, H and W as given. Pixels with 1 channel get 3, and those
            with 3 get 1, where the model has that number; other numbers stay.

        Raises:
            ValueError: If pixels are given and would get another scale than the images of training had.
        """
        if images.dtype != torch.uint8:
            return images
        if self.float_range is not None:
            self._check_pixels(self.float_range)
        part = central_part(images, self.central_fraction)
        scaled = in_channels(part, self.channels).to(torch.float32)
        if self.mean is None or self.std is None:
            scaled = scaled / 255.0
        else:
            # (x / 255 - mean) / std as one multiplication and one addition
            factor, offset = _constants(self.mean, self.std, images.device)
            scaled = scaled * factor - offset
        if part is images:
            return scaled
        enlarged = functional.interpolate(scaled, size=images.shape[2:], mode="bilinear", align_corners=False)
        if not torch.compiler.is_compiling():
            vars(enlarged)[CUT] = True
        return enlarged

    def may_lack_cut(self, images: Tensor) -> bool:
        """Return whether the central part was perhaps not cut out of images: those in floating point, not from here."""
        cuts = self.central_fraction < 1 and self.float_range is None
        return cuts and images.is_floating_point() and CUT not in vars(images)

    @property
    def of_vectors(self) -> bool:
        """Whether images have one pixel, with a channel for each number, as embeddings of another model do."""
        return self.image_size == (1, 1)

    @property
    def pixel_range(self) -> tuple[float, float]:
        """The values that the smallest and the largest pixel, 0 and 255, get."""
        scaling = list(zip(self.mean or (0.0,), self.std or (1.0,), strict=True))
        return min((0.0 - mean) / std for mean, std in scaling), max((1.0 - mean) / std for mean, std in scaling)

    def _check_pixels(self, trained: tuple[float, float]) -> None:
        low, high = self.pixel_range
        if not other_scale(trained, (low, high), margin=0.02):
            return
        width = trained[1] - trained[0] or 1.0
        raise ValueError(
            f"Expected floating point images from {trained[0]:.4g} to {trained[1]:.4g} as in training, got pixels, "
            f"which the preprocessing scales to values from {low:.4g} to {high:.4g}. Set mean and std of the transform "
            "of training: model.preprocessing = dataclasses.replace(model.preprocessing, mean=(...), std=(...)). If "
            f"black was {trained[0]:.4g} and white {trained[1]:.4g}, mean is {-trained[0] / width:.4g} and std "
            f"{1 / width:.4g}."
        )

    def read(self, image: PictureLike) -> Tensor:
        """Read one picture with the size, channels, fit, interpolation and white of this preprocessing.

        Args:
            image: As for `read_image`.

        Returns:
            Pixels, uint8 `[C, H, W]`.
        """
        return read_image(
            image,
            channels=self.channels,
            image_size=self.image_size,
            fit=self.fit,
            interpolation=self.interpolation,
            white=self.white,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values; the later ones only if they are set, so that checksums stay the same."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in vars(self).items()
            if name not in _LATER_FIELDS or value != _LATER_FIELDS[name]
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocessing:
        """The inverse of `to_dict`; fields that older versions did not write get their defaults."""
        mean, std, floats = (values.get(name) for name in ("mean", "std", "float_range"))
        height, width = values["image_size"]
        return cls(
            image_size=(height, width),
            channels=values["channels"],
            mean=None if mean is None else tuple(map(float, mean)),
            std=None if std is None else tuple(map(float, std)),
            fit=values.get("fit", "stretch"),
            interpolation=values.get("interpolation", "bilinear"),
            float_range=None if floats is None else (float(floats[0]), float(floats[1])),
            white=values.get("white"),
            central_fraction=float(values.get("central_fraction", 1.0)),
        )


def central_part(images: Tensor, fraction: float) -> Tensor:
    """Cut the central part out of images, as a view.

    Args:
        images: `[..., H, W]`.
        fraction: Share of height and width, in (0, 1]. As many pixels go on one side as on the other.

    Returns:
        `[..., h, w]` with at least one pixel; `images` itself for a fraction of 1.

    Example:
        >>> central_part(torch.arange(8).view(1, 8), 0.5)
        tensor([[2, 3, 4, 5]])
    """
    if fraction == 1.0:
        return images
    height, width = images.shape[-2:]
    top, left = (min(round(side * (1 - fraction) / 2), (side - 1) // 2) for side in (height, width))
    return images[..., top : height - top, left : width - left]


def other_scale(found: tuple[float, float], expected: tuple[float, float], *, margin: float) -> bool:
    """Return whether values seem to be of another scale.

    Args:
        found: Smallest and largest value.
        expected: The same of values of the right scale.
        margin: How far outside of the expected range values may be, as a share of it.

    Returns:
        Whether values are outside of that range, span less than a twentieth of it, or are all in [0, 1], as of images
        that were not normalised, where the expected range is another one. Equal values have no scale.

    Example:
        >>> other_scale((0.0, 1.0), (-1.0, 1.0), margin=0.1), other_scale((-0.9, 0.8), (-1.0, 1.0), margin=0.1)
        (True, False)
    """
    (low, high), (lowest, highest) = found, expected
    width = highest - lowest
    if low < lowest - margin * width or high > highest + margin * width:
        return True
    normalised = lowest < -0.1 or highest > 1.1
    return low != high and (high - low < width / 20 or (normalised and low >= 0.0 and high <= 1.0))


def in_channels(pixels: Tensor, channels: int) -> Tensor:
    """Convert uint8 `[N, C, H, W]` between grey and colour, as `read_image` converts a picture."""
    if pixels.ndim == 4 and (pixels.shape[1], channels) == (1, 3):
        return pixels.expand(-1, 3, -1, -1)
    if pixels.ndim == 4 and (pixels.shape[1], channels) == (3, 1):
        red, green, blue = pixels.to(torch.int32).split(1, dim=1)
        # Pillow's integer weights (ITU-R 601), so that a tensor and a file give the same grey
        luma: Tensor = (red * 19595 + green * 38470 + blue * 7471 + 2**15) >> 16
        return luma.to(torch.uint8)
    return pixels


@functools.lru_cache(maxsize=64)
def _constants(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Compute factor and offset of each channel, `[C, 1, 1]`, once for each device.

    Sending them to a device waits for it, which would delay every training step and cannot be recorded in a CUDA graph.
    """
    with torch.inference_mode(False):
        deviation, centre = (torch.tensor(values, device=device).view(-1, 1, 1) for values in (std, mean))
        return 1 / (255.0 * deviation), centre / deviation


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute the exact mean and standard deviation of each channel of uint8 images, on the [0, 1] scale.

    The 256 values of each channel are counted, so that memory stays small and the order of summation does not matter.

    Args:
        images: uint8 `[N, C, H, W]` with at least one pixel.

    Returns:
        Mean and standard deviation of each channel; a channel of one single value gets standard deviation 1.

    Example:
        >>> channel_statistics(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1))
        ((0.5,), (0.5,))
    """
    values = torch.arange(256, dtype=torch.float64) / 255.0
    means, stds = [], []
    for channel in range(images.shape[1]):
        counts = torch.zeros(256, dtype=torch.float64)
        for part in images[:, channel].split(4096):
            counts += torch.bincount(part.flatten(), minlength=256).cpu()
        share = counts / counts.sum()
        mean = float((share * values).sum())
        variance = float((share * (values - mean) ** 2).sum())
        means.append(mean)
        stds.append(variance**0.5 if variance > 0 else 1.0)
    return tuple(means), tuple(stds)
