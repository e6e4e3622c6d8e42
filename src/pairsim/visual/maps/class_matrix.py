"""A figure of how alike classes are to one another and within themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pairsim._common.arrays import Float64Array, Values, check_count, labelled_embeddings
from pairsim.visual.page.class_names import Names, name_of
from pairsim.visual.page.layout import FONT, SMALL_SIZE, shorten_text, similarity_colormap
from pairsim.visual.page.style import (
    Palette,
    Style,
    dress,
    figure_of,
    font_families,
    open_axes,
    palette_of,
    write_head,
)
from pairsim.visual.page.values import format_signed

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NUMBERED = 12
"""Classes whose similarities are written as numbers."""
_LONGEST_NAME = 16


def class_similarity(embeddings: Values, labels: Values) -> tuple[npt.NDArray[Any], Float64Array]:
    """Compute the mean cosine of the pairs of every two classes, and of the pairs within each.

    An image is not paired with itself. Means over pairs come from the sums of the embeddings of a class, in float64, so
    that no pair is formed.

    Args:
        embeddings: Embeddings `[N, D]` of length 1, any float dtype and device.
        labels: Class of each image `[N]`, whole numbers.

    Returns:
        The labels `[C]`, ascending, and the means `[C, C]` in [-1, 1]; NaN on the diagonal for a class of one image.
        Both are empty for no images.

    Raises:
        TypeError: If the embeddings are not of a float dtype, or the labels not whole numbers.
        ValueError: If shapes do not fit, or an embedding is not of length 1 (within 1 %) or NaN.

    Example:
        >>> classes, means = class_similarity([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], [3, 3, 5])
        >>> classes.tolist(), means.round(2).tolist()
        ([3, 5], [[0.6, 0.4], [0.4, nan]])
    """
    vectors, marks = labelled_embeddings(embeddings, labels)
    classes, codes, sizes = np.unique(marks, return_inverse=True, return_counts=True)
    sums = np.zeros((len(classes), vectors.shape[1]))
    np.add.at(sums, codes, vectors.astype(np.float64))
    own = np.bincount(codes, weights=np.square(vectors.astype(np.float64)).sum(axis=1), minlength=len(classes))
    totals, pairs = sums @ sums.T, np.outer(sizes, sizes).astype(np.float64)
    diagonal = np.arange(len(classes))
    totals[diagonal, diagonal] -= own
    pairs[diagonal, diagonal] -= sizes
    with np.errstate(invalid="ignore"):
        means = np.where(pairs > 0, totals, np.nan) / pairs
    return classes, np.clip(means, -1.0, 1.0)


def draw_class_similarity(
    embeddings: Values,
    labels: Values,
    *,
    names: Names = None,
    max_classes: int = 24,
    title: str | None = None,
    style: Style = "light",
    ax: Axes | None = None,
) -> Figure:
    """Draw the mean similarity of every two classes, and within each class on the diagonal (see `class_similarity`).

    Up to 12 classes have their numbers written. Of more than `max_classes` those are drawn that are most alike to
    another class, and the subtitle says so.

    Args:
        embeddings: Embeddings `[N, D]` of length 1, any float dtype and device.
        labels: Class of each image `[N]`, whole numbers.
        names: Names to write instead of labels, by label (`names[label]`); a label without one is written as it is.
        max_classes: Classes to draw at most, at least 2.
        title: Title; a plain one by default.
        style: `"light"` or `"dark"`.
        ax: Axes to draw on; by default those of a new figure.

    Returns:
        The figure drawn on, with a scale of the colours; one of its own belongs to no window.

    Raises:
        TypeError: If the embeddings are not of a float dtype, or the labels not whole numbers.
        ValueError: If shapes do not fit, an embedding is not of length 1 (within 1 %) or NaN, there are fewer than two
            classes, or `max_classes` or `style` is wrong.
        MissingExtraError: If matplotlib is not installed.

    Example:
        >>> figure = draw_class_similarity([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], [0, 0, 1], names=["cat", "dog"])
        >>> [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
        ['cat', 'dog']
    """
    check_count(max_classes, "max_classes", 2, 24)
    palette = palette_of(style)
    classes, means = class_similarity(embeddings, labels)
    if len(classes) < 2:
        raise ValueError(f"Expected at least two classes, got {len(classes)}. Add images of other classes.")
    shown = _most_alike(means, max_classes)
    subtitle = "mean cosine of all pairs; diagonal: within a class"
    if len(shown) < len(classes):
        subtitle += f"\nthe {len(shown)} of {len(classes):,} classes that are most alike to another one"
    part = means[np.ix_(shown, shown)]
    written = [shorten_text(name_of(label, names), _LONGEST_NAME) for label in classes[shown].tolist()]

    side = min(max(3.4, 0.46 * len(shown)), 8.0)
    (axes,) = open_axes(ax, palette, width=side + 2.4, height=side + 1.4)
    dress(axes, palette, xlabel="class", ylabel="class")
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    cmap = similarity_colormap().with_extremes(bad=palette.page)
    low = min(0.0, float(np.floor(4 * np.nanmin(part)) / 4))
    image = axes.imshow(part, cmap=cmap, vmin=low, vmax=1.0, interpolation="nearest", aspect="equal", origin="upper")
    places = np.arange(len(shown))
    long = max(map(len, written)) > 3
    axes.set_xticks(places, written, rotation=90 if long else 0)
    axes.set_yticks(places, written)
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        text.set(fontfamily=font_families(), fontsize=SMALL_SIZE, color=palette.ink, parse_math=False)
    if len(shown) <= MOST_NUMBERED:
        _write_numbers(axes, part, palette)
    _draw_scale(axes, image, palette, low)
    write_head(axes, palette, title=title or "Similarity between classes", subtitle=subtitle)
    return figure_of(axes)


def _most_alike(means: Float64Array, count: int) -> npt.NDArray[np.int64]:
    """Classes with the highest similarity to another one, in the order of their labels."""
    if len(means) <= count:
        return np.arange(len(means))
    between = means.copy()
    np.fill_diagonal(between, -np.inf)
    return np.sort(np.argsort(-between.max(axis=1), kind="stable")[:count])


def _write_numbers(axes: Axes, part: Float64Array, palette: Palette) -> None:
    for row, column in np.ndindex(*part.shape):
        value = float(part[row, column])
        missing = np.isnan(value)
        axes.text(
            column, row, "–" if missing else format_signed(value, 2), fontsize=SMALL_SIZE, fontfamily=FONT,
            # the colours are light at the high end on either page
            color=palette.ink if missing else "#000000" if _is_light(axes, value) else "#FFFFFF",
            horizontalalignment="center", verticalalignment="center",
            fontweight="bold" if row == column else "normal",
        )  # fmt: skip


def _is_light(axes: Axes, value: float) -> bool:
    red, green, blue, _ = axes.images[0].to_rgba(np.array([value]))[0]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (red, green, blue)]
    # where black and white text have the same contrast
    return bool(np.dot(linear, (0.2126, 0.7152, 0.0722)) > 0.18)


def _draw_scale(axes: Axes, image: Any, palette: Palette, low: float) -> None:
    ticks: Float64Array = np.arange(low, 1.01, 0.25)
    scale = figure_of(axes).colorbar(image, ax=axes, ticks=ticks, fraction=0.05, pad=0.03)
    scale.set_ticklabels([f"{tick:g}".replace("-", "−") for tick in ticks])
    scale.ax.tick_params(colors=palette.ink, labelsize=SMALL_SIZE, labelfontfamily=FONT)
    scale.set_label("mean similarity (cosine)", fontsize=SMALL_SIZE, color=palette.ink, fontfamily=FONT)
    scale.outline.set(edgecolor=palette.quiet, linewidth=0.8)
