"""What was built: the instructions that should be in it, OpenMP in use, nothing in the archives that should not be."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest

import cyconv as nn

PACKAGE = Path(nn.__file__).parent
MODULES = sorted(PACKAGE.glob("*.so"))
SANITIZED = "libasan" in Path("/proc/self/maps").read_text()


def binutils(*command):
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} (binutils) is not installed")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def module_ids(path):
    return path.name.partition(".")[0]


# ---- the compiled modules ------------------------------------------------------------------------------------------


def test_there_are_compiled_modules():
    assert MODULES


@pytest.mark.parametrize("module", MODULES, ids=module_ids)
def test_hardening(module):
    dynamic = binutils("readelf", "--dynamic", "--wide", module)
    assert "RPATH" not in dynamic or "$ORIGIN/../cyconv.libs" in dynamic  # auditwheel's own
    assert "RUNPATH" not in dynamic
    assert "TEXTREL" not in dynamic
    assert "NOW" in dynamic
    segments = binutils("readelf", "--program-headers", "--wide", module)
    (stack,) = re.findall(r"GNU_STACK.* (R..) ", segments)
    assert stack == "RW "
    assert "GNU_RELRO" in segments


@pytest.mark.parametrize("module", MODULES, ids=module_ids)
def test_module_has_a_stub(module):
    assert (PACKAGE / f"{module_ids(module)}.pyi").exists()


def instructions(module):
    """{name of a function: the mnemonics and operands in it}, as the disassembler sees them."""
    functions, name = {}, ""
    for line in binutils("objdump", "--disassemble", "--no-show-raw-insn", "--wide", module).splitlines():
        if heading := re.fullmatch(r"[0-9a-f]+ <(.+)>:", line):
            name = heading[1]
            functions[name] = []
        elif name and "\t" in line:
            functions[name].append(line.split("\t", 1)[1])
    return functions


@pytest.mark.skipif(SANITIZED, reason="a sanitized build is not an ordinary one")
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="these are x86-64's instructions")
@pytest.mark.parametrize("module", MODULES, ids=module_ids)
def test_kernels_use_their_instruction_sets_and_no_others(module):
    functions = instructions(module)

    def code(isa):
        # gcc splits functions: gemm_f32_avx2.part.0 and the like belong to the one they were cut from
        return [i for name, body in functions.items() if re.search(rf"_{isa}(\.|$)", name) for i in body]

    fused = re.compile(r"vfn?m(add|sub)\d+[ps][sd]\b")
    assert sum(bool(fused.match(i)) and "%ymm" in i for i in code("avx2")) > 10
    assert sum(bool(fused.match(i)) and "%zmm" in i for i in code("avx512")) > 10
    assert not [i for i in code("avx2") if "%zmm" in i or "%k1" in i]
    # whatever is not named after an ISA must run on every x86-64
    named = re.compile(r"_(avx2|avx512)(\.|$)")
    others = [(name, i) for name, body in functions.items() if not named.search(name) for i in body]
    assert not [(name, i) for name, i in others if re.search(r"%[yz]mm|^v[a-z]", i)][:5]


# ---- OpenMP --------------------------------------------------------------------------------------------------------

TWO_THREADS = """
import os, resource, time
import numpy as np
import cyconv as nn
x = np.ones((4, 128, 128, 64), np.float32)
f = np.ones((3, 3, 64, 64), np.float32)
tasks = lambda: set(os.listdir("/proc/self/task"))
nn.conv2d(x[:1, :8, :8], f, 1, "SAME", num_threads=1)
alone = tasks()
nn.conv2d(x, f, 1, "SAME", num_threads=2)
(worker,) = tasks() - alone
ticks = lambda task: sum(map(int, open(f"/proc/self/task/{task}/stat").read().rpartition(")")[2].split()[11:13]))
start = ticks(worker)
for _ in range(20):
    nn.conv2d(x, f, 1, "SAME", num_threads=2)
print(ticks(worker) - start)
"""


def test_openmp_is_in_use():
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    run = subprocess.run([sys.executable, "-c", TWO_THREADS], env=clean, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 0, "the second thread has spent time on the work"


# ---- the archives --------------------------------------------------------------------------------------------------

DIST = Path(os.environ.get("CYCONV_DIST", "nowhere"))
dist = pytest.mark.skipif(not DIST.is_dir(), reason="CYCONV_DIST names no folder with an sdist and a wheel")
ROOT = Path(__file__).parent.parent


@dist
def test_sdist_holds_the_sources_and_nothing_built():
    (archive,) = DIST.glob("cyconv-*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    for folder in ("cyconv", "src", "tests", "docs", "benchmarks", "examples"):
        wanted = {str(p.relative_to(ROOT)) for p in (ROOT / folder).rglob("*") if p.is_file()}
        built = {n for n in wanted if "__pycache__" in n or n.endswith(".so") or "/.asv/" in n}
        assert wanted - built <= names
    assert {"README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml", "setup.py", ".ci/run"} <= names
    pyx = {Path(n).stem for n in names if n.endswith(".pyx")}
    unwanted = [n for n in names if n.startswith("build/") or n.endswith((".so", ".pyc", ".o"))]
    unwanted += [n for n in names if n.endswith(".c") and Path(n).stem in pyx]
    assert not unwanted
    assert archive.stat().st_size < 5_000_000


@dist
def test_wheel_holds_the_package_and_no_sources_of_the_kernels():
    (archive,) = DIST.glob("cyconv-*.whl")
    with zipfile.ZipFile(archive) as wheel:
        names = set(wheel.namelist())
    outside = {n for n in names if not n.startswith("cyconv/") and ".dist-info/" not in n}
    assert {n for n in outside if not n.startswith("cyconv.libs/")} == set()
    assert {f"cyconv/{p.name}" for p in PACKAGE.glob("*.py")} <= names
    assert {f"cyconv/{p.name}" for p in PACKAGE.glob("*.pyi")} | {"cyconv/py.typed"} <= names
    assert {f"cyconv/data/{p.name}" for p in (PACKAGE / "data").iterdir() if p.is_file()} <= names
    assert len([n for n in names if n.endswith(".so") and n.startswith("cyconv/")]) == len(MODULES)
    assert not [n for n in names if n.endswith((".c", ".h", ".pyx", ".pxd"))]
    assert [n for n in names if n.endswith("licenses/LICENSE")]
    assert archive.stat().st_size < 5_000_000


def test_metadata():
    try:
        about = metadata("cyconv")
    except PackageNotFoundError:
        pytest.skip("cyconv is built in place, not installed")
    assert about["Version"] == nn.__version__
    assert about["License-Expression"] == "BSD-3-Clause"
    needed = [r for r in about.get_all("Requires-Dist") if "extra ==" not in r]
    assert [re.split(r"[<>=!~ ]", r)[0] for r in needed] == ["numpy"]


def test_import_stays_light():
    script = "import sys, numpy; before = set(sys.modules); import cyconv; print(*set(sys.modules) - before)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"matplotlib", "PIL", "torch", "tensorflow", "jax", "autograd", "ml_dtypes", "multiprocessing", "argparse"}
    assert not heavy & {name.partition(".")[0] for name in loaded}
