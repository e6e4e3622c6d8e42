"""Cross-entropy of every pair of a batch, and its gradients, without the matrix of all pairs in memory.

The matrix of pairs is split into tiles. The loss and the gradients of a tile are computed together and added up, and
the tile is freed: what remains is as large as the embeddings. A small batch is one tile, which is the dense form.

All shapes follow from the shapes of the inputs, and no number is copied from the device to the host, so the loss can be
captured in a CUDA graph and compiled.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

TILE_ROWS = 2048
"""Rows and columns of a tile on a GPU, where few large steps are best; four such matrices are in memory at a time."""
TILE_ROWS_CPU = 256
"""Rows and columns of a tile on a CPU, where a tile should fit the cache."""

Memory = tuple[Tensor, Tensor]
"""Embeddings `[M, D]` and labels `[M]`; a negative label marks an empty slot."""


class Constants(NamedTuple):
    """Inputs of `TiledCrossEntropy` without a gradient.

    Attributes:
        labels: `[N]`, int64.
        memory: Embeddings, of the same dtype, and labels that the batch is also paired with; `None` without memory.
        prior: Summed weight of the positive pairs, in (0, 1).
        hard_pairs: Exponent of the weight for hard pairs, at least 0.
        tile_rows: Rows and columns of a tile; `None` for `TILE_ROWS` or, on a CPU, `TILE_ROWS_CPU`.
        with_gradients: Whether gradients are needed.
    """

    labels: Tensor
    memory: Memory | None
    prior: float
    hard_pairs: float
    tile_rows: int | None
    with_gradients: bool


class _Tile(NamedTuple):
    """Part of the matrix of pairs; its rows are images of the batch.

    Columns are the same images as the rows ("own"), later images of the batch ("batch"), or images of the memory
    ("memory"). An "own" tile contains each pair twice and the diagonal, which is no pair.
    """

    kind: Literal["own", "batch", "memory"]
    rows: slice
    columns: slice


class _Pairs(NamedTuple):
    """Inputs that all tiles share.

    Codes of classes are whole numbers, exact in floating point: equal within a class, and 2 or more apart between
    classes. Numbers of pairs count each pair as (i, j) and as (j, i), as an "own" tile does.
    """

    scaled: Tensor  # embeddings times the projection's weight [N, D]
    batch: Tensor  # embeddings [N, D]
    memory: Tensor  # embeddings [M, D]
    bias: Tensor
    codes: Tensor  # [N]
    memory_codes: Tensor  # [M]
    filled: Tensor  # [M], 0 for an empty slot, else 1
    num_positive: Tensor
    num_negative: Tensor

    def columns(self, tile: _Tile) -> Tensor:
        """Return the embeddings of a tile's columns."""
        return (self.memory if tile.kind == "memory" else self.batch)[tile.columns]

    def margins(self, tile: _Tile) -> tuple[Tensor, Tensor]:
        """Compute signs (-1 positive, 1 negative, 0 no pair) and margins: logit times sign, above 0 if wrong."""
        codes = self.memory_codes if tile.kind == "memory" else self.codes
        # In-place arithmetic: comparisons and selection take several times as long on a CPU.
        sign = (self.codes[tile.rows, None] - codes[tile.columns]).abs_().sub_(1).clamp_(max=1)
        if tile.kind == "own":
            sign.fill_diagonal_(0)
        elif tile.kind == "memory":
            sign.mul_(self.filled[tile.columns])
        return sign, torch.addmm(self.bias, self.scaled[tile.rows], self.columns(tile).T).mul_(sign)


