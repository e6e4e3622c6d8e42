"""`GalleryRows`: embeddings with ids and identities, added, replaced, removed and saved."""

from __future__ import annotations

import os
import warnings
from bisect import bisect_left
from collections.abc import Sized
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pairsim._common.arrays import Values
from pairsim._common.choices import OnError, QualityGate
from pairsim._common.numbers import truth_value
from pairsim.encoding.pictures import EncodedPictures, Skipped, encode_pictures
from pairsim.models import SimilarityModel
from pairsim.models.given_model import check_model
from pairsim.models.inputs import Images, is_single
from pairsim.models.pretrained import embedding_sha256, short
from pairsim.search import gallery_files
from pairsim.search.exact_search import unit_rows
from pairsim.search.gallery_ids import Id, Ids, IdTable, as_ids, check_number, named_images
from pairsim.search.gallery_results import Enrolment
from pairsim.search.gallery_shards import SavedState
from pairsim.search.growing_rows import GrowingRows
from pairsim.search.identification.gallery_calibration import GalleryCalibration
from pairsim.training.checkpointing.run_lock import locked_folder


class GalleryRows:
    """What a gallery holds, apart from searching it. See `Gallery`.

    Args:
        model: Embeds images.

    Attributes:
        model: The model.
        calibration: The threshold of `identify` and its rates, or `None`; `calibrate_gallery` sets it.
    """

    def __init__(self, model: SimilarityModel) -> None:
        check_model(model)
        self.model = model
        self.calibration: GalleryCalibration | None = None
        self._table = IdTable()
        self._rows = GrowingRows()
        self._made_by: str | None = None
        self._saved = SavedState()
        self._failed: dict[Id, None] = {}

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, name: object) -> bool:
        return name in self._table.indices

    @property
    def ids(self) -> list[Id]:
        """The ids `[N]`, in order of addition, as a new list."""
        return list(self._table.names)

    @property
    def identities(self) -> list[Id]:
        """The identity of each image `[N]`, in the order of `ids`, as a new list; by default its id."""
        return list(self._table.identities)

    @property
    def num_identities(self) -> int:
        """Number of different identities."""
        return self._table.num_identities

    @property
    def failed_to_enrol(self) -> list[Id]:
        """The ids of pictures that failed to enrol, unreadable or refused, and were not added since, as a new list."""
        return list(self._failed)

    def images_of(self, identity: Id) -> list[Id]:
        """Return the ids of the images of an identity, in order of addition; empty if it has none."""
        if not self._table.has_identities:
            return [identity] if identity in self else []
        return [
            name for name, other in zip(self._table.names, self._table.identities, strict=True) if other == identity
        ]

    @property
    def embeddings(self) -> npt.NDArray[np.float32]:
        """The embeddings `[N, D]`, float32, in the order of `ids`, as a read-only array.

        If the model is on the CPU it is a view, which `update` changes. Before anything was added it is `[0, 0]`.
        """
        view: npt.NDArray[np.float32] = self._rows.to(self.model.device).cpu().numpy().view()
        view.flags.writeable = False
        return view

    @property
    def rows(self) -> Tensor:
        """The embeddings `[N, D]`, float32, on the model's device; they belong to the gallery: do not change them."""
        return self._rows.to(self.model.device)

    def add(
        self,
        images: Images,
        ids: Ids | None = None,
        *,
        identities: Ids | None = None,
        on_error: OnError = "raise",
        quality: QualityGate = "off",
        batch_size: int | None = None,
        progress: bool | None = None,
    ) -> Enrolment:
        """Embed images and add them.

        Args:
            images: As for `SimilarityModel.encode`, or a folder of pictures; for a dataset see `add_embeddings`.
            ids: A name for each image, all strings (or paths) or all whole numbers, not in the gallery yet. By
                default a path is its own name, in a folder relative to it, and other images get the numbers after the
                largest so far, from 0.
            identities: What each image shows, such as a person, if several images show the same: one for each image,
                or one for all. By default each image is an identity of its own, with its id. `identify` compares
                with the mean of the images of an identity.
            on_error: What happens to a picture that cannot be read: `"raise"`, or `"skip"`, which leaves it out.
            quality: What happens to a picture that is too small, too dark, without contrast or blurred (see
                `pairsim.images.Flaw`): `"warn"` gives a `UserWarning`, `"refuse"` leaves it out, `"off"` does not
                look. It is for pictures and uint8 pixels, not for images in floating point.
            batch_size: As for `SimilarityModel.encode`.
            progress: As for `SimilarityModel.encode`.

        Returns:
            The pictures that failed to enrol, each with its name and the reason; those of poor quality in `flawed`.

        Raises:
            DataError: If a folder has no picture, or none can be read, or all are refused.
            DatasetNotFoundError: If a folder is gone.
            ImageReadError: If a file cannot be read; the message names it. Nothing is added then.
            TypeError: If `images` is a dataset, an id neither a string nor a whole number, or ids or identities are
                a mapping or a set.
            ValueError: If an id is there already, comes twice, is of another kind than the rest, or is new, without
                identity, and an identity of the gallery; if an identity is equal to another one as text only, as 3 and
                "3"; if there are not as many ids or identities as images, or the quality of what is no picture should
                be measured.
        """
        images, names = named_images(images, ids, self._table)
        self._table.new(names)  # before the images are embedded, which takes long
        shown = self._table.shown(names, identities)
        encoded = self._encode(
            images, names, on_error=on_error, quality=quality, batch_size=batch_size, progress=progress
        )
        indices = encoded.indices.tolist()
        self._append(
            self._checked(encoded.embeddings),
            [names[index] for index in indices],
            None if shown is None else [shown[index] for index in indices],
        )
        self._note_failures(names, encoded.skipped)
        return Enrolment(encoded.skipped, encoded.flawed)

    def add_embeddings(self, embeddings: Values, ids: Ids | None = None, *, identities: Ids | None = None) -> None:
        """Add embeddings that this model computed elsewhere, such as with `pairsim.encode_dataset`.

        Args:
            embeddings: `[n, D]` of length 1 (within 1 %) or 0, floating point; kept in float32 as they are.
            ids: As for `add`; by default the numbers after the largest so far, from 0.
            identities: As for `add`.

        Raises:
            TypeError: If the embeddings are not of a float dtype, or an id neither a string nor a whole number.
            ValueError: If shapes do not fit, an embedding is not of length 1, or ids are wrong as in `add`.
        """
        rows = self._checked(embeddings)
        names = self._table.new(self._table.numbers(len(rows)) if ids is None else as_ids(ids))
        check_number(len(rows), names)
        self._append(rows, names, self._table.shown(names, identities))

    def update(
        self,
        images: Images,
        ids: Ids,
        *,
        identities: Ids | None = None,
        on_error: OnError = "raise",
        quality: QualityGate = "off",
        batch_size: int | None = None,
        progress: bool | None = None,
    ) -> Enrolment:
        """Replace the images of some ids, which keep their index, and add those whose ids are new.

        Args:
            images: As for `SimilarityModel.encode`.
            ids: A name for each image, none twice.
            identities: As for `add`; by default images that are there keep theirs.
            on_error: As for `add`; the id of a picture that is skipped stays as it was.
            quality: As for `add`.
            batch_size: As for `SimilarityModel.encode`.
            progress: As for `SimilarityModel.encode`.

        Returns:
            As for `add`.

        Raises:
            ImageReadError: If a file cannot be read. Nothing is changed then.
            TypeError: As for `add`.
            ValueError: As for `add`, except for ids that are there already.
        """
        names = self._table.of_one_kind(as_ids(ids))
        shown = self._table.shown(names, identities)
        encoded = self._encode(
            images, names, on_error=on_error, quality=quality, batch_size=batch_size, progress=progress
        )
        indices = encoded.indices.tolist()
        kept = [names[index] for index in indices]
        self._put(
            self._checked(encoded.embeddings), kept, None if shown is None else [shown[index] for index in indices]
        )
        self._note_failures(names, encoded.skipped)
        return Enrolment(encoded.skipped, encoded.flawed)

    def remove(self, ids: Ids, *, failed: bool = False) -> None:
        """Remove images; the others keep their order. For an identity: `remove(gallery.images_of(identity))`.

        Args:
            ids: Ids in the gallery; one that comes twice is removed once.
            failed: Whether their images failed to enrol again, so that `failed_to_enrol` has them.

        Raises:
            ValueError: If an id is not in the gallery. Nothing is removed then.
        """
        leaving = dict.fromkeys(as_ids(list(ids) if isinstance(ids, set | frozenset) else ids))
        absent = next((name for name in leaving if name not in self), None)
        if absent is not None:
            raise ValueError(
                f"Expected ids of the gallery's {len(self)} images, got {absent!r}, which is not among them. "
                "See gallery.ids."
            )
        kept = [index for index, name in enumerate(self._table.names) if name not in leaving]
        calibrated = self._calibrated()
        self._rows = GrowingRows(self._rows.all[kept])
        self._table.keep(kept)
        self._saved.keep(kept)
        self._forget()
        self._note_left(calibrated, kept)
        if failed:
            self._failed.update(leaving)

    def save(self, folder: str | os.PathLike[str], *, replace: bool = False) -> None:
        """Save embeddings, ids and calibration in a folder, no images; again, only what changed since.

        Args:
            folder: Made if needed.
            replace: Whether to replace another gallery that is there.

        Raises:
            RunError: If it cannot be written, another process, such as a service, has locked it, or it holds another
                gallery than this one was loaded from or saved to last, such as one that another process has changed
                since, and not `replace`; what was there stays whole.
            ValueError: If the model's weights changed since the first image was added.
        """
        truth_value(replace, "replace")
        current = embedding_sha256(self.model)
        if len(self) and current != self._made_by:
            raise ValueError(
                f"Expected the model that made the embeddings ({short(self._made_by)}), found its weights changed "
                f"({short(current)}). Make a new gallery and add the images again."
            )
        path = Path(folder)
        calibration = None if self.calibration is None else self.calibration.to_dict()
        with locked_folder(path):
            if not replace:
                gallery_files.check_ours(path, self._saved)
            self._saved = gallery_files.save(
                path,
                self._rows.all,
                self._table,
                current,
                self._saved,
                calibration=calibration,
                failed=self.failed_to_enrol,
            )

    def _forget(self) -> None:
        """Forget what was computed from rows that have changed; called after all changes but additions."""

    def _note_failures(self, names: list[Id], skipped: tuple[Skipped, ...]) -> None:
        """Note which of the images that were given could not be read, and forget those that could be."""
        for name in names:
            self._failed.pop(name, None)
        self._failed.update(dict.fromkeys(names[one.index] for one in skipped if names[one.index] not in self))

    def _calibrated(self) -> set[Id]:
        """Return the identities of the calibration that are left; none if there is no calibration that tells."""
        return set(self._table.identities[: (self.calibration and self.calibration.num_images) or 0])

    def _note_left(self, calibrated: set[Id], kept: list[int] | None = None) -> None:
        """Note in the calibration what is left of it, after a change of other images than added ones.

        Args:
            calibrated: What `_calibrated` returned before.
            kept: Earlier indices of the images that are left; by default all are.
        """
        now = self.calibration
        if now is None or now.num_images is None or now.num_left is None:
            return
        images = now.num_images if kept is None else bisect_left(kept, now.num_images)
        left = min(now.num_left, len(calibrated.intersection(self._table.identities[:images])))
        self.calibration = replace(now, num_images=images, num_left=left)

    def _append(self, embeddings: Tensor, names: list[Id], identities: list[Id] | None = None) -> None:
        """Add embeddings that `_checked` returned, with new ids."""
        if names and not len(self):
            self._rows, self._made_by = GrowingRows(), embedding_sha256(self.model)
        if names:
            self._rows.append(embeddings.to(self.model.device))
            self._table.append(names, identities)

    def _put(self, embeddings: Tensor, names: list[Id], identities: list[Id] | None) -> None:
        """Replace the embeddings of ids that are there, and add the others."""
        old = [row for row, name in enumerate(names) if name in self]
        new = [row for row, name in enumerate(names) if name not in self]
        if old:
            indices, rows = [self._table.indices[names[row]] for row in old], self._rows.to(self.model.device)
            rows[indices] = embeddings[old].to(rows.device)
            if identities is not None:
                calibrated = self._calibrated()
                self._table.set_identities(indices, [identities[row] for row in old])
                self._note_left(calibrated)
            self._saved.update(indices)
            self._forget()
        shown = None if identities is None else [identities[row] for row in new]
        self._append(embeddings[new], [names[row] for row in new], shown)

    def _checked(self, embeddings: Values) -> Tensor:
        """Return embeddings as rows of the gallery, in float32."""
        rows = unit_rows(embeddings)
        if len(self) and len(rows) and rows.shape[1] != self._rows.all.shape[1]:
            raise ValueError(
                f"Expected embeddings of the gallery's size, [n, {self._rows.all.shape[1]}], got {list(rows.shape)}. "
                "Embed both with the same model."
            )
        return rows

    def _encode(
        self,
        images: Images,
        names: list[Id],
        *,
        on_error: OnError,
        quality: QualityGate,
        batch_size: int | None,
        progress: bool | None,
    ) -> EncodedPictures:
        """Embed as many images as there are names, and warn of those of poor quality."""
        count = 1 if is_single(images) else len(images) if isinstance(images, Sized) else None
        check_number(count, names)
        encoded = encode_pictures(
            self.model, images, on_error=on_error, quality=quality, batch_size=batch_size, progress=progress
        )
        check_number(len(encoded) + len(encoded.skipped), names)
        if quality == "warn":
            for picture in encoded.flawed:
                warnings.warn(str(picture), UserWarning, stacklevel=3)
        return encoded
