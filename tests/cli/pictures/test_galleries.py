from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from held_folders import held
from PIL import Image, ImageFilter
from run_command import failure, here

from pairsim import Gallery, SimilarityModel, calibrate_gallery


def loaded(place: Path, shop: Path) -> Gallery:
    return Gallery.load(shop, SimilarityModel.from_pretrained(place / "run"))


def test_folders_are_identities(shop_place: Path, shop: Path) -> None:
    gallery = loaded(shop_place, shop)
    assert gallery.ids[:4] == ["e00/0.png", "e00/1.png", "e00/2.png", "e01/0.png"]
    assert gallery.identities[:4] == ["e00", "e00", "e00", "e01"]
    expected = gallery.model.encode([shop_place / "enrolled" / str(name) for name in gallery.ids])
    np.testing.assert_allclose(gallery.embeddings, expected.numpy(), atol=1e-6)


def test_add_remove_and_list(shop_place: Path, shop: Path) -> None:
    done = here("gallery", "add", shop, "single", "--run", "run", cwd=shop_place)
    assert done.out == "2 pictures enrolled\n47 pictures of 17 identities\n"
    done = here("gallery", "add", shop, "single/one.png", "--identity", "e01", "--run", "run", cwd=shop_place)
    assert done.out.splitlines()[-1] == "48 pictures of 17 identities"
    listed = here("gallery", "list", shop, "--run", "run", "--json", cwd=shop_place).json
    assert listed["identities"][1] == {"id": "e01", "images": ["e01/0.png", "e01/1.png", "e01/2.png", "e01/one.png"]}
    assert listed["identities"][-1] == {"id": "two.png", "images": ["two.png"]}
    done = here("gallery", "remove", shop, "e01", "e00/1.png", "--run", "run", cwd=shop_place)
    assert done.out == "5 pictures removed\n43 pictures of 16 identities\n"
    said = failure(here("gallery", "remove", shop, "nobody", "--run", "run", cwd=shop_place), 1)
    suggested = said.split(" See those with: pairsim ")[1].split(" (")[0].split()
    assert suggested == ["gallery", "list", str(shop), "--run", "run"]
    text = here(*suggested, cwd=shop_place).out.splitlines()
    assert text[0].split() == ["2", "e00"]
    assert not any("e01" in line for line in text)


def test_one_command_at_a_time(shop_place: Path, shop: Path) -> None:
    add: list[str | Path] = ["gallery", "add", shop, "single", "--run", "run"]
    with held(shop):
        assert "to be free, but process 123 on far" in failure(here(*add, cwd=shop_place), 1)
    assert here(*add, cwd=shop_place).out.startswith("2 pictures enrolled")


def test_what_is_enrolled_is_replaced_on_request_only(shop_place: Path, shop: Path, tmp_path: Path) -> None:
    before = loaded(shop_place, shop).embeddings.copy()
    said = failure(here("gallery", "add", shop, "enrolled", "--run", "run", cwd=shop_place), 2)
    assert "got e00/0.png, e00/1.png, e00/2.png and 42 more, already there. To replace them give --replace." in said
    shutil.copytree(shop_place / "enrolled", tmp_path / "new")
    shutil.copy(shop_place / "unknown/u05/2.png", tmp_path / "new/e00/0.png")
    done = here("gallery", "add", shop, tmp_path / "new", "--run", "run", "--replace", "--json", cwd=shop_place)
    assert (done.json["num_added"], done.json["num_replaced"]) == (0, 45)
    gallery = loaded(shop_place, shop)
    changed = ~np.isclose(before, gallery.embeddings, atol=1e-6).all(axis=1)
    assert np.flatnonzero(changed).tolist() == [gallery.ids.index("e00/0.png")]


