from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from number_data import off_place, panels
from searched_identities import search_report

from pairsim.visual import draw_cmc, draw_fpir_fnir


def key(figure: Figure) -> list[str]:
    legend = panels(figure)[0].get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def line(axes: Any, label: str) -> Any:
    (found,) = [drawn for drawn in axes.lines if str(drawn.get_label()).startswith(label)]
    return found


def subtitle(figure: Figure) -> str:
    return str(panels(figure)[0].texts[0].get_text())


def test_both_rates_at_every_threshold_on_logarithmic_axes() -> None:
    report = search_report()
    figure = draw_fpir_fnir(report)
    axes = panels(figure)[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    drawn = line(axes, "all thresholds")
    assert drawn.get_xdata().tolist() == [at.fpir for at in report.curve]
    assert drawn.get_ydata().tolist() == [at.fnir for at in report.curve]
    smallest = min(at.fpir for at in report.curve if at.fpir > 0)
    low, high = axes.get_xlim()
    assert low <= smallest <= 10 * low
    assert high == 1.0
    assert subtitle(figure) == "21 identities enrolled; 336 mated and 405 non-mated searches"
    assert not off_place(figure)


def test_the_band_encloses_the_intervals_of_both_rates() -> None:
    report = search_report()
    (band,) = panels(draw_fpir_fnir(report))[0].patches
    assert band.get_label() == "95 % intervals of both rates"
    outline = band.get_path()
    inside = [at for at in report.curve if 0 < at.fpir < 1 and 0 < at.fnir < 1]
    assert len(inside) > 50
    for at in inside:  # a little inside of each box
        for x in at.fpir_interval:
            for y in at.fnir_interval:
                corner = (x + 1e-6 * np.sign(at.fpir - x), y + 1e-6 * np.sign(at.fnir - y))
                assert outline.contains_point(corner, radius=1e-5) or outline.contains_point(corner, radius=-1e-5)


def test_the_threshold_is_marked_with_both_intervals() -> None:
    report = search_report()
    figure = draw_fpir_fnir(report)
    axes = panels(figure)[0]
    assert line(axes, "threshold").get_xydata().tolist() == [[report.fpir, report.fnir]]
    text = f"threshold 0.620: FPIR {100 * report.fpir:.3g} %, FNIR {100 * report.fnir:.3g} %"
    assert text in key(figure)
    crosses = [drawn.get_xydata() for drawn in axes.lines if len(drawn.get_xydata()) == 2]
    assert any(cross[:, 0].tolist() == list(report.fpir_interval) for cross in crosses)
    assert any(cross[:, 1].tolist() == list(report.fnir_interval) for cross in crosses)
    nothing = dataclasses.replace(report, fpir=0.0, fpir_interval=(0.0, 0.1))
    axes = panels(draw_fpir_fnir(nothing))[0]
    assert line(axes, "threshold").get_xdata() == [axes.get_xlim()[0]]
    assert not any("threshold 0" in text for text in key(draw_fpir_fnir(search_report(threshold=math.nan))))


def test_rates_of_zero_are_said_to_be_outside() -> None:
    perfect = search_report(gap=3.0, confused=False)
    figure = draw_fpir_fnir(perfect)
    assert any("which is outside these axes" in text.get_text() for text in panels(figure)[0].texts)
    both = draw_fpir_fnir({"perfect": perfect, "usual": search_report()})
    assert any(text.get_text().startswith("perfect:\nat every") for text in panels(both)[0].texts)
    assert not any("outside" in text.get_text() for text in panels(draw_fpir_fnir(search_report()))[0].texts)


def test_the_cmc_is_that_of_the_report() -> None:
    report = search_report()
    figure = draw_cmc(report)
    axes = panels(figure)[0]
    drawn = line(axes, "rank-1")
    assert drawn.get_xdata().tolist() == list(range(1, 21))
    assert drawn.get_ydata().tolist() == list(report.cmc)
    assert key(figure) == [f"rank-1 {100 * report.rank_1:.3g} %", "95 % interval of rank-1"]
    (bar,) = axes.collections
    assert bar.get_paths()[0].vertices.tolist() == [[1, end] for end in report.rank_1_interval]
    assert axes.get_ylim()[0] < report.rank_1_interval[0]
    assert subtitle(figure) == "21 identities enrolled; 336 mated searches"
    assert axes.get_xticks().tolist() == [1, 5, 10, 15, 20]
    assert not off_place(figure)


@pytest.mark.parametrize("draw", [draw_fpir_fnir, draw_cmc])
def test_reports_differ_in_line_and_name_and_state_their_sizes(draw: Any) -> None:
    reports = {f"model {k}": search_report(num_enrolled=20 + k, seed=k) for k in range(3)}
    figure = draw(reports)
    lines = [line(panels(figure)[0], f"model {k}: ") for k in range(3)]
    assert len({str(drawn._dash_pattern) for drawn in lines}) == 3
    assert len({drawn.get_color() for drawn in lines}) == 3
    for k, drawn in enumerate(lines):
        assert f"{20 + k} identities enrolled; 336 mated" in drawn.get_label()
    alike = draw({"a": search_report(seed=1), "b": search_report(seed=2)})
    assert subtitle(alike).startswith("21 identities enrolled; 336 mated")
    assert not off_place(alike)


@pytest.mark.parametrize("draw", [draw_fpir_fnir, draw_cmc])
def test_what_cannot_be_drawn_is_said(draw: Any) -> None:
    with pytest.raises(ValueError, match="Expected 1 to 7 reports, got 0"):
        draw({})
    with pytest.raises(TypeError, match=r"Expected the result of evaluate_gallery, .*got float\. Call"):
        draw({"a": 0.5})
    unknown_only = search_report(num_mated=0)
    with pytest.raises(ValueError, match=r"Expected searches (of both kinds|for enrolled identities) of one, got"):
        draw({"one": unknown_only})
