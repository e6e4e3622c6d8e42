"""Train on a folder of images with one sub-folder per class, and compare two of the images.

    python examples/own_folder.py --folder pictures/ --epochs 10

Without --folder it first writes a small folder of handwritten digits.
"""

import argparse
from pathlib import Path

from PIL import Image

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer, evaluate
from pairsim.data import load_data


def write_pictures(folder: Path) -> None:
    """Write 40 PNG files of each digit."""
    digits = load_data("digits", "train").dataset
    for name in "0123456789":
        (folder / name).mkdir(parents=True, exist_ok=True)
    written = [0] * 10
    for image, label in zip(digits.images, digits.targets.tolist(), strict=True):
        if written[label] < 40:
            Image.fromarray(image[0].numpy()).save(folder / str(label) / f"{written[label]:02d}.png")
            written[label] += 1


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="Learn from a folder of pictures.")
    parser.add_argument("--folder", type=Path, help="one sub-folder per class; by default a small one is written")
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()

    folder = arguments.folder or Path("digit-pictures")
    if arguments.folder is None:
        write_pictures(folder)
    train, test = load_data(folder, "train"), load_data(folder, "test")
    print(f"{len(train.dataset)} pictures to train on, {len(test.dataset)} held out, {len(train.class_names)} classes")

    model = SimilarityModel(EmbeddingNet(in_channels=train.channels, image_size=train.image_size))
    Trainer(model, TrainConfig(epochs=arguments.epochs, batch_size=64), train=train.dataset).fit()
    print(evaluate(model, test.dataset))

    first, second = sorted(folder.glob("*/*"))[:2]
    one, other = model.encode([first, second])
    similarity = (one @ other).item()
    print(f"{first} and {second}: similarity {similarity:.3f}, match {similarity >= model.threshold}")


if __name__ == "__main__":
    main()
