from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.patches import StepPatch
from number_data import Floats, Ints, off_place, panels, scored_pairs
from sklearn.calibration import calibration_curve

from pairsim.evaluation import (
    Logistic,
    PairCounts,
    PairScores,
    expected_calibration_error,
    fmr_fnmr,
    image_level_intervals_of_pairs,
)
from pairsim.visual import draw_reliability, draw_score_histogram
from pairsim.visual.curves.score_figures import FEW_PAIRS


def outlines(axes: Any) -> dict[str, Any]:
    """Values and edges of the two labelled histograms."""
    steps = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
    return {str(patch.get_label()).split()[0]: patch.get_data() for patch in steps if "class" in str(patch.get_label())}


def test_each_kind_is_shared_out_over_the_same_bins() -> None:
    scores, targets = scored_pairs()
    found = outlines(panels(draw_score_histogram(scores, targets, num_bins=17))[0])
    edges = np.histogram_bin_edges(scores, 17)
    for name, target in (("same", 1), ("different", 0)):
        counts, _ = np.histogram(scores[targets == target], bins=edges)
        assert np.allclose(found[name].edges, edges)
        assert np.array_equal(found[name].values, counts / (targets == target).sum())
        assert found[name].values.sum() == pytest.approx(1.0)


def test_the_threshold_stands_in_the_figure_with_its_error_rates() -> None:
    scores, targets = scored_pairs()
    figure = draw_score_histogram(scores, targets, threshold=0.25)
    axes = panels(figure)[0]
    (line,) = axes.lines
    assert line.get_xdata() == [0.25, 0.25]
    fmr, fnmr = fmr_fnmr(scores, targets, 0.25)
    (text,) = [text.get_text() for text in axes.texts]
    assert text == f"threshold 0.250\nFMR {100 * fmr:.3g} %, FNMR {100 * fnmr:.3g} %"
    assert not panels(draw_score_histogram(scores, targets))[0].texts


@pytest.mark.parametrize("threshold", [-3.0, 5.0])
def test_a_threshold_beyond_all_scores_is_on_the_axis(threshold: float) -> None:
    figure = draw_score_histogram(*scored_pairs(), threshold=threshold)
    low, high = panels(figure)[0].get_xlim()
    assert low < threshold < high
    assert not off_place(figure)
    (text,) = panels(figure)[0].texts
    box, frame = text.get_window_extent(), panels(figure)[0].get_window_extent()
    assert frame.x0 <= box.x0 < box.x1 <= frame.x1


def test_counted_scores_give_the_figure_of_all_scores() -> None:
    scores, targets = scored_pairs()
    counted = PairCounts.from_scores(scores, targets)
    kept = PairScores.from_scores(np.rint(scores * 2**22) / 2**22, targets)
    one, other = (outlines(panels(draw_score_histogram(pairs, num_bins=23))[0]) for pairs in (counted, kept))
    for name in ("same", "different"):
        assert np.array_equal(one[name].values, other[name].values)
        assert np.allclose(one[name].edges, other[name].edges)


def test_fifty_million_pairs_need_no_more_memory_than_their_counts() -> None:
    grid = (np.arange(-100, 101) / 128).astype(np.float32)
    counts = np.full(201, 250_000, dtype=np.int64)
    counts[0] = 1
    pairs = PairCounts(grid[:], counts, counts[::-1].copy())
    found = outlines(panels(draw_score_histogram(pairs, num_bins=20))[0])
    assert found["same"].values.sum() == pytest.approx(1.0)
    assert found["same"].values == pytest.approx(found["different"].values[::-1], abs=2 * 250_000 / pairs.num_positive)


def test_a_logarithmic_axis_shows_a_single_pair() -> None:
    scores = np.append(np.zeros(9_999), [0.9, 0.8])
    targets = np.append(np.zeros(9_999), [0, 1])
    axes = panels(draw_score_histogram(scores, targets, log=True))[0]
    assert axes.get_yscale() == "log"
    low, high = axes.get_ylim()
    assert low < 1 / 10_000 < 1.0 < high
    assert outlines(axes)["different"].values[-1] == pytest.approx(1 / 10_000)


