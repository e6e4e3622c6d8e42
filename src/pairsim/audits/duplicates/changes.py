"""Name what was changed between a picture that is kept and its copies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from pairsim.audits.duplicates.affine import composed, inverse
from pairsim.audits.duplicates.file_facts import FileFacts
from pairsim.audits.duplicates.fingerprints import Fingerprint
from pairsim.audits.duplicates.registration import frames, in_blocks, locally_normalized, moved

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
_SAME_SIZE = 0.03
_SAME_EXTENT = 0.97
_SAME_ANGLE = 0.8
_SAME_TONE = 6.0
_SAME_CONTRAST = 0.12
_SAME_COLOUR = 4.0
_SATURATION = 0.4
_GREY, _COLOURED = 2.5, 5.0
_OVERLAY_CORRELATION, _OVERLAY_ENERGY, _OVERLAY_BLOCKS, _MAX_OVERLAY = 0.6, 0.3, 2, 0.4
_WHOLE_BLOCK, _MIN_BLOCKS = 0.9, 9
_DARK, _LIGHT, _SAME_LIGHT = 8.0, 247.0, 5.0
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
    linear = transform[:, :2].double()
    (a, b), (c, d) = linear.tolist()
    turned = abs(b * c) > abs(a * d)
    key = (0, _sign(b), _sign(c), 0) if turned else (_sign(a), 0, 0, _sign(d))
    upright = linear @ torch.tensor([[key[0], key[1]], [key[2], key[3]]], dtype=torch.float64).T
    angle = math.degrees(math.atan2(float(upright[1, 0] - upright[0, 1]), float(upright[0, 0] + upright[1, 1])))
    stretch = torch.linalg.svdvals(linear)
    scale = math.sqrt(abs(a * d - b * c)) * _longest(copy) / _longest(kept)
    return Geometry(
        orientation=_ORIENTATIONS[key],
        angle=angle,
        shown=_share(_inner(kept), _outer(copy), inverse(transform)),
        showing=_share(_inner(copy), _outer(kept), transform),
        inside=_share(_outer(kept), _outer(copy), inverse(transform)),
        around=_share(_outer(copy), _outer(kept), transform),
        scale=scale,
        stretch=float(stretch[0] / stretch[1]),
    )


def changes(
    kept: Fingerprint,
    copies: Sequence[Fingerprint],
    transforms: Tensor,
    facts: Sequence[FileFacts | None],
) -> list[str]:
    """Name the changes of copies.

    Args:
        kept: The picture that is kept.
        copies: `m` copies whose pixels differ.
        transforms: Coordinates of the kept picture to those of each copy `[m, 2, 3]`.
        facts: On the files of the copies.

    Returns:
        The changes of each, such as "mirrored, cropped to 81 %"; "re-encoded" if nothing else is seen.
    """
    if not copies:
        return []
    target = frames([kept.grey] * len(copies))
    pixels, inside = moved(frames([copy.grey for copy in copies]), target, transforms)
    unmoved = torch.eye(2, 3).expand(len(copies), 2, 3)
    own, own_inside = moved(target, target, unmoved)
    both = inside * own_inside
    named = []
    chroma = _chroma(kept, copies, transforms)
    for row, copy in enumerate(copies):
        lies = geometry(kept, copy, transforms[row])
        overlay, clean = _overlay(own[row], pixels[row], both[row])
        words = [*lies.orientation, *_geometry_words(lies), *overlay]
        tone, contrast = _tone(own[row], pixels[row], clean)
        colour = _colour(*chroma[row], contrast)
        words += colour or tone
        quality = getattr(facts[row], "quality", None)
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


def _overlay(kept: Tensor, copy: Tensor, both: Tensor) -> tuple[list[str], Tensor]:
    """Look for blocks whose texture or light differs while that of most does not; return where they are not, too."""
    first, second = (in_blocks(locally_normalized(one[None], both[None]))[:, 0] for one in (kept, copy))
    energies = first.square().mean(dim=1), second.square().mean(dim=1)
    correlation = (first * second).mean(dim=1) / (energies[0] * energies[1]).sqrt().clamp(min=1e-6)
    shared = in_blocks(both[None])[:, 0].mean(dim=1) > _WHOLE_BLOCK
    differs = (correlation < _OVERLAY_CORRELATION) & (torch.maximum(*energies) > _OVERLAY_ENERGY)
    light = [in_blocks(one[None])[:, 0].mean(dim=1) for one in (kept, copy)]
    differs |= _lit_otherwise(light[0], light[1], shared)
    differs &= shared
    if not _OVERLAY_BLOCKS <= int(differs.sum()) <= _MAX_OVERLAY * int(shared.sum()):
        return [], both
    clean = both * (1 - functional.interpolate(differs.float().view(1, 1, 8, 8), scale_factor=8.0)[0, 0])
    added = float((energies[1] - energies[0])[differs].sum()) > 0
    return ["text or logo added" if added else "text or logo removed"], clean


def _lit_otherwise(kept: Tensor, copy: Tensor, shared: Tensor) -> Tensor:
    """Tell in which blocks the light does not follow the relation that it has in most of them."""
    valid = shared & (copy > _DARK) & (copy < _LIGHT)
    if int(valid.sum()) < _MIN_BLOCKS:
        return torch.zeros_like(shared)
    order = torch.argsort(kept[valid])
    dark, light = order[: len(order) // 3], order[-(len(order) // 3) :]
    x = [float(kept[valid][part].median()) for part in (dark, light)]
    y = [float(copy[valid][part].median()) for part in (dark, light)]
    slope = (y[1] - y[0]) / max(x[1] - x[0], 1.0)
    residual = (copy - y[0] - slope * (kept - x[0])).abs()
    fits = float(residual[valid].quantile(1 - _MAX_OVERLAY)) < _SAME_LIGHT
    return valid & (residual > 3 * _SAME_LIGHT) if fits else torch.zeros_like(shared)


def _tone(kept: Tensor, copy: Tensor, clean: Tensor) -> tuple[list[str], float]:
    """Compare the grey levels; return the word and the ratio of the contrasts."""
    weight = clean.sum().clamp(min=1.0)
    means = [float((one * clean).sum() / weight) for one in (kept, copy)]
    spreads = [
        float((((one - mean) * clean).square().sum() / weight).sqrt())
        for one, mean in zip((kept, copy), means, strict=True)
    ]
    contrast = max(spreads[1], 1.0) / max(spreads[0], 1.0)
    changed = abs(means[1] - means[0]) > _SAME_TONE or abs(math.log(contrast)) > _SAME_CONTRAST
    return ["brightness or contrast changed"] * changed, contrast


def _chroma(kept: Fingerprint, copies: Sequence[Fingerprint], transforms: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the colour of the kept picture and of each copy where both are, `[2, n]`, 0 for grey."""
    own = torch.from_numpy(kept.chroma).float() - 128
    side = own.shape[1]
    centres = (2 * torch.arange(side) + 1) / side - 1
    half = _half(kept)
    points = torch.stack([(centres * half[0]).expand(side, side), (centres * half[1])[:, None].expand(side, side)])
    points = torch.cat([points.flatten(1), torch.ones(1, side * side)])
    pairs = []
    for copy, transform in zip(copies, transforms, strict=True):
        place = (transform @ points) / torch.tensor(_half(copy))[:, None]
        inside = (place.abs() <= 1).all(dim=0)
        other = torch.from_numpy(copy.chroma).float()[None] - 128
        grid = place.T.view(1, side, side, 2)
        sampled = functional.grid_sample(other, grid, padding_mode="border", align_corners=False)[0].flatten(1)
        pairs.append((own.flatten(1)[:, inside], sampled[:, inside]))
    return pairs


