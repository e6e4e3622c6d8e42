"""A figure of queries, each beside the most similar images of a gallery."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pairsim.data.image_sets import in_memory
from pairsim.images import Preprocessing, read_image
from pairsim.search.gallery import Id, SearchResult
from pairsim.visual.page.pixels import ImageTensorLike, fetch_separate, one_image, separate_images, to_pixels
from pairsim.visual.page.text_styles import INK, SMALL, SMALL_BOLD, Names, format_signed, name_of, shorten_names
from pairsim.visual.pictures.picture_grid import Cell, Note, draw_grid, verdict_note

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_QUERIES, MAX_NEIGHBORS = 12, 10
"""Number of queries, and of neighbours of each, drawn at most; the title gives the total if there were more."""

_MAX_NAME = 14


def draw_neighbors(
    queries: ImageTensorLike,
    result: SearchResult,
    pictures: Any = None,
    *,
    query_labels: Any = None,
    gallery_labels: Any = None,
    names: Names = None,
    preprocessing: Preprocessing | None = None,
    title: str | None = None,
) -> Figure:
    """Draw each query in a row with its nearest images, the nearest first.

    The similarity is written below each neighbour. With both kinds of labels, a neighbour of the query's class has a
    tick and a blue-green frame, another one has a cross and a vermilion frame. At most the first `MAX_QUERIES` (12)
    queries and `MAX_NEIGHBORS` (10) neighbours of each are drawn; the title then gives the total.

    Args:
        queries: The Q images of the search, `[Q, C, H, W]` or a sequence of images (see `to_pixels`).
        result: The result of `Gallery.search` for them.
        pictures: The images of the gallery: by id (a mapping), or by number if ids are the numbers 0, 1 and so on
            (a tensor `[N, C, H, W]`, a sequence or a dataset; only those that are drawn are read). By default, ids are
            read as paths.
        query_labels: `[Q]` labels of the queries.
        gallery_labels: Labels of the gallery's images, by id or number as `pictures`.
        names: Names to write instead of labels, by label (`names[label]`).
        preprocessing: Preprocessing of floating-point images, which is undone; its `white` is used to read files.
        title: Title of the figure.

    Returns:
        A figure that belongs to no window. Its axes are labelled `query 0`, `neighbor 0 0` (query, rank) and so on.

    Raises:
        ValueError: If there is no query or no neighbour, numbers of queries, results and labels differ, only one kind
            of labels is given, or an id has no picture or label.
        ImageReadError: If an id is read as a path and is not a picture.
        TypeError: If images are not tensors.
        MissingExtraError: If matplotlib is not installed.

    Example:
        >>> import torch
        >>> images = torch.rand(2, 1, 28, 28)
        >>> result = SearchResult([[1, 0]], torch.tensor([[0.9, 0.2]]), torch.tensor([[0.99, 0.1]]))
        >>> figure = draw_neighbors(images[:1], result, images, query_labels=[3], gallery_labels=[7, 3])
        >>> [axes.get_label() for axes in figure.axes]
        ['query 0', 'neighbor 0 0', 'neighbor 0 1']
    """
    parts = separate_images(queries, "queries")
    if len(parts) != len(result):
        raise ValueError(
            f"Expected as many queries as the search had, got {len(parts)} and {len(result)}. Pass the same queries."
        )
    if not parts or not result.ids[0]:
        raise ValueError("Expected at least one query with a neighbour, got none. Check queries and gallery.")
    if (query_labels is None) != (gallery_labels is None):
        raise ValueError("Expected query_labels and gallery_labels together, or neither. Pass both, or none.")
    if query_labels is not None and len(query_labels) != len(parts):
        raise ValueError(f"Expected {len(parts)} query_labels, one for each query, got {len(query_labels)}.")

    rows, columns = min(len(parts), MAX_QUERIES), min(len(result.ids[0]), MAX_NEIGHBORS)
    shown = [ids[:columns] for ids in result.ids[:rows]]
    unique = list(dict.fromkeys(name for ids in shown for name in ids))
    source = pictures if pictures is None or isinstance(pictures, Tensor | Mapping) else in_memory(pictures)
    images = [_picture(source, name, preprocessing) for name in unique]
    pixels = dict(zip(unique, to_pixels(images, preprocessing), strict=True))
    written = [name_of(os.path.basename(str(name))) for name in unique]
    if query_labels is not None:
        labels = [query_labels[row] for row in range(rows)] + [
            _look_up(gallery_labels, name, "label") for name in unique
        ]
        written = [name_of(label, names) for label in labels]
    short = dict(zip(written, shorten_names(written, _MAX_NAME), strict=True))
    cells = []
    for row, (ids, query) in enumerate(zip(shown, to_pixels(parts[:rows], preprocessing), strict=True)):
        notes: list[Note] = []
        if query_labels is not None:
            notes = [(short[name_of(query_labels[row], names)], SMALL)]
        heading = None if row else ("query", SMALL_BOLD.quiet)
        cells.append(Cell(pictures={f"query {row}": query}, heading=heading, notes=notes, frame=(INK, 1.2)))
        for rank, name in enumerate(ids):
            similarity, right = format_signed(result.similarities[row, rank].item(), 3), None
            if gallery_labels is None:
                notes = [(similarity, SMALL), (short[name_of(os.path.basename(str(name)))], SMALL)]
            else:
                label = _look_up(gallery_labels, name, "label")
                right = bool(label == query_labels[row])
                notes = [verdict_note(right, similarity, SMALL), (short[name_of(label, names)], SMALL)]
            heading = None if row else (str(rank + 1), SMALL_BOLD.quiet)
            picture = {f"neighbor {row} {rank}": pixels[name]}
            cells.append(Cell(pictures=picture, heading=heading, notes=notes, verdict=right))
    limits = [f"the first {rows} of {len(parts):,} queries"] if rows < len(parts) else []
    if columns < len(result.ids[0]):
        limits.append(f"the first {columns} of {len(result.ids[0]):,} neighbours")
    title = ": ".join(filter(None, (title or "Queries and their nearest images", ", ".join(limits))))
    subtitle = "below: similarity, and the image's name"
    if query_labels is not None:
        num_right = sum(cell.verdict is True for cell in cells)
        subtitle = f"✓ class of the query, ✗ another class: {num_right} of {rows * columns} neighbours drawn are right"
    return draw_grid(cells, columns + 1, title=title, subtitle=subtitle, side=0.72, gaps=(0.12, 0.14), first_gap=0.18)


def _look_up(values: Any, name: Id, what: str) -> Any:
    try:
        if isinstance(name, int) and not isinstance(values, Mapping) and name < 0:
            raise IndexError
        return values[name]
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError(
            f"Expected a {what} for id {name!r}, found none. Give a mapping by id, or a sequence if ids are numbers."
        ) from error


def _picture(source: Any, name: Id, preprocessing: Preprocessing | None) -> Tensor:
    if source is None:
        if not isinstance(name, str):
            raise ValueError(
                f"Expected pictures of the gallery, as the id {name!r} is not a path. Pass pictures=images."
            )
        return read_image(name, white=None if preprocessing is None else preprocessing.white)
    if isinstance(source, Mapping) or not isinstance(name, int):
        return one_image(_look_up(source, name, "picture"), "pictures")
    if not 0 <= name < len(source):
        raise ValueError(f"Expected ids from 0 to {len(source) - 1}, got {name}. Pass all pictures of the gallery.")
    return fetch_separate(source, [name], preprocessing)[0]
