from __future__ import annotations

import json
import math
from dataclasses import dataclass

from pairsim._common.json_files import json_value


@dataclass(frozen=True)
class Row:
    name: str
    rates: tuple[float, ...]


def test_nested_results_become_json() -> None:
    rows = (Row("a", (0.5, math.nan)), Row("b", ()))
    expected = {"rows": [{"name": "a", "rates": [0.5, None]}, {"name": "b", "rates": []}], "n": 2, "none": None}
    value = json_value({"rows": rows, "n": 2, "none": None})
    assert value == expected
    assert json.loads(json.dumps(value, allow_nan=False)) == expected


def test_infinities_become_none_and_other_values_stay() -> None:
    assert json_value([math.inf, -math.inf, 0.0, True, "nan"]) == [None, None, 0.0, True, "nan"]
