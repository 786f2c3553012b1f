"""Threads: who decides how many, forks, failures, interrupts, many callers, nothing left behind."""

import multiprocessing
import os
import resource
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import cyconv as nn

# About 10 ms of work on one core: more than enough for every thread to be wanted.
X = np.random.default_rng(0).standard_normal((2, 128, 192, 16), dtype=np.float32)
F = np.random.default_rng(1).standard_normal((3, 3, 16, 32), dtype=np.float32)

PRELUDE = """
import os, resource, signal, sys, threading, time
import numpy as np
import cyconv as nn
x = np.random.default_rng(0).standard_normal((2, 128, 192, 16), dtype=np.float32)
f = np.random.default_rng(1).standard_normal((3, 3, 16, 32), dtype=np.float32)
tasks = lambda: len(os.listdir("/proc/self/task"))
"""


def python(script, timeout=120, preexec_fn=None, **environment):
    """What a fresh Python prints that runs `script` after PRELUDE, with no thread variables but those given."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "CYCONV_NUM"))}
    run = subprocess.run(
        [sys.executable, "-c", PRELUDE + script],
        env=clean | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        preexec_fn=preexec_fn,
        check=False,
    )
    assert run.returncode == 0, f"exit {run.returncode}\n{run.stdout}"
    return run.stdout.strip()


# ---- how many ------------------------------------------------------------------------------------------------------

# libgomp keeps its threads for the next region: they can be counted after the call.
COUNT = """
before = tasks()
{}
print(1 + tasks() - before)
"""


@pytest.mark.parametrize(
    ("call", "environment", "expected"),
    [
        (
            "with nn.threads(3): nn.conv2d(x, f, 1, 'SAME', num_threads=4)",
            {"CYCONV_NUM_THREADS": "2", "OMP_NUM_THREADS": "5"},
            4,
        ),
        ("with nn.threads(3): nn.conv2d(x, f, 1, 'SAME')", {"CYCONV_NUM_THREADS": "2", "OMP_NUM_THREADS": "5"}, 3),
        ("nn.set_num_threads(3); nn.conv2d(x, f, 1, 'SAME')", {"CYCONV_NUM_THREADS": "2"}, 3),
        ("nn.conv2d(x, f, 1, 'SAME')", {"CYCONV_NUM_THREADS": "2", "OMP_NUM_THREADS": "5"}, 2),
        ("nn.conv2d(x, f, 1, 'SAME')", {"OMP_NUM_THREADS": "5"}, 5),
        ("nn.conv2d(x, f, 1, 'SAME')", {"OMP_NUM_THREADS": "1"}, 1),
    ],
)
def test_count_is_decided_in_order(call, environment, expected):
    assert int(python(COUNT.format(call), **environment)) == expected


def test_count_is_at_most_what_the_process_may_use():
    assert 1 <= int(python("print(nn.get_num_threads())")) <= len(os.sched_getaffinity(0))
    one = {min(os.sched_getaffinity(0))}
    count = python("print(nn.get_num_threads())", preexec_fn=lambda: os.sched_setaffinity(0, one))
    assert int(count) == 1


def test_threadpoolctl_limits_count():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    with threadpoolctl.threadpool_limits(3, user_api="openmp"):
        assert nn.get_num_threads() == 3
    with nn.threads(2), threadpoolctl.threadpool_limits(1, user_api="openmp"):
        assert nn.get_num_threads() == 2, "cyconv's own setting is the more specific one"


def test_threads_restores():
    before = nn.get_num_threads()
    with nn.threads(before + 1):
        with nn.threads(1):
            assert nn.get_num_threads() == 1
        assert nn.get_num_threads() == before + 1
    with pytest.raises(ZeroDivisionError), nn.threads(before + 2):
        raise ZeroDivisionError
    assert nn.get_num_threads() == before


@pytest.mark.parametrize("count", [0, -1, 2**31, 2**70])
def test_counts_that_are_no_counts(count):
    with pytest.raises(ValueError, match="threads"):
        nn.conv2d(X, F, 1, "SAME", num_threads=count)
    with pytest.raises(ValueError, match="threads"):
        nn.set_num_threads(count)


@pytest.mark.parametrize("count", [1.0, "2", float("nan"), [2]])
def test_counts_of_the_wrong_kind(count):
    with pytest.raises(TypeError, match="threads"):
        nn.conv2d(X, F, 1, "SAME", num_threads=count)
    with pytest.raises(TypeError, match="threads"):
        nn.set_num_threads(count)


@pytest.mark.parametrize("text", ["0", "-1", "2.0", "two", "\u00b2", str(2**31), str(2**64)])
def test_environments_that_say_no_count(text):
    environment = os.environ | {"CYCONV_NUM_THREADS": text}
    run = subprocess.run(
        [sys.executable, "-c", "import cyconv"], env=environment, capture_output=True, text=True, check=False
    )
    assert "ValueError: CYCONV_NUM_THREADS must be" in run.stderr


def test_tiny_work_starts_no_thread():
    assert int(python(COUNT.format("nn.conv2d(x[:, :8, :8], f, 1, 'SAME', num_threads=4)"))) == 1


def test_serial_inside_a_parallel_region():
    script = """
