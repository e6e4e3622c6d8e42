"""`pairsim app`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from torch import Tensor

from pairsim._common import storage
from pairsim._common.devices import resolve_device
from pairsim.cli.output import UsageError, note
from pairsim.data.image_sets import fetch_images
from pairsim.data.named import load_data
from pairsim.errors import DataError, DatasetNotFoundError, MissingExtraError
from pairsim.images.folders import pictures_below
from pairsim.integrations.web_app import build_app, serve
from pairsim.models import SimilarityModel
from pairsim.search.gallery import Gallery
from pairsim.visual.page.pixels import to_pixels

_MOST_EXAMPLES = 12


def app(
    run: Path,
    /,
    *,
    gallery: Path | None = None,
    examples: Path | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    browser: bool = True,
    device: str = "auto",
    data_dir: Path | None = None,
) -> None:
    """Try a model by hand in the browser: compare two pictures, drawn or uploaded, search, move the threshold.

    The page is served on this machine only, unless --host says otherwise, and loads nothing from elsewhere. Stop it
    with Ctrl+C.

    Args:
        run: Run or model folder.
        gallery: Folder of pictures to search in, with all of its sub-folders.
        examples: Folder of pictures to try; by default some of the test images of the run's own data.
        host: Address to listen on. Whoever reaches it can use the model.
        port: Port; by default the first that is free from 7860.
        browser: Whether to open the page in a browser.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        data_dir: Where mnist and fashion-mnist are kept; else PAIRSIM_DATA, else the user's cache.
    """
    if port is not None and not 0 < port < 65536:
        raise UsageError(f"Expected --port from 1 to 65535, got {port}.")
    model = SimilarityModel.from_pretrained(run).to(resolve_device(device))
    found_in = None
    if gallery is not None:
        paths = pictures_below(gallery)
        found_in = Gallery(model)
        found_in.add(paths, [str(path) for path in paths])
    with tempfile.TemporaryDirectory(prefix="pairsim-app-") as folder:
        shown = _examples(run, model, examples, data_dir, Path(folder))
        page = build_app(model, examples=shown, gallery=found_in, name=run.resolve().name)
        note("Serving the page; stop it with Ctrl+C.")
        address = serve(page, host=host, port=port, browser=browser, wait=False)
        note(f"Open {address}")
        page.block_thread()


def _examples(
    run: Path, model: SimilarityModel, examples: Path | None, data_dir: Path | None, folder: Path
) -> list[Path]:
    """Pictures to try, as files of this page's own: neighbouring ones are of one class as often as not."""
    from PIL import Image

    if examples is not None:
        arrays = [model.preprocessing.read(path) for path in pictures_below(examples)[:_MOST_EXAMPLES]]
    else:
        arrays = _test_images(run, model, data_dir)
    paths = []
    for number, pixels in enumerate(to_pixels(arrays)):
        paths.append(folder / f"example-{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def _test_images(run: Path, model: SimilarityModel, data_dir: Path | None) -> list[Tensor]:
    """Test images of the run's own data, where it is still there: pairs of one class and of two by turns."""
    record = run / "data.json"
    if not record.is_file():
        return []
    try:
        data = str(storage.read_json(record).get("data"))
        dataset = load_data(data, "test", data_dir=data_dir, preprocessing=model.preprocessing).dataset
    except (DataError, DatasetNotFoundError, MissingExtraError):
        return []
    labels = np.asarray(dataset.targets)
    places: list[int] = []
    for number, label in enumerate(np.unique(labels)[: _MOST_EXAMPLES // 2].tolist()):
        own = np.flatnonzero(labels == label)
        other = own if number % 2 == 0 and len(own) > 1 else np.flatnonzero(labels != label)
        if len(other):
            places += [int(own[0]), int(other[-1])]
    return list(fetch_images(dataset, np.array(places), model.preprocessing)) if places else []
