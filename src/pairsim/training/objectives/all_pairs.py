"""Cross-entropy of every pair of a batch, and its gradients, without ever holding all pairs.

The matrix of pairs is cut into tiles. Each tile's loss and gradients are computed at once and added up, and the tile is
forgotten: what lives on is as large as the embeddings. A small batch is one tile, which is the dense form.

All shapes follow from the shapes of the inputs, and no number is read back from the device, so that the loss can be
captured in a CUDA graph and compiled.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

TILE_ROWS = 2048
"""Rows and columns of a tile on a GPU, where few large steps are best; four such matrices are held at a time."""
TILE_ROWS_CPU = 256
"""The same on a CPU, where a tile should stay in the cache."""

Memory = tuple[Tensor, Tensor]
"""Embeddings `[M, D]` and labels `[M]`; a negative label marks an empty slot."""


def all_pairs_cross_entropy(
    embeddings: Tensor,
    weight: Tensor,
    bias: Tensor,
    labels: Tensor,
    *,
    prior: float = 0.5,
    hard_pairs: float = 0.0,
    tile_rows: int | None = None,
    memory: Memory | None = None,
) -> Tensor:
    """Weighted cross-entropy of `weight * similarity + bias` for all pairs; see `all_pairs_loss`.

    Args:
        embeddings: `[N, D]`, float32 or float64.
        weight: 0-dimensional, of the embeddings' dtype.
        bias: 0-dimensional, of the embeddings' dtype.
        labels: `[N]`, integers.
        prior: Summed weight of the positive pairs, in (0, 1).
        hard_pairs: Exponent of the weight for hard pairs, at least 0.
        tile_rows: Rows and columns of a tile; by default what suits the device.
        memory: Embeddings, of the same dtype, and labels that the batch is paired with as well.

    Returns:
        Scalar of the embeddings' dtype; differentiable once in embeddings, weight and bias.
    """
    if tile_rows is None:
        tile_rows = TILE_ROWS_CPU if embeddings.device.type == "cpu" else TILE_ROWS
    with_gradients = torch.is_grad_enabled() and (
        embeddings.requires_grad or weight.requires_grad or bias.requires_grad
    )
    given = _Given(labels, memory, prior, hard_pairs, tile_rows, with_gradients)
    loss: Tensor = _AllPairs.apply(embeddings, weight, bias, given)
    return loss


class _Given(NamedTuple):
    """What the loss has no gradient in."""

    labels: Tensor
    memory: Memory | None
    prior: float
    hard_pairs: float
    tile_rows: int
    with_gradients: bool


class _Tile(NamedTuple):
    """Rows are images of the batch. Columns are other images of the "batch", or of "memory", or its "own".

    In an "own" tile every pair is there twice, and each image meets itself.
    """

    kind: Literal["own", "batch", "memory"]
    rows: slice
    columns: slice


class _Classes(NamedTuple):
    """Codes are equal for images of one class and 2 or more apart for others: whole numbers, exact in floating point.

    Numbers of pairs count each as (i, j) and as (j, i), as an "own" tile does.
    """

    batch: Tensor  # codes [N]
    memory: Tensor | None  # codes [M]
    filled: Tensor | None  # [M], 0 for an empty slot, else 1
    num_positive: Tensor
    num_negative: Tensor


class _Pairs(NamedTuple):
    """What every tile is computed from."""

    scaled: Tensor  # embeddings times the projection's weight [N, D]
    batch: Tensor  # embeddings [N, D]
    memory: Tensor | None  # embeddings [M, D]
    bias: Tensor
    classes: _Classes

    def columns(self, tile: _Tile) -> Tensor:
        """Embeddings of a tile's columns."""
        source = self.memory if self.memory is not None and tile.kind == "memory" else self.batch
        return source[tile.columns]

    def margins(self, tile: _Tile) -> tuple[Tensor, Tensor]:
        """Signs (-1 positive, 1 negative, 0 no pair), and logits times sign: how far a pair is on the wrong side."""
        classes = self.classes
        codes = classes.memory if classes.memory is not None and tile.kind == "memory" else classes.batch
        # Arithmetic in place, as comparing and selecting takes several times as long on a CPU.
        sign = (classes.batch[tile.rows, None] - codes[tile.columns]).abs_().sub_(1).clamp_(max=1)
        if tile.kind == "own":
            sign.fill_diagonal_(0)
        elif tile.kind == "memory" and classes.filled is not None:
            sign.mul_(classes.filled[tile.columns])
        return sign, torch.addmm(self.bias, self.scaled[tile.rows], self.columns(tile).T).mul_(sign)


