"""Inline pieces every driver uses: axes and views of arrays, memory, and a call that threads share and Ctrl-C ends."""

from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport Py_DECREF, Py_INCREF
from cython.parallel cimport parallel, threadid
from libc.stdlib cimport free
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

cimport numpy as cnp


cdef extern from "numpy/arrayobject.h":
    object PyArray_Empty(int, cnp.npy_intp *, cnp.dtype, int)

cdef extern from "isa.h" nogil:
    enum: I32, F16
    int compute_type(int dtype)   # where kernels that compute a storage type are in their table
    int storage_bytes(int dtype)
    int compute_bytes(int dtype)  # of an element of its compute type

cdef extern from "memory.h" nogil:
    enum: AT_HAND, L1_PERIOD
    long l1_ways()
    long l2_bytes()
    bint loads_suffer()
    void *allocate_large(size_t)

cdef extern from "team.h" nogil:
    enum: MOST_THREADS
    ctypedef struct stretch:
        pass
    ctypedef struct team_cpus:
        pass
    void share_units(stretch *, int team, ptrdiff_t units)
    ptrdiff_t take_unit(stretch *, int team, int me)
    void begin_team(team_cpus *)
    void keep_apart(team_cpus *)
    void let_in(const team_cpus *, int others)


# ---- axes and arrays --------------------------------------------------------------------------------------------

cdef extern from "axis.h" nogil:
    ctypedef struct JobAxis:
        ptrdiff_t size, taps, out, stride, dilation, lo, tap_start, tap_step, out_start, out_step


cdef inline int copy_axis(axis, JobAxis *to) except -1:
    cdef ptrdiff_t *numbers = <ptrdiff_t *> to
    cdef Py_ssize_t i
    for i, number in enumerate(axis):
        numbers[i] = number
    return 0


cdef inline ptrdiff_t span_of(const JobAxis *a, ptrdiff_t count) noexcept nogil:
    """How many input positions the windows of so many outputs span."""
    return (count - 1) * a.stride + max(a.taps - 1, 0) * a.dilation + 1


cdef inline bint leaves_input(const JobAxis *a) noexcept nogil:
    """Whether some window reaches beyond the input."""
    return a.lo > 0 or span_of(a, a.out) - a.lo > a.size


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


cdef inline cnp.ndarray readable(cnp.ndarray a, int ndim, bint channels_last, View *v):
    """The array, or where its batch dimensions do not collapse a copy; and its view."""
    if not view_of(a, ndim, channels_last, v):
        a = a.copy()
        view_of(a, ndim, channels_last, v)
    return a


cdef enum:
    LARGE_OUTPUT = 1 << 17    # bytes, from which on memory is kept for the next one
    MOST_DIMS = 64            # of an array, as NumPy 2 has it; 32 before


cdef inline object output(tuple shape, cnp.dtype dtype, large_output):
    """A new array; `large_output` is _runtime's."""
    cdef double size = dtype.itemsize
    cdef cnp.npy_intp[MOST_DIMS] sizes
    cdef Py_ssize_t i
    for i in range(min(len(shape), MOST_DIMS)):
        sizes[i] = shape[i]
        size *= sizes[i]
    if size < LARGE_OUTPUT and len(shape) <= MOST_DIMS:
        Py_INCREF(dtype)  # NumPy takes this reference
        return PyArray_Empty(<int> len(shape), sizes, dtype, 0)
    return large_output(shape, dtype)


cdef struct Filters:
    # How to read filters: w[taps][row of the product, an input channel][column] of a group, strides in bytes.
    const char *data
    ptrdiff_t s[3]
    ptrdiff_t row, column, group


