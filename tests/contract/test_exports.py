"""What can be imported, and that each list of it is sorted and whole."""

from __future__ import annotations

import importlib

import pytest

PUBLIC = [
    "pairsim",
    "pairsim.data",
    "pairsim.evaluation",
    "pairsim.export",
    "pairsim.images",
    "pairsim.models",
    "pairsim.report",
    "pairsim.training",
    "pairsim.visual",
]


@pytest.mark.parametrize("name", PUBLIC)
def test_all_is_sorted_and_there(name: str) -> None:
    module = importlib.import_module(name)
    exported = module.__all__
    assert exported == sorted(exported)
    assert len(exported) == len(set(exported))
    for item in exported:
        assert getattr(module, item) is not None


@pytest.mark.parametrize("name", PUBLIC)
def test_nothing_public_is_left_out_of_all(name: str) -> None:
    module = importlib.import_module(name)
    kinds = {
        item
        for item, value in vars(module).items()
        if not item.startswith("_") and getattr(value, "__module__", "").startswith("pairsim")
    }
    assert kinds <= set(module.__all__)


def test_the_contract_of_the_top_level() -> None:
    exported = importlib.import_module("pairsim").__all__

    for name in (
        "PairDataset",
        "EmbeddingNet",
        "SimilarityModel",
        "Trainer",
        "TrainConfig",
        "encode_dataset",
        "evaluate",
        "Verdict",
        "VerificationReport",
    ):
        assert name in exported
