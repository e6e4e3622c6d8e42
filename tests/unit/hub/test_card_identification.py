from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
from searched_identities import search_report, with_conditions
from small_models import small_model

from pairsim.hub import model_card, write_card
from pairsim.hub.card_identification import identification_of


def test_rates_are_those_of_the_report() -> None:
    report = with_conditions(threshold=0.62)
    text = "\n".join(identification_of(report))
    assert text.startswith(
        "In a gallery of 21 identities: 336 searches for 21 of them, and 405 for 20 others, at similarity threshold "
        "0.6200. Rates of a larger gallery differ."
    )
    low, high = report.fpir_interval
    assert f"| FPIR: not enrolled, but assigned an identity | {report.fpir:.3%} | {low:.3%} to {high:.3%} |" in text
    low, high = report.fnir_interval
    assert f"| FNIR: enrolled, but not found | {report.fnir:.3%} | {low:.3%} to {high:.3%} |" in text
    low, high = report.rank_1_interval
    assert f"| Right identity up to rank 1 | {report.rank_1:.3%} | {low:.3%} to {high:.3%} |" in text
    assert f"| Right identity up to rank 5 | {report.cmc[4]:.3%} |" in text
    assert f"| FNIR at an FPIR of 1.00% | {report.fnir_at_fpir['0.01']:.3%} |" in text
    assert "Threshold: chosen for an FPIR of at most 0.1" in text
    assert "enrolled with 3 to 8 pictures. Failures to enrol: 2; failures to acquire: 3." in text


def test_without_threshold_and_conditions() -> None:
    text = "\n".join(identification_of(search_report(threshold=math.nan)))
    assert "20 others, without a threshold." in text
    assert "FPIR: not enrolled" not in text
    assert "Decision" not in text
    few = search_report(num_enrolled=3)
    assert "rank 20" not in "\n".join(identification_of(dataclasses.replace(few, cmc=few.cmc[:3])))


def test_the_card_has_the_section_only_if_it_is_given(tmp_path: Path) -> None:
    small_model().save_pretrained(tmp_path)
    report = with_conditions(threshold=0.62)
    assert "## Identification" not in model_card(tmp_path)
    card = write_card(tmp_path, identification=report).read_text()
    assert card == model_card(tmp_path, identification=report)
    assert card.index("## Evaluation") < card.index("## Identification") < card.index("## Threshold")


def test_names_stay_text() -> None:
    report = with_conditions(threshold=0.62)
    assert report.conditions is not None
    named = dataclasses.replace(report.conditions, threshold_origin="chosen on <b>|these|</b>")
    text = "\n".join(identification_of(dataclasses.replace(report, conditions=named)))
    assert "<b>" not in text
    assert "|these|" not in text.replace("\\|", "")


@pytest.mark.parametrize("num_mated", [0, 336])
def test_one_kind_of_searches(num_mated: int) -> None:
    text = "\n".join(identification_of(search_report(num_mated=num_mated, num_non_mated=30)))
    assert ("| FNIR: enrolled, but not found | not measured | not measured |" in text) == (num_mated == 0)
