"""Moving positions between the image, the batch and the channels; nothing is computed, every value keeps its dtype.

All four are NumPy's own reshape, transpose and copy: they know best how to move memory.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cyconv._problem import Array, Shape, array, in_pieces, integer, join_shape, layout, misfit, pairs, sequence
from cyconv._windows import empty


def _block(op: str, x: Array, block_shape: Any, arg: str, rows: Any) -> tuple[Shape, tuple[tuple[int, int], ...]]:
    """A block's sides, and as many (before, after) pairs, for an input of enough dimensions."""
    sides = sequence(op, "block_shape", block_shape)
    checked = pairs(op, arg, rows, "side of the block")
    sides = sides if isinstance(sides, tuple) else (sides,) * len(checked)
    block = tuple(integer(op, "block_shape", b) for b in sides)
    if len(block) != len(checked):
        raise ValueError(f"{op}: block_shape has {len(block)} sides, {block}, but {arg} has {len(checked)} pairs")
    if x.ndim < len(block) + 1:
        raise misfit(
            op, "input", (x.shape,),
            f"input must have at least {len(block) + 1} dimensions, not {x.ndim} (input.shape={x.shape})",
        )  # fmt: skip
    return block, checked


def _dealt(op: str, x: Array, sizes: Shape, groups: tuple[Shape, ...]) -> Array:
    """The input as an array of those sizes, copied to one whose every axis is a group of these."""
    shape = tuple(math.prod(sizes[axis] for axis in group) for group in groups)
    try:
        dealt = x.reshape(sizes).transpose([axis for group in groups for axis in group])
    except ValueError:  # too large even for no elements
        raise MemoryError(f"{op}: no memory for a result of shape {shape}, {x.dtype}") from None
    y = empty(op, dealt.shape, x.dtype)
    in_pieces(np.copyto, y, dealt)
    return y.reshape(shape)


