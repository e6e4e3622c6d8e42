from __future__ import annotations

import importlib.metadata
import json
import platform

import pytest
import torch

from pairsim._common.environment import describe_environment


def test_environment_of_one_process() -> None:
    found = describe_environment(torch.device("cpu"))
    assert json.loads(json.dumps(found)) == found
    assert list(found["versions"]) == ["pairsim", "torch", "torchvision", "numpy"]
    assert found["versions"]["torch"] == importlib.metadata.version("torch")
    assert found["python"] == platform.python_version()
    assert (found["device"], found["device_name"]) == ("cpu", platform.machine())
    assert found["num_threads"] == torch.get_num_threads()
    assert "num_processes" not in found


def test_of_several_processes_the_index_of_the_device_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    device = torch.device("cuda", 1)
    assert describe_environment(device)["device"] == "cuda:1"
    found = describe_environment(device, num_processes=2)
    assert (found["device"], found["device_name"], found["num_processes"]) == ("cuda", "GPU 1", 2)


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version

    def without_torchvision(package: str) -> str:
        if package == "torchvision":
            raise importlib.metadata.PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(importlib.metadata, "version", without_torchvision)
    assert describe_environment(torch.device("cpu"))["versions"]["torchvision"] == "not installed"
