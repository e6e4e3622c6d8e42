"""Name what was changed between a picture that is kept and its copies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from pairsim._common.arrays import Float32Array
from pairsim.audits.duplicates.choice.file_facts import FileFacts
from pairsim.audits.duplicates.choice.overlays import Shown, added, in_pixels, overlaid
from pairsim.audits.duplicates.matching.affine_maps import composed, inverse
from pairsim.audits.duplicates.matching.fingerprints import Fingerprint
from pairsim.audits.duplicates.matching.registration import frames, moved
from pairsim.images import PictureLike

Box: TypeAlias = tuple[tuple[float, float], tuple[float, float]]

_ORIENTATIONS = {
    (1, 0, 0, 1): (),
    (-1, 0, 0, 1): ("mirrored",),
    (1, 0, 0, -1): ("flipped",),
    (-1, 0, 0, -1): ("turned 180 degrees",),
    (0, -1, 1, 0): ("turned 90 degrees",),
    (0, 1, -1, 0): ("turned 270 degrees",),
    (0, -1, -1, 0): ("mirrored", "turned 90 degrees"),
    (0, 1, 1, 0): ("mirrored", "turned 270 degrees"),
}
_TINY = 1e-12
_SAME_SIZE = 0.03
_SAME_EXTENT = 0.97
_SAME_ANGLE = 0.8
_SAME_TONE = 6.0
_SAME_CONTRAST = 0.12
_SAME_COLOUR = 4.0
_SATURATION = 0.4
_GREY, _COLOURED = 2.5, 5.0
_NOISIER, _BLURRED, _SHARPENED = 1.8, 0.6, 1.45
_EVERYWHERE = 0.7
_ROUGH_QUALITY = 50
"""JPEG quality below which the loss changes the detail of a picture."""


@dataclass(frozen=True)
class Geometry:
    """How a copy lies in the picture that is kept.

    Attributes:
        orientation: Words such as "mirrored".
        angle: Degrees, clockwise, that it was rotated by, besides.
        shown: Share of what is inside the kept picture's border that the copy shows.
        showing: Share of what is inside the copy's border that the kept picture shows.
        inside: Share of the whole kept picture, with its border, that lies in the copy.
        around: Share of the whole copy, with its border, that lies in the kept picture.
        scale: Pixels of the copy to those of the kept picture, along a side.
        stretch: Ratio of the scales along the two sides, at least 1.
    """

    orientation: tuple[str, ...]
    angle: float
    shown: float
    showing: float
    inside: float
    around: float
    scale: float
    stretch: float


def geometry(kept: Fingerprint, copy: Fingerprint, transform: Tensor) -> Geometry:
    """Read a map from the kept picture's coordinates to those of its copy, `[2, 3]`."""
    (a, b, x), (c, d, y) = transform.tolist()
    determinant = a * d - b * c or _TINY
    turned = abs(b * c) > abs(a * d)
    key = (0, _sign(b), _sign(c), 0) if turned else (_sign(a), 0, 0, _sign(d))
    # what is left of the linear part without the orientation
    p, q, r, t = (
        (b * key[1], a * key[2], d * key[1], c * key[2]) if turned else (a * key[0], b * key[3], c * key[0], d * key[3])
    )
    length = a * a + b * b + c * c + d * d
    difference = math.sqrt(max(length * length - 4 * determinant * determinant, 0.0))
    to_copy = (a, b, x, c, d, y)
    to_kept = (d, -b, b * y - d * x, -c, a, c * x - a * y)
    to_kept = tuple(value / determinant for value in to_kept)
    return Geometry(
        orientation=_ORIENTATIONS[key],
        angle=math.degrees(math.atan2(r - q, p + t)),
        shown=_share(_inner(kept), _outer(copy), to_kept),
        showing=_share(_inner(copy), _outer(kept), to_copy),
        inside=_share(_outer(kept), _outer(copy), to_kept),
        around=_share(_outer(copy), _outer(kept), to_copy),
        scale=math.sqrt(abs(determinant)) * _longest(copy) / _longest(kept),
        stretch=math.sqrt((length + difference) / max(length - difference, _TINY)),
    )


