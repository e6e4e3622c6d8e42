"""What was read from a folder of labelled pictures, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pairsim._common.choices import Split
from pairsim.images.folders import LeftOut, account

_USE: Mapping[Split, str] = {"train": "training", "val": "validation", "test": "the test"}


@dataclass(frozen=True, kw_only=True)
class FolderAccount:
    """The pictures of a folder with classes, and what is left out. Both add up to all files of the folder.

    Attributes:
        folder: The folder, or the name of a dataset.
        num_pictures: Pictures that were found, labelled or not.
        num_labelled: Those with a label.
        num_classes: Classes of all splits.
        splits: Number of labelled pictures in each split; empty if the pictures are not split.
        classes: Names of the classes in each split, ascending.
        notes: What else was decided, a sentence each.
        left_out: What no split has.
        num_checked: Pictures that were all read once, to leave out those that cannot be.
        num_unreadable: How many cannot be read.
    """

    folder: Path
    num_pictures: int
    num_labelled: int
    num_classes: int
    splits: Mapping[Split, int]
    classes: Mapping[Split, tuple[str, ...]]
    notes: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    num_checked: int = 0
    num_unreadable: int = 0

    def left_out_of(self, *used: Split) -> tuple[LeftOut, ...]:
        """Return what is left out if only some splits are used."""
        unused = [(split, number) for split, number in self.splits.items() if split not in used]
        return (*self.left_out, *(LeftOut(f"pictures of the split {split}", number) for split, number in unused))

    def line(self, *used: Split) -> str:
        """Say it in one line, for a command that uses some of the splits.

        Where no class is in two splits, the line gives the number of classes in each.
        """
        number = "" if self.num_labelled == self.num_pictures else f", {self.num_labelled:,} of them"
        classes = f"{number} of {self.num_classes:,} class{'' if self.num_classes == 1 else 'es'}"
        by_class = sum(map(len, self.classes.values())) == self.num_classes
        if by_class and len(self.splits) > 1 and self.splits.keys() == self.classes.keys():
            parts = [
                f"{count:,} of {len(self.classes[split]):,}{'' if position else ' classes'} for {_USE[split]}"
                for position, (split, count) in enumerate(self.splits.items())
            ]
            classes += f": {', '.join(parts)}{'' if self.left_out else '; 0 left out'}"
        elif self.splits:
            classes += f" ({', '.join(f'{split} {count:,}' for split, count in self.splits.items())})"
        unused = [split for split in self.splits if split not in used]
        notes = [*self.notes, f"Splits not used: {', '.join(unused)}."] if unused else self.notes
        details = ". ".join([classes, *(note.removesuffix(".") for note in notes)])
        return account(self.folder, self.num_pictures, self.left_out, details)
