"""`pairsim gallery`: keep a gallery of enrolled pictures."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

from cyclopts import Parameter

import pairsim
from pairsim._common.choices import OnError, QualityGate
from pairsim.cli.arguments import BatchSize, Device, Flag, Json, Share, Threshold, check_out, load_model
from pairsim.cli.output import UsageError, expect, note, print_result
from pairsim.cli.pictures.gallery_pictures import found_pictures, some_of
from pairsim.errors import DataError, printable

if TYPE_CHECKING:
    from pairsim.data.image_sets import LabelledData
    from pairsim.search.gallery_ids import Id
    from pairsim.search.stored_gallery import StoredGallery

GalleryFolder: TypeAlias = Annotated[Path, Parameter(help="Folder of the gallery.")]
OfRun: TypeAlias = Annotated[Path, Parameter(name="--run", help="Run or model folder, whose model the gallery is of.")]


def gallery() -> None:
    """Keep a gallery: enrol pictures, remove, list, choose its threshold."""


def add(
    gallery: GalleryFolder,
    pictures: list[Path],
    /,
    *,
    run: OfRun,
    identity: str | None = None,
    replace: Flag = False,
    on_error: OnError = "raise",
    quality: QualityGate = "warn",
    batch_size: BatchSize = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Enrol pictures in a gallery, which is made if needed.

    The pictures of a folder inside a given folder are of one identity, with the name of that folder: after
    pairsim gallery add shop products --run run, products/tea/1.jpg is a picture of "tea". A folder with a metadata.csv,
    or with train, val and test, is read as by pairsim train, and all of these are enrolled: products/train/tea/1.jpg is
    a picture of "tea" too. Other pictures are each an identity of their own, unless --identity names one.

    Args:
        pictures: Picture files, and folders of them with all sub-folders.
        identity: What all of these pictures show.
        replace: Replace pictures that are enrolled with the same id; otherwise they are an error. The id is the path
            within the given folder, or the name of a given file, after --identity and a slash if that is given.
        on_error: "raise" stops at a picture or folder that cannot be read; "skip" leaves it out and counts it.
        quality: "warn" names pictures that are too small, too dark, without contrast or blurred; "refuse" also leaves
            them out, with --replace also where they were enrolled before, and counts them as failed to enrol; "off"
            does not look.
    """
    from pairsim._common.storage import check_writable
    from pairsim.search.gallery_files import is_gallery
    from pairsim.search.gallery_ids import given_name
    from pairsim.search.stored_gallery import open_stored
    from pairsim.training.checkpointing.run_lock import locked_folder

    expect(identity != "", "--identity with a name, got none. Give one, or leave it out.")
    check_writable(gallery, "a folder")
    with locked_folder(gallery):
        expect_no_other_files(gallery, "a folder")
        model = load_model(run, device)
        stored = None if replace else open_stored(gallery, model)
        is_loaded = stored is None and is_gallery(gallery)
        changed = pairsim.Gallery.load(gallery, model) if is_loaded else pairsim.Gallery(model)
        paths, ids, identities = found_pictures(pictures, identity, on_error)
        there, shown = (changed, set(changed.identities)) if stored is None else stored.known(ids, identities)
        of = [given_name(name, shown) for name in identities]
        known = [name for name in ids if name in there]
        expect(replace or not known, f"pictures that are not enrolled, got {some_of(known)}, already there. To replace "
               "them give --replace.")  # fmt: skip
        enrol = changed.update if replace else changed.add
        skipped = enrol(paths, ids, identities=of, on_error=on_error, quality=quality, batch_size=batch_size)
        for picture in skipped:
            note(f"Skipped: {picture.reason}")
        refused = [ids[picture.index] for picture in skipped.flawed if quality == "refuse"]
        if leaving := [name for name in refused if name in changed]:  # enrolled before, from the same files
            changed.remove(leaving, failed=True)
        replaced = len({*known} - {ids[picture.index] for picture in skipped})
        added = len(ids) - len(skipped) - replaced
        kept: pairsim.Gallery | StoredGallery = changed
        if stored is None:
            changed.save(gallery)
        else:
            kept = stored.append(changed, shown)
    text = f"{added:,} pictures enrolled" + (f", {replaced:,} replaced" if replaced else "")
    if skipped:
        text += f", {len(skipped):,} failed to enrol"
    if skipped.flawed:
        text += f", {len(skipped.flawed):,} of poor quality"
    result = {
        "num_added": added,
        "num_replaced": replaced,
        "num_failed_to_enrol": len(skipped),
        "quality": [
            {"file": picture.name, "reasons": [flaw.to_dict() for flaw in picture.flaws]} for picture in skipped.flawed
        ],
        **_counts(kept),
    }
    print_result(result, f"{text}\n{_described(kept)}", json)


