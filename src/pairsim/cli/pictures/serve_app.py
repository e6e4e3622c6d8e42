"""`pairsim app`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pairsim
from pairsim.cli.arguments import DataDir, Device, Run, load_model
from pairsim.cli.output import expect, note
from pairsim.cli.signals import wait_for_signal
from pairsim.errors import DataError, DatasetNotFoundError, ImageReadError, MissingExtraError, RunError

if TYPE_CHECKING:
    from torch import Tensor

_MAX_EXAMPLES = 12


def app(
    run: Run,
    /,
    *,
    gallery: Path | None = None,
    examples: Path | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    browser: bool = True,
    device: Device = "auto",
    data_dir: DataDir = None,
) -> None:
    """Try a model by hand in the browser: compare two pictures, drawn or uploaded, search, move the threshold.

    The page is served on this machine only, unless --host says otherwise, and loads nothing from elsewhere. Stop it
    with Ctrl+C.

    Args:
        gallery: Folder of pictures to search in, with all of its sub-folders.
        examples: Folder of pictures to try; by default some of the test images of the run's data, if that is mnist,
            fashion-mnist or digits. A folder that a run names is not opened unasked.
        host: Address or name of this machine to listen on. Whoever reaches it can use the model.
        port: Port; by default the first that is free from 7860.
        browser: Open the page in a browser.
    """
    from PIL import Image

    from pairsim.images.folders import scan
    from pairsim.integrations import build_app, serve
    from pairsim.visual import to_pixels

    expect(port is None or 0 < port < 65536, f"--port from 1 to 65535, got {port}.")
    model = load_model(run, device)
    pictures = None
    if gallery is not None:
        pictures = pairsim.Gallery(model)
        found = scan(gallery)
        note(str(found))
        pictures.add(found.pictures)
    if examples is not None:
        found = scan(examples)
        note(str(found))
        shown = [model.preprocessing.read(path) for path in found.pictures[:_MAX_EXAMPLES]]
    else:
        shown = _test_images(run, model, data_dir)
    with tempfile.TemporaryDirectory(prefix="pairsim-app-") as folder:
        files = [Path(folder, f"example-{number}.png") for number in range(len(shown))]
        for file, pixels in zip(files, to_pixels(shown), strict=True):
            Image.fromarray(pixels).save(file)
        page = build_app(model, examples=files, gallery=pictures, name=run.resolve().name)
        note("Serving the page; stop it with Ctrl+C.")
        try:
            address = serve(page, host=host, port=port, browser=browser)
            note(f"Open {address}")
            wait_for_signal()
        except KeyboardInterrupt:
            raise KeyboardInterrupt("the page is no longer served.") from None
        finally:
            page.close(verbose=False)


def _test_images(run: Path, model: pairsim.SimilarityModel, data_dir: Path | None) -> list[Tensor]:
    """Test images of the named data of a run: in pairs of one class and of two, alternating.

    A run may come from a stranger, and name any folder of this machine, whose pictures would then be shown.
    """
    import numpy as np

    from pairsim._common import json_files, storage
    from pairsim.data.image_sets import fetch_images
    from pairsim.data.named import NAMES
    from pairsim.runs.run_data import load_labelled

    record = run / "data.json"
    if not storage.is_file(record):
        return []
    try:
        data = str(json_files.read_sealed(record).get("data"))
        if data not in NAMES:
            note("No examples: the run was not trained on named data. Choose a folder with --examples.")
            return []
        dataset = load_labelled(run, model, data, "test", data_dir=data_dir).dataset
    except (DataError, DatasetNotFoundError, ImageReadError, MissingExtraError, RunError) as error:
        note(f"No examples: {error}")
        return []
    labels = np.asarray(dataset.targets)
    indices: list[int] = []
    for number, label in enumerate(np.unique(labels)[: _MAX_EXAMPLES // 2].tolist()):
        same = np.flatnonzero(labels == label)
        other = same if number % 2 == 0 and len(same) > 1 else np.flatnonzero(labels != label)
        if len(other):
            indices += [int(same[0]), int(other[-1])]
    return list(fetch_images(dataset, np.array(indices), model.preprocessing)) if indices else []
