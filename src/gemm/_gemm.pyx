"""The forward driver: every convolution, dense, grouped, depthwise or transposed, as jobs of implicit GEMM.

A job's output pixels are cut into boxes (n, d, h, w); a box is walked in register tiles of up to TILE_ROWS pixels by
one or two vectors of output channels; of a few channels, pixels are the lanes. A tile reads its input through pointers,
one for each pixel and tap: there is no im2col buffer. Where the input can be read where it lies (right dtype, channels
next to each other) the pointers go into the array; else into a strip, the box's input gathered once into scratch,
padding included. The order of every sum is the same in both, (tap, channel), so the result does not depend on how the
array lies in memory, nor on threads or boxes.
"""

from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from itertools import product
from math import prod

import numpy as np

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_New
from common cimport (
    L1_PERIOD, MOVE, Call, Filters, JobAxis, View, aligned, ceil_div, compute_bytes, compute_type, copy_axis, even_parts, l1_ways,
    l2_bytes, leaves_input, map_index, odd_lines, poll_after, read_filters, run_units, span_of, storage_bytes, take, take_large,
    team_of, vector_block, vector_blocks
)
from kernels cimport (
    FEW_VECTORS, NARROW, TILE_ROWS, add_args, conv_kernels, conv_kernels_of, spare_bytes, tile_args, tile_fn, tile_rows, tile_size
)
from move cimport CLAMP, NONE, Gathering, finish_args, gather_box

from cyconv._geometry import spread, zones

cnp.import_array()

include "driver.pxi"

#: conv_kernels_of for the drivers that multiply by the same tiles.
_kernels_of = PyCapsule_New(<void *> conv_kernels_of, NULL, NULL)

cdef enum:
    RUNS = 512              # taps a tile takes at a time
    STRIP_BYTES = 1 << 20   # the most a strip of several pixels may hold
    STREAM_BYTES = 800000   # of a box that is read again for the next filters, in order
    BOX_PIXELS = 1024       # the most of a box
    LEAST_PIXELS = 7 * TILE_ROWS
    FEW_PIXELS = 56         # for which filters are read where they lie, as packing would take longer;
    SOME_PIXELS = 200       # more of them where L2 keeps the filters,
    LEAST_IN_PLACE = 28     # and fewer where their rows share sets of L1
    KEPT_FILTERS = 2 << 20
    LEAST_WEIGHTS = 1 << 14  # that are read where they lie if the outputs have to be asked for NaN then
    FEW_FILTERS = 24576     # bytes of filters that L1 keeps beside a tile's input and output
    LINE_ROWS = 16          # the most pixels of a tile, TILE_ROWS or a vector's lanes
    LINE_BYTES = 1 << 15    # of a tile's windows: where L1 does not hold them, there is nothing to gain from a line
    PACKED = 1 << 15        # values that go together
    UNITS = 6               # wanted for each thread
    SHARED_FILTERS = 400000  # bytes of filters that every thread's L2 holds beside its pixels
    FIND_TILE = 10          # channels and taps of a pixel that are multiplied in the time that it takes to find it
    TINY = 100000           # floating-point operations that are done sooner than the GIL is given to others and had again
    FOLD_CHANNELS = 16      # up to so many channels, a row of taps is one run of a strip,
    SHORT_RUN = 12          # of so many values at most, each is found by itself: to begin a run takes as long as some,
    GATHERED = 300          # and to make one takes no time worth sparing if what it holds for an output meets so many filters'

cdef long WAYS = l1_ways()
# Bytes of filters that a box's tiles go through at once, for L2 keeps them; where they are more, so many at a time, and the
# box's input, which several taps read again for the next ones, has to stay, too.
cdef ptrdiff_t L2 = min(max(l2_bytes(), 1 << 19), 1 << 21), ALL_FILTERS = L2 * 5 // 8, SOME_FILTERS = L2 * 2 // 7
cdef ptrdiff_t INPUT_BYTES = L2 * 9 // 20

cdef struct Job:
    JobAxis ax[3]
    ptrdiff_t taps
    ptrdiff_t together       # phases side by side along the last axis, all with the same input: they are more columns


