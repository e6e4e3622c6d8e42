from __future__ import annotations

import pytest
import torch

from pairsim._common import precision
from pairsim._common.precision import Precision, inference_dtype, resolve_precision
from pairsim.errors import DeviceError

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))


@pytest.mark.parametrize(
    ("device", "bf16", "dtype", "name"),
    [
        (CPU, True, torch.bfloat16, "bf16"),
        (CPU, False, None, "fp32"),
        (CUDA, True, torch.bfloat16, "bf16"),
        (CUDA, False, torch.float16, "fp16"),
        (MPS, True, None, "fp32"),
    ],
)
def test_auto(
    device: torch.device, bf16: bool, dtype: torch.dtype | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "cpu_computes_bf16", lambda: bf16)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16)
    assert inference_dtype("auto", device) is dtype
    assert resolve_precision("auto", device) == Precision(name, device.type)  # type: ignore[arg-type]


def test_named_formats() -> None:
    assert resolve_precision("fp32", CUDA) == Precision("fp32", "cuda")
    assert resolve_precision("fp16", CPU) == Precision("fp16", "cpu")
    assert resolve_precision("bf16", CPU) == Precision("bf16", "cpu")
    with pytest.raises(ValueError, match="Expected precision to be one of auto, fp32, bf16, fp16, got 'fp8'"):
        resolve_precision("fp8", CPU)  # type: ignore[arg-type]


def test_a_gpu_without_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: False)
    with pytest.raises(DeviceError, match="Use precision fp16 or auto"):
        resolve_precision("bf16", CUDA)


def test_autocast() -> None:
    weight, images = torch.ones(2, 2), torch.ones(1, 2)
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with resolve_precision(name, CPU).autocast():  # type: ignore[arg-type]
            assert (images @ weight).dtype == dtype


def test_only_fp16_scales_gradients() -> None:
    names = ("fp32", "bf16", "fp16")
    assert [Precision(name, "cpu").scales_gradients for name in names] == [False, False, True]  # type: ignore[arg-type]
