"""What `adapt` tried and kept, with figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pairsim.data import LabelledImages
from pairsim.training.adaptation.class_figures import ClassFigures
from pairsim.training.adaptation.head_choice import HeadResult
from pairsim.training.adaptation.part_choice import PartResult
from pairsim.training.history import History


@dataclass(frozen=True, kw_only=True, eq=False)
class Adaptation:
    """What `adapt` tried, with figures on the validation images, and what it kept.

    Attributes:
        kept: `"frozen"`: the backbone as it was, with a head; `"trained"`: the fine-tuned net.
        head: The head of the kept model.
        central_fraction: Share of height and width of an image that the kept model sees.
        parts: Each central part that was tried, with its figures in the cross-validation over the training classes.
        heads: Each head that was tried, likewise.
        baseline: The backbone's own features, of the images as they were given, without a head.
        frozen: The frozen backbone with the chosen head.
        trained: The fine-tuned net; `None` without fine-tuning.
        difference: 95 % interval of the EER of the fine-tuned net minus that of the frozen one.
        history: The epochs of fine-tuning.
        val: The validation images.
    """

    kept: Literal["frozen", "trained"]
    head: str
    central_fraction: float
    parts: tuple[PartResult, ...]
    heads: tuple[HeadResult, ...]
    baseline: ClassFigures
    frozen: ClassFigures
    trained: ClassFigures | None
    difference: tuple[float, float] | None
    history: History
    val: LabelledImages

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {
            "kept": self.kept,
            "head": self.head,
            "baseline": _values(self.baseline),
            "frozen": _values(self.frozen),
            "trained": None if self.trained is None else _values(self.trained),
            "difference": self.difference,
            "central_fraction": self.central_fraction,
            "parts": [
                {"central_fraction": one.central_fraction, **_values(one.figures), "difference": one.difference}
                for one in self.parts
            ],
            "heads": [
                {"head": str(one.head), **_values(one.figures), "difference": one.difference} for one in self.heads
            ],
        }

    def __str__(self) -> str:
        return "\n".join([*lines_of("Parts of the image", self.parts), *lines_of("Heads", self.heads), self.outcome])

    @property
    def outcome(self) -> str:
        """The figures on the validation images and what was kept, in some lines."""
        lines = [
            "On the validation images:",
            f"  {self.baseline.line('backbone alone')}",
            f"  {self.frozen.line('frozen, with head')}",
        ]
        kept = f"Kept the frozen backbone with head {self.head}."
        if self.trained is not None and self.difference is not None:
            lines.append(f"  {self.trained.line('fine-tuned', self.difference)}")
            kept = f"Kept the frozen backbone with head {self.head}: fine-tuning did not lower the EER enough."
        if self.kept == "trained":
            kept = f"Kept the fine-tuned net, as its EER is lower, with head {self.head}."
        if self.central_fraction < 1:
            lines.append(f"The model sees the central {self.central_fraction:.0%} of height and width of an image.")
        lines.append(kept)
        return "\n".join(lines)


def lines_of(what: str, results: Sequence[PartResult | HeadResult]) -> list[str]:
    """Describe a cross-validation, a line for each result; nothing if there was none."""
    return [f"{what}, cross-validated over the training classes:", *(f"  {one}" for one in results)] if results else []


def _values(figures: ClassFigures) -> dict[str, float]:
    return {"eer": figures.eer, "recall_at_1": figures.recall_at_1}