def test_two_files_of_one_name(shop_place: Path, tmp_path: Path) -> None:
    pictures = [shop_place / "enrolled" / name / "0.png" for name in ("e00", "e01")]
    for more in ([], ["--replace"], ["--identity", "one"]):
        said = failure(here("gallery", "add", tmp_path / "g", *pictures, "--run", "run", *more, cwd=shop_place), 2)
        name = "one/0.png" if "one" in more else "0.png"
        assert f"Expected pictures with different names, got {name} 2 times: {pictures[0]}, {pictures[1]}. " in said
        assert "Rename one, give a folder with a sub-folder for each identity instead, or add them one after" in said
        assert "gallery.update" not in said
        assert not (tmp_path / "g" / "gallery.json").exists()
    for name, picture in zip("ab", pictures, strict=True):  # what it says works
        added = here("gallery", "add", tmp_path / "g", picture, "--run", "run", "--identity", name, cwd=shop_place)
        assert added.status == 0, added.err
    listed = here("gallery", "list", tmp_path / "g", "--run", "run", "--json", cwd=shop_place).json
    assert listed["identities"] == [{"id": "a", "images": ["a/0.png"]}, {"id": "b", "images": ["b/0.png"]}]


def test_pictures_that_cannot_be_read(shop_place: Path, tmp_path: Path) -> None:
    shutil.copytree(shop_place / "single", tmp_path / "some/x")
    (tmp_path / "some/x/bad.png").write_text("no picture")
    said = failure(here("gallery", "add", tmp_path / "g", tmp_path / "some", "--run", "run", cwd=shop_place), 1)
    assert "bad.png" in said
    assert not (tmp_path / "g").exists()
    arguments = ("gallery", "add", tmp_path / "g", tmp_path / "some", "--run", "run", "--on-error", "skip")
    done = here(*arguments, cwd=shop_place)
    assert done.out.splitlines()[0] == "2 pictures enrolled, 1 failed to enrol"
    assert "bad.png" in done.err
    info = ("gallery", "info", tmp_path / "g", "--run", "run")
    assert "failed to enrol: 1, x/bad.png" in here(*info, cwd=shop_place).out
    assert here(*info, "--json", cwd=shop_place).json["failed_to_enrol"] == ["x/bad.png"]


@pytest.fixture
def poor(shop_place: Path, tmp_path: Path) -> Path:
    """Two good pictures, a blurred one, and a dark one that is too small."""
    shutil.copytree(shop_place / "single", tmp_path / "poor/x")
    blurred = Image.open(shop_place / "single/one.png").resize((48, 48), Image.Resampling.BICUBIC)
    blurred.filter(ImageFilter.GaussianBlur(12)).point(lambda x: (x - 100) * 4).save(tmp_path / "poor/x/blurred.png")
    Image.open(shop_place / "single/one.png").crop((0, 0, 2, 2)).point(lambda x: x // 10).save(
        tmp_path / "poor/x/dark.png"
    )
    return tmp_path / "poor"


BLURRED, DARK = "Poor quality of {}/x/blurred.png: blurred: sharpness 0", "Poor quality of {}/x/dark.png: too small: "


