from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from picture_files import write_pictures
from run_command import failure, here
from small_models import small_model
from trained_run import train_run

from pairsim import TrainConfig, Trainer, encode_dataset
from pairsim.data import load_data
from pairsim.data.image_sets import ImageFiles
from pairsim.data.unreadable import all_named, check_readable, unreadable
from pairsim.errors import ImageReadError

NUMBER = 14


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 20 pictures; the first 7 of each are cut off."""
    folder = tmp_path_factory.mktemp("unreadable")
    for number, name in enumerate("ab"):
        write_pictures(folder / "data" / name, [f"{k:02}.png" for k in range(20)], (8, 8), brightest=90 + 160 * number)
        for k in range(NUMBER // 2):
            path = folder / "data" / name / f"{k:02}.png"
            path.write_bytes(path.read_bytes()[:60])
    return folder


def files(folder: Path, **options: Any) -> ImageFiles:
    found: ImageFiles = load_data(folder / "data", "all", image_size=(8, 8), channels=1, **options).dataset
    return found


def test_all_are_found_and_the_first_ten_named(folder: Path) -> None:
    images = files(folder)
    found = unreadable(images.paths)
    assert [images.paths[k][-8:] for k in found] == [f"{name}/{k:02}.png" for name in "ab" for k in range(7)]
    with pytest.raises(ImageReadError) as caught:
        check_readable(images)
    said = str(caught.value)
    assert said.startswith("Expected 40 readable pictures, found 14 that cannot be read: ")
    assert (said.count(".png, "), "b/02.png and 4 more. Replace or remove" in said) == (9, True)
    assert said.endswith("Replace or remove it.")
    check_readable(files(folder, on_error="skip"))
    check_readable([("no file", 1)])


def test_other_errors_stay(folder: Path) -> None:
    for dataset in (files(folder, on_error="skip"), [("x", 1)]):
        with pytest.raises(ImageReadError, match=r"^another$"), all_named(dataset):
            raise ImageReadError("another")


@pytest.mark.parametrize("options", [{"resident": True}, {"resident": False, "num_workers": 0}, {"cache_dir": "kept"}])
def test_training_names_all_before_the_first_epoch(
    folder: Path, tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = load_data(folder / "data", "all", image_size=(8, 8), channels=1)
    order = [*range(7, 20), *range(27, 40), *range(7), *range(20, 27)]  # the ones looked at first can be read
    paths = [data.dataset.paths[k] for k in order]
    images = ImageFiles(paths, [str(Path(path).parent.name) for path in paths], image_size=(8, 8), channels=1)
    config = TrainConfig(epochs=1, progress=False, val_fraction=0.2, **options)
    with pytest.raises(ImageReadError, match=r"found \d+ that cannot be read: .* more\. Replace"):
        Trainer(small_model(), config, train=images).fit()


def test_embedding_names_all(folder: Path) -> None:
    with pytest.raises(ImageReadError, match="Expected 40 readable pictures, found 14 that cannot be read"):
        encode_dataset(small_model(), files(folder), workers=0)


def test_skipping_keeps_the_test_images(folder: Path) -> None:
    for split in ("train", "test"):
        every = load_data(folder / "data", split, image_size=(8, 8), channels=1)
        readable = load_data(folder / "data", split, on_error="skip")
        kept = [path for path in every.dataset.paths if int(Path(path).stem) >= 7]
        assert readable.dataset.paths == kept
        assert readable.account is not None
        left_out = {one.reason: one.files for one in readable.account.left_out}
        assert left_out == {"pictures that cannot be read": len(every) - len(kept)}
        assert readable.account.splits[split] == len(kept)
    with pytest.raises(ValueError, match=r"^Expected on_error to be one of raise, skip, got 'ignore'\.$"):
        load_data(folder / "data", "all", on_error="ignore")  # type: ignore[arg-type]


def test_if_none_can_be_read_it_is_an_error(tmp_path: Path) -> None:
    for name in ("a/0.png", "b/1.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("no picture")
    with pytest.raises(ImageReadError, match="Expected 2 readable pictures, found 2 that cannot be read"):
        load_data(tmp_path, "all", on_error="skip")


def test_the_command_line(folder: Path, tmp_path: Path) -> None:
    call: list[str | Path] = [
        "train",
        folder / "data",
        "--epochs",
        "1",
        "--no-report",
        "--image-size",
        "8",
        "--channels",
        "1",
    ]
    call += ["--val-fraction", "0.3"]
    said = failure(here(*call, "--out", "run", cwd=tmp_path), 1)
    assert "that cannot be read: " in said
    assert "skip them with --on-error skip" in said
    done = here(*call, "--out", "run", "--on-error", "skip", "--json", cwd=tmp_path)
    assert done.status == 0, done.err
    skipped = {one["reason"]: one["files"] for one in done.json["left_out"]}["pictures that cannot be read"]
    assert f"{skipped} pictures that cannot be read (a/0" in done.err
    assert done.json["num_train"] + done.json["num_val"] + skipped + 8 == 40
    # the same validation images, as in training
    done = here("calibrate", "run", folder / "data", "--json", cwd=tmp_path)
    assert done.status == 0, done.err
    assert here("evaluate", "run", folder / "data", "--split", "val", cwd=tmp_path).status == 0
    said = failure(here("evaluate", "run", folder / "data", "--on-error", "raise", "--split", "train", cwd=tmp_path), 1)
    assert "that cannot be read: " in said


def test_evaluate_skips_where_training_did_not(folder: Path, tmp_path: Path) -> None:
    train_run(tmp_path / "run")
    call: list[str | Path] = ["evaluate", "run", folder / "data", "--split", "train"]
    assert "found 1" in failure(here(*call, cwd=tmp_path), 1)
    done = here(*call, "--on-error", "skip", "--json", cwd=tmp_path)
    assert done.status == 0, done.err
    assert [one["reason"] for one in done.json["left_out"]].count("pictures that cannot be read") == 1
