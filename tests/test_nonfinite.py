"""NaN and infinity reach exactly the outputs whose window holds them; denormals are kept; the FP environment is left alone."""

import ctypes
import platform
import random
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from ops import ALGORITHMS, DTYPES, OPS, draw, example, values

import cyconv as nn
from cyconv import reference

WINDOWED = [name for name in OPS if name != "bias_add"]
FLOATS = [name for name in DTYPES if name != "int32"]


def poisoned(name, seed):
    """A case of whole numbers, one or two elements of an argument not finite; None where there is nothing to poison."""
    case = draw(OPS[name], seed)
    rng = random.Random(seed)
    if case.dtype == np.int32 or min(a.size for a in case.arrays.values()) == 0:
        return None
    case.arrays = {key: values(rng, a.shape, case.dtype.name, True) for key, a in case.arrays.items()}
    case.args.pop("activation", None)
    case.args.pop("depthwise_activation", None)
    a = case.arrays[rng.choice(sorted(case.arrays))]
    for _ in range(rng.choice((1, 1, 2))):
        a[tuple(rng.randrange(n) for n in a.shape)] = rng.choice((np.nan, np.inf, -np.inf))
    return case


@pytest.mark.parametrize("isa", nn.available_isas())
@pytest.mark.parametrize("name", WINDOWED)
def test_a_value_poisons_its_windows_and_nothing_else(name, isa):
    """Every other output keeps its bits. A tap that lies on padding joins nothing: a poisoned one leaves those alone."""
    reached = 0
    for seed in range(250):
        if case := poisoned(name, seed):
            expected = case.reference().astype(np.float64)
            reached += np.count_nonzero(~np.isfinite(expected))
            with nn.isa(isa), nn.algorithm("direct"):
                y = case.call(num_threads=case.num_threads).astype(np.float64)
            assert np.array_equal(y, expected, equal_nan=True), f"seed {seed}, {isa}: {case}"
    assert reached > 100


@pytest.mark.parametrize("isa", nn.available_isas())
@pytest.mark.parametrize("name", WINDOWED)
def test_nor_do_transforms_spread_it(name, isa):
    """The same where an algorithm mixes neighbouring inputs: not finite where it has to be, else as near as ever."""
    reached, seed = 0, 0
    while reached < 12 and seed < 2000:
        seed += 1
        case = poisoned(name, seed)
        if (
            case is None
            or case.window.taps.count(1) == case.window.rank
            or min(case.window.channels, case.window.filters) < 16
        ):
            continue
        reached += 1
        expected = case.reference().astype(np.float64)
        with nn.isa(isa):
            y = case.call(num_threads=case.num_threads).astype(np.float64)
        finite = np.isfinite(expected)
        assert np.array_equal(y[~finite], expected[~finite], equal_nan=True), f"seed {seed}, {isa}: {case}"
        assert np.allclose(y[finite], expected[finite], rtol=0.01, atol=0.05), f"seed {seed}, {isa}: {case}"


@pytest.mark.parametrize(
    "activation", ["relu", "relu6", ("clip", -1, 1), ("leaky_relu", 0.5), "elu", "sigmoid", "tanh", "silu", "gelu"]
)
@pytest.mark.parametrize("dtype", FLOATS)
def test_activations_keep_nan(activation, dtype):
    x = np.array([1, np.nan, -1, np.inf, -np.inf, 0] * 7).astype(DTYPES[dtype]).reshape(1, -1, 1)
    y = nn.conv1d(x, np.ones((1, 1, 1), x.dtype), 1, "VALID", activation=activation).astype(np.float64).reshape(7, 6)
    assert np.isnan(y[:, 1]).all()
    assert np.isfinite(y[:, [0, 2, 5]]).all()
    limits = {"sigmoid": (0, 1), "tanh": (-1, 1), "relu": (0, np.inf), "relu6": (0, 6), "elu": (-1, np.inf)}
    if activation in limits:
        assert np.allclose(y[:, [4, 3]], [limits[activation]], rtol=0, atol=1e-37)
    elif activation in ("silu", "gelu"):  # at minus infinity 0, or as TensorFlow has it NaN, but never a number
        assert (y[:, 3] == np.inf).all()
        assert (np.isnan(y[:, 4]) | (y[:, 4] == 0)).all()


