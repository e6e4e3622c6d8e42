from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sealed_files import edit
from small_models import small_model
from torch import Tensor
from torch.nn import functional

from pairsim import Gallery
from pairsim._common import storage
from pairsim.errors import RunError
from pairsim.search import gallery_files, gallery_shards
from pairsim.search.stored_gallery import StoredGallery, open_stored

MODEL = small_model(dim=6)
HARD = ["a", 'a", "b', "b\\", "caf\udce9.png", "\n", "é", '"', ", ", "identities"]


def unit(count: int, seed: int = 0) -> Tensor:
    return functional.normalize(torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)), dim=1)


def saved(folder: Path, ids: list[Any], identities: list[Any] | None = None) -> Gallery:
    gallery = Gallery(MODEL)
    gallery.add_embeddings(unit(len(ids)), ids, identities=identities)
    gallery.save(folder)
    return gallery


def opened(folder: Path) -> StoredGallery:
    stored = open_stored(folder, MODEL)
    assert stored is not None
    return stored


def added(folder: Path, ids: list[str], identities: list[Any], seed: int = 1) -> StoredGallery:
    stored = opened(folder)
    known, shown = stored.known(ids, identities)
    assert not known
    new = Gallery(MODEL)
    new.add_embeddings(unit(len(ids), seed), ids, identities=identities)
    return stored.append(new, shown)


def same(a: Gallery, b: Gallery) -> None:
    assert (a.ids, a.identities, a.calibration) == (b.ids, b.identities, b.calibration)
    assert (a.failed_to_enrol, a.num_identities) == (b.failed_to_enrol, b.num_identities)
    np.testing.assert_array_equal(a.embeddings, b.embeddings)


@settings(max_examples=30)
@given(data=st.data())
def test_as_if_it_were_loaded(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("gallery")
    names = st.sampled_from(HARD) | st.text(max_size=3)
    pool = data.draw(st.lists(names, min_size=3, max_size=40, unique=True))
    first = data.draw(st.integers(1, len(pool) - 1))
    gallery = saved(folder, pool[:first], data.draw(st.sampled_from([None, ["x"] * first, pool[:first][::-1]])))
    if data.draw(st.booleans()) and first > 1:
        gallery.remove(pool[0])
        gallery.save(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery_shards, "SHARD_BYTES", 24 * 8)
        place = first
        while place < len(pool):
            end = min(place + data.draw(st.integers(1, 12)), len(pool))
            ids, shown = pool[place:end], data.draw(st.lists(names, min_size=end - place, max_size=end - place))
            stored = opened(folder)
            assert stored.known([*ids, *pool[:2]], [])[0] == {*pool[:2]} & {*gallery.ids}
            assert stored.known([], shown)[1] == {*shown} & {*gallery.identities}
            result = added(folder, ids, shown, seed=place)
            gallery.add_embeddings(unit(len(ids), place), ids, identities=shown)
            assert (len(result), result.num_identities) == (len(gallery), gallery.num_identities)
            same(Gallery.load(folder, MODEL), gallery)
            place = end
    removed = Gallery.load(folder, MODEL)
    removed.remove(pool[-1])
    removed.save(folder)
    assert pool[-1] not in Gallery.load(folder, MODEL)


def test_what_is_there_is_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, [f"{number}" for number in range(200)])
    before = {path.name: path.stat().st_ino for path in tmp_path.iterdir()}
    for number in range(64):
        added(tmp_path, [f"new {number}"], ["new"], seed=number)
    shards = [entry["rows"] for entry in json.loads((tmp_path / "gallery.json").read_text())["shards"]]
    assert shards == [200, 64]
    after = {path.name: path.stat().st_ino for path in tmp_path.iterdir()}
    assert {name for name in before if after.get(name) == before[name]} == {*before} - {"gallery.json"}
    assert len(after) == 5
    monkeypatch.setattr(gallery_files, "read_shard", None)  # no embeddings are read
    added(tmp_path, ["last"], ["last"])


def test_what_has_to_be_loaded(tmp_path: Path) -> None:
    assert open_stored(tmp_path / "none", MODEL) is None
    saved(tmp_path / "numbers", [1, 2])
    saved(tmp_path / "empty", [])
    saved(tmp_path / "old", ["a"])
    edit(tmp_path / "old" / "gallery.json", lambda index: index.pop("num_identities"))
    for name in ("numbers", "empty", "old"):
        assert open_stored(tmp_path / name, MODEL) is None
        Gallery.load(tmp_path / name, MODEL)