class TiledCrossEntropy(torch.autograd.Function):
    """Weighted cross-entropy of `weight * similarity + bias` for all pairs, as in `all_pairs_loss`.

    Loss and gradients are computed in one pass over the tiles, and only one gradient per input is kept for the backward
    pass. Embeddings are `[N, D]`, float32 or float64; weight and bias are 0-dimensional and of the same dtype.
    """

    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, weight: Tensor, bias: Tensor, constants: Constants) -> Tensor:
        """Compute the loss, a scalar of the embeddings' dtype."""
        prior, hard_pairs = constants.prior, constants.hard_pairs
        memory, memory_labels = constants.memory or (embeddings[:0], None)
        classes = _count_classes(constants.labels, memory_labels, embeddings.dtype)
        pairs = _Pairs(embeddings * weight, embeddings, memory, bias, *classes)
        tile_rows = constants.tile_rows or (TILE_ROWS_CPU if embeddings.device.type == "cpu" else TILE_ROWS)
        tiles = _tiles(embeddings.shape[0], memory.shape[0], tile_rows)
        # Clamping to these bounds turns the signs -1, 0 and 1 into signed weights. The bound of a kind without pairs is
        # infinite, and no sign reaches it.
        lowest, highest = -prior / pairs.num_positive, (1.0 - prior) / pairs.num_negative
        norms = _hard_pair_norms(pairs, tiles, prior, hard_pairs) if hard_pairs > 0 else None
        # Loss, and gradients of weight and bias, of each tile. They are added up at the end because a running sum loses
        # digits, and are one tensor because small tensors between large ones would fragment the memory.
        sums = embeddings.new_zeros(3, len(tiles))
        gradient = torch.zeros_like(embeddings) if constants.with_gradients else None
        for number, tile in enumerate(tiles):
            sign, margins = pairs.margins(tile)
            costs = _softplus(margins)
            if norms is None:
                weights = sign.clamp_min_(lowest).clamp_max_(highest)
            else:
                weights = _log_hardness(margins, costs, hard_pairs).sub_(torch.where(sign < 0, norms[0], norms[1]))
                weights = weights.masked_fill_(sign == 0, -math.inf).exp_().mul_(sign)
            if tile.kind != "own":
                weights.mul_(2)  # for (j, i), which is in no other tile
            sums[0, number] = costs.mul_(weights).abs_().sum()
            if gradient is None:
                continue
            # As the weights are signed, this is the derivative by the logit for both kinds of pairs.
            slopes = margins.sigmoid_().mul_(weights)
            rows = embeddings[tile.rows]
            row_gradient = slopes @ pairs.columns(tile)
            # In an "own" tile each image gets the same gradient as a row and as a column.
            gradient[tile.rows].add_(row_gradient, alpha=2 if tile.kind == "own" else 1)
            if tile.kind == "batch":
                gradient[tile.columns].addmm_(slopes.T, rows)
            sums[1, number] = row_gradient.mul_(rows).sum()
            sums[2, number] = slopes.sum()
        if gradient is not None:
            ctx.save_for_backward(gradient.mul_(weight), sums[1:].sum(dim=1))
        return sums[0].sum()

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the gradients of the forward pass."""
        # Without this check, a penalty on the gradient would silently have no gradient.
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            raise RuntimeError(
                "Expected all_pairs_loss to be differentiated once, got create_graph=True. Leave create_graph out."
            )
        embeddings, projection = ctx.saved_tensors  # gradients
        weight, bias = (grad_output * projection).unbind()
        return grad_output * embeddings, weight, bias, None


def _tiles(num_images: int, num_memory: int, tile_rows: int) -> list[_Tile]:
    """Split the matrix of pairs into tiles on the diagonal, to the right of it, and of batch and memory."""
    blocks = [slice(start, min(start + tile_rows, num_images)) for start in range(0, num_images, tile_rows)]
    # Memory tiles of a small batch are wider, so that each has about the same number of pairs.
    width = tile_rows * tile_rows // max(1, min(num_images, tile_rows))
    memory = [slice(start, min(start + width, num_memory)) for start in range(0, num_memory, width)]
    tiles = []
    for number, rows in enumerate(blocks):
        tiles.append(_Tile("own", rows, rows))
        tiles += [_Tile("batch", rows, columns) for columns in blocks[number + 1 :]]
        tiles += [_Tile("memory", rows, columns) for columns in memory]
    return tiles


def _count_classes(labels: Tensor, memory_labels: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Compute codes of classes and numbers of pairs, as in `_Pairs`, without a matrix of comparisons."""
    num_images = labels.shape[0]
    ordered = labels.sort().values

    def span(values: Tensor) -> tuple[Tensor, Tensor]:
        return torch.searchsorted(ordered, values), torch.searchsorted(ordered, values, right=True)

    first, end = span(labels)
    codes = (first + end).to(dtype)  # 2 or more apart for two classes
    num_positive = (end - first).sum() - num_images
    num_negative = num_images * (num_images - 1) - num_positive
    memory_codes = filled = codes[:0]
    if memory_labels is not None:
        is_filled = memory_labels >= 0
        first, end = span(memory_labels)
        members = end - first
        # Classes that are not in the batch share one code, as all their pairs are negative.
        memory_codes, filled = (first + end).masked_fill(members == 0, -1).to(dtype), is_filled.to(dtype)
        added = 2 * (members * is_filled).sum()
        num_positive = num_positive + added
        num_negative = num_negative + (2 * num_images * is_filled.sum() - added)
    return codes, memory_codes, filled, num_positive.to(dtype), num_negative.to(dtype)


def _hard_pair_norms(pairs: _Pairs, tiles: list[_Tile], prior: float, hard_pairs: float) -> tuple[Tensor, Tensor]:
    """Compute what to subtract from the log hardness of positive and of negative pairs for weights to sum to shares."""
    sums = pairs.bias.new_full((2, len(tiles)), -math.inf)
    for number, tile in enumerate(tiles):
        sign, margins = pairs.margins(tile)
        hardness = _log_hardness(margins, _softplus(margins), hard_pairs)
        if tile.kind != "own":
            hardness.add_(math.log(2))
        for row, kind in enumerate((-1, 1)):
            sums[row, number] = hardness.masked_fill(sign != kind, -math.inf).view(-1).logsumexp(0)
    # In logarithms, as the weights of a kind with only easy pairs would underflow. A kind without pairs gives log(0).
    positive, negative = sums.logsumexp(dim=1).nan_to_num(neginf=0.0).unbind()
    return positive - math.log(prior), negative - math.log1p(-prior)


def _log_hardness(margins: Tensor, costs: Tensor, hard_pairs: float) -> Tensor:
    """Compute the logarithm of `|probability - target| ** hard_pairs`, by `log(sigmoid(x)) = x - softplus(x)`."""
    return (margins - costs).mul_(hard_pairs)


def _softplus(values: Tensor) -> Tensor:
    """Compute `log(1 + exp(values))`."""
    if values.device.type != "cpu":
        return functional.softplus(values, threshold=40.0)
    # PyTorch's kernel is four times slower than this on a CPU, because of its log1p. With p = sigmoid(-|values|),
    # log1p(exp(-|values|)) = -log(1 - p); the rounding error of 1 - p is added back.
    probability = values.abs().neg_().sigmoid_()
    complement = 1 - probability
    rounding = probability.sub_(1 - complement)
    return rounding.sub_(complement.log_()).add_(values.clamp(min=0))
