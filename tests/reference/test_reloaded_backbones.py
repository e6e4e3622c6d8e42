"""Nets of torchvision and timm, trained, saved and loaded by name in a new process: the same similarities."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from run_command import environment
from sealed_files import edit_text

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer
from pairsim.data import ImageTensors
from pairsim.errors import MissingExtraError, RunError

NEW_PROCESS = """
import json, sys
import numpy as np
import torch
from pairsim import SimilarityModel

def no_network(*args, **settings):
    raise AssertionError("a model is loaded without a network")

torch.hub.download_url_to_file = no_network
model = SimilarityModel.from_pretrained(sys.argv[1])
pixels = torch.from_numpy(np.load(sys.argv[2]))
assert not model.training
print(json.dumps(model.get_raw_similarity(pixels[0], pixels[1]).tolist()))
"""


def pictures(num: int = 16, size: int = 32) -> ImageTensors:
    shape = (num, 3, size, size)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageTensors(pixels, [n % 2 for n in range(num)])


@pytest.mark.parametrize(
    ("name", "local_weights"),
    [
        ("timm/mobilenetv3_small_050", True),
        pytest.param("timm/mobilenetv3_small_050", False, marks=pytest.mark.slow),
        pytest.param("resnet18", True, marks=pytest.mark.slow),
        pytest.param("resnet18", False, marks=pytest.mark.slow),
        pytest.param("timm/vit_tiny_patch16_224", False, marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_a_new_process_gives_the_same_similarities(tmp_path: Path, name: str, local_weights: bool) -> None:
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    weights = None
    if local_weights:
        backbone = EmbeddingNet(name, image_size=32).backbone
        assert backbone is not None
        weights = tmp_path / "w.safetensors"
        safetensors.torch.save_file(backbone.state_dict(), weights)
    model = SimilarityModel(EmbeddingNet(name, weights=weights, image_size=32, embedding_dim=8))
    # the layout in memory, which is not saved, may change the last bits
    settings: dict[str, Any] = {"precision": "fp32", "channels_last": False, "progress": False}
    config = TrainConfig(epochs=1, batch_size=8, out=tmp_path / "run", **settings)
    Trainer(model, config, train=pictures()).fit()
    if weights is not None:
        weights.unlink()  # they are not needed again
    pixels = torch.randint(0, 256, (2, 3, 3, 32, 32), dtype=torch.uint8)
    np.save(tmp_path / "pixels.npy", pixels.numpy())
    command = [sys.executable, "-c", NEW_PROCESS, str(tmp_path / "run"), str(tmp_path / "pixels.npy")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        expected = model.get_raw_similarity(*pixels).tolist()
    assert json.loads(done.stdout) == pytest.approx(expected, abs=1e-6)
    saved = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert saved["architecture"]["backbone"] == name
    assert SimilarityModel.from_pretrained(tmp_path / "run").preprocessing == model.preprocessing


def test_a_name_that_the_libraries_do_not_have_is_told(tmp_path: Path) -> None:
    SimilarityModel(EmbeddingNet("resnet18", image_size=32)).save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    edit_text(config, '"resnet18"', '"resnet18000"')
    with pytest.raises(RunError, match=r"backbone of .* cannot be built here: .*got 'resnet18000'\. Did you mean"):
        SimilarityModel.from_pretrained(tmp_path)
    edit_text(config, '"resnet18000"', '"os.system"')
    with pytest.raises(RunError, match=r"Expected embedding_net=.*trained with os.system, which is code and not saved"):
        SimilarityModel.from_pretrained(tmp_path)


def test_a_model_of_timm_without_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SimilarityModel(EmbeddingNet("resnet18", image_size=32)).save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    edit_text(config, '"resnet18"', '"timm/resnet18"')
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"The backbone timm/resnet18 needs .*pairsim\[timm\]"):
        SimilarityModel.from_pretrained(tmp_path)


def test_a_given_net_has_to_be_given_again(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    model = SimilarityModel(EmbeddingNet(resnet18(weights=None), image_size=32)).eval()
    model.save_pretrained(tmp_path)
    with pytest.raises(RunError, match=r"trained with torchvision.models.resnet.ResNet, which is code and not saved"):
        SimilarityModel.from_pretrained(tmp_path)
    net = EmbeddingNet(resnet18(weights=None), image_size=32)
    loaded = SimilarityModel.from_pretrained(tmp_path, embedding_net=net)
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(loaded.embed(pixels), model.embed(pixels), rtol=0, atol=1e-6)