def changes(
    kept: Fingerprint,
    copies: Sequence[Fingerprint],
    transforms: Tensor,
    facts: Sequence[FileFacts],
    files: Sequence[PictureLike],
) -> list[str]:
    """Name the changes of copies.

    The pictures are read again where a text or logo is found, to tell which of the two has it.

    Args:
        kept: The picture that is kept.
        copies: `m` copies whose pixels differ.
        transforms: Coordinates of the kept picture to those of each copy `[m, 2, 3]`.
        facts: On the files of the copies.
        files: The kept picture, and the copies, to be read again.

    Returns:
        The changes of each, such as "mirrored, cropped to 81 %"; "re-encoded" if nothing else is seen.
    """
    if not copies:
        return []
    target = frames([kept.grey] * len(copies))
    pixels, inside = moved(frames([copy.grey for copy in copies]), target, transforms)
    own, own_inside = moved(target[:1], target[:1], torch.eye(2, 3)[None])
    both = inside * own_inside
    lie = [geometry(kept, copy, transform) for copy, transform in zip(copies, transforms, strict=True)]
    blocks = overlaid(kept, own[0], pixels, both)
    clean = both * ~in_pixels(blocks)
    tones, contrasts = _tones(own, pixels, clean)
    named = []
    for row, (copy, lies, contrast) in enumerate(zip(copies, lie, contrasts, strict=True)):
        words = [*lies.orientation, *_geometry_words(lies)]
        if blocks[row].any():
            first, second = Shown(files[0], kept), Shown(files[row + 1], copy)
            words.append(f"text or logo {'added' if added(first, second, transforms[row], blocks[row]) else 'removed'}")
        colour = _colour(*_chroma(kept, copy, transforms[row].numpy()), contrast)
        words += colour or tones[row]
        quality = facts[row].quality
        if abs(math.log(lies.scale)) <= _SAME_SIZE and (quality is None or quality >= _ROUGH_QUALITY):
            words += _detail(kept, copy, contrast)
        named.append(", ".join(words) or "re-encoded")
    return named


def _geometry_words(lies: Geometry) -> list[str]:
    words = []
    if abs(lies.angle) >= _SAME_ANGLE:
        words.append(f"rotated by {abs(lies.angle):.0f} degrees")
    elif lies.stretch > 1 + _SAME_SIZE:
        words.append("stretched")
    if lies.shown < _SAME_EXTENT:
        words.append(f"cropped to {lies.shown:.0%}".replace("%", " %"))
    if lies.showing < _SAME_EXTENT:
        words.append(f"shows more, of which the kept one is {lies.showing:.0%}".replace("%", " %"))
    if abs(math.log(lies.scale)) > _SAME_SIZE:
        words.append(f"resized to {lies.scale:.0%}".replace("%", " %"))
    if lies.around < _SAME_EXTENT <= lies.showing:
        words.append("border added")
    if lies.inside < _SAME_EXTENT <= lies.shown:
        words.append("border removed")
    return words


def _tones(kept: Tensor, copies: Tensor, clean: Tensor) -> tuple[list[list[str]], list[float]]:
    """Compare the grey levels; return the words and the ratios of the contrasts."""
    weight = clean.sum(dim=(1, 2)).clamp(min=1.0)
    means = [(one * clean).sum(dim=(1, 2)) / weight for one in (kept, copies)]
    spreads = [
        (((one - mean[:, None, None]) * clean).square().sum(dim=(1, 2)) / weight).sqrt().clamp(min=1.0)
        for one, mean in zip((kept, copies), means, strict=True)
    ]
    contrast = spreads[1] / spreads[0]
    changed = ((means[1] - means[0]).abs() > _SAME_TONE) | (contrast.log().abs() > _SAME_CONTRAST)
    return [["brightness or contrast changed"] * one for one in changed.tolist()], contrast.tolist()


