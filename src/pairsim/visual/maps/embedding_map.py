"""A map of embeddings in two dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from pairsim._common.arrays import Float64Array, Values, check_count, labelled_embeddings
from pairsim.errors import require
from pairsim.visual.page.plot import MARKERS, Plot, Style
from pairsim.visual.page.text_styles import Names, name_of, shorten_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Method: TypeAlias = Literal["pca", "tsne", "umap"]

MAX_NAMED = 20
"""Maximum number of classes with their own marker; others are small dots, and the subtitle gives the total."""
_MIN_IMAGES: Mapping[str, int] = {"pca": 2, "tsne": 4, "umap": 4}
_TITLES: Mapping[str, str] = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
_MAX_NAME = 16
_GROWTH: Mapping[str, float] = {"*": 1.7, "p": 1.3, "P": 1.3, "X": 1.3, "^": 1.15, "v": 1.15, "<": 1.15, ">": 1.15}
"""Factors of size of markers that look smaller than others."""


def principal_axes(embeddings: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Project embeddings onto the two directions in which they vary most.

    The sign of each direction is set so that its largest component is positive: equal embeddings give equal maps.

    Args:
        embeddings: `[N, D]` float64, finite, N at least 1.

    Returns:
        Positions `[N, 2]` around 0, and the share of the variance `[2]` along each direction, in [0, 1]; both are 0
        along directions in which nothing varies.

    Example:
        >>> positions, shares = principal_axes(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]))
        >>> positions.round(6).tolist(), shares.tolist()
        ([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]], [1.0, 0.0])

    References:
        K. Pearson, On lines and planes of closest fit to systems of points in space, Philosophical Magazine 2, 1901.
    """
    centered = embeddings - embeddings.mean(axis=0)
    # A D x D problem for any number of images.
    variances, directions = np.linalg.eigh(centered.T @ centered)
    variances, directions = variances[::-1].clip(min=0.0)[:2], directions[:, ::-1][:, :2]
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.where(directions[largest, np.arange(directions.shape[1])] < 0, -1.0, 1.0)
    total = float(np.square(centered).sum())
    positions, shares = np.zeros((len(embeddings), 2)), np.zeros(2)
    positions[:, : len(variances)] = centered @ directions
    if total > 0:
        shares[: len(variances)] = np.minimum(variances / total, 1.0)
    return positions, shares


