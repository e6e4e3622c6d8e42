"""One embedding for each identity of a gallery: the mean of its images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pairsim.search.gallery_ids import Id
from pairsim.search.growing_rows import GrowingRows


class Templates:
    """The template of each identity: the mean of its embeddings, scaled to unit length.

    The template of a single image is its embedding, to the last bit. Identities are in order of their first image.

    Args:
        rows: Embeddings `[N, D]` of unit length.
        identities: The identity of each `[N]`.

    Example:
        >>> templates = Templates(torch.eye(2), ["a", "a"])
        >>> templates.identities, templates.unit
        (['a'], tensor([[0.7071, 0.7071]]))
    """

    def __init__(self, rows: Tensor, identities: Sequence[Id]) -> None:
        self.identities: list[Id] = []
        self._numbers: dict[Id, int] = {}
        self._sums, self._unit, self._counts = GrowingRows(), GrowingRows(), list[int]()
        self._seen = 0
        self.extend(rows, identities)

    @property
    def unit(self) -> Tensor:
        """The templates `[I, D]`, float32, of length 1, or 0 where the images of an identity add up to 0."""
        return self._unit.all

    def extend(self, rows: Tensor, identities: Sequence[Id]) -> None:
        """Count the rows at the end that were added since.

        Args:
            rows: All embeddings `[N, D]`; the first ones are those that were there before.
            identities: The identity of each `[N]`.
        """
        new, names = rows[self._seen :], identities[self._seen :]
        if not len(new):
            return
        self._seen = len(rows)
        before = len(self.identities)
        numbers = torch.tensor([self._number(name) for name in names], device=new.device)
        fresh = new.new_zeros((len(self.identities) - before, new.shape[1]))
        self._sums.append(fresh)
        self._unit.append(fresh.clone())
        self._sums.all.index_add_(0, numbers, new)
        changed = numbers.unique()
        self._unit.all[changed] = torch.nn.functional.normalize(self._sums.all[changed], dim=1)
        single = torch.tensor([self._counts[number] == 1 for number in numbers.tolist()], device=new.device)
        self._unit.all[numbers[single]] = new[single]

    def without(self, rows: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Return the templates without one image each, and whether there is another image.

        Args:
            rows: One image of each template `[n, D]`.
            numbers: The template of each `[n]`.

        Returns:
            Templates `[n, D]` of unit length, and `[n]`, false where the image is the only one.
        """
        counts = torch.tensor([self._counts[number] for number in numbers.tolist()], device=rows.device)
        return torch.nn.functional.normalize(self._sums.all[numbers] - rows, dim=1), counts > 1

    def numbers(self, identities: Sequence[Id]) -> Tensor:
        """Return the number of each identity `[n]`, int64."""
        return torch.tensor([self._numbers[name] for name in identities], device=self.unit.device)

    def _number(self, name: Id) -> int:
        number = self._numbers.setdefault(name, len(self.identities))
        if number == len(self.identities):
            self.identities.append(name)
            self._counts.append(0)
        self._counts[number] += 1
        return number
