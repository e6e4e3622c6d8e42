"""What a loss or other function depends on, besides its name."""

from __future__ import annotations

import functools
import json
import math
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pairsim.training.objectives.function_settings import function_settings


class Distance(nn.Module):
    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p


class Loss(nn.Module):
    """Its representation does not have its settings."""

    def __init__(self, temperature: Any, *, p: float = 2.0, classes: int = 3) -> None:
        super().__init__()
        self.temperature, self.margins, self.filled_in = temperature, (0.1, "a"), None
        self.distance, self.proxies = Distance(p), nn.Parameter(torch.zeros(classes))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return embeddings.sum()


class Callback:
    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return embeddings.sum() * self.rate

    def scaled(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return self(embeddings, labels)


def closure(weight: Any) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda embeddings, labels: embeddings.sum() * weight + labels.sum()


def defaults(weight: float) -> Callable[..., Tensor]:
    def loss(embeddings: Tensor, labels: Tensor, other: Any = None, scale: float = weight) -> Tensor:
        return embeddings.sum() * scale

    return loss


def of_a_global(value: Any) -> Callable[[Tensor, Tensor], Tensor]:
    names: dict[str, Any] = {"VALUE": value}
    exec("def loss(embeddings, labels): return VALUE", names)
    found: Callable[[Tensor, Tensor], Tensor] = names["loss"]
    return found


def through_a_helper(value: float) -> Callable[[Tensor, Tensor], Tensor]:
    names: dict[str, Any] = {}
    exec(f"def helper(): return {value}\ndef loss(embeddings, labels): return helper()", names)
    found: Callable[[Tensor, Tensor], Tensor] = names["loss"]
    return found


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (Loss, "temperature"),
        (lambda value: Loss(np.float32(value)), "temperature"),
        (lambda value: Loss(1.0, p=2 * value), "distance.p"),
        (lambda value: nn.Sequential(Loss(value)), "0.temperature"),
        (lambda value: nn.TripletMarginLoss(margin=value), "margin"),
        (Callback, "rate"),
        (lambda value: Callback(value).scaled, "self.rate"),
        (lambda value: functools.partial(torch.optim.SGD, lr=value), "lr"),
        (lambda value: functools.partial(Callback(value).scaled), "func.self.rate"),
        (closure, "weight"),
        (lambda value: closure(Loss(value)), "weight.temperature"),
        (defaults, "scale"),
        (of_a_global, "VALUE"),
        (lambda value: of_a_global(Loss(value)), "VALUE.temperature"),
        (lambda value: torch.compile(closure(value)), "compiled.weight"),
    ],
)
def test_settings_are_found_by_their_path(make: Callable[[float], Any], path: str) -> None:
    found, again, other = (function_settings(make(value)) for value in (0.5, 0.5, 1.5))
    assert json.loads(json.dumps(found, allow_nan=False)) == found == again
    assert {name for name in found if found[name] != other[name]} == {path}
    assert (found[path], other[path]) in ((0.5, 1.5), (1.0, 3.0))


def code_of(function: Callable[..., Any]) -> Any:
    return next(value for name, value in function_settings(function).items() if "code in Python" in name)


def test_code_is_compared_without_its_place() -> None:
    first, second, third = (lambda x, y: x.sum() + y.sum(), lambda x, y: x.mean() + y.sum(), lambda x, y: x.sum() + 2)
    codes = [code_of(one) for one in (first, second, third)]
    assert len(set(codes)) == 3
    moved = types.FunctionType(first.__code__.replace(co_firstlineno=999, co_filename="other.py"), globals())
    assert code_of(moved) == codes[0]
    sets = [compile(f"lambda x: x in {{{names}}}", "", "eval") for names in ("'a', 'b', 'c'", "'c', 'b', 'a'")]
    assert code_of(eval(sets[0])) == code_of(eval(sets[1]))
    assert function_settings(through_a_helper(1.0)) != function_settings(through_a_helper(2.0))


def test_what_is_trained_or_filled_in_is_not_a_setting() -> None:
    loss = Loss(math.inf)
    before = function_settings(loss)
    assert before == {"temperature": "inf", "margins": [0.1, "a"], "distance.p": 2.0}
    with torch.no_grad():
        loss.proxies.fill_(3.0)
    loss.eval().requires_grad_(False)
    loss.register_forward_hook(lambda *_: None)
    assert function_settings(loss) == before
    loss.filled_in = 4  # type: ignore[assignment]  # such as a number of calls
    assert function_settings(loss) == before
    loss.filled_in = 0.5  # type: ignore[assignment]
    assert function_settings(loss) == {**before, "filled_in": 0.5}


def test_cycles_and_long_lists_end() -> None:
    callback: Any = Callback(1.0)
    callback.me, callback.labels, callback.kind = callback, list(range(1000)), Loss
    found = function_settings(callback)
    assert set(found) == {"rate", "labels"}
    assert len(found["labels"]) == 12

    def loss(embeddings: Tensor, labels: Tensor) -> Any:
        return loss if labels is None else embeddings + later

    assert [name for name in function_settings(loss) if "code" not in name] == []
    later = 1.0
    assert function_settings(loss)["later"] == 1.0


def test_library_functions_have_no_settings() -> None:
    assert function_settings(torch.nn.functional.cross_entropy) == {}
    assert function_settings(torch.optim.Adam) == {}
