"""`compare_models`: compare two models on the same pairs, with intervals and p-values."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from pairsim._common.choices import Unit
from pairsim._common.json_files import json_value
from pairsim._common.unit_similarity import lowest_match
from pairsim.evaluation import Difference, paired_differences
from pairsim.models import SimilarityModel
from pairsim.verification.model_evaluation import measurable_rates
from pairsim.verification.scoring import score_pairs
from pairsim.verification.verification_report import readable


@dataclass(frozen=True, kw_only=True)
class ModelComparison:
    """Two models on the same pairs.

    Attributes:
        protocol: "all pairs" of the images, or "given pairs".
        num_images: Number of images.
        num_pairs: Number of pairs.
        unit: The units that were resampled: "images" or "classes".
        num_resamples: Number of resampled sets.
        thresholds: Thresholds of the first and of the second model.
        differences: Difference of each figure, first model minus second.
    """

    protocol: str
    num_images: int
    num_pairs: int
    unit: Unit
    num_resamples: int
    thresholds: tuple[float, float]
    differences: dict[str, Difference]

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON values; NaN as `None`."""
        return {name: json_value(value) for name, value in vars(self).items()}

    def to_json(self) -> str:
        """The figures as a JSON object."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def __str__(self) -> str:
        lines = [
            f"{self.protocol} of {self.num_images:,} images, {self.num_resamples:,} times resampled by {self.unit}; "
            f"thresholds {self.thresholds[0]:.4f} and {self.thresholds[1]:.4f}",
            f"  {'':<22}{'first':>10}{'second':>10}{'difference':>12}  95 % interval, p",
        ]
        for name, row in self.differences.items():
            if not math.isnan(row.difference):
                p_value = f"{row.p_value:.2g}" if row.p_value >= 0.001 else "< 0.001"
                lines.append(
                    f"  {readable(name):<22}{row.first:>10.3%}{row.second:>10.3%}"
                    f"{row.difference:>+12.3%}  [{row.low:+.3%}, {row.high:+.3%}], p {p_value}"
                )
        return "\n".join(lines)


def compare_models(
    first: SimilarityModel,
    second: SimilarityModel,
    data: Any,
    *,
    unit: Unit = "images",
    num_resamples: int = 1000,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> ModelComparison:
    """Compare two models on the same pairs, so that the difficulty of the pairs cancels.

    Args:
        first: A model, at its own threshold.
        second: Another one, at its own threshold.
        data: A labelled dataset, of which all pairs are used, or a `PairDataset`, whose pairs are used.
        unit: The units that are resampled: `"images"`, or `"classes"` if the models will be used on other classes.
        num_resamples: Number of resampled sets.
        seed: Seed of the resampling.
        batch_size: As for `evaluate`.
        progress: As for `evaluate`.

    Returns:
        Differences with intervals and p-values. They hold for these two trained models, not for the ways they were
        trained: to compare those, train each with several seeds.

    Raises:
        DataError: If there are fewer than two images, or labels do not fit.
        ValueError: If the images do not fit a model, or classes should be resampled with given pairs.

    Example:
        >>> import torch
        >>> from pairsim.data import ImageTensors
        >>> images = ImageTensors(torch.randint(0, 256, (8, 28, 28), dtype=torch.uint8), [0, 1] * 4)
        >>> model = SimilarityModel()
        >>> compare_models(model, model, images, num_resamples=50).differences["roc_auc"].difference
        0.0
    """
    resampled = []
    for model in (first, second):
        scored = score_pairs(model, data, batch_size=batch_size, progress=progress)
        rates = measurable_rates(scored)
        lowest = lowest_match(model.threshold)
        resampled.append(scored.resampled(lowest, rates, unit=unit, num_resamples=num_resamples, seed=seed))
    return ModelComparison(
        protocol=scored.protocol,
        num_images=scored.num_images,
        num_pairs=scored.pairs.num_pairs,
        unit=unit,
        num_resamples=num_resamples,
        thresholds=(first.threshold, second.threshold),
        differences=paired_differences(*resampled),
    )
