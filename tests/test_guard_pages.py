"""Every op with every array flush against unreadable pages, in front or behind: what AddressSanitizer cannot see.

A stray load or store ends the process, so the calls are made in a child, which says what it is about to do.
"""

import ctypes
import mmap
import multiprocessing
import os
import random

import numpy as np
import ops
import pytest
from ops import OPS, Array, arrange, check, draw

PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int


def guarded(size: int, end: bool) -> Array:
    """`size` bytes whose end (or beginning) is the end (or beginning) of readable memory; both sides are fenced."""
    room = -(-size // PAGE) * PAGE
    block = mmap.mmap(-1, room + 2 * PAGE)
    memory = np.frombuffer(block, np.uint8)
    for fence in (0, PAGE + room):
        assert libc.mprotect(memory.ctypes.data + fence, PAGE, 0) == 0
    first = PAGE + (room - size if end else 0)
    return memory[first : first + size]


def fence(a: Array, end: bool) -> Array:
    """The same array, in the same memory order, in guarded memory."""
    low, high = np.lib.array_utils.byte_bounds(a) if a.size else (a.ctypes.data,) * 2
    memory = guarded(high - low, end)
    memory[...] = np.frombuffer(ctypes.string_at(low, high - low), np.uint8)
    view = np.ndarray(a.shape, a.dtype, memory, a.ctypes.data - low, a.strides)
    view.flags.writeable = a.flags.writeable
    return view


def in_a_child(work, *arguments):
    """The exit code of a process that does the work, and its last words."""
    words = multiprocessing.RawArray(ctypes.c_char, 4000)

    def child():
        os._exit(work(words, *arguments))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    return process.exitcode, words.value.decode()


def sweep(words, op, seeds):
    """Fence the arrays of each case, `out` too, and compare the answer with the oracle's."""
    for seed in seeds:
        case = draw(op, seed)
        rng = random.Random(seed)
        for name, a in case.arrays.items():
            case.arrays[name] = fence(a, rng.random() < 0.6)
        if op.name != "bias_add":
            case.out = case.out if case.out not in (None, "sliced") else "C"  # check looks between sliced elements
        ops.arrange = lambda a, order, _, rng=rng: fence(arrange(a, order, rng), rng.random() < 0.6)  # what makes `out`
        words.value = f"python tests/ops.py {op.name} {seed}: {case}".encode()[:3900]
        if wrong := check(case):
            words.value += f": {wrong}".encode()[:90]
            return 1
    return 0


@pytest.mark.parametrize("offset", [-1, 1])
def test_the_fences_stand(offset):
    def stray(words):
        memory = guarded(100, offset > 0)
        memory[[0, -1]] = 1
        ctypes.string_at(memory.ctypes.data + (100 if offset > 0 else -1), 1)
        return 0

    assert in_a_child(stray)[0] != 0


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("name", OPS)
def test_no_op_strays(name, part):
    code, words = in_a_child(sweep, OPS[name], range(5000 + 40 * part, 5040 + 40 * part))
    assert code == 0, words
