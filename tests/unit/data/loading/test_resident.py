from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision.transforms import v2

from pairsim.data import ImageFiles, ImageTensors, make_resident
from pairsim.data.loading import resident as resident_module
from pairsim.data.loading.resident import free_memory, memory_budget
from pairsim.errors import DataError, ImageReadError
from pairsim.images import Preprocessing

CPU = torch.device("cpu")


class Numbered(Dataset[Any]):
    """Image k is full of k."""

    def __init__(self, num: int = 600, dtype: torch.dtype = torch.uint8) -> None:
        self.num = num
        self.dtype = dtype
        self.targets = np.arange(num) % 3
        self.transform: Callable[[Any], Any] | None = None

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, index: int) -> Any:
        image = torch.full((3, 4, 5), index % 256, dtype=self.dtype)
        return (image if self.transform is None else self.transform(image)), int(self.targets[index])


@pytest.mark.parametrize("workers", [0, 2, None])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_holds_every_image_with_its_label(workers: int | None, dtype: torch.dtype) -> None:
    dataset = Numbered(dtype=dtype)
    held = make_resident(dataset, workers=workers, progress=False)
    assert held.images.shape == (600, 3, 4, 5)
    assert held.images.dtype == dtype
    assert torch.equal(held.images[:, 0, 0, 0].long(), torch.arange(600) % 256)
    assert held.targets.tolist() == dataset.targets.tolist()


def test_channels_last_is_a_layout_and_changes_no_value() -> None:
    plain, laid_out = (make_resident(Numbered(), channels_last=last, progress=False) for last in (False, True))
    assert laid_out.images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(plain.images, laid_out.images)


def test_pictures_are_read_as_the_model_reads_them() -> None:
    pictures = [(Image.fromarray(np.full((8, 8), 9 * k, np.uint8)), k) for k in range(4)]
    held = make_resident(pictures, preprocessing=Preprocessing(image_size=(4, 4), channels=1), progress=False)
    assert held.images.shape == (4, 1, 4, 4)
    assert held.images[:, 0, 0, 0].tolist() == [0, 9, 18, 27]


def test_labels_can_be_given() -> None:
    bare = [torch.zeros(1, 2, 2), torch.ones(1, 2, 2)]
    assert make_resident(bare, labels=["a", "b"], progress=False).targets.tolist() == ["a", "b"]


def test_random_transforms_are_refused_by_name() -> None:
    dataset = Numbered()
    dataset.transform = v2.Compose([v2.RandomCrop(4)])
    with pytest.raises(DataError, match=r"same image every time.*found the random transform RandomCrop. .*augment="):
        make_resident(dataset)
    dataset.transform = lambda image: image + torch.randint(0, 99, ()).to(torch.uint8)
    with pytest.raises(DataError, match="found image 0 changed when it was read twice"):
        make_resident(dataset)


def test_images_that_differ_in_kind() -> None:
    class Late(Numbered):
        def __getitem__(self, index: int) -> Any:
            image, label = super().__getitem__(index)
            return (image if index < 512 else image[:, :2]), label

    with pytest.raises(DataError, match=r"found \[3, 4, 5\] torch.uint8 at index 0 and \[3, 2, 5\] .* at index 512"):
        make_resident(Late(), progress=False)


def test_nothing_to_hold_and_files_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Expected a dataset with images, found none"):
        make_resident(Numbered(0))
    with pytest.raises(ImageReadError, match=r"absent\.png"):
        make_resident(ImageFiles([tmp_path / "absent.png"], [0], image_size=(4, 4)))


def test_budget() -> None:
    assert memory_budget(CPU, 3) == 3_000_000
    assert 0 < memory_budget(CPU) <= free_memory(CPU)


def test_free_memory_heeds_the_limit_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {
        "/proc/meminfo": "MemTotal: 9000 kB\nMemAvailable: 8000 kB\n",
        "/sys/fs/cgroup/memory.max": "5000000",
        "/sys/fs/cgroup/memory.current": "3000000",
        "/sys/fs/cgroup/memory.stat": "anon 7\ninactive_file 1000000\n",
    }

    class Files(type(tmp_path)):  # type: ignore[misc]
        def read_text(self, *_: Any, **__: Any) -> str:
            if str(self) not in content:
                raise FileNotFoundError
            return content[str(self)]

    monkeypatch.setattr(resident_module, "Path", Files)
    assert free_memory(CPU) == 3_000_000
    content["/sys/fs/cgroup/memory.max"] = "max"
    assert free_memory(CPU) == 8_192_000
    content.clear()
    assert free_memory(CPU) > 0


def test_a_tensor_dataset_in_memory_passes() -> None:
    images = ImageTensors(torch.arange(8, dtype=torch.uint8).view(2, 1, 2, 2), [0, 1])
    assert torch.equal(make_resident(images, progress=False).images, images.images)


@pytest.mark.gpu
def test_images_on_a_gpu_are_those_given() -> None:
    images = torch.randint(0, 256, (600, 1, 4, 4), dtype=torch.uint8)
    held = make_resident(ImageTensors(images, range(600)), device="cuda")
    assert torch.equal(held.images.cpu(), images)
    assert torch.equal(make_resident(held, device="cuda").images.cpu(), images)
