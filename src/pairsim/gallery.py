"""`Gallery`: named embeddings, and exact search for the most alike among them."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pairsim import storage
from pairsim.errors import RunError
from pairsim.evaluation._inputs import Values, check_count
from pairsim.exact_search import nearest, unit_rows
from pairsim.images import PictureLike
from pairsim.models import SimilarityModel, pretrained
from pairsim.models.inputs import Images, is_single

Id: TypeAlias = str | int
Ids: TypeAlias = Iterable[Any] | Id | os.PathLike[str]
"""One name or several; paths count as strings, NumPy's whole numbers as ints."""

FORMAT = "pairsim-gallery"
FORMAT_VERSION = 1
EMBEDDINGS = "gallery.safetensors"
INDEX = "gallery.json"


@dataclass(frozen=True, eq=False)
class SearchResult:
    """The images of a gallery that are most like each of Q queries.

    K is the `k` that was asked for, or the size of the gallery if that is smaller. Neighbours stand in order of falling
    similarity; those that tie, in the order in which they were added. The search is exact, see `pairsim.exact_search`.

    Attributes:
        ids: The neighbours of each query, Q lists of K ids.
        similarities: Their similarity `[Q, K]`, float32 in [-1, 1], on the model's device.
        probabilities: The model's probability that they show the same thing `[Q, K]`, float32 in [0, 1].
    """

    ids: list[list[Id]]
    similarities: Tensor
    probabilities: Tensor

    def __len__(self) -> int:
        return len(self.ids)


