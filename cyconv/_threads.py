"""How many threads a call uses, and the cures for what OpenMP's runtime does to a process that forks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cyconv import _runtime
from cyconv._geometry import LIMIT
from cyconv._problem import integer
from cyconv._runtime import settings

os.register_at_fork(before=_runtime.release)


def _environment() -> int:
    text = os.environ.get("CYCONV_NUM_THREADS")
    if not text:
        return 0
    if not text.strip().isdecimal() or not 0 < int(text) <= LIMIT:
        raise ValueError(f"CYCONV_NUM_THREADS must be between 1 and {LIMIT}, not {text!r}")
    return int(text)


def _cgroup_quota() -> int | None:
    """The whole CPUs that the container may use, rounded up; None where there is no limit."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # of cgroups version 2 and 1
        try:
            quota, period = " ".join(Path("/sys/fs/cgroup", name).read_text() for name in files).split()
            return None if quota in ("max", "-1") else max(1, -(-int(quota) // int(period)))
        except (OSError, ValueError):
            pass
    return None


_quota = _cgroup_quota()


def _machine() -> tuple[int, str]:
    cores = len(os.sched_getaffinity(0))
    if _quota is not None and _quota < cores:
        return _quota, f"the cgroup's CPU quota (of {cores} cores)"
    return cores, "the cores in this process's affinity mask"


settings.environment_threads = _environment()
settings.openmp_rules = bool(os.environ.get("OMP_NUM_THREADS"))
settings.machine_threads = _machine()[0]


def explain_threads() -> tuple[int, str]:
    """(count, reason): what a call without num_threads would use, and the rule that decided."""
    if settings.threads_here.get() is not None:
        reason = "with cyconv.threads(...)"
    elif settings.threads is not None:
        reason = "cyconv.set_num_threads(...)"
    elif settings.environment_threads:
        reason = "CYCONV_NUM_THREADS"
    elif settings.openmp_rules or _runtime.omp_max_threads() != settings.openmp_at_import:
        reason = "OpenMP's own setting (OMP_NUM_THREADS, or threadpoolctl)"
    else:
        reason = _machine()[1]
    return settings.num_threads(), reason


def get_num_threads() -> int:
    """How many threads a call uses when it is not told.

    The order: ``num_threads=`` of the call, ``with cyconv.threads(n)``, `set_num_threads`, CYCONV_NUM_THREADS,
    OMP_NUM_THREADS or what threadpoolctl set, the smaller of the affinity mask and the cgroup's quota.

    Examples
    --------
    >>> import cyconv
    >>> with cyconv.threads(3):
    ...     cyconv.get_num_threads()
    3
    """
    return settings.num_threads()


def set_num_threads(n: int | None) -> None:
    """Set the number of threads of every later call in this process; None goes back to the default.

    Raises
    ------
    TypeError, ValueError
        When n is not a positive integer.
    """
    settings.threads = None if n is None else integer("set_num_threads", "n", n)


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Use n threads for the calls within a block, in this thread or task only.

    Examples
    --------
    >>> import cyconv
    >>> with cyconv.threads(1):
    ...     cyconv.get_num_threads()
    1
    """
    token = settings.threads_here.set(integer("threads", "n", n))
    try:
        yield
    finally:
        settings.threads_here.reset(token)


def wanted(op: str, num_threads: Any) -> int:
    """The team a call asks for, before it is known how much work there is."""
    return settings.num_threads() if num_threads is None else integer(op, "num_threads", num_threads)
