from __future__ import annotations

from pathlib import Path

from PIL import Image
from run_command import environment, here, pairsim


def test_demo_leaves_model_metrics_and_pictures(tmp_path: Path) -> None:
    env = environment(PYTHONPROFILEIMPORTTIME="1")  # lists the imports on stderr
    done = pairsim("demo", "--out", "d", "--epochs", "2", cwd=tmp_path, env=env)
    assert done.status == 0, done.err
    imported = {line.rpartition("|")[2].strip() for line in done.err.splitlines() if line.startswith("import time:")}
    assert "torch" in imported
    assert "sklearn" not in imported  # it takes seconds, and the demo only reads its file
    for name in ("best_model.pt", "model/model.safetensors", "metrics.json", "pairs.png", "ranking.png"):
        assert (tmp_path / "d" / name).stat().st_size > 0
    assert "Try next:" in done.out
    assert "it shares 10 classes with these data" in done.out
    page = (tmp_path / "d" / "report.html").read_text()
    assert "The training data has all of these classes." in page
    assert "it shares 10 classes with these data" in page
    assert "pairsim evaluate d digits\n" in page
    with Image.open(tmp_path / "d" / "pairs.png") as picture:
        assert picture.width > 300
    again = here("demo", "--out", "d", "--epochs", "2", "--json", cwd=tmp_path)
    assert again.status == 0, again.err
    assert again.json["metrics"]["balanced_accuracy"] > 0.9
