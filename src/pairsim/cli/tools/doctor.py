"""`pairsim doctor`."""

from __future__ import annotations

import os
import platform
from importlib.util import find_spec
from typing import Any

from pairsim.cli.arguments import Json
from pairsim.cli.output import print_result
from pairsim.errors import RunError

_OPTIONAL = {
    "sklearn": ("scikit-learn", "digits", "the dataset digits and pairsim demo"),
    "matplotlib": ("matplotlib", "viz", "figures and pairsim demo"),
    "pandas": ("pandas", "table", "PairDataset.to_dataframe and other tables"),
    "timm": ("timm", "timm", "backbones of timm"),
    "pillow_heif": ("pillow-heif", "heif", "pictures in HEIC, as of many phones"),
    "faiss": ("faiss-cpu", "faiss", "galleries that are searched through FAISS"),
    "onnx": ("onnx", "onnx", "pairsim export to ONNX"),
    "onnxruntime": ("onnxruntime", "onnx", "running ONNX files, also as backbones"),
    "onnxscript": ("onnxscript", "onnx", "pairsim export to ONNX"),
    "pyarrow": ("pyarrow", "parquet", "embeddings in Parquet files"),
    "huggingface_hub": ("huggingface_hub", "hub", "sharing models on the Hugging Face Hub"),
    "gradio": ("gradio", "app", "the app in the browser"),
    "fastapi": ("fastapi", "serve", "pairsim serve"),
    "uvicorn": ("uvicorn", "serve", "pairsim serve"),
    "python_multipart": ("python-multipart", "serve", "pairsim serve"),
    "prometheus_client": ("prometheus-client", "serve", "pairsim serve"),
}
"""By module: the package, the extra that brings it, and what it is for."""


def doctor(*, json: Json = False) -> None:
    """Show versions, devices, pretrained weights and installed packages, and what would fail and how to fix it."""
    import torch

    from pairsim._common.devices import resolve_device
    from pairsim._common.environment import describe_environment
    from pairsim._common.precision import resolve_precision
    from pairsim._common.storage import is_folder
    from pairsim.data.named import data_root
    from pairsim.models.backbones.weight_files import check_sha256, weight_folders, weights_on_disk

    device = resolve_device("auto")
    root = data_root()
    datasets, others = {"mnist": False, "fashion-mnist": False}, []
    for name, folder in (("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")):
        problem = f"{name} is not in {root}, so the first use downloads it"
        try:
            raw = [base / folder / "raw" for base in (root, root / name)]
            datasets[name] = any(is_folder(one) and any(one.glob("train-images-idx3-ubyte*")) for one in raw)
        except RunError as error:  # permission denied
            problem = str(error).rstrip(".")
        if not datasets[name]:
            others.append(f"{problem}. Without a network set PAIRSIM_DATA to its folder.")
    folders, weights = weight_folders(root), dict[str, str]()
    installed = {module: find_spec(module) is not None for module in _OPTIONAL}
    width = max(len(package) for package, _, _ in _OPTIONAL.values())
    optional, packages, missing = [], [], []
    for found, (package, extra, purpose) in zip(installed.values(), _OPTIONAL.values(), strict=True):
        fix = f"pip install 'pairsim[{extra}]'"
        optional.append({"package": package, "extra": extra, "purpose": purpose, "installed": found})
        packages.append(f"  {'installed' if found else 'missing  '}  {package:<{width}}  {purpose}")
        if not found:
            packages[-1] += f": {fix}"
            missing.append(f"{package} is missing, so {purpose} would fail. Fix: {fix}")
    try:
        import torchvision  # noqa: F401  fails here if it is compiled for another version of torch
    except (ImportError, RuntimeError) as error:
        text = f"torchvision does not fit torch {torch.__version__} ({error}). Fix: pip install -U torch torchvision"
        others.insert(0, text)
    else:
        for name, file in weights_on_disk(folders).items():
            try:
                check_sha256(file)
                weights[name] = str(file)
            except RunError as error:
                others.append(str(error))
    result: dict[str, Any] = {
        **describe_environment(device),
        "platform": platform.platform(terse=True),
        "num_cpus": os.cpu_count(),
        "cuda_devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "precision_auto": resolve_precision("auto", device).name,
        "data_dir": str(root),
        "datasets": {"digits": installed["sklearn"], **datasets},
        "weights": weights,
        "weight_folders": [str(folder) for folder in folders],
        "extras": installed,
        "optional_packages": optional,
        "problems": missing + others,
    }
    versions = "  ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines = [
        f"{versions}  Python {result['python']}  {result['system']}",
        f"device auto: {result['device']} ({result['device_name']}, {result['cpu_capability']}), "
        f"{result['num_threads']} threads of {result['num_cpus']} cores; precision auto: {result['precision_auto']}",
        f"CUDA devices: {', '.join(result['cuda_devices']) or 'none'}",
        f"data in {root}: "
        + ", ".join(f"{name} {'found' if found else 'not there'}" for name, found in result["datasets"].items()),
        *(f"pretrained weights of {name}: {file}" for name, file in weights.items()),
        *(() if weights else (f"pretrained weights: none in {', '.join(map(str, folders))}",)),
        "optional packages:",
        *packages,
        *(f"! {problem}" for problem in others),
    ]
    if not result["problems"]:
        lines.append("Nothing would fail.")
    print_result(result, "\n".join(lines), json)
