from __future__ import annotations

import base64
import io
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from figure_parts import MNIST, random_images
from PIL import Image

from pairsim.data import ImageTensors, PairDataset
from pairsim.errors import DataError, MissingExtraError
from pairsim.visual import pair_table


def dataset(count: int = 4) -> ImageTensors:
    return ImageTensors(random_images(count), [k % 2 for k in range(count)])


def thumbnails(text: str) -> list[Any]:
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(png)))) for png in found]


def test_every_pair_has_its_own_pixels_numbers_and_classes() -> None:
    images = dataset()
    pairs = PairDataset(images, num_pairs=30, seed=3)
    table = pair_table(pairs, count=6)
    drawn = pairs.all_pairs()
    shown = thumbnails(table.to_html())
    assert len(shown) == 12
    for row in range(6):
        assert np.array_equal(shown[2 * row], images.images[drawn.first[row], 0].numpy())
        assert np.array_equal(shown[2 * row + 1], images.images[drawn.second[row], 0].numpy())
    assert table.data["first number"].tolist() == drawn.first[:6].tolist()
    assert table.data["second class"].tolist() == [str(k % 2) for k in drawn.second[:6]]
    assert table.data["target"].tolist() == [("different (0)", "same (1)")[k] for k in drawn.target[:6]]
    assert "The first 6 of 30 pairs" in table.to_html()


def test_the_same_pairs_give_the_same_text() -> None:
    pairs = PairDataset(dataset(), num_pairs=5)
    assert pair_table(pairs).to_html() == pair_table(pairs).to_html()


def test_names_stay_text() -> None:
    text = pair_table((dataset(), [0], [1], [0]), names=["<script>alert(1)</script>", '"&<b>']).to_html()
    assert "<script" not in text
    assert "<b>" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_right_and_wrong_are_told_at_the_threshold_itself() -> None:
    table = pair_table(
        (dataset(), [0, 0, 1, 1], [2, 1, 3, 2], [1, 0, 1, 0]),
        similarity=[0.5, 0.5, 0.4, -0.25],
        probability=torch.tensor([0.75, 0.5, 0.25, 0.0]),
        threshold=0.5,
    )
    assert table.data["judged"].tolist() == ["✓ correct", "✗ wrong", "✗ wrong", "✓ correct"]
    text = table.to_html()
    assert "−0.250" in text
    assert "0.750" in text
    assert "match at similarity ≥ 0.500" in text


def test_scores_may_belong_to_all_pairs() -> None:
    pairs = PairDataset(dataset(), num_pairs=20)
    scores = np.linspace(-1, 1, 20)
    assert pair_table(pairs, count=3, similarity=scores).data["similarity"].tolist() == scores[:3].tolist()


def test_preprocessed_images_do_not_wrap() -> None:
    pixels = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 12, 12).contiguous()
    table = pair_table((ImageTensors(MNIST(pixels) * 1.5, [0, 1]), [0], [1], [0]), preprocessing=MNIST)
    dark, light = thumbnails(table.to_html())
    assert dark.max() == 0
    assert light.min() == 255


def test_images_of_unequal_size_and_in_colour_keep_their_shape(tmp_path: Path) -> None:
    for name, size in (("a.png", (40, 20)), ("b.png", (10, 30)), ("c.png", (400, 300))):
        Image.new("RGB", size, (200, 10, 30)).save(tmp_path / name)
    (tmp_path / "pairs.csv").write_text("a.png,b.png,1\na.png,c.png,0\n")
    table = pair_table(PairDataset.from_csv(tmp_path / "pairs.csv"))
    assert [image.shape for image in thumbnails(table.to_html())] == [
        (20, 40, 3), (30, 10, 3), (20, 40, 3), (96, 128, 3)
    ]  # fmt: skip
    assert table.data["second file"].tolist() == ["b.png", "c.png"]
    assert 'width="64" height="32"' in table.data["first"][0]


def test_a_dataset_without_labels_has_no_classes() -> None:
    assert list(pair_table(([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)], [0], [1], [0])).data) == [
        "first", "second", "first number", "second number", "target"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "Expected count to be a whole number of at least 1, got 0. Use 10, say."),
        ({"threshold": 0.5}, "Expected similarity along with threshold, got none."),
        ({"similarity": [0.1, 0.2, 0.3]}, r"Expected similarity to have shape \[2\], one for each pair, got \[3\]"),
        ({"similarity": [0.1, 3.0]}, r"Expected similarity in \[-1, 1\], found 0.1 to 3"),
        ({"probability": [0.1, 3.0]}, r"Expected probability in \[0, 1\], found 0.1 to 3"),
        ({"similarity": [0.1, 0.2], "threshold": float("nan")}, "Expected threshold to be finite, got nan"),
    ],
)
def test_what_does_not_fit_is_said(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pair_table((dataset(), [0, 0], [1, 2], [0, 1]), **options)


def test_what_is_no_pairs_is_said() -> None:
    with pytest.raises(TypeError, match=r"Expected pairs as a PairDataset or .*, got tuple of 2. Use PairDataset"):
        pair_table((dataset(), [0]))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="Expected second to hold image numbers from 0 to 3"):
        pair_table((dataset(), [0], [9], [0]))


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"(?s)pandas.*pairsim\[table\]"):
        pair_table((dataset(), [0], [1], [0]))
