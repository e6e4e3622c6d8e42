"""Weight hard pairs, and measure the effect on errors and probabilities.

    python examples/hard_pairs.py --epochs 10

With `hard_pairs` above 0, the weight of a pair is proportional to its error to this power. This puts more weight on
difficult pairs. Whether it reduces the errors depends on the data, so the example trains with and without it.
"""

import argparse

from torch import manual_seed

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer, evaluate
from pairsim.data import load_data


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="Hard pairs weigh more.")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--hard-pairs", type=float, default=1.0)
    arguments = parser.parse_args()

    train, test = load_data("digits", "train").dataset, load_data("digits", "test").dataset
    for power in (0.0, arguments.hard_pairs):
        manual_seed(0)  # same initial weights for both runs
        model = SimilarityModel(EmbeddingNet(image_size=16))
        Trainer(model, TrainConfig(epochs=arguments.epochs, batch_size=128, hard_pairs=power), train=train).fit()
        report = evaluate(model, test)
        print(f"hard_pairs={power:g}: EER {100 * report.eer:.2f} %, calibration error {report.ece:.4f}")


if __name__ == "__main__":
    main()
