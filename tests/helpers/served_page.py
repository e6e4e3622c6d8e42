"""Close a page of Gradio, and collect what it leaves open, before another test is blamed for it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def closed_after(app: Any) -> Iterator[Any]:
    """Give the page. Gradio makes event loops for its locks and never closes them: their warnings come at the end."""
    yield app
    app.close(verbose=False)
    asyncio.set_event_loop(None)
    gc.collect()
