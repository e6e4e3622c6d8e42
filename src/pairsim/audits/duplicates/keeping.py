"""Choose which of several copies to keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from pairsim._common.arrays import Float64Array
from pairsim.audits.duplicates.changes import content_size, geometry, relative
from pairsim.audits.duplicates.file_facts import FileFacts, keep_order, keep_reason
from pairsim.audits.duplicates.fingerprints import Fingerprint
from pairsim.audits.duplicates.registration import frames, moved

Answer: TypeAlias = tuple[list[int], str]

_WHOLE = 0.97
"""Share of a picture that another one shows, from which it is no crop."""
_SAME_TONE = 4.0
"""Mean difference, in grey levels or of colour, within which copies have the same tones."""
_SAME_PIXELS = 0.02
_GREY, _COLOURED = 2.5, 5.0
_CONSENSUS = 4
"""Copies of which most can be right about the tones."""
_SAME_DETAIL, _BLURRED = 1.3, 0.6
_MANY = 64
"""Copies whose tones are compared with each other, at most."""


def chosen(
    pictures: Sequence[Fingerprint], transforms: Tensor, facts: Sequence[FileFacts], names: Sequence[str]
) -> tuple[int, str]:
    """Choose the copy to keep: the one that lost least.

    These questions are asked in turn, of the copies that are left: Which show the whole picture? Which have the tones
    and the orientation of most of them, where there are three or more? Which are in colour? Which have most pixels, not
    counting a border, nor pixels that were only added by enlarging? The rest is decided by the file, see `keep_order`.

    Args:
        pictures: `m` copies.
        transforms: Coordinates of one frame to those of each, `[m, 2, 3]`.
        facts: On their files.
        names: Their names.

    Returns:
        The index of the one to keep, and why.
    """
    left = list(range(len(pictures)))
    reason = ""
    for question in (_whole, _typical, _coloured, _without_border, _largest, _unfiltered, _source):
        good, why = question(left, pictures, transforms, facts)
        if good and len(good) < len(left):
            left, reason = good, reason or why
        if len(left) == 1:
            return left[0], reason
    ranked = sorted(left, key=lambda k: keep_order(facts[k], names[k]))
    return ranked[0], reason or keep_reason(facts[ranked[0]], facts[ranked[1]])


def _whole(left: list[int], pictures: Sequence[Fingerprint], transforms: Tensor, facts: Sequence[FileFacts]) -> Answer:
    widest = _widest(left, pictures, transforms)
    shown = {k: geometry(pictures[widest], pictures[k], relative(transforms, widest, k)).shown for k in left}
    good = [k for k in left if shown[k] >= _WHOLE]
    crops = [shown[k] for k in left if k not in good]
    return good, f"shows most, others at most {max(crops):.0%} of it".replace("%", " %") if crops else ""


def _typical(left: list[int], pictures: Sequence[Fingerprint], transforms: Tensor, facts: Sequence[FileFacts]) -> Answer:
    if len(left) < _CONSENSUS:
        return left, ""
    widest = _widest(left, pictures, transforms)
    compared = sorted(left, key=lambda k: -facts[k].num_pixels)[:_MANY]
    target = frames([pictures[widest].grey] * len(left))
    maps = torch.stack([relative(transforms, widest, k) for k in left])
    pixels, inside = moved(frames([pictures[k].grey for k in left]), target, maps)
    turned = [geometry(pictures[widest], pictures[k], map_).orientation for k, map_ in zip(left, maps, strict=True)]
    colours = np.array([pictures[k].chroma.mean(axis=(1, 2)) for k in left])
    at = [left.index(k) for k in compared]
    distance = np.zeros((len(left), len(at)))
    for column, other in enumerate(at):
        both = inside * inside[other]
        light = ((pixels - pixels[other]).abs() * both).sum(dim=(1, 2)) / both.sum(dim=(1, 2)).clamp(min=1.0)
        colour = np.abs(colours - colours[other]).max(axis=1)
        same = np.array([one == turned[other] for one in turned])
        distance[:, column] = np.maximum(light.numpy(), colour) + 255.0 * ~same
    typical = int(np.median(distance[at], axis=0).argmin())
    good = [k for row, k in enumerate(left) if distance[row, typical] <= _SAME_TONE]
    return good, f"unchanged: {len(good)} of {len(left)} copies have these tones and this orientation"


def _coloured(left: list[int], pictures: Sequence[Fingerprint], transforms: Tensor, facts: Sequence[FileFacts]) -> Answer:
    strength = {k: _saturation(pictures[k]) for k in left}
    if max(strength.values()) < _COLOURED:
        return left, ""
    return [k for k in left if strength[k] > _GREY], "in colour, others are grey"


def _without_border(
    left: list[int], pictures: Sequence[Fingerprint], transforms: Tensor, facts: Sequence[FileFacts]
) -> Answer:
    share = {k: float(np.prod(content_size(pictures[k])) / np.prod(pictures[k].size)) for k in left}
    most = max(share.values())
    return [k for k in left if share[k] > most - _SAME_PIXELS], "without a border, others have one"


def _largest(left: list[int], pictures: Sequence[Fingerprint], transforms: Tensor, facts: Sequence[FileFacts]) -> Answer:
    pixels = {k: float(np.prod(content_size(pictures[k]))) for k in left}
    real = [k for k in left if not any(_enlarged(pictures[k], pictures[s], pixels[k] / pixels[s]) for s in left)]
    most = max(pixels[k] for k in real)
    good = [k for k in real if pixels[k] >= most * (1 - _SAME_PIXELS)]
    others = [k for k in left if k not in good]
    if not others:
        return good, ""
    kept, other = facts[good[0]], max((facts[k] for k in others), key=lambda one: one.num_pixels)
    if other.num_pixels > kept.num_pixels:
        return good, (
            f"most detail: {kept.width} x {kept.height}, others were enlarged to {other.width} x {other.height}"
        )
    return good, f"most pixels: {kept.width} x {kept.height}, others at most {other.width} x {other.height}"


def _enlarged(large: Fingerprint, small: Fingerprint, ratio: float) -> bool:
    """Tell whether the larger of two copies has no more detail: enlarging by s divides the Laplacian by about s^2."""
    return ratio > 1 + 2 * _SAME_PIXELS and large.detail * ratio**0.5 < small.detail


def _unfiltered(
    left: list[int], pictures: Sequence[Fingerprint], transforms: Tensor, facts: Sequence[FileFacts]
) -> Answer:
    detail = np.array([pictures[k].detail for k in left]) + 0.5
    usual = float(np.median(detail)) if len(left) >= _CONSENSUS else float(detail.max())
    low, high = (1 / _SAME_DETAIL, _SAME_DETAIL) if len(left) >= _CONSENSUS else (_BLURRED, np.inf)
    return [k for k, one in zip(left, detail, strict=True) if low <= one / usual <= high], "neither blurred nor sharpened"


def _source(left: list[int], pictures: Sequence[Fingerprint], transforms: Tensor, facts: Sequence[FileFacts]) -> Answer:
    """Prefer a lossy file to lossless ones with its very pixels: they were decoded from it."""
    lossy = {pictures[k].digest for k in left if facts[k].lossless is False}
    good = [k for k in left if not (facts[k].lossless and pictures[k].digest in lossy)]
    return good, "the source: others hold the pixels that were decoded from it"


def _widest(left: list[int], pictures: Sequence[Fingerprint], transforms: Tensor) -> int:
    def extent(k: int) -> float:
        height, width = content_size(pictures[k])
        return min(height, width) / max(height, width) / abs(float(torch.linalg.det(transforms[k, :, :2])) or 1.0)

    return max(left, key=extent)


def _saturation(picture: Fingerprint) -> float:
    chroma: Float64Array = picture.chroma.astype(np.float64) - 128
    return float(np.linalg.norm(chroma, axis=0).mean())
