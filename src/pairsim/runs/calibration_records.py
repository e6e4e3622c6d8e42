"""Remember which classes a threshold was chosen on, so that an evaluation can say whether its classes are others.

`pairsim calibrate` writes their names to `calibration.json` of the run, and not into the model, which may be shared
while the names of people may not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pairsim._common import json_files, storage
from pairsim.models import SimilarityModel, pretrained
from pairsim.models.pretrained import check_format, saved_sha256

CALIBRATION = "calibration.json"
FORMAT_VERSION = 1


def save_calibration(run: Path, model_folder: Path, class_names: Collection[str]) -> None:
    """Write the classes of a calibration into a run, once its model is saved; nothing for a model without a run.

    Args:
        run: The run or model folder.
        model_folder: The model folder.
        class_names: The classes; empty if they are not known, which removes those of an earlier calibration.

    Raises:
        RunError: If the file cannot be written.
    """
    folder = _run_of(run)
    if folder is None:
        return
    body = {
        "format": "pairsim-calibration",
        "format_version": FORMAT_VERSION,
        "class_names": sorted(class_names),
        **saved_sha256(model_folder),
    }
    storage.write_file(folder / CALIBRATION, json_files.sealed(body))


def calibration_classes(run: Path, model: SimilarityModel, record: Mapping[str, Any]) -> set[str]:
    """Return the classes that the threshold of a model was chosen on; none if they are not known.

    Args:
        run: The run or model folder.
        model: Its model.
        record: The values of its `data.json`.

    Raises:
        RunError: If a file is damaged or of a newer format.
    """
    folder = _run_of(run)
    if folder is not None and storage.is_file(path := folder / CALIBRATION):
        body = json_files.read_sealed(path)
        check_format(body, "pairsim-calibration", FORMAT_VERSION, path)
        if body.get("config_sha256") == saved_sha256(pretrained.find(run))["config_sha256"]:
            return set(map(str, body.get("class_names", ())))
    point = model.operating_point
    if point is None or not point.source.startswith("validation ") or model.calibration is not None:
        return set()
    kept = record.get("class_split", {}).get("val") or record.get("val_class_names") or record.get("class_names", ())
    return set(map(str, kept))


def _run_of(run: Path) -> Path | None:
    """Return a run folder, or that of its model folder; `None` if there is none."""
    inside = run.resolve()
    folders = [inside, inside.parent] if inside.name == "model" else [inside]
    return next((folder for folder in folders if storage.is_file(folder / "run.json")), None)