cdef struct Tiling:
    # How one call cuts a job.
    bint strip               # where its input is read: gathered, not where it lies
    bint fold, rows_first
    bint lies                # folded taps lie so in the input, too; it is gathered only where windows leave it
    ptrdiff_t runs, run      # of a window: taps, or rows of them where these are folded; and values of each
    ptrdiff_t box[4]
    ptrdiff_t boxes[4]
    ptrdiff_t splits         # of the columns
    ptrdiff_t first          # its first unit
    ptrdiff_t units
    ptrdiff_t panel          # where its packed filters start, in elements of a group's
    ptrdiff_t columns        # of a group, and blocks of them
    ptrdiff_t blocks
    bint in_place            # whose filters are read where they lie
    ptrdiff_t together       # blocks at a time, as many as keep their filters in L2


cdef ptrdiff_t[RUNS] ZEROS   # offsets of runs that have none, and a bias that adds nothing


cdef struct Scratch:
    # One thread's.
    const char **a           # [RUNS][TILE_ROWS]
    ptrdiff_t *tap_offset    # [RUNS]
    ptrdiff_t *step_offset   # [short_steps]
    char *tile               # LINE_ROWS rows of two vectors
    char *area               # a strip


cdef struct Run:
    # Everything a unit of work needs to know.
    const conv_kernels *k
    Job *jobs
    Tiling *tilings
    int dtype, size, csize
    bint depthwise, exact, deferred, plain_store, filters_in_place
    ptrdiff_t groups, cg, mg, panel_group, repeat, pitch
    View x, out, residual
    const Filters *filters   # each job's, when they are packed by this call, or read where they lie
    char *panels
    char *scratch            # every thread's
    ptrdiff_t own            # bytes of each,
    ptrdiff_t area, windows, steps  # and of its parts: the largest strip, and the most runs of a window, and steps of short ones
    const char *bias         # one value a column of every group, zeros where there is none
    const char *outside      # a run of the padding constant
    int mode, activation
    double constant, low, high
    Call *call


# ---- indices ----------------------------------------------------------------------------------------------------

cdef inline ptrdiff_t block_start(const Run *r, ptrdiff_t columns, ptrdiff_t b, int *wide) noexcept nogil:
    """The first column of block b of a group, and how many vectors wide the block is."""
    if r.depthwise:  # their loads are of inputs
        return vector_block(columns, r.k.lanes, b, wide)
    wide[0] = 2 if columns - b * 2 * r.k.lanes > r.k.lanes else 1
    if r.filters_in_place and (b + 1) * 2 * r.k.lanes > columns >= 2 * r.k.lanes:
        wide[0] = 2  # moved back rather than cut: what follows a filter may be no memory
        return columns - 2 * r.k.lanes
    return b * 2 * r.k.lanes


cdef inline ptrdiff_t panel_place(const Run *r, const Job *job, const Tiling *t, ptrdiff_t group,
                                  ptrdiff_t block) noexcept nogil:
    """Where a block's packed filters start, in bytes."""
    cdef ptrdiff_t rows = job.taps * (1 if r.depthwise else r.cg)
    return (group * r.panel_group + t.panel + block * rows * 2 * r.k.lanes) * r.csize


cdef inline const char *filters_at(const Run *r, const Job *job, const Tiling *t, ptrdiff_t group, ptrdiff_t block,
                                   ptrdiff_t start, ptrdiff_t width, ptrdiff_t *ldb) noexcept nogil:
    """A block's filters, packed or not, and the elements from one of their rows to the next."""
    cdef const Filters *f
    if not t.in_place:
        ldb[0] = width
        return r.panels + panel_place(r, job, t, group, block)
    f = r.filters + (job - r.jobs)
    ldb[0] = f.row // r.csize
    return f.data + group * f.group + start * r.csize


include "cut.pxi"
include "tiles.pxi"


cdef bint follows(first, count, axes):
    """Whether a phase is the next neighbour of so many that are together."""
    a, b = first[2], axes[2]
    return (b.taps and first[:2] == axes[:2] and a[:6] == b[:6] and a.tap_step == b.tap_step
            and (b.tap_start, b.out_start) == (a.tap_start + count, a.out_start + count))


