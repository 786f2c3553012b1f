"""Inline pieces every driver uses: views of arrays, and the end of a long call at Ctrl-C."""

from cpython.exc cimport PyErr_CheckSignals
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

cimport numpy as cnp


cdef struct View:
    # An array as (n, three spatial axes, c), strides in bytes.
    char *data
    ptrdiff_t n, sn
    ptrdiff_t size[3]
    ptrdiff_t s[3]
    ptrdiff_t c, sc


cdef inline bint view_of(cnp.ndarray a, int ndim, bint channels_last, View *v) noexcept:
    """False where the batch dimensions do not collapse into one stride."""
    cdef int batch = cnp.PyArray_NDIM(a) - ndim - 1, i
    cdef cnp.npy_intp *shape = cnp.PyArray_DIMS(a)
    cdef cnp.npy_intp *strides = cnp.PyArray_STRIDES(a)
    cdef int first = batch if channels_last else batch + 1
    cdef int channel = batch + ndim if channels_last else batch
    v.data = <char *> cnp.PyArray_DATA(a)
    v.c, v.sc = shape[channel], strides[channel]
    for i in range(3):
        v.size[i], v.s[i] = 1, 0
    for i in range(ndim):
        v.size[3 - ndim + i], v.s[3 - ndim + i] = shape[first + i], strides[first + i]
    v.n, v.sn = 1, 0
    for i in range(batch - 1, -1, -1):
        if shape[i] != 1:
            if v.n == 1:
                v.sn = strides[i]
            elif strides[i] != v.sn * v.n:
                return False
        v.n *= shape[i]
    return True


cdef enum:
    LARGE_OUTPUT = 1 << 17    # bytes, from which on memory is kept for the next one


cdef inline object output(int ndim, cnp.npy_intp *shape, cnp.ndarray like, empty):
    """A new array of a shape and another's dtype; `empty` is _runtime's."""
    cdef double size = cnp.PyArray_ITEMSIZE(like)
    cdef int i
    for i in range(ndim):
        size *= shape[i]
    if size < LARGE_OUTPUT:
        return cnp.PyArray_EMPTY(ndim, shape, cnp.PyArray_TYPE(like), 0)
    return empty(tuple([shape[i] for i in range(ndim)]), like.dtype)


cdef struct Call:
    # A call under way, shared by its threads.
    int cancelled
    int not_finite  # a filter has a NaN or an infinity
    double next_poll
    void *raised  # a list that takes what a signal handler raised


cdef inline double now() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return t.tv_sec + 1e-9 * t.tv_nsec


cdef inline void poll_signals(Call *call) noexcept with gil:
    try:
        PyErr_CheckSignals()
    except BaseException as error:
        (<list> call.raised).append(error)
        call.cancelled = 1


cdef inline void poll(Call *call) noexcept nogil:
    """For the thread that made the call: every 50 ms let Python answer signals."""
    cdef double t = now()
    if t > call.next_poll:
        poll_signals(call)
        call.next_poll = now() + 0.05


cdef inline ptrdiff_t ceil_div(ptrdiff_t a, ptrdiff_t b) noexcept nogil:
    return (a + b - 1) // b


cdef inline ptrdiff_t odd_lines(ptrdiff_t bytes) noexcept nogil:
    """Room for them in an odd number of cache lines: what is written to many such places at once does not share few sets
    of L1, as it would a power of two apart."""
    return (ceil_div(bytes, 64) | 1) * 64


cdef inline ptrdiff_t map_index(ptrdiff_t i, ptrdiff_t n, int mode) noexcept nogil:
    """Where a position is read: itself inside [0, n), -1 for the constant, or another index."""
    cdef ptrdiff_t period
    if 0 <= i < n:
        return i
    if mode == 0:
        return -1
    if mode == 3:
        return 0 if i < 0 else n - 1
    period = n if mode == 4 else 2 * n if mode == 2 else max(2 * (n - 1), 1)
    i %= period
    i += period if i < 0 else 0
    if i < n:
        return i
    return period - i - (1 if mode == 2 else 0)
