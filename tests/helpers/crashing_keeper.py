"""Changes of a served gallery that are killed before each change to the disk, or in the middle of a write.

Run as a program, it prints what it tried as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import tempfile
from pathlib import Path

import torch
from crashing_runs import RUN, errors, fresh, start, status_of
from small_models import small_model

from pairsim import Gallery
from pairsim.errors import RunError
from pairsim.integrations.service.gallery_keeper import GalleryKeeper
from pairsim.search.gallery_ids import Id

MODEL = small_model()
STATES = [[], ["a", "b"], ["a", "b", "c"], ["b", "c"], ["c"], ["c", "d"]]
ANSWERED = Path("answered")
"""Beside the gallery; one byte for each change that was answered."""


def change() -> None:
    async def run(keeper: GalleryKeeper) -> None:
        rows = torch.eye(8)
        for work in (
            keeper.enrol(rows[:2], ["a", "b"], None),
            keeper.enrol(rows[2:3], ["c"], None),
            keeper.remove(["a"]),
            keeper.remove(["b"]),
            keeper.enrol(rows[3:4], ["d"], None),
        ):
            await work
            with ANSWERED.open("ab", buffering=0) as file:
                file.write(b".")

    keeper = GalleryKeeper(RUN, MODEL)
    asyncio.run(run(keeper))
    keeper.close()


def ids_in(folder: Path) -> list[Id]:
    """The ids that the next start of the service finds."""
    keeper = GalleryKeeper(folder, MODEL)
    found = list(keeper._gallery.ids)
    keeper.close()
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    tried, wrong = 0, list[str]()
    with tempfile.TemporaryDirectory() as text:
        whole = fresh(Path(text), "whole")
        reading, writing = os.pipe()
        assert status_of(start(change, whole, count=writing)) == 0, errors(whole)
        num = int(os.read(reading, 20))
        assert Gallery.load(whole / RUN, MODEL).ids == STATES[-1]
        for at in range(1, num + 1):
            folder = fresh(Path(text), "killed")
            assert status_of(start(change, folder, at)) == -signal.SIGKILL, errors(folder)
            answered = len((folder / ANSWERED).read_bytes()) if (folder / ANSWERED).exists() else 0
            try:
                found = ids_in(folder / RUN)
                if found not in STATES[answered : answered + 2]:
                    wrong.append(f"{at} of {num}: {found} after {answered} answers")
            except RunError as error:
                wrong.append(f"{at} of {num}: {error}")
            tried += 1
            shutil.rmtree(folder)
    print(json.dumps({"tried": tried, "wrong": wrong}))
