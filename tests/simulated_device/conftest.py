"""Builds the SIMULATED accelerator once, and keeps it in `.pytest_cache`."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE, ROOT = Path(__file__).parent, Path(__file__).resolve().parents[2]
BUILD = """import sys
from torch.utils.cpp_extension import load
load("simulated_kernels", [sys.argv[1]], build_directory=".", is_python_module=False, extra_cflags=["-O0"])
"""


@pytest.fixture(scope="session")
def simulated_device() -> Path:
    """A folder that, on PYTHONPATH, gives torch the device `simulated`."""
    import torch

    if not shutil.which("c++") or not shutil.which("ninja"):
        pytest.skip("the simulated device is built with c++ and ninja, and this machine lacks one of them")
    state = hashlib.sha256((HERE / "device.cpp").read_bytes() + torch.__version__.encode() + sys.version.encode())
    folder = ROOT / f".pytest_cache/simulated-device-{state.hexdigest()[:16]}"
    if not (folder / "simulated_kernels.so").is_file():
        partial = folder.with_name(f"{folder.name}.{os.getpid()}")
        partial.mkdir(parents=True)
        command = [sys.executable, "-c", BUILD, str(HERE / "device.cpp")]
        done = subprocess.run(command, cwd=partial, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        about = partial / "simulated_device-0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: simulated-device\nVersion: 0\n", encoding="utf-8")
        (about / "entry_points.txt").write_text(
            "[torch.backends]\nsimulated = simulated_device:load\n", encoding="utf-8"
        )
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    shutil.copy2(HERE / "simulated_device.py", folder)
    return folder
