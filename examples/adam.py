"""Adam (Kingma and Ba, 2015), the optimiser of the training programs."""

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
PART = 1 << 15  # numbers at a time: what is made on the way stays in the cache


class Adam:
    """Moves arrays in place against their gradients, by running means of the gradients and of their squares.

    Parameters
    ----------
    parameters
        The arrays to train, contiguous.
    rate
        The learning rate.
    decay
        Weight decay: this times a parameter is added to its gradient.
    """

    def __init__(self, parameters: Sequence[Array], rate: float = 1e-3, decay: float = 0.0) -> None:
        self.parameters, self.rate, self.decay, self.steps = parameters, rate, decay, 0
        self.means = [np.zeros_like(p) for p in parameters]
        self.squares = [np.zeros_like(p) for p in parameters]

    def step(self, gradients: Sequence[Array]) -> None:
        self.steps += 1
        rate, scale = self.rate / (1 - 0.9**self.steps), (1 - 0.999**self.steps) ** -0.5
        for arrays in zip(self.parameters, gradients, self.means, self.squares):
            flat = [a.reshape(-1) for a in arrays]
            for i in range(0, flat[0].size, PART):
                p, g, mean, square = (a[i : i + PART] for a in flat)
                g = g + self.decay * p if self.decay else g
                mean += 0.1 * (g - mean)
                square += 0.001 * (g * g - square)
                p -= rate * mean / (scale * np.sqrt(square) + 1e-8)
