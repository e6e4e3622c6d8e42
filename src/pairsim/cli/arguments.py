"""Arguments that several commands share: their types and help, their checks, and loading the model of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from cyclopts import Parameter
from cyclopts.validators import Number

import pairsim
from pairsim._common.choices import DEVICES, OnError, Split, is_device_name
from pairsim.cli.output import expect, note

if TYPE_CHECKING:
    from pairsim.runs.run_data import Judged


def _similarity(_: Any, value: float | None) -> None:
    if value is not None and not -1.0 <= value <= 1.0:  # also of NaN
        raise ValueError("Give a similarity in [-1, 1], such as 0.5.")


def _device(_: Any, value: str) -> None:
    if not is_device_name(value):
        raise ValueError(f"Give {DEVICES}.")


Run: TypeAlias = Annotated[Path, Parameter(help="Run or model folder.")]
Data: TypeAlias = Annotated[
    str,
    Parameter(
        help="mnist, fashion-mnist, digits, or a folder: with one sub-folder per class (or train, val, test above), or "
        "a metadata.csv with the columns file_name and label."
    ),
]
ClassLevel: TypeAlias = Annotated[
    int | None,
    Parameter(
        validator=Number(gte=1),
        help="Which folders below DATA are classes: 1 the first, 2 those in these, ...; by default as in training.",
    ),
]
OnErrors: TypeAlias = Annotated[
    OnError | None,
    Parameter(
        help='"raise" stops at pictures or folders that cannot be read and names them; "skip" leaves them out, with '
        "their --pairs, and counts them; by default as in training.",
    ),
]
Groups: TypeAlias = Annotated[
    str | None,
    Parameter(
        help="Report errors of groups of images, such as cameras or sites: a column of metadata.csv, or a regular "
        "expression that is searched in the folder name, then in the path; its first group in parentheses, or the "
        'whole match, is the name. With --pairs also "group", their column.'
    ),
]
DataDir: TypeAlias = Annotated[
    Path | None, Parameter(help="Folder of mnist and fashion-mnist; by default PAIRSIM_DATA, else the user's cache.")
]
Pictures: TypeAlias = Annotated[Path, Parameter(help="Folder of pictures, with all of its sub-folders.")]
Threshold: TypeAlias = Annotated[
    float | None,
    Parameter(
        validator=_similarity, help="Similarity from which a pair counts as a match; by default the model's own."
    ),
]
Share: TypeAlias = Annotated[float, Parameter(validator=Number(gt=0, lt=1))]
Device: TypeAlias = Annotated[str, Parameter(validator=_device, help=f"{DEVICES}.")]
BatchSize: TypeAlias = Annotated[
    int | None, Parameter(validator=Number(gte=1), help="Images embedded at once; by default what suits the device.")
]
Json: TypeAlias = Annotated[bool, Parameter(negative=(), help="Print one JSON object.")]
Flag: TypeAlias = Annotated[bool, Parameter(negative=())]


def load_model(run: Path, device: str) -> pairsim.SimilarityModel:
    """Load the model of a run or model folder onto a device; note if it gives every pair the same decision."""
    from pairsim._common.devices import resolve_device
    from pairsim.models.verdict import first_warning

    model = pairsim.SimilarityModel.from_pretrained(run).to(resolve_device(device))
    warning = first_warning(model)
    if warning is not None:
        note(f"Warning: {warning}")
    return model


def load_judged(
    run: Path,
    model: pairsim.SimilarityModel,
    data: str,
    split: Split,
    *,
    pairs: Path | None,
    data_dir: Path | None,
    class_level: int | None,
    on_error: OnError | None,
    groups: str | None = None,
) -> Judged:
    """Load what a run is judged on, as `load_evaluation_data` does; note what was read, and what to be wary of."""
    from pairsim.runs.run_data import load_evaluation_data

    images = load_evaluation_data(
        run,
        model,
        data,
        split,
        pairs=pairs,
        data_dir=data_dir,
        class_level=class_level,
        groups=groups,
        on_error=on_error,
    )
    note(images.account)
    note(images.warning)
    note(images.trained)
    return images


def skipped_of(images: Judged) -> dict[str, Any]:
    """Return the keys of `--json` on pairs that were left out; none where all pairs are of labelled images."""
    if images.class_names:
        return {}
    return {"num_skipped": 0, "skipped": []} if images.skipped is None else images.skipped.to_dict()


def check_out(out: Path, *endings: str) -> str:
    """Check the file to write before the work begins, and return its ending in lower case.

    Raises:
        RunError: If it cannot be written.
        UsageError: If its ending is none of `endings`, where some are given.
    """
    from pairsim._common.storage import check_writable

    ending = out.suffix.lower()
    expect(not endings or ending in endings, f"--out to end in {' or '.join(endings)}, got {out.name}.")
    check_writable(out)
    return ending
