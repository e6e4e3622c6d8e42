"""Heads by name: what they compute before they are fitted, and their sizes."""

from typing import get_args

import pytest
import torch

from pairsim.models.heads.head_modules import HEAD_NAMES, HeadName, Standardize, embedding_dim_of, make_head

FEATURES = torch.arange(12.0).view(2, 6)


@pytest.mark.parametrize("name", get_args(HeadName))
def test_output_has_the_length_of_an_embedding(name: HeadName) -> None:
    dim = embedding_dim_of(name, 6, None)
    assert make_head(name, 6, dim)(FEATURES).shape == (2, dim)


@pytest.mark.parametrize(
    ("name", "wanted", "dim"),
    [("none", None, 900), ("standardize", 900, 900), ("whiten", None, 512), ("whiten", 64, 64), ("mlp", None, 128)],
)
def test_length_of_an_embedding(name: HeadName, wanted: int | None, dim: int) -> None:
    assert embedding_dim_of(name, 900, wanted) == dim


def test_whitening_is_not_longer_than_the_features() -> None:
    assert embedding_dim_of("whiten", 100, None) == 100


@pytest.mark.parametrize("name", ["none", "standardize", "whiten"])
def test_closed_forms_begin_as_the_features(name: HeadName) -> None:
    assert torch.equal(make_head(name, 6, 6)(FEATURES), FEATURES)


def test_standardize_scales_and_shifts() -> None:
    head = Standardize(6)
    with torch.no_grad():
        head.weight.fill_(2.0)
        head.bias.fill_(-1.0)
    assert torch.equal(head(FEATURES), 2 * FEATURES - 1)


@pytest.mark.parametrize("name", ["none", "standardize"])
def test_a_head_that_cannot_be_shorter_says_so(name: HeadName) -> None:
    with pytest.raises(ValueError, match=rf'Expected embedding_dim 6, .* for head "{name}", got 3\. .*whiten'):
        embedding_dim_of(name, 6, 3)


def test_whitening_that_is_too_long_says_so() -> None:
    with pytest.raises(ValueError, match=r"at most 6, .*got 7\. Lower it"):
        embedding_dim_of("whiten", 6, 7)


def test_an_unknown_head_names_those_there_are() -> None:
    with pytest.raises(ValueError, match=rf"one of {', '.join(HEAD_NAMES)}, got 'whitening'"):
        make_head("whitening", 6, 6)  # type: ignore[arg-type]
