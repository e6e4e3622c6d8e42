"""`evaluate`: compute the error rates and the calibration of a model on pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

from pairsim._common.arrays import Values
from pairsim._common.choices import Unit
from pairsim._common.numbers import similarity_threshold
from pairsim._common.unit_similarity import lowest_match
from pairsim.data.pairs.pair_lists import connected
from pairsim.evaluation import (
    ClassErrors,
    ClassPairErrors,
    GroupReport,
    Logistic,
    breakdown,
    group_errors,
    k_fold_accuracy,
    negatives_needed,
    recall_at_k,
)
from pairsim.evaluation.errors.group_errors import group_errors_of_pairs
from pairsim.evaluation.pairs.ranked import ToProbability
from pairsim.evaluation.uncertainty.spread import point_estimates
from pairsim.models import SimilarityModel
from pairsim.models.given_model import check_model
from pairsim.models.verdict import warn_of_one_decision
from pairsim.verification.report_parts import Acquisition, ImagesPerClass, ThresholdOrigin
from pairsim.verification.scoring import AllPairsScored, GivenPairsScored, Scored, score_pairs
from pairsim.verification.verification_report import KindErrors, VerificationReport

FMR_TARGETS = (0.1, 0.01, 0.001, 0.0001)
_NUM_WEAKEST = 5
_COMPARED = {"all pairs": "all N (N - 1) / 2 pairs of N images", "given pairs": "the given pairs"}

Groups: TypeAlias = Sequence[str | None] | tuple[Sequence[str | None], Sequence[str | None]]
"""The group of each image or pair, or those of the first and the second images of pairs."""


def evaluate(
    model: SimilarityModel,
    data: Any,
    *,
    threshold: float | None = None,
    folds: Values | None = None,
    resample: Unit | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
    groups: Groups | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> VerificationReport:
    """Evaluate a model on pairs, each image embedded once.

    Args:
        model: The model; its mode and weights stay as they are.
        data: A labelled dataset, of which all pairs are used, or a `PairDataset`, whose pairs are used.
        threshold: A pair with at least this similarity is called a match; by default the model's own.
        folds: Fold of each pair of a `PairDataset` `[P]`, whole numbers: the report then has the accuracy over folds,
            each at the threshold that is best on the others, as for Labeled Faces in the Wild.
        resample: Compute intervals from resampled `"images"` or `"classes"` (`evaluation.bootstrap`); by default they
            are computed without resampling, for other images of the same classes.
        num_resamples: Number of resampled sets.
        seed: Seed of the resampling.
        groups: Name of the group of each image of a labelled dataset `[N]`, such as its camera or site, `None` or empty
            where it is not known: the report then has the errors within and between groups, `by_group`. Of a
            `PairDataset`, the name of each pair `[P]`, or two sequences, of the first and the second images.
        batch_size: Images embedded at once; by default what suits the device and the size of the images.
        progress: Whether to show a progress bar; by default for long work on a terminal.

    Returns:
        The report. Figures that need both kinds of pairs are NaN when one is missing.

    Raises:
        DataError: If there are fewer than two images, or labels do not fit.
        TypeError: If `model` is not a `SimilarityModel`, or `data` is not a dataset.
        ValueError: If the threshold is outside [-1, 1], the images do not fit the model, classes should be resampled
            with given pairs, there are folds but no given pairs, or groups do not fit.

    Example:
        >>> import torch
        >>> from pairsim.data import ImageTensors
        >>> images = ImageTensors(torch.randint(0, 256, (8, 28, 28), dtype=torch.uint8), [0, 1] * 4)
        >>> evaluate(SimilarityModel(), images).num_pairs
        28
    """
    check_model(model)
    if threshold is None:
        warn_of_one_decision(model)
    scored = score_pairs(model, data, batch_size=batch_size, progress=progress)
    return report_on(
        model,
        scored,
        threshold,
        folds=folds,
        resample=resample,
        num_resamples=num_resamples,
        seed=seed,
        groups=groups,
    )


def measurable_rates(scored: Scored) -> list[float]:
    """Return the false match rates of `FMR_TARGETS` for which there are enough negative pairs."""
    if not scored.pairs.num_positive:
        return []
    return [target for target in FMR_TARGETS if scored.pairs.num_negative >= negatives_needed(target)]


def to_probability(model: SimilarityModel) -> ToProbability:
    """Return the model's function from similarity to probability, in float64."""
    calibration = model.calibration
    if calibration is None:
        return Logistic(model.projection.weight.item(), model.projection.bias.item())
    return lambda scores: calibration.probability(torch.from_numpy(scores)).numpy()


