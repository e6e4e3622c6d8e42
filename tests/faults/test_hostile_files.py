"""Files that someone made to do harm raise one line, without taking memory or reading what is not theirs."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from sealed_files import edit
from small_models import small_model
from torch import nn

from pairsim import EmbeddingNet, Gallery, SimilarityModel
from pairsim._common import storage
from pairsim.errors import PairsimError, RunError
from pairsim.models.backbones import read_weights
from pairsim.training.checkpointing.run_folder import load_checkpoint, save_checkpoint

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX files")

MODEL = small_model(dim=4)
DEEP = b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
DIGITS = b'{"a": ' + b"9" * 5_000 + b"}"
HUGE = 10**12


@pytest.fixture(autouse=True)
def bounded_memory() -> Iterator[None]:
    """Memory that a test may take: 1.5 GB more than before."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    if pages:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 1_500_000_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def failure(call: Callable[[], object]) -> str:
    with pytest.raises(PairsimError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


# --- folders with checksums ---


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/b", "..", ".", "", "C:x", "a\0b"])
def test_checksums_name_only_files_of_their_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    storage.write_folder(tmp_path / "f", {"a": b"1"})
    (tmp_path / "f" / "checksums.json").write_text(json.dumps({name: storage.sha256(b"secret")}))
    said = failure(lambda: storage.read_folder(tmp_path / "f"))
    assert f"Expected names of files in {tmp_path / 'f' / 'checksums.json'}, found {name!r}" in said


@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "folder"])
def test_checksums_of_something_else_than_a_file(kind: str, tmp_path: Path) -> None:
    storage.write_folder(tmp_path / "f", {"a": b"1"})
    (tmp_path / "f" / "a").unlink()
    if kind == "pipe":
        os.mkfifo(tmp_path / "f" / "a")
    elif kind == "folder":
        (tmp_path / "f" / "a").mkdir()
    else:
        (tmp_path / "f" / "a").symlink_to(kind)
    assert "f/a to be readable, but: " in failure(lambda: storage.read_folder(tmp_path / "f"))


@pytest.mark.parametrize("content", [DEEP, DIGITS, b"[]", b"\xff", b'{"a": 1}', b'{"a": NaN}'], ids=range(6))
def test_checksums_that_are_no_such_object(content: bytes, tmp_path: Path) -> None:
    storage.write_folder(tmp_path / "f", {"a": b"1"})
    (tmp_path / "f" / "checksums.json").write_bytes(content)
    failure(lambda: storage.read_folder(tmp_path / "f"))


# --- galleries ---


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    filled = Gallery(MODEL)
    for number, names in enumerate((["a", "b", "c"], ["d"])):
        filled.add_embeddings(nn.functional.normalize(torch.rand(len(names), 4) + number, dim=1), names)
        filled.save(tmp_path / "g")
    return tmp_path / "g"


def first_shard(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda index: index["shards"][0].update(values)


GALLERIES: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda index: index.update(num_images=5), "expected 5 images in shards with different numbers"),
    (lambda index: index.update(num_images=HUGE), "expected 1000000000000 images in shards"),
    (lambda index: index.update(num_images=-1), "expected a whole number, found -1"),
    (lambda index: index.update(num_images=4.0), "expected a whole number, found 4.0"),
    (lambda index: index.update(num_images=True), "expected a whole number, found True"),
    (lambda index: index.update(embedding_dim=HUGE), "expected 3 x 1000000000000 embeddings, as gallery.json says"),
    (lambda index: index.update(embedding_dim=0), "expected 3 x 0 embeddings"),
    (lambda index: index.update(shards=index["shards"][:1] * 2, num_images=6), "shards with different numbers"),
    (
        lambda index: index.update(num_images=0, shards=[], embedding_dim=2**63),
        "whole number, found 9223372036854775808",
    ),
    (lambda index: index.update(shards=7), "TypeError"),
    (lambda index: index.update(shards=[7]), "TypeError"),
    (lambda index: index.pop("shards"), "KeyError"),
    (first_shard(rows=HUGE, removed=[[3, HUGE]]), "expected 1000000000000 x 4 embeddings"),
    (first_shard(removed=[[0, 2], [1, 3]]), "expected removed rows in order"),
    (first_shard(removed=[[2, 9]]), "expected removed rows in order and at most 3"),
    (first_shard(removed=[[0]]), "ValueError"),
    (first_shard(number="../x"), "expected a whole number, found ../x"),
    (first_shard(number=-3), "expected a whole number, found -3"),
    (first_shard(more=1), "TypeError"),
]


