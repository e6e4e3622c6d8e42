"""A figure of queries, each beside the images of a gallery that are most like it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from pairsim.data.image_sets import fetch_images, in_memory
from pairsim.images import Preprocessing, read_image
from pairsim.search.gallery import Id, SearchResult
from pairsim.visual.page.class_names import Names, name_of
from pairsim.visual.page.layout import (
    BAD_INK,
    GOOD_INK,
    INK,
    MARGIN,
    QUIET_INK,
    SMALL_SIZE,
    TEXT_SIZE,
    TITLE_SIZE,
    Page,
    box_size,
    shorten_text,
    text_height,
    text_width,
    title_height,
    wrap_text,
)
from pairsim.visual.page.pixels import ImageTensorLike, separate_images, to_pixels
from pairsim.visual.page.values import format_signed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pairsim.visual.page.pixels import Pixels

MAX_QUERIES, MAX_NEIGHBORS = 12, 10
"""Queries, and neighbours of each, that are drawn at most; the title says where there were more."""

_SIDE = 0.72
_QUERY_GAP, _COLUMN_GAP, _ROW_GAP = 0.3, 0.12, 0.14
_LONGEST_NAME = 14
_LEAST_TITLE_WIDTH = 4.5


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

    Below a neighbour stand its similarity and, with both labels, a tick and a frame in blue-green where it has the
    class of its query, else a cross and a frame in vermilion. At most the first `MAX_QUERIES` (12) queries and
    `MAX_NEIGHBORS` (10) neighbours of each are drawn, and the title says so.

    Args:
        queries: The Q images that were looked up, `[Q, C, H, W]` or a sequence of images (see `to_pixels`).
        result: What `Gallery.search` gave for them.
        pictures: The images of the gallery: by id (a mapping), or by number where ids are the numbers 0, 1 and so on
            (a tensor `[N, C, H, W]`, a sequence or a dataset; only those that are drawn are read). By default ids are
            read as paths.
        query_labels: `[Q]` labels of the queries.
        gallery_labels: Labels of the gallery's images, by id or number as `pictures`.
        names: Names to write instead of labels, by label (`names[label]`).
        preprocessing: What floating-point images went through, to undo it.
        title: Title of the figure; a plain one by default.

    Returns:
        A figure that belongs to no window. Its axes are labelled `query 0`, `neighbor 0 0` (query, rank) and so on.

    Raises:
        ValueError: If there is no query or no neighbour, numbers of queries, results and labels differ, only one kind
            of labels is given, or an id has no picture or label.
        ImageReadError: If an id is read as a path and is no picture.
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
            f"Expected as many queries as the search had, got {len(parts)} and {len(result)}. Pass those it was given."
        )
    if not parts or not result.ids[0]:
        raise ValueError("Expected at least one query with a neighbour, got none. Check queries and gallery.")
    if (query_labels is None) != (gallery_labels is None):
        raise ValueError("Expected query_labels and gallery_labels together, or neither. Both tell right from wrong.")
    if query_labels is not None and len(query_labels) != len(parts):
        raise ValueError(f"Expected {len(parts)} query_labels, one for each query, got {len(query_labels)}.")

    rows, columns = min(len(parts), MAX_QUERIES), min(len(result.ids[0]), MAX_NEIGHBORS)
    shown = [ids[:columns] for ids in result.ids[:rows]]
    unique = {name: place for place, name in enumerate(dict.fromkeys(name for ids in shown for name in ids))}
    plain = pictures is None or isinstance(pictures, Mapping | Tensor | list | tuple)
    source = pictures if plain else in_memory(pictures)
    found = to_pixels([_picture(source, name, preprocessing) for name in unique], preprocessing)
    similarity = result.similarities[:rows, :columns].tolist()
    captions, notes = [], []
    for row, ids in enumerate(shown):
        own = None if query_labels is None else _plain(query_labels[row])
        captions.append("" if own is None else shorten_text(name_of(own, names), _LONGEST_NAME))
        cells = []
        for name, value in zip(ids, similarity[row], strict=True):
            label = None if gallery_labels is None else _plain(_look_up(gallery_labels, name, "label"))
            text = format_signed(value, 3)
            if label is None:
                cells.append((text, shorten_text(os.path.basename(str(name)), _LONGEST_NAME), INK))
            else:
                mark, color = ("✓", GOOD_INK) if label == own else ("✗", BAD_INK)
                cells.append((f"{mark} {text}", shorten_text(name_of(label, names), _LONGEST_NAME), color))
        notes.append(cells)
    heading = title or "Queries and their nearest images"
    if rows < len(parts):
        heading += f": the first {rows} of {len(parts):,} queries"
    if columns < len(result.ids[0]):
        heading += f"{', ' if rows < len(parts) else ': '}the first {columns} of {len(result.ids[0]):,} neighbours"
    subtitle = "below: similarity, and the image's name"
    if query_labels is not None:
        right = sum(color == GOOD_INK for cells in notes for *_, color in cells)
        subtitle = f"✓ class of the query, ✗ another class: {right} of {rows * columns} neighbours drawn are right"
    return _lay_out(
        to_pixels(parts[:rows], preprocessing),
        [[found[unique[name]] for name in ids] for ids in shown],
        captions,
        notes,
        title=heading,
        subtitle=subtitle,
    )


def _plain(label: Any) -> Any:
    return label.item() if hasattr(label, "item") else label


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
            raise ValueError(f"Expected pictures of the gallery, as the id {name!r} is no path. Pass pictures=images.")
        return read_image(name)
    if isinstance(source, Mapping) or not isinstance(name, int):
        image = _look_up(source, name, "picture")
    else:
        if not 0 <= name < len(source):
            raise ValueError(f"Expected ids from 0 to {len(source) - 1}, got {name}. Pass all pictures of the gallery.")
        image = fetch_images(source, np.array([name]), preprocessing)[0]
    return separate_images(image, "pictures")[0]


def _lay_out(
    queries: list[Pixels],
    neighbors: list[list[Pixels]],
    captions: list[str],
    notes: list[list[tuple[str, str, str]]],
    *,
    title: str,
    subtitle: str,
) -> Figure:
    line = text_height("", SMALL_SIZE)
    box_width, box_height = box_size(queries + [image for row in neighbors for image in row], _SIDE)
    texts = [text for row in notes for score, name, _ in row for text in (score, name)] + captions
    cell_width = max(box_width, *(text_width(text, SMALL_SIZE) for text in texts), text_width("query", SMALL_SIZE))
    row_height = box_height + 0.05 + 2 * line + _ROW_GAP
    columns = len(neighbors[0])
    grid_width = (columns + 1) * cell_width + _QUERY_GAP + (columns - 1) * _COLUMN_GAP
    room = max(grid_width, _LEAST_TITLE_WIDTH)
    title, subtitle = wrap_text(title, TITLE_SIZE, room, "bold"), wrap_text(subtitle, TEXT_SIZE, room)
    width = max(grid_width, text_width(title, TITLE_SIZE, "bold"), text_width(subtitle, TEXT_SIZE)) + 2 * MARGIN
    head_top = MARGIN + title_height(title, subtitle)
    grid_top = head_top + line + 0.04
    page = Page(width, grid_top + len(queries) * row_height + MARGIN - _ROW_GAP)
    page.title(title, subtitle=subtitle)
    centers = [MARGIN + cell_width / 2]
    centers += [
        MARGIN + cell_width + _QUERY_GAP + k * (cell_width + _COLUMN_GAP) + cell_width / 2 for k in range(columns)
    ]
    for center, head in zip(centers, ["query", *map(str, range(1, columns + 1))], strict=True):
        page.text(center, head_top, head, size=SMALL_SIZE, weight="bold", color=QUIET_INK, align="center")
    for row, query in enumerate(queries):
        top = grid_top + row * row_height
        below = top + box_height + 0.05
        left = centers[0] - box_width / 2
        page.picture(query, left, top, box_width, box_height, label=f"query {row}", frame=INK, frame_width=1.2)
        page.text(centers[0], below, captions[row], size=SMALL_SIZE, align="center")
        for rank, (image, (score, name, color)) in enumerate(zip(neighbors[row], notes[row], strict=True)):
            page.picture(
                image,
                centers[rank + 1] - box_width / 2,
                top,
                box_width,
                box_height,
                label=f"neighbor {row} {rank}",
                frame=QUIET_INK if color == INK else color,
                frame_width=0.6 if color == INK else 1.6,
            )
            page.text(centers[rank + 1], below, score, size=SMALL_SIZE, color=color, align="center")
            page.text(centers[rank + 1], below + line, name, size=SMALL_SIZE, align="center")
    return page.figure
