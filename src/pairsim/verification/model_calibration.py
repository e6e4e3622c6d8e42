"""`calibrate`: fit probabilities and choose a threshold on held-out pairs."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from pairsim._common.choices import CalibrationMethod
from pairsim._common.numbers import real_number, truth_value
from pairsim._common.unit_similarity import MATCH_TOLERANCE, lowest_match
from pairsim.evaluation import fit_isotonic, fit_platt, threshold_for_cost, threshold_for_fmr
from pairsim.evaluation.probabilities.priors import log_odds
from pairsim.models import Calibration, OperatingPoint, SimilarityModel
from pairsim.models.given_model import check_model
from pairsim.verification.scoring import Scored, score_pairs


def calibrate(
    model: SimilarityModel,
    pairs: Any,
    *,
    target_fmr: float | None = None,
    prior: float | None = None,
    method: CalibrationMethod = "platt",
    costs: tuple[float, float] | None = None,
    equal_errors: bool = False,
    source: str = "",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Calibration:
    """Fit probabilities to held-out pairs, choose a threshold on them, and store both in the model.

    From then on `predict_proba`, `verify` and `evaluate` use them, and `save_pretrained` saves them. Weights stay as
    they are. Use validation data: a threshold that was chosen on the test data makes the test result too optimistic.

    Args:
        model: The model; its `calibration` and `operating_point` are replaced.
        pairs: A `PairDataset`, or a labelled dataset, of which all pairs are used. Not those that it was trained on.
        target_fmr: Choose the lowest threshold whose false match rate is at most this, in (0, 1).
        prior: Share of positive pairs in use, in (0, 1); by default that of `pairs`. Pairs drawn half and half differ
            from those in use, of which perhaps 1 in 100 is positive, and probabilities depend on it.
        method: `"platt"`, two numbers, for any number of pairs; `"isotonic"`, any rising function, for some thousand
            pairs of each kind and more.
        costs: Choose the threshold with the lowest expected cost at `prior`, for a false match and a false non-match.
        equal_errors: Choose the threshold where false match and false non-match rate are nearest to each other.
        source: Name of the data, stored with the calibration.
        batch_size: Images embedded at once; by default what suits the device and the size of the images.
        progress: Whether to show a progress bar; by default for long work on a terminal.

    Returns:
        The stored calibration, with the operating point and its image-level intervals. Without `target_fmr`, `costs`
        and `equal_errors` the threshold is where the probability is one half.

    Raises:
        DataError: If there are fewer than two images, or labels do not fit.
        TypeError: If `model` is not a `SimilarityModel`, `pairs` is not a dataset, or a number is text.
        ValueError: If there are no positive or no negative pairs, too few negative ones for `target_fmr` (rule of
            three), similarity does not separate them, with `costs` rejecting every pair costs least, without a choice
            of threshold no similarity has probability one half, or an argument is out of range. The model then stays
            as it was.

    Example:
        >>> import torch
        >>> from pairsim.data import ImageTensors
        >>> images = ImageTensors(torch.randint(0, 256, (40, 28, 28), dtype=torch.uint8), [0, 1] * 20)
        >>> model = SimilarityModel()
        >>> calibrate(model, images, prior=0.01, equal_errors=True).prior
        0.01
        >>> model.operating_point is not None
        True
    """
    if sum((target_fmr is not None, costs is not None, truth_value(equal_errors, "equal_errors"))) > 1:
        raise ValueError("Expected one of target_fmr, costs and equal_errors, got several. Choose one threshold.")
    if costs is not None and (not isinstance(costs, tuple | list) or len(costs) != 2):
        raise ValueError(f"Expected costs as two numbers, of a false match and a false non-match, got {costs!r}.")
    check_model(model)
    scored = score_pairs(model, pairs, batch_size=batch_size, progress=progress)
    fitted = fit_calibration(scored, method=method, prior=prior, source=source)
    scores = scored.pairs
    if target_fmr is not None:
        threshold, criterion = threshold_for_fmr(scores, target_fmr), f"FMR of at most {target_fmr:g}"
        if scores.fmr_fnmr(lowest_match(threshold))[0] > target_fmr:  # negative pairs just below it are matches too
            threshold += MATCH_TOLERANCE
    elif costs is not None:
        false_match, false_non_match = costs
        threshold = threshold_for_cost(
            scores, false_match=false_match, false_non_match=false_non_match, prior=fitted.prior
        )
        if math.isinf(threshold):
            raise ValueError(
                f"Expected costs with which some pairs are worth matching, got {false_match:g} for a false match and "
                f"{false_non_match:g} for a false non-match at prior {fitted.prior:g}: rejecting every pair costs "
                "least. Check the order of the costs and the prior."
            )
        criterion = f"lowest cost, {false_match:g} for a false match and {false_non_match:g} for a false non-match"
    elif equal_errors:
        threshold, criterion = scores.equal_error_threshold(), "equal errors"
    else:
        threshold, criterion = fitted.similarity_at(0.5), "probability 0.5"
        if math.isinf(threshold):
            raise ValueError(
                f"Expected a probability of one half at some similarity, to be the threshold, got "
                f"{'lower' if threshold > 0 else 'higher'} ones only at prior {fitted.prior:g}. Choose the threshold "
                "with target_fmr or equal_errors, or check the prior."
            )
    point = operating_point(scored, threshold, criterion, source)
    calibration = dataclasses.replace(fitted, operating_point=point)
    model.calibration, model.operating_point = calibration, point
    return calibration


def fit_calibration(
    scored: Scored, *, method: CalibrationMethod = "platt", prior: float | None = None, source: str = ""
) -> Calibration:
    """Fit probabilities to scored pairs, without an operating point. See `calibrate`."""
    pairs = scored.pairs
    share = pairs.num_positive / max(1, pairs.num_pairs) if prior is None else real_number(prior, "prior")
    if method == "isotonic":
        curve = fit_isotonic(pairs, prior=prior)
        fitted = Calibration(
            method=method,
            prior=share,
            similarities=tuple(curve.scores.tolist()),
            evidence=tuple((curve.log_odds - log_odds(share)).tolist()),
        )
    elif method == "platt":
        line = fit_platt(pairs, prior=prior)
        fitted = Calibration(method=method, prior=share, weight=line.weight, bias=line.bias - log_odds(share))
    else:
        raise ValueError(f'Expected method to be "platt" or "isotonic", got {method!r}.')
    return dataclasses.replace(fitted, num_positive=pairs.num_positive, num_negative=pairs.num_negative, source=source)


def operating_point(scored: Scored, threshold: float, criterion: str, source: str) -> OperatingPoint:
    """Return a threshold with the error rates of scored pairs and their intervals."""
    floor = lowest_match(threshold)
    fmr, fnmr = scored.pairs.fmr_fnmr(floor)
    intervals = scored.intervals(floor)
    return OperatingPoint(
        threshold,
        fmr,
        fnmr,
        scored.pairs.num_positive,
        scored.pairs.num_negative,
        source=source or scored.protocol,
        criterion=criterion,
        fmr_interval=intervals["fmr"],
        fnmr_interval=intervals["fnmr"],
        data_sha256=(None if scored.measured is None else scored.measured.data_sha256) or "",
    )
