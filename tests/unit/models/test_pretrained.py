"""Model folders are read back as they were, and checksums change with what they are of and with nothing else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from sealed_files import edit
from small_models import small_model
from torch import nn

from pairsim import Calibration, EmbeddingNet, SimilarityModel
from pairsim._common import storage
from pairsim.errors import RunError
from pairsim.images import Preprocessing
from pairsim.models import OperatingPoint
from pairsim.models.pretrained import embedding_sha256, model_sha256, saved_sha256, short


def test_save_and_load(tmp_path: Path) -> None:
    torch.manual_seed(0)
    preprocessing = Preprocessing(image_size=(20, 24), channels=3, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    model = SimilarityModel(
        EmbeddingNet(in_channels=3, image_size=(20, 24), embedding_dim=9), preprocessing=preprocessing
    )
    model.to(memory_format=torch.channels_last)
    model.operating_point = OperatingPoint(0.25, 0.01, 0.02, 10, 90, "validation pairs")
    model.save_pretrained(tmp_path / "m")
    loaded = SimilarityModel.from_pretrained(tmp_path / "m")
    assert not loaded.training
    assert loaded.preprocessing == preprocessing
    assert loaded.operating_point == model.operating_point
    images = torch.randint(0, 256, (4, 3, 20, 24), dtype=torch.uint8)
    # the layout in memory may change the last bit
    torch.testing.assert_close(loaded.encode(images), model.encode(images), rtol=0, atol=1e-5)
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["config.json", "model.safetensors"]


def test_own_nets_are_passed_again(tmp_path: Path) -> None:
    def net() -> EmbeddingNet:
        return EmbeddingNet(nn.Conv2d(1, 4, 3), image_size=8, embedding_dim=3)

    model = SimilarityModel(net())
    model.save_pretrained(tmp_path)
    with pytest.raises(RunError, match=r"Expected embedding_net=.*trained with torch.nn.modules.conv.Conv2d"):
        SimilarityModel.from_pretrained(tmp_path)
    loaded = SimilarityModel.from_pretrained(tmp_path, embedding_net=net())
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(loaded.encode(images), model.encode(images))
    with pytest.raises(RunError, match="do not fit the model"):
        SimilarityModel.from_pretrained(tmp_path, embedding_net=EmbeddingNet(image_size=8))


def test_weights_with_nan_are_named(tmp_path: Path) -> None:
    model = small_model()
    name, weight = next(iter(model.named_parameters()))
    with torch.no_grad():
        weight[0] = torch.nan
    model.save_pretrained(tmp_path)
    with pytest.raises(RunError, match=rf"model.safetensors, found NaN in {name}: the training of this model failed"):
        SimilarityModel.from_pretrained(tmp_path)


def test_damaged_and_foreign_folders(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="found no such folder"):
        SimilarityModel.from_pretrained(tmp_path / "absent")
    with pytest.raises(RunError, match=r"found no config.json and model.safetensors in it"):
        SimilarityModel.from_pretrained(tmp_path)
    (tmp_path / "best_model.pt").touch()
    with pytest.raises(RunError, match=r"found a file\. Give its folder; weights alone are loaded in Python, with"):
        SimilarityModel.from_pretrained(tmp_path / "best_model.pt")
    SimilarityModel().save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    text = config.read_text()
    edit(config, format_version=2)
    with pytest.raises(RunError, match=r"version 1 at most, found 2: it was made by a newer pairsim"):
        SimilarityModel.from_pretrained(tmp_path)
    edit(config, format="other")
    with pytest.raises(RunError, match=r"Expected .* to say format pairsim-model, found 'other'"):
        SimilarityModel.from_pretrained(tmp_path)
    config.write_text("{")
    with pytest.raises(RunError, match="Expected a readable JSON file"):
        SimilarityModel.from_pretrained(tmp_path)
    config.write_text(text)
    weights = tmp_path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-7] ^= 1
    weights.write_bytes(content)
    with pytest.raises(RunError, match=r"model.safetensors is damaged or from another save"):
        SimilarityModel.from_pretrained(tmp_path)


def change_net(model: SimilarityModel) -> None:
    with torch.no_grad():
        next(model.embedding_net.parameters()).add_(1.0)


def change_projection(model: SimilarityModel) -> None:
    with torch.no_grad():
        model.projection.bias.add_(1.0)


def change_preprocessing(model: SimilarityModel) -> None:
    model.preprocessing = Preprocessing(image_size=(8, 8), channels=1, mean=(0.5,), std=(0.5,))


def change_calibration(model: SimilarityModel) -> None:
    model.calibration = Calibration(method="platt", prior=0.5, weight=20.0, bias=-10.0)


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (change_net, {"embedding", "model", "weights", "config"}),
        (change_projection, {"model", "weights", "config"}),
        (change_preprocessing, {"embedding", "model", "config"}),
        (change_calibration, {"config"}),
        (SimilarityModel.train, set()),
    ],
)
def test_what_changes_which(change: Callable[[SimilarityModel], object], changed: set[str], tmp_path: Path) -> None:
    def checksums(model: SimilarityModel) -> dict[str, str]:
        model.save_pretrained(tmp_path)
        saved = saved_sha256(tmp_path)
        return {
            "embedding": embedding_sha256(model),
            "model": model_sha256(model),
            "weights": saved["weights_sha256"],
            "config": saved["config_sha256"],
        }

    model = small_model()
    before = checksums(model)
    assert checksums(small_model()) == before
    change(model)
    after = checksums(model)
    assert {name for name in before if before[name] != after[name]} == changed


def test_the_bytes_are_those_of_galleries_and_files_of_earlier_versions() -> None:
    model = small_model()
    preprocessing = storage.to_json(model.preprocessing.to_dict())
    for state, found in (
        (model.embedding_net.state_dict(), embedding_sha256(model)),
        ({k: v for k, v in model.state_dict().items() if k != "_extra_state"}, model_sha256(model)),
    ):
        weights = safetensors.torch.save({name: value.contiguous() for name, value in state.items()})
        assert found == hashlib.sha256(weights + preprocessing).hexdigest()


def test_short() -> None:
    assert short("0123456789abcdef") == "SHA-256 0123456789ab"
    assert short(None) == "SHA-256 "


def test_an_edit_of_the_config_is_told_and_can_be_accepted(tmp_path: Path) -> None:
    small_model(threshold=0.5).save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"threshold": 0.5', '"threshold": 0.75'))
    with pytest.raises(RunError, match=r'config\.json is damaged or was edited: .*to accept an edit, remove "sha256"'):
        SimilarityModel.from_pretrained(tmp_path)
    lines = config.read_text().splitlines(keepends=True)
    config.write_text("".join(line for line in lines if not line.startswith('  "sha256": ')))
    assert SimilarityModel.from_pretrained(tmp_path).threshold == 0.75


@pytest.mark.parametrize("kill_at", range(4))
def test_a_save_that_is_killed_leaves_one_whole_model(
    kill_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [small_model(seed=seed, threshold=0.1 * seed) for seed in (1, 2)]
    models[0].save_pretrained(tmp_path)
    calls = 0
    replace = os.replace

    def killed(*paths: Path) -> None:
        nonlocal calls
        calls += 1
        if calls > kill_at:
            raise KeyboardInterrupt
        replace(*paths)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        if kill_at < 3:
            with pytest.raises(KeyboardInterrupt):
                models[1].save_pretrained(tmp_path)
        else:
            models[1].save_pretrained(tmp_path)
    expected = models[kill_at > 1]  # the config is the second file that gets its name
    loaded = SimilarityModel.from_pretrained(tmp_path)
    assert loaded.threshold == expected.threshold
    assert all(torch.equal(value, expected.weights()[name]) for name, value in loaded.weights().items())
    models[0].save_pretrained(tmp_path)  # and nothing is in the way of the next save
    assert SimilarityModel.from_pretrained(tmp_path).threshold == models[0].threshold
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_a_first_save_that_is_killed_before_its_last_step_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(storage, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        small_model(threshold=0.3).save_pretrained(tmp_path)
    assert SimilarityModel.from_pretrained(tmp_path).threshold == 0.3
