from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from number_data import off_place, panels, scored_pairs

from pairsim.evaluation import image_level_intervals_of_pairs
from pairsim.visual import draw_det, draw_roc
from pairsim.visual.curves.curve_parts import read_rated


def key(figure: Figure) -> list[str]:
    legend = panels(figure)[0].get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def line(axes: Any, label: str) -> Any:
    (found,) = [drawn for drawn in axes.lines if str(drawn.get_label()).startswith(label)]
    return found


@pytest.mark.parametrize("draw", [draw_roc, draw_det])
@pytest.mark.parametrize("count", [2, 7])
def test_models_differ_in_line_name_and_key(draw: Any, count: int) -> None:
    models = {f"model {k}": scored_pairs(seed=k, gap=0.3 + 0.08 * k) for k in range(count)}
    figure = draw(models, threshold={"model 1": 0.2})
    axes = panels(figure)[0]
    lines = [line(axes, f"model {k}: ") for k in range(count)]
    assert len({str(drawn._dash_pattern) for drawn in lines}) == count
    assert len({drawn.get_color() for drawn in lines}) == count
    names = [text for text in axes.texts if text.get_text().startswith("model")]
    assert [text.get_text() for text in names] == list(models)
    figure.draw_without_rendering()
    boxes, frame = [text.get_window_extent() for text in names], axes.get_window_extent()
    for k, box in enumerate(boxes):
        assert frame.x0 <= box.x0 < box.x1 <= frame.x1
        assert frame.y0 <= box.y0 < box.y1 <= frame.y1
        assert not any(box.overlaps(other) for other in boxes[:k])
    assert next(text for text in key(figure) if "threshold" in text).startswith("model 1, threshold 0.200")
    assert not off_place(figure)


def test_intervals_are_those_that_are_given() -> None:
    scores, targets = scored_pairs()
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 40, len(scores)), rng.integers(40, 80, len(scores))
    intervals = image_level_intervals_of_pairs(scores, targets, first, second, 0.3, fmr_targets=(0.02, 0.1))
    figure = draw_det(scores, targets, threshold=0.3, intervals=intervals)
    axes = panels(figure)[0]
    (bars,) = [found for found in axes.collections if found.get_label() == "95 % interval"]
    ends = [path.vertices.tolist() for path in bars.get_paths()]
    assert ends == [[[fmr, low], [fmr, high]] for fmr in (0.02, 0.1) for low, high in [intervals[f"fnmr_at_fmr_{fmr}"]]]
    low, high = intervals["eer"]
    assert key(figure)[0].endswith(f"[{100 * low:.3g}, {100 * high:.3g}]")
    crosses = [drawn.get_xydata() for drawn in axes.lines if len(drawn.get_xydata()) == 2]
    assert any(cross[:, 0].tolist() == list(intervals["fmr"]) for cross in crosses)
    assert any(cross[:, 1].tolist() == list(intervals["fnmr"]) for cross in crosses)
    above = panels(draw_roc(scores, targets, intervals=intervals))[0].collections[0].get_paths()[0].vertices
    assert above[:, 1] == pytest.approx(1 - np.array(intervals["fnmr_at_fmr_0.02"]))


def test_many_intervals_are_joined_to_a_band() -> None:
    intervals = {f"fnmr_at_fmr_{fmr}": (0.01, 0.3) for fmr in np.geomspace(0.01, 0.4, 8)}
    few = dict(list(intervals.items())[:7])
    counts = [len(panels(draw_det(*scored_pairs(), intervals=given))[0].collections) for given in (few, intervals)]
    assert counts == [1, 2]


@pytest.mark.parametrize(
    ("scores", "options", "kind", "message"),
    [
        ({}, {}, ValueError, "Expected 1 to 7 models, got 0"),
        ({str(k): ([0.1, 0.2], [0, 1]) for k in range(8)}, {}, ValueError, "Expected 1 to 7 models, got 8"),
        ({"a": [0.1, 0.2]}, {}, TypeError, r"Expected \(scores, targets\) or PairFigures for a, got list"),
        ({"a": ([0.1, 0.2], [1, 1])}, {}, ValueError, "Expected pairs of both kinds, got 2 positive"),
        ({"a": ([0.1, 0.2], [0, 1])}, {"targets": [0, 1]}, ValueError, "Expected no targets beside several models"),
        ({"a": ([0.1, 0.2], [0, 1])}, {"threshold": {"b": 0.1}}, ValueError, r"threshold by model \(a\), got 'b'"),
        ({"a": ([0.1, 0.2], [0, 1])}, {"intervals": {"eer": (0, 1)}}, ValueError, r"intervals by model \(a\), got"),
        ([0.1, 0.2], {"targets": [0, 1], "threshold": float("nan")}, ValueError, "Expected threshold to be finite"),
        ([0.1, 0.2], {"targets": [0, 2]}, ValueError, "Expected targets of 0"),
    ],
)
@pytest.mark.parametrize("draw", [draw_roc, draw_det])
def test_what_cannot_be_drawn_is_said(
    draw: Any, scores: Any, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        draw(scores, **options)
    assert "\n" not in str(caught.value)


def test_one_threshold_is_for_all_models_and_several_are_by_name() -> None:
    scores = {"a": scored_pairs(), "b": scored_pairs(seed=1)}
    assert [model.threshold for model in read_rated(scores, None, 0.25, None)] == [0.25, 0.25]
    assert [model.threshold for model in read_rated(scores, None, {"b": 0.5}, None)] == [None, 0.5]
    assert [model.intervals for model in read_rated(scores, None, None, {"a": {"eer": (0.0, 0.1)}})] == [
        {"eer": (0.0, 0.1)}, {}
    ]  # fmt: skip
