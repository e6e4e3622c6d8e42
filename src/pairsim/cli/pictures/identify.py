"""`pairsim identify`."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from cyclopts import Parameter

import pairsim
from pairsim._common.choices import OnError
from pairsim.cli.arguments import BatchSize, Device, Json, Run, Share, Threshold, load_model
from pairsim.cli.output import expect, note, print_result
from pairsim.cli.pictures.galleries import GalleryFolder, stale
from pairsim.errors import printable


def identify(
    run: Run,
    gallery: GalleryFolder,
    picture: list[str],
    /,
    *,
    target_fpir: Share | None = None,
    threshold: Annotated[Threshold, Parameter(help="Similarity that an identity has to reach.")] = None,
    on_error: OnError = "raise",
    batch_size: BatchSize = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Name the identity of the gallery that each picture shows, or say that it shows none of them.

    The threshold is the one that pairsim gallery calibrate stored in the gallery, unless one is given here.

    Args:
        picture: Picture files.
        target_fpir: Use the threshold for this false positive identification rate instead, measured with the
            gallery's own pictures, such as 0.01: the share of unknown pictures that are assigned an identity.
        on_error: "raise" stops at a picture that cannot be read; "skip" leaves it out and counts it.
    """
    expect(target_fpir is None or threshold is None, "--target-fpir or --threshold, got both.")
    kept = pairsim.Gallery.load(gallery, load_model(run, device))
    if target_fpir is not None:
        calibration = pairsim.calibrate_gallery(kept, target_fpir=target_fpir)
        for line in str(calibration).split("\n"):
            note(line)
    elif threshold is None and kept.calibration is None:
        from pairsim.errors import DataError

        raise DataError(
            f"Expected a threshold, but the gallery {gallery} has none yet. Choose it by the share of unknown pictures "
            "that may be assigned an identity: pairsim gallery calibrate, or --target-fpir 0.01 here."
        )
    size = len(set(kept.identities))
    if threshold is None and kept.calibration is not None and kept.calibration.is_stale(size):
        note(f"Warning: {stale(kept.calibration, size)}")
    encoded = pairsim.encode_pictures(kept.model, picture, on_error=on_error, batch_size=batch_size)
    for skipped in encoded.skipped:
        note(f"Skipped: {skipped.reason}")
    names = [picture[index] for index in encoded.indices.tolist()]
    found = kept.identify_embeddings(encoded.embeddings, threshold)
    results = [{"query": name, **dataclasses.asdict(one)} for name, one in zip(names, found, strict=True)]
    used = threshold if kept.calibration is None or threshold is not None else kept.calibration.threshold
    lines = [f"{printable(name)}: {_without_rate(one)}" for name, one in zip(names, found, strict=True)]
    lines.append(_summary(used, found, size, len(encoded.skipped)))
    result = {
        "results": results,
        "threshold": used,
        "fpir": found[0].fpir if found else None,
        "num_identities": size,
        "num_skipped": len(encoded.skipped),
    }
    print_result(result, "\n".join(lines), json)


def _without_rate(one: pairsim.Identification) -> str:
    return printable(str(dataclasses.replace(one, fpir=None)))


def _summary(threshold: float | None, found: list[pairsim.Identification], size: int, num_skipped: int) -> str:
    rate = found[0].fpir if found else None
    expected = "" if rate is None else f", where {rate:.2%} of unknown pictures are assigned an identity"
    left_out = f"; {num_skipped:,} skipped" if num_skipped else ""
    return f"{size:,} identities; threshold {threshold:.4f}{expected}{left_out}"
