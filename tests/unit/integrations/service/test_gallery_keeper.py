"""One thread owns the gallery: what was answered is on disk, and a change that fails changes nothing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from held_folders import held
from small_models import small_model
from torch import Tensor

from pairsim import Gallery, SimilarityModel
from pairsim.errors import RunError
from pairsim.integrations.service import gallery_keeper
from pairsim.integrations.service.batching import Full
from pairsim.integrations.service.gallery_keeper import GalleryKeeper
from pairsim.integrations.service.uploads import Rejected

HELPERS = Path(__file__).parents[3] / "helpers"
MODEL = small_model()


def rows(*numbers: int) -> Tensor:
    """Embeddings, each in a direction of its own."""
    return torch.eye(8)[list(numbers)]


@contextmanager
def kept(folder: Path, model: SimilarityModel = MODEL) -> Iterator[GalleryKeeper]:
    keeper = GalleryKeeper(folder, model)
    try:
        yield keeper
    finally:
        keeper.close()


def on_disk(folder: Path) -> list[Any]:
    return Gallery.load(folder, MODEL).ids


def rejected(work: Callable[[], Awaitable[object]]) -> Rejected:
    async def run() -> None:
        await work()

    with pytest.raises(Rejected) as raised:
        asyncio.run(run())
    return raised.value


def test_what_was_answered_is_on_disk(tmp_path: Path) -> None:
    async def run(keeper: GalleryKeeper) -> None:
        await keeper.enrol(rows(0, 1), ["a", "b/1.png"], None)
        assert on_disk(tmp_path / "g") == ["a", "b/1.png"]
        await keeper.enrol(rows(2), ["c"], None)
        assert on_disk(tmp_path / "g") == ["a", "b/1.png", "c"]
        await keeper.remove(["b/1.png"])
        assert on_disk(tmp_path / "g") == ["a", "c"]
        assert len(keeper) == 2

    with kept(tmp_path / "g") as keeper:
        asyncio.run(run(keeper))
    with kept(tmp_path / "g") as keeper:  # another start
        assert len(keeper) == 2
    assert sorted(path.name for path in (tmp_path / "g").iterdir() if path.name.startswith(".")) == []


def test_changes_that_cannot_be_made_change_nothing(tmp_path: Path) -> None:
    with kept(tmp_path / "g") as keeper:
        asyncio.run(keeper.enrol(rows(0, 1), ["a", "b"], None))
        before = {path.name: path.read_bytes() for path in (tmp_path / "g").iterdir()}
        found = rejected(lambda: keeper.enrol(rows(2, 3), ["c", "a"], None))
        assert (found.status, found.detail) == (
            409, "Expected new ids, got 'a', which the gallery has. Remove it first.",
        )  # fmt: skip
        assert rejected(lambda: keeper.enrol(rows(2, 3), ["c", "c"], None)).status == 409
        assert rejected(lambda: keeper.remove(["a", "absent"])).status == 404
        assert len(keeper) == 2
        assert {path.name: path.read_bytes() for path in (tmp_path / "g").iterdir()} == before


def test_changes_that_wait_together_are_saved_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saves, save = [], Gallery.save

    def counted(gallery: Gallery, folder: Path, **options: Any) -> None:
        saves.append(len(gallery))
        save(gallery, folder, **options)

    monkeypatch.setattr(Gallery, "save", counted)

    async def run(keeper: GalleryKeeper) -> list[Any]:
        with keeper._some:  # the thread waits for it
            tasks = [asyncio.create_task(keeper.enrol(rows(number), [f"{number}"], None)) for number in range(6)]
            tasks.append(asyncio.create_task(keeper.enrol(rows(7), ["0"], None)))
            while len(keeper._waiting) < 7:
                await asyncio.sleep(0)
        return await asyncio.gather(*tasks, return_exceptions=True)

    with kept(tmp_path / "g") as keeper:
        found = asyncio.run(run(keeper))
    assert found[:6] == [None] * 6
    assert isinstance(found[6], Rejected)  # there already, which is no concern of the others
    assert saves == [6]
    assert on_disk(tmp_path / "g") == [f"{number}" for number in range(6)]


def test_a_save_that_fails_leaves_the_gallery_as_it_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RunError("Expected space on the disk, found none.")

    with kept(tmp_path / "g") as keeper:
        asyncio.run(keeper.enrol(rows(0), ["a"], None))
        with monkeypatch.context() as patched:
            patched.setattr(Gallery, "save", fail)
            found = rejected(lambda: keeper.enrol(rows(1), ["b"], None))
            assert (found.status, found.detail) == (
                503,
                "Expected to save the gallery, but nothing was changed: Expected space on the disk, found none.",
            )
            assert rejected(lambda: keeper.remove(["a"])).status == 503
        assert len(keeper) == 1
        asyncio.run(keeper.enrol(rows(1), ["b"], None))
    assert on_disk(tmp_path / "g") == ["a", "b"]


def test_a_first_save_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("odd")

    monkeypatch.setattr(Gallery, "save", fail)
    with kept(tmp_path / "g") as keeper:
        assert "OSError: odd" in rejected(lambda: keeper.enrol(rows(0), ["a"], None)).detail
        assert len(keeper) == 0
        assert keeper.problem is None


def test_a_gallery_that_breaks_below_the_service_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(gallery: Gallery, folder: Path, **_: object) -> None:
        (folder / "gallery.json").write_text("{")
        raise RunError("The disk is broken.")

    with kept(tmp_path / "g") as keeper:
        asyncio.run(keeper.enrol(rows(0), ["a"], None))
        monkeypatch.setattr(Gallery, "save", fail)
        assert rejected(lambda: keeper.enrol(rows(1), ["b"], None)).status == 503
        assert keeper.problem is not None
        assert rejected(lambda: keeper.enrol(rows(1), ["b"], None)).detail == keeper.problem


def test_identities_are_found_for_each_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searches, search = [], Gallery.identify_embeddings

    def counted(gallery: Gallery, embeddings: Tensor, threshold: float | None = None) -> list[Any]:
        searches.append((len(embeddings), threshold))
        return search(gallery, embeddings, threshold)

    monkeypatch.setattr(Gallery, "identify_embeddings", counted)

    async def run(keeper: GalleryKeeper) -> None:
        await keeper.enrol(rows(*range(5)), list("abcde"), None)
        with keeper._some:
            tasks = [asyncio.create_task(keeper.identify(rows(number, 7), 0.5)) for number in range(5)]
            tasks.append(asyncio.create_task(keeper.identify(rows(3), None)))
            while len(keeper._waiting) < 6:
                await asyncio.sleep(0)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        for name, one in zip("abcde", found[:5], strict=True):
            assert isinstance(one, list)
            assert [result.id for result in one] == [name, None]
            assert one[0].similarity == pytest.approx(1.0)
        assert isinstance(found[5], Rejected)
        assert (found[5].status, found[5].detail.split(",")[0]) == (
            409, "Expected a threshold or a gallery with a calibration",
        )  # fmt: skip

    with kept(tmp_path / "g") as keeper:
        assert "found it empty" in rejected(lambda: keeper.identify(rows(0), 0.5)).detail
        searches.clear()
        asyncio.run(run(keeper))
    assert searches == [(10, 0.5), (1, None)]  # one search for all that ask for the same


def test_several_pictures_of_one_identity(tmp_path: Path) -> None:
    async def run(keeper: GalleryKeeper) -> None:
        await keeper.enrol(rows(0, 1), ["a1", "a2"], "ada")
        await keeper.enrol(rows(5), ["b"], None)
        found = await keeper.identify(torch.nn.functional.normalize(rows(0) + rows(1)), 0.9)
        assert [one.id for one in found] == ["ada"]

    with kept(tmp_path / "g") as keeper:
        asyncio.run(run(keeper))
    gallery: Any = Gallery.load(tmp_path / "g", MODEL)
    assert list(gallery.identities) == ["ada", "ada", "b"]


def test_ids_are_numbers_where_the_gallery_has_numbers(tmp_path: Path) -> None:
    gallery = Gallery(MODEL)
    gallery.add_embeddings(rows(0, 1), [3, 4])
    gallery.save(tmp_path / "g")
    with kept(tmp_path / "g") as keeper:
        asyncio.run(keeper.enrol(rows(2), ["12"], None))
        asyncio.run(keeper.remove(["3"]))
        assert rejected(lambda: keeper.enrol(rows(3), ["b"], None)).status == 422
    assert on_disk(tmp_path / "g") == [4, 12]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with held(tmp_path / "g"), pytest.raises(RunError, match="to be free, but process 123 on far"):
        GalleryKeeper(tmp_path / "g", MODEL)
    with kept(tmp_path / "g"):
        code = "import sys; from filelock import FileLock; FileLock(sys.argv[1], timeout=0).acquire()"
        command = [sys.executable, "-c", code, str(tmp_path / "g" / ".lock")]
        assert b"Timeout" in subprocess.run(command, capture_output=True, check=False).stderr
    with kept(tmp_path / "g"):
        pass


def test_folders_that_are_no_gallery_of_the_model(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("precious")
    with pytest.raises(RunError, match="to be a saved gallery or empty, found other files"):
        GalleryKeeper(tmp_path / "other", MODEL)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.txt"]
    gallery = Gallery(small_model(seed=1))
    gallery.add_embeddings(rows(0), ["a"])
    gallery.save(tmp_path / "g")
    with pytest.raises(RunError, match="embeddings of this model"):
        GalleryKeeper(tmp_path / "g", MODEL)
    assert not (tmp_path / "g" / ".lock").exists()


def test_no_more_waits_than_is_allowed_and_closing_finishes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery_keeper, "_MAX_WAITING", 2)

    async def run(keeper: GalleryKeeper) -> None:
        with keeper._some:
            tasks = [asyncio.create_task(keeper.enrol(rows(number), [f"{number}"], None)) for number in range(2)]
            while len(keeper._waiting) < 2:
                await asyncio.sleep(0)
            with pytest.raises(Full):
                await keeper.enrol(rows(5), ["5"], None)
        await asyncio.to_thread(keeper.close)
        assert await asyncio.gather(*tasks) == [None, None]
        with pytest.raises(Full):
            await keeper.enrol(rows(5), ["5"], None)

    keeper = GalleryKeeper(tmp_path / "g", MODEL)
    asyncio.run(run(keeper))
    assert on_disk(tmp_path / "g") == ["0", "1"]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
def test_a_kill_at_any_moment_leaves_the_old_gallery_or_the_new(tmp_path: Path) -> None:
    """Killed before each of its changes to the disk, and in the middle of each write."""
    command = [sys.executable, str(HELPERS / "crashing_keeper.py")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert found["tried"] > 30


def test_a_name_that_is_a_picture_and_an_identity(tmp_path: Path) -> None:
    with kept(tmp_path / "g") as keeper:
        asyncio.run(keeper.enrol(rows(0), ["alice"], None))
        asyncio.run(keeper.enrol(rows(1, 2), ["alice-2", "x"], "alice"))
        asyncio.run(keeper.enrol(rows(3), ["z"], "x"))
        for name, size in (("alice", 3), ("x", 1)):
            found = rejected(lambda name=name: keeper.remove([name]))  # type: ignore[misc]
            assert (found.status, len(keeper)) == (409, 4)
            assert (
                f"{name!r}, which is both: a picture, and an identity of {size} pictures. Nothing was" in found.detail
            )
        assert asyncio.run(keeper.remove(["./x"])) == ["x"]
        assert asyncio.run(keeper.remove(["alice/"])) == ["alice", "alice-2"]
    assert on_disk(tmp_path / "g") == ["z"]


def test_ids_are_numbers_and_identities_are_not(tmp_path: Path) -> None:
    gallery = Gallery(MODEL)
    gallery.add_embeddings(rows(0, 1, 2), identities=["person 0", "person 0", "person 1"])
    gallery.save(tmp_path / "g")
    with kept(tmp_path / "g") as keeper:
        asyncio.run(keeper.enrol(rows(3), ["50"], "person 1"))
        for text in ("1_0", "051", "٣", " 7", "abc"):
            found = rejected(lambda text=text: keeper.enrol(rows(4), [text], None))  # type: ignore[misc]
            said = f"Expected whole numbers as ids, as the gallery has, got {text!r}. Give plain digits, such as 51."
            assert (found.status, found.detail) == (422, said)
        assert asyncio.run(keeper.remove(["person 1"])) == ["2", "50"]
        assert asyncio.run(keeper.remove(["person 0"])) == ["0", "1"]
        asyncio.run(keeper.enrol(rows(5), ["abc"], None))  # an empty gallery has no numbers
        asyncio.run(keeper.enrol(rows(6), ["def"], None))
    assert on_disk(tmp_path / "g") == ["abc", "def"]


def test_identities_that_are_numbers_are_known_by_their_text(tmp_path: Path) -> None:
    gallery = Gallery(MODEL)
    gallery.add_embeddings(rows(0, 1, 2), ["a", "b", "c"], identities=[3, 3, 4])
    gallery.save(tmp_path / "g")
    with kept(tmp_path / "g") as keeper:
        asyncio.run(keeper.enrol(rows(3), ["d"], "3"))
        assert Gallery.load(tmp_path / "g", MODEL).identities == [3, 3, 4, 3]
        assert rejected(lambda: keeper.enrol(rows(4), ["4"], None)).status == 409  # would be another 4
        assert asyncio.run(keeper.remove(["3"])) == ["a", "b", "d"]
    assert on_disk(tmp_path / "g") == ["c"]