def remove(
    gallery: GalleryFolder, names: list[str], /, *, run: OfRun, device: Device = "auto", json: Json = False
) -> None:
    """Remove identities with all of their pictures, or single pictures, from a gallery.

    Args:
        names: Identities, or ids of pictures, as `pairsim gallery list` prints them. Where a name is both, write
            ./NAME for the picture alone, or NAME/ for the identity with all of its pictures.
    """
    from pairsim.search.named_pictures import named_pictures
    from pairsim.training.checkpointing.run_lock import locked_folder

    with locked_folder(gallery):
        kept = pairsim.Gallery.load(gallery, load_model(run, device))
        leaving: list[Id] = []
        for name in names:
            found = named_pictures(kept, name)
            if not found:
                listing = shlex.join(["pairsim", "gallery", "list", str(gallery), "--run", str(run)])
                raise DataError(
                    f"Expected identities or pictures of the gallery, got {printable(name)!r}, which is neither. "
                    f"Nothing was removed. See those with: {listing} (--json for pictures)."
                )
            leaving += found
        kept.remove(leaving)
        kept.save(gallery)
    result = {"num_removed": len(set(leaving)), **_counts(kept)}
    print_result(result, f"{len(set(leaving)):,} pictures removed\n{_described(kept)}", json)


def list_(gallery: GalleryFolder, /, *, run: OfRun, device: Device = "auto", json: Json = False) -> None:
    """List the identities of a gallery, and how many pictures each has.

    With --json, the ids of their pictures too.
    """
    kept = pairsim.Gallery.load(gallery, load_model(run, device))
    of: dict[Id, list[Id]] = {}
    for name, identity in zip(kept.ids, kept.identities, strict=True):
        of.setdefault(identity, []).append(name)
    lines = [f"{len(ids):>6}  {printable(str(identity))}" for identity, ids in of.items()]
    result = {
        "identities": [{"id": identity, "images": ids} for identity, ids in of.items()],
        **_counts(kept),
    }
    print_result(result, "\n".join([*lines, _described(kept)]), json)


def info(gallery: GalleryFolder, /, *, run: OfRun, device: Device = "auto", json: Json = False) -> None:
    """Show the size of a gallery, its threshold, and what error rates are expected at it."""
    kept = pairsim.Gallery.load(gallery, load_model(run, device))
    sizes = Counter(Counter(kept.identities).values())
    pictures = ", ".join(f"{number:,} with {size:,}" for size, number in sorted(sizes.items()))
    result = {
        **_counts(kept),
        "failed_to_enrol": kept.failed_to_enrol,
        "embedding_dim": kept.embeddings.shape[1],
        "calibration": None if kept.calibration is None else kept.calibration.to_dict(),
    }
    failed = kept.failed_to_enrol
    lines = [_described(kept), f"identities by pictures: {pictures or 'none'}"]
    if failed:
        lines.append(f"failed to enrol: {len(failed):,}, {some_of(list(map(str, failed)))}")
    print_result(result, "\n".join([*lines, _rates(kept)]), json)


