from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sealed_files import edit
from small_models import small_model
from torch import Tensor
from torch.nn import functional

from pairsim import Calibration, Gallery, SimilarityModel
from pairsim._common import storage
from pairsim.errors import RunError
from pairsim.models import pretrained
from pairsim.search import gallery_files, gallery_shards

MODEL = small_model(dim=6)


def unit(count: int, seed: int, dim: int = 6) -> Tensor:
    return functional.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def filled(ids: list[Any], seed: int = 5) -> Gallery:
    gallery = Gallery(MODEL)
    gallery.add_embeddings(unit(len(ids), seed), ids)
    return gallery


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content, and what tells a file that was written again."""
    return {path.name: (path.read_bytes(), path.stat().st_ino) for path in folder.iterdir()}


def replace(gallery: Gallery, rows: Tensor, ids: list[Any]) -> None:
    """`update` with embeddings."""
    gallery._put(rows, ids, None)


def same(a: Gallery, b: Gallery) -> None:
    assert (a.ids, a.identities, a.calibration) == (b.ids, b.identities, b.calibration)
    np.testing.assert_array_equal(a.embeddings, b.embeddings)


@pytest.mark.parametrize("ids", [["b", "a/ö.png", ""], ["caf\udce9.png", "a/ö.png", ""], [3, -1, 2**70]])
def test_save_and_load(tmp_path: Path, ids: list[Any]) -> None:
    gallery = filled(ids)
    gallery.save(tmp_path / "g")
    assert sorted(files(tmp_path / "g")) == ["embeddings-00000.safetensors", "gallery.json", "ids-00000.json"]
    MODEL.save_pretrained(tmp_path / "m")
    loaded = Gallery.load(tmp_path / "g", SimilarityModel.from_pretrained(tmp_path / "m"))
    same(loaded, gallery)
    assert ids[0] in loaded
    loaded.add_embeddings(unit(1, 0)) if isinstance(ids[0], int) else loaded.remove("a/ö.png")
    loaded.save(tmp_path / "g")  # over the old one
    same(Gallery.load(tmp_path / "g", MODEL), loaded)


def test_an_empty_gallery_is_saved_too(tmp_path: Path) -> None:
    Gallery(MODEL).save(tmp_path)
    assert len(Gallery.load(tmp_path, MODEL)) == 0


def test_saving_again_writes_what_is_new_only(tmp_path: Path) -> None:
    gallery = filled(list("abcd"))
    gallery.save(tmp_path)
    before = files(tmp_path)
    gallery.save(tmp_path)
    assert files(tmp_path) == before
    gallery.add_embeddings(unit(2, 1), ["e", "f"])
    gallery.save(tmp_path)
    after = files(tmp_path)
    assert {name for name in after if before.get(name) != after[name]} == {
        "gallery.json", "embeddings-00001.safetensors", "ids-00001.json",
    }  # fmt: skip
    loaded = Gallery.load(tmp_path, MODEL)
    same(loaded, gallery)
    loaded.remove(["b", "c"])  # half of the first shard stays in it
    loaded.save(tmp_path)
    assert {name for name, content in files(tmp_path).items() if after.get(name) != content} == {"gallery.json"}
    assert json.loads((tmp_path / "gallery.json").read_text())["shards"][0]["removed"] == [[1, 3]]
    same(Gallery.load(tmp_path, MODEL), loaded)
    loaded.remove("a")  # more than half: compacted
    loaded.save(tmp_path)
    names = set(files(tmp_path))
    assert names == {
        "gallery.json", "embeddings-00001.safetensors", "ids-00001.json", "embeddings-00002.safetensors",
        "ids-00002.json",
    }  # fmt: skip
    same(Gallery.load(tmp_path, MODEL), loaded)
    assert loaded.ids == ["d", "e", "f"]


def test_an_update_writes_the_shard_it_is_in(tmp_path: Path) -> None:
    gallery = filled(list("abc"))
    gallery.save(tmp_path)
    gallery.add_embeddings(unit(2, 1), ["e", "f"])
    gallery.save(tmp_path)
    second = files(tmp_path)["embeddings-00001.safetensors"]
    images = torch.randint(0, 256, (2, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    gallery.update(images, ["b", "g"])
    gallery.save(tmp_path)
    loaded = Gallery.load(tmp_path, MODEL)
    same(loaded, gallery)
    assert loaded.ids == list("abcefg")
    assert files(tmp_path)["embeddings-00001.safetensors"] == second
    assert "embeddings-00000.safetensors" not in files(tmp_path)


def test_a_loaded_gallery_has_room_and_knows_its_ids(tmp_path: Path) -> None:
    filled([str(number) for number in range(40)]).save(tmp_path)
    loaded = Gallery.load(tmp_path, MODEL)
    place = loaded.rows.data_ptr()
    loaded.add_embeddings(unit(1, 1), ["new"])
    assert loaded.rows.data_ptr() == place
    with pytest.raises(ValueError, match="got '39', which is"):
        loaded.add_embeddings(unit(1, 1), ["39"])
    loaded.save(tmp_path)
    same(Gallery.load(tmp_path, MODEL), loaded)


def test_another_folder_gets_everything(tmp_path: Path) -> None:
    gallery = filled(list("abc"))
    gallery.save(tmp_path / "one")
    gallery.remove("b")
    gallery.save(tmp_path / "two")
    same(Gallery.load(tmp_path / "two", MODEL), gallery)
    assert Gallery.load(tmp_path / "one", MODEL).ids == list("abc")


def test_another_gallery_is_replaced_only_on_request(tmp_path: Path) -> None:
    gallery, other = filled(list("abc")), filled([1, 2], seed=9)
    gallery.save(tmp_path)
    with pytest.raises(RunError, match=r"to hold no other gallery, found one\. Load that one and add to it, choose"):
        other.save(tmp_path)
    same(Gallery.load(tmp_path, MODEL), gallery)
    other.save(tmp_path, replace=True)
    same(Gallery.load(tmp_path, MODEL), other)
    other.remove(1)
    other.save(tmp_path)  # now it is its own
    same(Gallery.load(tmp_path, MODEL), other)


def test_a_change_by_another_process_is_not_lost(tmp_path: Path) -> None:
    filled(list("abc")).save(tmp_path)
    first, second = (Gallery.load(tmp_path, MODEL) for _ in range(2))
    first.remove("a")
    first.save(tmp_path)
    second.remove("b")
    with pytest.raises(RunError, match="found one that another process has changed since"):
        second.save(tmp_path)
    same(Gallery.load(tmp_path, MODEL), first)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_history_is_saved_whole(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("history")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery_shards, "SHARD_BYTES", data.draw(st.sampled_from([24 * 3, 24 * 100])))
        patch.setattr(gallery_shards, "MAX_SMALL", data.draw(st.sampled_from([1, 64])))
        gallery, number = Gallery(MODEL), 0
        for step in range(data.draw(st.integers(1, 10))):
            action = data.draw(st.sampled_from(["add", "add", "remove", "update", "save", "load"]))
            if action == "add":
                count = data.draw(st.integers(0, 7))
                shown = data.draw(st.none() | st.just("one") | st.just([k % 3 for k in range(count)]))
                gallery.add_embeddings(unit(count, step), list(range(number, number + count)), identities=shown)
                number += count
            elif action == "remove" and len(gallery):
                gallery.remove(data.draw(st.lists(st.sampled_from(gallery.ids), unique=True)))
            elif action == "update" and len(gallery):
                names = data.draw(st.lists(st.sampled_from(gallery.ids), unique=True, max_size=2))
                replace(gallery, unit(len(names), 100 + step), names)
            elif action == "save":
                gallery.save(folder)
            elif action == "load" and gallery_files.is_gallery(folder):
                gallery = Gallery.load(folder, MODEL)
        gallery.save(folder)
        loaded = Gallery.load(folder, MODEL)
        assert (loaded.ids, loaded.identities) == (gallery.ids, gallery.identities)
        if gallery.ids:
            same(loaded, gallery)
        index = json.loads((folder / "gallery.json").read_text())
        assert set(files(folder)) == {"gallery.json"} | {
            name.format(entry["number"])
            for entry in index["shards"]
            for name in ("embeddings-{:05d}.safetensors", "ids-{:05d}.json")
        }


@pytest.mark.parametrize("stop", range(4))
def test_a_save_that_stops_leaves_the_old_gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int) -> None:
    gallery = filled(list("abcdef"))
    gallery.save(tmp_path)
    old = filled(list("abcdef"))
    gallery.remove(list("abcd"))
    gallery.add_embeddings(unit(40, 2), [f"x{k}" for k in range(40)])
    written = 0
    write = storage.write_files

    def failing(folder: Path, content: dict[str, bytes]) -> None:
        nonlocal written
        if written == stop:
            raise RunError("disk full")
        written += 1
        write(folder, content)

    monkeypatch.setattr(gallery_shards, "SHARD_BYTES", 24 * 16)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_files", failing)
        with pytest.raises(RunError, match="disk full"):
            gallery.save(tmp_path)
    assert written == stop
    same(Gallery.load(tmp_path, MODEL), old)
    gallery.save(tmp_path)
    same(Gallery.load(tmp_path, MODEL), gallery)


def save_as_version_1(folder: Path, model: SimilarityModel, embeddings: Tensor, ids: list[Any]) -> None:
    """As pairsim 0.1.0 wrote it."""
    weights = pretrained.serialize(model.embedding_net.state_dict())
    content = pretrained.serialize({"embeddings": embeddings})
    index: dict[str, Any] = {
        "format": "pairsim-gallery",
        "format_version": 1,
        "num_images": len(ids),
        "embedding_dim": embeddings.shape[1],
        "model_sha256": storage.sha256(weights + storage.to_json(model.preprocessing.to_dict())),
        "embeddings_sha256": storage.sha256(content),
        "ids": ids,
    }
    index["sha256"] = storage.sha256(storage.to_json(index))
    storage.write_files(folder, {"gallery.safetensors": content, "gallery.json": storage.to_json(index)})


def test_galleries_of_version_1_are_loaded_and_saved_in_the_new_form(tmp_path: Path) -> None:
    save_as_version_1(tmp_path, MODEL, unit(4, 3), ["ö", "b", "c", "d"])
    loaded = Gallery.load(tmp_path, MODEL)
    assert loaded.ids == ["ö", "b", "c", "d"]
    np.testing.assert_array_equal(loaded.embeddings, unit(4, 3).numpy())
    loaded.save(tmp_path)
    assert "gallery.safetensors" not in files(tmp_path)
    same(Gallery.load(tmp_path, MODEL), loaded)
    save_as_version_1(tmp_path / "empty", MODEL, torch.empty(0, 0), [])
    assert len(Gallery.load(tmp_path / "empty", MODEL)) == 0


@pytest.mark.parametrize("version", [1, 2])
def test_every_flipped_bit_is_found(tmp_path: Path, version: int) -> None:
    if version == 1:
        save_as_version_1(tmp_path, MODEL, unit(2, 5), ["a", "b"])
    else:
        gallery = filled(["a", "x", "b"])
        gallery.save(tmp_path)
        gallery.remove("x")
        gallery.save(tmp_path)
    embeddings: npt.NDArray[np.float32] = Gallery.load(tmp_path, MODEL).embeddings.copy()
    for name, (content, _) in files(tmp_path).items():
        for place in range(len(content)):
            flipped = bytearray(content)
            flipped[place] ^= 1 << (place % 8)
            (tmp_path / name).write_bytes(flipped)
            try:
                loaded = Gallery.load(tmp_path, MODEL)
            except RunError as error:
                assert name in str(error)  # noqa: PT017
            else:  # white space between the values of the JSON
                assert content[place : place + 1].isspace()
                assert loaded.ids == ["a", "b"]
                np.testing.assert_array_equal(loaded.embeddings, embeddings)
        for cut in (content[:-3], b"", *([] if name == "gallery.json" else [content + b" "])):
            (tmp_path / name).write_bytes(cut)
            with pytest.raises(RunError, match=name):
                Gallery.load(tmp_path, MODEL)
        (tmp_path / name).write_bytes(content)


def test_another_model_is_refused(tmp_path: Path) -> None:
    model = small_model(dim=6, seed=1)
    gallery = Gallery(model)
    gallery.add_embeddings(unit(1, 0), "a")
    gallery.save(tmp_path)
    with pytest.raises(RunError, match=r"of this model \(SHA-256 \w{12}\), found those of another.*or add the images"):
        Gallery.load(tmp_path, small_model(dim=6, seed=2))
    model.calibration = Calibration(method="platt", prior=0.5, weight=20.0, bias=-10.0)
    with torch.no_grad():
        model.projection.bias.add_(1.0)
    loaded = Gallery.load(tmp_path, model)  # neither moves an embedding
    with pytest.raises(ValueError, match=r"Expected embeddings of the gallery's size, \[n, 6\], got \[1, 5\]"):
        loaded.add_embeddings(unit(1, 0, dim=5), "b")
    model.preprocessing = model.preprocessing.__class__(image_size=(8, 8), channels=1, mean=(0.5,), std=(0.5,))
    with pytest.raises(RunError, match="found those of another"):
        Gallery.load(tmp_path, model)


def test_a_model_that_changed_is_not_saved(tmp_path: Path) -> None:
    model = small_model(dim=6, seed=1)
    gallery = Gallery(model)
    gallery.add_embeddings(unit(1, 0), "a")
    with torch.no_grad():
        next(model.embedding_net.parameters()).add_(0.1)
    with pytest.raises(ValueError, match=r"found its weights changed.*Make a new gallery"):
        gallery.save(tmp_path / "g")
    assert not (tmp_path / "g").exists()


def test_missing_and_foreign_folders(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=rf"^Expected a gallery at {tmp_path}, found no gallery\.json in it\. Make one "):
        Gallery.load(tmp_path, MODEL)
    with pytest.raises(RunError, match=rf"^Expected a gallery at {tmp_path}/none, found no such folder\. Make one "):
        Gallery.load(tmp_path / "none", MODEL)
    filled(["a"]).save(tmp_path)
    index = tmp_path / "gallery.json"
    text = index.read_text()
    edit(index, format_version=4)
    with pytest.raises(RunError, match=r"version 3 at most, found 4: it was made by a newer pairsim"):
        Gallery.load(tmp_path, MODEL)
    edit(index, format="pairsim-model")
    with pytest.raises(RunError, match="to say format pairsim-gallery, found 'pairsim-model'"):
        Gallery.load(tmp_path, MODEL)
    index.write_text(text)
    for name in ("embeddings-00000.safetensors", "ids-00000.json"):
        (tmp_path / name).rename(tmp_path / "away")
        with pytest.raises(RunError, match=rf"Expected .*{name} to be readable"):
            Gallery.load(tmp_path, MODEL)
        (tmp_path / "away").rename(tmp_path / name)


def test_only_files_of_its_own_leave_a_folder_for_a_gallery(tmp_path: Path) -> None:
    for name in (".lock", ".lock.json", "embeddings-00.safetensors", "ids-00.json", ".ids-00.json.0a1b2c3d.tmp"):
        (tmp_path / name).touch()
    assert gallery_files.other_files(tmp_path) == []
    for name in (".notes", "a.png"):
        (tmp_path / name).touch()
    assert gallery_files.other_files(tmp_path) == [".notes", "a.png"]
