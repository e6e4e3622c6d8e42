"""`pairsim encode`."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from cyclopts import Parameter

from pairsim._common import storage
from pairsim._common.choices import OnError, PrecisionName
from pairsim._common.devices import resolve_device
from pairsim.cli.output import UsageError, print_result
from pairsim.encoding.pictures import encode_pictures
from pairsim.images import pictures_below
from pairsim.models import SimilarityModel

_SUFFIXES = (".npz", ".csv")


def encode(
    run: Path,
    folder: Path,
    /,
    *,
    out: Path,
    on_error: OnError = "raise",
    precision: PrecisionName = "fp32",
    device: str = "auto",
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Write the embeddings of the pictures of a folder to a file.

    Args:
        run: Run or model folder.
        folder: Folder of pictures, with all of its sub-folders.
        out: File to write: .npz for NumPy, with the arrays ids and embeddings, or .csv with a line for each picture.
        on_error: What happens to a picture that cannot be read: "raise" ends with its name, "skip" leaves it out.
        precision: "fp32", "bf16", "fp16", or "auto" for 16 bits where the hardware computes in them.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        json: Print one JSON object.
    """
    if out.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"Expected --out to end in {' or '.join(_SUFFIXES)}, got {out}.")
    model = SimilarityModel.from_pretrained(run).to(resolve_device(device))
    found = encode_pictures(model, pictures_below(folder), on_error=on_error, precision=precision)
    ids = [_id_of(name, folder) for name in found.names]
    embeddings = found.embeddings.cpu().numpy()
    if out.suffix.lower() == ".npz":
        with storage.replacing(out) as file:
            np.savez(file, ids=np.array(ids, dtype=np.str_), embeddings=embeddings)
    else:
        storage.write_file(out, _to_csv(ids, embeddings))
    result = {
        "num_images": len(found),
        "embedding_dim": embeddings.shape[1],
        "skipped": [{"id": _id_of(one.name, folder), "reason": one.reason} for one in found.skipped],
        "seconds": found.seconds,
        "decoding": found.decoding,
        "out": str(out),
    }
    print_result(result, f"{found}\nwritten to {out}: {embeddings.shape[1]} numbers for each picture", as_json=json)


def _id_of(name: str | None, folder: Path) -> str:
    """The path below the folder, with slashes on every system."""
    assert name is not None, "a folder has files"
    return Path(name).relative_to(folder).as_posix()


def _to_csv(ids: list[str], embeddings: npt.NDArray[np.float32]) -> bytes:
    """A header and a line for each picture; nine digits give back the same float32."""
    text = io.StringIO(newline="")
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["id", *(f"e{place}" for place in range(embeddings.shape[1]))])
    lines.writerows([name, *(f"{value:.9g}" for value in row)] for name, row in zip(ids, embeddings, strict=True))
    return text.getvalue().encode()
