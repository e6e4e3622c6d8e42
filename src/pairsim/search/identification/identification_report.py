"""`evaluate_gallery`: the errors of a gallery, measured with images of people or things that are enrolled or not."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pairsim._common.arrays import Float64Array
from pairsim._common.json_files import json_value
from pairsim._common.numbers import counted, similarity_threshold
from pairsim._common.unit_similarity import lowest_match
from pairsim.data.labels import read_labels
from pairsim.encoding import encode_dataset
from pairsim.evaluation.identification import Searches
from pairsim.search.gallery import Gallery, check_not_empty
from pairsim.search.gallery_ids import given_name
from pairsim.search.identification.outcomes import outcomes
from pairsim.search.identification.search_conditions import POLICY, ImagesEach, SearchConditions, origin_in_words

if TYPE_CHECKING:
    from pairsim.data.named.folder_account import FolderAccount

FPIR_TARGETS = (0.001, 0.01, 0.1)
MAX_RANK = 20
_MAX_POINTS = 200


@dataclass(frozen=True)
class RatesAt:
    """Both error rates at a threshold.

    Attributes:
        threshold: A similarity.
        fpir: Share of non-mated searches that find somebody; NaN without such searches.
        fpir_interval: Its 95 % interval.
        fnir: Share of mated searches that do not find the right one; NaN without such searches.
        fnir_interval: Its 95 % interval.
    """

    threshold: float
    fpir: float
    fpir_interval: tuple[float, float]
    fnir: float
    fnir_interval: tuple[float, float]


@dataclass(frozen=True)
class IdentificationReport:
    """How well a gallery tells who is who, and who is nobody.

    Attributes:
        num_enrolled: Identities in the gallery.
        num_mated: Searches for enrolled identities.
        num_non_mated: Searches for others.
        num_known: Number of enrolled identities that were searched for.
        num_unknown: Number of others.
        threshold: The threshold of `fpir` and `fnir`; NaN if there is none.
        fpir: Share of non-mated searches that find somebody.
        fpir_interval: Its 95 % interval, for other unknown identities.
        fnir: Share of mated searches that do not find the right one.
        fnir_interval: Its 95 % interval, for other enrolled identities.
        rank_1: Share of mated searches with the right identity in the first place, whatever the threshold.
        rank_1_interval: Its 95 % interval, for other enrolled identities.
        cmc: Share of mated searches with the right identity among the first 1, 2, ... of at most 20.
        fnir_at_fpir: FNIR at the threshold of an FPIR of 0.001, 0.01 and 0.1, chosen on the same searches; only what
            the number of searches can show.
        curve: Both rates at some 200 of the thresholds at most, descending, dense where a rate is small.
        conditions: How the searches were made; `None` if only searches were given.
    """

    num_enrolled: int
    num_mated: int
    num_non_mated: int
    num_known: int
    num_unknown: int
    threshold: float
    fpir: float
    fpir_interval: tuple[float, float]
    fnir: float
    fnir_interval: tuple[float, float]
    rank_1: float
    rank_1_interval: tuple[float, float]
    cmc: tuple[float, ...]
    fnir_at_fpir: dict[str, float]
    curve: tuple[RatesAt, ...]
    conditions: SearchConditions | None = None

    @property
    def band(self) -> Float64Array:
        """The outline of the band around `curve` that encloses both intervals at each of its thresholds.

        Returns:
            FPIR and FNIR of its corners `[K, 2]`; of thresholds at which both rates are above 0 and below 1.
        """
        inside = [at for at in self.curve if 0 < at.fpir < 1 and 0 < at.fnir < 1]
        ends = np.array([(*at.fpir_interval, *at.fnir_interval) for at in inside]).reshape(-1, 4)
        left, right, low, high = ends[~np.isnan(ends).any(axis=1)].T
        if not left.size:
            return np.empty((0, 2))
        # Where thresholds fall, the FPIR rises and the FNIR falls; an edge that does not is widened.
        left, right = np.minimum.accumulate(left[::-1])[::-1], np.maximum.accumulate(right)
        low, high = np.minimum.accumulate(low), np.maximum.accumulate(high[::-1])[::-1]
        across = np.concatenate((left, right[-1:], right[::-1], left[:1]))
        return np.stack((across, np.concatenate((low, low[-1:], high[::-1], high[:1]))), axis=1)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values; `None` for NaN."""
        values: dict[str, Any] = json_value(self)
        return values

    def __str__(self) -> str:
        lines = [
            f"{self.num_mated:,} searches for {self.num_known:,} of {self.num_enrolled:,} enrolled identities, "
            f"{self.num_non_mated:,} for {self.num_unknown:,} others"
        ]
        if self.num_mated:
            lines.append(f"right identity first, of those enrolled (rank-1): {self.rank_1:.2%}")
        if not math.isnan(self.threshold):
            lines.append(f"at the threshold {self.threshold:.4f}:")
            for name, meaning, rate, (low, high) in (
                ("FPIR", "unknown, but assigned an identity", self.fpir, self.fpir_interval),
                ("FNIR", "enrolled, but not found", self.fnir, self.fnir_interval),
            ):
                interval = "" if math.isnan(rate) else f" [{low:.2%}, {high:.2%}]"
                lines.append(f"  {name} ({meaning}): {_rate(rate)}{interval}")
        lines += [f"FNIR at an FPIR of {target}: {rate:.2%}" for target, rate in self.fnir_at_fpir.items()]
        of = self.conditions
        if of is not None and of.num_failed_to_acquire:
            line = f"{counted(of.num_failed_to_acquire, 'picture')} could not be read ({of.failure_to_acquire:.2%})"
            if not math.isnan(self.threshold):
                rates = f"FPIR {_rate(of.generalized_fpir)}, FNIR {_rate(of.generalized_fnir)}"
                line = f"{line}; as searches that find no identity: {rates}"
            lines.append(line)
        return "\n".join(lines)


