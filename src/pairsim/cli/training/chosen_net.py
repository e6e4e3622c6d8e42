"""Choose the net that `pairsim train` trains, from its options and the data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pairsim._common.choices import Fit
from pairsim.cli.output import UsageError, expect
from pairsim.errors import PairsimError

AUTO, REFERENCE = "auto", "reference"
"""Values of --backbone besides the names of nets."""


_CLASSES_TO_ADAPT = 4
"""Two to fit a head to, and two to choose it by."""


@dataclass(frozen=True, kw_only=True)
class ChosenNet:
    """The net to train.

    Attributes:
        backbone: As for `EmbeddingNet`; `None` for the reference network.
        weights: Likewise.
        image_size: Height and width of pictures; `None` for a default.
        channels: Channels of the images; `None` for a default.
        fit: How pictures get their size; `None` for the default of the net.
        is_pretrained: Whether its features are those of a trained net: one with weights, an ONNX file, or that which
            computed embeddings.
        line: What was chosen and why, for the user; empty if there is nothing to say.
        record: What `data.json` keeps of it: `weights` of a named backbone, and `backbone` where the command needs that
            option to choose the same net again.
    """

    backbone: str | None
    weights: str | None = None
    image_size: tuple[int, int] | None = None
    channels: int | None = None
    fit: Fit | None = None
    is_pretrained: bool = False
    line: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)


def choose_net(
    data: str,
    *,
    backbone: str | None,
    weights: str | None,
    image_size: str | None,
    channels: int | None,
    fit: Fit | None,
    data_dir: Path | None,
    white: int | None,
    augment: object,
) -> ChosenNet:
    """Choose the net to train; nothing is built or downloaded.

    Args:
        data: DATA of the command.
        backbone: --backbone; `None` is "auto" for a folder and "reference" for named data.
        weights: --weights: a file, its name in one of the folders of `weight_folders`, or "pretrained".
        image_size: --image-size: one number, or height x width.
        channels: --channels.
        fit: --fit.
        data_dir: --data-dir.
        white: --white.
        augment: --augment.

    Raises:
        PairsimError: If a file of embeddings cannot be read, or weights are damaged.
        UsageError: If options do not fit together.
    """
    from pairsim.data.named import NAMES, data_root, is_embedding_file
    from pairsim.models.backbones.onnx_nets import is_onnx_file
    from pairsim.models.backbones.weight_files import weight_folders

    named = backbone not in (None, AUTO, REFERENCE)
    expect(weights is None or named, "--backbone NAME together with --weights, found none.")
    given: dict[str, Any] = {"image_size": _size(image_size), "channels": channels, "fit": fit}
    if is_embedding_file(data):
        return _for_embeddings(data, backbone=backbone, augment=augment, **given)
    folders = weight_folders(data_dir, data_root())
    if named:
        assert backbone is not None, "as it is named"
        file, line = _weights(backbone, weights, folders)
        record: dict[str, Any] = {} if is_onnx_file(backbone) else {"weights": file}
        pretrained = file is not None or is_onnx_file(backbone)
        return ChosenNet(backbone=backbone, weights=file, is_pretrained=pretrained, line=line, record=record, **given)
    if backbone == REFERENCE or (backbone is None and data in NAMES):
        record = {} if data in NAMES else {"backbone": REFERENCE}
        return ChosenNet(backbone=None, record=record, **given)
    if data in NAMES:
        return ChosenNet(backbone=None, line=f"The reference network, as the pictures of {data} are small.", **given)
    from pairsim.images import pictures_below
    from pairsim.models.backbones.automatic import choose_backbone, look_at

    try:
        pictures = pictures_below(data)
    except PairsimError:  # loading the data says it in its own words
        return ChosenNet(backbone=None, **given)
    kind = look_at(pictures, white=white)
    choice = choose_backbone(kind, image_size=given["image_size"], fit=fit, folders=folders)
    if choice.name is None or channels == 1:
        photographs = kind.are_photographs
        line = choice.line if backbone or photographs else ""
        if choice.name is not None:
            line = f"The reference network, as --channels 1 is given: without it {choice.name} would be used."
        record = {"backbone": REFERENCE} if photographs else {}
        return ChosenNet(backbone=None, line=line, record=record, **given)
    given |= {"image_size": choice.image_size, "fit": choice.fit}
    file = str(choice.weights)
    return ChosenNet(
        backbone=choice.name, weights=file, is_pretrained=True, line=choice.line, record={"weights": file}, **given
    )


def why_not_adapted(num_classes: int, *, has_val: bool) -> str | None:
    """Return why a pretrained net is trained like any other and not adapted, a line for the user; `None` if it is.

    Args:
        num_classes: Classes of the training data.
        has_val: Whether it has validation data of its own; otherwise classes are held out.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return "Several processes: a linear head is trained with the backbone. One process chooses a head."
    if num_classes < _CLASSES_TO_ADAPT and not has_val:
        return (
            f"With fewer than {_CLASSES_TO_ADAPT} classes a linear head is trained with the backbone, none is chosen."
        )
    return None


def _size(text: str | None) -> tuple[int, int] | None:
    """Read a height and width, such as 160 or 128x288."""
    if text is None:
        return None
    sides = text.lower().split("x")
    expect(
        len(sides) <= 2 and all(side.isdecimal() and int(side) > 0 for side in sides),
        f"--image-size as one number or as height x width, such as 160 or 128x288, got {text}.",
    )
    return int(sides[0]), int(sides[-1])


def _for_embeddings(data: str, *, backbone: str | None, augment: object, **given: object) -> ChosenNet:
    from pairsim.data.named.embedding_files import read_embeddings
    from pairsim.models.backbones.registry import EMBEDDINGS

    if not (backbone in (None, AUTO) and set(given.values()) == {None} and augment in ("none", "auto")):
        raise UsageError(
            f"Expected no --backbone, --image-size, --channels, --fit or --augment for {data}, which has embeddings "
            "and no pictures. Leave them out."
        )
    dim = read_embeddings(data).images.shape[1]
    return ChosenNet(backbone=EMBEDDINGS, image_size=(1, 1), channels=dim, is_pretrained=True)


def _weights(backbone: str, weights: str | None, folders: tuple[Path, ...]) -> tuple[str | None, str]:
    """Return the weights for `EmbeddingNet`, and a line on where they come from."""
    from pairsim._common.storage import is_file
    from pairsim.models.backbones.building import PRETRAINED
    from pairsim.models.backbones.weight_files import find_weights

    if weights == PRETRAINED:
        found = find_weights(backbone, folders)
        return (PRETRAINED, f"Downloading weights of {backbone}.") if found is None else (str(found), _line(found))
    if weights is not None and not is_file(weights) and os.path.basename(weights) == weights:
        found = next((folder / weights for folder in folders if is_file(folder / weights)), None)
        return (weights, "") if found is None else (str(found), _line(found))
    return weights, ""


def _line(found: Path) -> str:
    return f"Weights in {found}."
