"""Readers of files that may come from strangers, by what they read."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

from pairsim import EmbeddingNet, Gallery, SimilarityModel
from pairsim._common import storage
from pairsim.audits.duplicates.choice.file_facts import file_facts
from pairsim.audits.duplicates.moving.move_journal import read_journal
from pairsim.data.named.embedding_files import read_embeddings
from pairsim.data.named.metadata_files import read_metadata
from pairsim.data.pairs.pair_files import read_folds, read_pair_file, read_table
from pairsim.images import read_image
from pairsim.images.reading import stored_size
from pairsim.models.backbones.building import read_weights
from pairsim.runs import read_run


@cache
def sample(kind: str) -> dict[str, bytes]:
    """The files of a small model, or of a gallery of two pictures made with it."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / kind
        if kind == "model":
            sample_model().save_pretrained(folder)
        else:
            gallery = Gallery(sample_model())
            gallery.add(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), ["a", "b"])
            gallery.save(folder)
        return {path.name: path.read_bytes() for path in folder.iterdir()}


@cache
def sample_model() -> SimilarityModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SimilarityModel(EmbeddingNet(image_size=8))


def sample_folder(kind: str, folder: Path, path: Path, name: str) -> None:
    """Write a sample, with one of its files replaced by `path`."""
    folder.mkdir(parents=True, exist_ok=True)
    for other, content in sample(kind).items():
        (folder / other).write_bytes(content)
    os.replace(path, folder / name)


def models_config(path: Path) -> SimilarityModel:
    """A model folder whose config is the file."""
    folder = path.parent / "model"
    sample_folder("model", folder, path, "config.json")
    return SimilarityModel.from_pretrained(folder)


def models_weights(path: Path) -> SimilarityModel:
    folder = path.parent / "model"
    sample_folder("model", folder, path, "model.safetensors")
    if (folder / "model.safetensors").is_file():
        config = json.loads((folder / "config.json").read_text())
        del config["sha256"]  # an edit by hand
        config["weights_sha256"] = storage.sha256((folder / "model.safetensors").read_bytes())
        (folder / "config.json").write_text(json.dumps(config))
    return SimilarityModel.from_pretrained(folder)


def galleries_index(path: Path) -> Gallery:
    folder = path.parent / "gallery"
    sample_folder("gallery", folder, path, next(name for name in sample("gallery") if name.endswith(".json")))
    return Gallery.load(folder, sample_model())


def runs_log(path: Path) -> object:
    folder = path.parent / "run"
    sample_folder("model", folder / "model", path, "../log.jsonl")
    (folder / "run.json").write_text("{}")
    return read_run(folder)


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "picture": ("x.png", lambda path: read_image(path, image_size=(8, 8)).shape),
    "size of a picture": ("x.png", stored_size),
    "facts on a picture": ("x.png", lambda path: file_facts(path, (8, 8))),
    "metadata.csv": ("metadata.csv", read_metadata),
    "metadata.jsonl": ("metadata.jsonl", read_metadata),
    "pairs": ("pairs.csv", read_table),
    "pairs of pictures": ("pairs.csv", read_pair_file),
    "folds": ("pairs.csv", read_folds),
    "embeddings .npz": ("x.npz", read_embeddings),
    "embeddings .npy": ("x.npy", read_embeddings),
    "weights .pt": ("x.pt", read_weights),
    "weights .safetensors": ("x.safetensors", read_weights),
    "ONNX backbone": ("x.onnx", lambda path: EmbeddingNet(str(path))),
    "JSON": ("x.json", storage.read_json),
    "config of a model": ("config.json", models_config),
    "weights of a model": ("model.safetensors", models_weights),
    "index of a gallery": ("index.json", galleries_index),
    "log of a run": ("log.jsonl", runs_log),
    "journal of moves": ("journal.jsonl", read_journal),
}
