"""`pairsim duplicates`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import pairsim
from pairsim._common.choices import OnError
from pairsim.cli.arguments import Device, Flag, Json, check_out, load_model
from pairsim.cli.output import expect, note, print_result
from pairsim.cli.pictures.duplicate_moves import check_options, clean_up, stamps_before, undo_journal, write_page


def duplicates(
    folder: Annotated[Path | None, Parameter(help="Folder of pictures, with all of its sub-folders.")] = None,
    /,
    *,
    against: Path | None = None,
    run: Path | None = None,
    threshold: float | None = None,
    target_false_rate: float | None = None,
    index: Path | None = None,
    out: Path | None = None,
    page: Path | None = None,
    move_to: Path | None = None,
    link: Flag = False,
    decisions: Path | None = None,
    apply: Flag = False,
    undo: Path | None = None,
    on_error: OnError = "raise",
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Find pictures that a folder has more than once, exactly or nearly; nothing is deleted.

    Look at them on a page with --page. With --move-to or --link the command says what it would do; with --apply it
    does that, and writes a journal with which --undo restores everything.

    Each cluster names the picture to keep, why, and the copies of it, with what was changed: compressed again, resized,
    other light or colours, grey, blurred, mirrored, turned, cropped, with a border, or with a text or logo. Pictures
    that are similar but not the same, such as bursts, are listed apart.

    For example:

        pairsim duplicates photos

        pairsim duplicates photos --out duplicates.csv --on-error skip

        pairsim duplicates new-photos --against archive

        pairsim duplicates archive --index archive.index

        pairsim duplicates new-photos --against galleries/products --run runs/products --threshold 0.999

        pairsim duplicates photos --run runs/faces --threshold 0.999

        pairsim duplicates photos --page duplicates.html

        pairsim duplicates photos --move-to photos-out --apply

    Args:
        against: Second folder, whose pictures are kept: finds what of FOLDER is there already. One of the two may be
            inside of the other. With --run also a saved gallery.
        run: Run or model folder, to compare pictures by its model, on --device; by default their pixels are compared.
        threshold: Similarity from which pictures are duplicates: 0.8 by default; required with --run, where 0.999 is a
            good start.
        target_false_rate: Instead of --threshold, the share of pairs of different pictures that may be duplicates by
            chance, such as 1e-7. It is measured on these pictures, and so is which copies are found; this takes a few
            minutes.
        index: SQLite file that keeps what was read of the pictures, made if there is none. The next search with it
            reads only new and changed files, and so does one after an interruption.
        out: CSV file for the clusters: cluster, file, similarity, kind, keep.
        page: HTML page to write: the pictures of each cluster side by side, and how they differ.
        move_to: Folder outside of FOLDER and of --against to move duplicates to, with their sub-folders; those that
            are kept stay.
        link: Replace files that are identical byte by byte by hard links to the one that is kept.
        decisions: File decisions.json of the page, for --move-to or --link: what to keep and what may go.
        apply: Do what --move-to or --link says.
        undo: Journal of an earlier --apply, without FOLDER: put everything back as it was.
        on_error: "raise" stops at a picture or folder that cannot be read; "skip" leaves it out and names it.
    """
    if undo is not None:
        others = (folder, against, run, threshold, index, out, page, move_to, decisions, link or None, apply or None)
        expect(others.count(None) == len(others), "--undo without FOLDER and without other options.")
        undo_journal(undo, json)
        return
    expect(folder is not None, "FOLDER, or --undo JOURNAL.")
    assert folder is not None
    check_options(folder, against, page, move_to, link=link, decisions=decisions, apply=apply)
    expect(
        target_false_rate is None or (threshold is None and run is None),
        "--target-false-rate without --threshold and --run, as it chooses a threshold for pixels. Give one only.",
    )
    if target_false_rate is not None:
        expect(
            0.0 < target_false_rate < 1.0, f"--target-false-rate to be above 0 and below 1, got {target_false_rate}."
        )
    expect(index is None or run is None, "--index without --run, as a model does not use what it holds. Give only one.")
    expect(
        run is None or threshold is not None,
        "--threshold with --run, because the model's own separates classes, not duplicates. Start with 0.999.",
    )
    if threshold is not None and run is None:
        expect(0.0 < threshold <= 1.0, f"--threshold to be above 0 and at most 1, got {threshold}.")
    elif threshold is not None:
        expect(-1.0 <= threshold <= 1.0, f"--threshold to be in [-1, 1] with --run, got {threshold}.")
    if out is not None:
        check_out(out)
    from pairsim.images.folders import account
    from pairsim.search.gallery_files import is_gallery

    of_gallery = against is not None and is_gallery(against)
    expect(not of_gallery or run is not None, "--run with --against GALLERY: the model that made it.")
    expect(
        not of_gallery or (page is None and move_to is None and not link),
        "--against GALLERY without --page, --move-to and --link, as a gallery has no pictures that could be kept.",
    )
    model = None if run is None else load_model(run, device)
    kept: Path | pairsim.Gallery | None = against
    if of_gallery:
        assert against is not None
        assert model is not None
        kept, model = pairsim.Gallery.load(against, model), None  # a gallery has its model
    stamps = stamps_before(folder, against, on_error) if move_to is not None or link else {}
    report = pairsim.find_duplicates(
        folder,
        against=kept,
        model=model,
        threshold=threshold,
        target_false_rate=target_false_rate,
        index=index,
        on_error=on_error,
    )
    if out is not None:
        report.to_csv(out)
        note(f"Clusters written to {out}.")
    if page is not None:
        write_page(report, folder, page)
    if against is None:
        note(account(folder, report.num_images + len(report.skipped), report.left_out))
    result, text = report.to_dict(), report.describe()
    if move_to is not None or link:
        done = clean_up(report, folder, stamps, move_to, decisions, apply=apply)
        result, text = {**result, "moves": {"applied": apply, **done.to_dict()}}, f"{text}\n\n{done.describe()}"
    print_result(result, text, json)
