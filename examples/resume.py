"""Stop a run halfway, resume it, and get the same weights as without the stop.

    python examples/resume.py --epochs 4

The weights are bit-identical on the same processor, PyTorch build and number of threads. On the command line, run the
same `pairsim train` command again to resume.
"""

import argparse
from pathlib import Path

import torch

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer
from pairsim.data import load_data


def trainer(out: Path, epochs: int) -> Trainer:
    """Build a trainer with the same data, the same initial weights and a run folder."""
    torch.manual_seed(0)
    model = SimilarityModel(EmbeddingNet(image_size=16))
    config = TrainConfig(epochs=epochs, batch_size=128, out=out)
    return Trainer(model, config, train=load_data("digits", "train").dataset)


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="Stop and resume.")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("resume-runs"))
    arguments = parser.parse_args()
    epochs = max(arguments.epochs, 2)

    whole = trainer(arguments.out / "whole", epochs)
    whole.fit(resume="never")

    stopped = trainer(arguments.out / "stopped", epochs)
    steps = stopped.epochs(resume="never")
    for _ in range(epochs // 2):
        next(steps)
    del steps  # as if the process had been killed
    print(f"stopped after epoch {epochs // 2} of {epochs}")

    resumed = trainer(arguments.out / "stopped", epochs)
    resumed.fit(resume="auto")
    pairs = zip(whole.model.state_dict().items(), resumed.model.state_dict().values(), strict=True)
    differing = [name for (name, one), other in pairs if not torch.equal(one, other)]
    print("weights equal" if not differing else f"weights differ: {', '.join(differing)}")


if __name__ == "__main__":
    main()
