"""All that is done with pictures is done with embeddings of another model too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from picture_files import folder_of_classes
from quick_heads import few_head_steps
from run_command import Result, failure, here

from pairsim import SimilarityModel, evaluate
from pairsim.data.named.embedding_files import load
from pairsim.runs import read_run
from pairsim.runs.run_records import training_command

CENTRES = np.random.default_rng(1).normal(size=(20, 12))


def write(file: Path, classes: range, number: int, *, labelled: bool = True) -> None:
    """Write some embeddings around the centre of each class."""
    labels = np.repeat(classes, number)
    noise = np.random.default_rng(classes.start + number).normal(size=(len(labels), 12))
    columns: dict[str, Any] = {
        "embeddings": 4 * (CENTRES[labels] + 0.2 * noise),
        "ids": [f"{file.stem}{k}" for k in range(len(labels))],
    }
    if labelled:
        columns["labels"] = [f"p{label:02d}" for label in labels]
    np.savez(file, **columns)


@pytest.fixture(scope="module", autouse=True)
def _few_head_steps() -> Iterator[None]:
    with few_head_steps():
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of embeddings, and a run on one of them."""
    folder = tmp_path_factory.mktemp("embeddings")
    write(folder / "train.npz", range(12), 10)
    write(folder / "val.npz", range(12, 16), 6)
    write(folder / "test.npz", range(16, 20), 7)
    write(folder / "gallery.npz", range(16, 20), 1, labelled=False)
    write(folder / "query.npz", range(16, 20), 2, labelled=False)
    done = here("train", "train.npz", "--out", "run", "--epochs", "4", "--precision", "fp32", cwd=folder)
    assert done.status == 0, done.err
    return folder


def succeeded(done: Result) -> Result:
    assert done.status == 0, done.err
    return done


def test_another_file_is_evaluated_whole(place: Path) -> None:
    found = succeeded(here("evaluate", "run", "test.npz", "--json", cwd=place)).json
    assert (found["num_images"], found["num_positive"]) == (28, 4 * 21)
    model = SimilarityModel.from_pretrained(place / "run")
    vectors = torch.from_numpy(np.load(place / "test.npz")["embeddings"])[:, :, None, None].float()
    labels = np.load(place / "test.npz")["labels"]
    similarity = model.similarity_matrix(vectors).numpy()
    upper = np.triu_indices(28, k=1)
    same = (labels[:, None] == labels)[upper]
    area = (similarity[upper][same][:, None] > similarity[upper][~same]).mean()
    assert found["roc_auc"] == pytest.approx(float(area), abs=1e-4)


def test_given_pairs_are_of_row_numbers(place: Path) -> None:
    (place / "pairs.csv").write_text("0,1,1\n0,2,1\n0,27,0\n7,14,0\n")
    found = succeeded(here("evaluate", "run", "test.npz", "--pairs", "pairs.csv", "--json", cwd=place)).json
    assert (found["num_pairs"], found["num_positive"], found["roc_auc"]) == (4, 2, 1.0)


def test_the_file_of_training_is_split(place: Path) -> None:
    assert succeeded(here("evaluate", "run", "train.npz", "--json", cwd=place)).json["num_images"] == 24
    val = succeeded(here("evaluate", "run", "train.npz", "--split", "val", "--json", cwd=place)).json
    assert (val["num_images"], val["num_classes"]) == (16, 2)
    (place / "copy.npz").write_bytes((place / "train.npz").read_bytes())
    assert succeeded(here("evaluate", "run", "copy.npz", "--json", cwd=place)).json["num_images"] == 24


def test_classes_are_kept_unseen(place: Path) -> None:
    done = here("train", "train.npz", "--out", "unseen", "--unseen", "0.5", "--epochs", "1", "--no-report", cwd=place)
    succeeded(done)
    found = succeeded(here("evaluate", "unseen", "train.npz", "--json", cwd=place)).json
    assert (found["num_images"], found["num_classes"], found["unseen_classes"]) == (60, 6, 6)
    assert succeeded(here("evaluate", "unseen", "test.npz", "--json", cwd=place)).json["num_images"] == 28
    message = failure(here("train", "train.npz", "--out", "no", "--groups", "p", cwd=place), 1)
    assert "Expected a folder with groups, got the file of embeddings train.npz" in message


def test_calibrate(place: Path) -> None:
    succeeded(here("train", "train.npz", "--out", "two", "--epochs", "1", "--no-report", cwd=place))
    done = succeeded(here("calibrate", "two", "val.npz", "--target-fmr", "0.1", "--json", cwd=place))
    model = SimilarityModel.from_pretrained(place / "two")
    assert done.json["threshold"] == model.threshold
    report = evaluate(model, load(place / "val.npz", "all", model.preprocessing))
    assert report.num_images == 24
    assert report.fmr <= 0.1


