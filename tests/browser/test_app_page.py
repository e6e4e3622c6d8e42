"""The app in a browser: draw two strokes, compare, read the verdict; search; nothing is loaded from elsewhere."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from browser import BROWSER_MISSING, open_page, serious_findings
from PIL import Image
from run_command import environment
from served_page import closed_after

from pairsim import EmbeddingNet, Gallery, SimilarityModel

MISSING = BROWSER_MISSING or ("" if find_spec("gradio") else "needs gradio: pip install 'pairsim[app]'")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
    pytest.mark.filterwarnings("ignore"),  # of the packages behind the page
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from pairsim.integrations.web_app import build_app, serve

    folder = tmp_path_factory.mktemp("pictures")
    for number in range(4):
        Image.new("L", (16, 16), 60 * number).save(folder / f"grey{number}.png")
    model = SimilarityModel(EmbeddingNet(image_size=16)).eval()
    gallery = Gallery(model)
    paths = sorted(folder.iterdir())
    gallery.add(paths, [str(path) for path in paths])
    with closed_after(build_app(model, examples=paths, gallery=gallery, name="<b>name</b>")) as app:
        yield serve(app, browser=False)


def test_draw_compare_and_read_the_verdict(address: str) -> None:
    with open_page(address) as (page, problems):
        page.wait_for_selector("#compare")
        assert "<b>name</b>" in page.locator("h1").inner_text()
        page.locator("#compare").click()
        page.get_by_text("Expected a picture in each field, found an empty one").wait_for()
        for name in ("first", "second"):
            draw(page, name)
        page.locator("#compare").click()
        page.wait_for_selector("#verdict .word")
        text = page.locator("#verdict").inner_text()
        assert text.startswith("MATCH")  # the same stroke twice
        assert "similarity 1.0000" in text
        assert "; probability " in text
        assert serious_findings(page) == []
        assert problems == []


def test_search_shows_the_pictures_of_the_gallery(address: str) -> None:
    with open_page(address) as (page, problems):
        page.wait_for_selector("#compare")
        page.get_by_role("tab", name="Search").click()
        draw(page, "query")
        page.locator("#search").click()
        page.wait_for_selector("#results img")
        assert page.locator("#results .caption-label").count() == 4
        assert "similarity" in page.locator("#results .caption-label").first.inner_text()
        assert problems == []


def test_command_serves_the_run_and_leaves_nothing_behind(tmp_path: Path) -> None:
    SimilarityModel(EmbeddingNet(image_size=16)).save_pretrained(tmp_path / "my model")
    (tmp_path / "pictures").mkdir()
    for number in range(4):
        Image.new("L", (16, 16), 60 * number).save(tmp_path / "pictures" / f"{number}.png")
    (tmp_path / "tmp").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--gallery", "pictures", "--examples", "pictures", "--no-browser", "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "pairsim", "app", "my model", *options],
        cwd=tmp_path,
        env=environment(TMPDIR=str(tmp_path / "tmp")),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        told = ""
        while not told.startswith("Open "):
            told = process.stderr.readline()
            assert told, "ended before it served"
        with open_page(told.removeprefix("Open ").strip()) as (page, problems):
            page.wait_for_selector("#compare")
            assert page.locator("h1").inner_text() == "my model"
            assert page.get_by_role("tab", name="Search").count() == 1
            page.get_by_text("example-0 and example-1").first.wait_for()
            assert problems == []
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 143
        assert said.splitlines()[-1] == "pairsim: interrupted: the page is no longer served."
        assert "Traceback" not in said
    finally:
        process.kill()
        process.wait()
    assert [entry.name for entry in (tmp_path / "tmp").iterdir() if entry.name.startswith("pairsim-app-")] == []


def draw(page: object, name: str) -> None:
    """An upright stroke in the middle of a field."""
    page.locator(f"#{name} button[aria-label='Brush']").click()  # type: ignore[attr-defined]
    canvas = page.locator(f"#{name} canvas").first  # type: ignore[attr-defined]
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    across, top, height = box["x"] + box["width"] / 2, box["y"], box["height"]
    mouse = page.mouse  # type: ignore[attr-defined]
    mouse.move(across, top + 0.3 * height)
    mouse.down()
    for step in range(10):
        mouse.move(across, top + height * (0.3 + 0.04 * step))
    mouse.up()
    page.wait_for_timeout(500)  # type: ignore[attr-defined]