def test_poor_quality_is_named_and_counted(shop_place: Path, tmp_path: Path, poor: Path) -> None:
    arguments = ("gallery", "add", tmp_path / "g", poor, "--run", "run")
    with pytest.warns(UserWarning, match="Poor quality") as caught:
        done = here(*arguments, "--json", cwd=shop_place)
    first, second = (str(one.message) for one in caught)
    assert first.startswith(BLURRED.format(poor))
    assert first.endswith(", expected at least 0.3. Take it again, in focus and without motion.")
    assert second.startswith(DARK.format(poor))
    assert "too dark: its lightest pixels have 0." in second
    assert (done.json["num_added"], done.json["num_failed_to_enrol"]) == (4, 0)
    files = [entry["file"] for entry in done.json["quality"]]
    assert files == [str(poor / "x/blurred.png"), str(poor / "x/dark.png")]
    (reason,) = done.json["quality"][0]["reasons"]
    assert (reason["kind"], reason["limit"]) == ("blurred", 0.3)
    assert 0 <= reason["value"] < 0.3
    assert [reason["kind"] for reason in done.json["quality"][1]["reasons"]] == ["too small", "too dark"]
    with pytest.warns(UserWarning, match="Poor quality"):
        done = here(*arguments, "--replace", cwd=shop_place)
    assert done.out.splitlines()[0] == "0 pictures enrolled, 4 replaced, 2 of poor quality"
    done = here(*arguments, "--replace", "--quality", "refuse", cwd=shop_place)
    assert done.out.splitlines()[0] == "0 pictures enrolled, 2 replaced, 2 failed to enrol, 2 of poor quality"
    assert loaded(shop_place, tmp_path / "g").ids == ["x/one.png", "x/two.png"]
    info = ("gallery", "info", tmp_path / "g", "--run", "run", "--json")
    for _ in range(2):
        assert here(*info, cwd=shop_place).json["failed_to_enrol"] == ["x/blurred.png", "x/dark.png"]
        here(*arguments, "--replace", "--quality", "refuse", cwd=shop_place)  # they count once
    with pytest.warns(UserWarning, match="Poor quality"):
        here(*arguments, "--replace", cwd=shop_place)
    assert here(*info, cwd=shop_place).json["failed_to_enrol"] == []


def test_a_gallery_shares_no_folder_with_other_files(shop_place: Path, tmp_path: Path) -> None:
    shutil.copytree(shop_place / "single", tmp_path / "pictures")
    said = "gallery, or a new one, got {}, which has other files, such as one.png. Choose another folder."
    place = str(tmp_path / "pictures")
    for arguments in (
        ("gallery", "add", place, "single", "--run", "run"),
        ("search", "run", "single", "single/one.png", "--save", place),
    ):
        assert said.format(place) in failure(here(*arguments, cwd=shop_place), 2)
    assert sorted(file.name for file in (tmp_path / "pictures").iterdir()) == ["one.png", "two.png"]
    (tmp_path / "empty").mkdir()
    assert here("gallery", "add", tmp_path / "empty", "single", "--run", "run", cwd=shop_place).status == 0


def test_poor_quality_is_refused_on_request(shop_place: Path, tmp_path: Path, poor: Path) -> None:
    (poor / "x/bad.png").write_text("no picture")
    arguments = ("gallery", "add", tmp_path / "g", poor, "--run", "run", "--on-error", "skip", "--quality", "refuse")
    done = here(*arguments, cwd=shop_place)
    assert done.out.splitlines()[0] == "2 pictures enrolled, 3 failed to enrol, 2 of poor quality"
    unreadable, first, second = (line for line in done.err.splitlines() if line.startswith("Skipped: "))
    assert "bad.png" in unreadable
    assert first.startswith("Skipped: " + BLURRED.format(poor))
    assert second.startswith("Skipped: " + DARK.format(poor))
    assert loaded(shop_place, tmp_path / "g").ids == ["x/one.png", "x/two.png"]
    done = here(*arguments, "--replace", "--json", cwd=shop_place)
    assert (done.json["num_added"], done.json["num_replaced"], done.json["num_failed_to_enrol"]) == (0, 2, 3)
    assert len(done.json["quality"]) == 2
    alone = ("gallery", "add", tmp_path / "h", poor / "x/blurred.png", "--run", "run", "--quality", "refuse")
    said = failure(here(*alone, cwd=shop_place), 1)
    assert "but none of 1 can be used: " in said
    assert said.endswith("expected at least 0.3. Take it again, in focus and without motion.")