def test_reports_say_that_there_are_no_pictures(place: Path) -> None:
    for page in ("run/report.html", "r.html"):
        if page == "r.html":
            succeeded(here("report", "run", "test.npz", "--out", page, cwd=place))
        text = (place / page).read_text()
        assert "There are no pictures, as the data are embeddings of another model." in text
        assert "<img" not in text


def test_search(place: Path) -> None:
    found = succeeded(here("search", "run", "gallery.npz", "query.npz", "--top", "2", "--json", cwd=place)).json
    assert [result["query"] for result in found["results"]] == [f"query{k}" for k in range(8)]
    assert [result["neighbors"][0]["id"] for result in found["results"]] == [f"gallery{k // 2}" for k in range(8)]
    succeeded(here("search", "run", "gallery.npz", "query.npz", "--save", "kept", cwd=place))
    again = succeeded(here("search", "run", "kept", "query.npz", "test.npz", "--top", "2", "--json", cwd=place)).json
    assert [result["neighbors"] for result in again["results"][:8]] == [r["neighbors"] for r in found["results"]]
    assert again["results"][8]["query"] == "test.npz: test0"
    assert "Expected a file of embeddings" in failure(here("search", "run", "gallery.npz", "a.png", cwd=place), 1)


def test_card_and_command(place: Path) -> None:
    succeeded(here("card", "run", cwd=place))
    text = (place / "run" / "model" / "README.md").read_text()
    assert "embeddings maps an embedding of another model to an embedding of 12 numbers" in text
    assert "model.similarity_matrix(vectors[:, :, None, None])" in text
    command = training_command(read_run(place / "run"))
    assert command is not None
    assert command.startswith("pairsim train train.npz --out RUN --objective")
    assert not any(option in command for option in ("--backbone", "--channels", "--image-size"))


def test_export(place: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from pairsim.export import load_onnx

    done = succeeded(here("export", "run", "--out", "net.onnx", cwd=place))
    assert "images as float32 [N, 12, 1, 1] to embeddings" in done.out
    vectors = np.load(place / "test.npz")["embeddings"][:, :, None, None].astype(np.float32)
    model = SimilarityModel.from_pretrained(place / "run")
    exported = load_onnx(place / "net.onnx")
    np.testing.assert_allclose(exported.embed(vectors), model.encode(torch.from_numpy(vectors)).numpy(), atol=1e-5)
    with pytest.raises(ValueError, match=r"Expected images as float32 \[N, 12, 1, 1\]"):
        exported.embed(vectors.astype(np.uint8))


def test_embeddings_of_another_length(place: Path) -> None:
    np.savez(place / "short.npz", embeddings=np.eye(4), labels=[0, 0, 1, 1])
    message = failure(here("evaluate", "run", "short.npz", cwd=place), 1)
    assert "Expected embeddings of 12 numbers, as the model was trained on, found 4 in short.npz" in message


@pytest.mark.parametrize(
    "call",
    [
        "compare run pics/a/0.png pics/a/1.png",
        "encode run pics --out e.npz",
        "encode run pics --out e.npz --on-error skip",
        "gallery add shop pics --run run",
        "evaluate run pics",
    ],
)
def test_pictures_for_a_model_of_embeddings(call: str, place: Path) -> None:
    folder_of_classes(place / "pics", ("a", "b"))
    said = failure(here(*call.split(), cwd=place), 1)
    assert "got 12. A model of embeddings, which has others, takes no pictures: give it a file of embeddings to" in said
    assert not (place / "shop").exists()


def test_pairs_of_embeddings_in_both_lists_are_noted(place: Path) -> None:
    for name, rows in (("a", "0,1,1\n0,20,0\n1,30,0\n"), ("b", "1,2,1\n5,40,0\n")):
        (place / f"{name}.csv").write_text(f"first,second,target\n{rows}")
    lists = ("--pairs", "a.csv", "--val-pairs", "b.csv", "--epochs", "1", "--no-report")
    done = succeeded(here("train", "train.npz", *lists, "--out", "paired", cwd=place))
    assert "1 picture is in a.csv and in b.csv: results on the latter will look better" in done.err


@pytest.mark.parametrize(("options", "expected"), [(("--head", "none"), 12), (("--embedding-dim", "5"), 5)])
def test_the_head_and_the_length_asked_for(place: Path, options: tuple[str, str], expected: int) -> None:
    out = f"run{expected}"
    succeeded(here("train", "train.npz", "--out", out, "--epochs", "1", "--no-report", *options, cwd=place))
    model = SimilarityModel.from_pretrained(place / out)
    assert model.encode(load(place / "test.npz", "all", None).dataset.images).shape[1] == expected
