from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from grouped_images import grouped_images

from pairsim import EmbeddingNet, SimilarityModel, evaluate
from pairsim.data import ImageTensors
from pairsim.evaluation import GroupReport, group_errors
from pairsim.hub.card_evaluation import evaluation_of
from pairsim.runs.run_records import Evaluation, read_run


def text_of(tmp_path_factory: pytest.TempPathFactory, by_group: GroupReport | None) -> str:
    folder = tmp_path_factory.mktemp("card")
    model = SimilarityModel(EmbeddingNet(image_size=8))
    model.save_pretrained(folder)
    report = evaluate(model, ImageTensors(torch.randint(0, 256, (12, 8, 8), dtype=torch.uint8), [0, 1] * 6))
    figures = dataclasses.replace(report, by_group=by_group).to_dict()
    records = dataclasses.replace(read_run(folder), evaluation=Evaluation(figures=figures, data="faces"))
    return "\n".join(evaluation_of(records))


def test_groups_are_a_table_with_the_ratio(tmp_path_factory: pytest.TempPathFactory) -> None:
    vectors, labels, groups = grouped_images(0, 12)
    names = [None if label == 0 else name for label, name in zip(labels, groups, strict=True)]
    found = group_errors(vectors, labels, names, 0.4)
    text = text_of(tmp_path_factory, dataclasses.replace(found, by="the column site"))
    assert "On faces: all pairs of 12 images" in text
    assert "Groups by the column site, at the same threshold:" in text
    dense = next(row for row in found.groups if row.name == "dense")
    line = next(line for line in text.splitlines() if "dense" in line and "|" in line)
    assert f"| {dense.num_classes} | {dense.num_images} |" in line
    assert f"Images without a group: {found.num_ungrouped}." in text
    assert not math.isnan(found.worst_fmr.ratio)
    assert f"is {found.worst_fmr.ratio:.2f} times the geometric mean of all" in text


def test_too_few_classes_and_no_groups(tmp_path_factory: pytest.TempPathFactory) -> None:
    vectors, labels, groups = grouped_images(0, 4)
    assert "too few classes" in text_of(tmp_path_factory, group_errors(vectors, labels, groups, 0.4))
    assert "Groups" not in text_of(tmp_path_factory, None)
