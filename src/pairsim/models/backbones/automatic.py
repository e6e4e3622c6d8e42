"""Choose a backbone for pictures: a pretrained net whose weights are on this machine, or the reference network."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from pairsim.errors import ImageReadError, RunError
from pairsim.images import Fit, read_image
from pairsim.images.reading import stored_size
from pairsim.models.backbones.weight_files import TIMM, find_weights, weight_folders

PREFERRED = (
    "mobilenet_v2",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "resnet18",
    "timm/mobilenetv3_large_100",
    "resnet50",
    "convnext_tiny",
    "timm/resnet50",
    "mobilenet_v3_small",
    "resnet34",
)
"""Nets for photographs, the first choice first: those that run fast on a CPU for what their features are worth."""

PRETRAINED_SIZE = (224, 224)
"""Height and width of pictures for a pretrained net that is chosen automatically: those of its training.

Pictures that are mostly wide, or mostly tall, get as many pixels in their own proportions."""

SMALLEST_SIDE, SMALLEST_GREY_SIDE = 96, 128
"""Pixels of the shorter side from which pictures, in colour or grey, get a pretrained net. Small drawings do not."""

_WIDE = 1.5
"""From this length to the shorter side, cropping to a square would cut off too much."""

_WIDEST = 4.0
"""Proportions beyond this are padded to it."""

_NUM_SEEN = 9


class BackboneChoice(NamedTuple):
    """A choice of backbone.

    Attributes:
        name: The backbone; `None` for the reference network.
        weights: File with its pretrained weights.
        image_size: Height and width of pictures; `None` for the default of the net.
        fit: How pictures get that size; `None` for the default of the net.
        line: What was chosen, and why.
    """

    name: str | None
    weights: Path | None
    image_size: tuple[int, int] | None
    fit: Fit | None
    line: str


class PictureKind(NamedTuple):
    """What some pictures look like.

    Attributes:
        shorter_side: Median of their shorter sides, in pixels.
        proportion: Median of the longer by the shorter side.
        is_colour: Whether more than half of them have colours.
        aspect: Median of width by height.
    """

    shorter_side: int
    proportion: float
    is_colour: bool
    aspect: float = 1.0

    @property
    def are_photographs(self) -> bool:
        """Whether they are large enough for a pretrained net: photographs, or scans and grey pictures of that size."""
        return self.shorter_side >= (SMALLEST_SIDE if self.is_colour else SMALLEST_GREY_SIDE)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width for a pretrained net: multiples of 32, as its layers halve the size five times."""
        height, width = PRETRAINED_SIZE
        if self.proportion < _WIDE:
            return height, width
        stretch = math.sqrt(min(max(self.aspect, 1 / _WIDEST), _WIDEST))
        return max(round(height / stretch / 32), 1) * 32, max(round(width * stretch / 32), 1) * 32


def look_at(pictures: Sequence[str | os.PathLike[str]], *, white: int | None = None) -> PictureKind:
    """Look at a few of many pictures, spread over all of them.

    Args:
        pictures: Files; those that cannot be read are left out.
        white: As for `read_image`.

    Returns:
        What they look like; a shorter side of 0 if none could be read. Small ones are not decoded, and count as grey
            squares.
    """
    seen = pictures[:: max(len(pictures) // _NUM_SEEN, 1)][:_NUM_SEEN]
    sizes, colours, aspects = [], [], list[float]()
    for path in seen:
        with contextlib.suppress(ImageReadError):
            sizes.append(sorted(stored_size(path)))
    side = int(median(shorter for shorter, _ in sizes)) if sizes else 0
    if side < SMALLEST_SIDE:
        return PictureKind(side, 1.0, is_colour=False)
    for path in seen:
        with contextlib.suppress(ImageReadError):
            pixels = read_image(path, channels=3, white=white)
            colours.append(not bool((pixels == pixels[:1]).all()))
            aspects.append(pixels.shape[2] / pixels.shape[1])
    proportion = median(longer / shorter for shorter, longer in sizes)
    is_colour = 2 * sum(colours) > len(colours)
    return PictureKind(side, proportion, is_colour=is_colour, aspect=median(aspects or [1.0]))


def choose_backbone(
    kind: PictureKind,
    *,
    image_size: tuple[int, int] | None = None,
    fit: Fit | None = None,
    folders: Sequence[Path] | None = None,
) -> BackboneChoice:
    """Choose a backbone for pictures. Nothing is downloaded.

    Photographs get the first net of `PREFERRED` whose weights are on this machine, for pictures of `PRETRAINED_SIZE`;
    wide or tall ones are padded, not cropped, to a size of about their proportions. Small pictures, and photographs
    where there are no weights, get the reference network.

    Args:
        kind: From `look_at`.
        image_size: Height and width of pictures, in place of those of `kind`.
        fit: How pictures get that size, in place of what suits their proportions.
        folders: Where weights are looked for; by default `weight_folders()`.

    Returns:
        The choice, with a line for the user.

    Example:
        >>> choose_backbone(PictureKind(28, 1.0, is_colour=False)).name is None
        True
        >>> choose_backbone(PictureKind(300, 1.3, is_colour=True), folders=[]).line[:45]
        'Photographs, but no pretrained weights found:'
    """
    colour = "in colour" if kind.is_colour else "grey"
    if not kind.are_photographs:
        line = f"The reference network, as the pictures are small (shorter side {kind.shorter_side} px)."
        return BackboneChoice(None, None, None, None, line)
    folders, damaged = weight_folders() if folders is None else folders, []
    size = image_size or kind.image_size
    shown = size[0] if size[0] == size[1] else f"{size[0]} x {size[1]}"
    has_timm = importlib.util.find_spec("timm") is not None
    for name in PREFERRED:
        if name.startswith(TIMM) and not has_timm:
            continue
        try:
            file = find_weights(name, folders)
        except RunError as error:
            damaged.append(str(error))
            continue
        if file is not None:
            fit = fit or ("pad" if kind.proportion >= _WIDE else None)
            line = (
                f"Photographs (shorter side {kind.shorter_side} px, {colour}): backbone {name} with the weights in "
                f"{file}, pictures at {shown} px{', padded' if fit == 'pad' else ''}. For the reference network: "
                "--backbone reference."
            )
            return BackboneChoice(name, file, size, fit, " ".join([line, *damaged]))
    where = f"in {folders[0]}, or download one: " if folders else "by "
    line = (
        "Photographs, but no pretrained weights found: training the reference network from scratch. On photographs of "
        f"new classes expect more errors. Put a file such as mobilenet_v2-b0353104.pth {where}--backbone "
        f"{PREFERRED[0]} --weights pretrained."
    )
    return BackboneChoice(None, None, None, None, " ".join([line, *damaged]))
