"""The rows of a gallery: embeddings and ids, and which of them are saved."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pairsim.search.gallery_files import SavedState
from pairsim.search.gallery_ids import Id, IdTable


class GalleryRows:
    """Embeddings `[N, D]` and an id for each, in order of addition.

    Args:
        embeddings: The first rows, if there are any.
        ids: Their ids.
        saved: Which of them are on disk.

    Attributes:
        table: The ids.
        saved: Which rows are on disk; `Gallery.save` renews it.
    """

    def __init__(
        self, embeddings: Tensor | None = None, ids: list[Id] | None = None, saved: SavedState | None = None
    ) -> None:
        self.table = IdTable(ids)
        self.saved = SavedState() if saved is None else saved
        self._parts: list[Tensor] = [] if embeddings is None else [embeddings]

    def __len__(self) -> int:
        return len(self.table)

    def joined(self, device: torch.device) -> Tensor:
        """Return all embeddings on a device, `[0, 0]` if there are none; writing to them changes the rows."""
        parts = [part.to(device) for part in self._parts]
        if len(parts) != 1:  # joined when needed, so that many small additions do not copy everything each time
            parts = [torch.cat(parts) if parts else torch.empty((0, 0), device=device)]
        self._parts = parts
        return parts[0]

    def check_fit(self, embeddings: Tensor, ids: Sequence[Id]) -> None:
        """Check that there is an id for each embedding, and that all are of one size.

        Raises:
            ValueError: If not.
        """
        check_number(len(embeddings), ids)
        if len(self) and len(embeddings) and embeddings.shape[1] != self._parts[0].shape[1]:
            raise ValueError(
                f"Expected embeddings of the gallery's size, [n, {self._parts[0].shape[1]}], got "
                f"{list(embeddings.shape)}. Embed both with the same model."
            )

    def append(self, embeddings: Tensor, ids: Sequence[Id]) -> None:
        """Add rows that fit, whose ids are new."""
        if ids:
            self._parts = [*self._parts, embeddings] if len(self) else [embeddings]
            self.table.append(ids)

    def replace(self, embeddings: Tensor, ids: Sequence[Id], device: torch.device) -> None:
        """Write other embeddings to the rows of some ids."""
        indices = [self.table.indices[name] for name in ids]
        joined = self.joined(device)
        joined[indices] = embeddings.to(device)
        self.saved.update(indices)

    def keep(self, indices: Sequence[int], device: torch.device) -> None:
        """Keep only some rows, in their order."""
        self._parts = [self.joined(device)[list(indices)]]
        self.table.keep(indices)
        self.saved.keep(indices)


def check_number(num_images: int | None, ids: Sequence[Id]) -> None:
    """Check that there are as many ids as images, if their number is known.

    Raises:
        ValueError: If not.
    """
    if num_images not in (None, len(ids)):
        raise ValueError(f"Expected one id per image, got {len(ids)} ids for {num_images} images. Give one for each.")
