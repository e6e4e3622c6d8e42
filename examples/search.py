"""Find the most similar images, save the gallery, and predict classes by a vote of the neighbours.

    python examples/search.py --epochs 5

The gallery contains the training images. The test images are the queries.
"""

import argparse

from pairsim import EmbeddingNet, Gallery, SimilarityModel, TrainConfig, Trainer
from pairsim.data import load_data


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="Search.")
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()

    train, test = load_data("digits", "train").dataset, load_data("digits", "test").dataset
    model = SimilarityModel(EmbeddingNet(image_size=16))
    Trainer(model, TrainConfig(epochs=arguments.epochs, batch_size=128), train=train).fit()

    gallery = Gallery(model)
    gallery.add(train.images)  # ids are 0, 1, 2 ... by default
    gallery.save("gallery")

    gallery = Gallery.load("gallery", model)
    found = gallery.search(test.images[:3], k=5)
    for label, ids, similarities in zip(test.targets[:3].tolist(), found.ids, found.similarities, strict=True):
        neighbors = ", ".join(f"{train.targets[i].item()} ({s:.2f})" for i, s in zip(ids, similarities, strict=True))
        print(f"a {label}: nearest are {neighbors}")

    predicted = gallery.predict(test.images, train.targets, k=5).labels
    right = sum(guess == label for guess, label in zip(predicted, test.targets.tolist(), strict=True))
    print(f"right by vote of 5 neighbors: {right} of {len(predicted)}")


if __name__ == "__main__":
    main()
