"""Choose a threshold for an error rate, and compute probabilities for a given prior.

    python examples/calibrated_decisions.py --epochs 8

The data has three parts: one for training, one for calibration and one for evaluation.
"""

import argparse

from torch.utils.data import Subset

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer, calibrate, evaluate
from pairsim.data import ClassIndex, load_data, read_labels, stratified_split


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="From a score to a decision.")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--target-fmr", type=float, default=0.01)
    parser.add_argument("--prior", type=float, default=0.1)
    arguments = parser.parse_args()

    images, test = load_data("digits", "train").dataset, load_data("digits", "test").dataset
    kept, held = stratified_split(ClassIndex.from_labels(read_labels(images)), 0.3)
    train, validation = Subset(images, kept.tolist()), Subset(images, held.tolist())

    model = SimilarityModel(EmbeddingNet(image_size=16))
    Trainer(model, TrainConfig(epochs=arguments.epochs, batch_size=64), train=train, val=validation).fit()
    calibration = calibrate(model, validation, target_fmr=arguments.target_fmr, prior=arguments.prior)
    print(calibration)
    print(evaluate(model, test))

    first, second = test[0][0], test[1][0]
    print(model.verify(first, second))
    for prior in (arguments.prior, 0.5):
        model.calibration = calibration.with_prior(prior)
        probability = model.predict_proba(first[None], second[None]).item()
        print(f"where {100 * prior:g} % of pairs are of the same class: probability {probability:.4f}")


if __name__ == "__main__":
    main()
