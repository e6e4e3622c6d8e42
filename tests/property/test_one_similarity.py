"""Every way to compare two images gives the same similarity, and the same verdict at and around the threshold."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from pairsim import EmbeddingNet, Gallery, SimilarityModel, encode_dataset, evaluate, verify_pairs
from pairsim._common.unit_similarity import MATCH_TOLERANCE, lowest_match, similarity_matrix
from pairsim.data import ImageTensors, PairDataset
from pairsim.images import Preprocessing
from pairsim.search.exact_search import nearest

SIZE, COUNT = 12, 6
PAIRS = list(itertools.combinations(range(COUNT), 2))
AGREEMENT = 2.0**-20
"""How far similarities of the same images may differ between batch sizes, or between the net and its copy."""


@contextmanager
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_model(backbone: bool) -> SimilarityModel:
    """A net with statistics as training leaves them, so that folding batch norm rounds."""
    torch.manual_seed(11)
    net = (
        EmbeddingNet("timm/resnet10t", image_size=SIZE, in_channels=3, embedding_dim=24)
        if backbone
        else EmbeddingNet(image_size=SIZE, in_channels=3, embedding_dim=24)
    )
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2.0)
    preprocessing = Preprocessing(image_size=(SIZE, SIZE), channels=3, mean=(0.5,) * 3, std=(0.3,) * 3)
    return SimilarityModel(net, preprocessing=preprocessing).eval()


class Doors:
    """All ways to compare the images of a folder."""

    def __init__(self, folder: Path, *, backbone: bool) -> None:
        self.model = make_model(backbone)
        shape = (COUNT, 3, SIZE, SIZE)
        self.images = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
        self.paths = [folder / f"{number}.png" for number in range(COUNT)]
        for path, image in zip(self.paths, self.images, strict=True):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
        self.gallery = Gallery(self.model)
        self.gallery.add(self.images, list(range(COUNT)))
        labels = np.arange(COUNT) % 3
        self.dataset = ImageTensors(self.images, labels)
        first, second = (np.array(column) for column in zip(*PAIRS, strict=True))
        target = (labels[first] == labels[second]).astype(np.uint8)
        self.given = PairDataset.from_pairs(self.dataset, first, second, target)

    def similarities(self, i: int, j: int, batch_size: int) -> dict[str, float]:
        """Of one pair, by every way that returns a number."""
        model, images = self.model, self.images
        first, second = images[i : i + 1], images[j : j + 1]
        found = self.gallery.search(images[i : i + 1], COUNT)
        found_in_batch = self.gallery.search(images, COUNT, batch_size=batch_size)
        given_path = verify_pairs(model, [(self.paths[i], self.paths[j])], threshold=0.0)
        every_path = verify_pairs(model, [(self.paths[a], self.paths[b]) for a, b in PAIRS], threshold=0.0)
        with torch.no_grad():
            raw = model.get_raw_similarity(first, second).item()
            raw_in_batch = model.get_raw_similarity(images, images[j : j + 1].expand_as(images))[i].item()
        return {
            "verify of tensors": model.verify(first, second).similarity,
            "verify of pixels": model.verify(images[i], images[j]).similarity,
            "verify of files": model.verify(self.paths[i], self.paths[j]).similarity,
            "verify_pairs of one": float(given_path.similarity[0]),
            "verify_pairs of all": float(every_path.similarity[PAIRS.index((i, j))]),
            "get_raw_similarity": raw,
            "get_raw_similarity in a batch": raw_in_batch,
            "similarity_matrix": model.similarity_matrix(images, batch_size=batch_size)[i, j].item(),
            "Gallery.search": found.similarities[0, found.ids[0].index(j)].item(),
            "Gallery.search in a batch": found_in_batch.similarities[i, found_in_batch.ids[i].index(j)].item(),
        }

    def matches(self, threshold: float, batch_size: int) -> dict[str, int]:
        """How many pairs match, by every way that decides on all pairs."""
        model = self.model
        listed = verify_pairs(model, [(self.paths[a], self.paths[b]) for a, b in PAIRS], threshold=threshold)
        counts = {
            "verify": sum(model.verify(self.images[a], self.images[b], threshold).match for a, b in PAIRS),
            "verify_pairs": int(listed.match.sum()),
        }
        for name, data in (("evaluate", self.dataset), ("evaluate of given pairs", self.given)):
            report = evaluate(model, data, threshold=threshold, batch_size=batch_size)
            negative = report.num_pairs - report.num_positive
            counts[name] = round((1 - report.fnmr) * report.num_positive + report.fmr * negative)
        return counts


@pytest.fixture(
    scope="module",
    params=[pytest.param(False, id="reference"), pytest.param(True, id="resnet10t", marks=pytest.mark.slow)],
)
def doors(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    with one_thread():
        yield Doors(tmp_path_factory.mktemp("pictures"), backbone=request.param)


SHARED = settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
OFFSETS = [0.0, 2.0**-24, -(2.0**-24), 2.0**-21, -(2.0**-21)]


@given(st.sampled_from(PAIRS), st.integers(1, COUNT), st.data())
@SHARED
def test_a_pair_at_the_threshold_is_a_match_everywhere(
    doors: Doors, pair: tuple[int, int], batch_size: int, data: st.DataObject
) -> None:
    found = doors.similarities(*pair, batch_size)
    assert max(found.values()) - min(found.values()) <= AGREEMENT
    threshold = found[data.draw(st.sampled_from(sorted(found)))] + data.draw(st.sampled_from(OFFSETS))
    assert {name: value >= lowest_match(threshold) for name, value in found.items()} == dict.fromkeys(found, True)
    counts = doors.matches(threshold, batch_size)
    assert len(set(counts.values())) == 1, counts
    # beyond the tolerance it is a match nowhere
    above = threshold + 2 * MATCH_TOLERANCE
    assert not any(value >= lowest_match(above) for value in found.values())
    fewer = doors.matches(above, batch_size)
    assert len(set(fewer.values())) == 1, fewer
    assert fewer["verify"] < counts["verify"]


def test_pairs_of_the_pool_are_apart(doors: Doors) -> None:
    """Else another pair could lie at the edge of the tolerance, where nothing is promised."""
    values = np.sort([doors.model.verify(doors.images[a], doors.images[b]).similarity for a, b in PAIRS])
    assert float(np.diff(values).min()) > 8 * MATCH_TOLERANCE


def test_equal_embeddings_give_equal_bits(doors: Doors) -> None:
    model = doors.model
    embeddings = model.encode(doors.images)
    matrix = similarity_matrix(embeddings, embeddings)
    assert torch.equal(model.similarity_matrix(doors.images), matrix)
    found = doors.gallery.search_embeddings(embeddings, COUNT)
    for row, names in enumerate(found.ids):
        assert torch.equal(found.similarities[row], matrix[row, torch.tensor(names)])
    scores, rows = nearest(embeddings, embeddings, COUNT)
    assert torch.equal(scores.clamp(-1.0, 1.0).float(), matrix.gather(1, rows))
    encoded = encode_dataset(model, doors.dataset)
    assert torch.equal(encoded, embeddings)


def test_one_pair_has_the_same_bits_in_all_that_run_the_net_on_it(doors: Doors) -> None:
    model = doors.model
    for a, b in PAIRS:
        first, second = doors.images[a : a + 1], doors.images[b : b + 1]
        similarity = model.get_raw_similarity(first, second)
        verdict = model.verify(first, second)
        assert verdict.similarity == similarity.item()
        assert model.verify(doors.paths[a], doors.paths[b]) == verdict
        assert model.predict_proba(first, second).item() == verdict.probability
        assert torch.equal(model.predict_proba(first, second), model.probability(similarity.detach()))
        model.similarity_matrix(doors.images)  # makes a copy, which must not change the next verdict
        assert model.verify(first, second) == verdict


def test_in_training_mode_too(doors: Doors) -> None:
    model = doors.model
    a, b = PAIRS[0]
    expected = model.verify(doors.images[a], doors.images[b])
    model.train()
    try:
        found = model.verify(doors.images[a], doors.images[b], threshold=expected.similarity)
        assert model.training
    finally:
        model.eval()
    assert found.match
    assert found.similarity == pytest.approx(expected.similarity, abs=AGREEMENT)


def test_exported_files_agree_within_their_tolerance(doors: Doors, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from pairsim.export import export_onnx, load_onnx

    exported = export_onnx(doors.model, tmp_path / "pair.onnx", kind="pair")
    assert exported.max_difference is not None
    onnx: Any = load_onnx(exported.path, threads=1)
    for a, b in PAIRS:
        first, second = doors.images[a : a + 1], doors.images[b : b + 1]
        verdict = doors.model.verify(first, second)
        similarity, probability = (float(value[0]) for value in onnx.compare(first.numpy(), second.numpy()))
        assert similarity == pytest.approx(verdict.similarity, abs=1e-5)
        assert probability == pytest.approx(verdict.probability, abs=1e-4)
        for threshold in (verdict.similarity - 2e-5, verdict.similarity + 2e-5):
            assert (similarity >= threshold) == doors.model.verify(first, second, threshold).match
        assert not math.isnan(similarity)
