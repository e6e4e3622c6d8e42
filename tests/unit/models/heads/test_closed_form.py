"""Heads in closed form against scikit-learn, SciPy and sums in NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import fractional_matrix_power
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from pairsim.models.heads.closed_form import principal_axes, standardization, whitening


def random_features(seed: int, num: int, size: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = np.random.default_rng(seed)
    labels = np.arange(num) % classes
    means = generator.normal(size=(classes, size)) * 3
    values = means[labels] + generator.normal(size=(num, size)) * generator.uniform(0.1, 2, size)
    return torch.from_numpy(values.astype(np.float32)), torch.from_numpy(labels)


def within_class(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    total = np.zeros((values.shape[1], values.shape[1]))
    for label in np.unique(labels):
        rows = values[labels == label]
        for row in rows - rows.mean(axis=0):
            total += np.outer(row, row)
    return total / (len(values) - len(np.unique(labels)))


def test_standardization_is_that_of_scikit_learn() -> None:
    features, _ = random_features(0, 50, 7, 5)
    weight, bias = standardization(features)
    expected = StandardScaler().fit_transform(features.double().numpy())
    np.testing.assert_allclose((features.double() * weight + bias).numpy(), expected, atol=1e-10)


def test_a_constant_feature_becomes_zero() -> None:
    features = torch.tensor([[1.0, 7.0], [2.0, 7.0], [4.0, 7.0]])
    weight, bias = standardization(features)
    assert (features.double() * weight + bias)[:, 1].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("num", "size"), [(40, 9), (12, 30)])
def test_principal_axes_are_those_of_scikit_learn(num: int, size: int) -> None:
    features, _ = random_features(1, num, size, 4)
    axes, mean = principal_axes(features, 5)
    expected = PCA(5, svd_solver="full").fit(features.double().numpy())
    np.testing.assert_allclose(mean.numpy(), expected.mean_, atol=1e-10)
    np.testing.assert_allclose(np.abs(axes.numpy() @ expected.components_.T), np.eye(5), atol=1e-6)


def test_there_are_no_axes_without_variance() -> None:
    features, _ = random_features(2, 6, 20, 3)
    assert principal_axes(features, 20)[0].shape == (5, 20)  # six points span five directions


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), shrinkage=st.floats(0.01, 1.0), size=st.integers(2, 8))
def test_the_inner_products_are_those_of_the_inverse_covariance(seed: int, shrinkage: float, size: int) -> None:
    features, labels = random_features(seed, 30, size, 5)
    weight, bias = whitening(features, labels, size, shrinkage=shrinkage)
    mapped = (features.double() @ weight.T + bias).numpy()
    values = features.double().numpy()
    covariance = within_class(values, labels.numpy())
    shrunk = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / size * np.eye(size)
    centred = values - values.mean(axis=0)
    np.testing.assert_allclose(mapped @ mapped.T, centred @ np.linalg.inv(shrunk) @ centred.T, rtol=1e-6, atol=1e-8)


def test_with_all_axes_it_is_the_inverse_square_root() -> None:
    features, labels = random_features(3, 60, 4, 6)
    weight, _ = whitening(features, labels, 4, shrinkage=0.25)
    covariance = within_class(features.double().numpy(), labels.numpy())
    root = fractional_matrix_power(0.75 * covariance + 0.25 * np.trace(covariance) / 4 * np.eye(4), -0.5)
    axes = principal_axes(features, 4)[0].numpy()
    np.testing.assert_allclose(axes.T @ weight.numpy(), root, atol=1e-9)


def test_classes_then_differ_equally_in_all_directions() -> None:
    features, labels = random_features(4, 400, 6, 8)
    weight, bias = whitening(features, labels, 6, shrinkage=1e-9)
    mapped = (features.double() @ weight.T + bias).numpy()
    np.testing.assert_allclose(within_class(mapped, labels.numpy()), np.eye(6), atol=1e-6)


@pytest.mark.parametrize("shrinkage", [0.0, -0.1, 1.1, float("nan")])
def test_shrinkage_out_of_range(shrinkage: float) -> None:
    with pytest.raises(ValueError, match=rf"Expected shrinkage to be in \(0, 1\], got {shrinkage}"):
        whitening(torch.rand(4, 3), torch.tensor([0, 0, 1, 1]), 3, shrinkage=shrinkage)


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, 0, 1, 1]])
def test_without_two_images_of_a_class_that_differ(labels: list[int]) -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    with pytest.raises(ValueError, match=r"two images that differ, found none\. Add images"):
        whitening(features, torch.tensor(labels), 2, shrinkage=0.5)
