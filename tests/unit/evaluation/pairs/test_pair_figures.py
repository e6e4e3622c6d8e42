from __future__ import annotations

import inspect

import numpy as np
import pytest

from pairsim import evaluation
from pairsim.evaluation import PairCounts, PairFigures, PairScores

METRICS = sorted((vars(PairFigures).keys() & set(evaluation.__all__)) | {"det_curve"})
OF_PROBABILITIES = {"log_loss", "brier_score", "expected_calibration_error"}


@pytest.mark.parametrize("form", [PairScores, PairCounts])
def test_numbers_of_pairs(form: type[PairScores | PairCounts]) -> None:
    pairs: PairFigures = form.from_scores([0.5, 0.5, 0.1, -0.25, 0.0], [1, 1, 0, 0, 0])
    assert (pairs.num_positive, pairs.num_negative, pairs.num_pairs) == (2, 3, 5)


def test_it_has_no_scores_of_its_own() -> None:
    with pytest.raises(TypeError, match="abstract"):
        PairFigures()  # type: ignore[abstract]


def test_every_metric_is_a_function_too() -> None:
    assert len(METRICS) == 14
    for name in METRICS:
        signature = inspect.signature(getattr(evaluation, name))
        first = list(signature.parameters)[:2]
        assert first == ["scores", "targets"], name
        if name not in ("det_curve", "roc_curve"):
            method = inspect.signature(getattr(PairFigures, name))
            skipped = 2 if name in OF_PROBABILITIES else 1
            rest = list(method.parameters.values())[skipped:]
            assert rest == list(signature.parameters.values())[2:], name


@pytest.mark.parametrize("name", METRICS)
def test_every_function_documents_its_arguments_and_errors(name: str) -> None:
    text = inspect.getdoc(getattr(evaluation, name)) or ""
    assert "    targets: One target per pair" in text
    assert "    TypeError: If the input is not numeric." in text
    assert "    ValueError: If shapes differ, a target is not 0 or 1, or a " in text


@pytest.mark.parametrize("name", METRICS)
def test_every_function_checks_its_input(name: str) -> None:
    function = getattr(evaluation, name)
    required = [p for p in inspect.signature(function).parameters.values() if p.default is inspect.Parameter.empty]
    further = [0.5] * (len(required) - 2)
    with pytest.raises(ValueError, match="Expected targets of 0"):
        function([0.1, 0.2], [1, 2], *further)
    with pytest.raises(ValueError, match="without NaN"):
        function([0.1, np.nan], [1, 0], *further)
    with pytest.raises(TypeError, match=name):
        function([0.1])


def test_functions_and_methods_give_the_same() -> None:
    generator = np.random.default_rng(0)
    scores, targets = generator.random(60).round(1), generator.random(60) < 0.5
    pairs = PairScores.from_scores(scores, targets)
    for name in set(METRICS) - {"det_curve", "roc_curve"}:
        function, method = getattr(evaluation, name), getattr(pairs, name)
        parameters = inspect.signature(function).parameters
        further = [0.3] * (len(parameters) - 2) if "num_bins" not in parameters else [7]
        probability = [np.positive] if name in OF_PROBABILITIES else []
        assert function(scores, targets, *further) == method(*probability, *further), name
    assert evaluation.roc_curve(scores, targets).fmr.tolist() == pairs.roc_curve().fmr.tolist()
