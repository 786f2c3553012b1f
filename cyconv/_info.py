"""What was chosen for this machine and why: `python -m cyconv info`, `cyconv.show_config`."""

import os
import platform
import re
from typing import Any

import numpy as np

from ._isa import available_isas, current_isa
from ._openmp import SPINS
from ._problem import shown
from ._threads import explain_threads
from ._version import __version__


def read(path: str) -> str:
    """The text of a file of the system's, empty where there is none."""
    try:
        with open(path, errors="backslashreplace") as file:
            return file.read().strip()
    except OSError:
        return ""


def openmp_libraries() -> list[str]:
    """Every OpenMP runtime in this process; two of them may fight over the cores."""
    return sorted(set(re.findall(r"/.*/lib(?:g|i|)omp[\w.-]*\.so[\w.]*", read("/proc/self/maps"))))


def caches() -> dict[str, str]:
    """The caches of the first core."""
    found = {}
    for i in range(8):
        level, kind, size = (
            read(f"/sys/devices/system/cpu/cpu0/cache/index{i}/{name}") for name in ("level", "type", "size")
        )
        if size:
            found[f"L{level}" + {"Data": "d", "Instruction": "i"}.get(kind, "")] = size.replace("K", " KiB")
    return found


def cpu() -> str:
    found = re.search(r"model name\s*:\s*(.+)", read("/proc/cpuinfo"))
    return found.group(1) if found else platform.machine()


def config() -> dict[str, Any]:
    """The facts, as plain JSON types."""
    threads, rule = explain_threads()
    isa, forced = current_isa(), os.environ.get("CYCONV_ISA")
    default = forced or available_isas()[-1]
    why = "cyconv.isa(...)" if isa != default else "CYCONV_ISA" if forced else "the best that this CPU has"
    policy = {name: os.environ[name] for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT") if name in os.environ}
    ours = f"passive after {SPINS} spins (unless another library chose first)"
    return {
        "cyconv": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cpu": cpu(),
        "isa": {"chosen": isa, "why": why, "available": list(available_isas())},
        "threads": {"count": threads, "why": rule},
        "openmp": {
            "libraries": openmp_libraries(),
            "wait_policy": ", ".join(f"{name}={value}" for name, value in policy.items()) or ours,
        },
        "caches": caches(),
    }


def show_config(mode: str = "text") -> dict[str, Any] | None:
    """Print what was chosen for this machine and why, or return it.

    Parameters
    ----------
    mode : {"text", "dict"}
        Print lines for people, or return a dict of plain JSON types.

    Returns
    -------
    dict or None
        Versions, the CPU, the instruction set chosen and those available, the number of threads and the rule that
        decided it, the OpenMP runtimes in the process and their waiting policy, the sizes of the caches.

    Raises
    ------
    ValueError
        For another mode.

    Examples
    --------
    >>> import cyconv
    >>> cyconv.show_config("dict")["isa"]["chosen"] in cyconv.available_isas()
    True
    """
    if mode not in ("text", "dict"):
        raise ValueError(f'show_config: mode={shown(mode)}, but it is "text" or "dict"')
    found = config()
    if mode == "dict":
        return found
    isa, threads, openmp = found["isa"], found["threads"], found["openmp"]
    found |= {
        "isa": f"{isa['chosen']} ({isa['why']}); available: {', '.join(isa['available'])}",
        "threads": f"{threads['count']} ({threads['why']})",
        "openmp": f"{', '.join(openmp['libraries']) or 'not found'}; waiting: {openmp['wait_policy']}",
        "caches": ", ".join(f"{name} {size}" for name, size in found["caches"].items()) or "not known",
    }
    for name, value in found.items():
        print(f"{name + ':':10s} {value}")
    return None
