from __future__ import annotations

import json
from pathlib import Path

from run_command import failure, here


def test_identify_with_another_threshold(shop_place: Path, shop: Path) -> None:
    done = here("identify", "run", shop, "single/one.png", "--threshold", "-1", "--json", cwd=shop_place)
    (result,) = done.json["results"]
    assert (result["id"], result["fpir"], done.json["threshold"]) == (result["nearest"], None, -1.0)
    done = here("identify", "run", shop, "single/one.png", "--target-fpir", "0.2", "--json", cwd=shop_place)
    assert done.json["fpir"] <= 0.2
    lines = done.err.splitlines()
    assert lines[-2].startswith("threshold ")
    assert lines[-1].startswith("FNIR ")
    assert "\\n" not in done.err
    stored = json.loads((shop / "gallery.json").read_text())
    assert "calibration" not in stored  # for this call only
    said = failure(
        here("identify", "run", shop, "a.png", "--target-fpir", "0.2", "--threshold", "0", cwd=shop_place), 2
    )
    assert "--target-fpir or --threshold, got both" in said


def test_identify_leaves_out_what_cannot_be_read(shop_place: Path, shop: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no picture")
    queries = ["single/one.png", str(tmp_path / "bad.png")]
    assert "bad.png" in failure(here("identify", "run", shop, *queries, "--threshold", "0.5", cwd=shop_place), 1)
    arguments: tuple[str | Path, ...] = ("identify", "run", shop, *queries, "--threshold", "0.5", "--on-error", "skip")
    done = here(*arguments, "--json", cwd=shop_place)
    assert ([result["query"] for result in done.json["results"]], done.json["num_skipped"]) == (["single/one.png"], 1)
    assert here(*arguments, cwd=shop_place).out.rstrip().endswith("; 1 skipped")
