"""Use a network of your own as backbone.

    python examples/custom_backbone.py --epochs 5

Any module that turns images into features serves. How many features it has is found by itself; a linear layer makes
the embedding of them.
"""

import argparse

from torch import nn

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer, evaluate
from pairsim.data import load_data


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="A backbone of your own.")
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()

    backbone = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten()
    )
    net = EmbeddingNet(backbone, image_size=16, embedding_dim=64)
    model = SimilarityModel(net)
    config = TrainConfig(epochs=arguments.epochs, batch_size=128)
    Trainer(model, config, train=load_data("digits", "train").dataset).fit()
    print("features of the backbone:", net.head.in_features)
    print(evaluate(model, load_data("digits", "test").dataset))


if __name__ == "__main__":
    main()
