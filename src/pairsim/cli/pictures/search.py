"""`pairsim search`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from pairsim._common.devices import resolve_device
from pairsim._common.unit_similarity import lowest_match
from pairsim.cli.output import UsageError, note, print_result
from pairsim.encoding.pictures import OnError
from pairsim.errors import ImageReadError
from pairsim.images import pictures_below
from pairsim.models import SimilarityModel
from pairsim.search.gallery import Gallery
from pairsim.search.gallery_files import is_gallery

_MOST_NAMED = 10


def search(
    run: Path,
    gallery_folder: Path,
    query: list[str],
    /,
    *,
    top: int = 5,
    save: Path | None = None,
    on_error: OnError = "raise",
    device: str = "auto",
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Find the pictures of a folder that are most like others.

    Args:
        run: Run or model folder.
        gallery_folder: Folder of pictures to look in, with all of its sub-folders; or a gallery that was saved.
        query: One or more picture files to look up.
        top: Pictures to show for each query.
        save: Folder to keep the gallery in, so that the next search need not read the pictures.
        on_error: What to do about a picture of the folder that cannot be read: "raise", or "skip" it.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        json: Print one JSON object.
    """
    if top < 1:
        raise UsageError(f"Expected --top to be at least 1, got {top}.")
    model = SimilarityModel.from_pretrained(run).to(resolve_device(device))
    if is_gallery(gallery_folder):
        queries, skipped = model.encode(query), []
        gallery = Gallery.load(gallery_folder, model)
    else:
        paths = pictures_below(gallery_folder)
        queries = model.encode(query)  # before the gallery, so that a mistyped name fails at once
        gallery = Gallery(model)
        try:
            names = [path.relative_to(gallery_folder).as_posix() for path in paths]
            skipped = [one.reason for one in gallery.add(paths, names, on_error=on_error)]
        except ImageReadError as error:
            raise ImageReadError(_unreadable(paths, model) or str(error)) from error
    for reason in skipped:
        note(f"Skipped: {reason}")
    if save is not None:
        gallery.save(save)
    found = gallery.search_embeddings(queries, top)
    threshold = model.threshold
    floor = lowest_match(threshold)
    results = [
        {
            "query": name,
            "neighbors": [
                {"id": image, "similarity": similarity, "probability": probability, "match": similarity >= floor}
                for image, similarity, probability in zip(*neighbors, strict=True)
            ],
        }
        for name, *neighbors in zip(
            query, found.ids, found.similarities.tolist(), found.probabilities.tolist(), strict=True
        )
    ]
    result = {
        "results": results,
        "threshold": threshold,
        "num_images": len(gallery),
        "num_skipped": len(skipped),
        "saved": None if save is None else str(save),
    }
    print_result(result, describe(result), as_json=json)


def describe(result: dict[str, Any]) -> str:
    """A block for each query, a line for each neighbor; "match" stands where the similarity reaches the threshold."""
    width = max(len(str(neighbor["id"])) for found in result["results"] for neighbor in found["neighbors"])
    blocks = []
    for found in result["results"]:
        lines = [
            f"{rank:>4}. {neighbor['id']!s:<{width}}  similarity {neighbor['similarity']:7.4f}  "
            f"probability {neighbor['probability']:.4f}{'  match' if neighbor['match'] else ''}"
            for rank, neighbor in enumerate(found["neighbors"], start=1)
        ]
        blocks.append("\n".join([found["query"], *lines]))
    threshold = result["threshold"]
    meaning = "no threshold" if math.isnan(threshold) else f"match: similarity >= threshold {threshold:.4f}"
    skipped = f", {result['num_skipped']:,} skipped" if result["num_skipped"] else ""
    last = [f"{result['num_images']:,} pictures searched{skipped}; {meaning}"]
    if result["saved"] is not None:
        last.append(f"The gallery is saved in {result['saved']}: give that folder to search it again.")
    return "\n\n".join([*blocks, "\n".join(last)])


def _unreadable(paths: list[Path], model: SimilarityModel) -> str:
    """All that cannot be read in one message, so that they can be mended in one go."""
    names = []
    for path in paths:
        try:
            model.preprocessing.read(path)
        except ImageReadError:
            names.append(str(path))
    if not names:
        return ""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return (
        f"Expected {len(paths)} readable pictures, found {len(names)} that cannot be read: "
        f"{', '.join(names[:_MOST_NAMED])}{more}. Replace or remove them, or skip them with --on-error skip."
    )
