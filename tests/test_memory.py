"""Where outputs are put: memory that is kept for the next one, and whether `out` overlaps what is read."""

import itertools
import os
import pickle
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ops import OPS

import cyconv as nn
from cyconv import _gemm, _runtime, _winograd

LARGE, ODD = (1, 256, 256, 16), (1, 257, 263, 13)  # 4 MiB, and a size that no other test has


def sizes():
    """Bytes of this process's memory by kind."""
    with open("/proc/self/smaps_rollup") as file:
        return {line.split()[0]: int(line.split()[1]) * 1024 for line in file if line.endswith("kB\n")}


def resident():
    """Bytes of memory that the system cannot have back for the asking."""
    return sizes()["Rss:"] - sizes()["LazyFree:"]


def page(a):
    """Where an array's block starts: the array itself lies somewhere in the first page."""
    return a.ctypes.data // 4096


def test_an_output_takes_the_memory_that_one_gave_back():
    # More, and larger, blocks than are kept: what earlier tests left is given back.
    held = [_runtime.large_output((13 << 18,), np.float32) for _ in range(24)]
    del held
    first = _runtime.large_output(ODD, np.float32)
    place = page(first)
    assert first.ctypes.data % 64 == 0
    kept = first[:, ::2]
    del first
    second = _runtime.large_output(ODD, np.float32)
    assert page(second) != place, "a view keeps its array alive"
    del kept
    assert page(_runtime.large_output(ODD, np.float32)) == place
    assert page(_runtime.large_output((1, 257, 263, 12), np.float32)) == place, "a little smaller"
    assert page(_runtime.large_output((1, 257, 263, 5), np.float32)) != place, "half of it would be wasted"


def test_no_more_is_kept_than_the_bound():
    _runtime.large_output(LARGE, np.float32)[...] = 0
    before = resident()
    held = [np.copyto(a := _runtime.large_output((8 << 20,), np.float32), 1) or a for _ in range(8)]  # 32 MiB each
    assert resident() - before > 200 << 20
    del held
    assert resident() - before < 80 << 20
    for _ in range(20):
        _runtime.large_output((40 << 20,), np.float32)[...] = 1
    assert resident() - before < 80 << 20


SMALLER = """
import numpy as np
from cyconv import _runtime
from test_memory import resident

before = resident()
held = [np.copyto(a := _runtime.large_output((3 << 20,), np.float32), 1) or a for _ in range(12)]  # 12 MiB each
assert resident() - before > 140 << 20
del held
assert resident() - before < 80 << 20
"""


LENDING = """
import numpy as np
from cyconv import _runtime
from test_memory import sizes

before = sizes()["LazyFree:"]
blocks = [np.copyto(a := _runtime.large_output((6 << 20,), np.float32), 1) or a for _ in range(4)]  # 24 MiB each
del a
for lent in (0, 0, 24, 48):
    del blocks[0]
    assert abs(sizes()["LazyFree:"] - before - (lent << 20)) < 1 << 20
"""


@pytest.mark.parametrize("code", [SMALLER, LENDING])
def test_what_is_kept_of_smaller_blocks_and_lent_of_larger_ones(code):
    """Where malloc gives all of them back that are not kept: else they may stay in its heap. Lending takes time."""
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "4194304", "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("mebibytes", [20, 64, 100, 400])
def test_a_huge_output_takes_the_memory_that_one_gave_back(mebibytes):
    first = _runtime.large_output((mebibytes << 18,), np.float32)
    first[...] = 1
    place = page(first)
    del first
    other = np.empty((mebibytes << 18,), np.float32)  # where the system would be likely to put the next
    assert page(_runtime.large_output((mebibytes << 18,), np.float32)) == place
    assert page(other) != place


def test_outputs_that_follow_each_other_start_elsewhere_in_their_pages():
    """Where a store is a multiple of 4096 bytes from loads to come, these wait for it."""
    for shape in ((1, 33, 33, 256), (1, 64, 64, 512)):
        held = [_runtime.large_output(shape, np.float32) for _ in range(4)]
        for one, other in itertools.pairwise(held):
            assert 64 <= (one.ctypes.data - other.ctypes.data) % 512 <= 448


SMALL = """
import numpy as np
import cyconv as nn

def virtual():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * 4096

x, f = np.ones((1, 8, 8, 4), np.float32), np.ones((3, 3, 4, 4), np.float32)
makes = [lambda: nn.max_pool2d(x, 2, 2, "VALID"), lambda: nn.conv2d_backprop_filter(x, f.shape, x, 1, "SAME"),
         lambda: nn.plan(nn.conv2d, f, strides=1, padding="SAME")]
for make in makes:
    make()
    before = virtual()
    held = [make() for _ in range(500)]
    assert virtual() - before < 16 << 20
"""


