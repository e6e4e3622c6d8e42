from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from number_data import off_place, panels, scored_pairs

from pairsim.evaluation import (
    PairScores,
    equal_error_rate,
    fmr_fnmr,
    image_level_intervals_of_pairs,
    roc_auc,
    roc_curve,
)
from pairsim.visual import draw_det, draw_roc
from pairsim.visual.page.plot import LINES


def key(figure: Figure) -> list[str]:
    legend = panels(figure)[0].get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def points_of(drawn: Any) -> Any:
    """The points of a drawn line."""
    return {tuple(point) for point in drawn.get_xydata().tolist()}


def height(drawn: Any, x: float) -> float:
    """Where a drawn line is, straight on the screen between its points, at a value of the x axis."""
    axes = drawn.axes
    places = axes.transData.transform(drawn.get_xydata()[(drawn.get_xydata() > 0).all(axis=1)])
    across = axes.transData.transform((x, axes.get_ylim()[1]))[0]
    up = float(np.interp(across, *places.T))
    return float(axes.transData.inverted().transform((across, up))[1])


def line(axes: Any, label: str) -> Any:
    (found,) = [drawn for drawn in axes.lines if str(drawn.get_label()).startswith(label)]
    return found


@pytest.mark.parametrize("log_fmr", [True, False])
def test_the_roc_curve_is_that_of_evaluation(log_fmr: bool) -> None:
    scores, targets = scored_pairs()
    figure = draw_roc(torch.from_numpy(scores), torch.from_numpy(targets), log_fmr=log_fmr)
    drawn, curve = line(panels(figure)[0], "AUC"), roc_curve(scores, targets)
    assert points_of(drawn) >= set(zip(curve.fmr.tolist(), curve.tmr.tolist(), strict=True))
    assert key(figure) == [f"AUC {100 * roc_auc(scores, targets):.4g} %", "chance"]
    assert panels(figure)[0].get_xscale() == ("log" if log_fmr else "linear")
    chance = line(panels(figure)[0], "chance")
    assert np.array_equal(chance.get_xdata(), chance.get_ydata())
    assert not off_place(figure)


def test_the_det_curve_is_that_of_evaluation_on_normal_deviate_axes() -> None:
    scores, targets = scored_pairs()
    figure = draw_det(scores, targets)
    axes, curve = panels(figure)[0], roc_curve(scores, targets)
    drawn = line(axes, "EER")
    assert points_of(drawn) >= set(zip(curve.fmr.tolist(), curve.fnmr.tolist(), strict=True))
    eer = equal_error_rate(scores, targets)
    assert line(axes, "equal error rate").get_xydata().tolist() == [[eer, eer]]
    assert key(figure)[0] == f"EER {100 * eer:.3g} %"
    low, high = axes.get_xlim()
    figure.draw_without_rendering()
    for rate in (0.02, 0.1, 0.5):
        share = axes.transAxes.inverted().transform(axes.transData.transform((rate, rate)))[0]
        deviates = [NormalDist().inv_cdf(value) for value in (low, rate, high)]
        assert share == pytest.approx((deviates[1] - deviates[0]) / (deviates[2] - deviates[0]))
    assert not off_place(figure)


def tied(right: int = 900, of: int = 1000) -> tuple[Any, Any]:
    """Scores of 0 and 1 of which a share is right."""
    return np.repeat([1.0, 0.0, 1.0, 0.0], [right, of - right, of - right, right]), np.repeat([1, 0], of)


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.03, 0.3])
def test_between_tied_scores_curves_are_straight_in_rates(rate: float) -> None:
    # From no match to FMR 10 %, FNMR 10 %, and on to FMR 100 %, FNMR 0 %.
    expected = 1 - 9 * rate if rate < 0.1 else 0.1 * (1 - rate) / 0.9
    drawn = line(panels(draw_roc(*tied()))[0], "AUC")
    assert height(drawn, rate) == pytest.approx(1 - expected, abs=0.003)
    assert height(line(panels(draw_roc(np.ones(2000), tied()[1]))[0], "AUC"), rate) == pytest.approx(rate, abs=0.003)
    low, high = panels(figure := draw_det(*tied()))[0].get_xlim()
    if low <= rate <= high and low <= expected <= high:
        assert height(line(panels(figure)[0], "EER"), rate) == pytest.approx(expected, abs=0.003)


def test_the_equal_error_rate_is_on_the_curve_of_ratings() -> None:
    rng = np.random.default_rng(0)
    ratings, targets = np.concatenate([rng.integers(2, 6, 200), rng.integers(1, 5, 200)]), np.repeat([1, 0], 200)
    axes = panels(draw_det(ratings, targets))[0]
    eer = equal_error_rate(ratings, targets)
    assert height(line(axes, "EER"), eer) == pytest.approx(eer, abs=0.002)
    assert not axes.texts  # the curve is seen
    drawn, curve = line(axes, "EER"), roc_curve(ratings, targets)
    marked = drawn.get_xydata()[drawn.get_markevery()]
    assert drawn.get_marker() == "."
    assert marked.tolist() == np.stack([curve.fmr, curve.fnmr], axis=1).tolist()


