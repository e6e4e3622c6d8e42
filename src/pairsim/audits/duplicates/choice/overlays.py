"""Find a text or logo that one of two copies has: a few blocks differ, and the rest agrees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pairsim._common.arrays import Float64Array
from pairsim.audits.duplicates.matching.fingerprints import GREY_SIDE, Fingerprint
from pairsim.audits.duplicates.matching.registration import BLOCK, in_blocks
from pairsim.errors import ImageReadError
from pairsim.images import PictureLike, read_image

_DARK, _LIGHT = 8.0, 247.0
"""Grey levels beyond which tones are cut off."""
_FITS = 4
"""Least-squares fits, each without the outliers of the one before."""
_OUTLIER = 4.0
"""Residual, in median ones, from which a pixel is an outlier."""
_ROUNDING = 0.5
_RIDGE = 1e-3
_SLOPES = (0.2, 3.0)
"""Contrast of a copy to that of the kept picture, at least and at most."""
_MISPLACED = 0.15
"""Share of a pixel that registration may be off by."""
_DIFFERENT, _FAR = 1.5, 8.0
"""Deviation of a block, in what is expected, and in what most of its picture's blocks have, from which it differs."""
_AGREEING = 0.6
"""Share of the blocks that agree, at least."""
_FEWEST = 2
_WHOLE = 0.5
"""Share of a block that both pictures show, from which it is compared."""
_LEAST = 128
"""Pixels to fit tones to, at least."""
_SIDE = 192
"""Longer side, at most, at which it is seen which of two pictures has the text or logo."""
_COVERED = 25.0
"""Grey levels by which what is under a text or logo differs."""
_SEEN_THROUGH = 0.7
"""Correlation from which what is under a logo shines through."""


@dataclass(frozen=True)
class Shown:
    """A picture at full size, and its fingerprint."""

    picture: PictureLike
    print_: Fingerprint


def overlaid(kept: Fingerprint, grey: Tensor, copies: Tensor, both: Tensor) -> Tensor:
    """Tell in which blocks a copy does not follow the relation of tones that it follows in most of them.

    The light of a copy may depend on the light of the kept picture, on its square, and on its colour. What is left
    counts less where the kept picture is rich in edges, as pictures are not registered exactly.

    Args:
        kept: The picture that is kept.
        grey: Its grey levels `[64, 64]`.
        copies: Those of its copies, in the same frame `[m, 64, 64]`.
        both: Where both are, 1 or 0 `[m, 64, 64]`.

    Returns:
        The blocks of 8 x 8 pixels, bool `[m, 64]`; none where all agree, or too many differ.
    """
    inner = 1 - functional.max_pool2d(1 - both, 3, stride=1, padding=1)
    valid, values = inner.flatten(1) > 0, copies.flatten(1)
    terms = _tone_terms(kept, grey)
    products = (terms[:, :, None] * terms[:, None]).flatten(1)
    in_range = valid & (values > _DARK) & (values < _LIGHT)
    fitted = in_range
    for _ in range(_FITS):
        weight = fitted.float()
        squares = (weight @ products).view(-1, terms.shape[1], terms.shape[1]) + _RIDGE * torch.eye(terms.shape[1])
        coefficients = torch.linalg.solve(squares, (weight * values) @ terms)
        residual = (values - (coefficients @ terms.T).clamp(0, 255)) * valid
        size = torch.where(valid, residual.abs(), torch.nan).nanmedian(dim=1, keepdim=True).values + _ROUNDING
        fitted = in_range & (residual.abs() < _OUTLIER * size)
    slope = ((coefficients[:, 1:2] + 2 * coefficients[:, 2:3] * terms[:, 1]) / 128).abs().clamp(*_SLOPES)
    steepness = torch.stack(torch.gradient(grey)).square().sum(dim=0).sqrt()
    edges = functional.max_pool2d(steepness[None], 3, stride=1, padding=1).flatten()
    deviation = residual / (2 * size + _MISPLACED * slope * edges)
    strength = in_blocks(deviation.view_as(copies)).square().mean(dim=2).sqrt().T
    whole = in_blocks(inner).mean(dim=2).T > _WHOLE
    most = torch.where(whole, strength, torch.nan).nanquantile(_AGREEING, dim=1, keepdim=True)
    found = whole & (strength > (_FAR * most).clamp(min=_DIFFERENT))
    count = found.sum(dim=1)
    plausible = (count >= _FEWEST) & (count <= (1 - _AGREEING) * whole.sum(dim=1)) & (fitted.sum(dim=1) >= _LEAST)
    return found & plausible[:, None]