import ctypes
seen = []
@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def region(_):
    y = nn.conv2d(x, f, 1, "SAME", num_threads=4)
    seen.append((y.tobytes(), tasks()))
before = tasks()
ctypes.CDLL("libgomp.so.1").GOMP_parallel(region, None, 2, 0)
assert len({y for y, _ in seen}) == 1
print(max(count for _, count in seen) - before)
"""
    assert int(python(script, OMP_MAX_ACTIVE_LEVELS="4")) == 1, "two threads of the region, none of ours"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({}, ("OMP_WAIT_POLICY = 'PASSIVE'", "GOMP_SPINCOUNT = '3000'")),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, ("OMP_WAIT_POLICY = 'ACTIVE'",)),
        ({"GOMP_SPINCOUNT": "7"}, ("GOMP_SPINCOUNT = '7'",)),
    ],
)
def test_waiting_policy_is_set_for_our_own_load_only(given, shown):
    script = """
import ctypes
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
    print(os.environ.get(name), (getenv(name.encode()) or b"None").decode())
"""
    after = [f"{given.get(name)} {given.get(name)}" for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")]
    read = python(script, OMP_DISPLAY_ENV="VERBOSE", **given)  # libgomp tells on stderr what it read when it was loaded
    assert read.endswith("\n".join(after))
    assert all(line in read for line in shown)


# ---- forks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_started_after_use(method):
    context = multiprocessing.get_context(method)
    expected = nn.conv2d(X, F, 1, "SAME", num_threads=2)
    for _ in range(20):
        with context.Pool(1) as pool:
            job = pool.apply_async(nn.conv2d, (X, F, 1, "SAME"), {"num_threads": 2})
            np.testing.assert_array_equal(job.get(timeout=60), expected)
        np.testing.assert_array_equal(nn.conv2d(X, F, 1, "SAME", num_threads=2), expected)


def test_forks_while_other_threads_work():
    python("""
import warnings; warnings.simplefilter("ignore")
expected = nn.conv2d(x, f, 1, "SAME", num_threads=2)
done = threading.Event()
def work():
    while not done.is_set():
        nn.conv2d(x, f, 1, "SAME", num_threads=2)
workers = [threading.Thread(target=work) for _ in range(2)]
for worker in workers: worker.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(0 if (nn.conv2d(x, f, 1, "SAME", num_threads=2) == expected).all() else 1)
    assert os.waitpid(child, 0)[1] == 0
done.set()
for worker in workers: worker.join()
""")


# ---- failures ------------------------------------------------------------------------------------------------------

FAIL = """
expected = nn.conv2d(x, f, 1, "SAME", num_threads=1)
{}
for _ in range(3):
    assert (nn.conv2d(x, f, 1, "SAME", num_threads=8) == expected).all()
