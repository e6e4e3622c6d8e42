"""The report of `find_leaks`: as text and JSON values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pairsim.errors import printable

_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class ImageMatch:
    """A test image that is the same as a training image, or nearly.

    Attributes:
        test: Index of the test image.
        train: Index of the training image.
        test_label: Label of the test image.
        train_label: Label of the training image.
        similarity: Correlation of their pixels; 1 if they are the same.
    """

    test: int
    train: int
    test_label: int | str
    train_label: int | str
    similarity: float

    @property
    def same_label(self) -> bool:
        """Whether the labels are equal."""
        return self.test_label == self.train_label

    def __str__(self) -> str:
        labels = f"both {self.test_label}" if self.same_label else f"{self.test_label} and {self.train_label}: differ"
        return f"test {self.test} = train {self.train}, similarity {self.similarity:.4f}, labels {printable(labels)}"


@dataclass(frozen=True, kw_only=True)
class LeakReport:
    """The result of `find_leaks`.

    Attributes:
        num_train: Training images.
        num_test: Test images.
        num_pairs: Pairs that were checked; `None` if none were given.
        exact_duplicates: Test images with the same pixels as a training image.
        near_duplicates: Test images that are nearly a training image; `None` if they were not searched.
        shared_classes: Classes of both sets, if these should have none in common; ascending.
        shared_groups: Groups of both sets, such as writers; ascending.
        self_pairs: Positions of pairs of an image with itself.
        repeated_pairs: Positions of pairs that appear earlier in the list, in either order.
        identical_pairs: Positions of pairs of two images with the same pixels.
        near_duplicate_similarity: Correlation from which images are near-duplicates.
    """

    num_train: int
    num_test: int
    num_pairs: int | None
    exact_duplicates: tuple[ImageMatch, ...]
    near_duplicates: tuple[ImageMatch, ...] | None
    shared_classes: tuple[int | str, ...]
    shared_groups: tuple[int | str, ...]
    self_pairs: tuple[int, ...]
    repeated_pairs: tuple[int, ...]
    identical_pairs: tuple[int, ...]
    near_duplicate_similarity: float | None

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not any(found for _, found in self._findings())

    @property
    def test_images(self) -> tuple[int, ...]:
        """Indices of the test images that are exactly or nearly a training image, ascending."""
        return tuple(sorted({match.test for match in (*self.exact_duplicates, *(self.near_duplicates or ()))}))

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
        for name in ("exact_duplicates", "near_duplicates"):
            if values[name] is not None:
                values[name] = [{**vars(match), "same_label": match.same_label} for match in values[name]]
        return {"clean": self.clean, **values, "test_images": list(self.test_images)}

    def _findings(self) -> list[tuple[str, tuple[Any, ...]]]:
        return [
            ("test images that are training images, pixel by pixel", self.exact_duplicates),
            ("test images that are nearly training images", self.near_duplicates or ()),
            ("classes of both sets, claimed unseen", self.shared_classes),
            ("groups of both sets", self.shared_groups),
            ("pairs of an image with itself, at positions", self.self_pairs),
            ("pairs that repeat an earlier one, at positions", self.repeated_pairs),
            ("pairs of different images with the same pixels, at positions", self.identical_pairs),
        ]

    def __str__(self) -> str:
        sizes = f"{self.num_train:,} training and {self.num_test:,} test images"
        sizes += "" if self.num_pairs is None else f", {self.num_pairs:,} pairs"
        lines = [f"{'No leaks' if self.clean else 'Leaks'} found in {sizes}."]
        for what, found in self._findings():
            if not found:
                continue
            shown = found[:_SHOWN]
            more = f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
            if isinstance(found[0], ImageMatch):
                images = len({match.test for match in found})
                lines += [f"{images:,} {what}:", *(f"  {match}" for match in shown), *([f" {more}"] if more else [])]
            else:
                lines.append(f"{len(found):,} {what}: {', '.join(map(printable, map(str, shown)))}{more}")
        if self.near_duplicates is None:
            lines.append("Near-duplicates were not searched.")
        return "\n".join(lines)
