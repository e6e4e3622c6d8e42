from __future__ import annotations

import pytest
import torch

from pairsim.models.collecting import collect

PARTS = [torch.arange(6.0).view(2, 3), torch.ones(1, 3), torch.zeros(3, 3)]


@pytest.mark.parametrize("num_rows", [6, None])
def test_parts_in_order(num_rows: int | None) -> None:
    found = collect(iter(PARTS), num_rows)
    assert found is not None
    assert torch.equal(found, torch.cat(PARTS))


@pytest.mark.parametrize("num_rows", [5, 7])
def test_wrong_number(num_rows: int) -> None:
    with pytest.raises(ValueError, match=f"Expected {num_rows} images in all batches, got 6"):
        collect(iter(PARTS), num_rows)


def test_nothing() -> None:
    assert collect(iter([]), None) is None
    assert collect(iter([]), 0) is None


def test_result_can_be_trained_on() -> None:
    weight = torch.ones(3, requires_grad=True)
    for num_rows in (6, None):
        found = collect((part * weight for part in PARTS), num_rows)
        assert found is not None
        assert not found.requires_grad
        assert not found.is_inference()
        (found * weight).sum().backward()


def test_progress_goes_to_stderr_and_only_where_it_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    collect(iter(PARTS), 6)
    collect(iter(PARTS), 6, progress=False)
    assert capsys.readouterr() == ("", "")
    collect(iter(PARTS), 6, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "embedding" in err
    assert " images" in err