def test_failures_to_enrol_are_kept_until_they_are_enrolled(tmp_path: Path) -> None:
    gallery = saved(tmp_path, ["a"])
    gallery._failed = {"b": None, "c": None}
    gallery.save(tmp_path)
    new = Gallery(MODEL)
    new.add_embeddings(unit(1), ["b"], identities=["b"])
    new._failed = {"d": None}
    opened(tmp_path).append(new, set())
    assert Gallery.load(tmp_path, MODEL).failed_to_enrol == ["c", "d"]


def test_a_damaged_file_of_ids_is_named(tmp_path: Path) -> None:
    saved(tmp_path, ["a", "b"])
    path = tmp_path / "ids-00000.json"
    path.write_bytes(path.read_bytes().replace(b"b", b"c"))
    with pytest.raises(RunError, match=r"ids-00000\.json is damaged"):
        opened(tmp_path).known(["c"], [])


def test_ids_that_another_program_escaped_are_found(tmp_path: Path) -> None:
    saved(tmp_path, ["a", "b"])
    content = b'["\\u0061", "b"]'
    (tmp_path / "ids-00000.json").write_bytes(content)
    sums = {"ids_sha256": storage.sha256(content)}
    edit(tmp_path / "gallery.json", lambda index: index["shards"][0].update(sums))
    assert opened(tmp_path).known(["a", "c"], ["a"]) == ({"a"}, {"a"})


def test_of_two_writers_the_second_is_told(tmp_path: Path) -> None:
    saved(tmp_path, ["a"])
    second = opened(tmp_path)
    added(tmp_path, ["b"], ["b"])
    late = Gallery(MODEL)
    late.add_embeddings(unit(1, 3), ["c"], identities=["c"])
    with pytest.raises(RunError, match="another process has changed it since"):
        second.append(late, set())
    assert Gallery.load(tmp_path, MODEL).ids == ["a", "b"]


CHANGES = ("fsync", "replace", "unlink")


def killed_at(change: int, run: Callable[[], object]) -> bool:
    """Run in a fork that ends before a change to the disk; return whether it came so far."""
    child = os.fork()
    if not child:
        torch.set_num_threads(1)  # the threads of the parent do not exist here, and would be waited for
        left = change

        def counted(call: Callable[..., Any]) -> Callable[..., Any]:
            def made(*arguments: Any, **more: Any) -> Any:
                nonlocal left
                if not left:
                    os._exit(3)
                left -= 1
                return call(*arguments, **more)

            return made

        for name in CHANGES:
            setattr(os, name, counted(getattr(os, name)))
        try:
            run()
        except BaseException:
            os._exit(4)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 3)
    return status == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_at_any_change_leaves_the_old_gallery_or_the_new_one(tmp_path: Path) -> None:
    found = []
    for change in range(100):
        folder = tmp_path / str(change)
        old = saved(folder, ["a", "b", "c"])
        added(folder, ["d"], ["a"], seed=7)
        old.add_embeddings(unit(1, 7), ["d"], identities=["a"])
        whole = not killed_at(change, partial(added, folder, ["e"], ["b"], seed=8))  # joined with d
        after = Gallery.load(folder, MODEL)
        found.append(len(after))
        if "e" not in after:
            same(after, old)
            added(folder, ["e"], ["b"], seed=8)
        old.add_embeddings(unit(1, 8), ["e"], identities=["b"])
        same(Gallery.load(folder, MODEL), old)
        added(folder, ["f"], ["f"])
        if whole:
            break
    assert len(found) > 8
    assert found == sorted(found)
    assert {*found} == {4, 5}


def test_identities_that_are_whole_numbers_are_known_by_their_text(tmp_path: Path) -> None:
    saved(tmp_path, ["a", "b", "c"], [3, 3, 40])
    stored = opened(tmp_path)
    assert stored.known(["a", "3"], ["3", "40", "4", "0", "a"]) == ({"a"}, {3, 40})
    assert stored.known([], ["4"]) == (set(), set())
    result = added(tmp_path, ["d"], [3])
    assert (len(result), result.num_identities) == (4, 2)
    assert Gallery.load(tmp_path, MODEL).images_of(3) == ["a", "b", "d"]
