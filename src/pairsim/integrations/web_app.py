"""Build and serve a page to compare pictures, search a gallery and move the threshold. Needs the extra `app`."""

from __future__ import annotations

import html
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pairsim._common.unit_similarity import lowest_match
from pairsim.errors import ImageReadError, printable, require
from pairsim.images import read_image
from pairsim.integrations.app_requests import MAX_BYTES, Guard, picture_editor
from pairsim.models import SimilarityModel
from pairsim.search.gallery import Gallery
from pairsim.visual.page.pixels import png_data_uri, to_pixels

_CANVAS = 280
_BRUSH = 20
_MAX_GALLERY = 24
_MAX_PIXELS = 36_000_000
"""Uploads with more pixels are rejected before they are decoded."""
_KEPT_S = 3600
"""How long uploads stay on disk."""
_DARK = 0.4
"""With a lower mean the model's pictures are light on dark, as MNIST's are; strokes are drawn dark on light."""

_CSS = """
.verdict { font-size: 1.1rem; border-left: 4px solid currentColor; padding: .3rem .8rem; }
.verdict .word { font-size: 1.5rem; font-weight: 700; }
"""


def build_app(
    model: SimilarityModel,
    *,
    examples: Sequence[str | os.PathLike[str]] = (),
    gallery: Gallery | None = None,
    name: str = "model",
) -> Any:
    """Build the page.

    Args:
        model: The model, in eval mode on its device.
        examples: Example picture files.
        gallery: Pictures to search in, whose ids are paths; by default the page has no search.
        name: Name of the model on the page.

    Returns:
        A `gradio.Blocks`; its `launch()` serves it.

    Raises:
        MissingExtraError: If Gradio is not installed.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    gr = require("gradio", extra="app", purpose="The app")
    mean, name = model.preprocessing.mean or (), printable(name)
    start = round(max(-1.0, min(1.0, model.threshold)), 4)  # a training that collapsed may leave another, or NaN
    kept = _KEPT_S, _KEPT_S
    with gr.Blocks(title=f"pairsim: {name}", analytics_enabled=False, delete_cache=kept) as app:
        gr.HTML(f"<h1>{html.escape(name)}</h1><p>How similar are two images, and do they show the same thing?</p>")
        with gr.Row():
            threshold = gr.Slider(
                -1.0, 1.0, value=start, step=0.0001, label="Similarity threshold",
                info="A pair matches from this similarity on. Higher: fewer false matches, more missed matches.",
                elem_id="threshold",
            )  # fmt: skip
            inverted = gr.Checkbox(
                value=sum(mean) < _DARK * len(mean), label="Drawings are light on dark", elem_id="inverted",
                info="Makes drawn strokes light on dark, as the model's images are. Uploads are not changed.",
            )  # fmt: skip
        with gr.Tab("Compare"):
            _add_comparison(gr, model, [os.fspath(path) for path in examples], threshold, inverted)
        if gallery is not None:
            with gr.Tab("Search"):
                _add_search(gr, model, gallery, threshold, inverted)
    return app


def _add_comparison(gr: Any, model: SimilarityModel, files: list[str], threshold: Any, inverted: Any) -> None:
    with gr.Row():
        first, second = _editor(gr, "First", "first"), _editor(gr, "Second", "second")
    button = gr.Button("Compare", variant="primary", elem_id="compare")
    outputs = [gr.HTML(elem_id="verdict"), gr.HTML()]
    if files:
        pairs = [list(pair) for pair in zip(files[::2], files[1::2], strict=False)]
        # labels, as Gradio shows the pictures without alternative text
        labels = [f"{Path(one).stem} and {Path(other).stem}" for one, other in pairs]
        gr.Examples(pairs, inputs=[first, second], label="Examples", example_labels=labels)

    def compare(one: Any, other: Any, similarity: float, invert: bool) -> tuple[str, str]:
        try:
            images = [as_pixels(value, invert=invert, model=model) for value in (one, other)]
        except (ImageReadError, ValueError) as error:
            return f'<p role="alert">{html.escape(str(error))}</p>', ""
        return describe(model, images[0], images[1], similarity), shown_as_seen(images)

    inputs = [first, second, threshold, inverted]
    button.click(compare, inputs, outputs, api_name="compare")
    threshold.release(compare, inputs, outputs, show_progress="hidden")


def _add_search(gr: Any, model: SimilarityModel, gallery: Gallery, threshold: Any, inverted: Any) -> None:
    query = _editor(gr, "Query", "query")
    count = gr.Slider(1, min(_MAX_GALLERY, len(gallery)), value=min(6, len(gallery)), step=1, label="Pictures")
    button = gr.Button("Search", variant="primary", elem_id="search")
    results = gr.Gallery(label="Most similar first", columns=6, object_fit="contain", elem_id="results")

    def search(value: Any, k: float, similarity: float, invert: bool) -> list[tuple[Any, str]]:
        try:
            return neighbours(gallery, as_pixels(value, invert=invert, model=model), int(k), similarity)
        except (ImageReadError, ValueError) as error:
            raise gr.Error(html.escape(str(error)), print_exception=False) from error  # the page shows it as HTML

    button.click(search, [query, count, threshold, inverted], results, api_name="search")


def serve(app: Any, *, host: str = "127.0.0.1", port: int | None = None, browser: bool = True) -> str:
    """Serve the page in a thread, on this machine, or on a network if `host` is an address of it.

    Requests for another host are rejected (status 403), and those of more than 20 MB (413). `app.close()` ends it.

    Args:
        app: From `build_app`.
        host: Address to listen on; `127.0.0.1` can be reached from this machine only.
        port: Port; by default the first free one from 7860.
        browser: Whether to open it in a browser.

    Returns:
        The URL.
    """
    gr = require("gradio", extra="app", purpose="The app")
    middleware = require("starlette.middleware", extra="app", purpose="The app")
    _, url, _ = app.launch(
        server_name=host,
        server_port=port,
        inbrowser=browser,
        share=False,
        quiet=True,
        show_error=False,  # the page would show the text of any exception as HTML
        ssr_mode=False,
        footer_links=[],
        prevent_thread_lock=True,
        max_file_size=MAX_BYTES,
        app_kwargs={"middleware": [middleware.Middleware(Guard, host=host)]},
        # the system's fonts, so that nothing is loaded from elsewhere, and enough contrast for small text
        theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"]).set(
            block_info_text_color="*neutral_600",
            block_info_text_color_dark="*neutral_300",
            body_text_color_subdued="*neutral_600",
            body_text_color_subdued_dark="*neutral_300",
        ),
        css=_CSS,
    )
    return str(url)


def as_pixels(value: Any, *, invert: bool, model: SimilarityModel) -> Tensor:
    """Convert a drawing or an uploaded picture to the input of a model.

    Args:
        value: Of an image editor: `background` and `composite`, each the path or bytes of a picture file, uint8
            `[H, W, 4]` or `None`. Without an upload the background is missing, transparent or white.
        invert: Whether to make strokes on an empty page light on dark.
        model: The model, which gives size and channels.

    Returns:
        uint8 `[C, H, W]`.

    Raises:
        ImageReadError: If it is no picture, or has more than 36 million pixels.
        ValueError: If nothing was drawn or uploaded.
    """
    layers = value or {}
    pixels = _read(layers.get("composite"))
    if _is_blank(pixels):
        raise ValueError("Expected a picture in each field, found an empty one. Draw or upload one.")
    assert pixels is not None, "it is not blank"
    if invert and _is_blank(_read(layers.get("background"))):  # drawn, not uploaded
        pixels = 255 - pixels
    return model.preprocessing.read(pixels)


def describe(model: SimilarityModel, first: Tensor, second: Tensor, threshold: float) -> str:
    """Return the verdict on two images as HTML.

    Args:
        model: The model.
        first: An image, uint8 `[C, H, W]`, from `as_pixels`.
        second: Another image.
        threshold: Similarity from which two images match, in [-1, 1].
    """
    decision, numbers = str(model.verify(first, second, threshold)).splitlines()
    return (
        f'<div class="verdict" role="status"><div class="word">{decision}</div><div>{html.escape(numbers)}</div></div>'
    )


def shown_as_seen(images: Sequence[Tensor]) -> str:
    """Return two images as HTML, at the size and in the colours that the model takes."""
    pictures = "".join(
        f'<img src="{png_data_uri(pixels)}" alt="The {name} as the model sees it" width="140" '
        'style="image-rendering: pixelated; display: inline-block; margin-right: 1rem">'
        for name, pixels in zip(("first", "second"), to_pixels(images), strict=True)
    )
    return f"<p>What the model sees:</p>{pictures}"


def neighbours(gallery: Gallery, image: Tensor, k: int, threshold: float) -> list[tuple[npt.NDArray[np.uint8], str]]:
    """Find the most similar pictures of a gallery.

    Args:
        gallery: Pictures to search; their ids are paths of files.
        image: The query, uint8 `[C, H, W]`, from `as_pixels`.
        k: Number of pictures, or all of a smaller gallery.
        threshold: Similarity from which a picture matches, in [-1, 1].

    Returns:
        A thumbnail and its caption for each picture, the most similar first.
    """
    result = gallery.search([image], k)
    columns = (result.ids[0], result.similarities[0].tolist(), result.probabilities[0].tolist())
    return [
        (
            _thumbnail(str(path), gallery.model.preprocessing.white),
            f"{'match' if similarity >= lowest_match(threshold) else 'no match'}: similarity {similarity:.3f}, "
            f"probability {probability:.3f} ({printable(Path(str(path)).name)})",
        )
        for path, similarity, probability in zip(*columns, strict=True)
    ]


def _editor(gr: Any, label: str, name: str) -> Any:
    return picture_editor(gr)(
        label=f"{label}: upload, paste or draw",
        sources=("upload", "clipboard"),
        canvas_size=(_CANVAS, _CANVAS),
        brush=gr.Brush(default_size=_BRUSH, colors=["#000000"], default_color="#000000", color_mode="fixed"),
        layers=False,
        transforms=(),
        format="png",
        elem_id=name,
    )


def _read(source: Any) -> Tensor | None:
    """Read a picture of the editor as pixels on white, if it is not too large to be decoded."""
    if not isinstance(source, bytes | bytearray):
        return None if source is None else read_image(source, max_pixels=_MAX_PIXELS)
    from PIL import Image

    try:
        opened = Image.open(io.BytesIO(source))
    except Exception as error:  # decoders raise all kinds
        raise ImageReadError("Expected a picture, found a file that cannot be read. Upload a PNG or JPEG.") from error
    return read_image(opened, max_pixels=_MAX_PIXELS)


def _is_blank(pixels: Tensor | None) -> bool:
    """Whether there is no image, or only an empty page, which is transparent or white."""
    return pixels is None or bool((pixels == 255).all())


def _thumbnail(path: str, white: int | None) -> npt.NDArray[np.uint8]:
    pixels = read_image(path, white=white)
    height, width = pixels.shape[1:]
    scale = _CANVAS / max(height, width)
    if scale < 1.0:
        size = max(round(height * scale), 1), max(round(width * scale), 1)
        pixels = read_image(path, image_size=size, white=white)
    return pixels.permute(1, 2, 0).numpy()
