from __future__ import annotations

from typing import get_args

import pytest

from pairsim._common import choices
from pairsim.data.named import SPLITS
from pairsim.export.graphs import INPUTS


@pytest.mark.parametrize(
    ("names", "values"),
    [
        (choices.PrecisionName, ("auto", "fp32", "bf16", "fp16")),
        (choices.Negatives, ("class", "instance")),
        (choices.AugmentName, ("auto", "none", "affine", "crop", "photo")),
        (choices.OnError, ("raise", "skip")),
        (choices.Unit, ("images", "classes")),
        (choices.CalibrationMethod, ("platt", "isotonic")),
    ],
)
def test_names_in_the_order_of_the_help(names: object, values: tuple[str, ...]) -> None:
    assert get_args(names) == values


def test_tuples_have_the_same_names() -> None:
    assert get_args(choices.PrecisionName) == choices.PRECISIONS
    assert get_args(choices.Negatives) == choices.NEGATIVES
    assert get_args(choices.Split) == SPLITS == ("train", "val", "test")
    assert get_args(choices.ExportKind) == tuple(INPUTS) == ("embed", "pair")
