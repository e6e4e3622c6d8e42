from __future__ import annotations

import json
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
    """Stands in for the page of Gradio."""

    def __init__(self) -> None:
        self.closed = 0

    def close(self, *, verbose: bool) -> None:
        self.closed += 1


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command gives to the page, read while its files are there."""
    given: dict[str, Any] = {}

    def build_app(model: SimilarityModel, *, examples: list[Path], gallery: Any, name: str) -> _Page:
        given.update(model=model, gallery=gallery, name=name, examples=examples, page=_Page())
        given["pixels"] = [np.asarray(Image.open(path)) for path in examples]
        return given["page"]  # type: ignore[no-any-return]

    def serve(page: _Page, *, host: str, port: int | None, browser: bool) -> str:
        given.update(host=host, port=port, browser=browser)
        return "http://127.0.0.1:7860"

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pairsim.integrations.build_app", build_app)
    monkeypatch.setattr("pairsim.integrations.serve", serve)
    monkeypatch.setattr("pairsim.cli.pictures.serve_app.wait_for_signal", interrupt)
    return given


def test_pictures_of_a_folder(served: dict[str, Any], tmp_path: Path) -> None:
    small_model().save_pretrained(tmp_path / "run")
    write_pictures(tmp_path / "pics", [f"{number:02}.png" for number in range(14)])
    arguments = ("--gallery", "pics", "--examples", "pics", "--no-browser", "--port", "8000", "--host", "0.0.0.0")
    done = here("app", "run", *arguments, cwd=tmp_path)
    assert (done.status, done.out) == (130, "")
    assert "Open http://127.0.0.1:7860" in done.err
    assert done.err.count("pics: 14 pictures.\n") == 2  # as gallery and as examples
    assert (served["host"], served["port"], served["browser"]) == ("0.0.0.0", 8000, False)
    assert done.err.endswith("pairsim: interrupted: the page is no longer served.\n")
    assert served["page"].closed == 1
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


def test_a_run_cannot_make_the_app_show_a_folder(served: dict[str, Any], run: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "private", [f"all/{name}/{number}.png" for name in "ab" for number in range(10)])
    for data in (str(tmp_path / "private"), "private", "absent", 7):
        (run / "data.json").write_text(json.dumps({"data": data, "class_level": 2}))
        done = here("app", run, "--no-browser", cwd=tmp_path)
        assert done.status == 130
        assert "No examples: the run was not trained on named data. Choose a folder with --examples.\n" in done.err
        assert served["examples"] == []


def test_a_run_without_its_data_has_no_examples(served: dict[str, Any], run: Path) -> None:
    (run / "data.json").write_text('{"data": "mnist"}')
    done = here("app", run, "--no-browser", "--data-dir", "absent", cwd=run.parent)
    assert done.status == 130
    assert "No examples: Expected" in done.err
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