def _colour(kept: Tensor, copy: Tensor, contrast: float) -> list[str]:
    """Name a change of colour, but for that which comes with a change of contrast."""
    if not kept.shape[1]:
        return []
    saturation = [float(one.norm(dim=0).mean()) for one in (kept, copy)]
    if saturation[1] < _GREY and saturation[0] > _COLOURED:
        return ["grey"]
    if saturation[0] < _GREY and saturation[1] > _COLOURED:
        return ["coloured"]
    own, other = kept.median(dim=1).values, copy.median(dim=1).values
    spread = [(one - middle[:, None]).norm(dim=0).mean() for one, middle in ((kept, own), (copy, other))]
    scale = float(spread[1].clamp(min=1.0) / spread[0].clamp(min=1.0))
    shift = min(float((other - own * factor).norm()) for factor in (1.0, contrast, scale))
    strong = max(float(one) for one in spread) > _COLOURED / 2 and abs(math.log(scale / contrast)) > _SATURATION
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


def _share(first: Box, second: Box, to_first: Tensor) -> float:
    """Return the share of the first box that lies in the second, whose coordinates are mapped to those of the first."""
    low, high = torch.tensor(first[0]), torch.tensor(first[1])
    corners = torch.tensor([[second[i][0], second[j][1]] for i in (0, 1) for j in (0, 1)])
    ends = corners @ to_first[:, :2].T + to_first[:, 2]
    overlap = (torch.minimum(ends.amax(dim=0), high) - torch.maximum(ends.amin(dim=0), low)).clamp(min=0).prod()
    return min(1.0, float(overlap / (high - low).prod()))


def relative(transforms: Tensor, first: int, second: int) -> Tensor:
    """Return the map from one member of a family to another, of maps from one frame to both."""
    return composed(transforms[second], inverse(transforms[first]))
