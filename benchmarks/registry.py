"""The benchmarks by name. To add one: a module with `run(options) -> list[Table]`, and a line here."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.options import Options
from benchmarks.report import Table


@dataclass(frozen=True)
class Benchmark:
    """A benchmark that can be asked for.

    Attributes:
        module: Has `run(options) -> list[Table]`; imported when the benchmark runs.
        about: One line for the help text.
        device: The only kind of device that it says anything about, if there is one.
    """

    module: str
    about: str
    device: str | None = None

    def run(self, options: Options) -> list[Table]:
        """Run it, or say why it says nothing on this device."""
        if self.device is not None and torch.device(options.device).type != self.device:
            return [Table(self.about, (), (f"Not measured on {options.device}: it needs --device {self.device}.",))]
        run: Callable[[Options], list[Table]] = importlib.import_module(self.module).run
        return run(options)


BENCHMARKS = {
    "reference": Benchmark("benchmarks.reference", "the notebook's recipe beside pairsim's: epochs, index, quality"),
    "quality": Benchmark("benchmarks.mnist_quality", "what pairsim train mnist reaches, over seeds"),
    "time-to-quality": Benchmark("benchmarks.time_to_quality", "seconds of training to 99.19 % balanced accuracy"),
    "losses": Benchmark("benchmarks.losses", "quality after one pass: all pairs, and pytorch-metric-learning's losses"),
    "epoch": Benchmark("benchmarks.epoch", "an epoch with the same maths, and the time it waits for data"),
    "loading": Benchmark("benchmarks.loading", "batches to the model, without training"),
    "sampling": Benchmark("benchmarks.sampling", "drawing pairs"),
    "index": Benchmark("benchmarks.index", "indexing labels: seconds and memory"),
    "loss-memory": Benchmark(
        "benchmarks.loss_memory", "the loss over all pairs of a batch: memory, seconds, gradients"
    ),
    "inference": Benchmark("benchmarks.inference", "embeddings a second"),
    "encoding": Benchmark("benchmarks.encoding", "embedding a folder of pictures, decoding included"),
    "evaluation": Benchmark("benchmarks.evaluation", "AUC and EER on all pairs, beside scikit-learn"),
    "calibration": Benchmark(
        "benchmarks.calibration", "probabilities and thresholds from validation pairs, on test pairs"
    ),
    "coverage": Benchmark("benchmarks.coverage", "how often 95 % intervals hold the truth, by simulation"),
    "identify": Benchmark("benchmarks.identify", "who is it, of those enrolled, or none: errors, stated rates, speed"),
    "picture-quality": Benchmark(
        "benchmarks.picture_quality", "poor pictures: those named at enrolment, and what they do to identification"
    ),
    "groups": Benchmark("benchmarks.groups", "error rates of groups: coverage of their intervals, and an example"),
    "unseen": Benchmark("benchmarks.unseen", "classes that training never saw: MNIST's digits, Omniglot's characters"),
    "open-world": Benchmark("benchmarks.open_world", "photographs of unseen classes: heads, fine-tuning, and peers"),
    "signatures": Benchmark("benchmarks.signatures", "genuine and forged signatures of unseen writers"),
    "omniglot": Benchmark("benchmarks.omniglot", "small nets on drawings: one-shot and pairs of unseen characters"),
    "lfw-pairs": Benchmark("benchmarks.lfw_pairs", "pairs of faces of people that training never saw"),
    "exporting": Benchmark("benchmarks.exporting", "exported files: the same embeddings, bytes, speed"),
    "one-picture": Benchmark("benchmarks.one_picture", "one picture or pair of files at a time, beside onnxruntime"),
    "search": Benchmark("benchmarks.search", "the nearest of 100,000 embeddings, beside FAISS"),
    "gallery-loading": Benchmark(
        "benchmarks.gallery_loading", "a saved gallery of 1,000,000 images: seconds and memory"
    ),
    "metrics-cost": Benchmark("benchmarks.metrics_cost", "seconds and memory of evaluation on all pairs"),
    "label-audit": Benchmark("benchmarks.label_audit", "flipped labels that the label audit finds"),
    "duplicates": Benchmark(
        "benchmarks.duplicates", "copies of photographs: found, false pairs, beside hash libraries"
    ),
    "throughput": Benchmark("benchmarks.throughput", "training images a second by batch size and precision"),
    "roofline": Benchmark("benchmarks.roofline", "a training step beside what the hardware could do"),
    "training-loop": Benchmark("benchmarks.training_loop", "training on MNIST in parts: set-up, epochs, the rest"),
    "syncs": Benchmark("benchmarks.syncs", "lines of a training run that wait for the GPU"),
    "kernels": Benchmark("benchmarks.kernels", "kernels of a training step, and the peaks of the device"),
    "graph": Benchmark("benchmarks.graph", "a training step eager, compiled and as a CUDA graph", device="cuda"),
    "import": Benchmark("benchmarks.import_time", "what `import pairsim` adds to `import torch`"),
    "serve": Benchmark("benchmarks.serve", "the HTTP service under load, and a signal under load"),
    "commands": Benchmark("benchmarks.commands", "whole processes: help, version, comparing two files, training"),
    "targets": Benchmark("benchmarks.targets", "measured figures beside targets; reads benchmarks/results"),
}
