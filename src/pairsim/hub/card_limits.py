"""What a trained model must not be trusted with, as far as its records tell."""

from __future__ import annotations

import re

from pairsim._common.markdown import count, escape, finite, rate
from pairsim.runs.run_records import Evaluation, RunRecords, last_name

_MOST_CLASSES = 3


def limits(records: RunRecords) -> list[str]:
    """The limits of a model, each a Markdown sentence or two that follows from its records.

    Args:
        records: What its run or model folder holds.

    Returns:
        At least three; what was not measured is said to be.
    """
    found = records.evaluation if records.evaluation is not None and records.evaluation.of_these_weights else None
    calibration = records.model.get("calibration")
    prior = 0.5 if calibration is None else calibration.get("prior")
    return [
        _images(records),
        _unseen_classes(records, found),
        f"Probabilities are stated for pairs of which {rate(prior)} are positive. Where another share is, they are "
        "off; similarity and threshold stay as they are.",
        _evaluation_data(records, found),
        *_threshold(records, found),
        *_weakest_classes(found),
    ]


def image_kind(records: RunRecords) -> str:
    """The images that the model takes, in words."""
    preprocessing = records.model.get("preprocessing", {})
    channels = preprocessing.get("channels")
    kind = {1: "grey images", 3: "colour images"}.get(channels, f"images of {escape(channels)} channels")
    return f"{kind} of {escape(' x '.join(map(str, preprocessing.get('image_size', []))))} pixels (height x width)"


def _images(records: RunRecords) -> str:
    grey = records.model.get("preprocessing", {}).get("channels") == 1
    return f"It takes {image_kind(records)}: others are resized to that{', and colour is dropped' if grey else ''}."


def _unseen_classes(records: RunRecords, found: Evaluation | None) -> str:
    not_measured = "how well it does on classes that it was not trained on is not measured."
    trained = set(map(str, records.data.get("class_names", [])))
    if found is None or not found.class_names or not trained:
        return not_measured.capitalize()
    evaluated = set(found.class_names)
    unseen = len(evaluated - trained)
    if unseen == 0:
        return f"It was evaluated on seen classes only ({len(evaluated):,} of {len(trained):,}): {not_measured}"
    return (
        f"Of the {len(evaluated):,} classes that it was evaluated on, {unseen:,} are unseen: training had none of that "
        "name. Figures are of both kinds together."
        if unseen < len(evaluated)
        else f"It was evaluated on unseen classes only ({unseen:,}): training had none of that name."
    )


def _evaluation_data(records: RunRecords, found: Evaluation | None) -> str:
    if found is None:
        return "It was not evaluated: how well it does on new images is not measured."
    if not (found.data and found.split and records.data.get("data")):
        return "Whether the figures under Evaluation are from images that training used is not recorded."
    if not _of_training_data(records, found):
        return (
            f"The figures under Evaluation are from data of another name or place ({escape(last_name(found.data))}) "
            "than it was trained on; whether images are in both is not recorded."
        )
    if found.split == "test":
        return "The figures under Evaluation are from the test images of its data, which training does not use."
    used = {"train": "it was trained on", "val": "the epoch that was kept was chosen by"}.get(found.split, "were used")
    return f"The figures under Evaluation are from images that {used}: new images may give worse ones."


def _of_training_data(records: RunRecords, found: Evaluation) -> bool:
    own = _origin(str(records.data.get("data", "")), str(records.data.get("source", "")))
    return own == _origin(found.data, found.source)


def _origin(data: str, source: str) -> str:
    """What tells data from other data: the name of a named set, else the folder above its splits."""
    if not source or source.startswith(f"{data} ("):
        return data
    return re.sub(r"[/\\](train|val|test)$", "", source)


def _threshold(records: RunRecords, found: Evaluation | None) -> list[str]:
    point = records.model.get("operating_point")
    if point is None:
        return ["Its threshold was not chosen on data, and its error rates at it are not measured."]
    lines = []
    negatives = finite(point.get("num_negative"))
    if negatives:
        lines.append(
            f"Its threshold was measured on {count(negatives)} negative pairs, which share images. Even of as many "
            f"independent ones, an FMR below {min(1.0, 3 / negatives):.2g} could not be told from zero (rule of three)."
        )
    if found is not None and found.data and found.split:
        same = str(point.get("source", "")).startswith(f"{found.split} images of {found.data}")
        if same:
            lines.append("Its threshold was chosen on the images under Evaluation: figures at it are too good.")
    return lines


def _weakest_classes(found: Evaluation | None) -> list[str]:
    rows = [] if found is None else (found.figures.get("weakest_classes") or [])[:_MOST_CLASSES]
    listed = [f"{escape(row.get('name'))} (FNMR {rate(row.get('fnmr'))}, FMR {rate(row.get('fmr'))})" for row in rows]
    return [f"At the threshold it erred most with the classes {'; '.join(listed)}."] if rows else []
