"""`pairsim doctor`."""

from __future__ import annotations

import importlib.util
import os
import platform
from typing import Annotated, Any

import torch
from cyclopts import Parameter

from pairsim.cli.output import print_result
from pairsim.data.named import data_root
from pairsim.training.devices import resolve_device, resolve_precision
from pairsim.training.environment import describe_environment

_OPTIONAL = {
    "sklearn": ("digits", "the dataset digits and pairsim demo"),
    "matplotlib": ("viz", "figures and pairsim demo"),
    "pandas": ("table", "PairDataset.to_dataframe"),
}


def doctor(*, json: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Show versions, devices and what is installed, and say what would fail and how to mend it.

    Args:
        json: Print one JSON object.
    """
    device = resolve_device("auto")
    precision = resolve_precision("auto", device)
    environment = describe_environment(device)
    root = data_root()
    datasets = {
        name: any((place / folder / "raw").is_dir() for place in (root, root / name))
        for name, folder in (("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST"))
    }
    problems = [
        f"{package} is missing, so {purpose} would fail. Mend: pip install 'pairsim[{extra}]'"
        for package, (extra, purpose) in _OPTIONAL.items()
        if importlib.util.find_spec(package) is None
    ]
    problems += _torchvision_problems()
    problems += [
        f"{name} is not in {root}, so the first use downloads it. Without a network set PAIRSIM_DATA to its folder."
        for name, found in datasets.items()
        if not found
    ]
    result: dict[str, Any] = {
        **environment,
        "platform": platform.platform(terse=True),
        "num_cpus": os.cpu_count(),
        "cuda_devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "precision_auto": precision.name,
        "data_dir": str(root),
        "datasets": {"digits": importlib.util.find_spec("sklearn") is not None, **datasets},
        "extras": {package: importlib.util.find_spec(package) is not None for package in _OPTIONAL},
        "problems": problems,
    }
    print_result(result, _describe(result), as_json=json)


def _torchvision_problems() -> list[str]:
    """Check torchvision: it is compiled for one version of torch; another one fails only when it is used."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError) as error:
        return [f"torchvision does not fit torch {torch.__version__} ({error}). Mend: pip install -U torch torchvision"]
    return []


def _describe(result: dict[str, Any]) -> str:
    versions = "  ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines = [
        f"{versions}  Python {result['python']}  {result['system']}",
        f"device auto: {result['device']} ({result['device_name']}, {result['cpu_capability']}), "
        f"{result['num_threads']} threads of {result['num_cpus']} cores; precision auto: {result['precision_auto']}",
        f"CUDA devices: {', '.join(result['cuda_devices']) or 'none'}",
        f"data in {result['data_dir']}: "
        + ", ".join(f"{name} {'found' if found else 'not there'}" for name, found in result["datasets"].items()),
        "optional packages: "
        + ", ".join(f"{name} {'installed' if found else 'missing'}" for name, found in result["extras"].items()),
    ]
    lines += [f"! {problem}" for problem in result["problems"]] or ["Nothing would fail."]
    return "\n".join(lines)
