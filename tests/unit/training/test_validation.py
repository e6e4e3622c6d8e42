"""Validation results against brute force, and the fitted projection."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from pairsim import SimilarityModel
from pairsim.training.validation import all_pairs, fit_projection, fitted_projection, given_pairs, validate


def embeddings(num: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(num, 3, generator=generator), dim=1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=40), st.integers(1, 9))
def test_all_pairs_are_found_once(labels: list[int], rows: int) -> None:
    vectors = embeddings(len(labels))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pairsim.training.validation._ROWS", rows)
        parts = all_pairs(vectors, torch.tensor(labels))
    found = [torch.cat([part[kind] for part in parts]).sort().values for kind in (0, 1)]
    brute: tuple[list[float], list[float]] = ([], [])
    for i in range(len(labels)):
        for j in range(i + 1, len(labels)):
            brute[labels[i] != labels[j]].append(float(vectors[i].double() @ vectors[j].double()))
    for kind in (0, 1):
        torch.testing.assert_close(found[kind].double(), torch.tensor(sorted(brute[kind]), dtype=torch.float64))


def test_loss_and_errors_against_brute_force() -> None:
    model = SimilarityModel()
    positive, negative = torch.tensor([0.9, 0.4, 0.2, -1.0]), torch.tensor([0.1, 0.6, 0.5])
    found = validate(model, [(positive, negative)])
    loss_positive = np.mean([math.log1p(math.exp(-(10 * s - 5))) for s in positive.tolist()])
    loss_negative = np.mean([math.log1p(math.exp(10 * s - 5)) for s in negative.tolist()])
    assert found.loss == pytest.approx((loss_positive + loss_negative) / 2, rel=1e-6)
    assert (found.fnmr, found.fmr) == (3 / 4, 2 / 3)  # a similarity at the threshold matches
    assert found.balanced_accuracy == pytest.approx(1 - (3 / 4 + 2 / 3) / 2)


def scored(shift: float, num: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    positive = (0.8 + shift + 0.2 * torch.randn(num, generator=generator)).clamp(-1, 1)
    negative = (0.2 + shift + 0.2 * torch.randn(num, generator=generator)).clamp(-1, 1)
    return positive, negative


def test_fitted_projection_is_better_and_the_trained_one_comes_back() -> None:
    model = SimilarityModel()
    parts = [scored(shift=0.15)]
    trained = {name: value.clone() for name, value in model.projection.state_dict().items()}
    before = validate(model, parts)
    with fitted_projection(model, parts, before) as kept:
        assert kept.loss < before.loss
        assert kept.balanced_accuracy > before.balanced_accuracy
        assert not torch.equal(model.projection.weight, trained["weight"])
    assert torch.equal(model.projection.weight, trained["weight"])
    assert torch.equal(model.projection.bias, trained["bias"])


@pytest.mark.parametrize(
    "parts",
    [
        [(torch.ones(500), torch.zeros(500))],  # no error at all
        [(torch.cat((torch.ones(500), torch.zeros(5))), torch.zeros(500))],  # a few of one kind
        [(torch.ones(0), torch.ones(500))],  # one kind only
    ],
)
def test_too_few_errors_leave_the_projection(parts: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    model = SimilarityModel()
    before = validate(model, parts)
    with fitted_projection(model, parts, before) as kept:
        assert kept is before
        assert model.projection.weight.item() == 10.0


def test_the_fitted_projection_is_that_of_logistic_regression() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    positive, negative = scored(shift=0.0)
    model = SimilarityModel()
    fit_projection(model, [(positive, negative)])
    features = torch.cat((positive, negative)).numpy()[:, None]
    oracle = linear_model.LogisticRegression(C=1e9, tol=1e-10).fit(features, [1] * len(positive) + [0] * len(negative))
    assert model.projection.weight.item() == pytest.approx(oracle.coef_[0, 0], rel=2e-3)
    assert model.projection.bias.item() == pytest.approx(oracle.intercept_[0], rel=2e-3)


def test_given_pairs() -> None:
    vectors = embeddings(4)
    first, second, target = torch.tensor([0, 1, 2]), torch.tensor([3, 2, 0]), torch.tensor([True, False, True])
    ((positive, negative),) = given_pairs(vectors, first, second, target)
    torch.testing.assert_close(positive, torch.stack([vectors[0] @ vectors[3], vectors[2] @ vectors[0]]))
    torch.testing.assert_close(negative, (vectors[1] @ vectors[2])[None])


@pytest.mark.parametrize(("weight", "bias", "threshold"), [(10.0, -5.0, 0.5), (4.0, 1.0, -0.25)])
def test_the_operating_point_is_at_probability_one_half(weight: float, bias: float, threshold: float) -> None:
    model = SimilarityModel()
    with torch.no_grad():
        model.projection.weight.fill_(weight)
        model.projection.bias.fill_(bias)
    point = validate(model, [(torch.tensor([0.9, -0.9]), torch.tensor([-0.8]))]).operating_point(model)
    assert point is not None
    assert (point.threshold, point.fmr, point.fnmr) == (threshold, 0.0, 0.5)
    assert (point.num_positive, point.num_negative, point.source) == (2, 1, "validation pairs")


def test_no_operating_point_without_a_threshold_or_without_both_kinds_of_pairs() -> None:
    model = SimilarityModel()
    both, one = [(torch.ones(2), torch.zeros(2))], [(torch.ones(2), torch.zeros(0))]
    results = validate(model, one)
    assert (results.balanced_accuracy, results.num_negative, math.isnan(results.fmr)) == (1.0, 0, True)
    assert results.operating_point(model) is None
    with torch.no_grad():
        model.projection.weight.fill_(-1.0)
    assert validate(model, both).operating_point(model) is None
