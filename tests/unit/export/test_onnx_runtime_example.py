from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import isotonic, small_model
from PIL import Image

from pairsim import SimilarityModel
from pairsim.export import export_onnx
from pairsim.images import Preprocessing

pytest.importorskip("onnxruntime")

EXAMPLE = Path(__file__).parents[3] / "examples" / "onnx_runtime.py"


@pytest.fixture(scope="module")
def model() -> SimilarityModel:
    return small_model(calibration=isotonic())


@pytest.fixture(scope="module")
def folder(model: SimilarityModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("example")
    export_onnx(model, made / "model.onnx", kind="pair")
    generator = np.random.default_rng(0)
    for name, size in {"a": (40, 23, 3), "b": (12, 10, 3), "grey": (31, 50)}.items():
        Image.fromarray(generator.integers(0, 256, size, dtype=np.uint8)).save(made / f"{name}.png")
    return made


def test_it_needs_neither_torch_nor_pairsim_and_agrees_with_the_model(model: SimilarityModel, folder: Path) -> None:
    # as modules that cannot be imported, and looked for afterwards
    code = (
        "import runpy, sys; sys.modules['torch'] = sys.modules['pairsim'] = None; "
        f"sys.argv = ['example', 'model.onnx', 'a.png', 'b.png']; runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')"
        "; assert not [name for name in sys.modules if name.startswith(('torch.', 'pairsim.', 'torchvision'))]"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    numbers, match = done.stdout.splitlines()
    similarity, probability, threshold = (float(value) for value in re.findall(r"-?\d+\.\d+", numbers))
    verdict = model.verify(folder / "a.png", folder / "b.png")
    assert similarity == pytest.approx(verdict.similarity, abs=1e-4)
    assert probability == pytest.approx(verdict.probability, abs=1e-4)
    assert threshold == pytest.approx(verdict.threshold, abs=1e-6)
    assert match == ("match" if verdict.match else "no match")


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_read_as_by_the_model(fit: Any, interpolation: Any, channels: int, folder: Path) -> None:
    read = runpy.run_path(str(EXAMPLE))["read"]
    preprocessing = Preprocessing(image_size=(12, 10), channels=channels, fit=fit, interpolation=interpolation)
    for name in ("a", "b", "grey"):
        found = read(folder / f"{name}.png", preprocessing.to_dict())
        np.testing.assert_array_equal(found[0], preprocessing.read(folder / f"{name}.png").numpy())
