from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from pairsim.search.identification.templates import Templates


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(0, 12), st.integers(0, 99))
def test_means_of_each_identity_in_any_parts(shown: list[int], cut: int, seed: int) -> None:
    rows = functional.normalize(torch.randn(len(shown), 5, generator=torch.Generator().manual_seed(seed)), dim=1)
    templates = Templates(rows[:cut], shown[:cut])
    templates.extend(rows, shown)
    templates.extend(rows, shown)  # nothing new
    assert templates.identities == list(dict.fromkeys(shown))
    for number, identity in enumerate(templates.identities):
        of = rows[[index for index, one in enumerate(shown) if one == identity]].double().numpy()
        mean = of.mean(axis=0)
        expected = mean / np.linalg.norm(mean)
        np.testing.assert_allclose(templates.unit[number].numpy(), expected, atol=2e-6)
        if len(of) == 1:
            assert np.array_equal(templates.unit[number].numpy(), of[0].astype(np.float32))


def test_without_one_image() -> None:
    rows = functional.normalize(torch.randn(4, 6, generator=torch.Generator().manual_seed(1)), dim=1)
    templates = Templates(rows, ["a", "a", "b", "a"])
    rest, several = templates.without(rows[[1, 2]], templates.numbers(["a", "b"]))
    assert several.tolist() == [True, False]
    np.testing.assert_allclose(rest[0].numpy(), functional.normalize(rows[[0, 3]].sum(dim=0), dim=0), atol=1e-6)