cdef inline void read_filters(cnp.ndarray w, int ndim, str role, ptrdiff_t cg, ptrdiff_t mg, bint by_channel,
                              Filters *f) noexcept:
    """By their role. Where each channel goes by itself, groups are not: `by_channel` makes columns of them."""
    cdef ptrdiff_t last = cnp.PyArray_STRIDES(w)[ndim + 1], other = cnp.PyArray_STRIDES(w)[ndim]
    cdef int i
    f.data = <const char *> cnp.PyArray_DATA(w)
    for i in range(3):
        f.s[i] = cnp.PyArray_STRIDES(w)[i + ndim - 3] if i + ndim >= 3 else 0
    if role == "forward":
        f.row, f.column, f.group = other, last, mg * last
    elif role == "transposed":
        f.row, f.column, f.group = last, last if by_channel else other, cg * last
    elif role == "depthwise":
        f.row, f.column, f.group = 0, other if by_channel and mg == 1 else last, other
    else:
        f.row, f.column, f.group = last, other if by_channel else 0, other


cdef inline cnp.ndarray kept_memory(ptrdiff_t size, str op, str what, large_output):
    """An array of bytes in memory that is kept for the next, as a large output's, which is _runtime's. Of new pages each
    would be cleared first: 9 MB of packed filters took 1 ms more."""
    try:
        return large_output((size,), "u1")
    except MemoryError:
        raise MemoryError(f"{op}: no memory for {size} bytes of {what}") from None


# ---- calls ------------------------------------------------------------------------------------------------------

cdef inline double now() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return t.tv_sec + 1e-9 * t.tv_nsec


cdef struct Call:
    # A call under way, shared by its threads.
    int cancelled
    int not_finite  # a filter has a NaN or an infinity
    double next_poll
    void *raised  # by a signal handler: a reference, or NULL
    char apart[64]  # the others read what is above, all the time
    ptrdiff_t spent  # by the thread that made the call, since it last looked at the clock
    void *op  # its name
    # Its memory: small blocks from its own stack, since malloc and free take as long as a tiny problem.
    ptrdiff_t used
    int count
    char *blocks[6]
    char at_hand[AT_HAND + 64]


cdef inline void begin_call(Call *call, str op) noexcept:
    """A call, which lasts until `end_call`, of an op."""
    call.cancelled, call.not_finite, call.next_poll, call.spent, call.raised, call.op = 0, 0, 0, 0, NULL, <void *> op
    call.used, call.count = -<ptrdiff_t> call.at_hand & 63, 0


cdef inline int end_call(Call *call) except -1:
    """Give its memory back, and raise what a signal handler raised."""
    while call.count:
        call.count -= 1
        free(call.blocks[call.count])
    if call.raised != NULL:
        error = <object> call.raised
        Py_DECREF(error)
        raise error
    return 0


cdef inline char *take(Call *call, ptrdiff_t size, str what) except NULL:
    """A block of memory that starts a cache line and lives until `end_call`."""
    cdef char *p = call.at_hand + call.used
    if size <= AT_HAND - call.used:
        call.used += aligned(size)
        return p
    p = <char *> allocate_large(size)
    if p == NULL:
        raise MemoryError(f"{<str> call.op}: no memory for {size} bytes of {what}")
    call.blocks[call.count] = p
    call.count += 1
    return p


cdef inline char *take_large(Call *call, ptrdiff_t size, str what, large_output, list held) except NULL:
    """As `take`, of what may be large: from memory that is kept, and that `held` keeps alive."""
    cdef cnp.ndarray room
    if size < LARGE_OUTPUT:
        return take(call, size, what)
    room = kept_memory(size, <str> call.op, what, large_output)
    held.append(room)
    return <char *> cnp.PyArray_DATA(room)


cdef inline void poll_signals(Call *call) noexcept with gil:
    try:
        PyErr_CheckSignals()
    except BaseException as error:
        if call.raised == NULL:
            Py_INCREF(error)
            call.raised = <void *> error
        call.cancelled = 1


cdef inline bint poll(Call *call, int thread) noexcept nogil:
    """Whether the call is cancelled; the thread that made it, 0, lets Python answer signals every 50 ms."""
    cdef double t
    if thread == 0:
        t = now()
        if call.next_poll == 0:
            call.next_poll = t + 0.05
        elif t > call.next_poll:
            poll_signals(call)
            call.next_poll = now() + 0.05
    return call.cancelled


