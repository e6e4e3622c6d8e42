"""Export a model to ONNX in float32 and int8, and compare both files with the model.

    python examples/export_onnx.py --epochs 5

Requires the extra `onnx`. `examples/onnx_runtime.py` compares two images with the exported file, without PyTorch.
"""

import argparse
from pathlib import Path

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer
from pairsim.data import load_data
from pairsim.export import export_onnx, load_onnx, quantize_onnx


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="Export to ONNX.")
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()

    train, test = load_data("digits", "train").dataset, load_data("digits", "test").dataset
    model = SimilarityModel(EmbeddingNet(image_size=16))
    Trainer(model, TrainConfig(epochs=arguments.epochs, batch_size=128), train=train).fit()

    print(export_onnx(model, "model.onnx", kind="pair"))
    print(quantize_onnx("model.onnx", "model-int8.onnx", calibration=train.images[:256].numpy(), held_out=test))

    first, second = test.images[:1], test.images[1:2]
    print(f"model: {model.get_raw_similarity(first, second).item():.4f}")
    for path in (Path("model.onnx"), Path("model-int8.onnx")):
        similarity, _ = load_onnx(path).compare(first.numpy(), second.numpy())
        print(f"{path}, {path.stat().st_size / 1000:.0f} kB: {similarity[0]:.4f}")


if __name__ == "__main__":
    main()