print("survived")
"""
NO_MEMORY_FOR_STACKS = """
room = (int(open("/proc/self/statm").read().split()[0]) * 4096 + (512 << 20),) * 2
resource.setrlimit(resource.RLIMIT_AS, room)
"""
NO_PROCESSES = """
if os.geteuid() == 0: os.setresuid(65534, 65534, 65534)  # the limit does not bind root
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
"""


@pytest.mark.parametrize(
    ("limit", "environment", "stack"),
    [
        (NO_MEMORY_FOR_STACKS, {}, 1 << 30),
        (NO_MEMORY_FOR_STACKS, {"OMP_STACKSIZE": "1G"}, None),
        (NO_PROCESSES, {}, None),
    ],
    ids=["ulimit -s", "OMP_STACKSIZE", "ulimit -u"],
)
def test_threads_that_cannot_be_created_are_done_without(limit, environment, stack):
    def large_stack():
        if stack:
            resource.setrlimit(resource.RLIMIT_STACK, (stack, resource.getrlimit(resource.RLIMIT_STACK)[1]))

    # OpenBLAS would not survive the stacks either
    shown = python(FAIL.format(limit), preexec_fn=large_stack, OPENBLAS_NUM_THREADS="1", **environment)
    assert shown.endswith("survived")


# ---- interrupts ----------------------------------------------------------------------------------------------------

# Each runs for seconds: 31 x 31 taps and more.
LONG = {
    "conv2d": "nn.conv2d(big, np.ones((31, 31, 32, 32), np.float32), 1, 'SAME')",
    "conv2d, one thread": "nn.conv2d(big, np.ones((31, 31, 32, 32), np.float32), 1, 'SAME', num_threads=1)",
    "conv2d, NCHW": "nn.conv2d(np.ascontiguousarray(big.transpose(0, 3, 1, 2)), np.ones((31, 31, 32, 32), np.float32), 1, "
    "'SAME', data_format='NCHW')",
    "conv2d_transpose": "nn.conv2d_transpose(big, np.ones((31, 31, 32, 32), np.float32), None, 1, 'SAME')",
    "depthwise_conv2d": "nn.depthwise_conv2d(big, np.ones((127, 127, 32, 1), np.float32), 1, 'SAME')",
    "separable_conv2d": "nn.separable_conv2d(big, np.ones((127, 127, 32, 1), np.float32), "
    "np.ones((1, 1, 32, 32), np.float32), 1, 'SAME')",
    "conv2d_backprop_input": "nn.conv2d_backprop_input(big.shape, np.ones((31, 31, 32, 32), np.float32), big, 1, 'SAME')",
    "conv2d_backprop_filter": "nn.conv2d_backprop_filter(big, (31, 31, 32, 32), big, 1, 'SAME')",
    "conv2d, one filter": "nn.conv2d(big, np.ones((101, 101, 32, 1), np.float32), 1, 'SAME')",
    "conv2d, float16": "nn.conv2d(big.astype(np.float16), np.ones((31, 31, 32, 32), np.float16), 1, 'SAME')",
}


@pytest.mark.parametrize("call", LONG.values(), ids=LONG.keys())
def test_ctrl_c(call):
    script = f"""
big = np.ones((1, 512, 512, 32), np.float32)
{call.replace("big", "big[:, :16, :16]")}  # everything loaded and warm
late = []
for _ in range(3):
    sent = []
    def send():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)
    threading.Timer(0.3, send).start()
    try:
        {call}
    except KeyboardInterrupt:
        late.append(time.perf_counter() - sent[0])
    else:
        raise SystemExit("the call was over before the interrupt")