def space_to_batch(input: Any, block_shape: Any, paddings: Any, name: str | None = None) -> Array:
    """Deal out the positions of blocks to the batch: y[b*N + n, o, ...] = x_padded[n, o*block + b, ...].

    Parameters
    ----------
    input : array_like, (N, *spatial, ...)
        Any dtype; as many spatial axes as the block has sides.
    block_shape : int or sequence
        The block's sides; its positions b are counted in row-major order.
    paddings : sequence of (before, after) pairs
        Zeros added around the spatial axes, which must make them multiples of the block's sides.
    name : str, optional
        Ignored.

    Returns
    -------
    ndarray
        (N * prod(block), *(padded / block), ...)

    Raises
    ------
    ShapeError, ValueError, TypeError
        In words that name the argument, the rule and the numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> nn.space_to_batch(np.arange(1, 6).reshape(1, 5), 2, [(0, 1)])
    array([[1, 3, 5],
           [2, 4, 0]])

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/space_to_batch
    """
    op = "space_to_batch"
    x = array(op, "input", input)
    block, pads = _block(op, x, block_shape, "paddings", paddings)
    n, rest = len(block), x.shape[len(block) + 1 :]
    sizes = [lo + size + hi for (lo, hi), size in zip(pads, x.shape[1:])]
    for i, (size, b) in enumerate(zip(sizes, block)):
        if size % b:
            raise misfit(
                op, "paddings", (x.shape,),
                f"spatial axis {i} of input, {x.shape[i + 1]} positions, has {size} with paddings {pads[i]}, which {b} "
                f"(block_shape={block}) does not divide; pad {-size % b} more",
            )  # fmt: skip
    if any(pair != (0, 0) for pair in pads):
        padded = empty(op, (len(x), *sizes, *rest), x.dtype)
        padded[...] = np.zeros((), x.dtype)
        in_pieces(np.copyto, padded[:, *(slice(lo, lo + size) for (lo, _), size in zip(pads, x.shape[1:]))], x)
        x = padded
    apart = (x.shape[0], *(v for size, b in zip(sizes, block) for v in (size // b, b)), *rest)
    positions = [(axis,) for axis in (*range(1, 2 * n, 2), *range(2 * n + 1, len(apart)))]
    return _dealt(op, x, apart, ((*range(2, 2 * n + 1, 2), 0), *positions))


def batch_to_space(input: Any, block_shape: Any, crops: Any, name: str | None = None) -> Array:
    """Gather the positions of blocks from the batch: y_uncropped[n, o*block + b, ...] = x[b*N + n, o, ...].

    Parameters
    ----------
    input : array_like, (N * prod(block), *spatial, ...)
        Any dtype.
    block_shape : int or sequence
        As in `space_to_batch`, whose inverse this is.
    crops : sequence of (before, after) pairs
        Positions to take off the spatial axes of the result.
    name : str, optional
        Ignored.

    Returns
    -------
    ndarray
        (N, *(spatial * block - crops), ...)

    Raises
    ------
    ShapeError, ValueError, TypeError
        In words that name the argument, the rule and the numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> nn.batch_to_space(np.array([[1, 3, 5], [2, 4, 0]]), 2, [(0, 1)])
    array([[1, 2, 3, 4, 5]])

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/batch_to_space
    """
    op = "batch_to_space"
    x = array(op, "input", input)
    block, cuts = _block(op, x, block_shape, "crops", crops)
    n, count = len(block), math.prod(block)
    if x.shape[0] % count:
        raise misfit(
            op, "input", (x.shape,),
            f"{count} positions of block_shape={block} do not divide the batch of {x.shape[0]} (input.shape={x.shape})",
        )  # fmt: skip
    sizes = [size * b for size, b in zip(x.shape[1:], block)]
    for i, (size, cut) in enumerate(zip(sizes, cuts)):
        if sum(cut) > size:
            raise misfit(
                op, "crops", (x.shape,),
                f"crops {cut} take more than the {size} positions of spatial axis {i} (input.shape={x.shape})",
            )  # fmt: skip
    apart = (*block, x.shape[0] // count, *x.shape[1:])
    spatial, rest = [(n + 1 + i, i) for i in range(n)], [(axis,) for axis in range(2 * n + 1, len(apart))]
    y = _dealt(op, x, apart, ((n,), *spatial, *rest))
    if not any(map(any, cuts)):
        return y
    y = y[:, *(slice(lo, size - hi) for (lo, hi), size in zip(cuts, sizes))]
    left = empty(op, y.shape, y.dtype)
    in_pieces(np.copyto, left, y)
    return left


def _depth(op: str, input: Any, block_size: Any, data_format: Any) -> tuple[Array, int, bool]:
    """The input as (N, H, W, C), the block's side, and whether the channels are last."""
    x, b = array(op, "input", input), integer(op, "block_size", block_size)
    last = layout(op, data_format, 2)
    if x.ndim != 4:
        raise misfit(op, "input", (x.shape,), f"input must have 4 dimensions, not {x.ndim} (input.shape={x.shape})")
    return x if last else np.moveaxis(x, 1, -1), b, last


def space_to_depth(input: Any, block_size: int, data_format: str | None = "NHWC", name: str | None = None) -> Array:
    """Stack the pixels of a block as channels: y[n, i, j, (a*B + b)*C + c] = x[n, i*B + a, j*B + b, c].

    Parameters
    ----------
    input : array_like, (N, H, W, C) or (N, C, H, W)
        Any dtype; B must divide H and W.
    block_size : int
        B, the side of a block.
    data_format : str, optional
        "NHWC" or "NCHW".
    name : str, optional
        Ignored.

    Returns
    -------
    ndarray
        (N, H/B, W/B, B*B*C), or (N, B*B*C, H/B, W/B).

    Raises
    ------
    ShapeError, ValueError, TypeError
        In words that name the argument, the rule and the numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> nn.space_to_depth(np.array([[1, 2], [3, 4]]).reshape(1, 2, 2, 1), 2).ravel()
    array([1, 2, 3, 4])

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/space_to_depth
    """
    op = "space_to_depth"
    x, b, last = _depth(op, input, block_size, data_format)
    n, h, w, c = x.shape
    if h % b or w % b:
        raise misfit(
            op, "block_size", (np.shape(input),), f"block_size={b} must divide the {h} x {w} pixels of the input"
        )
    apart = (n, h // b, b, w // b, b, c)
    return _dealt(op, x, apart, join_shape(((0,),), ((1,), (3,)), (2, 4, 5), last))


def depth_to_space(input: Any, block_size: int, data_format: str | None = "NHWC", name: str | None = None) -> Array:
    """Lay out channels as the pixels of a block: y[n, i*B + a, j*B + b, c] = x[n, i, j, (a*B + b)*C + c].

    Parameters
    ----------
    input : array_like, (N, H, W, B*B*C) or (N, B*B*C, H, W)
        Any dtype.
    block_size, data_format, name
        As in `space_to_depth`, whose inverse this is.

    Returns
    -------
    ndarray
        (N, H*B, W*B, C), or (N, C, H*B, W*B).

    Raises
    ------
    ShapeError, ValueError, TypeError
        In words that name the argument, the rule and the numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> nn.depth_to_space(np.array([1, 2, 3, 4]).reshape(1, 1, 1, 4), 2)[0, :, :, 0]
    array([[1, 2],
           [3, 4]])

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/depth_to_space
    """
    op = "depth_to_space"
    x, b, last = _depth(op, input, block_size, data_format)
    n, h, w, c = x.shape
    if c % (b * b):
        raise misfit(
            op, "block_size", (np.shape(input),),
            f"the {b * b} pixels of block_size={b} must divide the {c} channels of the input",
        )  # fmt: skip
    apart = (n, h, w, b, b, c // (b * b))
    return _dealt(op, x, apart, join_shape(((0,),), ((1, 3), (2, 4)), (5,), last))
