"""What `adapt` says of its result."""

import json

import numpy as np
import pytest
import torch

from pairsim import Adaptation
from pairsim.data import ImageTensors, LabelledImages
from pairsim.training import History
from pairsim.training.adaptation.class_figures import ClassFigures
from pairsim.training.adaptation.head_choice import Head, HeadResult
from pairsim.training.adaptation.part_choice import PartResult


def figures(eer: float) -> ClassFigures:
    return ClassFigures(eer, 0.5, np.full(10, eer))


def make_result(*, central_fraction: float = 1.0, fine_tuned: bool = True) -> Adaptation:
    images = ImageTensors(torch.zeros(4, 2, 2, dtype=torch.uint8), [0, 0, 1, 1])
    return Adaptation(
        kept="trained" if fine_tuned else "frozen",
        head="none",
        central_fraction=central_fraction,
        parts=(PartResult(central_fraction=0.8, figures=figures(0.2), difference=(0.0, 0.0)),),
        heads=(HeadResult(head=Head(name="none"), figures=figures(0.3), difference=(0.01, 0.02)),),
        baseline=figures(0.3),
        frozen=figures(0.2),
        trained=figures(0.1) if fine_tuned else None,
        difference=(-0.15, -0.05) if fine_tuned else None,
        history=History(),
        val=LabelledImages.of(images),
    )


@pytest.mark.parametrize("fine_tuned", [True, False])
@pytest.mark.parametrize("central_fraction", [1.0, 0.8])
def test_lines(fine_tuned: bool, central_fraction: float) -> None:
    result = make_result(central_fraction=central_fraction, fine_tuned=fine_tuned)
    lines = result.outcome.splitlines()
    assert [line.split("  ")[1] for line in lines[1:3]] == ["backbone alone", "frozen, with head"]
    assert ("fine-tuned" in lines[3] and "EER differs by [-15.00%, -5.00%]" in lines[3]) == fine_tuned
    said = "The model sees the central 80% of height and width of an image."
    assert (lines[-2] == said) == (central_fraction < 1)
    assert lines[-1].startswith("Kept the fine-tuned net" if fine_tuned else "Kept the frozen backbone with head none")
    assert str(result).splitlines()[:2] == [
        "Parts of the image, cross-validated over the training classes:",
        "  central 80%           EER 20.00%  recall@1 0.500",
    ]


def test_values() -> None:
    values = json.loads(json.dumps(make_result(central_fraction=0.8).to_dict()))
    assert values["central_fraction"] == 0.8
    assert values["parts"] == [{"central_fraction": 0.8, "eer": 0.2, "recall_at_1": 0.5, "difference": [0.0, 0.0]}]
    assert values["heads"] == [{"head": "none", "eer": 0.3, "recall_at_1": 0.5, "difference": [0.01, 0.02]}]
    assert values["difference"] == [-0.15, -0.05]
