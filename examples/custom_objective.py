"""Train with a custom loss.

    python examples/custom_objective.py --epochs 5

Any function of embeddings and labels is an objective, such as the losses of pytorch-metric-learning. The projection
from similarity to probability is fitted on the validation pairs, so the model still returns probabilities and
decisions.
"""

import argparse

import torch
from torch import Tensor

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer, evaluate
from pairsim.data import load_data


def supervised_contrastive(embeddings: Tensor, labels: Tensor, temperature: float = 0.1) -> Tensor:
    """Supervised contrastive loss (Khosla et al. 2020)."""
    others = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    same = (labels[:, None] == labels[None, :]) & others
    scores = (embeddings @ embeddings.T / temperature).masked_fill(~others, float("-inf"))
    log_probability = scores - scores.logsumexp(dim=1, keepdim=True)
    of_same = log_probability.masked_fill(~same, 0.0).sum(dim=1) / same.sum(dim=1).clamp(min=1)
    return -of_same[same.any(dim=1)].mean()


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="A loss of your own.")
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()

    model = SimilarityModel(EmbeddingNet(image_size=16))
    config = TrainConfig(objective=supervised_contrastive, epochs=arguments.epochs, batch_size=128)
    Trainer(model, config, train=load_data("digits", "train").dataset).fit()
    print(f"projection: {model.projection.weight.item():.2f} x similarity {model.projection.bias.item():+.2f}")
    print(evaluate(model, load_data("digits", "test").dataset))


if __name__ == "__main__":
    main()
