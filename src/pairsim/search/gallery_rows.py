"""The rows of a gallery: the embeddings of one model and their ids, in memory and on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pairsim.models import SimilarityModel
from pairsim.models.pretrained import embedding_sha256, short
from pairsim.search import gallery_files
from pairsim.search.gallery_ids import Id, IdTable


class GalleryRows:
    """Embeddings `[N, D]` of one model and an id for each, in order of addition.

    Attributes:
        model: The model, whose device the embeddings follow.
        table: The ids.
    """

    def __init__(self, model: SimilarityModel) -> None:
        self.model: SimilarityModel = model
        self.table: IdTable = IdTable()
        self._parts: list[Tensor] = []
        self._made_by: str | None = None
        self._saved = gallery_files.SavedState()

    def __len__(self) -> int:
        return len(self.table)

    def joined(self) -> Tensor:
        """Return all embeddings, `[0, 0]` if there are none; writing to them changes the rows."""
        device = self.model.device
        parts = [part.to(device) for part in self._parts]
        if len(parts) != 1:  # joined when needed, so that many small additions do not copy everything each time
            parts = [torch.cat(parts) if parts else torch.empty((0, 0), device=device)]
        self._parts = parts
        return parts[0]

    def append(self, embeddings: Tensor, ids: Sequence[Id]) -> None:
        """Add rows, whose ids are new.

        Raises:
            ValueError: If there is not one id for each embedding, or they are of another size.
        """
        self._check_fit(embeddings, ids)
        if ids and not len(self):
            self._parts, self._made_by = [], embedding_sha256(self.model)
        if ids:
            self._parts.append(embeddings)
            self.table.append(ids)

    def put(self, embeddings: Tensor, ids: Sequence[Id]) -> bool:
        """Replace the rows of ids that are there, and add the others.

        Returns:
            Whether rows were replaced.

        Raises:
            ValueError: As `append`; nothing is changed then.
        """
        self._check_fit(embeddings, ids)
        old = [row for row, name in enumerate(ids) if name in self.table.indices]
        new = [row for row, name in enumerate(ids) if name not in self.table.indices]
        if old:
            indices, joined = [self.table.indices[ids[row]] for row in old], self.joined()
            joined[indices] = embeddings[old].to(joined.device)
            self._saved.update(indices)
        self.append(embeddings[new], [ids[row] for row in new])
        return bool(old)

    def keep(self, indices: Sequence[int]) -> None:
        """Keep only some rows, in their order."""
        self._parts = [self.joined()[list(indices)]]
        self.table.keep(indices)
        self._saved.keep(indices)

    def save(self, folder: Path) -> None:
        """Save the rows in a folder; again, only what changed since (see `gallery_files`).

        Raises:
            RunError: If it cannot be written; what was there stays whole.
            ValueError: If the model's weights changed since the first row was added.
        """
        current = embedding_sha256(self.model)
        if len(self) and current != self._made_by:
            raise ValueError(
                f"Expected the model that made the embeddings ({short(self._made_by)}), found its weights changed "
                f"({short(current)}). Make a new gallery and add the images again."
            )
        self._saved = gallery_files.save(folder, self.joined(), self.table.names, current, self._saved)

    @classmethod
    def load(cls, folder: Path, model: SimilarityModel) -> GalleryRows:
        """Load rows that `save` wrote.

        Raises:
            RunError: If they are not there, are damaged or of a newer format, or were made by another model.
        """
        rows = cls(model)
        rows._made_by = embedding_sha256(model)
        embeddings, names, rows._saved = gallery_files.load(folder, rows._made_by)
        rows._parts, rows.table = [embeddings], IdTable(names)
        return rows

    def _check_fit(self, embeddings: Tensor, ids: Sequence[Id]) -> None:
        check_number(len(embeddings), ids)
        if len(self) and len(embeddings) and embeddings.shape[1] != self._parts[0].shape[1]:
            raise ValueError(
                f"Expected embeddings of the gallery's size, [n, {self._parts[0].shape[1]}], got "
                f"{list(embeddings.shape)}. Embed both with the same model."
            )


def check_number(num_images: int | None, ids: Sequence[Id]) -> None:
    """Check that there are as many ids as images, if their number is known.

    Raises:
        ValueError: If not.
    """
    if num_images not in (None, len(ids)):
        raise ValueError(f"Expected one id per image, got {len(ids)} ids for {num_images} images. Give one for each.")
