"""Similarities of all pairs of labelled embeddings, block by block."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pairsim._common.arrays import Float32Array, Values, check_count, labelled_embeddings
from pairsim._common.progress import progress_bar
from pairsim.evaluation.pairs.ranked import IntArray


def by_class(embeddings: Values, labels: Values) -> tuple[Float32Array, IntArray, IntArray]:
    """Check embeddings and labels and sort the images by class.

    Returns:
        Embeddings `[N, D]` float32 and class numbers `[N]`, both in class order, and the image number `[N]` of each
        row.
    """
    vectors, classes = labelled_embeddings(embeddings, labels)
    order = np.argsort(classes, kind="stable")
    _, codes = np.unique(classes[order], return_inverse=True)
    return np.ascontiguousarray(vectors[order], dtype=np.float32), codes.astype(np.int64), order


def pair_rows(
    vectors: Float32Array, codes: IntArray, block_size: int, *, progress: bool | None = False
) -> Iterator[tuple[Float32Array, Float32Array]]:
    """Yield, for each image in class order, its scores with the later images: of its class, and of other classes."""
    ends = np.searchsorted(codes, codes, side="right")
    for start, products in similarity_blocks(vectors, block_size, upper=True, progress=progress):
        for row in range(len(products)):
            end = int(ends[start + row]) - start
            yield products[row, row + 1 : end], products[row, end:]


def similarity_blocks(
    vectors: Float32Array, block_size: int, *, upper: bool, progress: bool | None = False
) -> Iterator[tuple[int, Float32Array]]:
    """Yield the first row and the products of each block of rows, clipped to [-1, 1].

    NumPy multiplies, not torch: global settings of torch (TF32, autocast, matmul precision) then cannot lower the
    precision. With `upper`, a block begins at the column of its first row; else it has all N columns. A progress bar is
    shown if `progress` is true; if it is None, for long work on a terminal.
    """
    check_count(block_size, "block_size", 1, 1024)
    num_images = len(vectors)
    starts = range(0, num_images, block_size)
    total = sum(min(block_size, num_images - start) * (num_images - start if upper else num_images) for start in starts)
    with progress_bar(total, "comparing", "pairs", progress) as bar:
        for start in starts:
            products = vectors[start : start + block_size] @ (vectors[start:] if upper else vectors).T
            yield start, np.clip(products, -1.0, 1.0, out=products)
            bar.update(products.size)
