"""What is answered has the fields of what pairsim computes."""

from __future__ import annotations

from dataclasses import fields

from pairsim import Verdict
from pairsim.integrations.service.answers import Compared, Identified


def test_the_fields_of_a_verdict() -> None:
    assert [one.name for one in fields(Compared)] == [one.name for one in fields(Verdict)]


def test_the_fields_of_an_identification() -> None:
    assert [one.name for one in fields(Identified)] == ["id", "similarity", "probability", "fpir"]