def _rate(value: float) -> str:
    return "no such searches" if math.isnan(value) else f"{value:.2%}"


def evaluate_gallery(
    gallery: Gallery,
    dataset: Any,
    *,
    threshold: float | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> IdentificationReport:
    """Measure the errors of a gallery with labelled images that are not in it.

    Args:
        gallery: The gallery.
        dataset: Labelled; a label that is equal, as text, to an identity of the gallery is a mated search, any other a
            non-mated one.
        threshold: Similarity in [-1, 1]; by default that of the gallery's calibration.
        batch_size: Images embedded at once; by default what suits the device and the size of the images.
        progress: Whether to show a progress bar; by default for long work on a terminal.

    Returns:
        The report; rates are NaN where there are no such searches, and at the threshold where there is none.

    Raises:
        DataError: If the dataset has no labels.
        ValueError: If the gallery is empty, or the threshold is outside [-1, 1].

    Example:
        >>> import torch
        >>> from pairsim import SimilarityModel
        >>> from pairsim.data import ImageTensors
        >>> images = torch.randint(0, 256, (6, 28, 28), dtype=torch.uint8)
        >>> gallery = Gallery(SimilarityModel())
        >>> gallery.add(images[:2, None], ["a", "b"])
        ()
        >>> report = evaluate_gallery(gallery, ImageTensors(images[2:], ["a", "b", "c", "c"]), threshold=0.5)
        >>> report.num_mated, report.num_non_mated
        (2, 2)

    References:
        ISO/IEC 19795-1:2021, Biometric performance testing and reporting, part 1.
    """
    check_not_empty(gallery)
    origin = origin_in_words(threshold, gallery.calibration)
    if threshold is not None:
        threshold = similarity_threshold(threshold)
    elif gallery.calibration is not None:
        threshold = gallery.calibration.threshold
    enrolled = set(gallery.identities)
    labels = [given_name(label, enrolled) for label in read_labels(dataset).tolist()]
    queries = encode_dataset(gallery.model, dataset, batch_size=batch_size, progress=progress)
    searches, _ = outcomes(gallery, queries, labels)
    report = identification_report(searches, math.nan if threshold is None else threshold)
    account: FolderAccount | None = getattr(dataset, "account", None)
    num_failed, num_checked = (0, len(labels)) if account is None else (account.num_unreadable, account.num_checked)
    failure = num_failed / max(num_checked, 1)
    not_enrolled = len(gallery.failed_to_enrol)
    conditions = SearchConditions(
        policy=POLICY,
        threshold_origin=origin,
        enrolled=ImagesEach.of(gallery.identities),
        known=ImagesEach.of(label for label in labels if label in enrolled),
        unknown=ImagesEach.of(label for label in labels if label not in enrolled),
        num_failed_to_enrol=not_enrolled,
        failure_to_enrol=not_enrolled / (len(gallery) + not_enrolled),
        num_failed_to_acquire=num_failed,
        failure_to_acquire=failure,
        generalized_fpir=(1 - failure) * report.fpir,
        generalized_fnir=1 - (1 - failure) * (1 - report.fnir),
    )
    return dataclasses.replace(report, conditions=conditions)


def identification_report(searches: Searches, threshold: float) -> IdentificationReport:
    """Report searches.

    Args:
        searches: In a gallery.
        threshold: A similarity, or NaN for none.

    Returns:
        The report, without conditions.
    """
    floor, nothing = lowest_match(threshold), (math.nan, math.nan)
    known = not math.isnan(threshold)
    missed = searches.fnir_interval(-math.inf)
    shown = [target for target in FPIR_TARGETS if searches.num_mated and searches.num_non_mated * target >= 3]
    return IdentificationReport(
        num_enrolled=searches.num_enrolled,
        num_mated=searches.num_mated,
        num_non_mated=searches.num_non_mated,
        num_known=len(set(searches.queried[searches.mated].tolist())),
        num_unknown=len(set(searches.queried[searches.non_mated].tolist())),
        threshold=threshold,
        fpir=searches.fpir(floor) if known else math.nan,
        fpir_interval=searches.fpir_interval(floor) if known else nothing,
        fnir=searches.fnir(floor) if known else math.nan,
        fnir_interval=searches.fnir_interval(floor) if known else nothing,
        rank_1=1.0 - searches.fnir(-math.inf),
        rank_1_interval=(1.0 - missed[1], 1.0 - missed[0]),
        cmc=tuple(searches.cmc(min(MAX_RANK, searches.num_enrolled)).tolist()),
        fnir_at_fpir={f"{target:g}": searches.fnir_at_fpir(target) for target in shown},
        curve=tuple(
            RatesAt(
                at,
                searches.fpir(at),
                searches.fpir_interval(at),
                searches.fnir(at),
                searches.fnir_interval(at),
            )
            for at in _thresholds(searches)
        ),
    )


def _thresholds(searches: Searches) -> list[float]:
    """Return which thresholds of a curve to keep, descending: of equal rates, those at which the other is lowest."""
    thresholds, fpir, fnir = searches.curve()
    if thresholds.size <= _MAX_POINTS:
        return list(map(float, thresholds))
    shares = np.linspace(0.0, 1.0, _MAX_POINTS // 2 - 1)
    kept = {0, thresholds.size - 1}
    if searches.num_non_mated:
        rates = (1.0 / searches.num_non_mated) ** (1.0 - shares)
        kept.update(np.searchsorted(fpir, rates + 1e-12, side="right") - 1)
    if searches.num_mated:
        rates = (1.0 / searches.num_mated) ** (1.0 - shares)
        kept.update(thresholds.size - np.searchsorted(fnir[::-1], rates + 1e-12, side="right"))
    return [float(thresholds[place]) for place in sorted(map(int, kept)) if 0 <= place < thresholds.size]
