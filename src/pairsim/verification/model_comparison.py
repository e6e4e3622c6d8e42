"""`compare_models`: compare two models on the same pairs, with intervals and p-values."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from pairsim._common.unit_similarity import lowest_match
from pairsim.evaluation.uncertainty.resampling import Difference, Unit, paired_differences
from pairsim.models import SimilarityModel
from pairsim.verification.model_evaluation import FMR_TARGETS, measurable_rates
from pairsim.verification.scoring import score_pairs
from pairsim.verification.verification_report import json_value


@dataclass(frozen=True, kw_only=True)
class ModelComparison:
    """Two models on the same pairs.

    Attributes:
        protocol: Which pairs.
        num_images: Images, each embedded once by either model.
        num_pairs: Pairs.
        unit: What was resampled.
        num_resamples: How often.
        thresholds: Of the first and of the second model.
        differences: Of each figure, first model less second.
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
        values = {**vars(self), "differences": {name: asdict(found) for name, found in self.differences.items()}}
        return {name: json_value(value) for name, value in values.items()}

    def to_json(self) -> str:
        """The figures as a JSON object."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def __str__(self) -> str:
        lines = [
            f"{self.protocol} of {self.num_images:,} images, {self.num_resamples:,} times resampled by {self.unit}; "
            f"thresholds {self.thresholds[0]:.4f} and {self.thresholds[1]:.4f}",
            f"  {'':<22}{'first':>10}{'second':>10}{'difference':>12}  95 % interval, p",
        ]
        for name, found in self.differences.items():
            if math.isnan(found.difference):
                continue
            lines.append(
                f"  {_READABLE.get(name, name.replace('_', ' ')):<22}{found.first:>10.3%}{found.second:>10.3%}"
                f"{found.difference:>+12.3%}  [{found.low:+.3%}, {found.high:+.3%}], p {_p_value(found.p_value)}"
            )
        return "\n".join(lines)


_READABLE = {
    "roc_auc": "ROC AUC",
    "eer": "equal error rate",
    "fmr": "false match rate",
    "fnmr": "false non-match rate",
    "balanced_accuracy": "balanced accuracy",
    **{f"fnmr_at_fmr_{target:g}": f"FNMR at FMR {target:.2%}" for target in FMR_TARGETS},
}


def _p_value(p: float) -> str:
    return f"{p:.2g}" if p >= 0.001 else "< 0.001"


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
    """Compare two models on the same pairs, so that what both find hard cancels.

    Args:
        first: A model, at its own threshold.
        second: Another one, at its own threshold.
        data: A labelled dataset, of which all pairs are used, or a `PairDataset`, whose pairs are used.
        unit: What is resampled: `"images"`, or `"classes"` if the models will meet others.
        num_resamples: Resampled sets.
        seed: Of the resampling.
        batch_size: As for `evaluate`.
        progress: As for `evaluate`.

    Returns:
        Differences with intervals and p-values. They speak of these two trained models, not of how they were trained:
        for that, train each with several seeds.

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
    scored = [score_pairs(model, data, batch_size=batch_size, progress=progress) for model in (first, second)]
    cuts = (first.threshold, second.threshold)
    resampled = [
        found.resampled(lowest_match(cut), measurable_rates(found), unit=unit, num_resamples=num_resamples, seed=seed)
        for found, cut in zip(scored, cuts, strict=True)
    ]
    return ModelComparison(
        protocol=scored[0].protocol,
        num_images=scored[0].num_images,
        num_pairs=scored[0].pairs.num_pairs,
        unit=unit,
        num_resamples=num_resamples,
        thresholds=cuts,
        differences=paired_differences(*resampled),
    )