cdef list merge_phases(problem):
    """(axes, how many) of each job: phases that are neighbours along the last axis and read the same input, with the
    next taps of the filter, are one job with as many times the columns. Far dilations are cut into zones."""
    merged = []
    together = problem.filters == "transposed" and problem.channels_last and problem.groups == 1
    for axes in problem.jobs:
        first, count = merged.pop() if together and merged else (axes, 0)
        if count and not follows(first, count, axes):
            merged.append((first, count))
            first, count = axes, 0
        merged.append((first, count + 1))
    if problem.zeros_outside:
        merged = [(axes, count) for job, count in merged for axes in product(*map(zones, job))]
    return merged


cdef class Convolution(Driver):
    """Any Problem."""
    cdef Job *jobs
    cdef int njobs, mode
    cdef ptrdiff_t together  # the most phases that any job merges
    cdef bint depthwise
    cdef bint has_padding    # a window may meet the nothing outside the input; a constant there is a term like any other
    cdef double constant
    cdef double weights      # that a call reads

    def __cinit__(self, problem):
        cdef int j, i
        cdef double pixels
        self.mode, self.constant = problem.padding_mode, problem.padding_value
        self.depthwise = self.cg == 1 < self.groups and (self.mg == 1 or not problem.filters.endswith("transposed"))
        merged = merge_phases(problem)
        self.njobs = len(merged)
        self.jobs = <Job *> calloc(self.njobs, sizeof(Job))
        if self.jobs == NULL:
            raise MemoryError
        pixels = 2.0 * prod(problem.batch) * self.cg * self.mg * self.groups
        self.work = 0  # without the zones that are left out
        self.together = 1
        for j, (axes, together) in enumerate(merged):
            self.jobs[j].taps, self.jobs[j].together = 1, together
            self.together = max(self.together, together)
            for i, axis in enumerate(axes):
                copy_axis(axis, &self.jobs[j].ax[i])
                self.jobs[j].taps *= axis.taps
                self.has_padding |= problem.zeros_outside and leaves_input(&self.jobs[j].ax[i])
            self.weights += <double> self.jobs[j].taps * together * self.cg * self.mg * self.groups
            self.work += pixels * together * prod([axis.out * axis.taps for axis in axes])
        self.layout = ("direct", tuple((n, *(a[1:2] + a[6:8] for a in axes)) for axes, n in merged))

    def __dealloc__(self):
        free(self.jobs)

    cdef int describe(self, Run *r, Call *call, int isa) except -1:
        """What does not depend on a call's arrays."""
        cdef ptrdiff_t size = self.njobs * sizeof(Tiling)
        cdef int j
        memset(r, 0, sizeof(Run))
        r.tilings, r.call = <Tiling *> memset(take(call, size, "scratch"), 0, size), call
        r.k = conv_kernels_of(isa) + compute_type(self.dtype)
        r.dtype, r.size, r.csize = self.dtype, storage_bytes(self.dtype), compute_bytes(self.dtype)
        r.depthwise = self.depthwise
        r.jobs, r.groups, r.cg, r.mg, r.repeat = self.jobs, self.groups, self.cg, self.mg, 1
        r.mode, r.constant = self.mode, self.constant
        if self.depthwise:
            r.groups, r.cg, r.mg, r.repeat = 1, self.groups, self.groups * self.mg, self.mg
        r.pitch = r.cg * r.repeat
        if r.depthwise:
            r.pitch = max(r.pitch, r.k.lanes)
        elif r.cg > FOLD_CHANNELS:
            for j in range(self.njobs):
                if evict_each_other(r, self.jobs[j].ax[2].stride * r.pitch * r.csize):
                    r.pitch += 64 // r.csize
        return 0

    cdef ptrdiff_t place_panels(self, Run *r) noexcept:
        """Where each job's panels start in a group's; returns the elements of all groups."""
        cdef int j
        cdef Tiling *t
        cdef ptrdiff_t total = 0
        for j in range(self.njobs):
            t = &r.tilings[j]
            t.panel, t.columns = total, r.mg * self.jobs[j].together
            t.blocks = vector_blocks(t.columns, r.k.lanes) if r.depthwise else ceil_div(t.columns, 2 * r.k.lanes)
            t.in_place = r.filters_in_place and (t.columns >= 2 * r.k.lanes or t.columns == r.k.lanes)
            if not t.in_place:
                total += self.jobs[j].taps * (1 if r.depthwise else r.cg) * 2 * r.k.lanes * t.blocks
        r.panel_group = total
        return total * r.groups

    cdef ptrdiff_t pack_units(self, const Run *r) noexcept:
        cdef ptrdiff_t taps = 0
        cdef int j
        for j in range(self.njobs):
            taps += self.jobs[j].taps
        return taps * r.groups * tap_parts(r)

    cdef bint takes(self, const View *v) noexcept:
        """Where the columns of phases that are computed together are next to each other in memory."""
        return self.together == 1 or v.s[2] == self.mg * v.sc

    cdef object read_jobs(self, w, Filters *f):
        """How each job reads its filters, by their role; returns the arrays that hold them."""
        cdef int n = self.ndim, i, j
        cdef str role = self.problem.filters
        cdef ptrdiff_t start, step
        cdef cnp.ndarray a
        cdef list held = []
        if role == "depthwise" and self.depthwise and self.mg > 1 and w.strides[n] != self.mg * w.strides[n + 1]:
            w = w.copy()
        for j in range(self.njobs):
            a = w if self.jobs[j].together == 1 else self.phases_together(w, j)
            held.append(a)
            read_filters(a, n, role, self.cg, self.mg, self.depthwise, f + j)
            for i in range(3 - n, 3):
                start, step = self.jobs[j].ax[i].tap_start, self.jobs[j].ax[i].tap_step
                if self.jobs[j].together > 1:
                    start, step = 0, 1
                f[j].data += start * f[j].s[i]
                f[j].s[i] *= step
        return held

    cdef object phases_together(self, w, int j):
        """The filters of a job of several phases, (taps..., phase and output channel, input channel)."""
        cdef int n = self.ndim, i, phase
        cdef JobAxis *a
        parts = []
        for phase in range(self.jobs[j].together):
            index = []
            for i in range(3 - n, 3):
                a = &self.jobs[j].ax[i]
                start = a.tap_start + (phase if i == 2 else 0)
                stop = start + a.taps * a.tap_step
                index.append(slice(start, stop if stop >= 0 else None, a.tap_step))
            parts.append(w[tuple(index)])
        made = np.stack(parts, axis=n)
        return made.reshape(made.shape[:n] + (self.jobs[j].together * self.mg, made.shape[n + 2]))

    cdef int pack_into(self, Panels panels, cnp.ndarray w, Call *call, int isa) except -1:
        cdef Run r
        cdef Filters *f = <Filters *> take(call, self.njobs * sizeof(Filters), "scratch")
        self.describe(&r, call, isa)
        held = self.read_jobs(w, f)
        r.filters, r.panels = f, panels.room(self.place_panels(&r) * r.csize, self.op)
        run_units(pack_tap, &r, self.pack_units(&r), 1, call)
        del held
        return 0

    cdef ptrdiff_t scratch(self, int threads, int isa, Call *call) except -1:
        cdef Run r
        cdef ptrdiff_t most = 0
        cdef bint strips
        self.describe(&r, call, isa)
        r.x.n = prod(self.problem.batch)
        self.place_panels(&r)
        for strips in range(2):
            # The strides that let most jobs read their input where it lies, and those that let the fewest.
            r.x.sc, r.x.s[2] = r.size * (not strips), L1_PERIOD * strips
            self.cut_all(&r, threads)
            most = max(most, threads * r.own)
        return most + self.njobs * (sizeof(Tiling) + sizeof(Filters)) + self.shared_bytes(&r) + 3 * 64

    cdef int compute(self, const Operands *o, cnp.ndarray x, filters, cnp.ndarray bias, cnp.ndarray out, int threads, int isa,
                     Call *call) except -1:
        cdef Run r
        cdef Filters *f
        cdef char *shared
        cdef ptrdiff_t units, packs = 0, panel_bytes
        cdef double work = self.work + MOVE * (self.weights + cnp.PyArray_SIZE(x) + cnp.PyArray_SIZE(out))
        cdef int team = team_of(work, threads, prepare), j
        cdef list held = []
        self.describe(&r, call, isa)
        r.x, r.out, r.residual = o.x, o.out, o.residual
        r.activation, r.low, r.high = o.activation, o.low, o.high
        r.deferred = o.activation > CLAMP or o.residual.data != NULL and o.residual.sc != r.size
        r.plain_store = self.dtype < 3 and o.out.sc == r.size and not r.deferred
        r.bias = shared = take(call, self.shared_bytes(&r), "scratch")
        r.outside = shared = copy_bias(bias, shared, r.groups * r.mg * r.csize, self.together, 2 * r.k.lanes * r.csize)
        r.k.fill(shared, r.cg + 2 * r.k.lanes, r.constant)
        if isinstance(filters, Panels):
            self.place_panels(&r)
            r.panels, r.exact = (<Panels> filters).data, not (<Panels> filters).finite and self.has_padding
        else:
            r.filters = f = <Filters *> take(call, self.njobs * sizeof(Filters), "scratch")
            held.append(self.read_jobs(filters, f))
            r.filters_in_place = self.may_stay(&r, cnp.PyArray_SIZE(out) // (r.mg * r.groups))
            panel_bytes = self.place_panels(&r) * r.csize
            r.panels = take_large(call, panel_bytes + PANEL_END, "packed filters", large_output, held)
            packs = self.pack_units(&r) if panel_bytes else 0
        units = self.cut_all(&r, team)
        r.scratch = take(call, team * r.own, "scratch")
        if work < TINY:
            run_all(&r, packs, units, team)
        else:
            with nogil:
                run_all(&r, packs, units, team)
        if r.filters_in_place and self.dtype != 2 and self.has_padding and np.isnan(out).any():
            call.not_finite |= not np.isfinite(filters).all()
        if call.not_finite and not call.cancelled and self.has_padding:
            # Once more, pixel by pixel: the zeros of the padding have met an infinity.
            r.exact = True
            for j in range(self.njobs):
                find_runs(&r, r.jobs + j, r.tilings + j)
            with nogil:
                run_units(run_unit, &r, units, team, call)
        return 0

    cdef ptrdiff_t shared_bytes(self, const Run *r) noexcept:
        """Of the bias and a run of the constant, each with a tile's width behind it."""
        return (r.groups * r.mg * self.together + r.cg + 4 * r.k.lanes) * r.csize

    cdef bint may_stay(self, const Run *r, ptrdiff_t pixels) noexcept:
        """Whether every job's filters lie as a tile reads them, rows of columns at one distance; and packing them takes
        longer than to read them so for each tile of so many pixels, and to ask the outputs for NaN."""
        cdef const Filters *f
        cdef bint kept = self.weights * r.csize < KEPT_FILTERS
        cdef ptrdiff_t row, most = SOME_PIXELS if kept else FEW_PIXELS, period = L1_PERIOD if kept else L1_PERIOD // 2
        cdef int i, j
        if self.dtype > 2 or self.depthwise or self.weights < LEAST_WEIGHTS and self.has_padding:
            return False
        for j in range(self.njobs):
            f = r.filters + j
            row = f.row * r.cg
            for i in range(2, -1, -1):
                if self.jobs[j].ax[i].taps > 1:
                    if f.s[i] != row:
                        return False
                    row *= self.jobs[j].ax[i].taps
            if f.column != r.csize or f.row % r.csize:
                return False
            if pixels > (LEAST_IN_PLACE if f.row % period == 0 else most):
                return False
        return True

    cdef ptrdiff_t cut_all(self, Run *r, int threads) noexcept:
        """Every job; returns the units of all."""
        cdef ptrdiff_t units = 0
        cdef Scratch s
        cdef Tiling *t
        cdef int j
        r.area = r.steps = 0
        r.windows = 1
        for j in range(self.njobs):
            t = r.tilings + j
            cut(r, self.jobs + j, threads, t)
            t.first = units
            units += t.units
            r.windows, r.steps = max(r.windows, min(self.jobs[j].taps, RUNS)), max(r.steps, short_steps(t))
            if t.strip:
                r.area = max(r.area, input_of(r, self.jobs + j, t.box, True))
        r.own = lay_out(r, NULL, &s)
        return units


include "columns.pxi"
include "pointwise.pxi"
