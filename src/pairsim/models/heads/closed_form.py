"""Compute heads from the features of labelled images, in closed form and float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Self

import torch
from torch import Tensor, nn

from pairsim.models.heads.head_modules import Standardize, embedding_dim_of

SHRINKAGE: Final = 0.5
"""Of "whiten", where it is not chosen."""

_SMALLEST = 1e-12
"""Variance below this share of the largest counts as none."""


def standardization(features: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the map that gives each feature mean 0 and standard deviation 1.

    Args:
        features: `[N, F]`, N at least 2.

    Returns:
        Weight and bias `[F]`, float64: `features * weight + bias`. A constant feature becomes 0.

    Example:
        >>> weight, bias = standardization(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
        >>> (torch.tensor([1.0, 5.0]) * weight + bias).tolist()
        [-1.0, 0.0]
    """
    values = features.double()
    mean, deviation = values.mean(dim=0), values.std(dim=0, correction=0)
    constant = deviation.square() <= _SMALLEST * deviation.square().amax()
    weight = torch.where(constant, torch.zeros_like(deviation), 1 / torch.where(constant, 1.0, deviation))
    return weight, -mean * weight


def principal_axes(features: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """Compute the directions of largest variance.

    Args:
        features: `[N, F]`.
        num: Largest number of directions; there are fewer if the features vary in fewer.

    Returns:
        The directions `[num, F]`, orthonormal, largest variance first, and the mean `[F]`; float64.

    Example:
        >>> axes, _ = principal_axes(torch.tensor([[0.0, 0.0], [0.0, 2.0], [1.0, 1.0]]), 1)
        >>> axes.abs().tolist()
        [[0.0, 1.0]]
    """
    values = features.double()
    mean = values.mean(dim=0)
    centred = values - mean
    if len(centred) < centred.shape[1]:  # the smaller of two matrices with the same eigenvalues
        variance, vectors = torch.linalg.eigh(centred @ centred.T)
        vectors = centred.T @ vectors
    else:
        variance, vectors = torch.linalg.eigh(centred.T @ centred)
    kept = variance.flip(0) > max(float(variance[-1]), 0.0) * _SMALLEST
    axes = vectors.flip(1)[:, kept].T[:num]
    return torch.nn.functional.normalize(axes, dim=1), mean


@dataclass(frozen=True, kw_only=True)
class WithinClass:
    """How images of one class differ, along the principal axes of all images; whitenings of any shrinkage share it.

    Attributes:
        axes: Principal axes `[D, F]`, orthonormal.
        mean: Of the features `[F]`.
        variances: Within-class variances `[D]` along `directions`, at least 0.
        directions: Eigenvectors of the within-class covariance, in the columns `[D, D]`.
    """

    axes: Tensor
    mean: Tensor
    variances: Tensor
    directions: Tensor

    @classmethod
    def of(cls, features: Tensor, labels: Tensor, dim: int) -> Self:
        """Compute it in float64.

        Args:
            features: `[N, F]`.
            labels: Class numbers `[N]`; at least one class has two images.
            dim: Largest number of axes.

        Raises:
            ValueError: If no class has two images that differ.
        """
        axes, mean = principal_axes(features, dim)
        reduced = (features.double() - mean) @ axes.T
        codes = torch.unique(labels, return_inverse=True)[1]
        counts = torch.bincount(codes)
        sums = reduced.new_zeros(len(counts), reduced.shape[1]).index_add_(0, codes, reduced)
        within = reduced - (sums / counts[:, None])[codes]
        freedom = len(codes) - len(counts)
        covariance = within.T @ within / max(freedom, 1)
        if freedom < 1 or not covariance.trace() > 0:
            raise ValueError(
                "Expected a class with two images that differ, found none. Add images of the same classes."
            )
        variances, directions = torch.linalg.eigh(covariance)
        return cls(axes=axes, mean=mean, variances=variances.clamp_min(0), directions=directions)

    def whitening(self, shrinkage: float) -> tuple[Tensor, Tensor]:
        """Compute weight `[D, F]` and bias `[D]` of `whitening`.

        Args:
            shrinkage: As for `whitening`.

        Raises:
            ValueError: If `shrinkage` is out of range.
        """
        if not 0.0 < shrinkage <= 1.0:
            raise ValueError(f"Expected shrinkage to be in (0, 1], got {shrinkage}.")
        shrunk = (1 - shrinkage) * self.variances + shrinkage * self.variances.mean()
        weight = (self.directions * shrunk.rsqrt()) @ (self.directions.T @ self.axes)
        return weight, -(weight @ self.mean)


def whitening(features: Tensor, labels: Tensor, dim: int, *, shrinkage: float) -> tuple[Tensor, Tensor]:
    r"""Compute the map after which images of one class differ equally in all directions.

    Directions in which images of one class differ much count less. The features are reduced to their principal axes.
    There, with the within-class covariance $S$ and shrinkage $a$, the map is
    $((1 - a) S + a \frac{\operatorname{tr} S}{d} I)^{-1/2}$.

    Args:
        features: `[N, F]`.
        labels: Class numbers `[N]`; at least one class has two images.
        dim: Largest number of dimensions of the result.
        shrinkage: Share a in (0, 1] of the same variance in all directions; more suits fewer images.

    Returns:
        Weight `[D, F]` and bias `[D]`, float64: `features @ weight.T + bias`. D is less than `dim` if the features vary
        in fewer directions.

    Raises:
        ValueError: If `shrinkage` is out of range, or no class has two images that differ.

    Example:
        >>> features = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 9.0], [2.0, 9.0]])
        >>> weight, bias = whitening(features, torch.tensor([0, 0, 1, 1]), 2, shrinkage=0.5)
        >>> weight.shape, bias.shape
        (torch.Size([2, 2]), torch.Size([2]))

    References:
        Hatch, Kajarekar and Stolcke: Within-class covariance normalization for SVM-based speaker recognition, 2006.
        Ledoit and Wolf: A well-conditioned estimator for large-dimensional covariance matrices, 2004.
    """
    return WithinClass.of(features, labels, dim).whitening(shrinkage)


def computed_head(
    name: Literal["standardize", "whiten"],
    features: Tensor,
    labels: Tensor,
    dim: int | None = None,
    *,
    shrinkage: float = SHRINKAGE,
    within: WithinClass | None = None,
) -> tuple[nn.Module, int]:
    """Compute a head from features.

    Args:
        name: The kind of head.
        features: `[N, F]`.
        labels: Class numbers `[N]`.
        dim: Length of an embedding; by default that of the head.
        shrinkage: Of `"whiten"`.
        within: That of these features with this `dim`, if it is known.

    Returns:
        The head, from `[N, F]` to `[N, D]`, float32 on the CPU, and D.

    Raises:
        ValueError: As for `whitening`.

    Example:
        >>> head, dim = computed_head("standardize", torch.tensor([[1.0], [3.0]]), torch.tensor([0, 1]))
        >>> head(torch.tensor([[5.0]])).tolist(), dim
        ([[3.0]], 1)
    """
    num_features = features.shape[1]
    dim = embedding_dim_of(name, num_features, dim)
    module: nn.Module
    if name == "standardize":
        module, (weight, bias) = Standardize(num_features), standardization(features)
    else:
        weight, bias = (within or WithinClass.of(features, labels, dim)).whitening(shrinkage)
        module, dim = nn.Linear(num_features, len(weight)), len(weight)
    with torch.no_grad():
        for parameter, value in zip(module.parameters(), (weight, bias), strict=True):
            parameter.copy_(value)
    return module, dim
