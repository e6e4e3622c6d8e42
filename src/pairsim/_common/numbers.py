"""Checking single numbers that are given as arguments."""

from __future__ import annotations

import operator
from typing import Any


def real_number(value: Any, name: str) -> float:
    """Return a number as a float; raise if it is text, a list, a truth value or nothing.

    Args:
        value: A number of Python, NumPy or a tensor of one element.
        name: Its name in the message.

    Returns:
        The number, which may be NaN or infinite.

    Raises:
        TypeError: If it is not one real number.

    Example:
        >>> real_number(1, "prior")
        1.0
    """
    try:
        if not isinstance(value, str | bytes | bool):
            return float(value)
    except (OverflowError, TypeError, ValueError, RuntimeError):
        pass
    raise TypeError(f"Expected {name} to be a number, got {value!r}. Give one number.")


def whole_number(value: Any, name: str, minimum: int | None = None) -> int:
    """Return a whole number as an int; raise if it is none, or below a bound.

    Args:
        value: The number; NumPy's whole numbers are fine.
        name: Its name in the message.
        minimum: The lowest value allowed; by default any is.

    Returns:
        The number.

    Raises:
        TypeError: If it is not a whole number.
        ValueError: If `minimum` is given, and the number is below it or 2**63 or more.

    Example:
        >>> whole_number(5, "batch_size", 1)
        5
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        bound = "" if minimum is None else f" of at least {minimum}"
        raise TypeError(f"Expected {name} to be a whole number{bound}, got {value!r}.")
    if minimum is not None and number < minimum:
        raise ValueError(f"Expected {name} to be at least {minimum}, got {number}.")
    if minimum is not None and number >= 2**63:
        raise ValueError(f"Expected {name} to be below 2**63, got {number}. Choose a smaller one.")
    return number


def truth_value(value: Any, name: str) -> bool:
    """Return a truth value as a bool; raise if it is anything else, such as a number or `"no"`.

    Args:
        value: `True` or `False`, of Python or NumPy.
        name: Its name in the message.

    Returns:
        The value.

    Raises:
        TypeError: If it is neither.

    Example:
        >>> truth_value(True, "replace")
        True
    """
    if type(value).__name__ not in ("bool", "bool_"):
        raise TypeError(f"Expected {name} to be True or False, got {value!r}.")
    return bool(value)


def similarity_threshold(value: Any, name: str = "threshold") -> float:
    """Return a threshold on similarity as a float; raise if it is outside [-1, 1].

    Args:
        value: The threshold.
        name: Its name in the message.

    Returns:
        The threshold.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is NaN or outside [-1, 1].

    Example:
        >>> similarity_threshold(0.5)
        0.5
    """
    threshold = real_number(value, name)
    if not -1.0 <= threshold <= 1.0:  # also catches NaN
        raise ValueError(
            f"Expected {name} to be a similarity in [-1, 1], got {threshold}. Give a cosine such as 0.5, no percentage."
        )
    return threshold


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun in the singular or plural.

    Args:
        number: How many.
        noun: The noun in the singular.
        plural: The plural, if it is not the singular with an "s".

    Example:
        >>> counted(1, "pair"), counted(1000, "pair"), counted(2, "class", "classes")
        ('1 pair', '1,000 pairs', '2 classes')
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
