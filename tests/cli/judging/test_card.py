from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from picture_files import folder_of_classes
from run_command import failure, here

from pairsim import SimilarityModel
from pairsim.data.named import load_data
from pairsim.runs.run_records import load_evaluation, save_evaluation
from pairsim.verification.model_evaluation import evaluate


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny pictures and a run that the command line trained on it."""
    folder = tmp_path_factory.mktemp("card")
    folder_of_classes(folder / "pics", ("a|b", "c", "d e"))
    options = "--epochs 2 --batch-size 12 --seed 3 --precision fp32 --device cpu --embedding-dim 8 --augment affine"
    done = here("train", "pics", "--out", "my run", *options.split(), "--optimizer", "sgd", cwd=folder)
    assert done.status == 0, done.err
    return folder


@pytest.fixture
def run(place: Path, tmp_path: Path) -> Path:
    shutil.copytree(place / "pics", tmp_path / "pics")
    return Path(shutil.copytree(place / "my run", tmp_path / "my run"))


def test_json(run: Path) -> None:
    done = here("card", "my run", "--json", cwd=run.parent)
    assert done.status == 0, done.err
    assert done.json == {
        "run": "my run",
        "card": "my run/model/README.md",
        "evaluated": False,
        "calibrated": False,
    }
    assert "Measure them with: pairsim evaluate my run DATA" in done.err
    card = ModelCard.load(run / "model" / "README.md")
    assert card.data.library_name == "pairsim"
    assert "# my run\n" in card.text
    assert "a\\|b, c, d e" in card.text


def test_the_command_of_the_card_makes_the_same_weights(run: Path) -> None:
    done = here("card", "my run", cwd=run.parent)
    assert done.status == 0, done.err
    text = (run / "model" / "README.md").read_text()
    command = re.findall(r"```bash\n(pairsim train .*)\n```", text)
    assert len(command) == 1
    words = shlex.split(command[0])[1:]
    done = here(*[word if word != "RUN" else "again" for word in words], "--device", "cpu", cwd=run.parent)
    assert done.status == 0, done.err
    first, second = (
        json.loads((run.parent / name / "model/config.json").read_text())["weights_sha256"]
        for name in ("my run", "again")
    )
    assert first == second
    assert first in text


def test_an_evaluated_run(run: Path, place: Path) -> None:
    images = load_data(place / "pics", "test", image_size=(8, 8), channels=1)
    report = evaluate(SimilarityModel.from_pretrained(run), images.dataset)
    save_evaluation(run, report, data="pics", split="test", source=images.source, class_names=images.class_names)
    done = here("card", "my run", "--out", "card.md", "--title", "Mine", cwd=run.parent)
    assert done.status == 0, done.err
    assert done.out == "Wrote card.md. Read it, and add the licence.\n"
    assert "evaluate" not in done.err
    text = (run.parent / "card.md").read_text()
    assert f"| ROC AUC | {report.roc_auc:.3%} |" in text
    assert "are the test images of its data, which training does not use" in text
    assert "evaluated on seen classes only (3 of 3)" in text
    assert not (run / "model" / "README.md").exists()


def test_refusals(run: Path) -> None:
    assert here("card", "my run", cwd=run.parent).status == 0
    said = failure(here("card", "my run", cwd=run.parent), 1)
    assert "my run/model/README.md already exists and may have been edited. Pass --overwrite" in said
    assert here("card", "my run", "--overwrite", cwd=run.parent).status == 0
    assert "Expected a model or run folder at pics" in failure(here("card", "pics", cwd=run.parent), 1)
    assert "--help" in failure(here("card", cwd=run.parent), 2)


def test_evaluate_keeps_its_figures_for_the_card(run: Path) -> None:
    assert load_evaluation(run) is None
    done = here("evaluate", run, "pics", "--json", cwd=run.parent)
    found = load_evaluation(run)
    assert found is not None
    assert (found.data, found.split, found.class_names) == ("pics", "test", ("a|b", "c", "d e"))
    assert {**found.figures, "left_out": done.json["left_out"]} == done.json
    assert here("evaluate", run, "pics", "--threshold", "0.9", cwd=run.parent).status == 0
    assert load_evaluation(run) == found  # figures at another threshold are not the model's
