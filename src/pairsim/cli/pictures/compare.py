"""`pairsim compare`."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from pairsim._common.devices import resolve_device
from pairsim.cli.output import UsageError, note, print_result
from pairsim.models import SimilarityModel, Verdict
from pairsim.verification.pair_verdicts import PairVerdicts, verify_pairs

_LIST = Group("Many pairs")


def compare(
    run: Path,
    first: str | None = None,
    second: str | None = None,
    /,
    *,
    threshold: float | None = None,
    pairs: Annotated[Path | None, Parameter(group=_LIST)] = None,
    out: Annotated[Path | None, Parameter(group=_LIST)] = None,
    root: Annotated[Path | None, Parameter(group=_LIST)] = None,
    on_error: Annotated[Literal["raise", "skip"] | None, Parameter(group=_LIST)] = None,
    device: str = "auto",
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Compare two pictures, or each pair of a list: similarity, probability, and whether they match.

    For example:

        pairsim compare runs/faces one.png other.png

        pairsim compare runs/faces --pairs pairs.csv --out verdicts.csv

    Args:
        run: Run or model folder.
        first: Picture file.
        second: Picture file.
        threshold: Similarity from which a pair counts as a match; by default the model's own.
        pairs: CSV file with rows first,second or first,second,target (1 = same class, 0 = different), instead of two
            pictures.
        out: CSV file for the verdicts.
        root: Folder that the paths of --pairs start from; by default the folder of that file.
        on_error: "raise", the default, stops at a picture that cannot be read; "skip" leaves out its pairs and names
            it.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        json: Print one JSON object.
    """
    if pairs is None:
        if first is None or second is None:
            raise UsageError("Expected two pictures, or --pairs with a CSV file. See: pairsim compare --help")
        for name, value in (("--out", out), ("--root", root), ("--on-error", on_error)):
            if value is not None:
                raise UsageError(f"Expected {name} only with --pairs, got it with two pictures. Leave it out.")
    elif first is not None:
        raise UsageError("Expected either two pictures or --pairs, got both. Leave one of them out.")
    if threshold is not None and not -1.0 <= threshold <= 1.0:
        raise UsageError(f"Expected --threshold to be a similarity in [-1, 1], got {threshold}.")
    model = SimilarityModel.from_pretrained(run).to(resolve_device(device))
    if pairs is not None:
        verdicts = verify_pairs(model, pairs, threshold=threshold, on_error=on_error or "raise", root=root)
        if out is not None:
            verdicts.to_csv(out)
            note(f"Verdicts written to {out}.")
        print_result(verdicts.to_dict(), _describe_all(verdicts, listed=out is None), as_json=json)
    elif first is not None and second is not None:
        verdict = model.verify(first, second, threshold)
        result = {"first": first, "second": second, **dataclasses.asdict(verdict)}
        print_result(result, describe(verdict, first, second), as_json=json)


def describe(verdict: Verdict, first: str, second: str) -> str:
    """Return a verdict in two lines, with the names of the pictures."""
    decision, numbers = str(verdict).splitlines()
    return f"{decision}: {os.path.basename(first)} and {os.path.basename(second)}\n{numbers}"


def _describe_all(verdicts: PairVerdicts, *, listed: bool) -> str:
    lines = [
        f"{'MATCH   ' if match else 'NO MATCH'}  similarity {similarity:7.4f}  probability {probability:.4f}  "
        f"{first} and {second}"
        for first, second, similarity, probability, match in zip(
            verdicts.first,
            verdicts.second,
            verdicts.similarity.tolist(),
            verdicts.probability.tolist(),
            verdicts.match.tolist(),
            strict=True,
        )
    ]
    return "\n".join([*(lines if listed else []), str(verdicts)])
