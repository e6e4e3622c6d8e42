"""What the pictures and names that are given to `pairsim gallery` stand for."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from pairsim._common.choices import OnError
from pairsim.cli.output import expect, note
from pairsim.errors import printable


def found_pictures(
    pictures: list[Path], identity: str | None, on_error: OnError
) -> tuple[list[Path], list[str], list[str]]:
    """Return the pictures of files and folders, their ids, and their identities."""
    from pairsim.data.named.folder_labels import label_pictures
    from pairsim.images.folders import account, scan

    paths: list[Path] = []
    ids: list[str] = []
    identities: list[str] = []
    for given in pictures:
        if not os.path.isdir(given):
            paths.append(given)
            ids.append(given.name if identity is None else f"{identity}/{given.name}")
            identities.append(ids[-1] if identity is None else identity)
            continue
        scanned = scan(given, on_error)
        if identity is not None:
            note(str(scanned))
            paths += scanned.pictures
            ids += [f"{identity}/{name}" for name in scanned.names]
            identities += [identity] * len(scanned.names)
            continue
        labels = label_pictures(scanned, 1, alone=True)
        details = "".join(f". {one}" for one in labels.notes)
        note(account(given, len(scanned.names), (*labels.left_out, *scanned.left_out), details))
        paths += [given / picture.name for picture in labels.pictures]
        ids += [picture.name for picture in labels.pictures]
        identities += [picture.label for picture in labels.pictures]
    twice = next((name for name, count in Counter(ids).items() if count > 1), "")
    of_it = [str(path) for path, name in zip(paths, ids, strict=True) if name == twice]
    expect(
        not twice,
        f"pictures with different names, got {printable(twice)} {len(of_it)} times: {some_of(of_it)}. Rename one, give "
        "a folder with a sub-folder for each identity instead, or add them one after another, each with its own "
        "--identity.",
    )
    return paths, ids, identities


def some_of(names: list[str]) -> str:
    """Return the first names, and how many more there are."""
    shown = ", ".join(printable(name) for name in names[:3])
    return shown + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
