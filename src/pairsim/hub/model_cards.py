"""`model_card`: a README for a trained model, made of what its run folder holds and of nothing else."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pairsim._common import storage
from pairsim._common.markdown import (
    NOT_MEASURED,
    NOT_RECORDED,
    code_block,
    count,
    escape,
    finite,
    front_matter,
    interval,
    one_line,
    plain,
    rate,
    table,
)
from pairsim.errors import RunError
from pairsim.hub.card_limits import image_kind, limits
from pairsim.models.identity import saved_sha256
from pairsim.models.pretrained import find
from pairsim.runs.run_records import (
    Evaluation,
    RunRecords,
    changed_settings,
    last_name,
    own_net,
    read_run,
    training_command,
)
from pairsim.verification.model_evaluation import FMR_TARGETS
from pairsim.verification.verification_report import VerificationReport

CARD = "README.md"
_MOST_NAMES = 20
_QUOTED_PATH = r"""(['"])((?:[A-Za-z]:|~)?[/\\].*?)\1"""
_PATH = r"""(?<![\w.)])(?:[A-Za-z]:|~)?[/\\][^\s'",)\]]*"""
_MACHINE = ("system", "device", "device_name", "cpu_capability")

_RATES = {
    "balanced_accuracy": "Balanced accuracy at the threshold",
    "accuracy": "Accuracy at the threshold",
    "fmr": "False match rate (FMR) at the threshold",
    "fnmr": "False non-match rate (FNMR) at the threshold",
    "roc_auc": "ROC AUC",
    "average_precision": "Average precision",
    "eer": "Equal error rate",
}
_LOSSES = {"log_loss": "Log-loss, in nats", "brier": "Brier score", "ece": "Expected calibration error, 15 bins"}
# what a model index shows, by the metric's usual identifier
_INDEXED = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced_accuracy",
    "roc_auc": "roc_auc",
    "eer": "equal_error_rate",
    "brier": "brier_score",
}


def model_card(
    run_or_model_folder: str | os.PathLike[str],
    *,
    report: VerificationReport | None = None,
    title: str | None = None,
    repo_id: str | None = None,
) -> str:
    """A model card in Markdown: what the model is, its data, training, figures with intervals, and limits.

    Every statement comes from the folder. What it does not hold is called "not measured" or "not recorded". Of the
    owner's paths only the last name is shown. The licence is left to the owner.

    Args:
        run_or_model_folder: A run folder, or a model folder.
        report: Figures to show instead of those that the run keeps; of this model.
        title: The heading; by default the name of the folder.
        repo_id: Where the model will be on the Hugging Face Hub, for the code that loads it.

    Returns:
        Markdown with YAML front matter, as the Hugging Face Hub reads it.

    Raises:
        RunError: If there is no model, or a file is damaged or of a newer format.

    References:
        M. Mitchell et al., Model cards for model reporting, FAT* 2019.
    """
    records = read_run(run_or_model_folder)
    if report is not None:
        records = dataclasses.replace(records, evaluation=Evaluation(figures=report.to_dict()))
    name = one_line(title or records.name) or "pairsim model"
    sections = [
        _front_matter(records, name),
        f"# {escape(name)}",
        _what_it_is(records),
        _how_to_use(records, repo_id),
        _data(records),
        _training(records),
        _evaluation(records),
        _threshold(records),
        _probabilities(records),
        "## Limits\n\n" + "\n".join(f"- {line}" for line in limits(records)),
        _reproduction(records),
        "## Licence\n\nNot stated. The owner states it here and as `license:` at the top of this file.",
    ]
    return "\n\n".join(sections) + "\n"


def write_card(
    run_or_model_folder: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    report: VerificationReport | None = None,
    title: str | None = None,
) -> Path:
    """Write a model card, by default as `README.md` beside the model.

    Args:
        run_or_model_folder: A run folder, or a model folder.
        out: The file to write.
        overwrite: Whether to replace a file that is there, which somebody may have edited.
        report: As for `model_card`.
        title: As for `model_card`.

    Returns:
        The file.

    Raises:
        RunError: If there is no model, the file is there already, or it cannot be written.
    """
    path = find(Path(run_or_model_folder)) / CARD if out is None else Path(out)
    if path.exists() and not overwrite:
        raise RunError(
            f"Expected no file at {path} yet, found one, which may have been edited. Choose another --out, or replace "
            "it with --overwrite."
        )
    storage.write_file(path, model_card(run_or_model_folder, report=report, title=title).encode())
    return path


def _front_matter(records: RunRecords, name: str) -> str:
    values: dict[str, Any] = {
        "library_name": "pairsim",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["pairsim", "image-similarity", "image-verification", "metric-learning"],
    }
    found = records.evaluation
    if found is not None and found.of_these_weights:
        indexed = {key: finite(found.figures.get(key)) for key in _INDEXED}
        metrics = [
            {"type": _INDEXED[key], "value": round(value, 6), "name": {**_RATES, **_LOSSES}[key]}
            for key, value in indexed.items()
            if value is not None
        ]
        if metrics:
            data = last_name(found.data) or NOT_RECORDED
            dataset = {"type": re.sub(r"[^a-z0-9]+", "-", data.lower()).strip("-") or "images", "name": data}
            if found.split:
                dataset["split"] = found.split
            task = {"type": "image-feature-extraction", "name": "Image verification"}
            values["metrics"] = [metric["type"] for metric in metrics]
            values["model-index"] = [
                {"name": name, "results": [{"task": task, "dataset": dataset, "metrics": metrics}]}
            ]
    return front_matter(values)


def _what_it_is(records: RunRecords) -> str:
    architecture = records.model.get("architecture", {})
    net = own_net(records)
    dim = architecture.get("embedding_dim")
    kept_in = "" if dim is None else f" of {dim} numbers"
    return (
        f"An image similarity model, made with pairsim. {'The reference network' if net is None else escape(net)} maps "
        f"an image to an embedding{kept_in}; the similarity of two images is the cosine of their embeddings, in "
        "[-1, 1], higher for images that are more alike. Two images match where similarity >= threshold.\n\n"
        "It is for telling whether two images show the same thing, and for finding the images that are most alike, "
        f"among images like those it was trained on ({_data_name(records)}). The limits are below."
    )


def _how_to_use(records: RunRecords, repo_id: str | None) -> str:
    net = own_net(records)
    given = "" if net is None else ", embedding_net=net"
    lines = [] if net is None else [f"net = ...  # build the net that it was trained with: {one_line(net)}"]
    if repo_id is None:
        lines = ["from pairsim import SimilarityModel", "", *lines]
        lines.append(f'model = SimilarityModel.from_pretrained("."{given})  # the folder that this file is in')
    else:
        lines = [
            "from pairsim.hub.transfer import from_hub",
            "",
            *lines,
            f'model = from_hub("{one_line(repo_id)}"{given})',
        ]
    lines += [
        'verdict = model.verify("a.png", "b.png")',
        "print(verdict.match, verdict.similarity, verdict.probability)",
    ]
    package = "pairsim" if repo_id is None else "'pairsim[hub]'"
    return f"## How to use\n\n{code_block(f'pip install {package}', 'bash')}\n\n" + code_block(
        "\n".join(lines), "python"
    )


def _data(records: RunRecords) -> str:
    known, used = records.data, records.run.get("data", {})
    names = [escape(name) for name in known.get("class_names", [])]
    listed = ", ".join(names[:_MOST_NAMES])
    if len(names) > _MOST_NAMES:
        listed += f" and {len(names) - _MOST_NAMES:,} others"
    classes = used.get("num_classes", len(names) or None)
    rows = [
        ("Training data", _data_name(records)),
        ("Source", escape(last_name(str(known["source"]))) if known.get("source") else NOT_RECORDED),
        ("Images trained on", count(used.get("num_images"))),
        ("Pairs trained on, if given", count(used.get("num_pairs"))) if "num_pairs" in used else None,
        ("Images kept for validation", count(used.get("num_val_images"))),
        ("Classes", count(classes) + (f": {listed}" if listed else "")),
        ("Images as the model takes them", image_kind(records)),
    ]
    return "## Data\n\n" + table(("", ""), [row for row in rows if row is not None])


def _training(records: RunRecords) -> str:
    if not records.config:
        return "## Training\n\nNot recorded: this is a model folder without its run."
    config, best = records.config, _best_epoch(records)
    rows = [
        ("Objective", escape(_setting(config.get("objective", NOT_RECORDED)))),
        ("Epochs", f"{len(records.epochs)} of {config.get('epochs')}" if records.epochs else NOT_RECORDED),
        ("Epoch kept", NOT_RECORDED if best is None else str(best.get("epoch"))),
        ("Batch size", escape(config.get("batch_size", NOT_RECORDED))),
        (
            "Optimizer",
            f"{escape(_setting(config.get('optimizer')))}, learning rate {escape(config.get('learning_rate'))}",
        ),
        ("Scheduler", escape(config.get("scheduler", NOT_RECORDED))),
        ("Augmentation", escape(_setting(config.get("augment", NOT_RECORDED)))),
        ("Precision", escape(records.run.get("precision", NOT_RECORDED))),
        ("Seed", escape(config.get("seed", NOT_RECORDED))),
        ("Time", NOT_RECORDED if records.seconds is None else f"{records.seconds:,.0f} s"),
        ("Validation: balanced accuracy at probability one half", rate((best or {}).get("val_balanced_accuracy"))),
        ("Validation: loss", plain((best or {}).get("val_loss"))),
    ]
    return (
        f"## Training\n\n{table(('', ''), rows)}\n\nThe epoch to keep was chosen by the validation loss, so the "
        "validation figures may be a little too good."
        if best is not None and best.get("val_loss") is not None
        else f"## Training\n\n{table(('', ''), rows)}"
    )


def _evaluation(records: RunRecords) -> str:
    heading, found = "## Evaluation\n\n", records.evaluation
    if found is None:
        return f"{heading}{NOT_MEASURED.capitalize()}. Measure it with `pairsim evaluate RUN DATA`."
    if not found.of_these_weights:
        return (
            f"{heading}{NOT_MEASURED.capitalize()}: the run keeps an evaluation, but of other weights than these. "
            "Measure anew with `pairsim evaluate RUN DATA`."
        )
    figures = found.figures
    intervals = figures.get("intervals") or {}
    rows = [(label, _figure(figures, key), interval(intervals.get(key))) for key, label in _RATES.items()]
    at_fmr = figures.get("fnmr_at_fmr") or {}
    rows += [
        (
            f"FNMR at FMR {target:.2%}",
            _figure(at_fmr, f"{target:g}"),
            interval(intervals.get(f"fnmr_at_fmr_{target:g}")),
        )
        for target in FMR_TARGETS
    ]
    rows += [(label, _figure(figures, key, plain), interval(None)) for key, label in _LOSSES.items()]
    where = f"the {escape(found.split)} split of {escape(last_name(found.data))}" if found.data else "data not recorded"
    lines = [
        f"On {where}: {escape(figures.get('protocol', 'pairs'))} of {count(figures.get('num_images'))} images, "
        f"{count(figures.get('num_pairs'))} pairs, {count(figures.get('num_positive'))} of them positive, at "
        f"similarity threshold {plain(figures.get('threshold'))}.",
        table(("Figure", "Value", "95 % interval"), rows),
        "Intervals respect that pairs share images; they speak of other images of the same kind.",
    ]
    pairs, positive = finite(figures.get("num_pairs")), finite(figures.get("num_positive"))
    if pairs and positive is not None:
        lines.append(
            f"Of these pairs {rate(positive / pairs)} are positive; the probabilities were stated for "
            f"{rate(figures.get('prior'))}."
        )
    own, used = finite((records.model.get("operating_point") or {}).get("threshold")), finite(figures.get("threshold"))
    if own is not None and used is not None and own != used and found.of_this_calibration:
        lines.append(f"The model's own threshold is another one, {plain(own)}.")
    if not found.of_this_calibration:
        lines.append(
            "The threshold or the calibration was changed after this evaluation: figures at the threshold and of "
            "probabilities are of the earlier ones."
        )
    return heading + "\n\n".join(lines)


def _threshold(records: RunRecords) -> str:
    point = records.model.get("operating_point")
    if point is None:
        return (
            "## Threshold\n\nNone was chosen on data: the model cuts where its probability is one half. Its error "
            f"rates are {NOT_MEASURED}. Choose one with `pairsim calibrate RUN DATA --target-fmr 0.001`."
        )
    rows = [
        ("Threshold on similarity", plain(point.get("threshold")), ""),
        ("Chosen for", escape(point.get("criterion", NOT_RECORDED)), ""),
        ("Chosen on", escape(last_name(str(point.get("source") or NOT_RECORDED))), ""),
        ("False match rate (FMR)", rate(point.get("fmr")), interval(point.get("fmr_interval"))),
        ("False non-match rate (FNMR)", rate(point.get("fnmr")), interval(point.get("fnmr_interval"))),
        ("Positive pairs", count(point.get("num_positive")), ""),
        ("Negative pairs", count(point.get("num_negative")), ""),
    ]
    return "\n\n".join(
        [
            "## Threshold",
            table(("", "Value", "95 % interval"), rows),
            "Its rates are of the pairs that it was chosen on.",
        ]
    )


def _probabilities(records: RunRecords) -> str:
    found = records.model.get("calibration")
    if found is None:
        return (
            "## Probabilities\n\nNo calibration is stored. Probabilities are those of the model's projection, stated "
            "for one half of pairs positive. Calibrate with `pairsim calibrate RUN DATA --prior P`."
        )
    return "## Probabilities\n\n" + table(
        ("", ""),
        [
            ("Calibration", escape(found.get("method", NOT_RECORDED))),
            ("Stated for", f"{rate(found.get('prior'))} of pairs positive"),
            ("Positive pairs fitted on", count(found.get("num_positive"))),
            ("Negative pairs fitted on", count(found.get("num_negative"))),
            ("Fitted on", escape(last_name(str(found.get("source") or NOT_RECORDED)))),
        ],
    )


def _reproduction(records: RunRecords) -> str:
    environment, identity = records.run.get("environment", {}), saved_sha256(records.model_folder)
    versions = {**environment.get("versions", {}), "Python": environment.get("python")}
    listed = ", ".join(f"{escape(name)} {escape(version)}" for name, version in versions.items() if version)
    machine = ", ".join(escape(environment[key]) for key in _MACHINE if environment.get(key))
    lines = [
        f"Versions: {listed or NOT_RECORDED}. Machine: {machine or NOT_RECORDED}. "
        f"Model: SHA-256 `{identity['weights_sha256']}` of the weights, `{identity['config_sha256']}` of `config.json`."
    ]
    command = training_command(records)
    if command is not None:
        exact = environment.get("device") == "cpu" or records.config.get("deterministic") is True
        lines += [
            code_block(command, "bash"),
            f"The same data, versions, processor and number of threads give {'' if exact else 'nearly '}the same "
            f"weights{'' if exact else ', and with `--deterministic` the same'}.",
        ]
    elif records.config:
        changed = ", ".join(f"{name}={value!r}" for name, value in changed_settings(records.config).items())
        lines.append("It was trained from Python, with a script that the run does not hold and `TrainConfig` of:")
        lines.append(code_block(_setting(changed), "text"))
    else:
        lines.append(f"How it was trained: {NOT_RECORDED}.")
    return "## Environment and how to reproduce\n\n" + "\n\n".join(lines)


def _setting(value: Any) -> str:
    """A setting as it was recorded, with paths in it (such as of an augmentation's files) by their last names."""
    text = re.sub(_QUOTED_PATH, lambda found: found[1] + last_name(found[2]) + found[1], one_line(value))
    return re.sub(_PATH, lambda found: last_name(found[0]), text)


def _data_name(records: RunRecords) -> str:
    data = records.data.get("data")
    return escape(last_name(str(data))) if data else f"data {NOT_RECORDED}"


def _best_epoch(records: RunRecords) -> Mapping[str, Any] | None:
    best = [record for record in records.epochs if record.get("best")]
    return best[-1] if best else None


def _figure(figures: Mapping[str, Any], key: str, write: Callable[[Any], str] = rate) -> str:
    """A figure of a report, where null says that the pairs could not show it."""
    if key in figures and finite(figures[key]) is None:
        return "not measurable with these pairs"
    return write(figures.get(key))
