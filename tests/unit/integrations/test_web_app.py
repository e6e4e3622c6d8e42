"""What the app makes of drawings and uploads, and what it answers; the page itself is tested in a browser."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile
from small_models import small_model

from pairsim import Gallery, SimilarityModel
from pairsim.errors import ImageReadError, MissingExtraError
from pairsim.images import Preprocessing
from pairsim.integrations import web_app
from pairsim.integrations.web_app import _add_search, as_pixels, build_app, describe, neighbours

PREPROCESSING = Preprocessing(image_size=(8, 8), channels=1)


@pytest.fixture
def model() -> SimilarityModel:
    return small_model(preprocessing=PREPROCESSING)


def page(ink: int | None) -> np.ndarray:
    """A white page, its left half drawn on in a grey."""
    pixels = np.full((8, 8, 4), 255, dtype=np.uint8)
    if ink is not None:
        pixels[:, :4, :3] = ink
    return pixels


def test_drawings_are_turned_light_on_dark_where_asked(model: SimilarityModel) -> None:
    for background in (None, np.zeros((8, 8, 4), np.uint8), page(None)):
        value: dict[str, Any] = {"background": background, "layers": [], "composite": page(0)}
        drawn = as_pixels(value, invert=True, model=model)
        assert drawn[0, 0].tolist() == [255] * 4 + [0] * 4
        assert as_pixels(value, invert=False, model=model)[0, 0].tolist() == [0] * 4 + [255] * 4


def test_transparent_pages_count_as_white(model: SimilarityModel) -> None:
    drawn = page(0)
    drawn[:, 4:] = 0  # transparent black
    value = {"background": None, "composite": drawn}
    assert as_pixels(value, invert=True, model=model)[0, 0].tolist() == [255] * 4 + [0] * 4


def test_uploads_stay_as_they_are(model: SimilarityModel) -> None:
    value = {"background": page(40), "composite": page(40)}
    assert as_pixels(value, invert=True, model=model)[0, 0].tolist() == [40] * 4 + [255] * 4


@pytest.mark.parametrize("value", [None, {}, {"composite": None}, {"composite": page(None)}])
def test_nothing_drawn(model: SimilarityModel, value: dict[str, np.ndarray] | None) -> None:
    with pytest.raises(ValueError, match="Expected a picture in each field, found an empty one"):
        as_pixels(value, invert=True, model=model)


def test_verdict_says_what_verify_says(model: SimilarityModel) -> None:
    first, second = (as_pixels({"composite": page(ink)}, invert=False, model=model) for ink in (0, 200))
    for threshold in (-1.0, 1.0):
        found = model.verify(first, second, threshold)
        text = describe(model, first, second, threshold)
        assert (">MATCH<" in text) == found.match
        assert f"{found.similarity:.4f}" in text
        assert f"{found.probability:.4f}" in text


def test_neighbours_are_those_of_the_gallery(model: SimilarityModel, tmp_path: Path) -> None:
    for number in range(3):
        Image.new("L", (600, 20), 80 * number).save(tmp_path / f"{number}.png")
    (tmp_path / "2.png").rename(tmp_path / os.fsdecode(b"caf\xe9.png"))  # not UTF-8, which web pages have to be
    paths = sorted(tmp_path.iterdir())
    gallery = Gallery(model)
    gallery.add(paths, [str(path) for path in paths])
    query = model.preprocessing.read(paths[1])
    found = neighbours(gallery, query, 3, threshold=2.0)
    expected = gallery.search([query], 3)
    names = [Path(str(name)).name.replace("\udce9", "\\udce9") for name in expected.ids[0]]
    assert [caption.split("(")[1].rstrip(")") for _, caption in found] == names
    assert all(caption.startswith("no match") for _, caption in found)
    assert all(max(pixels.shape[:2]) <= 280 for pixels, _ in found)


def test_neighbours_are_shown_with_the_white_of_the_model(tmp_path: Path) -> None:
    model = SimilarityModel(preprocessing=Preprocessing(image_size=(28, 28), channels=1, white=4095)).eval()
    samples = np.random.default_rng(0).integers(0, 4096, (28, 28), dtype=np.uint16)
    Image.fromarray(samples).save(tmp_path / "x.png")
    gallery = Gallery(model)
    gallery.add([tmp_path / "x.png"], [str(tmp_path / "x.png")])
    ((shown, _),) = neighbours(gallery, model.preprocessing.read(tmp_path / "x.png"), 1, threshold=0.5)
    assert (shown == (samples >> 4)[..., None]).all()


def test_uploads_are_read_from_files_and_bytes(model: SimilarityModel, tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 128)).save(tmp_path / "x.png")
    for source in (str(tmp_path / "x.png"), (tmp_path / "x.png").read_bytes()):
        pixels = as_pixels({"background": source, "composite": source}, invert=True, model=model)
        assert pixels.unique().tolist() == [127]  # on white, not inverted
    with pytest.raises(ImageReadError, match=r"Expected a picture, found a file that cannot be read\. Upload a PNG"):
        as_pixels({"composite": b"no picture"}, invert=True, model=model)


@pytest.mark.parametrize("as_bytes", [False, True])
def test_large_pictures_are_not_decoded(
    as_bytes: bool, model: SimilarityModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("1", (9_001, 4_000)).save(tmp_path / "x.png")
    source = (tmp_path / "x.png").read_bytes() if as_bytes else str(tmp_path / "x.png")

    def decode(self: Any) -> None:
        pytest.fail("the picture was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    with pytest.raises(ImageReadError, match=r"at most 36,000,000 pixels, found 9001 x 4000\. Resize it"):
        as_pixels({"composite": source}, invert=False, model=model)


def test_errors_with_names_are_escaped(model: SimilarityModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Error(Exception):
        def __init__(self, message: str, *, print_exception: bool) -> None:
            super().__init__(message)

    found: list[Any] = []

    class Page:
        def click(self, function: Any, *_: Any, **__: Any) -> None:
            found.append(function)

        def __getattr__(self, name: str) -> Any:
            return Error if name == "Error" else lambda *_, **__: self

    name = "<img src=x>.png"
    Image.new("L", (8, 8)).save(tmp_path / name)
    gallery = Gallery(model)
    gallery.add([tmp_path / name], [str(tmp_path / name)])
    (tmp_path / name).unlink()
    monkeypatch.setattr(web_app, "_editor", lambda *_: None)
    _add_search(Page(), model, gallery, None, None)
    with pytest.raises(Error, match=r"&lt;img src=x&gt;\.png, found none"):
        found[0]({"composite": page(0)}, 1, 0.5, False)


def test_missing_extra(model: SimilarityModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r"The app needs the package gradio.*pip install 'pairsim\[app\]'"):
        build_app(model)
