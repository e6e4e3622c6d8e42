from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from pairsim import Gallery, SimilarityModel, evaluate, verify_pairs
from pairsim.data import ImageTensors
from pairsim.models import EmbeddingNet, OperatingPoint, Verdict
from pairsim.models.verdict import one_decision


def test_a_verdict_as_text() -> None:
    verdict = Verdict(match=True, similarity=0.97011, probability=0.99182, threshold=0.4970, fmr=0.0123)
    assert str(verdict) == (
        "MATCH\nsimilarity 0.9701 >= threshold 0.4970, where 1.23% of different held-out pairs match too; "
        "probability 0.9918"
    )
    verdict = dataclasses.replace(verdict, match=False, similarity=-0.25, fmr=None)
    assert str(verdict) == "NO MATCH\nsimilarity -0.2500 < threshold 0.4970; probability 0.9918"


@pytest.mark.parametrize("interval", [None, (0.0, 0.125)])
def test_an_operating_point_is_read_back(interval: tuple[float, float] | None) -> None:
    point = OperatingPoint(0.5, 0.01, 0.02, 10, 90, "a test", "FMR of at most 0.01", interval, None)
    values = dataclasses.asdict(point)
    assert OperatingPoint.from_dict({**values, "fmr_interval": interval and list(interval)}) == point
    shown = "" if interval is None else " [0.000%, 12.500%]"
    assert str(point) == f"threshold 0.5000 for FMR of at most 0.01: FMR 1.000%{shown}, FNMR 2.000%"


def test_older_files_have_fewer_fields() -> None:
    values = {
        "threshold": 0.5, "fmr": 0.1, "fnmr": 0.2, "num_positive": 1, "num_negative": 2, "source": "x",
    }  # fmt: skip
    assert OperatingPoint.from_dict(values) == OperatingPoint(0.5, 0.1, 0.2, 1, 2, "x")
    with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
        OperatingPoint.from_dict({**values, "other": 1})


def test_an_interval_has_two_ends() -> None:
    values = dataclasses.asdict(OperatingPoint(0.5, 0.01, 0.02, 10, 90, "a test"))
    with pytest.raises(ValueError, match="too many values to unpack"):
        OperatingPoint.from_dict({**values, "fmr_interval": [0.0, 0.1, 0.2]})


def point(threshold: float, fmr: float, fnmr: float) -> OperatingPoint:
    return OperatingPoint(threshold, fmr, fnmr, 30, 70, source="validation pairs")


def small(operating_point: OperatingPoint | None = None, bias: float = -5.0) -> SimilarityModel:
    torch.manual_seed(0)
    model = SimilarityModel(EmbeddingNet(image_size=16, embedding_dim=8))
    with torch.no_grad():
        model.projection.bias.fill_(bias)
    model.operating_point = operating_point
    return model


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (small(), None),
        (small(bias=-10.0), None),  # the threshold is 1
        (small(bias=-10.1), "no similarity reaches its threshold 1.0100"),
        (small(bias=10.1), "every similarity reaches its threshold -1.0100"),
        (small(point(0.5, 1.0, 0.0)), "at its threshold 0.5000 all of the validation pairs match"),
        (small(point(0.5, 0.0, 1.0)), "at its threshold 0.5000 none of the validation pairs match"),
        (small(point(math.nan, 0.5, 0.5)), "it has no threshold, as its probability does not rise with similarity"),
        (small(point(0.5, 0.6, 0.5)), None),  # worse than chance, but not always the same decision
        (small(point(0.5, 0.0, 0.0)), None),
        (small(point(0.5, math.nan, 1.0)), None),  # without negative pairs
    ],
)
def test_models_that_give_one_decision(model: SimilarityModel, reason: str | None) -> None:
    assert one_decision(model) == reason


IMAGES = torch.randint(0, 256, (6, 1, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def search(model: SimilarityModel) -> Any:
    gallery = Gallery(model)
    gallery.add(IMAGES)
    return gallery.search(IMAGES[:1])


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.verify(IMAGES[0], IMAGES[1]),
        lambda model: evaluate(model, ImageTensors(IMAGES, [0, 1] * 3)),
        lambda model: verify_pairs(model, []),
        search,
    ],
    ids=["verify", "evaluate", "verify_pairs", "search"],
)
def test_a_warning_comes_once(use: Callable[[SimilarityModel], Any]) -> None:
    model = small(point(0.5, 1.0, 0.0))
    said = r"The model gives every pair the same decision: at its threshold 0.5000 all of .* by calibrate\.$"
    with pytest.warns(UserWarning, match=said) as caught:
        use(model)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        use(model)
        model.operating_point = point(0.4, 0.1, 0.2)
        use(model)
    model.operating_point = point(0.9, 0.0, 1.0)
    with pytest.warns(UserWarning, match="none of the validation pairs match"):
        use(model)


def test_a_threshold_of_the_user_needs_no_warning() -> None:
    model = small(point(0.5, 1.0, 0.0))
    assert model.verify(IMAGES[0], IMAGES[1], 0.9).threshold == 0.9
    assert evaluate(model, ImageTensors(IMAGES, [0, 1] * 3), threshold=0.9).threshold == 0.9
