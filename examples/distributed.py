"""Train on several GPUs or CPU processes.

    torchrun --nproc-per-node 2 examples/distributed.py --epochs 5

The same script also runs in one process with `python examples/distributed.py`. Each process builds the same model on
the same data, the trainer splits the batches between the processes, and rank 0 prints.
"""

import argparse

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer, evaluate
from pairsim.data import load_data


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="Several processes train one model.")
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()

    model = SimilarityModel(EmbeddingNet(image_size=16))
    config = TrainConfig(epochs=arguments.epochs, batch_size=128)  # 128 images over all processes
    trainer = Trainer(model, config, train=load_data("digits", "train").dataset)
    trainer.fit()
    if trainer.is_main:
        print(evaluate(model, load_data("digits", "test").dataset))


if __name__ == "__main__":
    main()
