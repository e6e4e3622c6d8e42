from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from pairsim.evaluation import few_shot, few_shot_accuracy


def _random(num_images: int, dim: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float64]]:
    vectors = np.random.default_rng(seed).normal(size=(num_images, dim))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@pytest.mark.parametrize("shots", [1, 2, 5])
def test_separated_classes_are_always_told_apart(shots: int) -> None:
    labels = np.arange(30 * 6) % 30
    found = few_shot_accuracy(np.eye(30)[labels], labels, shots=shots)
    assert (found.accuracy, found.num_episodes) == (1.0, 1000)
    assert found.interval == pytest.approx((1000 / (1000 + 1.959964**2), 1.0), abs=1e-9)


@pytest.mark.parametrize("ways", [2, 5, 20])
@pytest.mark.parametrize("shots", [1, 3])
def test_random_embeddings_are_right_one_time_in_ways(ways: int, shots: int) -> None:
    # The images are many, so that those drawn are as good as independent of the labels.
    found = few_shot_accuracy(_random(8000, 16), np.arange(8000) % 100, ways=ways, shots=shots, episodes=4000, seed=1)
    assert found.interval[0] < 1 / ways < found.interval[1]


@pytest.mark.parametrize("dim", [1, 3])
def test_equal_embeddings_do_not_look_good(dim: int) -> None:
    embeddings = np.tile(np.eye(dim)[:1], (200, 1))
    found = few_shot_accuracy(embeddings, np.arange(200) % 40, ways=10, shots=2, episodes=4000)
    assert found.interval[0] < 0.1 < found.interval[1]


def _exact(embeddings: Any, labels: list[int], ways: int, shots: int) -> float:
    """Accuracy over all episodes, tied classes taking equal shares."""
    images = {label: [i for i, other in enumerate(labels) if other == label] for label in set(labels)}
    hits, total = 0.0, 0
    for classes in itertools.combinations(sorted(images), ways):
        parts = [list(itertools.combinations(images[label], shots)) for label in classes]
        outcomes: list[float] = []
        for support in itertools.product(*parts):
            for place, label in enumerate(classes):
                for query in set(images[label]) - set(support[place]):
                    means = [sum(embeddings[query] @ embeddings[i] for i in part) / shots for part in support]
                    best = [k for k, mean in enumerate(means) if mean > max(means) - 1e-12]
                    outcomes.append((place in best) / len(best))
        hits, total = hits + sum(outcomes) / len(outcomes), total + 1
    return hits / total


@pytest.mark.parametrize(("ways", "shots"), [(2, 1), (3, 1), (2, 2)])
def test_share_of_all_episodes(ways: int, shots: int) -> None:
    labels = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    embeddings = _random(12, 3, seed=4)
    embeddings[4] = embeddings[1]
    embeddings[8] = embeddings[5]
    expected = _exact(embeddings, labels, ways, shots)
    found = few_shot_accuracy(embeddings, labels, ways=ways, shots=shots, episodes=20000, seed=2)
    # Four standard errors: a right program misses them for one seed in 16,000.
    assert found.accuracy == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 20000))
    assert found.interval[0] < found.accuracy < found.interval[1]


def test_interval_covers_the_share_of_all_episodes_as_often_as_it_says() -> None:
    labels, embeddings = [0, 0, 0, 1, 1, 1, 2, 2, 2], _random(9, 3, seed=4)
    expected = _exact(embeddings, labels, 2, 1)
    found = [few_shot_accuracy(embeddings, labels, ways=2, episodes=300, seed=seed).interval for seed in range(400)]
    covered = sum(low <= expected <= high for low, high in found) / len(found)
    # 95 %, with a standard error of 1.1 %.
    assert 0.91 <= covered <= 0.99


def test_by_hand() -> None:
    # Two classes of two images on a line: 0 and 40 degrees, 60 and 61 degrees. The query at 40 is nearer to class 1,
    # all others are nearer to their own; it is drawn one time in four.
    angles = np.deg2rad([0, 40, 60, 61])
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # Query 0: support 40 against 60 or 61, right. Query 60 (61): support 61 (60), right.
    found = few_shot_accuracy(embeddings, [5, 5, -3, -3], ways=2, episodes=8000)
    assert found.interval[0] < 0.75 < found.interval[1]


