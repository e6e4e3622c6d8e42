"""Make a gallery for another model, and compare it with the old one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pairsim.errors import DataError
from pairsim.models import SimilarityModel
from pairsim.search import gallery_files
from pairsim.search.exact_search import nearest
from pairsim.search.gallery import Gallery
from pairsim.search.gallery_ids import Id


@dataclass(frozen=True)
class Agreement:
    """How two models search the same pictures, each among all others.

    Attributes:
        num_images: Pictures that were compared.
        same_nearest: Share whose nearest other picture is the same.
        old_recall_at_1: Share of pictures of identities with several whose nearest other picture shows the same
            identity, with the old model; `None` without such pictures.
        new_recall_at_1: With the new model.
    """

    num_images: int
    same_nearest: float
    old_recall_at_1: float | None
    new_recall_at_1: float | None

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        text = f"the same nearest picture as before: {self.same_nearest:.1%} of {self.num_images:,}"
        if self.old_recall_at_1 is None or self.new_recall_at_1 is None:
            return text
        return (
            f"{text}\nnearest picture of the same identity (recall@1): {self.old_recall_at_1:.1%} before, "
            f"{self.new_recall_at_1:.1%} now"
        )


def reembedded(
    folder: Path,
    pictures: Path,
    model: SimilarityModel,
    *,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> tuple[Gallery, Agreement]:
    """Embed the pictures of a saved gallery with another model.

    Args:
        folder: Of the gallery, of any model.
        pictures: The folder that the ids of the gallery are paths in.
        model: The new model.
        batch_size: Images embedded at once; by default what suits the device and the size of the images.
        progress: Whether to show a progress bar; by default for long work on a terminal.

    Returns:
        The new gallery, with the same ids and identities and without a calibration, and the agreement of both.

    Raises:
        DataError: If the gallery has fewer than two images, or a picture is missing; the message names the first.
        ImageReadError: If a picture cannot be read.
        RunError: If the gallery cannot be read.
    """
    old = gallery_files.load(folder, None)
    names = old.table.names
    if len(names) < 2:
        raise DataError(f"Expected a gallery of at least two pictures, got {len(names)}.")
    paths = [pictures / str(name) for name in names]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            f"Expected the pictures of the gallery in {pictures}, but {len(missing):,} of {len(paths):,} are missing, "
            f"such as {missing[0]}. Give the folder that their ids are paths in."
        )
    gallery = Gallery(model)
    identities = old.table.identities if old.table.has_identities else None
    gallery.add(paths, names, identities=identities, batch_size=batch_size, progress=progress)
    before, after = (_nearest_others(rows) for rows in (old.rows.all, gallery.rows.cpu()))
    old_recall, new_recall = (_recall(found, old.table.identities) for found in (before, after))
    return gallery, Agreement(len(names), float((before == after).double().mean()), old_recall, new_recall)


def _nearest_others(rows: Tensor) -> Tensor:
    """Return the index of the nearest other row of each `[N]`."""
    found = nearest(rows, rows, 2)[1]
    return torch.where(found[:, 0] == torch.arange(len(rows)), found[:, 1], found[:, 0])


def _recall(found: Tensor, identities: list[Id]) -> float | None:
    """Return the share of images, of identities with several, whose nearest other one shows the same identity."""
    numbers: dict[Id, int] = {}
    codes = torch.tensor([numbers.setdefault(name, len(numbers)) for name in identities])
    several = torch.bincount(codes)[codes] > 1
    return float((codes[found] == codes)[several].double().mean()) if several.any() else None