class Gallery:
    """Images that queries are looked up in, each embedded once and known by an id.

    Args:
        model: Embeds images and turns similarity into probability. Its weights must not change while the gallery has
            images.

    Raises:
        TypeError: If `model` is not a `SimilarityModel`.

    Example:
        >>> gallery = Gallery(SimilarityModel())
        >>> images = torch.rand(3, 1, 28, 28)
        >>> gallery.add(images, ["a", "b", "c"])
        >>> gallery.search(images[1:2], k=2).ids[0][0]
        'b'
    """

    def __init__(self, model: SimilarityModel) -> None:
        if not isinstance(model, SimilarityModel):
            raise TypeError(f"Expected model to be a SimilarityModel, got {type(model).__name__}. Wrap the net in one.")
        self.model = model
        self._ids: list[Id] = []
        self._places: dict[Id, int] = {}
        self._parts: list[Tensor] = []
        self._made_by: str | None = None

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __repr__(self) -> str:
        return f"Gallery({len(self)} images)"

    @property
    def ids(self) -> list[Id]:
        """The ids `[N]`, in order of addition, as a list of their own."""
        return list(self._ids)

    @property
    def embeddings(self) -> npt.NDArray[np.float32]:
        """The embeddings `[N, D]`, float32, in the order of `ids`, as an array that cannot be written to.

        Where the model is on the CPU it is a view, which `update` writes through. Before anything was added it is
        `[0, 0]`.
        """
        view: npt.NDArray[np.float32] = self._joined().cpu().numpy().view()
        view.flags.writeable = False
        return view

    def add(
        self, images: Images, ids: Ids | None = None, *, batch_size: int | None = None, progress: bool | None = None
    ) -> None:
        """Embed images and add them.

        Args:
            images: As for `SimilarityModel.encode`. For a labelled dataset use `pairsim.encode_dataset` and
                `add_embeddings`.
            ids: A name for each image, all strings (or paths) or all whole numbers, not in the gallery yet. By
                default a path is its own name, and other images get the numbers after the largest so far, from 0.
            batch_size: As for `SimilarityModel.encode`.
            progress: As for `SimilarityModel.encode`.

        Raises:
            ImageReadError: If a file cannot be read; the message names it. Nothing is added then.
            TypeError: If `images` is a dataset, or an id neither a string nor a whole number.
            ValueError: If an id is there already, comes twice, or is of another kind than the rest, or there are not
                as many ids as images.
        """
        if ids is None and not is_single(images) and not isinstance(images, Sized):
            images = list(cast("Iterable[PictureLike]", images))  # the ids are read off them
        # before the images are embedded, which takes long
        names = self._new(self._default_ids(images) if ids is None else _as_ids(ids))
        _check_count(_count(images), names)
        self._append(unit_rows(self.model.encode(images, batch_size=batch_size, progress=progress)), names)

    def add_embeddings(self, embeddings: Values, ids: Ids | None = None) -> None:
        """Add embeddings that this model made elsewhere, such as with `pairsim.encode_dataset`.

        Args:
            embeddings: `[n, D]` of length 1 (within 1 %) or 0, floating point; kept in float32 as they are.
            ids: As for `add`; by default the numbers after the largest so far, from 0.

        Raises:
            TypeError: If the embeddings are not of a float dtype, or an id neither a string nor a whole number.
            ValueError: If shapes do not fit, an embedding is not of length 1, or ids are wrong as in `add`.
        """
        rows = unit_rows(embeddings)
        self._append(rows, self._new(self._numbers(len(rows)) if ids is None else _as_ids(ids)))

    def update(self, images: Images, ids: Ids, *, batch_size: int | None = None, progress: bool | None = None) -> None:
        """Replace the images of some ids, which keep their place, and add those whose ids are new.

        Args:
            images: As for `SimilarityModel.encode`.
            ids: A name for each image, none twice.
            batch_size: As for `SimilarityModel.encode`.
            progress: As for `SimilarityModel.encode`.

        Raises:
            ImageReadError: If a file cannot be read. Nothing is changed then.
            TypeError: As for `add`.
            ValueError: As for `add`, but for ids that are there already.
        """
        names = self._of_one_kind(_as_ids(ids))
        _check_count(_count(images), names)
        rows = unit_rows(self.model.encode(images, batch_size=batch_size, progress=progress))
        self._check_fit(rows, names)
        old = [row for row, name in enumerate(names) if name in self._places]
        new = [row for row, name in enumerate(names) if name not in self._places]
        if old:
            joined = self._joined()
            joined[[self._places[names[row]] for row in old]] = rows[old].to(joined.device)
        self._append(rows[new], [names[row] for row in new])

    def remove(self, ids: Ids) -> None:
        """Remove images; the others keep their order.

        Args:
            ids: Ids in the gallery; one that comes twice is removed once.

        Raises:
            ValueError: If an id is not in the gallery. Nothing is removed then.
        """
        leaving = set(_as_ids(ids))
        absent = [name for name in leaving if name not in self._places]
        if absent:
            raise ValueError(
                f"Expected ids of the gallery's {len(self)} images, got {absent[0]!r}, which is not among them. "
                "See gallery.ids."
            )
        kept = [place for place, name in enumerate(self._ids) if name not in leaving]
        self._parts = [self._joined()[kept]]
        self._ids = [self._ids[place] for place in kept]
        self._places = {name: place for place, name in enumerate(self._ids)}

    def search(
        self, queries: Images, k: int = 10, *, batch_size: int | None = None, progress: bool | None = None
    ) -> SearchResult:
        """Find the `k` images that are most like each query.

        Args:
            queries: Q images, as for `SimilarityModel.encode`.
            k: Neighbours of each query, at least 1; all images where the gallery has fewer.
            batch_size: As for `SimilarityModel.encode`.
            progress: As for `SimilarityModel.encode`.

        Returns:
            The neighbours; no query gives no list and tensors `[0, K]`. An image that is in the gallery finds itself.

        Raises:
            ImageReadError: If a file cannot be read; the message names it.
            ValueError: If the gallery is empty or `k` below 1.
        """
        self._check_search(k)
        return self.search_embeddings(self.model.encode(queries, batch_size=batch_size, progress=progress), k)

    def search_embeddings(self, embeddings: Values, k: int = 10) -> SearchResult:
        """Find the `k` images that are most like each query, of which the embedding is known.

        Args:
            embeddings: `[Q, D]` of length 1 (within 1 %) or 0, made by the same model.
            k: As for `search`.

        Returns:
            As for `search`.

        Raises:
            TypeError: If the embeddings are not of a float dtype.
            ValueError: If the gallery is empty, `k` below 1, shapes do not fit, or an embedding is not of length 1.
        """
        count = min(self._check_search(k), len(self))
        queries, gallery = unit_rows(embeddings), self._joined()
        if queries.shape[1] != gallery.shape[1]:
            raise ValueError(
                f"Expected query embeddings of the gallery's size, [Q, {gallery.shape[1]}], got {list(queries.shape)}. "
                "Embed both with the same model."
            )
        found, places = nearest(queries.to(gallery.device), gallery, count)
        similarities = found.float().clamp(-1.0, 1.0).to(self.model.device)
        return SearchResult(
            ids=[[self._ids[place] for place in row] for row in places.tolist()],
            similarities=similarities,
            probabilities=self.model.probability(similarities),
        )

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Save embeddings (`gallery.safetensors`) and everything else (`gallery.json`) in a folder; no images.

        Args:
            folder: Made if needed; files of the same names are replaced.

        Raises:
            RunError: If it cannot be written; what was there stays whole.
            ValueError: If the model's weights changed since the first image was added.
        """
        current = _fingerprint(self.model)
        if len(self) and current != self._made_by:
            raise ValueError(
                f"Expected the model that made the embeddings ({_short(self._made_by)}), found its weights changed "
                f"({_short(current)}). Make a new gallery and add the images again."
            )
        content = pretrained.serialize({"embeddings": self._joined()})
        index: dict[str, Any] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "num_images": len(self),
            "embedding_dim": self._joined().shape[1],
            "model_sha256": current,
            "embeddings_sha256": storage.sha256(content),
            "ids": self._ids,
        }
        index["sha256"] = storage.sha256(storage.to_json(index))  # of all of the above, the ids among it
        storage.write_files(Path(folder), {EMBEDDINGS: content, INDEX: storage.to_json(index)})

    @classmethod
    def load(cls, folder: str | os.PathLike[str], model: SimilarityModel) -> Gallery:
        """Load a gallery saved by `save`.

        Args:
            folder: The folder.
            model: The model whose embeddings it holds, on any device.

        Returns:
            The gallery, equal to the last bit.

        Raises:
            RunError: If it is not there, is damaged or of a newer format, or its embeddings are of another model.
        """
        gallery, place = cls(model), Path(folder)
        index = storage.read_json(place / INDEX)
        pretrained.check_format(index, FORMAT, FORMAT_VERSION, place / INDEX)
        if index.pop("sha256", None) != storage.sha256(storage.to_json(index)):
            raise RunError(
                f"{place / INDEX} is damaged: its SHA-256 differs from the one in it. Copy the folder again."
            )
        current = _fingerprint(model)
        if index["model_sha256"] != current:
            raise RunError(
                f"Expected {place} to hold embeddings of this model ({_short(current)}), found those of another "
                f"({_short(index['model_sha256'])}), to which similarities would mean nothing. Load it with the model "
                "that made it, or add the images again."
            )
        try:
            content = (place / EMBEDDINGS).read_bytes()
        except OSError as error:
            raise RunError(f"Expected {place / EMBEDDINGS} to be readable, but: {error.strerror}.") from error
        if storage.sha256(content) != index["embeddings_sha256"]:
            raise RunError(
                f"{place / EMBEDDINGS} is damaged or from another save: its SHA-256 differs from the one in {INDEX}. "
                "Copy the folder again."
            )
        gallery._append(pretrained.deserialize(content, place / EMBEDDINGS)["embeddings"], index["ids"])
        return gallery

    def _joined(self) -> Tensor:
        """All embeddings, on the model's device."""
        device = self.model.device
        parts = [part.to(device) for part in self._parts]
        if len(parts) != 1:  # joined when needed, so that many small additions do not copy everything each time
            parts = [torch.cat(parts) if parts else torch.empty((0, 0), device=device)]
        self._parts = parts
        return parts[0]

    def _append(self, rows: Tensor, names: Sequence[Id]) -> None:
        self._check_fit(rows, names)
        if not names:
            return
        if not self._ids:
            self._parts, self._made_by = [], _fingerprint(self.model)
        self._parts.append(rows)
        self._places.update({name: len(self._ids) + row for row, name in enumerate(names)})
        self._ids += names

    def _check_fit(self, rows: Tensor, names: Sequence[Id]) -> None:
        _check_count(len(rows), names)
        if self._ids and len(rows) and rows.shape[1] != self._parts[0].shape[1]:
            raise ValueError(
                f"Expected embeddings of the gallery's size, [n, {self._parts[0].shape[1]}], got {list(rows.shape)}. "
                "Embed both with the same model."
            )

    def _check_search(self, k: int) -> int:
        count = check_count(k, "k", 1, 10)
        if not self._ids:
            raise ValueError("Expected a gallery with images, found it empty. Add some first: gallery.add(images).")
        return count

    def _default_ids(self, images: Any) -> list[Id]:
        if is_single(images):
            images = [images]
        paths = [] if isinstance(images, Tensor) else [item for item in images if isinstance(item, str | os.PathLike)]
        if paths and len(paths) != len(images):
            raise ValueError(
                f"Expected paths only, or no path, where ids are not given, got {len(paths)} paths among "
                f"{len(images)} images. Give ids."
            )
        return _as_ids(paths) if paths else self._numbers(len(images))

    def _numbers(self, count: int) -> list[Id]:
        start = max((name for name in self._ids if isinstance(name, int)), default=-1) + 1
        return list(range(start, start + count))

    def _of_one_kind(self, names: list[Id]) -> list[Id]:
        seen: set[Id] = set()
        kind = type((self._ids or names or [""])[0])
        for name in names:
            if type(name) is not kind:
                raise ValueError(
                    f"Expected ids of one kind, got {name!r} where others are {'strings' if kind is str else 'ints'}. "
                    f"Give {'strings' if kind is str else 'whole numbers'} only."
                )
            if name in seen:
                raise ValueError(f"Expected each id once, got {name!r} twice. Give every image its own.")
            seen.add(name)
        return names

    def _new(self, names: list[Id]) -> list[Id]:
        for name in self._of_one_kind(names):
            if name in self._places:
                raise ValueError(
                    f"Expected ids that are not in the gallery, got {name!r}, which is. To replace its image use "
                    "gallery.update(images, ids)."
                )
        return names


