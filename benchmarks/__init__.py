"""The asv suite: bench_<family>.py mirrors cyconv/<family>.py, shapes.py names the layers, measure.py times them."""

import os

# The threads of every library, BLAS included, which looks only once: when it is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