@pytest.mark.parametrize(("change", "message"), GALLERIES)
def test_counts_of_a_gallery(gallery: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    edit(gallery / "gallery.json", change)
    said = failure(lambda: Gallery.load(gallery, MODEL))
    assert message in said
    assert " is damaged: " in said


@pytest.mark.parametrize(
    "names",
    [["a", "b"], ["a", "b", "b"], ["a", "b", "d"], ["a", "b", True], ["a", "b", None], ["a", "b", []], "abc", 3],
)
def test_ids_of_a_gallery(gallery: Path, names: Any) -> None:
    content = json.dumps(names).encode()
    (gallery / "ids-00000.json").write_bytes(content)
    edit(gallery / "gallery.json", first_shard(ids_sha256=storage.sha256(content)))
    assert "different ids, strings or whole numbers, found others" in failure(lambda: Gallery.load(gallery, MODEL))


@pytest.mark.parametrize("content", [DEEP, DIGITS, b"\xff"], ids=range(3))
def test_ids_that_are_no_json(gallery: Path, content: bytes) -> None:
    (gallery / "ids-00000.json").write_bytes(content)
    edit(gallery / "gallery.json", first_shard(ids_sha256=storage.sha256(content)))
    assert "ids-00000.json is damaged" in failure(lambda: Gallery.load(gallery, MODEL))


@pytest.mark.parametrize("name", ["ids-00000.json", "embeddings-00000.safetensors", "gallery.json"])
@pytest.mark.parametrize("kind", ["pipe", "/dev/zero"])
def test_files_of_a_gallery_that_never_end(gallery: Path, name: str, kind: str) -> None:
    (gallery / name).unlink()
    if kind == "pipe":
        os.mkfifo(gallery / name)
    else:
        (gallery / name).symlink_to(kind)
    assert name in failure(lambda: Gallery.load(gallery, MODEL))


def test_embeddings_of_other_numbers(gallery: Path) -> None:
    content = safetensors.torch.save({"embeddings": torch.ones(3, 4, dtype=torch.int32)})
    (gallery / "embeddings-00000.safetensors").write_bytes(content)
    edit(gallery / "gallery.json", first_shard(embeddings_sha256=storage.sha256(content)))
    said = failure(lambda: Gallery.load(gallery, MODEL))
    assert "embeddings-00000.safetensors is damaged: ValueError: expected 3 x 4 embeddings" in said


def test_a_gallery_of_version_1_with_more_images_than_embeddings(gallery: Path) -> None:
    content = (gallery / "embeddings-00000.safetensors").read_bytes()
    (gallery / "gallery.safetensors").write_bytes(content)
    old: dict[str, Any] = {"format_version": 1, "embeddings_sha256": storage.sha256(content)}
    for names, count in ((["a", "b", "c"], 4), (["a", "b", "c", "d"], 4), (["a"], HUGE)):
        edit(gallery / "gallery.json", ids=names, num_images=count, **old)
        assert " is damaged: " in failure(lambda: Gallery.load(gallery, MODEL))
    edit(gallery / "gallery.json", ids=["a", "b", "c"], num_images=3, **old)
    assert Gallery.load(gallery, MODEL).ids == ["a", "b", "c"]


# --- models ---


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = small_model(dim=4, threshold=0.5)
    model.save_pretrained(tmp_path / "m")
    return tmp_path / "m"


def architecture(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda config: config["architecture"].update(values)


MODELS: list[Callable[[dict[str, Any]], object]] = [
    *(architecture(embedding_dim=value) for value in (HUGE, 10**7, 10**400, -1, 0, 4.0, "4", None, [4])),
    *(architecture(in_channels=value) for value in (HUGE, 10**6, -1, "1", None)),
    *(
        architecture(image_size=value)
        for value in ([HUGE, HUGE], [HUGE, 8], [8], [8, "8"], 8, None, [0, 8], [2048, 2048])
    ),
    architecture(weights="/etc/passwd"),
    architecture(backbone=["resnet18"]),
    architecture(backbone="resnet18", embedding_dim=10**8),
    architecture(backbone="resnet18", image_size=[10**5, 10**5]),
    lambda config: config.update(architecture=7),
    lambda config: config.pop("architecture"),
    lambda config: config.update(format_version="1"),
    lambda config: config.update(weights_sha256=7),
    lambda config: config.pop("preprocessing"),
    lambda config: config["preprocessing"].update(image_size=["x", 8]),
    lambda config: config["preprocessing"].update(channels=[1]),
    lambda config: config["operating_point"].update(threshold="0.5"),
    lambda config: config["operating_point"].update(threshold=[0.5]),
    lambda config: config["operating_point"].update(fmr_interval=[0.5]),
    lambda config: config.update(
        calibration={"method": "isotonic", "prior": 0.5, "similarities": ["a"], "evidence": ["b"]}
    ),
    lambda config: config.update(calibration=[1]),
]


@pytest.mark.parametrize("change", MODELS, ids=range(len(MODELS)))
def test_config_of_a_model(saved: Path, change: Callable[[dict[str, Any]], object]) -> None:
    edit(saved / "config.json", change)
    assert str(saved) in failure(lambda: SimilarityModel.from_pretrained(saved))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(
            (architecture(embedding_dim=value), "and embedding_dim up to 65,536, got 64 and 1")
            for value in (HUGE, 10**7)
        ),
        (architecture(in_channels=10**6), "as config.json says, found [32, 1, 5, 5]"),
        (architecture(image_size=[2048, 2048]), "as config.json says, found [4, 256]"),
        (architecture(in_channels=HUGE), "ValueError: images of 8 x 8 with 1000000000000 channels"),
        (architecture(image_size=[HUGE, 8]), "ValueError: images of 1000000000000 x 8 with 1 channels"),
        (architecture(backbone="resnet18", embedding_dim=10**8), "embedding_dim 100000000 is not that of the weights"),
        (architecture(weights="/etc/passwd"), "unknown settings of the net: weights"),
    ],
)
def test_sizes_of_a_model_are_compared_before_memory_is_taken(
    saved: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit(saved / "config.json", change)
    assert message in failure(lambda: SimilarityModel.from_pretrained(saved))


@pytest.mark.parametrize("content", [DEEP, DIGITS, b'{"format": "pairsim-model", "format_version": 1}'], ids=range(3))
def test_config_that_is_no_config(saved: Path, content: bytes) -> None:
    (saved / "config.json").write_bytes(content)
    assert "config.json" in failure(lambda: SimilarityModel.from_pretrained(saved))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.complex64, torch.bool])