class _AllPairs(torch.autograd.Function):
    """Loss and gradients in one go over the tiles; all that waits for the backward pass is one gradient per input."""

    @staticmethod
    def forward(
        ctx: Any,
        embeddings: Tensor,
        weight: Tensor,
        bias: Tensor,
        given: _Given,
    ) -> Tensor:
        prior, hard_pairs = given.prior, given.hard_pairs
        memory_embeddings, memory_labels = (None, None) if given.memory is None else given.memory
        classes = _count_classes(given.labels, memory_labels, embeddings.dtype)
        pairs = _Pairs(embeddings * weight, embeddings, memory_embeddings, bias, classes)
        num_memory = 0 if memory_embeddings is None else memory_embeddings.shape[0]
        tiles = _cut(embeddings.shape[0], num_memory, given.tile_rows)
        # Bounds that turn the signs -1, 0 and 1 into signed weights. A kind without pairs gets an infinite one, which
        # then nothing reaches.
        lowest, highest = -prior / classes.num_positive, (1.0 - prior) / classes.num_negative
        norms = _hard_pair_norms(pairs, tiles, prior, hard_pairs) if hard_pairs > 0 else None
        # Loss, and gradients of weight and bias, of each tile. Added up at the end, as going on from sum to sum would
        # lose digits; and in one place, as small tensors left between large ones would keep their memory in use.
        sums = embeddings.new_zeros(3, len(tiles))
        gradient = torch.zeros_like(embeddings) if given.with_gradients else None
        for number, tile in enumerate(tiles):
            sign, margins = pairs.margins(tile)
            costs = _softplus(margins)
            if norms is None:
                weights = sign.clamp_min_(lowest).clamp_max_(highest)
            else:
                weights = _log_hardness(margins, costs, hard_pairs).sub_(torch.where(sign < 0, norms[0], norms[1]))
                weights = weights.masked_fill_(sign == 0, -math.inf).exp_().mul_(sign)
            if tile.kind != "own":
                weights.mul_(2)  # for (j, i), which no other tile has
            sums[0, number] = costs.mul_(weights).abs_().sum()
            if gradient is None:
                continue
            # As the weights are signed, this is the derivative by the logit for both kinds of pairs.
            slopes = margins.sigmoid_().mul_(weights)
            rows = embeddings[tile.rows]
            toward = slopes @ pairs.columns(tile)
            # In an "own" tile each pair pulls at an image as its row and, alike, as its column.
            gradient[tile.rows].add_(toward, alpha=2 if tile.kind == "own" else 1)
            if tile.kind == "batch":
                gradient[tile.columns].addmm_(slopes.T, rows)
            sums[1, number] = toward.mul_(rows).sum()
            sums[2, number] = slopes.sum()
        if gradient is not None:
            ctx.save_for_backward(gradient.mul_(weight), sums[1:].sum(dim=1))
        return sums[0].sum()

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        # Without this, a penalty on the gradient would quietly have no gradient of its own.
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            raise RuntimeError(
                "Expected all_pairs_loss to be differentiated once, got create_graph=True. Leave create_graph out."
            )
        embeddings, projection = ctx.saved_tensors
        weight, bias = (grad_output * projection).unbind()
        return grad_output * embeddings, weight, bias, None


