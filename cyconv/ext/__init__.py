"""cyconv's ops inside frameworks that differentiate: `cyconv.ext.autograd`, `cyconv.ext.torch`, `cyconv.ext.jax`;
and under Keras's NumPy backend: `cyconv.ext.keras`.

Each needs its framework installed, and is imported only when asked for.
"""
