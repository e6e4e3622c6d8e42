"""Weight files are found by the name of the backbone, in the folders of pairsim, torchvision and the Hub."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from backbone_nets import torchvision_net

from pairsim import EmbeddingNet
from pairsim.errors import RunError
from pairsim.models.backbones.weight_files import check_sha256, find_weights, weight_folders, weights_on_disk


def hashed(folder: Path, name: str, content: bytes = b"weights") -> Path:
    """Write a file as torchvision names it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    file.write_bytes(content)
    return file


def cached(hub: Path, name: str, *, revision: str = "abc", main: bool = True) -> Path:
    """Write weights as the Hugging Face Hub caches them: a link to a blob that is named by its SHA-256."""
    repository = hub / f"models--timm--{name}"
    content = revision.encode()
    blob = repository / "blobs" / hashlib.sha256(content).hexdigest()
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    file = repository / "snapshots" / revision / "model.safetensors"
    file.parent.mkdir(parents=True)
    file.symlink_to(blob)
    if main:
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(revision)
    return file


def test_folders_in_the_order_they_are_looked_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRSIM_DATA", "/data")
    monkeypatch.setenv("HF_HOME", "/hf")
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setattr(torch.hub, "_hub_dir", "/hub")
    expected = ["/mine/weights", "/mine", "/data/weights", "/data", "/hub/checkpoints", "/hf/hub"]
    assert [str(folder) for folder in weight_folders(None, "/mine")] == expected
    monkeypatch.setenv("HF_HUB_CACHE", "/elsewhere")
    monkeypatch.delenv("PAIRSIM_DATA")
    assert [str(folder) for folder in weight_folders()] == ["/hub/checkpoints", "/elsewhere"]
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert str(weight_folders()[-1]) == "/cache/huggingface/hub"


def test_files_named_by_torchvision_or_by_the_net(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    assert find_weights("mobilenet_v2", [tmp_path / "absent", first]) is None
    named = hashed(second, "mobilenet_v2")
    hashed(first, "mobilenet_v3_large")  # of another net
    assert find_weights("mobilenet_v2", [first, second]) == named
    plain = first / "mobilenet_v2.safetensors"
    plain.write_bytes(b"")
    assert find_weights("mobilenet_v2", [first, second]) == plain
    (first / "resnet18.pth").mkdir()
    assert find_weights("resnet18", [first, second]) is None
    assert weights_on_disk([first, second]) == {
        "mobilenet_v2": plain,
        "mobilenet_v3_large": find_weights("mobilenet_v3_large", [first]),
    }


def test_the_cache_of_the_hub(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    file = cached(tmp_path, "resnet18.a1_in1k", revision="zzz")
    cached(tmp_path / "models--timm--resnet18.a1_in1k" / "..", "resnet18.fb_ssl", revision="b", main=False)
    other = tmp_path / "models--timm--resnet18.a1_in1k" / "snapshots" / "aaa" / "model.safetensors"
    other.parent.mkdir()
    other.write_bytes(b"of another revision")
    for name in ("timm/resnet18", "timm/resnet18.a1_in1k"):  # a1_in1k is the default tag
        assert find_weights(name, [tmp_path]) == file
    assert find_weights("resnet18", [tmp_path]) is None
    (tmp_path / "resnet34.a1_in1k.safetensors").write_bytes(b"")
    assert find_weights("timm/resnet34", [tmp_path]) == tmp_path / "resnet34.a1_in1k.safetensors"
    for name in ("resnet50.pth", "resnet10t.pth", "gcvit_base_224_nvidia-f009139b.pth"):
        (tmp_path / name).write_bytes(b"")
    assert find_weights("timm/resnet50", [tmp_path]) is None  # that file is of torchvision
    assert find_weights("timm/resnet10t", [tmp_path]) == tmp_path / "resnet10t.pth"
    with pytest.raises(RunError, match=r"gcvit_base_224_nvidia-f009139b\.pth is damaged"):  # as timm downloads it
        find_weights("timm/gcvit_base", [tmp_path])
    (tmp_path / "resnet50.pth").unlink()
    assert list(weights_on_disk([tmp_path])) == ["timm/resnet18.a1_in1k", "timm/resnet18.fb_ssl"]


def test_damaged_files_are_named(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    file = hashed(tmp_path, "resnet18")
    check_sha256(file)
    file.write_bytes(b"weightz")
    with pytest.raises(RunError, match=rf"{file.name} is damaged: its SHA-256 begins with [0-9a-f]{{8}}, expected"):
        find_weights("resnet18", [tmp_path])
    blob = cached(tmp_path, "resnet18.a1_in1k").resolve()
    blob.write_bytes(b"other")
    with pytest.raises(RunError, match=r"model\.safetensors is damaged"):
        find_weights("timm/resnet18", [tmp_path])
    check_sha256(Path("my-best.pth"))  # a name without a checksum is not read


def test_pretrained_weights_on_disk_need_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **settings: pytest.fail("asks the network"))
    monkeypatch.setenv("PAIRSIM_DATA", str(tmp_path))
    net = torchvision_net("mobilenet_v3_small")
    (tmp_path / "weights").mkdir()
    torch.save(net.state_dict(), tmp_path / "weights" / "mobilenet_v3_small.pth")
    found = EmbeddingNet("mobilenet_v3_small", weights="pretrained", image_size=32)
    assert found.pretrained
    assert torch.equal(found.backbone.get_parameter("features.0.0.weight"), net.features[0][0].weight)  # type: ignore[union-attr]
