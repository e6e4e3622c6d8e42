"""List the limits of a trained model that follow from its records."""

from __future__ import annotations

import re

from pairsim._common.markdown import count, escape, finite, rate
from pairsim.runs.run_records import Evaluation, RunRecords, last_name

_MAX_CLASSES = 3


def limits(records: RunRecords) -> list[str]:
    """Return the limits of a model, each as one or two Markdown sentences.

    Args:
        records: The records of its run or model folder.

    Returns:
        At least three limits; they include what was not measured.
    """
    evaluation = records.evaluation
    if evaluation is not None and not evaluation.of_these_weights:
        evaluation = None
    grey = records.model.get("preprocessing", {}).get("channels") == 1
    calibration = records.model.get("calibration")
    prior = 0.5 if calibration is None else calibration.get("prior")
    part = records.model.get("preprocessing", {}).get("central_fraction", 1)
    return [
        f"It takes {image_kind(records)}. Other images are resized{', and colour is dropped' if grey else ''}.",
        *([f"It sees the central {part:.0%} of their height and width."] if part != 1 else []),
        _unseen_classes(records, evaluation),
        f"Its probabilities hold where {rate(prior)} of pairs are positive, and are wrong elsewhere. Similarity and "
        "threshold do not depend on that share.",
        _evaluation_data(records, evaluation),
        *_threshold(records, evaluation),
        *_weakest_classes(evaluation),
    ]


def image_kind(records: RunRecords) -> str:
    """Describe the images that the model takes."""
    preprocessing = records.model.get("preprocessing", {})
    channels = preprocessing.get("channels")
    kind = {1: "grey images", 3: "colour images"}.get(channels, f"images of {escape(channels)} channels")
    return f"{kind} of {escape(' x '.join(map(str, preprocessing.get('image_size', []))))} pixels (height x width)"


def _unseen_classes(records: RunRecords, evaluation: Evaluation | None) -> str:
    not_measured = "Its quality on classes that were not in the training data is not measured."
    trained = set(map(str, records.data.get("class_names", [])))
    if evaluation is None or not evaluation.class_names or not trained:
        return not_measured
    evaluated = set(evaluation.class_names)
    unseen = len(evaluated - trained)
    if unseen == 0:
        return f"It was evaluated on seen classes only ({len(evaluated):,} of {len(trained):,}). {not_measured}"
    if unseen == len(evaluated):
        return f"It was evaluated on unseen classes only ({unseen:,}): training had none of these names."
    return (
        f"Of the {len(evaluated):,} classes that it was evaluated on, {unseen:,} are unseen: training had none of "
        "these names. The figures do not separate them."
    )


def _evaluation_data(records: RunRecords, evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return "It was not evaluated: its quality on new images is not measured."
    data, split = evaluation.data, evaluation.split
    trained_on = str(records.data.get("data") or "")
    if not (data and split and trained_on):
        return "It is not recorded whether training used the images under Evaluation."
    if _origin(data, evaluation.source) != _origin(trained_on, str(records.data.get("source", ""))):
        return (
            f"The images under Evaluation have another name or folder ({escape(last_name(data))}) than the training "
            "data. It is not recorded whether some images are in both."
        )
    if split == "test":
        return "The images under Evaluation are the test images of its data, which training does not use."
    used = {"train": "it was trained on", "val": "its epoch was chosen by"}.get(split, "were used")
    return f"The figures under Evaluation are from images that {used}. Results on new images may be worse."


def _origin(data: str, source: str) -> str:
    """Return what identifies a dataset: the name of a named one, else the folder that contains its splits."""
    if not source or source.startswith(f"{data} ("):
        return data
    return re.sub(r"[/\\](train|val|test)$", "", source)


def _threshold(records: RunRecords, evaluation: Evaluation | None) -> list[str]:
    point = records.model.get("operating_point")
    if point is None:
        return ["Its threshold was not chosen on data, and its error rates at the threshold are not measured."]
    lines = []
    if {finite(point.get("fmr")), finite(point.get("fnmr"))} == {0.0, 1.0}:
        which = "All" if finite(point.get("fmr")) == 1.0 else "None"
        lines.append(f"{which} of the pairs that its threshold was measured on match: it decides nothing.")
    negatives = finite(point.get("num_negative"))
    if negatives:
        lines.append(
            f"Its threshold was measured on {count(negatives)} negative pairs, which share images. Even with as many "
            f"independent pairs, an FMR below {min(1.0, 3 / negatives):.2g} could not be distinguished from zero (rule "
            "of three)."
        )
    source = str(point.get("source", ""))
    if evaluation and evaluation.data and source.startswith(f"{evaluation.split} images of {evaluation.data}"):
        lines.append("Its threshold was chosen on the images under Evaluation, so figures at it are too good.")
    return lines


def _weakest_classes(evaluation: Evaluation | None) -> list[str]:
    rows = [] if evaluation is None else (evaluation.figures.get("weakest_classes") or [])[:_MAX_CLASSES]
    listed = [f"{escape(row.get('name'))} (FNMR {rate(row.get('fnmr'))}, FMR {rate(row.get('fmr'))})" for row in rows]
    return [f"It made the most errors at the threshold with the classes {'; '.join(listed)}."] if rows else []
