"""Use a backbone and a loss of your own.

    python examples/own_backbone_and_loss.py --epochs 5

Any module that gives features serves as backbone, any function of embeddings and labels as objective.
"""

import argparse

import torch
from torch import Tensor, nn

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer, evaluate
from pairsim.data import load_data


def supervised_contrastive(embeddings: Tensor, labels: Tensor, temperature: float = 0.1) -> Tensor:
    """Each image should find the others of its class among all images (Khosla et al. 2020)."""
    others = ~torch.eye(len(labels), dtype=torch.bool)
    same = (labels[:, None] == labels[None, :]) & others
    scores = (embeddings @ embeddings.T / temperature).masked_fill(~others, float("-inf"))
    log_probability = scores - scores.logsumexp(dim=1, keepdim=True)
    of_same = log_probability.masked_fill(~same, 0.0).sum(dim=1) / same.sum(dim=1).clamp(min=1)
    return -of_same[same.any(dim=1)].mean()


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="A backbone and a loss of your own.")
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()

    backbone = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten()
    )
    model = SimilarityModel(EmbeddingNet(backbone, image_size=16, embedding_dim=64))
    config = TrainConfig(objective=supervised_contrastive, epochs=arguments.epochs, batch_size=128)
    Trainer(model, config, train=load_data("digits", "train").dataset).fit()
    print(evaluate(model, load_data("digits", "test").dataset))


if __name__ == "__main__":
    main()
