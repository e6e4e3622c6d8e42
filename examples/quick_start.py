"""Train on small images of handwritten digits, evaluate on held-out images, and compare two images.

    python examples/quick_start.py --epochs 10 --data mnist

`--data mnist` requires MNIST on disk or a network connection; the default requires neither.
"""

import argparse

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer, evaluate
from pairsim.data import load_data


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="Train, judge, compare.")
    parser.add_argument("--data", default="digits", help="digits, mnist, fashion-mnist, or a folder")
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()

    train, test = load_data(arguments.data, "train"), load_data(arguments.data, "test")
    model = SimilarityModel(EmbeddingNet(in_channels=train.channels, image_size=train.image_size))
    Trainer(model, TrainConfig(epochs=arguments.epochs, batch_size=128), train=train.dataset).fit()
    print(evaluate(model, test.dataset))
    print(model.verify(test.dataset[0][0], test.dataset[1][0]))


if __name__ == "__main__":
    main()
