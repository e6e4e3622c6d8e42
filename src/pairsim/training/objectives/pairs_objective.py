"""Objective "pairs": binary cross-entropy of drawn or given pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from pairsim._common.choices import Negatives
from pairsim.data import LabelledImages, PairDataset
from pairsim.data.loading.batches import PairBatches
from pairsim.models import SimilarityModel
from pairsim.training.objectives.objective import Objective, Recipe

_MAX_DEFAULT_PAIRS = 20_000


@dataclass(kw_only=True)
class PairsObjective(Objective):
    """Mean binary cross-entropy of pairs, drawn from labelled images or given as a `PairDataset`.

    A batch is the first images of its pairs, then the second images `[2N]`; targets are 1 = same class, 0 = different,
    float `[N]`.
    """

    recipe: ClassVar[Recipe] = Recipe(batch_size=256, epochs=30, scheduler="plateau")
    images_per_target: ClassVar[int] = 2

    num_pairs: int | None
    positive_fraction: float
    negatives: Negatives

    def batches(self, images: LabelledImages, *, note: Callable[[str], object]) -> PairBatches:  # noqa: ARG002
        """Plan batches of pairs that are drawn in each epoch."""
        pairs = PairDataset(
            images,
            self.num_pairs or min(_MAX_DEFAULT_PAIRS, len(images)),
            positive_fraction=self.positive_fraction,
            seed=self.seed,
            negatives=self.negatives,
        )
        return self.pair_batches(pairs)

    def pair_batches(self, pairs: PairDataset) -> PairBatches:
        """Plan batches of the pairs of a dataset, `num_pairs` in an epoch if that is set."""
        return PairBatches(pairs, self.batch_size, num_pairs=self.num_pairs)

    def loss(self, model: SimilarityModel, embeddings: Tensor, targets: Tensor) -> Tensor:
        """Compute the mean cross-entropy of `[2N, D]` embeddings, float32."""
        first, second = embeddings.chunk(2)
        return functional.binary_cross_entropy_with_logits(model.logits((first * second).sum(dim=-1)), targets)
