from __future__ import annotations

import re

from grouped_images import grouped_images

from pairsim.evaluation import group_errors
from pairsim.report.group_matrix import MAX_GROUPS, group_matrix


def test_each_cell_has_its_rate_in_figures() -> None:
    vectors, labels, groups = grouped_images(0, 12)
    report = group_errors(vectors, labels, groups, 0.4)
    drawn = group_matrix(report)
    rates = re.findall(r'class="rate"[^>]*>([^<]+)<', drawn)
    expected = [f"{report.fmr[row, column]:.2%}".replace("%", " %") for row in range(3) for column in range(row + 1)]
    assert rates == expected
    assert drawn.count('class="cell own"') == 3
    strengths = [float(text) for text in re.findall(r'fill-opacity="([\d.]+)"', drawn)]
    highest = max(range(6), key=lambda k: float(expected[k].split()[0]))
    assert strengths[highest] == max(strengths)
    for label in ("group of one image", "group of the other image", "False match rate between groups"):
        assert label in drawn


def test_too_few_classes_are_written_and_names_escaped() -> None:
    vectors, labels, groups = grouped_images(0, 4)
    drawn = group_matrix(group_errors(vectors, labels, [f"<{name}>&" for name in groups], 0.4))
    assert drawn.count(">too few<") == 6
    assert "&lt;dense&gt;&amp;" in drawn
    assert "no false match" in drawn


def test_one_group_and_many_are_not_drawn() -> None:
    vectors, labels, _ = grouped_images(0, 12)
    assert group_matrix(group_errors(vectors, labels, ["one"] * len(labels), 0.4)) == ""
    many = [str(label % (MAX_GROUPS + 1)) for label in labels]
    assert group_matrix(group_errors(vectors, labels, many, 0.4)) == ""
