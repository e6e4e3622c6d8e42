"""A figure of the similarity between classes and within each class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pairsim._common.arrays import Float64Array, Values, check_count, labelled_embeddings
from pairsim.visual.page.layout import similarity_colormap
from pairsim.visual.page.plot import Plot, Style
from pairsim.visual.page.text_styles import (
    FONT,
    SMALL,
    SMALL_BOLD,
    Names,
    format_signed,
    label_axis,
    name_of,
    shorten_names,
)

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_NUMBERED = 12
"""Maximum number of classes whose similarities are written as numbers."""
_MAX_NAME = 16


def class_similarity(embeddings: Values, labels: Values) -> tuple[npt.NDArray[Any], Float64Array]:
    """Compute the mean cosine of the pairs of every two classes, and of the pairs within each.

    An image is not paired with itself. The means are computed in float64 from the sums of the embeddings of each class,
    without forming pairs.

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
    vectors, numbers = labelled_embeddings(embeddings, labels)
    classes, codes, sizes = np.unique(numbers, return_inverse=True, return_counts=True)
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

    The similarities of up to 12 classes are also written as numbers. Of more than `max_classes` classes, those with the
    highest similarity to another class are drawn; the subtitle then gives the total. Where there is no room for all
    names, one of two, three or more classes has its name.

    Args:
        embeddings: Embeddings `[N, D]` of length 1, any float dtype and device.
        labels: Class of each image `[N]`, whole numbers.
        names: Names to write instead of labels, by label (`names[label]`); other labels are written as they are.
        max_classes: Classes to draw at most, at least 2.
        title: Title of the figure.
        style: `"light"` or `"dark"`.
        ax: Axes to draw on, whose figure gets the background of the style; by default those of a new figure.

    Returns:
        The figure, with a colour scale; a new figure belongs to no window.

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
    classes, means = class_similarity(embeddings, labels)
    if len(classes) < 2:
        raise ValueError(f"Expected at least two classes, got {len(classes)}. Add images of other classes.")
    between = means.copy()
    np.fill_diagonal(between, -np.inf)
    # Those with the highest similarity to another one, in the order of their labels.
    shown = np.sort(np.argsort(-between.max(axis=1), kind="stable")[:max_classes])
    subtitle = "mean cosine of all pairs; diagonal: within a class"
    if len(shown) < len(classes):
        subtitle += f"\nthe {len(shown)} of {len(classes):,} classes with the highest similarity to another one"
    part = means[np.ix_(shown, shown)]
    texts = shorten_names([name_of(label, names) for label in classes[shown]], _MAX_NAME)

    side = min(max(3.4, 0.46 * len(shown)), 8.0)
    plot = Plot(ax, style, size=(side + 2.4, side + 1.4), xlabel="class", ylabels=["class"])
    axes, palette = plot.panels[0], plot.palette
    axes.grid(False)
    axes.spines[:].set_visible(False)
    cmap = similarity_colormap().with_extremes(bad=palette.page)
    low = min(0.0, float(np.floor(4 * np.nanmin(part)) / 4))
    image = axes.imshow(part, cmap=cmap, vmin=low, vmax=1.0, interpolation="nearest", aspect="equal", origin="upper")
    look = SMALL.colored(palette.ink).properties()
    # As many names as there is room for, one above the other.
    room = int(min(plot.inches.width, plot.inches.height) / SMALL.height())
    step = -(-len(shown) // max(room, 1))
    ticks, rotation = range(0, len(shown), step), 90 if max(map(len, texts)) > 3 else 0
    axes.set_xticks(ticks, texts[::step], rotation=rotation, **look)
    axes.set_yticks(ticks, texts[::step], **look)
    if step > 1:
        subtitle += f"\none of {step} classes has its name on the axes"
    if len(shown) <= MAX_NUMBERED:
        colors = image.to_rgba(part)[..., :3]
        linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
        # Black and white text have the same contrast at a luminance of 0.18.
        light = linear @ (0.2126, 0.7152, 0.0722) > 0.18
        for row, column in np.ndindex(*part.shape):
            value = float(part[row, column])
            text, color = format_signed(value, 2), "#000000" if light[row, column] else "#FFFFFF"
            if np.isnan(value):
                text, color = "–", palette.ink
            number = (SMALL_BOLD if row == column else SMALL).colored(color)
            axes.text(column, row, text, **number.properties(), ha="center", va="center")
    scale = plot.figure.colorbar(image, ax=axes, fraction=0.05, pad=0.03)
    label_axis(scale.ax.yaxis, "mean similarity (cosine)", np.arange(low, 1.01, 0.25).tolist(), palette.ink)
    scale.ax.tick_params(colors=palette.ink, labelsize=SMALL.size, labelfontfamily=FONT)
    scale.outline.set(edgecolor=palette.quiet, linewidth=0.8)
    return plot.finish(title or "Similarity between classes", subtitle=subtitle)
