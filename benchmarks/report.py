"""Results with all that they depend on: hardware, versions, threads, seeds, date, revision. Nothing names a host."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import pairsim
from benchmarks.options import Options
from benchmarks.timing import Row

_PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scikit-learn",
    "pytorch-metric-learning",
    "faiss-cpu",
    "onnx",
    "onnxruntime",
    "imagehash",
    "imagededup",
)
_FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "bf16", "sve")


@dataclass(frozen=True)
class Table:
    """A table of results.

    Attributes:
        title: What was measured.
        rows: One for each arm; a column that some rows lack stays empty in them.
        notes: What a reader needs to judge the figures by.
    """

    title: str
    rows: Sequence[Row]
    notes: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """The table as JSON values."""
        return {"title": self.title, "rows": list(self.rows), "notes": list(self.notes)}


def describe(options: Options) -> dict[str, Any]:
    """What results depend on besides the code of the benchmark, as JSON values."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "revision": _revision(),
        "options": options.to_dict(),
        "seeds": {"seed": options.seed},
        "hardware": _hardware(options.device),
        "busy_cores_before": _busy_cores(),
        "threads": {"torch": torch.get_num_threads(), "torch_interop": torch.get_num_interop_threads()},
        "versions": {
            "pairsim": pairsim.__version__,
            "python": platform.python_version(),
            **{name: _version(name) for name in _PACKAGES},
        },
    }


def to_json(environment: Mapping[str, Any], results: Mapping[str, Sequence[Table]]) -> str:
    """The whole report; the tables of each benchmark are under `benchmarks`."""
    tables = {name: [table.to_dict() for table in found] for name, found in results.items()}
    return json.dumps({**environment, "benchmarks": tables}, indent=2, allow_nan=False) + "\n"


def write_json(path: Path, environment: Mapping[str, Any], results: Mapping[str, Sequence[Table]]) -> None:
    """Write the report to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_json(environment, results), encoding="utf-8")


def to_markdown(table: Table) -> str:
    """A table to read."""
    if not table.rows:
        return "\n".join([f"### {table.title}", "", *(f"- {note}" for note in table.notes)]) + "\n"
    columns = list(dict.fromkeys(name for row in table.rows for name in row))
    lines = [f"### {table.title}", ""]
    lines.append("| " + " | ".join(column.replace("_", " ") for column in columns) + " |")
    lines.append("|" + "|".join("---:" if _numeric(table.rows, column) else "---" for column in columns) + "|")
    lines += ["| " + " | ".join(_text(row.get(column)) for column in columns) + " |" for row in table.rows]
    if table.notes:
        lines += ["", *(f"- {note}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def means(rows: Sequence[Row], figures: Sequence[str]) -> list[Row]:
    """Mean, lowest and highest of figures of each arm over seeds or splits; of seconds, if there are any, the mean."""
    found: list[Row] = []
    for arm in dict.fromkeys(row["arm"] for row in rows):
        of_it = [row for row in rows if row["arm"] == arm]
        row: Row = {"arm": arm, "splits" if "split" in of_it[0] else "seeds": len(of_it)}
        for column in figures:
            values = [float(entry[column]) for entry in of_it]
            row |= {column: statistics.mean(values), f"{column}_low": min(values), f"{column}_high": max(values)}
        if "seconds" in of_it[0]:
            row["seconds"] = statistics.mean(float(entry["seconds"]) for entry in of_it)
        found.append(row)
    return found


def measured_on(report: Mapping[str, Any]) -> str:
    """Return the date, processors, number of cores and threads, and PyTorch version of a report as sentences."""
    hardware, versions = report["hardware"], report["versions"]
    threads = report.get("threads", {}).get("torch")
    used = "" if threads is None else f", {threads} thread{'s' if threads != 1 else ''}"
    others = "".join(f" {part}." for part in other_machines(report))
    return (
        f"{report['date'][:10]}, {hardware['cpu']}, {hardware['cores']} cores{used}, torch {versions['torch']}.{others}"
    )


def other_machines(report: Mapping[str, Any]) -> list[str]:
    """Return what of a report was measured on another processor, and on which, from its key `also_measured_on`."""
    return [f"{part['what']}: {part['cpu']}" for part in report.get("also_measured_on", ())]


def aligned_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table and an empty line. The first column is aligned left, the others right."""
    aligned = ["---", *["---:"] * (len(head) - 1)]
    return [*(f"| {' | '.join(cells)} |" for cells in (head, aligned, *rows)), ""]


def environment_lines(environment: Mapping[str, Any]) -> str:
    """The environment in a few lines to read."""
    hardware, versions = environment["hardware"], environment["versions"]
    threads = environment["threads"]["torch"]
    lines = [
        f"{hardware['cpu']}, {hardware['cores']} cores, {threads} threads, {', '.join(hardware['cpu_flags'])}",
        f"GPU: {hardware['gpu']}" if hardware["gpu"] else "",
        ", ".join(f"{name} {version}" for name, version in versions.items() if version is not None),
        f"seed {environment['seeds']['seed']}, {environment['date']}, revision {environment['revision'] or 'unknown'}",
    ]
    busy = environment.get("busy_cores_before")
    if busy is not None and busy > 0.3:
        lines.append(f"Other work is running (it kept {busy:g} cores busy just before): do not quote these figures.")
    return "\n".join(line for line in lines if line) + "\n"


def _numeric(rows: Sequence[Row], column: str) -> bool:
    return any(isinstance(row.get(column), int | float) for row in rows)


def _text(value: Any) -> str:
    """A value in four significant digits; thousands in whole numbers."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _revision() -> str | None:
    """The git revision of this checkout, marked where files differ from it; `None` without one."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        revision = git("rev-parse", "--short=12", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{revision} with changes" if changed else revision


def _busy_cores(seconds: float = 1.0) -> float | None:
    """Cores that other work keeps busy while this process sleeps: threads that share cores slow down unevenly.

    Not the load average, which remembers for minutes what has ended, such as the benchmark before this one.
    """

    def busy_and_all() -> tuple[int, int]:
        # user nice system idle iowait irq softirq steal, in ticks; steal is other guests of the same machine
        ticks = [int(field) for field in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
        return sum(ticks) - ticks[3] - ticks[4], sum(ticks)

    try:
        busy_before, all_before = busy_and_all()
        time.sleep(seconds)
        busy, every = busy_and_all()
    except (OSError, ValueError, IndexError):
        return None
    return round((os.cpu_count() or 1) * (busy - busy_before) / max(1, every - all_before), 2)


def _hardware(device: str) -> dict[str, Any]:
    facts = _cpu_facts()
    flags = set(facts.get("flags", facts.get("Features", "")).split())
    gpu = None
    if torch.device(device).type == "cuda":
        properties = torch.cuda.get_device_properties(0)
        gpu = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    return {
        "cpu": facts.get("model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu_flags": [flag for flag in _FLAGS if flag in flags],
        "torch_cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}",
        "gpu": gpu,
    }


def _cpu_facts() -> dict[str, str]:
    """The first processor's entries in /proc/cpuinfo, where there is one."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
