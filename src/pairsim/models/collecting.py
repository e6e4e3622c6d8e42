"""Collect rows that come in parts in one tensor."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import torch
from torch import Tensor

from pairsim._common.progress import progress_bar


def collect(parts: Iterable[Tensor], num_rows: int | None, *, progress: bool | None = None) -> Tensor | None:
    """Join parts to one tensor, without gradients.

    Args:
        parts: Each `[n, D]`; computed, without gradients, when asked for.
        num_rows: Rows in all parts, N, if it is known: each part is then copied to its rows at once, and memory never
            holds all of them twice.
        progress: Whether to show a progress bar; by default on a terminal once the work has taken 2 seconds.

    Returns:
        `[N, D]`, or `None` if there are no parts.

    Raises:
        ValueError: If there are not `num_rows` rows.

    Example:
        >>> collect(iter([torch.zeros(2, 3), torch.ones(1, 3)]), 3)
        tensor([[0., 0., 0.],
                [0., 0., 0.],
                [1., 1., 1.]])
    """
    kept: list[Tensor] = []
    whole: Tensor | None = None
    done = 0
    with contextlib.ExitStack() as stack, torch.no_grad():
        bar = None
        for part in parts:
            start, done = done, done + len(part)
            if num_rows is None:
                kept.append(part)
            elif len(part) == num_rows:
                whole = part
            elif done <= num_rows:
                whole = part.new_empty((num_rows, *part.shape[1:])) if whole is None else whole
                whole[start:done] = part
            if bar is None and done != num_rows:  # a single part needs none
                bar = stack.enter_context(progress_bar(num_rows, "embedding", "images", progress))
            if bar is not None:
                bar.update(done - bar.n)
    if num_rows not in (None, done):
        raise ValueError(f"Expected {num_rows} images in all batches, got {done}. Pass their number, or None.")
    return torch.cat(kept) if kept else whole
