"""One picture, or one pair of files, at a time: `encode` and `verify` beside onnxruntime and beside a bare loop.

Nets have random weights, as only times are compared: the reference network for MNIST's pictures, and two nets of
torchvision and timm for photographs of 400 x 300 pixels. All arms of a table run the same weights, on as many threads.

- one picture: uint8 pixels of the model's size to an embedding, by onnxruntime's session itself, by `encode`, and by
  `encode` of the model that `export --kind model` writes;
- two files: decoded, resized and compared, by Pillow and the net in a few lines, by `verify`, and by `verify` of that
  model. The bare loop has no checks, reads no EXIF rotation, and rounds similarities as the processor does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.optional import missing, optional
from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.timing import interleave, timing_rows
from pairsim import EmbeddingNet, SimilarityModel
from pairsim.export import export_onnx, load_onnx, model_from_onnx

NETS = {"reference network": None, "MobileNetV3": "timm/mobilenetv3_small_100", "ResNet-18": "resnet18"}
SESSION, ENCODE, ENCODE_ONNX = "onnxruntime's session", "pairsim encode", "pairsim encode, exported model"
BARE, VERIFY, VERIFY_ONNX = "Pillow and the net", "pairsim verify", "pairsim verify, exported model"
RUNS = 200


def run(options: Options) -> list[Table]:
    """Time each net."""
    if any(optional(name, name) is None for name in ("onnx", "onnxscript", "onnxruntime")):
        return [Table("One picture at a time", (), ("Not measured: it needs pip install 'pairsim[onnx]'.",))]
    tables = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, backbone in list(NETS.items())[: 1 if options.quick else None]:
            if backbone is not None and backbone.startswith("timm/") and optional("timm", "timm") is None:
                tables.append(Table(f"One picture, {name}", (), (missing("timm"),)))
                continue
            tables += measured(name, backbone, options, Path(temporary))
    return tables


def measured(name: str, backbone: str | None, options: Options, folder: Path) -> list[Table]:
    """Both tables of a net."""
    torch.manual_seed(0)
    model = SimilarityModel(EmbeddingNet(backbone) if backbone else EmbeddingNet()).eval()
    export_onnx(model, folder / "net.onnx")
    exported = model_from_onnx(folder / "net.onnx")
    opened = load_onnx(folder / "net.onnx", threads=torch.get_num_threads())
    files = pictures(folder, (28, 28, 1) if backbone is None else (300, 400, 3))
    pixels = model.preprocessing.read(files[0])[None]
    array = pixels.numpy()
    one: dict[str, Callable[[], object]] = {
        SESSION: lambda: opened.session.run(None, {"images": array}),
        ENCODE: lambda: model.encode(pixels),
        ENCODE_ONNX: lambda: exported.encode(pixels),
    }
    two: dict[str, Callable[[], object]] = {
        BARE: lambda: bare(model, files),
        VERIFY: lambda: model.verify(*files),
        VERIFY_ONNX: lambda: exported.verify(*files),
    }
    notes = (f"Threads of PyTorch: {torch.get_num_threads()}. Ratio: to the first row; above 1 is faster.",)
    return [
        Table(f"{title}, {name}", timing_rows(interleave(arms, rounds=rounds(options), warmup=5)), notes)
        for title, arms in (("One picture", one), ("Two files", two))
    ]


def rounds(options: Options) -> int:
    """Timed runs of each arm."""
    return options.rounds or (2 if options.quick else RUNS)


def pictures(folder: Path, shape: tuple[int, int, int]) -> tuple[Path, Path]:
    """Two picture files: PNG in grey, JPEG in colour."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (2, shape[0] // 4, shape[1] // 4, shape[2]), dtype=np.uint8)
    paths = folder / f"0.{'png' if shape[2] == 1 else 'jpg'}", folder / f"1.{'png' if shape[2] == 1 else 'jpg'}"
    for path, pixels in zip(paths, coarse, strict=True):
        Image.fromarray(pixels.squeeze()).resize(shape[1::-1], Image.Resampling.BILINEAR).save(path, quality=90)
    return paths


def bare(model: SimilarityModel, files: tuple[Path, Path]) -> float:
    """The similarity of two files, as one would write it without pairsim."""
    preprocessing, images = model.preprocessing, []
    height, width = preprocessing.image_size
    for path in files:
        with Image.open(path) as picture:
            resized = picture.convert("L" if preprocessing.channels == 1 else "RGB").resize(
                (width, height), Image.Resampling.BILINEAR
            )
        images.append(torch.from_numpy(np.array(resized)).view(height, width, -1).permute(2, 0, 1))
    with torch.inference_mode():
        first, second = model.embedding_net(preprocessing(torch.stack(images)))
        return float(first @ second)
