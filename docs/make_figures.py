"""Make the pictures of the documentation from real runs.

    python docs/make_figures.py --run runs/all-pairs-2 --curves-run runs/pairs-30 --data mnist --out docs/images

`--run` is evaluated on the test images of `--data`. Figures with a style are made twice, as `NAME-light.png` and
`NAME-dark.png`. The screenshots of a table and of the report need Chromium and playwright; without them they are left
out with a note.
"""

# ruff: noqa: T201 (prints the files that it writes)

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pairsim import Gallery, PairDataset, SimilarityModel, encode_dataset, evaluate
from pairsim._common.storage import write_file
from pairsim.data import load_data
from pairsim.evaluation import Logistic, all_pair_scores
from pairsim.report import write_report
from pairsim.visual import (
    draw_class_ranking,
    draw_class_similarity,
    draw_confusing_pairs,
    draw_det,
    draw_embedding_map,
    draw_embedding_net,
    draw_neighbors,
    draw_pairs,
    draw_reliability,
    draw_score_histogram,
    draw_similarity_model,
    draw_training_curves,
    pair_table,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pairsim.data import LabelledData

MAX_BYTES, MAX_TOTAL_BYTES = 150_000, 2_500_000
Styled = Callable[..., "Figure"]


def main() -> None:
    """Make all pictures, check their sizes, and print their names."""
    parser = argparse.ArgumentParser(description="Make the pictures of the documentation.")
    parser.add_argument("--run", type=Path, required=True, help="run or model folder of the figures")
    parser.add_argument("--curves-run", type=Path, help="run whose training curves are drawn; by default --run")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    arguments = parser.parse_args()

    plain, styled = figures(arguments.run, arguments.curves_run or arguments.run, arguments.data, arguments.data_dir)
    arguments.out.mkdir(parents=True, exist_ok=True)
    pictures = {f"{name}.png": png(figure) for name, figure in plain.items()}
    for name, draw in styled.items():
        pictures[f"{name}-light.png"] = png(draw(style="light"))
        pictures[f"{name}-dark.png"] = png(draw(style="dark"))
    pictures |= screenshots(arguments.run, arguments.data, arguments.data_dir)
    for name, content in sorted(pictures.items()):
        write_file(arguments.out / name, content)
        print(f"{len(content) / 1000:6.1f} kB  {name}")
    total = sum(map(len, pictures.values()))
    print(f"{total / 1000:6.1f} kB  total")
    if total > MAX_TOTAL_BYTES or max(map(len, pictures.values())) > MAX_BYTES:
        sys.exit(f"Expected pictures below {MAX_BYTES:,} bytes, {MAX_TOTAL_BYTES:,} in total. Draw less or smaller.")


def figures(
    run: Path, curves_run: Path, data: str, data_dir: Path | None
) -> tuple[dict[str, Figure], dict[str, Styled]]:
    """Return the figures of a run with one style, and functions of `style` for those with a light and a dark one."""
    model = SimilarityModel.from_pretrained(run if (run / "model.safetensors").exists() else run / "model")
    test = load_data(data, "test", data_dir=data_dir)
    images, labels, names = test.dataset.images, test.dataset.targets, test.class_names
    report = evaluate(model, test.dataset)
    embeddings = encode_dataset(model, test.dataset)
    scores = all_pair_scores(embeddings, labels)
    projection = Logistic(model.projection.weight.item(), model.projection.bias.item())

    drawn = PairDataset(test.dataset, num_pairs=1000, seed=0).all_pairs()
    first, second = images[torch.from_numpy(drawn.first)], images[torch.from_numpy(drawn.second)]
    gallery = Gallery(model)
    gallery.add(images[:1000])
    queries = slice(1000, 1003)

    def ranking(number: int) -> Figure:
        return draw_class_ranking(model, images[number], test.dataset, names=names, true_label=int(labels[number]))

    plain = {
        "pairs": draw_pairs(first[:8], second[:8], drawn.target[:8], title="Pairs and their targets"),
        "embedding-net": draw_embedding_net(model.embedding_net),
        "similarity-model": draw_similarity_model(model, first[0], second[0]),
        "class-ranking-1": ranking(15),
        "class-ranking-2": ranking(247),
        "confusing-pairs": draw_confusing_pairs(test.dataset, embeddings, model.threshold, names=names),
        "neighbors": draw_neighbors(
            images[queries],
            gallery.search(images[queries], k=6),
            test.dataset,
            query_labels=labels[queries],
            gallery_labels=labels,
            names=names,
        ),
    }
    styled: dict[str, Styled] = {
        "histogram": lambda **look: draw_score_histogram(scores, threshold=model.threshold, log=True, **look),
        "det": lambda **look: draw_det(scores, threshold=model.threshold, intervals=report.intervals, **look),
        "reliability": lambda **look: draw_reliability(scores, probability=projection, **look),
        "class-similarity": lambda **look: draw_class_similarity(embeddings, labels, names=names, **look),
        "embedding-map": lambda **look: draw_embedding_map(embeddings, labels, names=names, **look),
        "training-curves": lambda **look: draw_training_curves(curves_run, **look),
    }
    return plain, styled


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG with a palette of 256 colours, which halves the file without a visible difference."""
    from PIL import Image

    raw = io.BytesIO()
    figure.savefig(raw, format="png", dpi=110)
    return paletted(Image.open(raw))


def paletted(picture: Any) -> bytes:
    """Return a PIL image as the bytes of a small PNG."""
    from PIL import Image

    small = io.BytesIO()
    colours = picture.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    colours.save(small, format="PNG", optimize=True)
    return small.getvalue()


def screenshots(run: Path, data: str, data_dir: Path | None) -> dict[str, bytes]:
    """Return a table of pairs, and the first screen of the report of a run, light and dark."""
    from PIL import Image

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        print("pair-table and report: left out, as they need Chromium and playwright", file=sys.stderr)
        return {}
    test = load_data(data, "test", data_dir=data_dir)
    pictures = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = Path(folder) / "report.html"
        write_report(run, test.dataset, page_file, names=test.class_names, title="MNIST", data=data, split="test")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--headless", "--no-sandbox"])
        try:
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport={"width": 1000, "height": 900}, color_scheme=scheme)
                page.goto(f"file://{os.fspath(page_file)}", wait_until="load")
                pictures[f"report-{scheme}.png"] = paletted(Image.open(io.BytesIO(page.screenshot())))
            pictures["pair-table.png"] = paletted(Image.open(io.BytesIO(table_of_pairs(browser, test))))
        finally:
            browser.close()
    return pictures


def table_of_pairs(browser: Any, test: LabelledData) -> bytes:
    """Return a screenshot of the table that a notebook shows of six pairs."""
    table = pair_table(PairDataset(test.dataset, num_pairs=1000, seed=0), count=6, names=test.class_names)
    page = browser.new_page(viewport={"width": 1000, "height": 900}, color_scheme="light")
    page.set_content(f'<body style="font: 14px sans-serif">{table.to_html()}</body>')
    picture: bytes = page.locator("table").screenshot()
    return picture


if __name__ == "__main__":
    main()