def _chroma(kept: Fingerprint, copy: Fingerprint, transform: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Return the colour of the kept picture and of a copy at the same places, `[2, n]`, 0 for grey."""
    side = kept.chroma.shape[1]
    centres = (2 * np.arange(side) + 1) / side - 1
    half = _half(kept)
    x, y = (one.ravel() for one in np.meshgrid(centres * half[0], centres * half[1]))
    place = transform @ np.stack([x, y, np.ones_like(x)]) / np.array(_half(copy))[:, None]
    inside = (np.abs(place) <= 1).all(axis=0)
    column, row = np.clip(((place[:, inside] + 1) / 2 * side).astype(np.int64), 0, side - 1)
    own, other = kept.chroma.reshape(2, -1)[:, inside], copy.chroma[:, row, column]
    return own.astype(np.float32) - 128, other.astype(np.float32) - 128


def _colour(kept: Float32Array, copy: Float32Array, contrast: float) -> list[str]:
    """Name a change of colour, but for that which comes with a change of contrast."""
    if not kept.shape[1]:
        return []
    saturation = [float(np.hypot(*one).mean()) for one in (kept, copy)]
    if saturation[1] < _GREY and saturation[0] > _COLOURED:
        return ["grey"]
    if saturation[0] < _GREY and saturation[1] > _COLOURED:
        return ["coloured"]
    own, other = np.median(kept, axis=1), np.median(copy, axis=1)
    spread = [float(np.hypot(*(one - middle[:, None])).mean()) for one, middle in ((kept, own), (copy, other))]
    scale = max(spread[1], 1.0) / max(spread[0], 1.0)
    shift = min(float(np.hypot(*(other - own * factor))) for factor in (1.0, contrast, scale))
    strong = max(spread) > _COLOURED / 2 and abs(math.log(scale / contrast)) > _SATURATION
    return ["colours changed"] * (shift > _SAME_COLOUR or strong)


def _detail(kept: Fingerprint, copy: Fingerprint, contrast: float) -> list[str]:
    detail = (copy.detail + 0.5) / (kept.detail * contrast + 0.5)
    more_noise, more_detail = copy.noise - kept.noise * contrast, copy.detail - kept.detail * contrast
    # noise adds as much everywhere, and sharpening most where there is most
    if copy.noise > _NOISIER * kept.noise * contrast + 1.5 and more_noise > _EVERYWHERE * more_detail:
        return ["noise added"]
    return ["blurred"] * (detail < _BLURRED) + ["sharpened"] * (detail > _SHARPENED)


def _sign(value: float) -> int:
    return 1 if value > 0 else -1


def content_size(picture: Fingerprint) -> tuple[float, float]:
    """Return the height and width of what is inside the border, in pixels."""
    top, left, bottom, right = picture.content
    return (bottom - top) * picture.size[0], (right - left) * picture.size[1]


def _longest(picture: Fingerprint) -> float:
    return max(content_size(picture))


def _half(picture: Fingerprint) -> tuple[float, float]:
    """Half the width and height of the content, in its coordinates."""
    height, width = content_size(picture)
    return width / max(height, width), height / max(height, width)


def _inner(picture: Fingerprint) -> Box:
    """Return the corners of the content, in its coordinates."""
    x, y = _half(picture)
    return (-x, -y), (x, y)


def _outer(picture: Fingerprint) -> Box:
    """Return the corners of the picture with its border, in coordinates of the content."""
    top, left, bottom, right = picture.content
    unit = _longest(picture) / 2
    height, width = picture.size
    x, y = (left + right) / 2 * width, (top + bottom) / 2 * height
    return (-x / unit, -y / unit), ((width - x) / unit, (height - y) / unit)


def _share(first: Box, second: Box, to_first: tuple[float, ...]) -> float:
    """Return the share of the first box that lies in the second, whose coordinates are mapped to those of the first."""
    a, b, x, c, d, y = to_first
    corners = [(second[i][0], second[j][1]) for i in (0, 1) for j in (0, 1)]
    ends = [a * u + b * v + x for u, v in corners], [c * u + d * v + y for u, v in corners]
    share = 1.0
    for axis, places in enumerate(ends):
        low, high = first[0][axis], first[1][axis]
        share *= max(min(max(places), high) - max(min(places), low), 0.0) / (high - low)
    return min(1.0, share)


def relative(transforms: Tensor, first: int, second: int) -> Tensor:
    """Return the map from one member of a family to another, of maps from one frame to both."""
    return composed(transforms[second], inverse(transforms[first]))