def test_neither_kind_relies_on_its_colour() -> None:
    axes = panels(draw_score_histogram(*scored_pairs()))[0]
    lines = {str(patch.get_label()): patch.get_linestyle() for patch in axes.patches if "class" in patch.get_label()}
    assert len(set(map(str, lines.values()))) == 2
    assert len({patch.get_hatch() for patch in axes.patches if patch.get_hatch()}) == 2
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "different class (400 pairs)", "same class (60 pairs)",
    ]  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=12),
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=12),
    st.integers(1, 9),
)
def test_no_score_is_lost(positive: list[float], negative: list[float], num_bins: int) -> None:
    figure = draw_score_histogram(positive + negative, [1] * len(positive) + [0] * len(negative), num_bins=num_bins)
    for part in outlines(panels(figure)[0]).values():
        assert part.values.sum() == pytest.approx(1.0)


def test_tensors_and_equal_scores_are_drawn() -> None:
    figure = draw_score_histogram(torch.full((4,), 0.5), torch.tensor([1, 1, 0, 0]), threshold=0.5)
    assert not off_place(figure)


@pytest.mark.parametrize(
    ("scores", "targets", "options", "message"),
    [
        ([], [], {}, "Expected at least one pair of each kind, got none at all"),
        ([0.1, 0.2], [1, 1], {}, "Expected pairs of both kinds, got 2 positive and 0 negative"),
        ([0.1, 0.2], [1], {}, "Expected as many targets as scores, got 2 scores and 1 targets"),
        ([0.1, float("nan")], [1, 0], {}, "Expected scores without NaN"),
        ([0.1, float("inf")], [1, 0], {}, "Expected scores to be finite, found infinity"),
        ([0.1, 0.2], None, {}, "Expected targets with scores, got none"),
        ([0.1, 0.2], [1, 0], {"threshold": float("inf")}, "Expected threshold to be finite, got inf"),
        ([0.1, 0.2], [1, 0], {"num_bins": 0}, "Expected num_bins to be a whole number of at least 1, got 0"),
        ([0.1, 0.2], [1, 0], {"style": "sepia"}, 'Expected style "light" or "dark", got \'sepia\''),
        (PairScores.from_scores([0.1, 0.2], [1, 0]), [1, 0], {}, "Expected no targets with PairScores"),
    ],
)
def test_what_cannot_be_drawn_is_said(scores: Any, targets: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        draw_score_histogram(scores, targets, **options)
    assert "\n" not in str(caught.value)


def probabilities(count: int = 900, seed: int = 0) -> tuple[Floats, Ints]:
    """Probabilities that overstate."""
    rng = np.random.default_rng(seed)
    values = rng.random(count)
    return values, (rng.random(count) < values**2).astype(np.int64)


def test_the_curve_is_that_of_scikit_learn() -> None:
    values, targets = probabilities()
    upper = panels(draw_reliability(values, targets, num_bins=7))[0]
    (drawn,) = [line for line in upper.lines if str(line.get_label()).startswith("observed")]
    share, mean = calibration_curve(targets, values, n_bins=7)
    assert drawn.get_xdata() == pytest.approx(mean)
    assert drawn.get_ydata() == pytest.approx(share)


def test_the_histogram_counts_every_pair_and_the_error_is_written() -> None:
    values, targets = probabilities()
    figure = draw_reliability(values, targets, num_bins=9)
    upper, lower = panels(figure)
    counts = lower.patches[0].get_data().values
    assert counts.tolist() == np.histogram(values, bins=9, range=(0, 1))[0].tolist()
    (subtitle,) = [text.get_text() for text in upper.texts]
    assert f"(ECE) {expected_calibration_error(values, targets, 9):.4f}; 900 pairs" in subtitle
    assert upper.get_title(loc="left") == "Reliability of probabilities"
    assert not off_place(figure)


def test_bars_are_the_intervals_of_shares_with_shared_images() -> None:
    values, targets = probabilities(200)
    rng = np.random.default_rng(3)
    first, second = rng.integers(0, 25, 200), rng.integers(25, 50, 200)
    upper = panels(draw_reliability(values, targets, first=first, second=second, num_bins=4))[0]
    (bars,) = upper.collections
    assert len(bars.get_paths()) == 4
    for number, path in enumerate(bars.get_paths()):
        inside = (values * 4).astype(int) == number
        # not the trick of the figure: the share of positive pairs is 1 less the FMR of the reversed question
        given = image_level_intervals_of_pairs(
            targets[inside], np.zeros(inside.sum(), dtype=int), first[inside], second[inside], 0.5
        )["fmr"]
        assert path.vertices[:, 1] == pytest.approx(given)
        low, high = path.vertices[:, 1]
        assert low <= targets[inside].mean() <= high


def test_there_are_no_bars_without_images() -> None:
    assert not panels(draw_reliability(*probabilities()))[0].collections


def test_pairs_that_share_images_get_longer_bars() -> None:
    targets = np.array([1, 0] * 30)
    values = np.full(60, 0.5)
    lengths = []
    for first in (np.arange(60), targets):
        upper = panels(draw_reliability(values, targets, first=first, second=np.arange(100, 160), num_bins=1))[0]
        low, high = upper.collections[0].get_paths()[0].vertices[:, 1]
        lengths.append(high - low)
    assert lengths[1] > 2 * lengths[0]


def test_counted_scores_go_through_the_models_function() -> None:
    scores, targets = scored_pairs()
    logistic = Logistic(8.0, -2.0)
    counted = PairCounts.from_scores(scores, targets)
    one = draw_reliability(counted, probability=logistic)
    other = draw_reliability(logistic(np.rint(scores * 2**22) / 2**22), targets)
    assert panels(one)[0].lines[1].get_xydata() == pytest.approx(panels(other)[0].lines[1].get_xydata())


def test_bins_of_few_pairs_have_hollow_marks() -> None:
    values = np.array([0.1] * FEW_PAIRS + [0.9] * (FEW_PAIRS - 1))
    targets = (values > 0.5).astype(int)
    upper = panels(draw_reliability(values, targets, num_bins=2))[0]
    (hollow,) = [line for line in upper.lines if str(line.get_label()).startswith("fewer than")]
    assert hollow.get_xdata() == pytest.approx([0.9])
    assert hollow.get_markerfacecolor() == "#FFFFFF"


def test_extreme_probabilities_are_drawn() -> None:
    assert not off_place(draw_reliability([0.0, 1.0, 1.0], [1, 0, 1], first=[0, 0, 1], second=[1, 2, 2]))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([0.5, 1.5], [0, 1]), {}, r"Expected probabilities in \[0, 1\], got 1.5 at index 1"),
        (([0.5, float("nan")], [0, 1]), {}, "without NaN"),
        (([0.5, 0.6], [1, 1]), {}, "Expected pairs of both kinds"),
        (([], []), {}, "got none at all"),
        (([0.5, 0.6], [0]), {}, "Expected as many targets as"),
        (([0.5, 0.6], [0, 1]), {"first": [0, 1]}, "Expected first and second together, got one of them"),
        (([0.5, 0.6], [0, 1]), {"first": [0, 1], "second": [1]}, r"second to name one image per pair, shape \[2\]"),
        (([0.5, 0.6], [0, 1]), {"num_bins": 2.5}, "Expected num_bins to be a whole number"),
        (([0.5, 0.6], [0, 1]), {"probability": Logistic(1, 0)}, "Expected probability only beside PairScores"),
        ((PairCounts.from_scores([0.5, 0.6], [0, 1]),), {}, "Expected probability with PairCounts, got none"),
        (
            (PairCounts.from_scores([0.5, 0.6], [0, 1]),),
            {"probability": Logistic(1, 0), "first": [1]},
            "Expected first and second only beside an array",
        ),
    ],
)
def test_a_reliability_that_cannot_be_drawn_is_said(arguments: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        draw_reliability(*arguments, **options)
    assert "\n" not in str(caught.value)


def test_one_pair_is_written_in_the_singular() -> None:
    legend = panels(draw_score_histogram([0.9, 0.2, 0.1], [1, 0, 0]))[0].get_legend()
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["different class (2 pairs)", "same class (1 pair)"]