def test_more_shots_average_noise_away() -> None:
    labels = np.arange(600) % 20
    embeddings = np.eye(20)[labels] + _random(600, 20) * 1.5
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    one, five = (few_shot_accuracy(embeddings, labels, ways=10, shots=shots) for shots in (1, 5))
    assert one.interval[1] < five.interval[0]


def test_seed_decides_and_nothing_else() -> None:
    labels = np.arange(400) % 25
    embeddings = _random(400, 8)
    np.random.seed(0)  # noqa: NPY002
    one = few_shot_accuracy(embeddings, labels, seed=3)
    np.random.seed(1)  # noqa: NPY002
    assert few_shot_accuracy(torch.from_numpy(embeddings), torch.from_numpy(labels), seed=3) == one
    assert len({few_shot_accuracy(embeddings, labels, seed=seed).accuracy for seed in range(5)}) > 1


def test_chunks_of_episodes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, embeddings = np.arange(200) % 10, _random(200, 8)
    expected = few_shot_accuracy(embeddings, labels, ways=5, shots=3)
    monkeypatch.setattr(few_shot, "_CHUNK", 1)
    assert few_shot_accuracy(embeddings, labels, ways=5, shots=3) == expected


def test_draws_are_distinct_and_even() -> None:
    generator = np.random.Generator(np.random.PCG64(0))
    drawn = few_shot._distinct(generator, np.full(24_000, 4), 3)
    assert all(len(set(row)) == 3 for row in drawn.tolist())
    counts = Counter(map(tuple, drawn.tolist()))
    assert len(counts) == 24
    # 1,000 of each expected, standard deviation 31.
    assert max(abs(count - 1000) for count in counts.values()) < 150
    assert sorted(few_shot._distinct(generator, np.array([5]), 5)[0].tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"Expected at least 20 classes for 20 ways, got 3. Lower ways, or give more classes"),
        (
            {"ways": 2, "shots": 2},
            r"Expected at least 3 images of each class, 2 for the support and 1 query, got 2 of class 7 "
            r"\(2 such of 3 classes\). Leave these classes out, or lower shots",
        ),
        ({"ways": 1}, "Expected ways to be a whole number of at least 2, got 1. Use 20, say"),
        ({"ways": 2.0}, "Expected ways to be a whole number of at least 2, got 2.0"),
        ({"shots": 0}, "Expected shots to be a whole number of at least 1, got 0. Use 1, say"),
        ({"episodes": 0}, "Expected episodes to be a whole number of at least 1, got 0. Use 1000, say"),
        ({"seed": -1}, "Expected seed to be a whole number of at least 0, got -1. Use 0, say"),
        ({"embeddings": np.zeros((0, 2)), "labels": []}, "Expected at least 20 classes for 20 ways, got 0"),
        ({"labels": [0]}, r"Expected one label per embedding, shape \[7\], got shape \[1\]"),
    ],
)
def test_messages(arguments: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"embeddings": np.eye(7), "labels": [7, 7, 8, 8, 8, 9, 9]}
    with pytest.raises(ValueError, match=message):
        few_shot_accuracy(**{**given, **arguments})


def test_interval_by_class_is_of_the_classes_not_of_the_episodes() -> None:
    """Half of the classes are always recognised, the others never: more episodes do not make that any surer."""
    rng = np.random.default_rng(0)
    easy = np.repeat(np.eye(24)[:12], 4, axis=0)
    hard = np.repeat(rng.normal(size=(1, 24)) + 5 * np.eye(24)[23], 48, axis=0)  # all alike: chance
    embeddings = np.concatenate([easy, hard])
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    labels = np.repeat(np.arange(24), 4)
    widths = {}
    for episodes in (2_000, 50_000):
        found = few_shot_accuracy(embeddings, labels, ways=20, episodes=episodes)
        assert found.interval[1] - found.interval[0] < 0.05
        low, high = found.class_interval
        assert low < found.accuracy < high
        widths[episodes] = high - low
    assert widths[50_000] == pytest.approx(widths[2_000], rel=0.15)
    assert widths[50_000] > 0.3
    one = few_shot_accuracy(np.eye(4)[[0, 0, 1, 1]], [0, 0, 1, 1], ways=2, episodes=1)
    assert all(math.isnan(end) for end in one.class_interval)
