from __future__ import annotations

from pathlib import Path

import pytest
from picture_files import write_pictures
from run_command import here
from small_models import small_model


@pytest.fixture(scope="module")
def shop_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models, and pictures of 15 enrolled and 12 unknown things, of each three."""
    folder = tmp_path_factory.mktemp("galleries")
    small_model(12, threshold=0.9).save_pretrained(folder / "run")
    small_model(12, threshold=0.9, dim=5, seed=5).save_pretrained(folder / "other")
    for name, count in (("enrolled", 15), ("unknown", 12)):
        write_pictures(
            folder / name,
            [f"{name[0]}{kind:02}/{number}.png" for kind in range(count) for number in range(3)],
            (12, 12),
        )
    write_pictures(folder / "single", ["one.png", "two.png"], (12, 12))
    return folder


@pytest.fixture
def shop(shop_place: Path, tmp_path: Path) -> Path:
    done = here("gallery", "add", tmp_path / "shop", "enrolled", "--run", "run", "--json", cwd=shop_place)
    assert done.status == 0, done.err
    assert done.json == {
        "num_added": 45, "num_replaced": 0, "num_failed_to_enrol": 0, "quality": [],
        "num_images": 45, "num_identities": 15,
    }  # fmt: skip
    return tmp_path / "shop"
