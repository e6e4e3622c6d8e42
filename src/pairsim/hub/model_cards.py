"""Write a model card: a README for a trained model, made only from what its run folder records."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairsim._common import markdown as md
from pairsim._common import storage
from pairsim._common.numbers import truth_value
from pairsim.errors import RunError
from pairsim.hub.card_evaluation import FIGURES, evaluation_of
from pairsim.hub.card_identification import identification_of
from pairsim.hub.card_limits import image_kind, limits
from pairsim.models.backbones.onnx_nets import is_onnx_file
from pairsim.models.backbones.registry import EMBEDDINGS
from pairsim.models.pretrained import find, saved_sha256
from pairsim.runs.run_records import (
    Evaluation,
    RunRecords,
    changed_settings,
    first_weights,
    last_name,
    own_code,
    own_net,
    read_run,
    training_command,
)
from pairsim.search import IdentificationReport
from pairsim.verification.verification_report import VerificationReport

CARD = "README.md"
_MAX_NAMES = 20
_QUOTED_PATH = r"""(['"])((?:[A-Za-z]:|~)?[/\\].*?)\1"""
_PATH = r"""(?<![\w.)])(?:[A-Za-z]:|~)?[/\\][^\s'",)\]]*"""
_MACHINE = ("system", "device", "device_name", "cpu_capability")
_USE_OF_PICTURES = (
    'verdict = model.verify("a.png", "b.png")',
    "print(verdict.match, verdict.similarity, verdict.probability)",
)
_USE_OF_EMBEDDINGS = (
    "vectors = ...  # float32 [N, D] of the net whose embeddings it was trained on, a tensor",
    "print(model.similarity_matrix(vectors[:, :, None, None]), model.threshold)",
)


def model_card(
    run_or_model_folder: str | os.PathLike[str],
    *,
    report: VerificationReport | None = None,
    identification: IdentificationReport | None = None,
    title: str | None = None,
    repo_id: str | None = None,
) -> str:
    """Return a model card in Markdown: what the model is, its data, training, figures with intervals, and limits.

    Every statement comes from the folder. What it does not record is called "not measured" or "not recorded". Paths are
    shortened to their last name. The licence is left to the owner.

    Args:
        run_or_model_folder: A run folder, or a model folder.
        report: Figures of this model to show instead of those stored in the run.
        identification: Result of `evaluate_gallery` for a gallery of this model, for a section of its own.
        title: The heading; by default the name of the folder.
        repo_id: Repository of the model on the Hugging Face Hub, for the code that loads it.

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
    name = md.one_line(title or records.name) or "pairsim model"
    sections = [
        _front_matter(records, name),
        f"# {md.escape(name)}",
        _overview(records),
        _usage(records, repo_id),
        _data(records),
        _training(records),
        _section("Evaluation", *evaluation_of(records)),
        *([] if identification is None else [_section("Identification", *identification_of(identification))]),
        _threshold(records),
        _probabilities(records),
        _section("Limits", "\n".join(f"- {line}" for line in limits(records))),
        _reproduction(records),
        _section("Licence", "Not stated. The owner states it here and as `license:` at the top of this file."),
    ]
    return "\n\n".join(sections) + "\n"


def write_card(
    run_or_model_folder: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    report: VerificationReport | None = None,
    identification: IdentificationReport | None = None,
    title: str | None = None,
) -> Path:
    """Write a model card, by default as `README.md` beside the model.

    Args:
        run_or_model_folder: A run folder, or a model folder.
        out: The file to write.
        overwrite: Whether to replace an existing file, which may have been edited.
        report: As for `model_card`.
        identification: As for `model_card`.
        title: As for `model_card`.

    Returns:
        The file.

    Raises:
        RunError: If there is no model, the file already exists, or it cannot be written.
    """
    truth_value(overwrite, "overwrite")
    path = find(Path(run_or_model_folder)) / CARD if out is None else Path(out)
    if storage.found_at(path) != "nothing" and not overwrite:
        raise RunError(f"{path} already exists and may have been edited. Pass --overwrite, or choose another --out.")
    card = model_card(run_or_model_folder, report=report, identification=identification, title=title)
    storage.write_file(path, storage.encoded(card))
    return path


def _section(heading: str, *paragraphs: str) -> str:
    return "\n\n".join((f"## {heading}", *paragraphs))


def _front_matter(records: RunRecords, name: str) -> str:
    values: dict[str, Any] = {
        "library_name": "pairsim",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["pairsim", "image-similarity", "image-verification", "metric-learning"],
    }
    evaluation = records.evaluation
    if evaluation is not None and evaluation.of_these_weights:
        metrics = [
            {"type": figure.metric, "value": round(value, 6), "name": figure.label}
            for figure in FIGURES
            if figure.metric and (value := md.finite(evaluation.figures.get(figure.key))) is not None
        ]
        data = last_name(evaluation.data) or md.NOT_RECORDED
        dataset = {"type": re.sub(r"[^a-z0-9]+", "-", data.lower()).strip("-") or "images", "name": data}
        if evaluation.split:
            dataset["split"] = evaluation.split
        task = {"type": "image-feature-extraction", "name": "Image verification"}
        if metrics:
            values["metrics"] = [metric["type"] for metric in metrics]
            results = [{"task": task, "dataset": dataset, "metrics": metrics}]
            values["model-index"] = [{"name": name, "results": results}]
    return md.front_matter(values)


def _overview(records: RunRecords) -> str:
    net, dim = own_net(records), records.model.get("architecture", {}).get("embedding_dim")
    given = "an embedding of another model" if net == EMBEDDINGS else "an image"
    return (
        "An image similarity model, made with pairsim. "
        f"{'The reference network' if net is None else md.escape(net)} maps {given} to an embedding"
        f"{'' if dim is None else f' of {dim} numbers'}. The similarity of two images is the cosine of their "
        "embeddings, in [-1, 1]; higher means more similar. Two images match if similarity >= threshold.\n\n"
        "Use it to decide whether two images show the same thing, and to find the most similar images, among images "
        f"like those it was trained on ({_data_name(records)}). Its limits are listed below."
    )


def _usage(records: RunRecords, repo_id: str | None) -> str:
    net = own_code(records)
    given = "" if net is None else ", embedding_net=net"
    name = str(own_net(records))
    extras = [] if net is not None else ["timm"] if name.startswith("timm/") else ["onnx"] if is_onnx_file(name) else []
    if repo_id is None:
        imports = "from pairsim import SimilarityModel"
        load = f'SimilarityModel.from_pretrained("."{given})  # the folder of this file'
    else:
        extras, imports = ["hub", *extras], "from pairsim.hub import from_hub"
        load = f'from_hub("{md.one_line(repo_id)}"{given})'
    lines = [
        imports,
        "",
        *([] if net is None else [f"net = ...  # build the net that it was trained with: {md.one_line(net)}"]),
        f"model = {load}",
        *(_USE_OF_EMBEDDINGS if name == EMBEDDINGS else _USE_OF_PICTURES),
    ]
    package = f"'pairsim[{','.join(extras)}]'" if extras else "pairsim"
    install = md.code_block(f"pip install {package}", "bash")
    return _section("How to use", install, md.code_block("\n".join(lines), "python"))


def _data(records: RunRecords) -> str:
    known, used = records.data, records.run.get("data", {})
    names = [md.escape(name) for name in known.get("class_names", [])]
    classes = md.count(used.get("num_classes", len(names) or None))
    if names:
        more = f" and {len(names) - _MAX_NAMES:,} others" if len(names) > _MAX_NAMES else ""
        classes += f": {', '.join(names[:_MAX_NAMES])}{more}"
    rows = [
        ("Training data", _data_name(records)),
        ("Source", md.escape(last_name(str(known.get("source") or md.NOT_RECORDED)))),
        ("Images trained on", md.count(used.get("num_images"))),
        *([("Pairs trained on, if given", md.count(used["num_pairs"]))] if "num_pairs" in used else []),
        ("Images kept for validation", md.count(used.get("num_val_images", 0 if used else None))),
        *_kept_classes(known.get("class_split")),
        ("Classes", classes),
        ("Input of the model", image_kind(records)),
    ]
    return _section("Data", md.table(("", ""), rows))


def _kept_classes(split: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if split is None:
        return []
    numbers = (md.count(len(split.get(name, ()))) for name in ("val", "test"))
    return [("Classes kept whole", "{} for validation, {} for the test".format(*numbers))]


def _training(records: RunRecords) -> str:
    config = records.config
    if not config:
        return _section("Training", "Not recorded: this is a model folder without its run.")
    best: Mapping[str, Any] = next((record for record in reversed(records.epochs) if record.get("best")), {})
    net = own_net(records)
    named = None if net is None or own_code(records) else first_weights(records) or md.NOT_RECORDED
    rows = [
        *([] if named is None else [("Weights at the start", md.escape(last_name(named)))]),
        ("Objective", _recorded(config, "objective")),
        ("Epochs", f"{len(records.epochs)} of {config.get('epochs')}" if records.epochs else md.NOT_RECORDED),
        ("Epoch kept", _recorded(best, "epoch")),
        ("Batch size", _recorded(config, "batch_size")),
        ("Optimizer", _recorded(config, "optimizer")),
        ("Learning rate", _recorded(config, "learning_rate")),
        ("Scheduler", _recorded(config, "scheduler")),
        ("Augmentation", _recorded(config, "augment")),
        ("Precision", _recorded(records.run, "precision")),
        ("Seed", _recorded(config, "seed")),
        ("Time", md.NOT_RECORDED if records.seconds is None else f"{records.seconds:,.0f} s"),
        ("Validation: balanced accuracy at probability 0.5", md.rate(best.get("val_balanced_accuracy"))),
        ("Validation: loss", md.plain(best.get("val_loss"))),
    ]
    note = "The epoch was chosen by its validation loss, so the validation figures may be slightly too good."
    return _section("Training", md.table(("", ""), rows), *([note] if best.get("val_loss") is not None else []))


def _threshold(records: RunRecords) -> str:
    point = records.model.get("operating_point")
    if point is None:
        return _section(
            "Threshold",
            "Not chosen on data: the threshold is where the probability is 0.5, if there is one. Its error rates are "
            f"{md.NOT_MEASURED}. Choose one with `pairsim calibrate RUN DATA --target-fmr 0.001`.",
        )
    source = md.escape(last_name(str(point.get("source") or md.NOT_RECORDED)))
    of_training = point.get("criterion") == "probability 0.5" and records.model.get("calibration") is None
    rows = [
        ("Threshold on similarity", md.plain(point.get("threshold")), ""),
        ("Chosen for", _recorded(point, "criterion"), ""),
        ("Measured on" if of_training else "Chosen on", source, ""),
        ("False match rate (FMR)", md.rate(point.get("fmr")), md.interval(point.get("fmr_interval"))),
        ("False non-match rate (FNMR)", md.rate(point.get("fnmr")), md.interval(point.get("fnmr_interval"))),
        ("Positive pairs", md.count(point.get("num_positive")), ""),
        ("Negative pairs", md.count(point.get("num_negative")), ""),
    ]
    note = "The error rates were measured on the pairs that the threshold was chosen on."
    if of_training:
        note = "The error rates were measured on pairs that training chose the epoch by."
    return _section("Threshold", md.table(("", "Value", "95 % interval"), rows), note)


def _probabilities(records: RunRecords) -> str:
    calibration = records.model.get("calibration")
    if calibration is None:
        return _section(
            "Probabilities",
            "Not calibrated. Probabilities come from the model's projection and assume that half of the pairs are "
            "positive. Calibrate with `pairsim calibrate RUN DATA --prior P`.",
        )
    rows = [
        ("Calibration", _recorded(calibration, "method")),
        ("Valid for", f"{md.rate(calibration.get('prior'))} of pairs positive"),
        ("Positive pairs fitted on", md.count(calibration.get("num_positive"))),
        ("Negative pairs fitted on", md.count(calibration.get("num_negative"))),
        ("Fitted on", md.escape(last_name(str(calibration.get("source") or md.NOT_RECORDED)))),
    ]
    return _section("Probabilities", md.table(("", ""), rows))


def _reproduction(records: RunRecords) -> str:
    environment, identity = records.run.get("environment", {}), saved_sha256(records.model_folder)
    versions = {**environment.get("versions", {}), "Python": environment.get("python")}
    listed = ", ".join(f"{md.escape(name)} {md.escape(version)}" for name, version in versions.items() if version)
    machine = ", ".join(md.escape(environment[key]) for key in _MACHINE if environment.get(key))
    paragraphs = [
        f"Versions: {listed or md.NOT_RECORDED}. Machine: {machine or md.NOT_RECORDED}. "
        f"Model: SHA-256 `{identity['weights_sha256']}` of the weights, `{identity['config_sha256']}` of `config.json`."
    ]
    command = training_command(records)
    if command is not None:
        exact = environment.get("device") == "cpu" or records.config.get("deterministic") is True
        unknown = "The run does not record which weights the backbone began with: pass the same with `--weights`."
        several = " and processes" if environment.get("num_processes", 1) > 1 else ""
        result = "the same weights" if exact else "nearly the same weights, and with `--deterministic` the same"
        paragraphs += [
            md.code_block(command, "bash"),
            *([unknown] if own_net(records) is not None and first_weights(records) is None else []),
            f"The same data, versions, processor and number of threads{several} give {result}.",
        ]
    elif records.config:
        changed = ", ".join(f"{name}={value!r}" for name, value in changed_settings(records.config).items())
        paragraphs += [
            "The run does not record a command that trains it again, as after training from Python. Its settings of "
            "`TrainConfig`:",
            md.code_block(_without_folders(changed), "text"),
        ]
    else:
        paragraphs.append(f"How it was trained: {md.NOT_RECORDED}.")
    return _section("Environment and how to reproduce", *paragraphs)


def _recorded(values: Mapping[str, Any], key: str) -> str:
    return md.escape(_without_folders(values.get(key, md.NOT_RECORDED)))


def _without_folders(setting: Any) -> str:
    """Return a setting as text, with paths in it (such as of an augmentation's files) shortened to their last names."""
    text = re.sub(_QUOTED_PATH, lambda path: path[1] + last_name(path[2]) + path[1], md.one_line(setting))
    return re.sub(_PATH, lambda path: last_name(path[0]), text)


def _data_name(records: RunRecords) -> str:
    data = records.data.get("data")
    return md.escape(last_name(str(data))) if data else f"data {md.NOT_RECORDED}"
