"""Converting and checking the input of metrics."""

from __future__ import annotations

import operator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from pairsim._common.numbers import real_number

Values: TypeAlias = npt.ArrayLike | torch.Tensor
"""An array, a sequence of numbers or a tensor on any device."""

Float32Array: TypeAlias = npt.NDArray[np.float32]
Float64Array: TypeAlias = npt.NDArray[np.float64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

UNIT_TOLERANCE = 0.01
"""How far the length of an embedding may be from 1: more than the rounding of bfloat16."""


def as_array(values: Values, name: str) -> npt.NDArray[Any]:
    """Convert an array, a sequence or a tensor to a NumPy array.

    Args:
        values: Values of any shape; a tensor may be on any device, of any dtype, and require gradients.
        name: Their name in messages.

    Returns:
        The array, same shape; float tensors become float64, which holds each of their values exactly.

    Raises:
        TypeError: If the values have no regular shape.

    Example:
        >>> as_array(torch.tensor([0.5], dtype=torch.bfloat16, requires_grad=True), "scores")
        array([0.5])
    """
    if isinstance(values, torch.Tensor):
        tensor = values.detach().cpu()
        # NumPy has no bfloat16. float64 changes no value and no tie.
        return np.asarray((tensor.double() if tensor.is_floating_point() else tensor).numpy())
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"Expected {name} to be an array, a tensor or a flat sequence of numbers, got {type(values).__name__} "
            f"({error}). Join a list of batches with torch.cat or numpy.concatenate."
        ) from error


def vector(values: Values, name: str) -> npt.NDArray[Any]:
    """Convert values to a one-dimensional array of numbers.

    Args:
        values: Values `[P]`.
        name: Their name in messages.

    Returns:
        The array `[P]`; empty input gives an empty array.

    Raises:
        TypeError: If the values are not real numbers.
        ValueError: If the values are not one-dimensional.

    Example:
        >>> vector([1, 2], "labels").tolist()
        [1, 2]
    """
    array = as_array(values, name)
    if array.ndim != 1:
        raise ValueError(
            f"Expected {name} to be one-dimensional, [P], got shape {list(array.shape)}. "
            "Give one value per pair, flattened with .reshape(-1)."
        )
    if array.dtype.kind in "biuf":
        return array
    if array.size:
        raise TypeError(f"Expected {name} to be real numbers, got dtype {array.dtype}. Convert them first.")
    return np.zeros(0)


def scores_and_targets(scores: Values, targets: Values, name: str = "scores") -> tuple[Float64Array, BoolArray]:
    """Convert scores and targets to float64 and bool, and check them.

    Widening to float64 is exact for float16, bfloat16 and float32, so order and ties stay as they were.

    Args:
        scores: One score per pair `[P]`, real, higher = more similar; infinities are fine.
        targets: One target per pair `[P]`, bool or 0 and 1; 1 = same class.
        name: The name of the scores in messages.

    Returns:
        Scores `[P]` float64 and targets `[P]` bool; both are empty for empty input.

    Raises:
        TypeError: If either is not numeric, or the scores are bool.
        ValueError: If shapes differ, a target is not 0 or 1, or a score is NaN.

    Example:
        >>> scores_and_targets([0.9, 0.1], [1, 0])
        (array([0.9, 0.1]), array([ True, False]))
    """
    values = vector(scores, name)
    if values.size and values.dtype.kind == "b":
        raise TypeError(f"Expected {name} to be numbers, got bool, as of targets or decisions. Give the {name} first.")
    values = values.astype(np.float64)
    marks = vector(targets, "targets")
    if values.size != marks.size:
        raise ValueError(
            f"Expected as many targets as {name}, got {values.size} {name} and {marks.size} targets. "
            "Give one of each per pair, in the same order."
        )
    wrong = np.flatnonzero((marks != 0) & (marks != 1))
    if wrong.size:
        swapped = values.size and np.isin(values, (0, 1)).all()
        raise ValueError(
            f"Expected targets of 0 (different class) and 1 (same class), got {marks[wrong[0]]} at index {wrong[0]}. "
            + (f"Give the {name} first, then the targets." if swapped else "Give booleans or 0 and 1.")
        )
    missing = np.flatnonzero(np.isnan(values))
    if missing.size:
        raise ValueError(
            f"Expected {name} without NaN, got {missing.size} NaN among {values.size}, the first at index "
            f"{missing[0]}. Fix what produces them, or leave these pairs out."
        )
    return values, marks != 0