def test_quality_is_not_looked_at_on_request(shop_place: Path, tmp_path: Path, poor: Path) -> None:
    done = here("gallery", "add", tmp_path / "g", poor, "--run", "run", "--quality", "off", "--json", cwd=shop_place)
    assert (done.json["num_added"], done.json["quality"]) == (4, [])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["remove", "{shop}", "e00", "nobody", "--run", "run"], "got 'nobody', which is neither. Nothing was removed"),
        (["add", "{shop}", "absent.png", "--run", "run"], "absent.png"),
        (["add", "{shop}", "single", "--run", "other"], "embeddings of this model"),
        (["list", "single", "--run", "run"], "gallery.json"),
        (["calibrate", "{shop}", "--run", "run", "--target-fpir", "0.01"], "at least 300 searches for unknown"),
        (["reembed", "{shop}", "unknown", "--run", "other", "--out", "{shop}-2"], "45 of 45 are missing, such as"),
    ],
)
def test_failures_change_nothing(shop_place: Path, shop: Path, arguments: list[str], said: str) -> None:
    before = {path.name: path.read_bytes() for path in shop.iterdir()}
    assert said in failure(here("gallery", *(one.format(shop=shop) for one in arguments), cwd=shop_place), 1)
    assert {path.name: path.read_bytes() for path in shop.iterdir()} == before


def test_calibrate_identify_and_grow(shop_place: Path, shop: Path) -> None:
    said = failure(here("identify", "run", shop, "single/one.png", cwd=shop_place), 1)
    assert "has none yet. Choose it by the share of unknown pictures" in said
    done = here("gallery", "calibrate", shop, "--run", "run", "--target-fpir", "0.2", "--json", cwd=shop_place)
    assert done.status == 0, done.err
    gallery = loaded(shop_place, shop)
    expected = calibrate_gallery(loaded(shop_place, shop), target_fpir=0.2)
    assert gallery.calibration == expected
    assert done.json["calibration"]["threshold"] == expected.threshold
    queries = ["single/one.png", "enrolled/e03/1.png", "unknown/u04/0.png"]
    done = here("identify", "run", shop, *queries, "--json", cwd=shop_place)
    found = gallery.identify([shop_place / name for name in queries])
    assert [result["query"] for result in done.json["results"]] == queries
    for result, one in zip(done.json["results"], found, strict=True):
        assert (result["id"], result["nearest"]) == (one.id, one.nearest)
        assert result["similarity"] == pytest.approx(one.similarity, abs=1e-6)
        assert result["probability"] == pytest.approx(one.probability, abs=1e-6)
        assert result["fpir"] == one.fpir == expected.fpir
    assert done.json["threshold"] == expected.threshold
    text = here("identify", "run", shop, *queries, cwd=shop_place)
    assert text.out.splitlines()[-1].startswith(f"15 identities; threshold {expected.threshold:.4f}, where ")
    done = here("gallery", "add", shop, "unknown", "--run", "run", cwd=shop_place)
    assert "The threshold was chosen with 15 identities, now 27: an FPIR of" in done.out
    assert "Warning: The threshold was chosen with 15" in here("identify", "run", shop, queries[0], cwd=shop_place).err
    info = here("gallery", "info", shop, "--run", "run", cwd=shop_place).out
    assert "identities by pictures: 27 with 3" in info
    assert "300 identities: FPIR" in info


def test_a_threshold_does_not_outlive_its_identities(shop_place: Path, shop: Path) -> None:
    names = [f"e{number:02}" for number in range(15)]
    here("gallery", "calibrate", shop, "--run", "run", "--target-fpir", "0.2", cwd=shop_place)
    done = here("gallery", "remove", shop, *names[1:], "--run", "run", cwd=shop_place)
    assert done.out == "42 pictures removed\n3 pictures of 1 identities\n"  # fewer find no more
    said = "The threshold was chosen with 15 identities, now 13, of which 1 were there then: the FPIR of"
    done = here("gallery", "add", shop, "unknown", "--run", "run", cwd=shop_place)
    assert said in done.out
    assert said in here("gallery", "info", shop, "--run", "run", cwd=shop_place).out
    found = here("identify", "run", shop, "single/one.png", "--json", cwd=shop_place)
    assert f"Warning: {said}" in found.err
    assert (found.json["fpir"], found.json["results"][0]["fpir"]) == (None, None)
    here("gallery", "remove", shop, names[0], "--run", "run", cwd=shop_place)
    done = here("gallery", "add", shop, "enrolled", "--run", "run", cwd=shop_place)  # their pictures may be others
    assert "with 15 identities, now 27, of which 0 were there then" in done.out
    here("gallery", "calibrate", shop, "--run", "run", "--target-fpir", "0.2", cwd=shop_place)
    assert "chosen with" not in here("gallery", "info", shop, "--run", "run", cwd=shop_place).out