def in_pixels(blocks: Tensor) -> Tensor:
    """Turn blocks `[m, 64]` into pixels `[m, 64, 64]`."""
    count = GREY_SIDE // BLOCK
    return blocks.view(-1, count, count).repeat_interleave(BLOCK, dim=1).repeat_interleave(BLOCK, dim=2)


def _tone_terms(kept: Fingerprint, grey: Tensor) -> Tensor:
    """Return what the tones of a copy may depend on, `[4096, 5]`."""
    light = grey.flatten() / 128 - 1
    height, width = kept.grey.shape
    side = kept.chroma.shape[1]
    rows, columns = (np.minimum(np.arange(GREY_SIDE) * side // length, side - 1) for length in (height, width))
    colour = torch.from_numpy((kept.chroma[:, rows][:, :, columns].astype(np.float32) - 128) / 64)
    return torch.stack([torch.ones_like(light), light, light.square(), *colour.flatten(1)], dim=1)


def added(kept: Shown, copy: Shown, transform: Tensor, blocks: Tensor) -> bool:
    """Tell whether a text or logo is on the copy, and not on the picture that is kept.

    Under a logo that is seen through there is less contrast. Another text or logo has more edges than what is under it.

    Args:
        kept: The picture that is kept.
        copy: Its copy.
        transform: Coordinates of the kept picture to those of the copy `[2, 3]`.
        blocks: Where they differ, bool `[64]`, see `overlaid`.

    Returns:
        `True` also if either cannot be read, as the picture that is kept is the one that lost least.
    """
    try:
        first, second = (_seen(one, kept.print_, map_) for one, map_ in ((kept, torch.eye(2, 3)), (copy, transform)))
    except ImageReadError:
        return True
    height, width = kept.print_.grey.shape
    count = GREY_SIDE // BLOCK
    rows, columns = (
        np.arange(size) * length // size // BLOCK for size, length in zip(first.shape, (height, width), strict=True)
    )
    where = blocks.view(count, count).numpy()[rows][:, columns]
    if where.all():
        return True
    scale = second[~where].std() / max(first[~where].std(), 1.0)
    first = (first - first[~where].mean()) * scale + second[~where].mean()
    under = where & (np.abs(second - first) > _COVERED)
    if int(under.sum()) > 1:
        spread = first[under].std(), second[under].std()
        if min(spread) > 1.0 and np.corrcoef(first[under], second[under])[0, 1] > _SEEN_THROUGH:
            return bool(spread[1] < spread[0])
    edges = [float(sum(np.square(slope) for slope in np.gradient(one))[where].sum()) for one in (first, second)]
    return edges[1] > edges[0]


def _seen(shown: Shown, frame: Fingerprint, transform: Tensor) -> Float64Array:
    """Show the grey levels of a picture in the frame of another one's content, at most 192 pixels long."""
    top, left, bottom, right = shown.print_.content
    size = shown.print_.size
    content = (bottom - top) * size[0], (right - left) * size[1]
    share = min(1.0, _SIDE / max(content))
    small = max(round(size[0] * share), 1), max(round(size[1] * share), 1)
    grey = read_image(shown.picture, channels=1, image_size=small).float()
    height, width = frame.grey.shape
    longer = max(height, width)
    shape = max(round(_SIDE * height / longer), 2), max(round(_SIDE * width / longer), 2)
    y, x = (
        ((2 * torch.arange(count) + 1) / count - 1) * side / longer
        for count, side in zip(shape, (height, width), strict=True)
    )
    place = torch.stack([*torch.meshgrid(x, y, indexing="xy"), torch.ones(shape)], dim=-1) @ transform.T
    unit = torch.tensor([max(content) / size[1], max(content) / size[0]])
    centre = torch.tensor([left + right - 1, top + bottom - 1])
    grid = (place * unit + centre)[None]
    seen = functional.grid_sample(grey[None], grid, mode="bilinear", padding_mode="border", align_corners=False)
    return np.asarray(seen[0, 0].numpy(), np.float64)
