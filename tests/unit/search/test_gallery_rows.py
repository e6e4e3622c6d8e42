from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from held_folders import held
from small_models import small_model
from torch import Tensor

from pairsim import Gallery, calibrate_gallery
from pairsim.errors import RunError

MODEL = small_model(dim=6)


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (6, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_identities_of_images(images: Tensor) -> None:
    gallery = Gallery(MODEL)
    gallery.add(images[:2], ["p", "q"])
    assert gallery.identities == ["p", "q"]
    gallery.add(images[2:4], ["r", "s"], identities="ann")
    gallery.add(images[4:], ["t", "u"], identities=[7, "ann"])
    assert gallery.identities == ["p", "q", "ann", "ann", 7, "ann"]
    assert gallery.images_of("ann") == ["r", "s", "u"]
    assert gallery.images_of("nobody") == []
    gallery.update(images[:2], ["r", "p"])  # keep theirs
    gallery.update(images[:2], ["u", "new"], identities="bob")
    assert dict(zip(gallery.ids, gallery.identities, strict=True)) == {
        "p": "p", "q": "q", "r": "ann", "s": "ann", "t": 7, "u": "bob", "new": "bob",
    }  # fmt: skip


def test_identities_by_name_are_refused_and_a_set_can_be_removed(images: Tensor) -> None:
    gallery = Gallery(MODEL)
    with pytest.raises(TypeError, match="in the order of the images, got a dict"):
        gallery.add(images[:2], ["p", "q"], identities={"p": "ann", "q": "bob"})
    with pytest.raises(TypeError, match="in the order of the images, got a set"):
        gallery.add(images[:2], {"p", "q"})
    gallery.add(images[:3], ["p", "q", "r"])
    gallery.remove({"p", "r"})
    assert gallery.ids == ["q"]


def test_identities_follow_pictures_that_are_skipped(images: Tensor, tmp_path: Path) -> None:
    from PIL import Image

    for name, image in zip("abc", images, strict=False):
        Image.fromarray(image[0].numpy()).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    gallery = Gallery(MODEL)
    skipped = gallery.add(
        [tmp_path / f"{name}.png" for name in "abc"], list("abc"), identities=["x", "y", "z"], on_error="skip"
    )
    assert len(skipped) == 1
    assert (gallery.ids, gallery.identities) == (["a", "c"], ["x", "z"])


def test_poor_pictures_are_named_or_refused(images: Tensor) -> None:
    images[1], images[4] = images[1] // 16, 0
    for arrays in (images, list(images), images.permute(0, 2, 3, 1).numpy()):
        gallery = Gallery(MODEL)
        with pytest.warns(UserWarning, match="Poor quality") as caught:
            enrolment = gallery.add(arrays, list("abcdef"), quality="warn")
        assert (tuple(enrolment), len(gallery)) == ((), 6)
        assert [one.index for one in enrolment.flawed] == [1, 4]
        assert [str(one.message) for one in caught] == [str(one) for one in enrolment.flawed]
        assert str(enrolment.flawed[1]).startswith("Poor quality of picture 4: too dark: its lightest pixels have 0 of")
        refusing = Gallery(MODEL)
        enrolment = refusing.add(arrays, list("abcdef"), identities=list("uvwxyz"), quality="refuse")
        assert refusing.ids == ["a", "c", "d", "f"]
        assert refusing.identities == ["u", "w", "x", "z"]
        torch.testing.assert_close(refusing.rows, gallery.rows[[0, 2, 3, 5]], atol=1e-6, rtol=0)
        assert [(one.index, one.reason) for one in enrolment] == [(one.index, str(one)) for one in enrolment.flawed]
        before = gallery.rows.clone()
        assert len(gallery.update(arrays, list("fedcba"), quality="refuse")) == 2
        changed = ~torch.isclose(before, gallery.rows, atol=1e-4).all(dim=1)
        assert changed.tolist() == [True, False, True, True, False, True]  # b and e would get poor ones


def test_removed_images_may_have_failed_to_enrol(images: Tensor) -> None:
    gallery = Gallery(MODEL)
    gallery.add(images[:3], list("abc"))
    gallery.remove("a")
    assert gallery.failed_to_enrol == []
    gallery.remove(["c", "b", "c"], failed=True)
    assert gallery.failed_to_enrol == ["c", "b"]
    gallery.add(images[:1], ["c"])
    assert gallery.failed_to_enrol == ["b"]


def test_warnings_that_are_errors_come_before_a_change(images: Tensor) -> None:
    gallery = Gallery(MODEL)
    with pytest.raises(UserWarning, match="Poor quality of picture 0"):
        gallery.add(images * 0, quality="warn")
    assert len(gallery) == 0


def test_quality_is_of_pictures_only(images: Tensor) -> None:
    gallery = Gallery(MODEL)
    with pytest.raises(
        ValueError, match=r"to measure their quality, got images of torch.float32. Set quality=\"off\"."
    ):
        gallery.add(images / 255, quality="warn")
    with pytest.raises(ValueError, match=r"got a model of images of 2 channels. Set quality="):
        Gallery(small_model(channels=2)).add(images.expand(-1, 2, -1, -1), quality="refuse")
    with pytest.raises(ValueError, match="Expected quality to be one of off, warn, refuse, got 'on'"):
        gallery.add(images, quality="on")  # type: ignore[arg-type]
    assert len(gallery) == 0
    assert gallery.add(images * 0).flawed == ()


@pytest.mark.parametrize(
    ("identities", "kind", "said"),
    [
        (["a"], ValueError, "one identity per image, or one for all, got 1 for 2 images"),
        ([1.5, "a"], TypeError, "strings or whole numbers, got 1.5"),
    ],
)
def test_identities_that_do_not_fit_change_nothing(
    images: Tensor, identities: list[Any], kind: type[Exception], said: str
) -> None:
    gallery = Gallery(MODEL)
    with pytest.raises(kind, match=said):
        gallery.add(images[:2], identities=identities)
    with pytest.raises(kind, match=said):
        gallery.add_embeddings(torch.eye(6)[:2], identities=identities)
    with pytest.raises(kind, match=said):
        gallery.update(images[:2], ["a", "b"], identities=identities)
    assert len(gallery) == 0


def test_calibration_and_identities_are_saved(tmp_path: Path) -> None:
    gallery = Gallery(MODEL)
    rows = torch.nn.functional.normalize(torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    gallery.add_embeddings(rows, identities=[f"p{number // 2}" for number in range(40)])
    gallery.save(tmp_path)
    assert json.loads((tmp_path / "gallery.json").read_text())["format_version"] == 3
    first = (tmp_path / "ids-00000.json").read_bytes()
    calibration = calibrate_gallery(gallery, target_fpir=0.2)
    gallery.save(tmp_path)
    assert (tmp_path / "ids-00000.json").read_bytes() == first  # only the index is written again
    loaded = Gallery.load(tmp_path, MODEL)
    assert (loaded.calibration, loaded.identities, loaded.ids) == (calibration, gallery.identities, gallery.ids)
    assert loaded.identify_embeddings(rows) == gallery.identify_embeddings(rows)


def test_a_calibration_knows_what_is_left_of_it(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(60, 6, generator=generator))
    gallery = Gallery(MODEL)
    gallery.add_embeddings(rows, identities=[number // 3 for number in range(60)])
    gallery.remove([0, 1, 2])

    def left() -> tuple[int | None, int | None]:
        gallery.save(tmp_path)
        calibration = Gallery.load(tmp_path, MODEL).calibration
        assert calibration is not None
        assert calibration == gallery.calibration
        return calibration.num_images, calibration.num_left

    gallery.remove([])
    assert gallery.calibration is None
    calibrate_gallery(gallery, target_fpir=0.2)
    assert left() == (57, 19)
    gallery.add_embeddings(rows[:4], [100, 101, 102, 103], identities=[19, 50, 50, 51])
    assert left() == (57, 19)
    gallery.remove([3, 101])
    assert left() == (56, 19)  # one image of identity 1, and one of another that is new
    gallery.remove([4, 5, 6, 57, 58, 59])
    assert left() == (50, 17)  # 1 is gone, and 19 has only an image that was added since
    gallery.update(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), [9, 10, 11], identities=60)
    assert left() == (50, 16)
    gallery.remove(gallery.ids)
    gallery.add_embeddings(rows[3:], identities=[number // 3 for number in range(3, 60)])
    assert left() == (0, 0)


def test_a_folder_that_another_process_has_locked_is_not_saved_to(images: Tensor, tmp_path: Path) -> None:
    gallery = Gallery(MODEL)
    gallery.add(images[:2], ["p", "q"])
    gallery.save(tmp_path / "g")
    gallery.add(images[2:3], ["r"])
    with held(tmp_path / "g"), pytest.raises(RunError, match="to be free, but process 123 on far"):
        gallery.save(tmp_path / "g")
    assert Gallery.load(tmp_path / "g", MODEL).ids == ["p", "q"]
    gallery.save(tmp_path / "g")
    assert Gallery.load(tmp_path / "g", MODEL).ids == ["p", "q", "r"]
    assert [path.name for path in (tmp_path / "g").iterdir() if path.name.startswith(".")] == []


def test_a_gallery_without_identities_stays_readable_for_earlier_versions(tmp_path: Path) -> None:
    gallery = Gallery(MODEL)
    gallery.add_embeddings(torch.eye(6), list("abcdef"))
    gallery.save(tmp_path)
    assert json.loads((tmp_path / "gallery.json").read_text())["format_version"] == 2
    assert json.loads((tmp_path / "ids-00000.json").read_text()) == list("abcdef")


@pytest.mark.parametrize(
    "content",
    [
        {"ids": ["a", "b"]},
        {"ids": ["a", "b"], "identities": ["a"]},
        {"ids": ["a", "b"], "identities": ["a", 1.5]},
        {"ids": "ab", "identities": ["a", "b"]},
        "ab",
    ],
)
def test_ids_of_another_form_are_damage(tmp_path: Path, content: Any) -> None:
    from pairsim._common import json_files, storage

    gallery = Gallery(MODEL)
    gallery.add_embeddings(torch.eye(6)[:2], ["a", "b"], identities="x")
    gallery.save(tmp_path)
    data = json.dumps(content).encode()
    (tmp_path / "ids-00000.json").write_bytes(data)
    index = json_files.read_sealed(tmp_path / "gallery.json")
    index["shards"][0]["ids_sha256"] = storage.sha256(data)
    (tmp_path / "gallery.json").write_bytes(json_files.sealed(index))
    with pytest.raises(RunError, match=r"ids-00000\.json is damaged"):
        Gallery.load(tmp_path, MODEL)


def test_a_damaged_calibration_is_named(tmp_path: Path) -> None:
    from pairsim._common import json_files

    gallery = Gallery(MODEL)
    gallery.add_embeddings(torch.eye(6)[:2], ["a", "b"])
    gallery.save(tmp_path)
    index = json_files.read_sealed(tmp_path / "gallery.json")
    (tmp_path / "gallery.json").write_bytes(json_files.sealed({**index, "calibration": {"threshold": 0.5}}))
    with pytest.raises(RunError, match=r"gallery\.json is damaged"):
        Gallery.load(tmp_path, MODEL)
