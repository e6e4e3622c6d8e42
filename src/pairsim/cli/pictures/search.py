"""`pairsim search`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pairsim
from pairsim._common.choices import OnError
from pairsim.cli.arguments import BatchSize, Device, Json, Run, Threshold, load_model
from pairsim.cli.output import expect, note, print_result
from pairsim.errors import ImageReadError, printable

if TYPE_CHECKING:
    from torch import Tensor


def search(
    run: Run,
    gallery_folder: Path,
    query: list[str],
    /,
    *,
    top: int = 5,
    threshold: Threshold = None,
    save: Path | None = None,
    on_error: OnError = "raise",
    batch_size: BatchSize = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Find the pictures of a folder that are the most similar to given ones.

    Args:
        gallery_folder: Folder of pictures to search in, with all of its sub-folders; or a saved gallery; or a file of
            embeddings, for a run that was trained on one.
        query: One or more picture files to look up; or files of embeddings.
        top: Pictures to show for each query.
        save: New folder to keep the gallery in, so that the next search need not read the pictures; with the same
            identities as by pairsim gallery add.
        on_error: "raise" stops at a picture or folder that cannot be read; "skip" leaves it out.
    """
    from pairsim._common.storage import check_writable
    from pairsim._common.unit_similarity import lowest_match
    from pairsim.cli.pictures.galleries import expect_no_other_files
    from pairsim.data.named.folder_labels import label_pictures
    from pairsim.data.unreadable import unreadable, unreadable_error
    from pairsim.images.folders import scan
    from pairsim.search.gallery_files import is_gallery

    expect(top >= 1, f"--top to be at least 1, got {top}.")
    if save is not None:
        expect(
            not is_gallery(save),
            f"--save to name a folder without a gallery, got {save}, which has one. Choose another folder, or add "
            "pictures to that gallery: pairsim gallery add.",
        )
        expect_no_other_files(save, "--save to name a folder")
        check_writable(save, "a folder")
    model = load_model(run, device)
    of_vectors, is_saved = model.preprocessing.of_vectors, is_gallery(gallery_folder)
    scanned = None if is_saved or of_vectors else scan(gallery_folder, on_error)
    # before the gallery, so that a mistyped name fails at once
    images, names = _embeddings(query, model) if of_vectors else (query, query)
    queries = model.encode(images, batch_size=batch_size)
    skipped: tuple[pairsim.Skipped, ...] = ()
    if scanned is not None:
        note(str(scanned))
        gallery, paths, shown = pairsim.Gallery(model), scanned.pictures, None
        if save is not None:
            labels = {picture.name: picture.label for picture in label_pictures(scanned, 1, alone=True).pictures}
            shown = [labels.get(name, name) for name in scanned.names]
        try:
            skipped = gallery.add(paths, scanned.names, identities=shown, on_error=on_error, batch_size=batch_size)
        except ImageReadError as error:
            damaged = unreadable(paths, model.preprocessing.white)
            raise (unreadable_error(paths, damaged) if damaged else error) from error
    elif is_saved:
        gallery = pairsim.Gallery.load(gallery_folder, model)
    else:
        gallery = pairsim.Gallery(model)
        gallery.add(*_embeddings([str(gallery_folder)], model))
    for picture in skipped:
        note(f"Skipped: {picture.reason}")
    if save is not None:
        gallery.save(save)
    found = gallery.search_embeddings(queries, top)
    threshold = model.threshold if threshold is None else threshold
    floor = lowest_match(threshold)
    width = max(len(printable(str(image))) for ids in found.ids for image in ids)
    results: list[dict[str, Any]] = []
    blocks = []
    for name, *row in zip(names, found.ids, found.similarities.tolist(), found.probabilities.tolist(), strict=True):
        neighbors = [
            {"id": image, "similarity": similarity, "probability": probability, "match": similarity >= floor}
            for image, similarity, probability in zip(*row, strict=True)
        ]
        lines = [
            f"{rank:>4}. {printable(str(neighbor['id'])):<{width}}  similarity {neighbor['similarity']:7.4f}  "
            f"probability {neighbor['probability']:.4f}{'  match' if neighbor['match'] else ''}"
            for rank, neighbor in enumerate(neighbors, start=1)
        ]
        results.append({"query": name, "neighbors": neighbors})
        blocks.append("\n".join([printable(name), *lines]))
    meaning = "no threshold" if math.isnan(threshold) else f"match: similarity >= threshold {threshold:.4f}"
    left_out = f", {len(skipped):,} skipped" if skipped else ""
    blocks.append(f"{len(gallery):,} {'embeddings' if of_vectors else 'pictures'} searched{left_out}; {meaning}")
    if save is not None:
        blocks[-1] += f"\nThe gallery is saved in {save}: give that folder to search it again."
    result = {
        "results": results,
        "threshold": threshold,
        "num_images": len(gallery),
        "num_skipped": len(skipped),
        "left_out": () if scanned is None else scanned.left_out,
        "saved": None if save is None else str(save),
    }
    print_result(result, "\n\n".join(blocks), json)


def _embeddings(files: list[str], model: pairsim.SimilarityModel) -> tuple[Tensor, list[Any]]:
    """Read embeddings that another model computed, and their ids; of several files with the names of the files."""
    import torch

    from pairsim.data.named.embedding_files import read_embeddings

    read = [read_embeddings(file, model.preprocessing.channels) for file in files]
    several = len(files) > 1
    ids = [
        f"{file}: {name}" if several else name for file, found in zip(files, read, strict=True) for name in found.ids
    ]
    return torch.cat([found.images for found in read]), ids