def _check_count(count: int | None, names: Sequence[Id]) -> None:
    if count not in (None, len(names)):
        raise ValueError(f"Expected one id per image, got {len(names)} ids for {count} images. Give one for each.")


def _count(images: Images) -> int | None:
    """How many images there are, which only the end of a generator tells."""
    return 1 if is_single(images) else len(images) if isinstance(images, Sized) else None


def _as_ids(ids: Ids) -> list[Id]:
    return [_as_id(name) for name in ([ids] if isinstance(ids, str | int | np.integer | os.PathLike) else ids)]


def _as_id(name: Any) -> Id:
    if isinstance(name, str | os.PathLike):
        text = str(os.fspath(name))
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"Expected ids that are valid text, got {name!r}. Give another id, or rename it."
            ) from error
        return text
    try:
        if isinstance(name, bool | np.bool_):
            raise TypeError
        return operator.index(name)
    except TypeError as error:
        raise TypeError(
            f"Expected ids to be strings or whole numbers, got {name!r} of type {type(name).__name__}. Convert them."
        ) from error


def _fingerprint(model: SimilarityModel) -> str:
    """SHA-256 of what embeddings depend on: the net's weights and what is done to pixels."""
    weights = pretrained.serialize(model.embedding_net.state_dict())
    return storage.sha256(weights + storage.to_json(model.preprocessing.to_dict()))


def _short(digest: str | None) -> str:
    return f"SHA-256 {(digest or '')[:12]}"