def test_small_results_and_plans_take_no_more_than_they_need():
    done = subprocess.run([sys.executable, "-c", SMALL], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_small_results_leave_what_is_kept_of_large_ones():
    """Of no more blocks than a few there is a list."""
    place = page(_runtime.large_output(ODD, np.float32))
    small = [_runtime.large_output((1000,), np.float32) for _ in range(100)]
    assert all(a.ctypes.data % 64 == 0 for a in small)
    del small
    assert page(_runtime.large_output(ODD, np.float32)) == place


def test_outputs_are_arrays_like_any_other():
    x = np.ones(LARGE, np.float32)
    y = nn.conv2d(x, np.ones((1, 1, 16, 16), np.float32), 1, "VALID")
    assert y.flags.owndata
    assert y.flags.c_contiguous
    assert np.array_equal(pickle.loads(pickle.dumps(y)), y)
    y.resize((2, *LARGE[1:]), refcheck=False)
    assert np.all(y[0] == 16)
    assert np.all(y[1] == 0)
    y.resize((1, 4, 4, 16), refcheck=False)
    assert np.all(y == 16)


@pytest.mark.parametrize("seed", range(20))
def test_apart_is_what_numpy_says_of_bounds(seed):
    rng = np.random.default_rng(seed)
    base = np.zeros((12, 12, 12), np.float32)

    def part():
        index = []
        for _ in range(3):
            start, stop = sorted(rng.integers(0, 13, 2))
            index.append(slice(int(start), int(stop), int(rng.integers(1, 4))))
        a = base[tuple(index)][:: -1 if rng.random() < 0.5 else 1]
        return a.transpose(rng.permutation(3))

    for _ in range(200):
        a, b = part(), part()
        assert _runtime.apart(a, None, b, "not an array") == (not np.may_share_memory(a, b))


@pytest.mark.parametrize(("module", "algorithm"), [(_gemm, "direct"), (_winograd, "winograd")])
def test_no_memory_for_the_filters_of_a_call(module, algorithm, monkeypatch):
    """The error names the op, what there is no memory for, and how much."""

    def refuse(shape, dtype):
        raise MemoryError

    x, f = np.ones((1, 40, 40, 128), np.float32), np.ones((3, 3, 128, 128), np.float32)
    out = np.empty_like(x)
    with nn.algorithm(algorithm):
        nn.conv2d(x, f, 1, "SAME", out=out)
        monkeypatch.setattr(module, "large_output", refuse)
        with pytest.raises(MemoryError, match=r"^conv2d: no memory for \d+ bytes of \w+ filters"):
            nn.conv2d(x, f, 1, "SAME", out=out)
        monkeypatch.undo()
        assert np.array_equal(nn.conv2d(x, f, 1, "SAME"), out)


@pytest.fixture(scope="session")
def scratch_counter(tmp_path_factory):
    gcc = os.environ.get("CC", "gcc")
    if not shutil.which(gcc) or "libasan" in Path("/proc/self/maps").read_text():
        pytest.skip("needs gcc, and a malloc that is not another's already")
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("calls glibc's malloc by its own names")
    library = tmp_path_factory.mktemp("scratch") / "scratch.so"
    source = Path(__file__).with_name("scratch.c")
    subprocess.run([gcc, "-O1", "-shared", "-fPIC", source, "-o", library, "-lpthread"], check=True)
    return os.environ | {"LD_PRELOAD": str(library)}


@pytest.mark.parametrize("name", [name for name in OPS if "conv" in name and "backprop" not in name])
def test_a_call_takes_no_more_scratch_than_its_plan_says(name, scratch_counter):
    command = [sys.executable, Path(__file__).with_name("scratch.py"), name, "0", "40"]
    done = subprocess.run(command, env=scratch_counter, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("threads", [1, 2, 300, 2**31 - 1])
def test_scratch_of_any_team(threads):
    """A team has so many threads at most; and no filters take no scratch."""
    plan = nn.plan(nn.depthwise_conv2d, np.ones((3, 3, 20, 1)), strides=1, padding="SAME")
    assert plan.workspace_bytes((1, 30, 30, 20), threads) <= plan.workspace_bytes((1, 30, 30, 20), 257)
    plan = nn.plan(nn.conv2d, np.ones((5, 2, 1, 0)), strides=(1, 1, 1, 4), padding="SAME", data_format="NCHW")
    assert plan.workspace_bytes((1, 1, 6, 5), threads) == 0
    plan = nn.plan(nn.depthwise_conv2d, np.ones((3, 3, 4, 0)), strides=1, padding="SAME")
    assert plan.workspace_bytes((1, 5, 5, 4), threads) == 0