@pytest.mark.parametrize("name", WINDOWED)
@pytest.mark.parametrize("dtype", FLOATS)
def test_denormals_are_kept(name, dtype):
    """Denormal inputs times whole filters: an exact result that is zero where denormals are flushed."""
    case = example(OPS[name], dtype=dtype, channels=19, filters=33)
    tiny = ml_dtypes.finfo(DTYPES[dtype]).smallest_subnormal
    x = case.arrays[case.op.x]
    case.arrays[case.op.x] = (np.arange(x.size).reshape(x.shape) % 3).astype(x.dtype) * tiny
    plain = case.reference(**{case.op.x: (np.arange(x.size).reshape(x.shape) % 3).astype(np.float64)})
    for isa in nn.available_isas():
        with nn.isa(isa):
            for num_threads in (1, 2):
                with nn.algorithm("direct"):
                    y = case.call(num_threads=num_threads)
                assert np.array_equal(y.astype(np.float64) / float(tiny), plain), (isa, num_threads)
    assert np.count_nonzero(plain) > plain.size / 2


def test_denormals_are_not_slow_to_vanish():
    """Sums that fall below the normal range and come back: nothing on the way is flushed."""
    x = np.full((1, 40, 1), 2.0**-149, np.float32)
    w = np.ones((32, 1, 1), np.float32)
    assert (nn.conv1d(x, w, 1, "VALID") == 2.0**-144).all()


MXCSR = """
import ctypes, sys
def mxcsr():
    room = (ctypes.c_uint32 * 8)()
    ctypes.CDLL(None).fegetenv(room)
    return room[7] & 0xffc0  # without the sticky exception flags
before = mxcsr()
import numpy as np
import cyconv as nn
from cyconv import reference
assert mxcsr() == before, "import"
x = np.random.default_rng(0).standard_normal((2, 40, 40, 16), dtype=np.float32)
for isa in nn.available_isas():
    with nn.isa(isa):
        for activation in (None, "gelu"):
            nn.conv2d(x, np.ones((3, 3, 16, 24), np.float32), 1, "SAME", activation=activation, num_threads=2)
            nn.conv2d_transpose(x, np.ones((3, 3, 24, 16), np.float32), (2, 80, 80, 24), 2, activation=activation)
            nn.depthwise_conv2d(x, np.ones((3, 3, 16, 1), np.float32), 1, "SAME", activation=activation)
assert mxcsr() == before, "calls"
"""


@pytest.mark.skipif(platform.machine() != "x86_64" or sys.platform != "linux", reason="reads x86-64 Linux's fenv_t")
def test_fp_environment_is_left_alone():
    run = subprocess.run([sys.executable, "-c", MXCSR], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.skipif(platform.machine() != "x86_64" or sys.platform != "linux", reason="FE_UPWARD is x86-64 Linux's")
def test_a_rounding_mode_is_left_as_it_was():
    libm = ctypes.CDLL("libm.so.6")
    upward = 0x800
    x = np.ones((1, 8, 1), np.float32)
    try:
        libm.fesetround(upward)
        nn.conv1d(x, np.ones((3, 1, 1), np.float32), 1, "SAME", activation="tanh")
        assert libm.fegetround() == upward
    finally:
        libm.fesetround(0)


@pytest.mark.parametrize(("size", "channels", "filters"), [(12, 64, 512), (200, 2, 16)])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_poisoned_filters_by_many_threads(algorithm, size, channels, filters):
    """Whichever thread packs the poisoned tap, all of them leave out the padding that it would meet."""
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, (1, size, size, channels)).astype(np.float32)
    w = rng.integers(-3, 4, (3, 3, channels, filters)).astype(np.float32)
    for column in (0, filters // 5, filters - 1):
        poison = w.copy()
        poison[0, 0, 1, column] = np.inf
        with nn.algorithm(algorithm):
            expected = np.isnan(nn.conv2d(x, poison, 1, "SAME", num_threads=1))
            assert not expected[:, 0, :, :].any()
            assert not expected[:, :, 0, :].any()
            for _ in range(30):
                y = nn.conv2d(x, poison, 1, "SAME", num_threads=4)
                assert np.array_equal(np.isnan(y), expected)


@pytest.mark.parametrize(("size", "multiplier"), [(1, 120000), (5, 18700), (9, 11900)])
def test_poisoned_filters_of_large_multipliers(size, multiplier):
    """The windows of a tile hold each channel as many times."""
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, (1, size, 2)).astype(np.float32)
    w = rng.integers(-3, 4, (3, 1, 2 * multiplier)).astype(np.float32)
    w[0, 0, multiplier] = np.inf
    with nn.algorithm("direct"):
        y = nn.conv1d(x, w, 1, "SAME", num_threads=1)
    assert np.array_equal(y, reference.conv1d(x, w, 1, "SAME"), equal_nan=True)
