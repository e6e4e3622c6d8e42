"""`pairsim compare`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

import pairsim
from pairsim._common.choices import OnError
from pairsim.cli.arguments import Device, Json, Run, Threshold, check_out, load_model
from pairsim.cli.output import expect, note, print_result
from pairsim.errors import printable

_ManyPairs = Parameter(group=Group("Many pairs"))


def compare(
    run: Run,
    first: str | None = None,
    second: str | None = None,
    /,
    *,
    threshold: Threshold = None,
    pairs: Annotated[Path | None, _ManyPairs] = None,
    out: Annotated[Path | None, _ManyPairs] = None,
    root: Annotated[Path | None, _ManyPairs] = None,
    on_error: Annotated[OnError | None, _ManyPairs] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Compare two pictures, or each pair of a list: similarity, probability, and whether they match.

    For example:

        pairsim compare runs/faces one.png other.png

        pairsim compare runs/faces --pairs pairs.csv --out verdicts.csv

    Args:
        first: Picture file.
        second: Picture file.
        pairs: CSV file with rows first,second or first,second,target (1 = same class, 0 = different), instead of two
            pictures.
        out: CSV file for the verdicts.
        root: Folder that the paths of --pairs start from; by default the folder of that file.
        on_error: "raise", the default, stops at a picture that cannot be read; "skip" leaves out its pairs and names
            it.
    """
    if pairs is None:
        expect(None not in (first, second), "two pictures, or --pairs with a CSV file. See: pairsim compare --help")
        for name, value in (("--out", out), ("--root", root), ("--on-error", on_error)):
            expect(value is None, f"{name} only with --pairs, got it with two pictures. Leave it out.")
    else:
        expect(first is None, "either two pictures or --pairs, got both. Leave one of them out.")
    if out is not None:
        check_out(out)
    model = load_model(run, device)
    if pairs is not None:
        verdicts = pairsim.verify_pairs(model, pairs, threshold=threshold, on_error=on_error or "raise", root=root)
        if out is not None:
            verdicts.to_csv(out)
            note(f"Verdicts written to {out}.")
        columns = (verdicts.similarity.tolist(), verdicts.probability.tolist(), verdicts.match.tolist())
        rows = zip(verdicts.first, verdicts.second, *columns, strict=True) if out is None else ()
        lines = [
            f"{'MATCH   ' if match else 'NO MATCH'}  similarity {similarity:7.4f}  probability {probability:.4f}  "
            f"{printable(one)} and {printable(other)}"
            for one, other, similarity, probability, match in rows
        ]
        print_result(verdicts.to_dict(), "\n".join([*lines, str(verdicts)]), json)
    elif first is not None and second is not None:
        verdict = model.verify(first, second, threshold)
        result = {"first": first, "second": second, **vars(verdict)}
        print_result(result, describe(verdict, first, second), json)


def describe(verdict: pairsim.Verdict, first: str, second: str) -> str:
    """Return a verdict in two lines, with the names of the pictures."""
    decision, numbers = str(verdict).splitlines()
    return f"{decision}: {printable(os.path.basename(first))} and {printable(os.path.basename(second))}\n{numbers}"
