from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_files import write_pictures
from PIL import Image
from run_command import failure, here
from small_models import small_model

from pairsim import SimilarityModel


class _Page:
    """Stands in for the page of Gradio; its command ends where it would wait for visitors."""

    def block_thread(self) -> None:
        raise KeyboardInterrupt


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command gives to the page, read while its files are there."""
    given: dict[str, Any] = {}

    def build_app(model: SimilarityModel, *, examples: list[Path], gallery: Any, name: str) -> _Page:
        given.update(model=model, gallery=gallery, name=name, examples=examples)
        given["pixels"] = [np.asarray(Image.open(path)) for path in examples]
        return _Page()

    def serve(page: _Page, *, host: str, port: int | None, browser: bool, wait: bool) -> str:
        given.update(host=host, port=port, browser=browser, wait=wait)
        return "http://127.0.0.1:7860"

    monkeypatch.setattr("pairsim.integrations.build_app", build_app)
    monkeypatch.setattr("pairsim.integrations.serve", serve)
    return given


def test_pictures_of_a_folder(served: dict[str, Any], tmp_path: Path) -> None:
    small_model().save_pretrained(tmp_path / "run")
    write_pictures(tmp_path / "pics", [f"{number:02}.png" for number in range(14)])
    arguments = ("--gallery", "pics", "--examples", "pics", "--no-browser", "--port", "8000", "--host", "0.0.0.0")
    done = here("app", "run", *arguments, cwd=tmp_path)
    assert (done.status, done.out) == (130, "")
    assert "Open http://127.0.0.1:7860" in done.err
    assert done.err.count("pics: 14 pictures.\n") == 2  # as gallery and as examples
    assert (served["host"], served["port"], served["browser"], served["wait"]) == ("0.0.0.0", 8000, False, False)
    assert served["name"] == "run"
    assert served["gallery"].ids == [f"pics/{number:02}.png" for number in range(14)]
    assert len(served["pixels"]) == 12
    first = np.asarray(Image.open(tmp_path / "pics" / "00.png"))
    assert np.array_equal(served["pixels"][0], first)
    assert not any(path.exists() for path in served["examples"])  # removed at the end


def test_examples_are_test_images_of_the_run(served: dict[str, Any], run: Path) -> None:
    assert here("app", run, "--no-browser", cwd=run.parent).status == 130
    assert (served["gallery"], served["port"]) == (None, None)
    assert len(served["pixels"]) == 12
    assert served["pixels"][0].shape == (16, 16)


def test_a_run_whose_data_is_gone_has_no_examples(served: dict[str, Any], run: Path) -> None:
    (run / "data.json").write_text('{"data": "absent"}')
    done = here("app", run, "--no-browser", cwd=run.parent)
    assert done.status == 130
    assert "No examples: Expected one of digits, " in done.err
    assert served["examples"] == []
    (run / "data.json").unlink()
    assert here("app", run, "--no-browser", cwd=run.parent).status == 130
    assert served["examples"] == []


@pytest.mark.parametrize("port", ["0", "65536"])
def test_ports_out_of_range(port: str, tmp_path: Path) -> None:
    said = failure(here("app", "run", "--port", port, cwd=tmp_path), 2)
    assert f"Expected --port from 1 to 65535, got {port}." in said


def test_gradio_is_not_needed_to_know_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert "Expected a model or run folder" in failure(here("app", "absent", cwd=tmp_path), 1)


def test_examples_are_read_at_the_class_level_of_the_run(served: dict[str, Any], tmp_path: Path) -> None:
    small_model().save_pretrained(tmp_path / "run")
    write_pictures(tmp_path / "data", [f"all/{name}/{number}.png" for name in "ab" for number in range(10)])
    for level, number in ((1, 2), (2, 4)):  # a pair of one class; with two classes also a pair of both
        (tmp_path / "run" / "data.json").write_text(f'{{"data": "data", "class_level": {level}}}')
        assert here("app", "run", "--no-browser", cwd=tmp_path).status == 130
        assert len(served["examples"]) == number
