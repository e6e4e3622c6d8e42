"""Compare two images with an exported model, without PyTorch and without pairsim.

    pairsim export RUN --kind pair --out model.onnx
    python examples/onnx_runtime.py model.onnx first.png second.png

Requires onnxruntime, numpy and Pillow. The metadata of the file describes how to resize images. Scaling of pixels is
part of the graph.
"""

import argparse
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image, ImageOps


def read(path: str, about: dict[str, Any]) -> npt.NDArray[np.uint8]:
    """Read an image as uint8 `[1, C, H, W]` with the preprocessing of the model; transparency is not handled."""
    height, width = about["image_size"]
    method = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[about["interpolation"]]
    picture = ImageOps.exif_transpose(Image.open(path)).convert("L" if about["channels"] == 1 else "RGB")
    if picture.size != (width, height):
        if about["fit"] == "stretch":
            picture = picture.resize((width, height), method)
        elif about["fit"] == "crop":
            picture = ImageOps.fit(picture, (width, height), method)
        else:
            scale = min(width / picture.width, height / picture.height)
            inner = picture.resize([max(round(side * scale), 1) for side in picture.size], method)
            picture = Image.new(picture.mode, (width, height), "white")
            picture.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
    pixels = np.asarray(picture, dtype=np.uint8)
    return pixels[None, None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)[None].copy()


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="Compare two pictures with onnxruntime alone.")
    parser.add_argument("model")
    parser.add_argument("first")
    parser.add_argument("second")
    arguments = parser.parse_args()

    session = onnxruntime.InferenceSession(arguments.model, providers=["CPUExecutionProvider"])
    properties = session.get_modelmeta().custom_metadata_map
    about = {name.removeprefix("pairsim."): json.loads(value) for name, value in properties.items()}
    if about.get("kind") != "pair":
        raise SystemExit("Expected a model for pairs. Make one with: pairsim export RUN --kind pair --out model.onnx")

    images = {"first": read(arguments.first, about), "second": read(arguments.second, about)}
    similarity, probability = (float(values[0]) for values in session.run(["similarity", "probability"], images))
    print(f"similarity {similarity:.6f}, probability {probability:.6f}, threshold {about['threshold']:.6f}")
    print("match" if similarity >= about["threshold"] else "no match")


if __name__ == "__main__":
    main()
