"""The audit on images whose wrong labels are known."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer
from pairsim.audits import label_audit
from pairsim.audits.label_audit import LabelAudit, audit_labels
from pairsim.data import ClassIndex, ImageTensors
from pairsim.errors import DataError
from pairsim.evaluation.errors.label_agreement import label_agreement

Array = npt.NDArray[Any]
QUICK = TrainConfig(epochs=3, batch_size=32, learning_rate=3e-3, progress=False)


def flipped(count: int = 180, classes: int = 3, every: int = 30) -> tuple[torch.Tensor, Array, Array]:
    """Noisy copies of a picture for each class, labels of which every so many are wrong, and the true labels."""
    generator = torch.Generator().manual_seed(3)
    templates = torch.randint(0, 256, (classes, 1, 16, 16), generator=generator).float()
    true = np.arange(count) % classes
    noise = torch.randn(count, 1, 16, 16, generator=generator) * 40
    images = (templates[true] + noise).clamp(0, 255).to(torch.uint8)
    labels = true.copy()
    labels[::every] = (labels[::every] + 1) % classes
    return images, labels, true


def assert_finds_the_flips(audit: LabelAudit, labels: Array, true: Array, names: Array | None = None) -> None:
    names = np.arange(10) if names is None else names
    wrong = np.flatnonzero(labels != true)
    assert audit.num_suspects == len(wrong)
    assert set(audit.images[: len(wrong)].tolist()) == set(wrong.tolist())
    assert (audit.given == names[labels[audit.images]]).all()
    assert (audit.proposed == names[true[audit.images]]).all()
    assert (np.diff(audit.score) <= 0).all()
    assert sorted(audit.images.tolist()) == list(range(len(labels)))


def test_audit_by_trained_models() -> None:
    images, labels, true = flipped()
    before = torch.random.get_rng_state()
    audit = audit_labels(ImageTensors(images, labels), config=QUICK)
    assert torch.equal(before, torch.random.get_rng_state())
    assert_finds_the_flips(audit, labels, true)
    assert audit.notes == ("Judged out-of-fold by 3 models, each trained on the images of the other folds.",)
    again = audit_labels(ImageTensors(images, labels), config=QUICK)
    assert np.array_equal(again.images, audit.images)
    assert np.array_equal(again.score, audit.score)


def test_audit_by_a_given_model() -> None:
    images, labels, true = flipped()
    model = SimilarityModel(EmbeddingNet(image_size=16))
    Trainer(model, QUICK, train=ImageTensors(images, true)).fit()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    audit = audit_labels(ImageTensors(images, labels), model=model)
    assert_finds_the_flips(audit, labels, true)
    assert "Not out-of-fold" in audit.notes[0]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_labels_may_be_given_and_may_be_text() -> None:
    images, labels, true = flipped()
    names = np.array(["owl", "cat", "eel"])
    listed = [(image, 9) for image in images]
    for dataset in (ImageTensors(images, [9] * len(images)), listed):
        audit = audit_labels(dataset, labels=names[labels].tolist(), config=QUICK, folds=2)
        assert_finds_the_flips(audit, labels, true, names)


def test_each_image_is_judged_by_models_that_never_saw_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    images, labels, _ = flipped(60)
    images[:, 0, 0, 0] = torch.arange(60)
    seen: list[set[int]] = []
    judged: list[tuple[set[int], set[int]]] = []

    class Recorded(Trainer):
        def __init__(self, model: SimilarityModel, config: TrainConfig | None = None, *, train: Any) -> None:
            super().__init__(model, config, train=train)
            seen.append(set(train.dataset.images[:, 0, 0, 0].tolist()))

    def number_codes(_: SimilarityModel, dataset: Any, **options: Any) -> torch.Tensor:
        angle = torch.arange(len(dataset), dtype=torch.float64) / len(dataset)
        return torch.stack((angle.cos(), angle.sin()), dim=1)

    def recorded(embeddings: Array, codes: Array, *, query: tuple[Array, Array]) -> Any:
        numbers = [{round(math.acos(row[0]) * 60) for row in part} for part in (embeddings, query[0])]
        judged.append((numbers[0], numbers[1]))
        return label_agreement(embeddings, codes, query=query)

    monkeypatch.setattr(label_audit, "Trainer", Recorded)
    monkeypatch.setattr(label_audit, "encode_dataset", number_codes)
    monkeypatch.setattr(label_audit, "label_agreement", recorded)
    config = TrainConfig(epochs=1, out=tmp_path, progress=False)
    audit_labels(ImageTensors(images, labels), config=config, folds=4)
    everything = set(range(60))
    assert [gallery for gallery, _ in judged] == seen
    assert all(held == everything - gallery for gallery, held in judged)
    assert sorted(number for _, held in judged for number in held) == sorted(everything)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"fold-{fold}" for fold in range(4)]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(2, 6), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_folds_are_even_within_classes_and_over_all(labels: list[int], folds: int, seed: int) -> None:
    index = ClassIndex.from_labels(np.array(labels))
    fold_of = label_audit._folds(index, folds, seed)
    for group in (np.ones(len(labels), bool), *(np.array(labels) == label for label in set(labels))):
        sizes = np.bincount(fold_of[group], minlength=folds)
        assert sizes.max() - sizes.min() <= 1
    assert np.array_equal(fold_of, label_audit._folds(index, folds, seed))


def test_an_image_alone_in_its_class_is_not_judged() -> None:
    images, labels, _ = flipped()
    labels[100] = 7
    audit = audit_labels(ImageTensors(images, labels), config=QUICK)
    assert audit.not_judged == (100,)
    assert 100 not in audit.images
    assert len(audit) == 179
    assert audit.to_dict()["num_images"] == 180


def audit_of(count: int) -> LabelAudit:
    return LabelAudit(
        images=np.arange(count)[::-1].astype(np.int64),
        given=np.array(["a"] * count),
        proposed=np.array(["b"] * (count - 1) + ["a"]),
        score=np.linspace(0.9, -0.5, count).clip(0.1) * np.where(np.arange(count) < count - 1, 1, -1),
        notes=("A note.",),
    )


def test_ranking_as_text_json_and_table(tmp_path: Path) -> None:
    audit = audit_of(30)
    lines = str(audit).splitlines()
    assert lines[:3] == [
        "29 of 30 images are more like those of another label.",
        "A note.",
        "  image 29  0.900  a -> b",
    ]
    assert len(lines) == 23
    assert lines[-1] == "  and 9 more"
    found = json.loads(json.dumps(audit.to_dict(2)))
    assert found["suspects"][0] == {"image": 29, "given": "a", "proposed": "b", "score": 0.9}
    assert (len(found["suspects"]), found["num_suspects"], found["num_images"]) == (2, 29, 30)
    assert len(audit.to_dict()["suspects"]) == 29
    assert len(audit.rows(1000)) == 30
    audit.to_csv(tmp_path / "audit.csv", 3)
    with open(tmp_path / "audit.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["29", "28", "27"]
    assert float(rows[0]["score"]) == 0.9
    assert "0 of 1 images" in str(audit_of(1))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"folds": 1}, ValueError, "Expected folds to be a whole number of at least 2, got 1"),
        ({"folds": 2.5}, ValueError, "Expected folds to be a whole number of at least 2, got 2.5"),
        ({"model": SimilarityModel(), "config": QUICK}, ValueError, "Expected model or config, got both"),
        ({"labels": [0] * 180}, DataError, "Expected images of at least two classes, found only 0"),
        ({"labels": [0, 1]}, DataError, "Expected one label for each of 180 images, found 2"),
    ],
)
def test_audit_says_what_does_not_fit(options: dict[str, Any], error: type[Exception], message: str) -> None:
    images, labels, _ = flipped()
    with pytest.raises(error, match=message):
        audit_labels(ImageTensors(images, labels), **options)


def test_given_labels_replace_those_of_any_dataset() -> None:
    images, labels, _ = flipped(30)
    expected = audit_labels(ImageTensors(images, labels), config=QUICK, folds=2)
    for dataset in (ImageTensors(images, [3] * 30), list(images), [(image, 3) for image in images]):
        audit = audit_labels(dataset, labels=labels, config=QUICK, folds=2)
        assert np.array_equal(audit.images, expected.images)
        assert np.array_equal(audit.given, expected.given)
