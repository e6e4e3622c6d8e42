from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from report_data import labelled_images

from pairsim import SimilarityModel, evaluate
from pairsim.data import ImageTensors, PairDataset
from pairsim.evaluation import label_agreement
from pairsim.report.findings import STEPS_PER_UNIT, Findings, find


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> SimilarityModel:
    return SimilarityModel.from_pretrained(tiny_run)


@pytest.fixture(scope="module")
def findings(model: SimilarityModel) -> Findings:
    return find(model, labelled_images(4), most=3)


def test_figures_are_those_of_evaluate(model: SimilarityModel, findings: Findings) -> None:
    assert findings.figures == evaluate(model, labelled_images(4))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_every_threshold_has_the_counts_of_evaluate(model: SimilarityModel, findings: Findings, share: float) -> None:
    index = int(share * (len(findings.thresholds) - 1))
    report = evaluate(model, labelled_images(4), threshold=float(findings.thresholds[index]))
    num_negative = report.num_pairs - report.num_positive
    assert findings.matching_negative[index] == round(report.fmr * num_negative)
    assert report.num_positive - findings.matching_positive[index] == round(report.fnmr * report.num_positive)


def test_thresholds_reach_from_the_lowest_similarity_to_one(model: SimilarityModel, findings: Findings) -> None:
    assert findings.matching_positive[0] == findings.figures.num_positive
    assert findings.thresholds[-1] == 1.0
    assert np.diff(findings.thresholds) == pytest.approx(1 / STEPS_PER_UNIT)
    assert findings.thresholds[0] <= model.threshold
    assert findings.histogram.edges[0] == findings.thresholds[0]
    assert findings.histogram.positive_share.sum() == pytest.approx(1.0)


def test_curves_have_the_error_rates_of_their_thresholds(model: SimilarityModel, findings: Findings) -> None:
    curve = findings.curve
    assert len(curve.fmr) <= 400
    report = evaluate(model, labelled_images(4), threshold=float(curve.thresholds[len(curve.fmr) // 2]))
    assert (curve.fmr[len(curve.fmr) // 2], curve.fnmr[len(curve.fmr) // 2]) == pytest.approx((report.fmr, report.fnmr))
    assert findings.reliability.error == pytest.approx(findings.figures.ece)


def test_errors_are_the_worst_and_have_their_pictures(model: SimilarityModel, findings: Findings) -> None:
    num_negative = findings.figures.num_pairs - findings.figures.num_positive
    assert findings.num_false_matches == round(findings.figures.fmr * num_negative)
    assert len(findings.false_matches) == min(3, findings.num_false_matches)
    similarities = [error.similarity for error in findings.false_matches]
    assert similarities == sorted(similarities, reverse=True)
    labels = labelled_images(4).targets
    for error in findings.false_matches:
        first, second = error.images
        assert first.name != second.name
        assert [first.name, second.name] == [str(labels[first.number]), str(labels[second.number])]
        assert error.similarity >= model.threshold
        assert 0.0 <= error.probability <= 1.0
        assert all(image.uri.startswith("data:image/png;base64,") for image in error.images)


def test_suspects_are_more_similar_to_another_class(model: SimilarityModel, findings: Findings) -> None:
    images = labelled_images(4)
    agreement = label_agreement(model.encode(images.images), images.targets)
    assert findings.num_suspects == int((agreement.score > 0).sum())
    assert [suspect.image.number for suspect in findings.suspects] == np.argsort(-agreement.score)[:3].tolist()
    for suspect in findings.suspects:
        assert suspect.margin == pytest.approx(float(agreement.score[suspect.image.number]), abs=1e-5)
        assert suspect.proposed != suspect.image.name


def test_one_class_has_no_suspects(model: SimilarityModel) -> None:
    findings = find(model, labelled_images(1))
    assert (findings.suspects, findings.num_suspects, findings.num_false_matches) == ((), 0, 0)


def test_names_replace_labels_in_their_order(model: SimilarityModel) -> None:
    images = ImageTensors(labelled_images(2).images, ["b", "a"] * 30)
    assert [row.name for row in find(model, images, names=["first", "second"]).classes] == ["first", "second"]
    assert {row.name for row in find(model, images).classes} == {"a", "b"}


def test_given_pairs_have_errors_and_kinds_but_no_classes(model: SimilarityModel) -> None:
    images = labelled_images(4)
    drawn = PairDataset(images, num_pairs=200).all_pairs()
    kinds = ["" if target else "drawn" for target in drawn.target]
    pairs = PairDataset.from_pairs(images, drawn.first, drawn.second, drawn.target, kind=kinds)
    found = find(model, pairs, most=3)
    assert found.figures == evaluate(model, pairs)
    assert list(found.figures.kinds) == ["drawn"]
    assert (found.classes, found.suspects, found.num_suspects) == ((), (), 0)
    negatives = found.figures.num_pairs - found.figures.num_positive
    assert found.num_false_matches == round(found.figures.fmr * negatives)
    assert found.num_false_non_matches == round(found.figures.fnmr * found.figures.num_positive)
    listed = {frozenset(pair) for pair in zip(drawn.first.tolist(), drawn.second.tolist(), strict=True)}
    for error in (*found.false_matches, *found.false_non_matches):
        assert frozenset(image.number for image in error.images) in listed
        assert error.images[0].name == str(error.images[0].number)