def calibrate(
    gallery: GalleryFolder,
    /,
    *,
    run: OfRun,
    target_fpir: Share = 0.01,
    unknown: Path | None = None,
    prior: Share = 0.5,
    batch_size: BatchSize = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Choose the threshold of a gallery by the share of unknown pictures that may be assigned an identity.

    The rate is measured with the gallery's own pictures, each searched without its own identity, or with --unknown.

    Args:
        target_fpir: Highest false positive identification rate, such as 0.01.
        unknown: Folder of pictures that are not of the gallery's identities, with one sub-folder per identity; none
            may be named like an identity of the gallery.
        prior: Share of pictures in use that are of enrolled identities, for probabilities.
    """
    from pairsim.training.checkpointing.run_lock import locked_folder

    with locked_folder(gallery):
        kept = pairsim.Gallery.load(gallery, load_model(run, device))
        others = None
        if unknown is not None:
            others = _labelled(unknown, kept)
        calibration = pairsim.calibrate_gallery(
            kept,
            target_fpir=target_fpir,
            unknown=others,
            prior=prior,
            source="" if unknown is None else str(unknown),
            batch_size=batch_size,
        )
        kept.save(gallery)
    result = {**_counts(kept), "calibration": calibration.to_dict()}
    print_result(result, f"{_rates(kept)}\nStored in {gallery}: pairsim identify uses it from now on.", json)


def evaluate(
    gallery: GalleryFolder,
    folder: Path,
    /,
    *,
    run: OfRun,
    threshold: Threshold = None,
    out: Path | None = None,
    on_error: OnError = "raise",
    batch_size: BatchSize = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Measure the errors of a gallery with pictures that are not in it, of those enrolled and of others.

    Args:
        folder: Folder with one sub-folder per identity, a metadata.csv, or train, val and test, as for pairsim gallery
            add. Identities with the name of an enrolled one are that one, all others are unknown.
        out: HTML page to write as well, with curves, tables and how they were measured; ends in .html.
        on_error: "raise" stops at a picture or folder that cannot be read; "skip" leaves it out, and counts it as a
            failure to acquire.
    """
    if out is not None:
        check_out(out, ".html", ".htm")
    in_range = threshold is None or -1.0 <= threshold <= 1.0
    expect(in_range, f"--threshold to be a similarity in [-1, 1], got {threshold}.")
    kept = pairsim.Gallery.load(gallery, load_model(run, device))
    images = _labelled(folder, kept, on_error)
    report = pairsim.evaluate_gallery(kept, images, threshold=threshold, batch_size=batch_size)
    if out is not None:
        from pairsim.report import write_identification_report

        where = str(kept.model.device)
        write_identification_report(report, out, gallery=str(gallery), data=str(folder), device=where)
        note(f"Wrote {out}.")
    print_result(
        {**report.to_dict(), "left_out": () if images.account is None else images.account.left_out}, str(report), json
    )


def reembed(
    gallery: GalleryFolder,
    folder: Path,
    /,
    *,
    run: OfRun,
    out: Path,
    batch_size: BatchSize = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Make a gallery for another model from the pictures of an old one, and compare both.

    Args:
        folder: Folder that the ids of the old gallery are paths in.
        out: Folder of the new gallery, which must not hold one yet. The old one stays as it is.
    """
    from pairsim._common.storage import check_writable
    from pairsim.search.gallery_files import is_gallery
    from pairsim.search.identification.reembedding import reembedded

    taken = f"--out to name a folder without a gallery, got {out}, which has one. Choose another folder."
    expect(not is_gallery(out), taken)
    expect_no_other_files(out, "--out to name a folder")
    check_writable(out, "a folder")
    kept, agreement = reembedded(gallery, folder, load_model(run, device), batch_size=batch_size)
    kept.save(out)
    print_result({**_counts(kept), "agreement": agreement.to_dict()}, f"{_described(kept)}\n{agreement}", json)


COMMANDS = (add, remove, list_, info, calibrate, evaluate, reembed)


def expect_no_other_files(folder: Path, what: str) -> None:
    """Check that a folder is new, empty or a gallery: a gallery does not share a folder with pictures or a run."""
    from pairsim.search.gallery_files import other_files

    other = other_files(folder) if os.path.isdir(folder) else []
    if other:
        raise UsageError(
            f"Expected {what} of a gallery, or a new one, got {folder}, which has other files, such as "
            f"{printable(other[0])}. Choose another folder."
        )


def _labelled(folder: Path, gallery: pairsim.Gallery, on_error: OnError = "raise") -> LabelledData:
    """Read a folder with one sub-folder per identity, and say what it has."""
    from pairsim.data import load_data

    images = load_data(folder, "all", preprocessing=gallery.model.preprocessing, on_error=on_error)
    if images.account is not None:
        note(images.account.line(*images.account.splits))
    return images


def _counts(gallery: pairsim.Gallery | StoredGallery) -> dict[str, int]:
    return {"num_images": len(gallery), "num_identities": gallery.num_identities}


def _described(gallery: pairsim.Gallery | StoredGallery) -> str:
    """Return the size of a gallery, and whether its threshold still holds."""
    counts = _counts(gallery)
    text = f"{counts['num_images']:,} pictures of {counts['num_identities']:,} identities"
    calibration = gallery.calibration
    if calibration is None or not calibration.is_stale(counts["num_identities"]):
        return text
    return f"{text}\n{stale(calibration, counts['num_identities'])}"


def stale(calibration: pairsim.GalleryCalibration, num_identities: int) -> str:
    """Return a sentence on the rate of a gallery whose identities are new, in part, since it was calibrated."""
    if calibration.is_replaced(num_identities):
        return (
            f"The threshold was chosen with {calibration.num_identities:,} identities, now {num_identities:,}, of "
            f"which {calibration.num_left:,} were there then: the FPIR of {calibration.fpir:.2%} need not hold for "
            "these. Choose it again: pairsim gallery calibrate"
        )
    predicted = calibration.fpir_at(num_identities)
    rate = "not predicted" if predicted is None else f"{predicted.fpir:.2%} [{predicted.low:.2%}, {predicted.high:.2%}]"
    return (
        f"The threshold was chosen with {calibration.num_identities:,} identities, now {num_identities:,}: an FPIR of "
        f"{rate} is expected, not {calibration.fpir:.2%}. Choose it again: pairsim gallery calibrate"
    )


def _rates(gallery: pairsim.Gallery) -> str:
    if gallery.calibration is None:
        return "no threshold yet: pairsim gallery calibrate"
    later = [
        f"  {entry.num_identities:>9,.0f} identities: FPIR {entry.fpir:.2%} [{entry.low:.2%}, {entry.high:.2%}]"
        for entry in gallery.calibration.predictions[1:]
    ]
    return "\n".join([str(gallery.calibration), "expected at the same threshold when the gallery has grown:", *later])