ones = np.ones((1, 8, 8, 1), np.float32)
assert nn.conv2d(ones, np.ones((1, 1, 1, 1), np.float32), 1, "SAME").sum() == 64
print(sorted(late)[1])
"""
    assert float(python(script)) < 0.1


# ---- many callers, many calls --------------------------------------------------------------------------------------

small, plane = X[:1, :24, :32], X[:1, :24, :32, :1]
volume, signal = X[:1, :48, :64].reshape(1, 12, 16, 16, 16), X[0].reshape(1, -1, 16)
OPS = {
    "conv1d": lambda n: nn.conv1d(signal, F[0], 1, "CAUSAL", num_threads=n),
    "conv2d": lambda n: nn.conv2d(small, F, 2, "SAME", activation="relu", num_threads=n),
    "conv2d, shared": lambda n: nn.conv2d(X, F, 1, "SAME", num_threads=n),
    "conv2d, NCHW": lambda n: nn.conv2d(X.transpose(0, 3, 1, 2), F, 1, "SAME", data_format="NCHW", num_threads=n),
    "conv2d, one channel": lambda n: nn.conv2d(plane, F[:, :, :1, :1], 1, "SAME", num_threads=n),
    "conv3d": lambda n: nn.conv3d(volume, F[None, :, :, :, :8], 1, "VALID", num_threads=n),
    "atrous_conv2d": lambda n: nn.atrous_conv2d(small, F, 2, "SAME", num_threads=n),
    "conv2d_transpose": lambda n: nn.conv2d_transpose(small, F.swapaxes(2, 3), None, 2, "SAME", num_threads=n),
    "depthwise_conv2d": lambda n: nn.depthwise_conv2d(X, F[:, :, :, :2], 1, "SAME", num_threads=n),
    "separable_conv2d": lambda n: nn.separable_conv2d(X, F[..., :2], F[:1, :1].repeat(2, 2), 1, "SAME", num_threads=n),
    "float16": lambda n: nn.conv2d(small.astype(np.float16), F.astype(np.float16), 1, "SAME", num_threads=n),
    "int32": lambda n: nn.conv2d(small.astype(np.int32), F.astype(np.int32), 1, "SAME", num_threads=n),
    "refused": lambda n: _refused(n),
}


def _refused(n):
    with pytest.raises(nn.ShapeError):
        nn.conv2d(X, F[:, :, :5], 1, "SAME", num_threads=n)
    return np.zeros(0)


def test_eight_callers_at_once():
    expected = {name: op(1) for name, op in OPS.items()}
    start = threading.Barrier(8)

    def caller(seed):
        rng = np.random.default_rng(seed)
        start.wait(timeout=60)
        for _ in range(10):
            for name in rng.permutation(list(OPS)):
                np.testing.assert_array_equal(OPS[name](int(rng.integers(1, 4))), expected[name], err_msg=name)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(caller, range(8)))
    finally:
        sys.setswitchinterval(interval)


def test_setting_of_one_caller_does_not_reach_another():
    turns, counts = threading.Barrier(2), []

    def other():
        counts.append(nn.get_num_threads())
        turns.wait(timeout=60)
        turns.wait(timeout=60)
        counts.append(nn.get_num_threads())
        turns.wait(timeout=60)

    thread = threading.Thread(target=other)
    thread.start()
    turns.wait(timeout=60)
    with nn.threads(counts[0] + 1):
        turns.wait(timeout=60)
        turns.wait(timeout=60)
    thread.join()
    assert counts[0] == counts[1]


def test_ten_thousand_calls_leave_nothing_behind():
    grown = python("""
def calls(rounds):
    for i in range(rounds):
        n = 4 + i % 29
        nn.conv2d(x[:1, :n, :n], f, 1, "SAME", num_threads=1 + i % 2)
        nn.conv2d_transpose(x[:1, :n, :n], f.swapaxes(2, 3), None, 2, "SAME")
        nn.depthwise_conv2d(x[:1, :n, :n], f[..., :2], 1, "SAME", padding_mode="reflect")
        nn.conv2d(x[:1, :n, :n].astype(np.float16), f.astype(np.float16), 1, "SAME")
        try: nn.conv2d(x, f[:, :, :3], 1, "SAME")
        except nn.ShapeError: pass
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * 4
calls(400)
references = sys.getrefcount(x), sys.getrefcount(f)
before = resident()
calls(2000)
assert (sys.getrefcount(x), sys.getrefcount(f)) == references
print(resident() - before)
""")
    assert int(grown) < 1024, "kB"
