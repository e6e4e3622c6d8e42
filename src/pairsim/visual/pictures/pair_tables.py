"""A table of pairs with thumbnails, for notebooks and HTML pages."""

from __future__ import annotations

import hashlib
import html
import os
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from pairsim._common.unit_similarity import lowest_match
from pairsim.data import PairDataset
from pairsim.data.image_sets import ImageFiles, fetch_images, in_memory
from pairsim.data.labels import read_labels
from pairsim.errors import DataError, require
from pairsim.images import Preprocessing
from pairsim.visual.page.class_names import Names, name_of
from pairsim.visual.page.pixels import Pixels, png_data_uri, to_pixels
from pairsim.visual.page.values import (
    Values,
    check_finite_threshold,
    format_signed,
    read_probability,
    read_similarity,
)

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

    from pairsim.data.pairs.pair_sampler import PairIndices

Pairs: TypeAlias = PairDataset | tuple[Any, Any, Any, Any]
"""A `PairDataset`, or `(dataset, first, second, target)` with the numbers of the images and 1 = same class."""

_SIDE = 64
"""CSS pixels of a thumbnail's longer side."""
_PNG_SIDE = 2 * _SIDE
"""Pixels that are stored of it, for screens of high density."""
_TARGETS = ("different (0)", "same (1)")


def pair_table(
    pairs: Pairs,
    *,
    count: int = 10,
    similarity: Values | None = None,
    probability: Values | None = None,
    threshold: float | None = None,
    names: Names = None,
    preprocessing: Preprocessing | None = None,
) -> Styler:
    """Show the first pairs as a table with both images, their numbers and classes, and the target in words.

    Needs the extra `table`. A notebook shows the table as the last value of a cell; `to_html()` gives it as text that
    needs no other file, and `.data` the DataFrame. Names are escaped, so that they cannot become HTML.

    Args:
        pairs: A `PairDataset`, or `(dataset, first, second, target)` with image numbers `[P]` and 1 = same class.
        count: Pairs to show, at least 1; all where there are fewer.
        similarity: Similarity of each pair in [-1, 1], `[P]`, or of each pair that is shown.
        probability: Probability that they show the same thing, in [0, 1], likewise.
        threshold: Cut on similarity; with it the table says of each pair whether it is judged rightly.
        names: Names to write instead of labels, by label (`names[label]`).
        preprocessing: What floating-point images went through, to undo it, or reads items that are pictures.

    Returns:
        A pandas Styler with the columns `first`, `second` (thumbnails), `first number`, `second number`, `first class`
        and `second class` where the dataset has labels, or `first file` and `second file`, `target`, and where given
        `similarity`, `probability` and `judged`.

    Raises:
        TypeError: If `pairs` are neither.
        ValueError: If `count` is below 1, `similarity` or `probability` is out of range or has another length, or
            there is a threshold without similarity.
        DataError: If pairs do not fit the dataset, or items are not images.
        MissingExtraError: If pandas or Jinja2 is not installed.

    Example:
        >>> import torch
        >>> from pairsim.data import ImageTensors
        >>> images = ImageTensors(torch.zeros(3, 28, 28, dtype=torch.uint8), [0, 0, 1])
        >>> table = pair_table((images, [0, 0], [1, 2], [1, 0]), similarity=[0.9, 0.2], threshold=0.5, names=["a", "b"])
        >>> table.data[["first class", "second class", "target", "judged"]].values.tolist()
        [['a', 'a', 'same (1)', '✓ right'], ['a', 'b', 'different (0)', '✓ right']]
    """
    pandas = require("pandas", extra="table", purpose="pair_table()")
    require("jinja2", extra="table", purpose="pair_table()")
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"Expected count to be a whole number of at least 1, got {count!r}. Use 10, say.")
    source, labels = _read_pairs(pairs)
    total, shown = len(source), min(count, len(source))
    similarities = None if similarity is None else read_similarity(similarity, _rows(similarity, shown, total), "pair")
    chances = None if probability is None else read_probability(probability, _rows(probability, shown, total), "pair")
    if threshold is not None:
        check_finite_threshold(threshold)
        if similarities is None:
            raise ValueError(
                "Expected similarity along with threshold, got none. Pass model.get_raw_similarity(first, second)."
            )
    found = source.pairs_at(np.arange(shown))
    table = pandas.DataFrame(_columns(source, found, labels, names, preprocessing), index=range(shown))
    table["target"] = [_TARGETS[int(target)] for target in found.target]
    if similarities is not None:
        table["similarity"] = similarities[:shown]
    if chances is not None:
        table["probability"] = chances[:shown]
    if threshold is not None and similarities is not None:
        right = (similarities[:shown] >= lowest_match(threshold)) == (found.target == 1)
        table["judged"] = np.where(right, "✓ right", "✗ wrong")
    return _styled(table, _caption(shown, total, threshold))