def test_weights_of_another_kind(saved: Path, dtype: torch.dtype) -> None:
    weights = safetensors.torch.load_file(saved / "model.safetensors")
    weights["embedding_net.conv.0.weight"] = weights["embedding_net.conv.0.weight"].to(dtype)
    content = safetensors.torch.save(weights)
    (saved / "model.safetensors").write_bytes(content)
    edit(saved / "config.json", weights_sha256=storage.sha256(content))
    said = failure(lambda: SimilarityModel.from_pretrained(saved))
    assert (
        f"Expected embedding_net.conv.0.weight in {saved / 'model.safetensors'} as torch.float32, found {dtype}" in said
    )


def test_weights_in_another_precision_are_loaded(saved: Path) -> None:
    small_model(dim=4).half().save_pretrained(saved)
    assert SimilarityModel.from_pretrained(saved).weights_dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.int32, torch.complex64])
def test_weights_of_a_backbone_of_another_kind(dtype: torch.dtype, tmp_path: Path) -> None:
    state = EmbeddingNet("conv4", image_size=28).backbone.state_dict()  # type: ignore[union-attr]
    first = next(iter(state))
    torch.save({**state, first: state[first].to(dtype)}, tmp_path / "w.pt")
    said = failure(lambda: EmbeddingNet("conv4", weights=tmp_path / "w.pt", image_size=28))
    assert f"Expected {first} in {tmp_path / 'w.pt'} as torch.float32, found {dtype}" in said


def test_a_damaged_part_of_a_torch_file_is_named(tmp_path: Path) -> None:
    torch.save({"weight": torch.arange(100.0)}, tmp_path / "w.pt")
    content = bytearray((tmp_path / "w.pt").read_bytes())
    content[content.index(torch.arange(100.0).numpy().tobytes()) + 50] ^= 4
    (tmp_path / "w.pt").write_bytes(content)
    assert "w.pt is damaged: w/data/0 in it differs from its CRC-32" in failure(lambda: read_weights(tmp_path / "w.pt"))


def test_a_part_of_a_torch_file_that_is_marked_as_a_folder(tmp_path: Path) -> None:
    """PyTorch then gives memory that nothing set."""
    torch.save({"weight": torch.arange(100.0)}, tmp_path / "w.pt")
    content = bytearray((tmp_path / "w.pt").read_bytes())
    attributes = content.rindex(b"w/data/0") - 8  # in the directory at the end of the file
    content[attributes] |= 0x10
    (tmp_path / "w.pt").write_bytes(content)
    assert "w.pt is damaged: w/data/0 in it differs" in failure(lambda: read_weights(tmp_path / "w.pt"))


# --- checkpoints ---


STATES: list[Any] = [
    7, [], {}, {"dict": 7}, {"dict": [[1]]}, {"tensor": "absent"}, {"dict": [], "tuple": []}, {"other": "x"},
    {"dict": [[{"dict": []}, 1]]}, {"dict": [[["unhashable"], 1]]},
]  # fmt: skip
BODIES = [
    b"[]",
    b"{}",
    DEEP,
    DIGITS,
    *(
        json.dumps({"format": "pairsim-checkpoint", "format_version": 1, "state": state}).encode() for state in STATES
    ),
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_bodies_of_checkpoints(body: bytes, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, {"step": 1})
    save_checkpoint(tmp_path, 2, {"step": 2})
    newest = tmp_path / "checkpoints" / "step-000000002"
    files = {"state.json": body, "tensors.safetensors": (newest / "tensors.safetensors").read_bytes()}
    shutil.rmtree(newest)
    storage.write_folder(newest, files)
    state, (problem,) = load_checkpoint(tmp_path)
    assert (state or {}) == {"step": 1}
    assert problem.startswith("Checkpoint step-000000002 cannot be used: ")
    assert "\n" not in problem
    shutil.rmtree(tmp_path / "checkpoints" / "step-000000001")
    with pytest.raises(RunError, match=r"All checkpoints in .* are damaged\."):
        load_checkpoint(tmp_path)
