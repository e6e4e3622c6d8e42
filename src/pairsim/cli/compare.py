"""`pairsim compare`."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pairsim.cli.output import print_result
from pairsim.models import SimilarityModel, Verdict
from pairsim.training.devices import resolve_device


def compare(
    run: Path,
    first: str,
    second: str,
    /,
    *,
    threshold: float | None = None,
    device: str = "auto",
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Compare two pictures: similarity, probability, and whether they match.

    Args:
        run: Run or model folder.
        first: Picture file.
        second: Picture file.
        threshold: Similarity from which a pair counts as a match; by default the model's own.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        json: Print one JSON object.
    """
    model = SimilarityModel.from_pretrained(run).to(resolve_device(device))
    verdict = model.verify(first, second, threshold)
    result = {"first": first, "second": second, **dataclasses.asdict(verdict)}
    print_result(result, describe(verdict, first, second), as_json=json)


def describe(verdict: Verdict, first: str, second: str) -> str:
    """A verdict in two lines."""
    a, b = os.path.basename(first), os.path.basename(second)
    sign = ">=" if verdict.match else "<"
    seen = "" if verdict.fmr is None else f", where {verdict.fmr:.2%} of different held-out pairs match too"
    return (
        f"{'MATCH' if verdict.match else 'NO MATCH'}: {a} and {b}\n"
        f"similarity {verdict.similarity:.4f} {sign} threshold {verdict.threshold:.4f}{seen}; "
        f"probability {verdict.probability:.4f}"
    )
