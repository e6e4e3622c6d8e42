"""The gallery of the service: one thread owns it, and a change is on disk before it is answered."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pairsim._common import storage
from pairsim.errors import DataError, PairsimError, RunError
from pairsim.integrations.service.batching import Full
from pairsim.integrations.service.uploads import Rejected
from pairsim.models import SimilarityModel
from pairsim.search import gallery_files
from pairsim.search.gallery import Gallery
from pairsim.search.gallery_ids import Id, given_name, of_other_type
from pairsim.search.identification.decisions import Identification
from pairsim.search.named_pictures import named_pictures
from pairsim.training.checkpointing.run_lock import locked_folder

_MAX_WAITING = 256
"""Requests that wait for the gallery."""


@dataclass(eq=False)
class _Query:
    embeddings: Tensor
    threshold: float | None
    answer: asyncio.Future[Any]


@dataclass(eq=False)
class _Change:
    apply: Callable[[], object]
    answer: asyncio.Future[Any]
    error: Exception | None = field(default=None)


class GalleryKeeper:
    """Searches and changes a saved gallery for many requests.

    Changes that wait together are saved at once. If that fails, none of them is made: the gallery is what is on disk.

    Args:
        folder: A saved gallery, or a new or empty folder. It is locked until `close`.
        model: The model whose embeddings it holds.

    Raises:
        RunError: If another process has locked it, it has other files, is damaged, or is of another model.
    """

    def __init__(self, folder: Path, model: SimilarityModel) -> None:
        self._folder, self._model, self._has_numbers = folder, model, False
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(locked_folder(folder))
        try:
            storage.remove_leftovers(folder)
            self._gallery = self._load()
        except BaseException:
            self._stack.close()
            raise
        self.problem: str | None = None
        self._some, self._stopping = threading.Condition(), False
        self._waiting: list[_Query | _Change] = []
        self._thread = threading.Thread(target=self._work, name="pairsim-gallery", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._gallery)

    async def identify(self, embeddings: Tensor, threshold: float | None) -> list[Identification]:
        """Identify images, each as one of the gallery's identities or as none of these.

        Args:
            embeddings: `[Q, D]` of length 1.
            threshold: Similarity that an identity has to reach; by default that of the gallery's calibration.

        Returns:
            An `Identification` for each.

        Raises:
            Full: If too many requests wait.
            Rejected: If the gallery is empty, or there is neither a threshold nor a calibration.
        """
        found: list[Identification] = await self._done(
            _Query(embeddings, threshold, asyncio.get_running_loop().create_future())
        )
        return found

    async def enrol(self, embeddings: Tensor, ids: Sequence[str], identity: str | None) -> None:
        """Add images, and save the gallery.

        Args:
            embeddings: `[n, D]` of length 1.
            ids: An id for each.
            identity: What they all show; by default each is an identity of its own.

        Raises:
            Full: If too many requests wait.
            Rejected: If an id is there already or comes twice, or the gallery cannot be saved. Nothing is added then.
        """

        def apply() -> None:
            names = [self._id(text) for text in ids]
            for name in names:
                if name in self._gallery:
                    raise Rejected(409, f"Expected new ids, got {name!r}, which the gallery has. Remove it first.")
            shown = None if identity is None else given_name(identity, self._gallery.identities)
            self._gallery.add_embeddings(embeddings, names, identities=shown)

        await self._change(apply)

    async def remove(self, ids: Sequence[str]) -> list[str]:
        """Remove images, or identities with all of theirs, and save the gallery.

        Args:
            ids: Each as for `named_pictures`.

        Returns:
            The ids of the images that were removed.

        Raises:
            Full: If too many requests wait.
            Rejected: If one is neither or both, or the gallery cannot be saved. Nothing is removed then.
        """
        leaving: list[Id] = []

        def apply() -> None:
            for name in ids:
                found = named_pictures(self._gallery, name)
                if not found:
                    raise Rejected(404, f"Expected an id or identity of the gallery, got {name!r}, which is neither.")
                leaving.extend(found)
            self._gallery.remove(leaving)
            self._has_numbers = self._has_numbers and len(self._gallery) > 0

        await self._change(apply)
        return list(map(str, dict.fromkeys(leaving)))

    def close(self) -> None:
        """Finish what was accepted, end the thread, and unlock the folder."""
        with self._some:
            self._stopping = True
            self._some.notify()
        self._thread.join()
        self._stack.close()

    async def _change(self, apply: Callable[[], object]) -> None:
        await self._done(_Change(apply, asyncio.get_running_loop().create_future()))

    async def _done(self, task: _Query | _Change) -> Any:
        with self._some:
            if self._stopping or len(self._waiting) >= _MAX_WAITING:
                raise Full
            if self.problem is not None:
                raise Rejected(503, self.problem)
            self._waiting.append(task)
            self._some.notify()
        return await task.answer

    def _work(self) -> None:
        while True:
            with self._some:
                while not self._waiting and not self._stopping:
                    self._some.wait()
                tasks, self._waiting = self._waiting, []
            if not tasks:
                return
            queries = [task for task in tasks if isinstance(task, _Query)]
            for threshold in dict.fromkeys(query.threshold for query in queries):
                self._answer([query for query in queries if query.threshold == threshold], threshold)
            changes = [task for task in tasks if isinstance(task, _Change)]
            if changes:
                self._make(changes)

    def _answer(self, queries: Sequence[_Query], threshold: float | None) -> None:
        """Search for several requests in one go."""
        try:
            found = self._gallery.identify_embeddings(torch.cat([query.embeddings for query in queries]), threshold)
        except ValueError as error:
            reason = str(error)
            if not len(self._gallery):
                reason = "Expected a gallery with pictures, found it empty. Enrol some first: POST /enrol."
            elif threshold is None and self._gallery.calibration is None:
                reason = (
                    "Expected a threshold or a gallery with a calibration, got neither. Send the field threshold, or "
                    "stop the service and choose one with: pairsim gallery calibrate"
                )
            _give_all(queries, Rejected(409, reason))
            return
        except Exception as error:
            _give_all(queries, error)
            return
        start = 0
        for query in queries:
            end = start + len(query.embeddings)
            _give(query, found[start:end])
            start = end

    def _make(self, changes: Sequence[_Change]) -> None:
        """Make several changes, save them at once, and answer."""
        for change in changes:
            try:
                change.apply()
            except (DataError, TypeError, ValueError) as error:
                change.error = Rejected(409, str(error))
            except Exception as error:
                change.error = error
        made = [change for change in changes if change.error is None]
        try:
            if made:
                self._gallery.save(self._folder)
        except Exception as error:
            reason = str(error) if isinstance(error, PairsimError) else f"{type(error).__name__}: {error}"
            for change in made:
                change.error = Rejected(503, f"Expected to save the gallery, but nothing was changed: {reason}")
            self._reload()
        for change in changes:
            _give(change, change.error)

    def _reload(self) -> None:
        """Return to what is on disk."""
        try:
            self._gallery = self._load()
        except Exception as error:
            self.problem = f"Expected a gallery that can be read, but: {error} Repair it, and start the service again."

    def _load(self) -> Gallery:
        if gallery_files.is_gallery(self._folder):
            gallery = Gallery.load(self._folder, self._model)
            self._has_numbers = len(gallery) > 0 and isinstance(gallery.ids[0], int)
            return gallery
        if gallery_files.other_files(self._folder):
            raise RunError(
                f"Expected {self._folder} to be a saved gallery or empty, found other files. Choose another --gallery, "
                "or make one of a folder of pictures with: pairsim gallery add GALLERY FOLDER --run RUN"
            )
        return Gallery(self._model)

    def _id(self, text: str) -> Id:
        """Return an id as the gallery has them: as a number where its ids are numbers."""
        if not self._has_numbers:
            return text
        number = of_other_type(text)
        if number is None:
            raise Rejected(
                422,
                f"Expected whole numbers as ids, as the gallery has, got {text[:80]!r}. Give plain digits, such as 51.",
            )
        return number


def _give(task: _Query | _Change, found: object) -> None:
    """Answer a request from the thread of the gallery, with a result or an error."""

    def answer() -> None:
        if task.answer.cancelled():
            return
        if isinstance(found, Exception):
            task.answer.set_exception(found)
        else:
            task.answer.set_result(found)

    with contextlib.suppress(RuntimeError):  # a loop that is closed has cancelled its tasks
        task.answer.get_loop().call_soon_threadsafe(answer)


def _give_all(tasks: Sequence[_Query], error: Exception) -> None:
    for task in tasks:
        _give(task, error)
