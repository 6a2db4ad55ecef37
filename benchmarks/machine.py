"""On what a figure was measured: versions and machine, for every benchmark's JSON line."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "polars", "torch", "transformers", "trl", "prefect", "mlflow", "dvc")


def described() -> dict[str, Any]:
    """{versions: {package: version}, machine: in words}."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {"versions": versions, "machine": machine()}


def machine() -> str:
    """Processor, cores, threads a library takes, memory, system."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    return f"{model}, {os.cpu_count()} cores (threads: {threads}), {memory:.0f} GiB, {platform.system()}"
