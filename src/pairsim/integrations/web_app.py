"""A page to try a model by hand: compare two pictures, search a gallery, move the threshold. Needs the extra `app`."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pairsim._common.unit_similarity import lowest_match
from pairsim.errors import ImageReadError, require
from pairsim.images import read_image
from pairsim.models import SimilarityModel
from pairsim.search.gallery import Gallery
from pairsim.visual.page.pixels import png_data_uri, to_pixels

_CANVAS = 280
_BRUSH = 20
_DARK = 0.4
"""Below this mean the model's pictures are light on dark, as MNIST's are; strokes are drawn dark on light."""

_FONTS = ("system-ui", "sans-serif")
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
        examples: Picture files to try it with.
        gallery: Pictures to search in, whose ids are paths; without it there is no search.
        name: What the model is called on the page.

    Returns:
        A `gradio.Blocks`; its `launch()` serves it.

    Raises:
        MissingExtraError: If Gradio is not installed.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    gr = require("gradio", extra="app", purpose="The app")
    files = [os.fspath(path) for path in examples]
    with gr.Blocks(title=f"pairsim: {name}", analytics_enabled=False) as app:
        gr.Markdown(f"# {html.escape(name)}\nHow alike are two images, and do they show the same thing?")
        with gr.Row():
            threshold = gr.Slider(
                -1.0, 1.0, value=round(model.threshold, 4), step=0.0001, label="Similarity threshold",
                info="A pair is a match from this similarity on. Higher: fewer false matches, more that are missed.",
                elem_id="threshold",
            )  # fmt: skip
            inverted = gr.Checkbox(
                value=_is_dark(model), label="Drawings are light on dark", elem_id="inverted",
                info="Turns drawn strokes light on a dark ground, as the model's images are. Uploads stay as they are.",
            )  # fmt: skip
        with gr.Tab("Compare"):
            with gr.Row():
                first, second = (_editor(gr, label, name) for label, name in (("First", "first"), ("Second", "second")))
            button = gr.Button("Compare", variant="primary", elem_id="compare")
            verdict = gr.HTML(elem_id="verdict")
            seen = gr.HTML()
            if files:
                pairs = [[files[place], files[place + 1]] for place in range(0, len(files) - 1, 2)]
                # labels, as the pictures that Gradio would show have no text for those who do not see them
                labels = [f"{Path(one).stem} and {Path(other).stem}" for one, other in pairs]
                gr.Examples(pairs, inputs=[first, second], label="Examples", example_labels=labels)

            def compare(one: Any, other: Any, cut: float, invert: bool) -> tuple[str, str]:
                try:
                    images = [as_pixels(value, invert=invert, model=model) for value in (one, other)]
                except (ImageReadError, ValueError) as error:
                    return f'<p role="alert">{html.escape(str(error))}</p>', ""
                return describe(model, images[0], images[1], cut), shown_as_seen(images)

            inputs = [first, second, threshold, inverted]
            button.click(compare, inputs, [verdict, seen], api_name="compare")
            threshold.release(compare, inputs, [verdict, seen], show_progress="hidden")
        if gallery is not None:
            found_in: Gallery = gallery
            with gr.Tab("Search"):
                query = _editor(gr, "Query", "query")
                count = gr.Slider(1, min(24, len(gallery)), value=min(6, len(gallery)), step=1, label="Pictures")
                look = gr.Button("Search", variant="primary", elem_id="search")
                results = gr.Gallery(label="Most alike first", columns=6, object_fit="contain", elem_id="results")

                def search(value: Any, k: float, cut: float, invert: bool) -> list[tuple[Any, str]]:
                    try:
                        image = as_pixels(value, invert=invert, model=model)
                    except (ImageReadError, ValueError) as error:
                        raise gr.Error(str(error)) from error
                    return neighbours(found_in, image, int(k), cut)

                look.click(search, [query, count, threshold, inverted], results, api_name="search")
    return app


def serve(
    app: Any, *, host: str = "127.0.0.1", port: int | None = None, browser: bool = True, wait: bool = True
) -> str:
    """Serve the page on this machine, or on a network if `host` says so.

    Args:
        app: From `build_app`.
        host: Address to listen on; `127.0.0.1` is reached from this machine only.
        port: Port; by default the first that is free from 7860.
        browser: Whether to open it in a browser.
        wait: Whether to serve until interrupted; otherwise it goes on in a thread.

    Returns:
        The address.
    """
    gr = require("gradio", extra="app", purpose="The app")
    _, address, _ = app.launch(
        server_name=host,
        server_port=port,
        inbrowser=browser,
        share=False,
        quiet=True,
        show_error=True,
        ssr_mode=False,
        footer_links=[],
        prevent_thread_lock=not wait,
        # the system's own fonts, as nothing may be loaded from elsewhere, and small print that can be read
        theme=gr.themes.Base(font=list(_FONTS), font_mono=["monospace"]).set(
            block_info_text_color="*neutral_600",
            block_info_text_color_dark="*neutral_300",
            body_text_color_subdued="*neutral_600",
            body_text_color_subdued_dark="*neutral_300",
        ),
        css=_CSS,
    )
    return str(address)


def as_pixels(value: Any, *, invert: bool, model: SimilarityModel) -> Tensor:
    """What somebody drew or uploaded, as the model takes it.

    Args:
        value: Of an image editor: `background`, `layers`, `composite`, each uint8 `[H, W, 4]` or `None`.
            A background that is missing, transparent or white means that nothing was uploaded.
        invert: Whether strokes on an empty page are turned light on dark.
        model: Whose size and channels it gets.

    Returns:
        uint8 `[C, H, W]`.

    Raises:
        ValueError: If nothing was drawn or uploaded.
    """
    found = {} if value is None else value
    if _is_blank(found.get("composite")):
        raise ValueError("Expected a picture in each field, found an empty one. Draw or upload one.")
    pixels = read_image(np.asarray(found["composite"], dtype=np.uint8))  # laid on white
    if invert and _is_blank(found.get("background")):  # drawn, not uploaded
        pixels = 255 - pixels
    return model.preprocessing.read(pixels)


def describe(model: SimilarityModel, first: Tensor, second: Tensor, threshold: float) -> str:
    """The verdict on two images as HTML.

    Args:
        model: The model that judges.
        first: An image, uint8 `[C, H, W]`, as `as_pixels` gives it.
        second: Likewise.
        threshold: Similarity from which two images match, in [-1, 1].
    """
    found = model.verify(first, second, threshold)
    sign = "&ge;" if found.match else "&lt;"
    return (
        f'<div class="verdict" role="status"><div class="word">{"MATCH" if found.match else "NO MATCH"}</div>'
        f"<div>similarity <b>{found.similarity:.4f}</b> {sign} threshold {found.threshold:.4f}</div>"
        f"<div>probability of the same thing <b>{found.probability:.4f}</b></div></div>"
    )


def shown_as_seen(images: Sequence[Tensor]) -> str:
    """Two images at the size and in the colours that the model takes, as HTML."""
    pictures = "".join(
        f'<img src="{png_data_uri(pixels)}" alt="The {name} as the model sees it" width="140" '
        'style="image-rendering: pixelated; display: inline-block; margin-right: 1rem">'
        for name, pixels in zip(("first", "second"), to_pixels(images), strict=True)
    )
    return f"<p>What the model sees:</p>{pictures}"


def neighbours(gallery: Gallery, image: Tensor, k: int, threshold: float) -> list[tuple[npt.NDArray[np.uint8], str]]:
    """The most similar pictures of a gallery, whose ids are paths, with captions.

    Args:
        gallery: Pictures to search; their ids are paths of files.
        image: The query, uint8 `[C, H, W]`, as `as_pixels` gives it.
        k: How many to give; fewer where the gallery is smaller.
        threshold: Similarity from which a caption says "match", in [-1, 1].

    Returns:
        A thumbnail and its caption for each picture, the most similar first.
    """
    found = gallery.search([image], k)
    return [
        (
            _thumbnail(str(name)),
            f"{'match' if similarity >= lowest_match(threshold) else 'no match'}: similarity {similarity:.3f}, "
            f"probability {probability:.3f} ({Path(str(name)).name})",
        )
        for name, similarity, probability in zip(
            found.ids[0], found.similarities[0].tolist(), found.probabilities[0].tolist(), strict=True
        )
    ]


def _editor(gr: Any, label: str, name: str) -> Any:
    return gr.ImageEditor(
        label=f"{label}: upload, paste or draw",
        sources=("upload", "clipboard"),
        type="numpy",
        image_mode="RGBA",
        canvas_size=(_CANVAS, _CANVAS),
        brush=gr.Brush(default_size=_BRUSH, colors=["#000000"], default_color="#000000", color_mode="fixed"),
        layers=False,
        transforms=(),
        format="png",
        elem_id=name,
    )


def _is_blank(image: Any) -> bool:
    """Whether this is no image, or a page that nothing was put on, which is transparent or white."""
    return image is None or bool((read_image(np.asarray(image, dtype=np.uint8)) == 255).all())


def _is_dark(model: SimilarityModel) -> bool:
    mean = model.preprocessing.mean
    return mean is not None and sum(mean) / len(mean) < _DARK


def _thumbnail(path: str) -> npt.NDArray[np.uint8]:
    pixels = read_image(path)
    height, width = pixels.shape[1:]
    scale = min(1.0, _CANVAS / max(height, width))
    if scale < 1.0:
        pixels = read_image(path, image_size=(max(round(height * scale), 1), max(round(width * scale), 1)))
    return pixels.permute(1, 2, 0).numpy()
