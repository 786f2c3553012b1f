"""kernels_<driver>.c, compiled with the kernels and run: every kernel of every ISA against scalar code."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import cyconv as nn

ROOT = Path(__file__).parent.parent
SANITIZED = "libasan" in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("driver", ["gemm", "depthwise", "winograd", "pixels"])
def test_every_kernel_of_every_isa(driver, tmp_path):
    gcc = os.environ.get("CC", "gcc")
    if not shutil.which(gcc) or not (ROOT / "src").is_dir():
        pytest.skip("needs gcc and the sources")
    flags = ["-std=gnu17", "-fwrapv", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi"]
    flags += (
        ["-O1", "-g1", "-DSANITIZED", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
        if SANITIZED
        else ["-O3"]
    )
    folders = ["-I", ROOT / "src/common", "-I", ROOT / "src" / driver]
    sources = [ROOT / f"tests/kernels_{driver}.c", *sorted((ROOT / "src" / driver).glob("*.c"))]
    clean = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    subprocess.run([gcc, *flags, *folders, *sources, "-lm", "-o", tmp_path / "kernels"], check=True, env=clean)
    run = subprocess.run([tmp_path / "kernels"], capture_output=True, text=True, check=False, env=clean)
    assert run.returncode == 0, run.stdout + run.stderr
    assert {line.split()[-1] for line in run.stdout.splitlines()[:-1]} == set(nn.available_isas())
