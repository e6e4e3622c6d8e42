"""A table of pairs with thumbnails, for notebooks and HTML pages."""

from __future__ import annotations

import hashlib
import html
import os
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from pairsim._common.arrays import Values, check_count
from pairsim.data import PairDataset
from pairsim.data.image_sets import ImageFiles, in_memory
from pairsim.data.labels import read_labels
from pairsim.errors import DataError, printable, require
from pairsim.images import Preprocessing
from pairsim.visual.page.pixels import Pixels, fetch_separate, png_data_uri, to_pixels
from pairsim.visual.page.text_styles import Names, format_signed, name_of
from pairsim.visual.page.values import read_predictions

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

Pairs: TypeAlias = PairDataset | tuple[Any, Any, Any, Any]
"""A `PairDataset`, or `(dataset, first, second, target)` with the numbers of the images and 1 = same class."""

_SIDE = 64
"""CSS pixels of a thumbnail's longer side."""
_PNG_SIDE = 2 * _SIDE
"""Pixels stored of it, for high-density screens."""
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

    Needs the extra `table`. A notebook displays the table as the last value of a cell; `to_html()` returns it as text
    that needs no other file, and `.data` is the DataFrame. Names are escaped, so that they cannot become HTML.

    Args:
        pairs: A `PairDataset`, or `(dataset, first, second, target)` with image numbers `[P]` and 1 = same class.
        count: Pairs to show, at least 1; all if there are fewer.
        similarity: Similarity of each pair in [-1, 1], `[P]`, or of each pair that is shown.
        probability: Probability that they show the same thing, in [0, 1], likewise.
        threshold: Threshold of similarity; with it the table marks each pair as correct or wrong.
        names: Names to write instead of labels, by label (`names[label]`).
        preprocessing: Preprocessing of floating-point images, which is undone; or reads items that are pictures.

    Returns:
        A pandas Styler with the columns `first`, `second` (thumbnails), `first number`, `second number`, `first class`
        and `second class` if the dataset has labels, or else `first file` and `second file` for picture files,
        `target`, and if given `similarity`, `probability` and `judged`.

    Raises:
        TypeError: If `pairs` are neither.
        ValueError: If `count` is below 1, `similarity` or `probability` is out of range or has another length, or
            a threshold is given without similarity.
        DataError: If pairs do not fit the dataset, or items are not images.
        MissingExtraError: If pandas is not installed.

    Example:
        >>> import torch
        >>> from pairsim.data import ImageTensors
        >>> images = ImageTensors(torch.zeros(3, 28, 28, dtype=torch.uint8), [0, 0, 1])
        >>> table = pair_table((images, [0, 0], [1, 2], [1, 0]), similarity=[0.9, 0.2], threshold=0.5, names=["a", "b"])
        >>> table.data[["first class", "second class", "target", "judged"]].values.tolist()
        [['a', 'a', 'same (1)', '✓ correct'], ['a', 'b', 'different (0)', '✓ correct']]
    """
    pandas = require("pandas", extra="table", purpose="pair_table()")
    check_count(count, "count", 1, 10)
    source, labels = _read_pairs(pairs)
    total, shown = len(source), min(count, len(source))
    similarities, probabilities, matches = read_predictions(shown, similarity, probability, threshold, total=total)
    drawn = source.pairs_at(np.arange(shown))
    numbers = {"first": drawn.first.tolist(), "second": drawn.second.tolist()}
    unique = sorted({*numbers["first"], *numbers["second"]})
    images = fetch_separate(in_memory(source.dataset), unique, preprocessing)
    pixels = dict(zip(unique, to_pixels(images, preprocessing), strict=True))
    columns: dict[str, list[Any]] = {
        side: [_image(pixels[k], f"{side} image of pair {row}") for row, k in enumerate(indices)]
        for side, indices in numbers.items()
    }
    columns |= {f"{side} number": indices for side, indices in numbers.items()}
    for side, indices in numbers.items():
        if labels is not None:
            columns[f"{side} class"] = [name_of(labels[k], names) for k in indices]
        elif isinstance(source.dataset, ImageFiles):
            columns[f"{side} file"] = [printable(os.path.basename(source.dataset.paths[k])) for k in indices]
    table = pandas.DataFrame(columns, index=range(shown))
    table["target"] = [_TARGETS[int(target)] for target in drawn.target]
    for name, values in (("similarity", similarities), ("probability", probabilities)):
        if values is not None:
            table[name] = values
    if matches is not None:
        table["judged"] = np.where(matches == (drawn.target == 1), "✓ correct", "✗ wrong")
    caption = f"The first {shown:,} of {total:,} pairs" if shown < total else f"{total:,} pairs"
    if threshold is not None:
        caption += f"; match at similarity ≥ {format_signed(threshold, 3)}"
    style = require("pandas.io.formats.style", extra="table", purpose="pair_table()")
    # An id made from the content, not at random: the same notebook gives the same text.
    digest = hashlib.sha256((caption + table.to_csv()).encode()).hexdigest()[:8]
    styler: Styler = style.Styler(table, uuid=digest, cell_ids=False, caption=caption)
    formats = {"similarity": lambda value: format_signed(value, 3), "probability": "{:.3f}"}
    texts = [name for name in table.columns if name not in ("first", "second")]
    styler = styler.format(formats, escape="html", subset=texts)
    return styler.set_table_styles(
        [
            {"selector": "caption", "props": "text-align: left; font-weight: bold; padding-bottom: 0.4em"},
            {"selector": "th, td", "props": "text-align: left; vertical-align: middle; padding: 0.2em 0.6em"},
        ]
    )


def _read_pairs(pairs: Pairs) -> tuple[PairDataset, Any]:
    """Return the pairs, and one label per image or None."""
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


def _image(pixels: Pixels, text: str) -> str:
    height, width = pixels.shape[:2]
    scale = _SIDE / max(height, width)
    # Shows the pixels of enlarged images.
    style = f"{'image-rendering: pixelated; ' if scale > 1 else ''}max-width: none"
    size = f'width="{max(round(width * scale), 1)}" height="{max(round(height * scale), 1)}"'
    uri = png_data_uri(pixels, largest_side=_PNG_SIDE)
    return f'<img src="{uri}" alt="{html.escape(text)}" {size} style="{style}">'
