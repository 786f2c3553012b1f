"""Load OpenMP's runtime so that its threads sleep, not spin, while they wait; imported before any other compiled module.

On shared cores the spinning of a library's idle threads takes the time of everybody's busy ones. The runtime reads the
policy once, when it is loaded; the environment is left as it was. A runtime that is loaded already keeps its own.
"""

import os

_unset = "OMP_WAIT_POLICY" not in os.environ
if _unset:
    os.environ["OMP_WAIT_POLICY"] = "passive"
try:
    from cyconv import _runtime as _runtime
finally:
    if _unset:
        del os.environ["OMP_WAIT_POLICY"]
