"""`calibrate_gallery`: choose the threshold of a gallery by the FPIR, from searches for unknown identities."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from pairsim._common.arrays import check_share
from pairsim._common.numbers import whole_number
from pairsim._common.unit_similarity import MATCH_TOLERANCE, lowest_match
from pairsim.data.class_index import ClassIndex
from pairsim.data.labels import read_labels
from pairsim.encoding import encode_dataset
from pairsim.errors import DataError, printable
from pairsim.evaluation import PairScores, fit_platt
from pairsim.evaluation.fpir_growth import FpirGrowth, grown
from pairsim.evaluation.fpir_threshold import fpir_threshold
from pairsim.evaluation.identification import Searches
from pairsim.evaluation.pairs.ranked import IntArray
from pairsim.evaluation.probabilities.priors import log_odds
from pairsim.search.gallery import Gallery
from pairsim.search.gallery_ids import given_name
from pairsim.search.identification.gallery_calibration import GalleryCalibration, PredictedFpir
from pairsim.search.identification.outcomes import leave_one_out, mated_and_non_mated, outcomes

MIN_IDENTITIES = 10
"""Identities that non-mated searches have to be of: with fewer, no interval of their rate is worth stating."""

SIZES = (1, 1.5, 2, 3, 5, 10, 20)


def calibrate_gallery(
    gallery: Gallery,
    *,
    target_fpir: float = 0.01,
    unknown: Any = None,
    prior: float = 0.5,
    max_searches: int = 5000,
    source: str = "",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> GalleryCalibration:
    """Choose the threshold of a gallery by its false positive identification rate, and store both in it.

    The rate is cross-validated over identities: what searches for others than those that chose the threshold find.

    Searches for unknown identities give the rate. By default they are the gallery's own images, each without its own
    identity. Searches for enrolled identities, for the FNIR and for probabilities, are the images of identities with
    several, each compared with the mean of the others.

    Args:
        gallery: The gallery; its `calibration` is replaced.
        target_fpir: Highest share in (0, 1) of searches for unknown identities that may find somebody.
        unknown: A labelled dataset of identities that are not in the gallery, nor named like one of it; better than the
            gallery's own images if they are what queries are like, and the only way for a gallery of few identities.
        prior: Share of searches in use, in (0, 1), that are for enrolled identities. Probabilities depend on it.
        max_searches: Images to search at most, drawn at random; at least 1.
        source: Name of the unknown identities, stored with the calibration.
        batch_size: Images embedded at once; by default what suits the device and the size of the images.
        progress: Whether to show a progress bar; by default for long work on a terminal.

    Returns:
        The stored calibration, with predictions for the gallery at up to 20 times its size.

    Raises:
        DataError: If `unknown` has no labels, or a name as label that is an identity of the gallery.
        TypeError: If a number is text.
        ValueError: If the gallery is empty, there are fewer than 3 / `target_fpir` searches for unknown identities
            (rule of three), these are fewer than 10 or than 1 / `target_fpir` - 1, or an argument is out of range. The
            gallery then stays as it was.

    Example:
        >>> import torch
        >>> from pairsim import SimilarityModel
        >>> gallery = Gallery(SimilarityModel())
        >>> rows = torch.nn.functional.normalize(torch.randn(60, 128, generator=torch.Generator().manual_seed(0)))
        >>> gallery.add_embeddings(rows, identities=[number // 3 for number in range(60)])
        >>> calibration = calibrate_gallery(gallery, target_fpir=0.1)
        >>> calibration.num_identities, calibration.num_searches, calibration.fpir <= 0.1
        (20, 60, True)

    References:
        ISO/IEC 19795-1:2021, Biometric performance testing and reporting, part 1.
        P. Grother, M. Ngan, K. Hanaoka, Face Recognition Vendor Test (FRVT) part 2: Identification, NISTIR 8271, 2019.
    """
    check_share(prior, "prior")
    check_share(target_fpir, "target_fpir")
    searches, counts = leave_one_out(gallery, max_searches=whole_number(max_searches, "max_searches", 1))
    if unknown is not None:
        labels = read_labels(unknown)
        _expect_others(labels.tolist(), gallery)
        shown = [("unknown", code) for code in ClassIndex.from_labels(labels).codes.tolist()]
        queries = encode_dataset(gallery.model, unknown, batch_size=batch_size, progress=progress)
        others, counts = outcomes(gallery, queries, shown)
        searches = mated_and_non_mated(searches, others)
    calibration = with_probabilities(gallery_calibration(searches, counts, target_fpir), searches, prior)
    source = source or ("the gallery's own images" if unknown is None else "given images")
    left = gallery.num_identities
    gallery.calibration = dataclasses.replace(calibration, source=source, num_images=len(gallery), num_left=left)
    return gallery.calibration


def gallery_calibration(searches: Searches, counts: IntArray, target_fpir: float) -> GalleryCalibration:
    """Choose a threshold by searches, and predict its FPIR for larger galleries.

    Args:
        searches: In a gallery.
        counts: Similarities of the non-mated ones, as `similarity_counts` counts them.
        target_fpir: Highest FPIR of the gallery.

    Returns:
        The calibration, without source and probabilities.

    Raises:
        ValueError: As for `calibrate_gallery`.
    """
    unknown = _enough_unknown(searches, target_fpir)
    size = searches.num_enrolled
    compared = int(counts.sum()) // max(searches.num_non_mated, 1)
    chosen = fpir_threshold(searches, grown(target_fpir, compared / size))
    threshold = min(_apart(searches, chosen.threshold), 1.0)
    floor = lowest_match(threshold)
    # one identity more than in the searches; many similarities of 1 are found in any case
    low, fpir, high = (grown(rate, size / compared) for rate in (chosen.interval[0], chosen.fpir, chosen.interval[1]))
    fpir = max(min(fpir, target_fpir), searches.fpir(floor))
    growth = FpirGrowth(searches.others[searches.non_mated], counts, size)
    sizes = [size * factor for factor in SIZES]
    return GalleryCalibration(
        threshold=threshold,
        target_fpir=target_fpir,
        num_identities=size,
        predictions=tuple(
            PredictedFpir(one, *growth.predict(floor, fpir, (low, max(high, fpir)), one)) for one in sizes
        ),
        num_searches=searches.num_non_mated,
        num_unknown=unknown,
        source="",
        prior=0.5,
        fnir=searches.fnir(floor) if searches.num_mated else None,
        fnir_interval=searches.fnir_interval(floor) if searches.num_mated else None,
    )


def _expect_others(labels: Sequence[Hashable], gallery: Gallery) -> None:
    """Raise if images of unknown identities have names of enrolled ones: what finds these would count as an error.

    Names are compared as text. Equal numbers mean nothing, as a gallery numbers images that were added without ids.
    """
    identities = set(gallery.identities)
    named = {label: given_name(label, identities) for label in labels}
    enrolled = [label for label, name in named.items() if name in identities and str in (type(label), type(name))]
    if enrolled:
        others = f" and {len(enrolled) - 1:,} more" if len(enrolled) > 1 else ""
        raise DataError(
            f"Expected unknown identities, none of which is enrolled, found {printable(str(enrolled[0]))}{others} in "
            "the gallery. Leave them out, or give them other names if they are not the same."
        )


def _enough_unknown(searches: Searches, target_fpir: float) -> int:
    """Return the number of unknown identities; raise if searches for them cannot show an FPIR."""
    unknown = np.unique(searches.queried[searches.non_mated]).size
    others = "Enrol more, or give images of other identities (unknown=, or --unknown FOLDER)"
    if unknown < MIN_IDENTITIES:
        raise ValueError(
            f"Expected searches for at least {MIN_IDENTITIES} unknown identities, got {unknown}. {others}."
        )
    searches.threshold_for_fpir(target_fpir)
    needed = math.ceil(1 / target_fpir - 1e-9) - 1  # of n + 1 identities, one has the highest similarity
    if unknown < needed:
        raise ValueError(
            f"Expected searches for at least {needed:,} unknown identities for an FPIR of {target_fpir:g}, got "
            f"{unknown:,}. {others}, or a higher rate."
        )
    return unknown


def _apart(searches: Searches, threshold: float) -> float:
    """Return a threshold, raised if similarities just below it would be found too."""
    if searches.fpir(lowest_match(threshold)) > searches.fpir(threshold):
        return threshold + MATCH_TOLERANCE
    return threshold


def with_probabilities(calibration: GalleryCalibration, searches: Searches, prior: float) -> GalleryCalibration:
    """Fit the probability that the nearest identity is the right one, where there are mated and other searches.

    Args:
        calibration: To complete.
        searches: In the gallery.
        prior: Share of mated searches in use.

    Returns:
        The calibration; without a line if there are no mated searches that find the right identity.
    """
    right = searches.own[searches.ranks == 1]
    wrong = searches.others[searches.non_mated]
    calibration = dataclasses.replace(calibration, prior=prior)
    if not right.size:
        return calibration
    share = prior * right.size / searches.num_mated  # mated searches that find another one first are like non-mated
    targets = np.repeat([1, 0], [right.size, wrong.size])
    line = fit_platt(PairScores.from_scores(np.concatenate((right, wrong)), targets), prior=share)
    if line.weight <= 0:  # similarity says nothing
        return dataclasses.replace(calibration, weight=0.0, bias=log_odds(share))
    return dataclasses.replace(calibration, weight=line.weight, bias=line.bias)