def labelled_embeddings(
    embeddings: Values, labels: Values, kind: str = ""
) -> tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.integer[Any]]]:
    """Convert embeddings and labels to arrays, and check them.

    Args:
        embeddings: Embeddings `[N, D]` of length 1 (within 1 %) or 0, any float dtype and device.
        labels: Class of each image `[N]`, whole numbers.
        kind: A prefix of both names in messages, such as `"query "`.

    Returns:
        Embeddings `[N, D]` of the dtype given (float64 for a tensor) and labels `[N]` of an integer dtype, in the order
        given.

    Raises:
        TypeError: If the embeddings are not of a float dtype, or the labels not whole numbers.
        ValueError: If shapes do not fit, or an embedding is not of length 1 or NaN.

    Example:
        >>> labelled_embeddings([[0.6, 0.8]], [7])
        (array([[0.6, 0.8]]), array([7]))
    """
    vectors = as_array(embeddings, f"{kind}embeddings")
    if vectors.ndim != 2:
        raise ValueError(
            f"Expected {kind}embeddings to have shape [N, D], got {list(vectors.shape)}. Give one row per image, "
            "as model.encode(images) does."
        )
    if vectors.dtype.kind != "f":
        raise TypeError(f"Expected {kind}embeddings of a float dtype, got {vectors.dtype}. Convert them to float32.")
    classes = as_array(labels, f"{kind}labels")
    if classes.size and classes.dtype.kind not in "iub":
        raise TypeError(
            f"Expected {kind}labels to be whole numbers, got dtype {classes.dtype}. "
            "Give class numbers: ClassIndex.from_labels(labels).codes."
        )
    if classes.shape != vectors.shape[:1]:
        raise ValueError(
            f"Expected one {kind}label per {kind}embedding, shape [{len(vectors)}], got shape {list(classes.shape)}. "
            "Give the labels of the same images, in the same order."
        )
    check_unit_lengths(np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)), kind)
    # An empty list has no dtype that says what it would have held, and a bool is a number here.
    whole = classes.size and classes.dtype.kind in "iu"
    return vectors, classes if whole else classes.astype(np.int64)


def check_unit_lengths(lengths: npt.NDArray[np.floating[Any]], kind: str = "") -> None:
    """Check that embeddings have length 1 (within 1 %) or 0.

    Args:
        lengths: Length of each embedding `[N]`.
        kind: Put before "embeddings" in the message.

    Raises:
        ValueError: If one has another length or is NaN.

    Example:
        >>> check_unit_lengths(np.array([1.0, 0.0, 0.995]))
    """
    # A zero embedding has no direction: its cosine to anything is 0, which the product gives.
    wrong = np.flatnonzero(~((np.abs(lengths - 1.0) <= UNIT_TOLERANCE) | (lengths == 0.0)))
    if wrong.size:
        raise ValueError(
            f"Expected {kind}embeddings of length 1, got length {lengths[wrong[0]]:g} at index {wrong[0]} "
            f"({wrong.size} such of {len(lengths)}). Normalise them: torch.nn.functional.normalize(embeddings)."
        )


def query_embeddings(
    query: tuple[Values, Values], dim: int
) -> tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.integer[Any]]]:
    """Convert and check embeddings and labels that are looked up in others.

    Args:
        query: Embeddings `[Q, D]` and labels `[Q]`, as for `labelled_embeddings`.
        dim: D of the others.

    Returns:
        Embeddings and labels, as of `labelled_embeddings`.

    Raises:
        TypeError: If the query is no pair, or as in `labelled_embeddings`.
        ValueError: If D differs, or as in `labelled_embeddings`.

    Example:
        >>> query_embeddings(([[0.6, 0.8]], [7]), 2)
        (array([[0.6, 0.8]]), array([7]))
    """
    if not isinstance(query, tuple | list) or len(query) != 2:
        raise TypeError(
            f"Expected query to be a pair (embeddings, labels), got {type(query).__name__}. "
            "Give query=(query_embeddings, query_labels)."
        )
    vectors, classes = labelled_embeddings(*query, kind="query ")
    if vectors.shape[1] != dim:
        raise ValueError(
            f"Expected query embeddings of the gallery's size, [Q, {dim}], got {list(vectors.shape)}. "
            "Embed both with the same model."
        )
    return vectors, classes