def _read_pairs(pairs: Pairs) -> tuple[PairDataset, Any]:
    """The pairs, and one label per image or None."""
    if isinstance(pairs, PairDataset):
        return pairs, pairs.labels
    if not isinstance(pairs, tuple) or len(pairs) != 4:
        raise TypeError(
            f"Expected pairs as a PairDataset or (dataset, first, second, target), got {type(pairs).__name__}"
            f"{f' of {len(pairs)}' if isinstance(pairs, tuple) else ''}. Use PairDataset(dataset), say."
        )
    source = PairDataset.from_pairs(*pairs)
    try:
        return source, read_labels(source.dataset, None)
    except DataError:  # a table without classes
        return source, None


def _rows(values: Values, shown: int, total: int) -> int:
    """How many values are expected: one for each pair that is shown if there are so many, else one for each pair."""
    return shown if np.shape(values)[:1] == (shown,) else total


def _columns(
    source: PairDataset, found: PairIndices, labels: Any, names: Names, preprocessing: Preprocessing | None
) -> dict[str, list[Any]]:
    numbers = {"first": found.first.tolist(), "second": found.second.tolist()}
    images = in_memory(source.dataset)
    unique = sorted({*numbers["first"], *numbers["second"]})
    pixels = {k: to_pixels(fetch_images(images, np.array([k]), preprocessing), preprocessing)[0] for k in unique}
    columns: dict[str, list[Any]] = {
        side: [_image(pixels[k], f"{side} image of pair {row}") for row, k in enumerate(places)]
        for side, places in numbers.items()
    }
    columns |= {f"{side} number": places for side, places in numbers.items()}
    for side, places in numbers.items():
        if labels is not None:
            columns[f"{side} class"] = [name_of(labels[k], names) for k in places]
        elif isinstance(source.dataset, ImageFiles):
            columns[f"{side} file"] = [os.path.basename(source.dataset.paths[k]) for k in places]
    return columns


def _image(pixels: Pixels, text: str) -> str:
    height, width = pixels.shape[:2]
    scale = _SIDE / max(height, width)
    style = f"{'image-rendering: pixelated; ' if scale > 1 else ''}max-width: none"  # enlarged pixels stay as they are
    size = f'width="{max(round(width * scale), 1)}" height="{max(round(height * scale), 1)}"'
    uri = png_data_uri(pixels, largest_side=_PNG_SIDE)
    return f'<img src="{uri}" alt="{html.escape(text)}" {size} style="{style}">'


def _caption(shown: int, total: int, threshold: float | None) -> str:
    caption = f"The first {shown:,} of {total:,} pairs" if shown < total else f"{total:,} pairs"
    return caption if threshold is None else f"{caption}; match at similarity ≥ {format_signed(threshold, 3)}"


def _styled(table: Any, caption: str) -> Styler:
    style = require("pandas.io.formats.style", extra="table", purpose="pair_table()")
    # named after what is in it and not at random, so that the same notebook gives the same text
    digest = hashlib.sha256((caption + table.to_csv()).encode()).hexdigest()[:8]
    styler: Styler = style.Styler(table, uuid=digest, cell_ids=False, caption=caption)
    texts = [name for name in table.columns if name not in ("first", "second")]
    styler = styler.format(escape="html", subset=texts)
    if "similarity" in table:
        styler = styler.format(lambda value: format_signed(value, 3), subset=["similarity"])
    if "probability" in table:
        styler = styler.format("{:.3f}", subset=["probability"])
    return styler.set_table_styles(
        [
            {"selector": "caption", "props": "text-align: left; font-weight: bold; padding-bottom: 0.4em"},
            {"selector": "th, td", "props": "text-align: left; vertical-align: middle; padding: 0.2em 0.6em"},
        ]
    )