def _cut(num_images: int, num_memory: int, tile_rows: int) -> list[_Tile]:
    """Tiles with every pair of the batch, and of batch and memory: on the diagonal, right of it, and beyond."""
    blocks = [slice(start, min(start + tile_rows, num_images)) for start in range(0, num_images, tile_rows)]
    # The fewer rows, the wider: as many pairs in each step whatever the shape.
    width = tile_rows * tile_rows // max(1, min(num_images, tile_rows))
    memory = [slice(start, min(start + width, num_memory)) for start in range(0, num_memory, width)]
    tiles = []
    for number, rows in enumerate(blocks):
        tiles.append(_Tile("own", rows, rows))
        tiles += [_Tile("batch", rows, columns) for columns in blocks[number + 1 :]]
        tiles += [_Tile("memory", rows, columns) for columns in memory]
    return tiles


def _count_classes(labels: Tensor, memory_labels: Tensor | None, dtype: torch.dtype) -> _Classes:
    """Codes of classes and numbers of pairs, from sorted labels instead of a matrix of comparisons."""
    num_images = labels.shape[0]
    ordered = labels.sort().values

    def place(sought: Tensor) -> tuple[Tensor, Tensor]:
        return torch.searchsorted(ordered, sought), torch.searchsorted(ordered, sought, right=True)

    first, end = place(labels)
    codes = first + end  # which is 2 apart or more for two classes
    num_positive = (end - first).sum() - num_images
    num_negative = num_images * (num_images - 1) - num_positive
    memory_codes = filled = None
    if memory_labels is not None:
        filled = memory_labels >= 0
        first, end = place(memory_labels)
        members = end - first
        # Which class it is does not matter for those that the batch does not have.
        memory_codes = (first + end).masked_fill(members == 0, -1).to(dtype)
        added = 2 * (members * filled).sum()
        num_positive = num_positive + added
        num_negative = num_negative + (2 * num_images * filled.sum() - added)
        filled = filled.to(dtype)
    return _Classes(codes.to(dtype), memory_codes, filled, num_positive.to(dtype), num_negative.to(dtype))


def _hard_pair_norms(pairs: _Pairs, tiles: list[_Tile], prior: float, hard_pairs: float) -> tuple[Tensor, Tensor]:
    """What to subtract from the log hardness of positive and of negative pairs, so that weights sum to the shares."""
    sums = pairs.bias.new_full((2, len(tiles)), -math.inf)
    for number, tile in enumerate(tiles):
        sign, margins = pairs.margins(tile)
        hardness = _log_hardness(margins, _softplus(margins), hard_pairs)
        if tile.kind != "own":
            hardness.add_(math.log(2))
        for row, kind in enumerate((-1, 1)):
            sums[row, number] = hardness.masked_fill(sign != kind, -math.inf).view(-1).logsumexp(0)
    # In logarithms, since the weights of a kind that has only easy pairs would vanish. A kind without pairs: log(0).
    positive, negative = sums.logsumexp(dim=1).nan_to_num(neginf=0.0).unbind()
    return positive - math.log(prior), negative - math.log1p(-prior)


def _log_hardness(margins: Tensor, costs: Tensor, hard_pairs: float) -> Tensor:
    """Logarithm of `|probability - target| ** hard_pairs`, from `log(sigmoid(x)) = x - softplus(x)`."""
    return (margins - costs).mul_(hard_pairs)


def _softplus(values: Tensor) -> Tensor:
    """`log(1 + exp(values))`."""
    if values.device.type != "cpu":
        return functional.softplus(values, threshold=40.0)
    # PyTorch's is one kernel, but on a CPU four times slower than this, for its log1p is. With p = sigmoid(-|values|),
    # log1p(exp(-|values|)) = -log(1 - p), and what 1 - p loses by rounding is given back.
    chance = values.abs().neg_().sigmoid_()
    rest = 1 - chance
    lost = chance.sub_(1 - rest)
    return lost.sub_(rest.log_()).add_(values.clamp(min=0))
