"""`pairsim search`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from pairsim.cli.output import UsageError, print_result
from pairsim.data.named import IMAGE_SUFFIXES
from pairsim.errors import DataError, DatasetNotFoundError, ImageReadError
from pairsim.gallery import Gallery
from pairsim.models import SimilarityModel
from pairsim.training.devices import resolve_device

_MOST_NAMED = 10


def search(
    run: Path,
    gallery_folder: Path,
    query: list[str],
    /,
    *,
    top: int = 5,
    device: str = "auto",
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Find the pictures of a folder that are most like others.

    Args:
        run: Run or model folder.
        gallery_folder: Folder of pictures to look in, with all of its sub-folders.
        query: One or more picture files to look up.
        top: Pictures to show for each query.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        json: Print one JSON object.
    """
    if top < 1:
        raise UsageError(f"Expected --top to be at least 1, got {top}.")
    model = SimilarityModel.from_pretrained(run).to(resolve_device(device))
    paths = pictures_below(gallery_folder)
    queries = model.encode(query)  # before the gallery, so that a mistyped name fails at once
    gallery = Gallery(model)
    try:
        gallery.add(paths, [path.relative_to(gallery_folder).as_posix() for path in paths])
    except ImageReadError as error:
        raise ImageReadError(_unreadable(paths, model) or str(error)) from error
    found = gallery.search_embeddings(queries, top)
    threshold = model.threshold
    results = [
        {
            "query": name,
            "neighbors": [
                {"id": image, "similarity": similarity, "probability": probability, "match": similarity >= threshold}
                for image, similarity, probability in zip(*neighbors, strict=True)
            ],
        }
        for name, *neighbors in zip(
            query, found.ids, found.similarities.tolist(), found.probabilities.tolist(), strict=True
        )
    ]
    result = {"results": results, "threshold": threshold, "num_images": len(gallery)}
    print_result(result, describe(result), as_json=json)


def describe(result: dict[str, Any]) -> str:
    """A block for each query, a line for each neighbor; "match" stands where the similarity reaches the threshold."""
    width = max(len(neighbor["id"]) for found in result["results"] for neighbor in found["neighbors"])
    blocks = []
    for found in result["results"]:
        lines = [
            f"{rank:>4}. {neighbor['id']:<{width}}  similarity {neighbor['similarity']:7.4f}  "
            f"probability {neighbor['probability']:.4f}{'  match' if neighbor['match'] else ''}"
            for rank, neighbor in enumerate(found["neighbors"], start=1)
        ]
        blocks.append("\n".join([found["query"], *lines]))
    threshold = result["threshold"]
    meaning = "no threshold" if math.isnan(threshold) else f"match: similarity >= threshold {threshold:.4f}"
    return "\n\n".join([*blocks, f"{result['num_images']:,} pictures searched; {meaning}"])


def pictures_below(folder: Path) -> list[Path]:
    """The pictures of a folder and its sub-folders, sorted; hidden ones are left out.

    Raises:
        DatasetNotFoundError: If there is no such folder.
        DataError: If it has no picture.
    """
    if not folder.is_dir():
        raise DatasetNotFoundError(f"Expected a folder of pictures at {folder}, found no such folder. Check the path.")
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not paths:
        raise DataError(
            f"Expected pictures ({', '.join(sorted(IMAGE_SUFFIXES))}) in {folder}, found none. Choose another folder."
        )
    return paths


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
        f"{', '.join(names[:_MOST_NAMED])}{more}. Replace or remove them."
    )
