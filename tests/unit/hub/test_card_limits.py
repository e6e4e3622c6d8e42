from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from pairsim.hub.card_limits import image_kind, limits
from pairsim.runs.run_records import Evaluation, RunRecords

CLASSES = ("a", "b", "c|d")
TRAINED = RunRecords(
    name="run",
    model_folder=Path("run/model"),
    model={
        "preprocessing": {"image_size": [8, 12], "channels": 1},
        "operating_point": {"num_negative": 600, "source": "validation pairs"},
        "calibration": {"prior": 0.02},
    },
    run={},
    config={},
    data={"data": "/home/me/faces", "source": "/home/me/faces/train", "class_names": list(CLASSES)},
    epochs=(),
    seconds=None,
    evaluation=None,
)
EVALUATED = Evaluation(
    figures={}, data="/home/me/faces", split="test", source="/home/me/faces/test", class_names=CLASSES
)


def text(model: dict[str, Any] | None = None, **evaluation: Any) -> str:
    """Return the limits of a run whose model and evaluation are changed."""
    stored = dataclasses.replace(EVALUATED, **evaluation)
    return "\n".join(limits(dataclasses.replace(TRAINED, model={**TRAINED.model, **(model or {})}, evaluation=stored)))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, r"are the test images of its data, which training does not use"),
        ({"split": "train"}, r"from images that it was trained on\. Results on new images may be worse"),
        ({"split": "val"}, r"from images that its epoch was chosen by"),
        (
            {"data": "/other/faces", "source": "/other/faces/test"},
            r"another name or folder \(faces\) than the training",
        ),
        ({"data": "mnist", "source": "mnist (/data)"}, r"another name or folder \(mnist\) than the training"),
        ({"data": "", "source": ""}, r"not recorded whether training used the images"),
        ({}, r"evaluated on seen classes only \(3 of 3\)\. Its quality on classes .* is not measured"),
        ({"class_names": ("new", "a")}, r"Of the 2 classes that it was evaluated on, 1 are unseen"),
        ({"class_names": ("new", "newer")}, r"evaluated on unseen classes only \(2\)"),
        ({"class_names": ()}, r"Its quality on classes that were not in the training data is not measured"),
    ],
)
def test_limits_of_an_evaluation(changes: dict[str, Any], expected: str) -> None:
    assert re.search(expected, text(**changes))
    assert "home" not in text(**changes)


@pytest.mark.parametrize("evaluation", [None, dataclasses.replace(EVALUATED, of_these_weights=False)])
def test_without_an_evaluation_of_these_weights(evaluation: Evaluation | None) -> None:
    found = "\n".join(limits(dataclasses.replace(TRAINED, evaluation=evaluation)))
    assert "It was not evaluated: its quality on new images is not measured." in found
    assert "under Evaluation" not in found


def test_the_share_of_positive_pairs() -> None:
    assert "Its probabilities hold where 2.000% of pairs are positive" in text()
    assert "Its probabilities hold where 50.000% of pairs are positive" in text({"calibration": None})


def test_the_threshold() -> None:
    assert "on 600 negative pairs" in text()
    assert "an FMR below 0.005 could not be distinguished from zero (rule of three)" in text()
    assert "chosen on the images under Evaluation" not in text()
    assert "Its threshold was not chosen on data" in text({"operating_point": None})
    same = {"operating_point": {"num_negative": 600, "source": "test images of /home/me/faces, FMR of at most 0.01"}}
    assert "Its threshold was chosen on the images under Evaluation, so figures at it are too good." in text(same)
    assert "chosen on the images under Evaluation" not in text(same, split="val")


def test_the_weakest_classes_are_at_most_three_and_escaped() -> None:
    rows = [{"name": name, "fnmr": 0.25, "fmr": None} for name in ("c|d", "a", "b", "e")]
    expected = r"classes c\|d (FNMR 25.000%, FMR not measured); a (FNMR 25.000%, FMR not measured); b (FNMR"
    assert expected in text(figures={"weakest_classes": rows})
    assert "; e (" not in text(figures={"weakest_classes": rows})
    assert "It made the most errors" not in text()


def test_image_kind() -> None:
    assert image_kind(TRAINED) == "grey images of 8 x 12 pixels (height x width)"
    assert "Other images are resized, and colour is dropped." in text()
    for channels, expected in ((3, "colour images of"), (4, "images of 4 channels of")):
        changed = {"preprocessing": {"image_size": [8, 12], "channels": channels}}
        assert f"It takes {expected} 8 x 12 pixels (height x width). Other images are resized." in text(changed)
        assert "It sees the central" not in text(changed)
    part = {"preprocessing": {"image_size": [8, 12], "channels": 3, "central_fraction": 0.6}}
    assert "It sees the central 60% of their height and width." in text(part)
