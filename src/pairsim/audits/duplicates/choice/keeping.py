"""Choose which of several copies to keep."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from pairsim._common.arrays import Float64Array
from pairsim.audits.duplicates.choice.added_frames import reduced, surrounded
from pairsim.audits.duplicates.choice.changes import content_size, geometry, relative
from pairsim.audits.duplicates.choice.file_facts import FileFacts, keep_order, keep_reason
from pairsim.audits.duplicates.choice.full_size import enlarged, noise_added, support
from pairsim.audits.duplicates.choice.overlays import Shown
from pairsim.audits.duplicates.choice.placing import SAME_ANGLE, Place, placed
from pairsim.audits.duplicates.choice.resaving import saved_again, saved_roughly
from pairsim.audits.duplicates.listed_pictures import Listed
from pairsim.audits.duplicates.matching.fingerprints import Fingerprint
from pairsim.audits.duplicates.matching.registration import frames, in_blocks, moved
from pairsim.images import PictureLike

Answer: TypeAlias = tuple[list[int], str]

_WHOLE = 0.97
"""Share of a picture that another one shows, from which it is no crop."""
_ROUGH_QUALITY = 50
"""JPEG quality below which the loss is seen."""
_ENLARGED = 1.6
"""Pixels along a side to those of another copy, at most, of one that may be made from it."""
_INSIDE = 0.85
"""Share of a picture that is seen, at least, where something was added around it; rotation cuts its corners."""
_SAME_TONE = 3.0
"""Mean difference, in grey levels of an 8 x 8 block or of colour, within which copies have the same tones."""
_BLOCKS = 61
"""Blocks, of 64, in which they do: others lie on strong edges, which never match exactly."""
_OTHER_TONE = 25.0
"""Difference from which it does not matter how large it is."""
_SAME_SCALE = 0.025
"""Share of the pixels along a side within which copies have the same size."""
_GREY, _COLOURED = 2.5, 5.0
_CONSENSUS = 4
"""Copies of which most can be right about the tones."""
_MOST = 0.5
"""Share of the other copies that speak for one of two, from which the other is left out."""
_BLURRED = 0.5
"""Difference of the logarithms of detail from which one of two copies is blurred."""
_NOISIER = 5.0
"""Grey levels by which the detail of the smoothest parts differs, at least, where noise was added."""
_MIN_SHARED = 16.0
_MANY = 64
"""Copies whose tones are compared with each other, at most."""
_READ_AGAIN = 12
"""Copies that are compared with each other at full size, at most."""


def chosen(
    pictures: Sequence[Fingerprint], transforms: Tensor, facts: Sequence[FileFacts], listed: Sequence[Listed]
) -> tuple[int, str]:
    """Choose the copy to keep: the one that lost least.

    These questions are asked in turn, of the copies that are left: Which have most pictures, as animations have? Which
    were not made from another one by a rough compression, or by adding a frame or the corners of a rotation? Which show
    the whole picture? Which have the tones and the orientation of most of them, where there are four or more?
    Which are in colour? Which have no border? Which have most pixels, unless they were enlarged from the usual size?
    Which do most copies of that size speak for, where there are four or more? To which was no noise added? Which are
    not blurred? Which were not saved from another one? The rest is decided by the file, see `keep_order`. Files are
    read again only to tell which copy was enlarged, changed in its details, or saved from another one.

    Args:
        pictures: `m` copies.
        transforms: Coordinates of one frame to those of each, `[m, 2, 3]`.
        facts: On their files.
        listed: As they were listed.

    Returns:
        The index of the one to keep, and why: what each question left out, of the copies that were left then.
    """
    left = list(range(len(pictures)))
    reasons: list[str] = []
    copies = _Copies(pictures, transforms, facts, [one.picture for one in listed])
    questions: tuple[Callable[[list[int]], Answer], ...] = (
        copies.most_pictures,
        copies.fine,
        copies.alone,
        copies.whole,
        copies.typical,
        copies.coloured,
        copies.without_border,
        copies.largest,
        copies.central,
        copies.quiet,
        copies.sharp,
        copies.source,
    )
    if len({one.digest for one in pictures}) == 1:  # equal pixels differ only in their files
        questions = questions[-1:]
    for question in questions:
        good, why = question(left)
        if good and len(good) < len(left):
            reasons.append(_of_these(left, pictures) + why)
            left = good
    ranked = sorted(left, key=lambda k: keep_order(facts[k], listed[k].name))
    if len(ranked) > 1:
        reasons.append(_of_these(left, pictures) + keep_reason(facts[ranked[0]], facts[ranked[1]]))
    return ranked[0], "; ".join(reasons)


def _of_these(left: list[int], pictures: Sequence[Fingerprint]) -> str:
    return "" if len(left) == len(pictures) else f"of these {len(left)}, "


@dataclass(frozen=True)
class _Copies:
    pictures: Sequence[Fingerprint]
    transforms: Tensor
    facts: Sequence[FileFacts]
    files: Sequence[PictureLike]
    reduced: dict[int, Tensor | None] = field(default_factory=dict, init=False)  # read once

    @cached_property
    def places(self) -> list[Place]:
        return placed(self.pictures, self.transforms)

    def most_pictures(self, left: list[int]) -> Answer:
        counts = sorted({self.facts[k].frames for k in left})
        good = [k for k in left if self.facts[k].frames == counts[-1]]
        return good, f"has {counts[-1]} pictures, others at most {counts[-2]}" if len(counts) > 1 else ""

    def fine(self, left: list[int]) -> Answer:
        """Leave out those that were saved from another one, perhaps slightly enlarged, with much loss."""
        some = self.by_file(left)[:_READ_AGAIN]
        rough = {
            k
            for k in some
            for other in some
            if self.facts[k].quality is not None
            and self.quality(k) < _ROUGH_QUALITY
            and (self.facts[other].lossless or self.quality(other) > self.quality(k))
            and self.about_as_large(k, other)
            and saved_roughly(self.files[other], self.files[k])
        }
        return [k for k in left if k not in rough], "others were made from it by a rough compression"

    def about_as_large(self, copy: int, source: int) -> bool:
        first, second = self.facts[copy], self.facts[source]
        ratios = first.width / second.width, first.height / second.height
        least, most = min(ratios), max(ratios)
        return least > 1 - _SAME_SCALE and most < _ENLARGED and most / least < 1 + _SAME_SCALE

    def alone(self, left: list[int]) -> Answer:
        """Leave out those that show another one of about the same size with something around it."""
        some = self.by_file(left)[:_READ_AGAIN]
        framed = {k for k in some if any(k != other and self.has_around(k, other) for other in some)}
        return [k for k in left if k not in framed], "without a frame or corners around it, which others have"

    def has_around(self, outer: int, inner: int) -> bool:
        transform = relative(self.transforms, outer, inner)
        first, second = self.pictures[outer], self.pictures[inner]
        lies = geometry(first, second, transform)
        is_rotated = abs(lies.angle) >= SAME_ANGLE
        if (lies.shown >= _WHOLE and not is_rotated) or lies.showing < _INSIDE or lies.scale < 1 / _ENLARGED:
            return False
        if outer not in self.reduced:
            self.reduced[outer] = reduced(Shown(self.files[outer], first))
        return surrounded(self.reduced[outer], first, second, transform)

    def whole(self, left: list[int]) -> Answer:
        most = max(self.places[k].extent for k in left)
        shown = {k: self.places[k].extent / most for k in left}
        good = [k for k in left if shown[k] >= _WHOLE]
        crops = [shown[k] for k in left if k not in good]
        return good, f"shows most, others at most {max(crops):.0%} of it".replace("%", " %") if crops else ""

    def typical(self, left: list[int]) -> Answer:
        if len(left) < _CONSENSUS:
            return left, ""
        usual = self.of_usual_frame(left)
        compared = sorted(left, key=lambda k: (k not in usual, -self.facts[k].num_pixels))[:_MANY]
        target = frames([self.pictures[compared[0]].grey] * len(left))
        maps = torch.stack([relative(self.transforms, compared[0], k) for k in left])
        pixels, inside = moved(frames([self.pictures[k].grey for k in left]), target, maps)
        lie = [self.places[k] for k in left]
        colours = np.array([[*self.pictures[k].chroma.mean(axis=(1, 2)), _saturation(self.pictures[k])] for k in left])
        at = [left.index(k) for k in compared]
        distance = np.zeros((len(left), len(at)))
        for column, other in enumerate(at):
            both = inside * inside[other]
            difference = in_blocks((pixels - pixels[other]) * both).sum(dim=2).abs()
            light = (difference / in_blocks(both).sum(dim=2).clamp(min=_MIN_SHARED)).kthvalue(_BLOCKS, dim=0).values
            colour = np.abs(colours - colours[other]).max(axis=1)
            same = np.array(
                [
                    one.orientation == lie[other].orientation and abs(one.angle - lie[other].angle) < SAME_ANGLE
                    for one in lie
                ]
            )
            frame = np.array([one.area / lie[other].area for one in lie])
            same &= (frame > _WHOLE) & (frame < 1 / _WHOLE)
            distance[:, column] = np.maximum(light.numpy(), colour) + 255.0 * ~same
        typical = int(np.minimum(distance, _OTHER_TONE).sum(axis=0).argmin())
        good = [k for row, k in enumerate(left) if distance[row, typical] <= _SAME_TONE]
        if len(good) < 2:  # all differ: none of them is usual
            return left, ""
        return good, f"unchanged: {len(good)} of {len(left)} copies have the same tones and orientation"

    def coloured(self, left: list[int]) -> Answer:
        strength = {k: _saturation(self.pictures[k]) for k in left}
        if max(strength.values()) < _COLOURED:
            return left, ""
        return [k for k in left if strength[k] > _GREY], "in colour, others are grey"

    def without_border(self, left: list[int]) -> Answer:
        """Prefer the smallest area, if it has no border of its own: a cut margin is no border that was added."""
        least = min(self.places[k].area for k in left)
        good = [k for k in left if self.places[k].area * _WHOLE <= least]
        plain = any(np.prod(content_size(self.pictures[k])) >= _WHOLE * self.facts[k].num_pixels for k in good)
        return good if plain else left, "without a border, others have one"

    def largest(self, left: list[int]) -> Answer:
        real = [k for k in left if not self.enlarged(k, left)]
        most = max(self.places[k].scale for k in real)
        good = [k for k in real if self.places[k].scale >= most * (1 - _SAME_SCALE)]
        others = [k for k in left if k not in good]
        if not others:
            return good, ""
        kept, other = self.facts[good[0]], max((self.facts[k] for k in others), key=lambda one: one.num_pixels)
        if other.num_pixels > kept.num_pixels:
            return good, (
                f"most detail: {kept.width} x {kept.height}, others were enlarged to {other.width} x {other.height}"
            )
        return good, f"most pixels: {kept.width} x {kept.height}, others at most {other.width} x {other.height}"

    def enlarged(self, large: int, left: list[int]) -> bool:
        """Tell whether a copy has no more detail than those of the usual scale.

        A photograph that was not sharp from the beginning looks the same, so the scale of most copies decides too.
        """
        scale = self.places[large].scale
        smaller = [k for k in left if self.places[k].scale < scale * (1 - _SAME_SCALE)]
        if len(self.pictures) < _CONSENSUS or not smaller:
            return False
        usual = max(smaller, key=lambda k: (self.num_of_scale[k], self.places[k].scale))
        if self.num_of_scale[usual] <= self.num_of_scale[large]:
            return False
        share = self.places[usual].scale
        same = [k for k in smaller if abs(self.places[k].scale / share - 1) <= _SAME_SCALE]
        middle = sorted(same, key=lambda k: self.pictures[k].detail)[len(same) // 2]
        return enlarged(self.files[large], self.files[middle], share / scale)

    @cached_property
    def num_of_scale(self) -> list[int]:
        """Number of copies that have the scale of each."""
        scales = np.array([place.scale for place in self.places])
        return [int((np.abs(scales / one - 1) <= _SAME_SCALE).sum()) for one in scales]

    def central(self, left: list[int]) -> Answer:
        """Leave out those of the usual size that most of that size speak against, but for the source of another."""
        usual = self.of_usual_frame(left)
        frame = self.places[usual[0]].frame
        others = [k for k in range(len(self.pictures)) if self.places[k].frame == frame and k not in usual]
        compared = self.different(self.by_file(usual) + self.by_file(others))[:_READ_AGAIN]
        candidates = [k for k in compared if k in usual]
        if len(candidates) < 2 or len(compared) < _CONSENSUS:
            return left, ""
        shares = support([self.files[k] for k in compared])
        lost = {
            self.pictures[k].digest
            for row, k in enumerate(candidates)
            if any(
                shares[better, row] > _MOST and not self.was_saved_from(candidates[better], k)
                for better in range(len(candidates))
            )
        }
        good = [k for k in left if self.pictures[k].digest not in lost]
        return good, f"nearest to most of {len(compared)} copies, pixel by pixel"

    def quiet(self, left: list[int]) -> Answer:
        some = self.by_file(left)[:_READ_AGAIN]
        noisy = {
            k
            for k in some
            for other in some
            if self.places[k].frame == self.places[other].frame
            and self.pictures[k].noise > self.pictures[other].noise + _NOISIER
            and noise_added(self.files[k], self.files[other])
        }
        return [k for k in left if k not in noisy], "without noise, which others have"

    def sharp(self, left: list[int]) -> Answer:
        detail = np.log([self.pictures[k].detail + 1.0 for k in left])
        return [
            k for k, one in zip(left, detail, strict=True) if one >= detail.max() - _BLURRED
        ], "not blurred, as others are"

    def source(self, left: list[int]) -> Answer:
        """Prefer a lossy file to those that were made from it: of the same pixels, or by saving it again."""
        lossy = self.by_file([k for k in left if self.facts[k].lossless is False])
        digests = {self.pictures[k].digest for k in lossy}
        decoded = {k for k in left if self.facts[k].lossless and self.pictures[k].digest in digests}
        # a file of a lower quality that was made from one of a higher needs no test: it is not preferred anyway
        again = {
            k
            for k in lossy[:_READ_AGAIN]
            if any(
                self.quality(k) >= self.quality(other) and self.was_saved_from(k, other)
                for other in lossy[:_READ_AGAIN]
            )
        }
        return [k for k in left if k not in decoded | again], "the source: others were saved from it"

    def was_saved_from(self, copy: int, source: int) -> bool:
        first, second = self.pictures[copy], self.pictures[source]
        alike = first.size == second.size and abs(math.log((first.detail + 1) / (second.detail + 1))) < _BLURRED
        if not alike or first.digest == second.digest:
            return False
        return saved_again(self.files[source], self.files[copy], finer=self.quality(copy) > self.quality(source))

    def quality(self, k: int) -> int:
        return self.facts[k].quality or 0

    def by_file(self, some: list[int]) -> list[int]:
        """Sort by `keep_order`, and by pixels instead of names."""
        return sorted(some, key=lambda k: (keep_order(self.facts[k], ""), self.pictures[k].digest))

    def of_usual_frame(self, left: list[int]) -> list[int]:
        """Return those of the frame that most of them have; of equally many, of the largest scale."""
        counts = Counter(self.places[k].frame for k in left)
        best = max(left, key=lambda k: (counts[self.places[k].frame], self.places[k].scale))
        return [k for k in left if self.places[k].frame == self.places[best].frame]

    def different(self, some: list[int]) -> list[int]:
        """Take one of those with the same pixels."""
        first: dict[bytes, int] = {}
        for k in some:
            first.setdefault(self.pictures[k].digest, k)
        return list(first.values())


def _saturation(picture: Fingerprint) -> float:
    chroma: Float64Array = picture.chroma.astype(np.float64) - 128
    return float(np.linalg.norm(chroma, axis=0).mean())