def test_unknown_pictures_from_a_folder(shop_place: Path, shop: Path) -> None:
    done = here(
        "gallery",
        "calibrate",
        shop,
        "--run",
        "run",
        "--target-fpir",
        "0.1",
        "--unknown",
        "unknown",
        "--json",
        cwd=shop_place,
    )
    assert done.status == 0, done.err
    found = done.json["calibration"]
    assert (found["num_searches"], found["num_unknown"], found["source"]) == (36, 12, "unknown")
    enrolled = ("gallery", "calibrate", shop, "--run", "run", "--target-fpir", "0.1", "--unknown", "enrolled")
    assert "found e00 and 14 more in the gallery. Leave them out" in failure(here(*enrolled, cwd=shop_place), 1)


def test_reembed(shop_place: Path, shop: Path, tmp_path: Path) -> None:
    done = here(
        "gallery", "reembed", shop, "enrolled", "--run", "other", "--out", tmp_path / "new", "--json", cwd=shop_place
    )
    assert done.status == 0, done.err
    old, model = loaded(shop_place, shop), SimilarityModel.from_pretrained(shop_place / "other")
    new = Gallery.load(tmp_path / "new", model)
    assert (new.ids, new.identities) == (old.ids, old.identities)
    nearest = []
    for gallery in (old, new):
        products = gallery.embeddings.astype(np.float64) @ gallery.embeddings.T.astype(np.float64)
        np.fill_diagonal(products, -2)
        nearest.append(products.argmax(axis=1))
    shown = np.array(old.identities)
    agreement = done.json["agreement"]
    assert agreement["same_nearest"] == pytest.approx(np.mean(nearest[0] == nearest[1]))
    assert agreement["old_recall_at_1"] == pytest.approx(np.mean(shown[nearest[0]] == shown))
    assert agreement["new_recall_at_1"] == pytest.approx(np.mean(shown[nearest[1]] == shown))
    same = here("gallery", "reembed", shop, "enrolled", "--run", "run", "--out", tmp_path / "again", cwd=shop_place).out
    assert "the same nearest picture as before: 100.0% of 45" in same
    said = failure(here("gallery", "reembed", shop, "enrolled", "--run", "run", "--out", shop, cwd=shop_place), 2)
    assert "which has one. Choose another folder." in said


def test_search_saves_the_identities_of_gallery_add(shop_place: Path, shop: Path, tmp_path: Path) -> None:
    for folder in ("enrolled", "single"):
        place = tmp_path / folder
        done = here("search", "run", folder, "single/one.png", "--save", place, cwd=shop_place)
        assert done.status == 0, done.err
        expected = shop
        if folder == "single":
            expected = tmp_path / "added"
            here("gallery", "add", expected, folder, "--run", "run", cwd=shop_place)
        kept, added = loaded(shop_place, place), loaded(shop_place, expected)
        assert (kept.ids, kept.identities) == (added.ids, added.identities)


def test_search_never_replaces_a_gallery(shop_place: Path, shop: Path) -> None:
    before = json.loads((shop / "gallery.json").read_text())
    said = failure(here("search", "run", "single", "single/one.png", "--save", shop, cwd=shop_place), 2)
    assert "which has one. Choose another folder, or add pictures to that gallery: pairsim gallery add." in said
    assert json.loads((shop / "gallery.json").read_text()) == before


