"""What all tests share: the table of ops (ops.py, beside this file) is importable from every one of them, and Ctrl-C is
answered, which a shell's background jobs and their children ignore."""

import signal
import sys
from pathlib import Path

import pytest

import cyconv

sys.path.insert(0, str(Path(__file__).parent))
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def threads_restored():
    """Whatever a test has asked for."""
    yield
    cyconv.set_num_threads(None)