def report_on(
    model: SimilarityModel,
    scored: Scored,
    threshold: float | None = None,
    *,
    folds: Values | None = None,
    resample: Unit | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
    groups: Groups | None = None,
) -> VerificationReport:
    """Report on pairs that are scored already; arguments as for `evaluate`."""
    origin = _origin(model, scored, threshold)
    threshold = model.threshold if threshold is None else similarity_threshold(threshold)
    lowest = lowest_match(threshold)
    measurable = measurable_rates(scored)
    if resample is None:
        intervals = scored.intervals(lowest, measurable)
    else:
        resampled = scored.resampled(lowest, measurable, unit=resample, num_resamples=num_resamples, seed=seed)
        intervals = resampled.intervals()
    scores, probability = scored.pairs, to_probability(model)
    losses = scores.log_loss_by_target(probability)
    counts = (scores.num_positive, scores.num_negative)
    total = sum(loss * count for loss, count in zip(losses, counts, strict=True) if count)
    weakest: tuple[tuple[ClassErrors, ...], tuple[ClassPairErrors, ...]] = (), ()
    k_fold, kinds, num_groups = None, dict[str, KindErrors](), None
    by_group = None if groups is None else _by_group(scored, groups, lowest)
    if isinstance(scored, GivenPairsScored):
        kinds = {name: _kind_errors(part, lowest) for name, part in scored.of_kinds().items()}
        num_groups = None if scored.group is None else len(np.unique(scored.group))
        k_fold = None if folds is None else k_fold_accuracy(scored.similarity, scored.target, folds)
    elif folds is not None:
        raise ValueError("Expected a PairDataset with folds, got a labelled dataset. Folds are of given pairs.")
    elif not math.isnan(threshold):
        names = [str(name) for name in scored.classes]
        weakest = breakdown(scored.embeddings, scored.codes, lowest, names=names).weakest(_NUM_WEAKEST)
    images = scored if isinstance(scored, AllPairsScored) else None
    measured, point = scored.measured, point_estimates(scores, lowest, ())
    sizes = None if images is None else np.bincount(images.codes)
    if images is not None:
        num_groups = images.num_groups if by_group is None else len(by_group.groups)
    return VerificationReport(
        protocol=scored.protocol,
        num_images=scored.num_images,
        num_pairs=scores.num_pairs,
        num_positive=scores.num_positive,
        threshold=threshold,
        **point,
        average_precision=scores.average_precision(),
        d_prime=scores.d_prime(),
        fnmr_at_fmr={
            f"{target:g}": scores.fnmr_at_fmr(target) if target in measurable else math.nan for target in FMR_TARGETS
        },
        log_loss=total / scores.num_pairs,
        balanced_log_loss=sum(losses) / 2,
        brier=scores.brier_score(probability),
        ece=scores.expected_calibration_error(probability),
        prior=0.5 if model.calibration is None else model.calibration.prior,
        intervals=intervals,
        weakest_classes=weakest[0],
        weakest_pairs=weakest[1],
        k_fold=k_fold,
        kinds=kinds,
        groups=num_groups,
        num_classes=None if images is None else len(images.classes),
        unseen_classes=None,  # which only a run knows
        recall_at_1=math.nan if images is None else recall_at_k(images.embeddings, images.codes, 1),
        by_group=by_group,
        images_per_class=None
        if sizes is None
        else ImagesPerClass(min=int(sizes.min()), median=float(np.median(sizes)), max=int(sizes.max())),
        policy=f"{_COMPARED[scored.protocol]}; one comparison of two images, in either order, is one decision; a match "
        "if similarity >= threshold",
        acquisition=Acquisition()
        if measured is None
        else measured.acquisition(point["fmr"], point["fnmr"], *reversed(counts)),
        threshold_origin=origin,
        throughput=None if measured is None else measured.throughput,
    )


def _origin(model: SimilarityModel, scored: Scored, threshold: float | None) -> ThresholdOrigin:
    """Say where the threshold comes from."""
    point, test = model.operating_point, None if scored.measured is None else scored.measured.data_sha256
    if threshold is not None:
        return ThresholdOrigin(source="given", criterion="given", test_sha256=test)
    if point is None:
        return ThresholdOrigin(criterion="probability 0.5", test_sha256=test)
    return ThresholdOrigin(
        source=point.source,
        criterion=point.criterion,
        calibration_sha256=point.data_sha256 or None,
        test_sha256=test,
    )


def _by_group(scored: Scored, groups: Groups, lowest: float) -> GroupReport:
    """Compute the errors of groups."""
    if isinstance(scored, AllPairsScored):
        names: Sequence[Any] = tuple(groups)
        return group_errors(scored.embeddings, scored.codes, names, lowest)
    both: Sequence[Any] = groups if isinstance(groups, tuple) and len(groups) == 2 else (groups, groups)
    numbers, images = np.unique(np.stack((scored.first, scored.second)), return_inverse=True)
    images = images.reshape(2, -1)
    # Images that positive pairs connect are of one class; any other image counts as a class of its own.
    classes, positive = np.arange(len(numbers)) + len(numbers), scored.target == 1
    if positive.any():
        linked = images[:, positive].astype(np.int64)
        classes[linked] = connected(*linked)
    return group_errors_of_pairs(
        scored.similarity >= lowest, scored.target.astype(np.int64), images, classes[images], both
    )


def _kind_errors(scored: GivenPairsScored, lowest: float) -> KindErrors:
    """Compute the errors of one kind of negative pairs and all positive pairs."""
    intervals = scored.intervals(lowest)
    return KindErrors(
        num_pairs=scored.pairs.num_negative,
        fmr=scored.pairs.fmr_fnmr(lowest)[0],
        eer=scored.pairs.equal_error_rate(),
        intervals={name: intervals[name] for name in ("fmr", "eer")},
    )
