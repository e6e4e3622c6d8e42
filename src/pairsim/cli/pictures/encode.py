"""`pairsim encode`."""

from __future__ import annotations

from pathlib import Path

import pairsim
from pairsim._common.choices import OnError, PrecisionName
from pairsim.cli.arguments import BatchSize, Device, Json, Pictures, Run, check_out, load_model
from pairsim.cli.output import note, print_result


def encode(
    run: Run,
    folder: Pictures,
    /,
    *,
    out: Path,
    on_error: OnError = "raise",
    batch_size: BatchSize = None,
    precision: PrecisionName = "fp32",
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Write the embeddings of the pictures of a folder to a file.

    Args:
        out: File to write: .npz for NumPy, with the arrays ids and embeddings, or .csv with a line for each picture.
        on_error: "raise" stops at a picture or folder that cannot be read and names it; "skip" leaves it out.
        precision: "fp32", "bf16", "fp16", or "auto" for 16 bits where the hardware computes in them.
    """
    import numpy as np

    from pairsim._common.csv_files import write_csv
    from pairsim._common.storage import replacing
    from pairsim.images.folders import scan

    ending = check_out(out, ".npz", ".csv")
    model = load_model(run, device)
    found = scan(folder, on_error)
    note(str(found))
    pictures = pairsim.encode_pictures(
        model, found.pictures, on_error=on_error, batch_size=batch_size, precision=precision
    )
    ids = [_id_of(name, folder) for name in pictures.names]
    embeddings = pictures.embeddings.cpu().numpy()
    if ending == ".npz":
        with replacing(out) as file:
            np.savez(file, ids=np.array(ids, dtype=np.str_), embeddings=embeddings)
    else:
        header = ["id", *(f"e{index}" for index in range(embeddings.shape[1]))]
        rows = zip(ids, embeddings, strict=True)  # nine digits give back the same float32
        write_csv(out, header, ([name, *(f"{value:.9g}" for value in row)] for name, row in rows))
    result = {
        "num_images": len(pictures),
        "embedding_dim": embeddings.shape[1],
        "skipped": [{"id": _id_of(skipped.name, folder), "reason": skipped.reason} for skipped in pictures.skipped],
        "left_out": found.left_out,
        "seconds": pictures.seconds,
        "decoding": pictures.decoding,
        "out": str(out),
    }
    print_result(result, f"{pictures}\nwritten to {out}: {embeddings.shape[1]} numbers for each picture", json)


def _id_of(name: str | None, folder: Path) -> str:
    """The path below the folder, with slashes on every system."""
    assert name is not None, "a folder has files"
    return Path(name).relative_to(folder).as_posix()