def draw_embedding_map(
    embeddings: Values,
    labels: Values,
    *,
    names: Names = None,
    method: Method = "pca",
    max_points: int = 2000,
    seed: int = 0,
    title: str | None = None,
    style: Style = "light",
    ax: Axes | None = None,
) -> Figure:
    """Draw embeddings as points in two dimensions, with a marker and a colour for each class.

    PCA shows true distances along the two directions of largest variance; the axes give their shares of the variance.
    t-SNE (scikit-learn) and UMAP keep neighbours together, but the sizes of groups and the distances between them have
    no meaning.

    Args:
        embeddings: Embeddings `[N, D]` of length 1, any float dtype and device.
        labels: Class of each image `[N]`, whole numbers.
        names: Names to write instead of labels, by label (`names[label]`); other labels are written as they are.
        method: `"pca"`, `"tsne"` or `"umap"`.
        max_points: Maximum number of images; of more a random sample is drawn, and the subtitle gives the total. PCA
            directions are computed from all images.
        seed: Seed of the sample, and of t-SNE and UMAP; global generators are not used.
        title: Title of the figure.
        style: `"light"` or `"dark"`.
        ax: Axes to draw on, whose figure gets the background of the style; by default those of a new figure.

    Returns:
        The figure; a new figure belongs to no window.

    Raises:
        TypeError: If the embeddings are not of a float dtype, or the labels not whole numbers.
        ValueError: If shapes do not fit, an embedding is not of length 1 (within 1 %) or NaN, there are too few images
            for the method, or `method`, `max_points` or `style` is wrong.
        MissingExtraError: If matplotlib or the package of the method is not installed.

    Example:
        >>> figure = draw_embedding_map([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], [0, 0, 1], names=["cat", "dog"])
        >>> figure.axes[0].get_xlabel()
        'first principal axis (95.1 % of the variance)'

    References:
        L. van der Maaten, G. Hinton, Visualizing data using t-SNE, Journal of Machine Learning Research 9, 2008;
        L. McInnes, J. Healy, J. Melville, UMAP, arXiv:1802.03426.
    """
    if method not in _MIN_IMAGES:
        raise ValueError(f'Expected method "pca", "tsne" or "umap", got {method!r}. Choose one of them.')
    check_count(max_points, "max_points", 4, 2000)
    vectors, numbers = labelled_embeddings(embeddings, labels)
    if len(vectors) < _MIN_IMAGES[method]:
        raise ValueError(
            f"Expected at least {_MIN_IMAGES[method]} images for {method}, got {len(vectors)}. Add images."
        )
    points: Float64Array = vectors.astype(np.float64)
    sample = np.arange(len(points))
    if len(points) > max_points:
        sample = np.sort(np.random.default_rng(seed).choice(len(points), max_points, replace=False))
    if method == "pca":
        positions, shares = principal_axes(points)
        positions = positions[sample]
        xlabel, ylabel = (
            f"{number} principal axis ({100 * share:.1f} % of the variance)"
            for number, share in zip(("first", "second"), shares.tolist(), strict=True)
        )
    else:
        if method == "tsne":
            manifold = require("sklearn.manifold", extra="digits", purpose="t-SNE")
            # The perplexity must be lower than the number of points.
            projection = manifold.TSNE(perplexity=min(30.0, (len(sample) - 1) / 3), init="pca", random_state=seed)
        else:
            umap = require("umap", extra="umap", purpose="UMAP")
            # With more than one job, equal seeds do not give equal maps.
            projection = umap.UMAP(n_neighbors=min(15, len(sample) - 1), random_state=seed, n_jobs=1)
        positions = np.asarray(projection.fit_transform(points[sample]))
        xlabel = f"{_TITLES[method]} 1 (no unit: distances between groups mean nothing)"
        ylabel = f"{_TITLES[method]} 2"
    numbers = numbers[sample]

    classes, sizes = np.unique(numbers, return_counts=True)
    # The most frequent ones; of equally frequent ones the first in the order of labels.
    named = np.sort(classes[np.argsort(-sizes, kind="stable")[:MAX_NAMED]])
    limits = []
    if len(sample) < len(points):
        limits.append(f"a random {len(sample):,} of {len(points):,} images")
    if len(named) < len(classes):
        limits.append(f"the {len(named)} most frequent of {len(classes):,} classes with markers, the others as dots")

    plot = Plot(ax, style, size=(6.4, 6.0), xlabel=xlabel, ylabels=[ylabel])
    axes, palette = plot.panels[0], plot.palette
    others = positions[~np.isin(numbers, named)]
    if len(others):
        look: dict[str, Any] = {"markersize": 2.5, "color": palette.quiet, "alpha": 0.6}
        axes.plot(*others.T, ".", **look, label="other classes", zorder=1)
    size = 5.5 if len(sample) <= 500 else 4.0
    texts = shorten_names([name_of(label, names) for label in named], _MAX_NAME)
    for k, (label, text) in enumerate(zip(named, texts, strict=True)):
        marker = MARKERS[k % len(MARKERS)]
        color = palette.series[k % len(palette.series)]
        look = {"markersize": size * _GROWTH.get(marker, 1.0), "markerfacecolor": color, "alpha": 0.85}
        look |= {"markeredgecolor": palette.page, "markeredgewidth": 0.3}
        axes.plot(*positions[numbers == label].T, marker, **look, label=text, zorder=2)
    if method == "pca":
        axes.set_aspect("equal", adjustable="datalim")
    else:
        axes.set(xticks=[], yticks=[])
    longest = max(map(len, texts))
    columns = 10 if longest <= 3 else 5 if longest <= 8 else 3
    heading = title or f"Map of embeddings ({_TITLES[method]})"
    return plot.finish(heading, subtitle="; ".join(limits), columns=columns, narrow=True)