def image_codes(
    first: Values, second: Values, num_pairs: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """Number the images of pairs from 0.

    Args:
        first: The first image of each pair `[P]`, named by a whole number or a string.
        second: The second image of each pair `[P]`.
        num_pairs: P.

    Returns:
        The lower and the higher number of each pair `[P]`, and the number of images.

    Raises:
        TypeError: If images are not named by whole numbers or strings.
        ValueError: If shapes differ.

    Example:
        >>> image_codes(["b", "a"], ["a", "c"], 2)
        (array([0, 0]), array([1, 2]), 3)
    """
    names = [_image_names(images, name, num_pairs) for name, images in (("first", first), ("second", second))]
    distinct, codes = np.unique(np.concatenate(names), return_inverse=True)
    one, other = np.sort(codes.astype(np.int64).reshape(2, -1), axis=0)
    return one, other, distinct.size


def _image_names(images: Values, name: str, num_pairs: int) -> npt.NDArray[Any]:
    array = as_array(images, name)
    if array.shape != (num_pairs,):
        raise ValueError(
            f"Expected {name} to name one image per pair, shape [{num_pairs}], got shape {list(array.shape)}. "
            "Give the images in the order of the pairs."
        )
    if array.size and array.dtype.kind not in "iuUSO":
        raise TypeError(f"Expected {name} to be whole numbers or strings, got dtype {array.dtype}. Convert them.")
    return array if array.size else np.zeros(0, dtype=np.int64)


def check_count(value: int, name: str, minimum: int, example: int) -> int:
    """Return a whole number as an int; raise if it is below a bound.

    Args:
        value: The number; NumPy's whole numbers are fine.
        name: Its name in the message.
        minimum: The lowest value allowed.
        example: A value that the message suggests.

    Returns:
        The number.

    Raises:
        ValueError: If it is not a whole number of at least `minimum`.

    Example:
        >>> check_count(5, "k", 1, 10)
        5
    """
    try:
        count = operator.index(value)
    except TypeError:
        count = minimum - 1
    if isinstance(value, (bool, np.bool_)) or count < minimum:
        raise ValueError(
            f"Expected {name} to be a whole number of at least {minimum}, got {value!r}. Use {example}, say."
        )
    return count


def check_threshold(threshold: float) -> float:
    """Return a threshold as a float; raise if it is NaN.

    Args:
        threshold: A threshold on the score; infinities are fine.

    Returns:
        The threshold.

    Raises:
        ValueError: If it is NaN.

    Example:
        >>> check_threshold(1)
        1.0
    """
    value = real_number(threshold, "threshold")
    if np.isnan(value):
        raise ValueError("Expected threshold to be a number, got NaN. Choose a threshold on validation pairs.")
    return value


def check_fraction(value: float, name: str) -> float:
    """Return a rate as a float; raise if it is outside [0, 1].

    Args:
        value: The rate.
        name: Its name in the message.

    Returns:
        The rate.

    Raises:
        ValueError: If it is NaN or outside [0, 1].

    Example:
        >>> check_fraction(0.001, "fmr")
        0.001
    """
    fraction = real_number(value, name)
    if not 0.0 <= fraction <= 1.0:
        raise ValueError(
            f"Expected {name} to be a rate from 0 to 1, got {fraction}. Give a fraction, such as 0.001 for 0.1 %."
        )
    return fraction


def check_share(value: float, name: str) -> float:
    """Return a share, as of positive pairs or of searches, as a float; raise if it is not in (0, 1).

    Args:
        value: The share.
        name: Its name in the message.

    Returns:
        The share.

    Raises:
        ValueError: If it is NaN or not between 0 and 1.

    Example:
        >>> check_share(0.01, "prior")
        0.01
    """
    share = real_number(value, name)
    if not 0.0 < share < 1.0:
        raise ValueError(
            f"Expected {name} to be between 0 and 1, got {value}. Give a share above 0, below 1, such as 0.01 for 1 %."
        )
    return share


def check_probabilities(probabilities: Float64Array, offset: int = 0) -> None:
    """Raise if a value is not a probability.

    Args:
        probabilities: Values `[P]`.
        offset: Added to the index that the message names.

    Raises:
        ValueError: If a value is NaN or outside [0, 1].

    Example:
        >>> check_probabilities(np.array([0.0, 1.0]))
    """
    # Two reductions instead of a mask: this also runs on chunks of all pairs. NaN fails both comparisons.
    if probabilities.size and not (probabilities.min() >= 0.0 and probabilities.max() <= 1.0):
        first = int(np.flatnonzero(~((probabilities >= 0.0) & (probabilities <= 1.0)))[0])
        raise ValueError(
            f"Expected probabilities in [0, 1], got {probabilities[first]:g} at index {first + offset}: "
            "looks like similarities or logits; pass model.predict_proba(...) instead."
        )
