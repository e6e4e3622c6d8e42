"""Choose which of several copies to keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from pairsim._common.arrays import Float64Array
from pairsim.audits.duplicates.choice.changes import content_size, geometry, relative
from pairsim.audits.duplicates.choice.file_facts import FileFacts, keep_order, keep_reason
from pairsim.audits.duplicates.choice.resaving import saved_again
from pairsim.audits.duplicates.listed_pictures import Listed
from pairsim.audits.duplicates.matching.fingerprints import Fingerprint
from pairsim.audits.duplicates.matching.registration import frames, in_blocks, moved
from pairsim.images import PictureLike

Answer: TypeAlias = tuple[list[int], str]

_WHOLE = 0.97
"""Share of a picture that another one shows, from which it is no crop."""
_SAME_TONE = 3.0
"""Mean difference, in grey levels of an 8 x 8 block or of colour, within which copies have the same tones."""
_OTHER_TONE = 25.0
"""Difference from which it does not matter how large it is."""
_SAME_PIXELS = 0.05
_GREY, _COLOURED = 2.5, 5.0
_CONSENSUS = 4
"""Copies of which most can be right about the tones."""
_SAME_DETAIL, _OTHER_DETAIL, _BLURRED = 0.4, 1.0, 0.5
"""Differences of the logarithms of detail and noise."""
_MIN_SHARED = 16.0
_MANY = 64
"""Copies whose tones are compared with each other, at most."""


def chosen(
    pictures: Sequence[Fingerprint], transforms: Tensor, facts: Sequence[FileFacts], listed: Sequence[Listed]
) -> tuple[int, str]:
    """Choose the copy to keep: the one that lost least.

    These questions are asked in turn, of the copies that are left: Which have most pictures, as animations have? Which
    show the whole picture? Which have the tones and the orientation of most of them, where there are four or more?
    Which are in colour? Which have no border? Which have most pixels, unless they were enlarged from the usual size?
    Which are neither blurred nor noisy? Which were not saved from another one? The rest is decided by the file, see
    `keep_order`.

    Args:
        pictures: `m` copies.
        transforms: Coordinates of one frame to those of each, `[m, 2, 3]`.
        facts: On their files.
        listed: As they were listed.

    Returns:
        The index of the one to keep, and why.
    """
    left = list(range(len(pictures)))
    reasons: list[str] = []
    copies = _Copies(pictures, transforms, facts, [one.picture for one in listed])
    questions: tuple[Callable[[list[int]], Answer], ...] = (
        copies.most_pictures,
        copies.whole,
        copies.typical,
        copies.coloured,
        copies.without_border,
        copies.largest,
        copies.unfiltered,
        copies.source,
    )
    if len({one.digest for one in pictures}) == 1:  # equal pixels differ only in their files
        questions = questions[-1:]
    for question in questions:
        good, why = question(left)
        if good and len(good) < len(left):
            left = good
            reasons.append(why)
    ranked = sorted(left, key=lambda k: keep_order(facts[k], listed[k].name))
    if len(ranked) > 1:
        reasons.append(keep_reason(facts[ranked[0]], facts[ranked[1]]))
    return ranked[0], "; ".join(reasons)


@dataclass(frozen=True)
class _Copies:
    pictures: Sequence[Fingerprint]
    transforms: Tensor
    facts: Sequence[FileFacts]
    files: Sequence[PictureLike]

    def most_pictures(self, left: list[int]) -> Answer:
        counts = sorted({self.facts[k].frames for k in left})
        good = [k for k in left if self.facts[k].frames == counts[-1]]
        return good, f"has {counts[-1]} pictures, others at most {counts[-2]}" if len(counts) > 1 else ""

    def whole(self, left: list[int]) -> Answer:
        widest = self.widest(left)
        shown = {
            k: geometry(self.pictures[widest], self.pictures[k], relative(self.transforms, widest, k)).shown
            for k in left
        }
        good = [k for k in left if shown[k] >= _WHOLE]
        crops = [shown[k] for k in left if k not in good]
        return good, f"shows most, others at most {max(crops):.0%} of it".replace("%", " %") if crops else ""

    def typical(self, left: list[int]) -> Answer:
        if len(left) < _CONSENSUS:
            return left, ""
        widest = self.widest(left)
        compared = sorted(left, key=lambda k: -self.facts[k].num_pixels)[:_MANY]
        target = frames([self.pictures[widest].grey] * len(left))
        maps = torch.stack([relative(self.transforms, widest, k) for k in left])
        pixels, inside = moved(frames([self.pictures[k].grey for k in left]), target, maps)
        lie = [geometry(self.pictures[widest], self.pictures[k], map_) for k, map_ in zip(left, maps, strict=True)]
        colours = np.array([[*self.pictures[k].chroma.mean(axis=(1, 2)), _saturation(self.pictures[k])] for k in left])
        at = [left.index(k) for k in compared]
        distance = np.zeros((len(left), len(at)))
        for column, other in enumerate(at):
            both = inside * inside[other]
            difference = in_blocks((pixels - pixels[other]) * both).sum(dim=2).abs()
            light = (difference / in_blocks(both).sum(dim=2).clamp(min=_MIN_SHARED)).amax(dim=0)
            colour = np.abs(colours - colours[other]).max(axis=1)
            same = np.array([one.orientation == lie[other].orientation for one in lie])
            frame = np.array([one.around / lie[other].around for one in lie])
            same &= (frame > _WHOLE) & (frame < 1 / _WHOLE)
            distance[:, column] = np.maximum(light.numpy(), colour) + 255.0 * ~same
        typical = int(np.minimum(distance, _OTHER_TONE).sum(axis=0).argmin())
        good = [k for row, k in enumerate(left) if distance[row, typical] <= _SAME_TONE]
        if len(good) < 2:  # all differ: none of them is usual
            return left, ""
        return good, f"unchanged: {len(good)} of {len(left)} copies have these tones and this orientation"

    def coloured(self, left: list[int]) -> Answer:
        strength = {k: _saturation(self.pictures[k]) for k in left}
        if max(strength.values()) < _COLOURED:
            return left, ""
        return [k for k in left if strength[k] > _GREY], "in colour, others are grey"

    def without_border(self, left: list[int]) -> Answer:
        widest = self.widest(left)
        around = {
            k: geometry(self.pictures[widest], self.pictures[k], relative(self.transforms, widest, k)) for k in left
        }
        area = {k: one.inside / one.around for k, one in around.items()}
        least = min(area.values())
        return [k for k in left if area[k] * _WHOLE <= least], "without a border, others have one"

    def largest(self, left: list[int]) -> Answer:
        pixels = {k: float(np.prod(content_size(self.pictures[k]))) for k in left}
        real = [k for k in left if not self.enlarged(k, left, pixels)]
        most = max(pixels[k] for k in real)
        good = [k for k in real if pixels[k] >= most * (1 - _SAME_PIXELS)]
        others = [k for k in left if k not in good]
        if not others:
            return good, ""
        kept, other = self.facts[good[0]], max((self.facts[k] for k in others), key=lambda one: one.num_pixels)
        if other.num_pixels > kept.num_pixels:
            return good, (
                f"most detail: {kept.width} x {kept.height}, others were enlarged to {other.width} x {other.height}"
            )
        return good, f"most pixels: {kept.width} x {kept.height}, others at most {other.width} x {other.height}"

    def enlarged(self, large: int, left: list[int], pixels: Mapping[int, float]) -> bool:
        """Tell whether a copy has no more detail than smaller ones, whose size is the usual one.

        Enlarging divides the Laplacian by about the square of the factor. A photograph that was not sharp from the
        beginning looks the same, so the size of most copies decides.
        """
        if len(left) < _CONSENSUS:
            return False
        counts = {k: sum(abs(pixels[other] / pixels[k] - 1) <= _SAME_PIXELS for other in left) for k in left}
        return any(
            pixels[large] > pixels[small] * (1 + 2 * _SAME_PIXELS)
            and counts[small] > counts[large]
            and self.pictures[large].detail * (pixels[large] / pixels[small]) ** 0.5 < self.pictures[small].detail
            for small in left
        )

    def unfiltered(self, left: list[int]) -> Answer:
        """Prefer those with the detail and noise of most; of two or three, those that are not blurred."""
        detail, noise = (np.log([getattr(self.pictures[k], name) + 1.0 for k in left]) for name in ("detail", "noise"))
        if len(left) < _CONSENSUS:
            good = detail >= detail.max() - _BLURRED
        else:
            distance = np.abs(detail[:, None] - detail) + np.abs(noise[:, None] - noise)
            usual = int(np.minimum(distance, _OTHER_DETAIL).sum(axis=0).argmin())
            good = distance[:, usual] <= _SAME_DETAIL
        return [k for k, one in zip(left, good, strict=True) if one], "neither blurred, sharpened nor noisy"

    def source(self, left: list[int]) -> Answer:
        """Prefer a lossy file to those that were made from it: of the same pixels, or by saving it again."""
        lossy = [k for k in left if self.facts[k].lossless is False]
        digests = {self.pictures[k].digest for k in lossy}
        decoded = {k for k in left if self.facts[k].lossless and self.pictures[k].digest in digests}
        # a file of a lower quality that was made from one of a higher needs no test: it is not preferred anyway
        again = {
            k
            for k in lossy
            if any(
                (self.facts[k].quality or 0) > (self.facts[other].quality or 0)
                and saved_again(self.files[other], self.files[k])
                for other in lossy
            )
        }
        return [k for k in left if k not in decoded | again], "the source: others were saved from it"

    def widest(self, left: list[int]) -> int:
        def extent(k: int) -> float:
            height, width = content_size(self.pictures[k])
            return (
                min(height, width) / max(height, width) / abs(float(torch.linalg.det(self.transforms[k, :, :2])) or 1.0)
            )

        return max(left, key=extent)


def _saturation(picture: Fingerprint) -> float:
    chroma: Float64Array = picture.chroma.astype(np.float64) - 128
    return float(np.linalg.norm(chroma, axis=0).mean())