def test_the_axis_of_a_roc_curve_begins_below_all_of_it() -> None:
    figure = draw_roc(*tied(), threshold=1.0)
    assert panels(figure)[0].get_ylim()[0] == 0.0


def test_scores_that_are_normal_for_both_kinds_give_a_straight_det_line() -> None:
    ranks = (np.arange(2000) + 0.5) / 2000
    normal = np.array([NormalDist().inv_cdf(rank) for rank in ranks.tolist()])
    figure = draw_det(np.concatenate([normal + 2, normal]), np.repeat([1, 0], 2000))
    axes = panels(figure)[0]
    points = line(axes, "EER").get_xydata()
    points = points[(points > 0.002).all(axis=1) & (points < 0.5).all(axis=1)]
    places = axes.transData.transform(points)
    assert np.corrcoef(places.T)[0, 1] == pytest.approx(-1.0, abs=1e-4)


@pytest.mark.parametrize("draw", [draw_roc, draw_det])
def test_the_operating_point_is_marked_with_its_rates(draw: Any) -> None:
    scores, targets = scored_pairs()
    figure = draw(scores, targets, threshold=0.3)
    fmr, fnmr = fmr_fnmr(scores, targets, 0.3)
    mark = line(panels(figure)[0], "threshold")
    y = fnmr if draw is draw_det else 1 - fnmr
    assert mark.get_xydata().tolist() == [[pytest.approx(fmr), pytest.approx(y)]]
    assert f"threshold 0.300: FMR {100 * fmr:.3g} %, FNMR {100 * fnmr:.3g} %" in key(figure)


@pytest.mark.parametrize("draw", [draw_roc, draw_det])
def test_an_operating_point_without_an_error_stays_on_the_page(draw: Any) -> None:
    figure = draw([0.9, 0.8, 0.1, 0.2], [1, 1, 0, 0], threshold=0.5)
    axes = panels(figure)[0]
    ((x, y),) = line(axes, "threshold").get_xydata()
    assert x == axes.get_xlim()[0]
    assert axes.get_ylim()[0] <= y <= axes.get_ylim()[1]
    assert "threshold 0.500: FMR 0 %, FNMR 0 %" in key(figure)
    assert not off_place(figure)


def test_a_det_curve_that_lies_nowhere_is_named() -> None:
    perfect = ([0.9, 0.8, 0.1, 0.2], [1, 1, 0, 0])
    (text,) = panels(draw_det(*perfect))[0].texts
    assert text.get_text().startswith("at every threshold a rate is 0 or 100 %")
    figure = draw_det({"perfect": perfect, "usual": scored_pairs()})
    assert any(text.get_text().startswith("perfect:\nat every") for text in panels(figure)[0].texts)
    assert not panels(draw_det([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0]))[0].texts


def test_of_many_pairs_some_thousand_exact_points_are_drawn() -> None:
    rng = np.random.default_rng(0)
    pairs = PairScores(np.sort(rng.normal(1, 1, 30_000)), np.sort(rng.normal(0, 1, 60_000)))
    drawn = line(panels(draw_roc(pairs))[0], "AUC").get_xydata()
    assert 500 < len(drawn) <= 4200
    curve = pairs.roc_curve()
    whole = set(zip(curve.fmr.tolist(), curve.tmr.tolist(), strict=True))
    assert 500 < sum(tuple(point) in whole for point in drawn.tolist()) <= 4000
    assert drawn[:, 1] == pytest.approx(np.interp(drawn[:, 0], curve.fmr, curve.tmr), abs=0.002)


def test_ticks_are_per_cent() -> None:
    figure = draw_roc(*scored_pairs(negative=20_000), log_fmr=True)
    figure.draw_without_rendering()
    assert {"0.01", "1", "100"} <= {text.get_text() for text in panels(figure)[0].get_xticklabels()}
    assert panels(figure)[0].get_xlabel() == "false match rate, FMR (%)"


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


@pytest.mark.parametrize("draw", [draw_roc, draw_det])
def test_operating_points_of_seven_models_differ_in_marker_and_fit(draw: Any) -> None:
    models = {f"model {k}": scored_pairs(seed=k, gap=0.3 + 0.08 * k) for k in range(7)}
    figure, alone = draw(models, threshold=0.3), draw(scored_pairs()[0], scored_pairs()[1], threshold=0.3)
    points = [line(panels(figure)[0], f"model {k}, threshold") for k in range(7)]
    assert len({point.get_marker() for point in points}) == 7
    assert not off_place(figure)
    assert not off_place(alone)
    widths = [panels(drawn)[0].get_window_extent().width for drawn in (figure, alone)]
    assert widths[0] == pytest.approx(widths[1], rel=0.01)
    legend = panels(figure)[0].get_legend()
    for handle, dashes in zip(legend.get_lines(), LINES, strict=False):
        period = 0 if isinstance(dashes, str) else 1.8 * sum(dashes[1])
        assert legend.handlelength * 8 > period * 1.2, handle  # more than one dash


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
        ({}, {}, ValueError, "Expected 1 to 7 models, got 0. Give at least one"),
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
