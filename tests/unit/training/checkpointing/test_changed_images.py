"""A run is resumed with the images that it was started with, wherever their files are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from picture_files import folder_of_classes
from sealed_files import edit
from small_runs import CutOff, CutOffError, dropout_model, random_images

from pairsim import History, PairDataset, TrainConfig, Trainer
from pairsim._common.choices import Resume
from pairsim.data import ImageTensors, load_data
from pairsim.errors import RunError


def train(out: Path, data: Any, val: Any = None, *, cut: int | None = None, resume: Resume = "auto") -> History:
    """Two epochs, or as many steps as `cut`."""
    objective = "pairs" if isinstance(data, PairDataset) else "all-pairs"
    settings: dict[str, Any] = {"precision": "fp32", "progress": False, "checkpoint_steps": 1, "objective": objective}
    config = TrainConfig(out=out, batch_size=8, epochs=2, **settings)
    callbacks = () if cut is None else (CutOff(cut),)
    return Trainer(dropout_model(), config, train=data, val=val, callbacks=callbacks).fit(resume)


def begun(out: Path, data: Any, val: Any = None) -> None:
    with pytest.raises(CutOffError):
        train(out, data, val, cut=2)


def other(images: ImageTensors) -> ImageTensors:
    pixels = images.images.clone()
    pixels[-1, 0, 0, 0] ^= 1
    return ImageTensors(pixels, images.targets)


@pytest.mark.parametrize("kind", ["training", "validation", "pairs"])
def test_other_pixels_in_memory(kind: str, tmp_path: Path) -> None:
    def data(images: ImageTensors) -> tuple[Any, Any]:
        if kind == "pairs":
            return PairDataset(images, 24, labels=images.targets), None
        return (random_images(), images) if kind == "validation" else (images, None)

    images = random_images()
    what = "validation images" if kind == "validation" else "images"
    begun(tmp_path / "run", *data(images))
    with pytest.raises(
        RunError,
        match=rf"^Expected the images that .*run was started with, found {what} with other pixels\. Restore them, .*"
        r"or accept them with --resume changed-images\.$",
    ):
        train(tmp_path / "run", *data(other(images)))
    history = train(tmp_path / "run", *data(other(images)), resume="changed-images")
    assert f"Resumed with changes: {what} with other pixels." in history.notes
    assert len(history) == 2


def test_changed_images_need_the_same_labels(tmp_path: Path) -> None:
    begun(tmp_path / "run", random_images())
    with pytest.raises(RunError, match="Expected the data that"):
        train(tmp_path / "run", random_images(72), resume="changed-images")


def test_a_run_that_did_not_record_its_images(tmp_path: Path) -> None:
    begun(tmp_path / "run", random_images())
    edit(tmp_path / "run" / "run.json", lambda run: run["data"].pop("images"))
    assert not any("changes" in note for note in train(tmp_path / "run", other(random_images())).notes)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return folder_of_classes(tmp_path / "data", "ab", number=12)


def test_moved_and_copied_pictures(pictures: Path, tmp_path: Path) -> None:
    begun(tmp_path / "run", load_data(str(pictures), "train"))
    shutil.copytree(tmp_path / "run", tmp_path / "again")
    moved = shutil.move(pictures, tmp_path / "elsewhere" / "pictures")
    assert not any("changes" in note for note in train(tmp_path / "run", load_data(str(moved), "train")).notes)
    copied = shutil.copytree(moved, tmp_path / "copy", copy_function=shutil.copyfile)
    for path in Path(copied).rglob("*.png"):
        os.utime(path, (0, 0))
    history = train(tmp_path / "again", load_data(str(copied), "train"))
    said = "Resumed with changes: images with other modification times of files, as after a copy."
    assert said in history.notes


def test_other_content_of_a_picture(pictures: Path, tmp_path: Path) -> None:
    begun(tmp_path / "run", load_data(str(pictures), "train"))
    path = pictures / "a" / "3.png"
    state, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1  # of the last chunk, which decoders pass over
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    with pytest.raises(RunError, match=r"found images with other content of files\. Restore them"):
        train(tmp_path / "run", load_data(str(pictures), "train"))


def test_another_name_of_a_picture(pictures: Path, tmp_path: Path) -> None:
    begun(tmp_path / "run", load_data(str(pictures), "train"))
    (pictures / "b" / "9.png").rename(pictures / "b" / "90.png")
    with pytest.raises(RunError, match="found images with other names, sizes or number of files"):
        train(tmp_path / "run", load_data(str(pictures), "train"))


def test_no_such_way_to_resume() -> None:
    with pytest.raises(ValueError, match=r"Expected resume to be one of auto, never, changed-images, got 'always'"):
        Trainer(dropout_model(), TrainConfig(), train=random_images()).fit("always")  # type: ignore[arg-type]
