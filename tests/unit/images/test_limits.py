from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from PIL import Image
from run_command import failure, here
from small_models import small_model

from pairsim.errors import ImageReadError
from pairsim.images import Preprocessing, read_image
from pairsim.images.limits import MAX_PIXELS, VARIABLE, as_limit, limited_to, pixel_limit


def test_the_variable_sets_the_limit_of_every_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, model = tmp_path / "x.png", small_model()
    Image.new("L", (40, 30)).save(path)
    assert pixel_limit() == MAX_PIXELS == 67_108_864
    assert read_image(path).shape == (3, 30, 40)
    monkeypatch.setenv(VARIABLE, "1199")
    said = r"at most 1,199 pixels, found 40 x 30\. Resize it first, or allow more with --max-pixels or PAIRSIM_MAX"
    for read in (read_image, model.preprocessing.read, model.encode):
        with pytest.raises(ImageReadError, match=said):
            read(path)
    assert read_image(path, max_pixels=1200).shape == (3, 30, 40)
    assert read_image(torch.zeros(3, 40, 40, dtype=torch.uint8)).shape == (3, 40, 40)  # it is decoded already


@pytest.mark.parametrize("value", ["0", "-1", "many", "1e6", "1" * 30, "²"])
def test_wrong_limits_are_one_line(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(ValueError, match=r"^Expected PAIRSIM_MAX_PIXELS to be a whole number of pixels of at least 1"):
        read_image("x.png")


def test_a_limit_holds_inside_and_in_processes_started_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert as_limit("12", "x") == as_limit(12, "x") == 12
    with limited_to(None):
        assert VARIABLE not in os.environ
    with limited_to(5), limited_to(None):
        assert os.environ[VARIABLE] == "5"
    assert VARIABLE not in os.environ
    monkeypatch.setenv(VARIABLE, "7")
    with pytest.raises(KeyError), limited_to(5):
        raise KeyError
    assert pixel_limit() == 7


def test_the_command_line_sets_it(tmp_path: Path, tiny_run: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("L", (40, 30)).save(tmp_path / name)
    call: list[str | Path] = ["compare", tiny_run, "a.png", "b.png"]
    assert here(*call, "--max-pixels", "1200", cwd=tmp_path).status == 0
    for limit in (["--max-pixels", "1199"], ["--max-pixels=1199"]):
        said = failure(here(*limit, *call, cwd=tmp_path), 1)
        assert "a.png to have at most 1,199 pixels, found 40 x 30." in said
    assert VARIABLE not in os.environ
    for limit in (["--max-pixels", "0"], ["--max-pixels"], ["--max-pixels="]):
        said = failure(here(*call, *limit, cwd=tmp_path), 2)
        assert said.startswith("pairsim: Expected --max-pixels to be a whole number of pixels of at least 1, got ")


def test_sizes_of_results_are_limited_too() -> None:
    said = r"^Expected image_size of at most 67,108,864 pixels, got 1000000 x 1000000\. Use a smaller one\.$"
    with pytest.raises(ValueError, match=said):
        Preprocessing(image_size=(10**6, 10**6), channels=3)
    with pytest.raises(ValueError, match=said):
        read_image("x.png", image_size=(10**6, 10**6))
