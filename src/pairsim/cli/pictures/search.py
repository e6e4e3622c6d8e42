"""`pairsim search`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pairsim
from pairsim._common.choices import OnError
from pairsim.cli.arguments import Device, Json, Run, load_model
from pairsim.cli.output import expect, note, print_result
from pairsim.errors import ImageReadError

_MAX_NAMED = 10


def search(
    run: Run,
    gallery_folder: Path,
    query: list[str],
    /,
    *,
    top: int = 5,
    save: Path | None = None,
    on_error: OnError = "raise",
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Find the pictures of a folder that are most like others.

    Args:
        gallery_folder: Folder of pictures to search in, with all of its sub-folders; or a saved gallery.
        query: One or more picture files to look up.
        top: Pictures to show for each query.
        save: Folder to keep the gallery in, so that the next search need not read the pictures.
        on_error: "raise" stops at a picture of the folder that cannot be read; "skip" leaves it out.
    """
    from pairsim._common.unit_similarity import lowest_match
    from pairsim.images import pictures_below
    from pairsim.search.gallery_files import is_gallery

    expect(top >= 1, f"--top to be at least 1, got {top}.")
    model = load_model(run, device)
    saved = is_gallery(gallery_folder)
    paths = [] if saved else pictures_below(gallery_folder)
    queries = model.encode(query)  # before the gallery, so that a mistyped name fails at once
    skipped = []
    gallery = pairsim.Gallery.load(gallery_folder, model) if saved else pairsim.Gallery(model)
    if not saved:
        try:
            names = [path.relative_to(gallery_folder).as_posix() for path in paths]
            skipped = [picture.reason for picture in gallery.add(paths, names, on_error=on_error)]
        except ImageReadError as error:
            raise ImageReadError(_unreadable(paths, model) or str(error)) from error
    for reason in skipped:
        note(f"Skipped: {reason}")
    if save is not None:
        gallery.save(save)
    neighbors = gallery.search_embeddings(queries, top)
    threshold = model.threshold
    floor = lowest_match(threshold)
    rows = zip(neighbors.ids, neighbors.similarities.tolist(), neighbors.probabilities.tolist(), strict=True)
    results = [
        {
            "query": name,
            "neighbors": [
                {"id": image, "similarity": similarity, "probability": probability, "match": similarity >= floor}
                for image, similarity, probability in zip(*row, strict=True)
            ],
        }
        for name, row in zip(query, rows, strict=True)
    ]
    result = {
        "results": results,
        "threshold": threshold,
        "num_images": len(gallery),
        "num_skipped": len(skipped),
        "saved": None if save is None else str(save),
    }
    print_result(result, describe(result), json)


def describe(result: dict[str, Any]) -> str:
    """A block for each query with a line for each neighbor; neighbors from the threshold on are marked "match"."""
    width = max(len(str(neighbor["id"])) for query in result["results"] for neighbor in query["neighbors"])
    blocks = []
    for query in result["results"]:
        lines = [
            f"{rank:>4}. {neighbor['id']!s:<{width}}  similarity {neighbor['similarity']:7.4f}  "
            f"probability {neighbor['probability']:.4f}{'  match' if neighbor['match'] else ''}"
            for rank, neighbor in enumerate(query["neighbors"], start=1)
        ]
        blocks.append("\n".join([query["query"], *lines]))
    threshold = result["threshold"]
    meaning = "no threshold" if math.isnan(threshold) else f"match: similarity >= threshold {threshold:.4f}"
    skipped = f", {result['num_skipped']:,} skipped" if result["num_skipped"] else ""
    last = f"{result['num_images']:,} pictures searched{skipped}; {meaning}"
    if result["saved"] is not None:
        last += f"\nThe gallery is saved in {result['saved']}: give that folder to search it again."
    return "\n\n".join([*blocks, last])


def _unreadable(paths: list[Path], model: pairsim.SimilarityModel) -> str:
    """One message on all pictures that cannot be read, so that they can be fixed in one go."""
    names = []
    for path in paths:
        try:
            model.preprocessing.read(path)
        except ImageReadError:
            names.append(str(path))
    if not names:
        return ""
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return (
        f"Expected {len(paths)} readable pictures, found {len(names)} that cannot be read: "
        f"{', '.join(names[:_MAX_NAMED])}{more}. Replace or remove them, or skip them with --on-error skip."
    )
