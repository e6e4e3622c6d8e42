"""Use a custom network as the backbone.

    python examples/custom_backbone.py --epochs 5

Any module that maps images to features can be used. The number of features is detected, and a linear layer maps them
to the embedding.
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