cdef inline bint poll_after(Call *call, int thread, ptrdiff_t steps) noexcept nogil:
    """The same, once it has done so many steps of a tile's rows: 40,000 of them take some 20 us."""
    if thread == 0:
        call.spent += steps
        if call.spent > 40000:
            call.spent = 0
            poll(call, 0)
    return call.cancelled


cdef enum:
    # Floating-point operations, 4 to 10 us: a thread that still spins is there in 1 us, and one that sleeps (25 us to wake)
    # does not keep the others from doing its part.
    WORTH_A_THREAD = 1000000
    MOVE = 10                 # of them that take as long as moving a value in or out


cdef inline int team_of(double work, int threads, prepare) except -1:
    """How many of so many threads have enough to do, and can be had; `prepare` is _runtime's."""
    threads = <int> max(1, min(threads, <ptrdiff_t> min(work / WORTH_A_THREAD, 1e6)))
    return prepare(threads) if threads > 1 else 1


cdef inline ptrdiff_t even_parts(ptrdiff_t whole, ptrdiff_t least, ptrdiff_t others, ptrdiff_t each, ptrdiff_t tile,
                                 int threads) noexcept nogil:
    """Into how many parts to cut `whole`, `least` or some more, so that the thread that gets most of parts*others units
    gets as few tiles as can be; a part's items are `each` of what a tile holds `tile` of."""
    cdef ptrdiff_t parts, most, best = least, fewest = 0
    for parts in range(least, min(whole, 2 * least if threads > 1 else least) + 1):
        most = ceil_div(parts * others, threads) * ceil_div(ceil_div(whole, parts) * each, tile)
        if parts == least or most < fewest:
            best, fewest = parts, most
    return best


# A unit of a task's work, and the number of the thread that does it: 0 for the one that made the call.
ctypedef void (*unit_fn)(const void *task, ptrdiff_t unit, int thread) noexcept nogil


cdef inline void run_units(unit_fn work, const void *task, ptrdiff_t units, int team, const Call *call) noexcept nogil:
    """Do all units, each by whichever thread is free, until the call is cancelled."""
    cdef ptrdiff_t i = 0
    cdef stretch[MOST_THREADS] stretches
    cdef team_cpus cpus
    if team == 1:
        for i in range(units):
            if not call.cancelled:
                work(task, i, 0)
        return
    share_units(stretches, team, units)
    begin_team(&cpus)
    with parallel(num_threads=team):
        if threadid() > 0:
            keep_apart(&cpus)
        i = take_unit(stretches, team, threadid())
        while i >= 0 and not call.cancelled:
            work(task, i, threadid())
            i = take_unit(stretches, team, threadid())
        if threadid() == 0:
            let_in(&cpus, team - 1)


cdef inline ptrdiff_t aligned(ptrdiff_t size) noexcept nogil:
    """In whole cache lines."""
    return (size + 63) // 64 * 64


cdef inline ptrdiff_t ceil_div(ptrdiff_t a, ptrdiff_t b) noexcept nogil:
    return (a + b - 1) // b


cdef inline ptrdiff_t vector_blocks(ptrdiff_t columns, ptrdiff_t lanes) noexcept nogil:
    """Into how many blocks of two vectors columns are cut; of more than one vector and less than two, into two of one."""
    return 2 if lanes < columns < 2 * lanes else ceil_div(columns, 2 * lanes)


cdef inline ptrdiff_t vector_block(ptrdiff_t columns, ptrdiff_t lanes, ptrdiff_t b, int *wide) noexcept nogil:
    """The first column of block b and how many vectors it is wide: the last block ends at the last column, overlapping the one
    before, so that all loads stay inside a row."""
    cdef ptrdiff_t rest = columns - b * 2 * lanes
    wide[0] = 2 if rest > lanes and columns >= 2 * lanes else 1
    return max(0, min(b * 2 * lanes, columns - wide[0] * lanes))


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
