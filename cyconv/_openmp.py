"""Load OpenMP's runtime so that its threads spin briefly and then sleep while they wait; imported before other modules.

On shared cores long spinning takes the time of everybody's busy threads; sleeping at once costs two wake-ups a call,
0.1 to 0.2 ms. SPINS bounds the spin to about 0.1 ms (docs/decisions/0005). The runtime reads both variables once, when it
is loaded; the environment is left as it was. A user's own settings, or a runtime that is loaded already, stay.
"""

import os

SPINS = "3000"

_ours = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": SPINS}
_ours = {} if _ours.keys() & os.environ.keys() else _ours
os.environ.update(_ours)
try:
    from cyconv import _runtime as _runtime
finally:
    for _name in _ours:
        del os.environ[_name]