def test_search_threshold(shop_place: Path, shop: Path) -> None:
    done = here("search", "run", shop, "single/one.png", "--threshold", "-1", "--json", cwd=shop_place)
    assert done.json["threshold"] == -1.0
    assert all(neighbor["match"] for neighbor in done.json["results"][0]["neighbors"])
    assert '"2.0" for --threshold' in failure(
        here("search", "run", shop, "single/one.png", "--threshold", "2", cwd=shop_place), 2
    )


def test_evaluate(shop_place: Path, shop: Path) -> None:
    here("gallery", "remove", shop, "e00", "--run", "run", cwd=shop_place)
    done = here("gallery", "evaluate", shop, "enrolled", "--run", "run", "--threshold", "0.5", "--json", cwd=shop_place)
    assert done.status == 0, done.err
    assert done.err.startswith("enrolled: 45 pictures of 15 classes")
    found = done.json  # e00 is unknown now
    assert (found["num_mated"], found["num_non_mated"], found["num_enrolled"]) == (42, 3, 14)
    assert found["threshold"] == 0.5
    text = here("gallery", "evaluate", shop, "unknown", "--run", "run", cwd=shop_place).out
    assert text == "0 searches for 0 of 14 enrolled identities, 36 for 12 others\n"


def test_evaluate_without_one_kind_of_searches(shop_place: Path, shop: Path, tmp_path: Path) -> None:
    for folder, given in (("unknown", "u00"), ("enrolled", "e00")):
        shutil.copytree(shop_place / folder, tmp_path / folder)
        (tmp_path / folder / given / "bad.png").write_text("no picture")
    skipping = ("--run", "run", "--on-error", "skip")
    text = here("gallery", "evaluate", shop, tmp_path / "unknown", *skipping, cwd=shop_place).out
    assert text.endswith("\n1 picture could not be read (2.70%)\n")
    for folder, said in (("unknown", ", FNIR no such searches\n"), ("enrolled", ": FPIR no such searches, FNIR ")):
        done = here("gallery", "evaluate", shop, tmp_path / folder, *skipping, "--threshold", "0.5", cwd=shop_place)
        assert "nan" not in done.out
        assert said in done.out.split("as searches that find no identity")[1]


def test_evaluate_writes_a_page(shop_place: Path, shop: Path, tmp_path: Path) -> None:
    shutil.copytree(shop_place / "enrolled", tmp_path / "later")
    shutil.copytree(shop_place / "unknown", tmp_path / "later", dirs_exist_ok=True)
    (tmp_path / "later" / "e00" / "bad.png").write_text("no picture")
    assert here("gallery", "calibrate", shop, "--run", "run", "--target-fpir", "0.2", cwd=shop_place).status == 0
    command = ("gallery", "evaluate", shop, tmp_path / "later", "--run", "run", "--out", tmp_path / "page.html")
    assert "bad.png" in failure(here(*command, cwd=shop_place), 1)
    assert not (tmp_path / "page.html").exists()
    done = here(*command, "--on-error", "skip", "--json", cwd=shop_place)
    assert done.status == 0, done.err
    assert f"Wrote {tmp_path / 'page.html'}." in done.err
    conditions = done.json["conditions"]
    assert (conditions["num_failed_to_acquire"], conditions["failure_to_acquire"]) == (1, 1 / 82)
    assert conditions["enrolled"]["num_images"] == 45
    page = (tmp_path / "page.html").read_text()
    assert "<title>Identification report: shop</title>" in page
    assert "chosen for an FPIR of at most 0.2 with 15 identities enrolled, by 45 searches for 15 others" in page
    assert "1 could not be read (1.22 %); as searches that find no identity: FPIR" in page
    fpir = f"{done.json['fpir']:.2%}".replace("%", " %")
    assert f"<td>{fpir}</td>" in page
    wrong = ("gallery", "evaluate", shop, "unknown", "--run", "run", "--out", "page.txt")
    assert "Expected --out to end in .html or .htm, got page.txt" in failure(here(*wrong, cwd=shop_place), 2)
