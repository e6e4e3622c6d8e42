"""Search a folder for duplicates with an index, and be killed after some pictures were added: FOLDER INDEX COUNT."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from pairsim.audits.duplicates import indexing, picture_index
from pairsim.audits.duplicates.duplicate_search import find_duplicates


def main(folder: str, index: str, count: str) -> None:
    left = int(count)
    add = picture_index.PictureIndex.add

    def counted(self: picture_index.PictureIndex, *arguments: Any) -> picture_index.Entry:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return add(self, *arguments)

    setattr(picture_index.PictureIndex, "add", counted)  # noqa: B010  mypy allows no assignment
    picture_index._COMMIT_SECONDS = -1.0 if left % 2 else 2.0  # commit each picture, or none
    picture_index._SETTLED_SECONDS = -1.0
    indexing._MIN_FOR_PROCESSES = 1 if left >= 4 else 1000  # read in processes, or in threads
    find_duplicates(folder, index=index)


if __name__ == "__main__":
    main(*sys.argv[1:])
