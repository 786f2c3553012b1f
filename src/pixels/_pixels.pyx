"""The pixel driver: convolutions of few channels, vectorised over the pixels of an output row.

A tile is some filters by some output rows by some vectors of a row. A vector of input is loaded once and meets every
output row and filter that reads it: output row r meets input row i with row i - r of the filter. So the filter's rows
share the loads, and an image filter of one channel runs at the FMA units' pace although it has one input and one output.
Where only a row of taps is there to share (a FIR filter), the signal is read as rows a vector long: output r*lanes + j
meets input i*lanes + j + k with tap (i - r)*lanes + k.

Rows are read where they lie if their pixels lie side by side; else from a strip, a box's input as planes, [row][phase of
the stride][channel][pixel], gathered once, padding included. Every sum is in the general driver's order, (tap, channel).
"""

from libc.math cimport INFINITY
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from math import prod

import numpy as np

cimport numpy as cnp
from common cimport (
    Call, Filters, JobAxis, View, aligned, begin_call, ceil_div, compute_bytes, compute_type, copy_axis, end_call, leaves_input,
    map_index, poll, poll_after, read_filters, readable, run_units, span_of, storage_bytes, take, team_of
)
from move cimport CLAMP, NONE, fill_fn, finish_args, finish_fn, pack_fn

from cyconv._gemm import Convolution

cnp.import_array()

include "driver.pxi"

cdef extern from "kernels.h" nogil:
    enum: FILTERS, ROWS, ALL, PRODUCTS, TILE_WIDE
    ctypedef struct meeting:
        int range, taps
        ptrdiff_t filter
    ctypedef struct tile_args:
        const char *const *input
        const meeting *meetings
        ptrdiff_t count
        const ptrdiff_t *offset
        const char *filters
        ptrdiff_t next_tap
        char *const *out
        int rows, bare
        const char *bias
        double low, high
        ptrdiff_t first, tiles, next, advance
    ctypedef void (*tile_fn)(const tile_args *) noexcept nogil
    ctypedef struct product_args:
        const void *x[PRODUCTS]
        const void *g[PRODUCTS]
        ptrdiff_t vectors
        void *sums
        ptrdiff_t pitch
    ctypedef void (*product_fn)(const product_args *) noexcept nogil
    ctypedef void (*totals_fn)(void *, const void *, ptrdiff_t) noexcept nogil
    ctypedef void (*planes_fn)(void *, ptrdiff_t, const char *, ptrdiff_t, ptrdiff_t, ptrdiff_t, ptrdiff_t) noexcept nogil
    ctypedef void (*interleave_fn)(char *, ptrdiff_t, const void *, ptrdiff_t, ptrdiff_t, ptrdiff_t) noexcept nogil
    ctypedef struct pixel_kernels:
        int lanes
        int wide[3]
        int rows[5][3]
        tile_fn tile[5][3]
        int image_wide
        tile_fn image[6]
        int products
        product_fn product[6][6]
        totals_fn totals
        interleave_fn interleave
        fill_fn fill
        planes_fn planes[5]
        pack_fn pack[5]
        finish_fn finish[5]
    const pixel_kernels *pixel_kernels_of(int isa)

cdef enum:
    STRIP_BYTES = 1 << 17     # wanted of a strip,
    STRIP_LIMIT = 1 << 20     # and the most it may take
    WINDOW_BYTES = 1 << 15    # of the rows that a row of tiles reads: L1 keeps them
    LONG_ROW = 1024           # outputs: a row of taps takes them as rows of their own
    DIRECT_PIXELS = 1024      # of a row, where it pays to read it where it lies
    UNIT_FLOPS = 10000000     # a box's, about
    ROWS_MOST = 1 << 12       # of a box's input
    INTERLEAVED_MOST = 16     # channels of an output pixel that are gathered from planes at once

cdef enum Store:
    PLAIN, INTERLEAVED, FINISHED


cdef struct Span:
    # One axis of the boxes: [first, last) is cut into boxes, what is before and behind is a box each.
    ptrdiff_t first, last, box, boxes


cdef struct Source:
    # A meeting's row of input, from the first that the tile reads, and bytes into it.
    ptrdiff_t d, h, shift


cdef struct Job:
    JobAxis ax[3]
    ptrdiff_t taps
    # How the rows of its windows meet:
    int wide                  # the widest tiles
    bint fold                 # a row of taps is read as rows a vector long
    ptrdiff_t rows            # of output a tile takes,
    ptrdiff_t apart           # so far from each other,
    ptrdiff_t step            # and of input between two of them; counted in dilations when these are shared
    ptrdiff_t outer           # rows of taps that do not meet: the filter's depth, with its height when folded
    ptrdiff_t height          # rows of taps that do
    ptrdiff_t slots           # filter rows of a tap as packed
    ptrdiff_t period          # taps before the next row: all, or a vector's lanes when folded
    ptrdiff_t tail            # taps that do not make a whole row when folded
    ptrdiff_t run             # taps and channels of a row
    ptrdiff_t panel           # where its packed filters start, in elements of a group's
    meeting *meetings[ROWS + 1]  # by output rows of the tile
    Source *source[ROWS + 1]
    ptrdiff_t count[ROWS + 1]
    ptrdiff_t inputs[ROWS + 1]
    tile_fn image             # or NULL
    ptrdiff_t *offset[2]      # of each tap and channel: in a strip, in the array


cdef struct Scratch:
    # One thread's.
    const char **rows         # every row of a box's input; NULL: not found yet
    const char **input        # those of a tile
    char *tile                # planes of outputs that may not be stored as they are
    char *strip


cdef struct Run:
    # Everything a unit of work needs to know.
    const pixel_kernels *k
    Job *jobs
    int njobs, dtype, size, csize, store, filters
    bint deferred
    ptrdiff_t groups, cg, mg, panel_group
    # How one call cuts the windows of all jobs together:
    JobAxis ax[3]
    Span span[3]
    bint direct               # rows are read where they lie, where no window leaves the input
    ptrdiff_t rows, inputs    # of outputs and of input that any tile takes
    ptrdiff_t pitch           # of a plane's row in a strip
    ptrdiff_t row_bytes       # of all of its planes
    ptrdiff_t ring            # rows that a strip holds
    ptrdiff_t tile_pitch      # of a row of outputs that may not be stored as they are
    View x, out, residual
    const Filters *weights    # when they are packed by this call
    char *panels
    char *scratch             # every thread's
    ptrdiff_t own             # bytes of each
    const char *bias
    const char *outside       # a row of the padding constant
    int mode, activation, bare
    double constant, low, high
    double least, most        # of a tile's values: the clamp where that is not left to finish
    Call *call


cdef struct Piece:
    # Some columns of a box: tiles side by side, all equally wide.
    int wide
    ptrdiff_t first, tiles


cdef struct Box:
    ptrdiff_t n, group
    int thread                # that computes it
    ptrdiff_t start[3]
    ptrdiff_t count[3]
    ptrdiff_t made[3]         # of these outputs, those that a job has
    bint direct
    ptrdiff_t lo[3]           # the first input, and how many from there on
    ptrdiff_t extent[3]
    ptrdiff_t lead            # bytes before a strip's rows, so that the array's pixels start a vector
    ptrdiff_t ahead[3]        # how far the job's windows start behind those of all jobs
    ptrdiff_t unit            # columns that a tile of one vector takes: its rows', too, where a row is folded
    Piece pieces[2]
    int npieces
    View out, residual        # a job's part of them


# ---- the input of a box -----------------------------------------------------------------------------------------

cdef void gather_row(const Run *r, const Box *b, const char *src, char *dst) noexcept nogil:
    """A row's pixels from the box's first window to its last, as planes, padding in place."""
    cdef const JobAxis *a = &r.ax[2]
    cdef ptrdiff_t start = b.lo[2], extent = b.extent[2], phase, count, i, j, first, last, at, end, plane = r.pitch
    for phase in range(min(a.stride, extent)):
        count = ceil_div(extent - phase, a.stride) if a.stride > 1 else extent
        first, last = -start - phase, a.size - start - phase
        if a.stride > 1:
            first, last = ceil_div(first, a.stride) if first > 0 else 0, ceil_div(last, a.stride) if last > 0 else 0
        first = min(count, max(0, first))
        last = max(first, min(count, last))
        if last > first:
            r.k.planes[r.dtype](dst + first * r.csize, plane, src + (start + phase + first * a.stride) * r.x.s[2],
                                last - first, a.stride * r.x.s[2], r.cg, r.x.sc)
        for i in range(count if r.mode else 0):
            if i < first or i >= last:
                at = map_index(start + phase + i * a.stride, a.size, r.mode)
                r.k.planes[r.dtype](dst + i * r.csize, plane, src + at * r.x.s[2], 1, 0, r.cg, r.x.sc)
        if r.mode:
            first, last = 0, count
        end = count
        if b.count[2] < r.k.lanes:  # the tile reads a vector all the same
            end += min(r.k.lanes, plane - b.lead // r.csize - count)
        for j in range(r.cg if first > 0 or last < end else 0):
            r.k.fill(dst + j * plane * r.csize, first, r.constant)
            r.k.fill(dst + (j * plane + last) * r.csize, end - last, r.constant)
        dst += r.cg * plane * r.csize


cdef void find_rows(const Run *r, const Box *b, ptrdiff_t d, ptrdiff_t h, ptrdiff_t end, Scratch *s) noexcept nogil:
    """Where rows h up to end of the box's input start: in the array, in the strip that is filled here, or outside.

    The strip is a ring where only one job reads only one plane: a row takes the place of one that no later tile will read.
    """
    cdef ptrdiff_t id = map_index(b.lo[0] + d, r.ax[0].size, r.mode), ih, at
    cdef const char *src
    cdef const char **row = s.rows + d * b.extent[1]
    for h in range(h, end):
        if row[h] != NULL:
            continue
        ih = map_index(b.lo[1] + h, r.ax[1].size, r.mode)
        if id < 0 or ih < 0:
            row[h] = r.outside
        else:
            src = r.x.data + b.n * r.x.sn + id * r.x.s[0] + ih * r.x.s[1] + b.group * r.cg * r.x.sc
            if b.direct:
                row[h] = src + b.lo[2] * r.x.s[2]
            else:
                at = (d * b.extent[1] + h) % r.ring
                row[h] = s.strip + at * r.row_bytes + b.lead
                gather_row(r, b, src, s.strip + at * r.row_bytes + b.lead)


# ---- a row of tiles ---------------------------------------------------------------------------------------------

cdef void cut_columns(const Run *r, const Job *job, Box *b) noexcept nogil:
    """The widest tiles that fit; for what is left the narrowest that covers it, moved back."""
    cdef ptrdiff_t count = b.made[2], left
    cdef int wide = job.wide
    cdef Piece *piece = b.pieces
    b.unit = r.k.lanes
    if job.fold:
        b.unit *= max(1, min(job.rows, count // r.k.lanes))
    while wide > 0 and r.k.wide[wide] * b.unit > count:
        wide -= 1
    piece.wide, piece.first, piece.tiles = wide, 0, max(1, count // (r.k.wide[wide] * b.unit))
    left, b.npieces = count - piece.tiles * r.k.wide[wide] * b.unit, 1
    if left > 0:
        wide = 0
        while r.k.wide[wide] * b.unit < left:
            wide += 1
        piece[1].wide, piece[1].first, piece[1].tiles = wide, count - r.k.wide[wide] * b.unit, 1
        b.npieces = 2


cdef void finish_block(const Run *r, const Job *job, const Box *b, ptrdiff_t filters, ptrdiff_t rows, char *out,
                       char *residual, Scratch *s) noexcept nogil:
    """Some filters' planes into the output as it is: any strides, any dtype, residual, activation."""
    cdef ptrdiff_t m, at, most = TILE_WIDE * r.k.lanes, i
    cdef char *place[ROWS]
    cdef char *added[ROWS]
    cdef finish_args end
    end.pitch, end.rows, end.bias = r.tile_pitch, <int> rows, NULL
    end.out, end.out_step = place, b.out.s[2]
    end.residual, end.residual_step = added if r.residual.data != NULL else NULL, b.residual.s[2]
    end.activation, end.low, end.high = r.activation if r.deferred else NONE, r.low, r.high
    for m in range(filters):
        at = 0
        while at < b.made[2]:
            end.tile = s.tile + (m * r.rows * r.tile_pitch + at) * r.csize
            end.columns = <int> min(most, b.made[2] - at)
            for i in range(rows):
                place[i] = out + m * b.out.sc + i * job.apart * b.out.s[1] + at * end.out_step
                added[i] = residual + m * b.residual.sc + i * job.apart * b.residual.s[1] + at * end.residual_step
            r.k.finish[r.dtype](&end)
            at += most


cdef void run_rows(const Run *r, const Job *job, const Box *b, ptrdiff_t d, ptrdiff_t h, ptrdiff_t rows,
                   Scratch *s) noexcept nogil:
    """All filters of a group over output rows h, h + apart, ... of the box."""
    cdef ptrdiff_t m, i, filters, first = 0, met = b.unit // r.k.lanes if job.fold else rows
    cdef ptrdiff_t shift = b.ahead[2] * (r.x.s[2] if b.direct else r.csize)
    cdef int store = FINISHED if r.store == PLAIN and b.made[2] < r.k.lanes else r.store
    cdef const char **row = (s.rows + (b.ahead[0] + d * job.ax[0].stride) * b.extent[1]
                             + b.ahead[1] + h * job.ax[1].stride)
    cdef const Source *source = job.source[met]
    cdef char *out = b.out.data + d * b.out.s[0] + h * b.out.s[1]
    cdef char *residual = b.residual.data + d * b.residual.s[0] + h * b.residual.s[1]
    # Where the first filter's first row goes, and how far the next filter's and the next row are.
    cdef char *to = out if store == PLAIN else s.tile
    cdef ptrdiff_t plane = b.out.sc if store == PLAIN else r.rows * r.tile_pitch * r.csize
    cdef ptrdiff_t down = job.apart * b.out.s[1] if store == PLAIN else r.tile_pitch * r.csize
    cdef char *target[FILTERS * ROWS]
    cdef tile_args args
    if job.fold:
        down = r.k.lanes * r.csize
    args.input, args.offset, args.out = s.input, job.offset[b.direct], target
    args.meetings, args.count = job.meetings[met], job.count[met]
    args.rows, args.next, args.next_tap, args.bare = <int> met, b.unit, job.slots, r.bare
    args.low, args.high = r.least, r.most
    for i in range(job.inputs[met]):
        s.input[i] = row[source[i].d * b.extent[1] + source[i].h] + shift + source[i].shift
    while first < r.mg:
        filters = min(r.filters, r.mg - first)
        for m in range(filters):
            for i in range(met):
                target[m * ROWS + i] = to + m * plane + i * down
        args.filters = r.panels + (b.group * r.panel_group + job.panel + first * job.outer * job.run * job.slots) * r.csize
        args.bias = r.bias + (b.group * r.mg + first) * r.csize
        for i in range(b.npieces):
            args.first, args.tiles, args.advance = b.pieces[i].first, b.pieces[i].tiles, r.k.wide[b.pieces[i].wide] * b.unit
            if job.image != NULL and rows == job.rows and r.k.wide[b.pieces[i].wide] % r.k.image_wide == 0:
                args.tiles *= r.k.wide[b.pieces[i].wide] // r.k.image_wide
                args.advance = r.k.image_wide * b.unit
                job.image(&args)
            else:
                r.k.tile[filters][b.pieces[i].wide](&args)
        if store == FINISHED:
            finish_block(r, job, b, filters, rows, out + first * b.out.sc, residual + first * b.residual.sc, s)
        else:
            to += filters * plane
        first += filters
    if store == INTERLEAVED:
        for i in range(rows):
            r.k.interleave(out + i * job.apart * b.out.s[1], b.out.s[2], s.tile + i * down, r.rows * r.tile_pitch,
                           b.made[2], r.mg)


cdef void run_job(const Run *r, const Job *job, Box *b, Scratch *s) noexcept nogil:
    """A job's outputs of a box, row of tiles by row of tiles; rows of input are found, or gathered, as they are needed."""
    cdef ptrdiff_t d, h, k, first, rows, block = job.apart * (1 if job.fold else job.rows), end
    cdef const JobAxis *a = &job.ax[0]
    cut_columns(r, job, b)
    for d in range(b.made[0]):
        h = 0
        while h < b.made[1]:
            end = b.ahead[1] + span_of(&a[1], min(h + block, b.made[1]))
            for k in range(a[0].taps):
                find_rows(r, b, b.ahead[0] + d * a[0].stride + k * a[0].dilation, b.ahead[1] + h * a[1].stride, end, s)
            for first in range(min(job.apart, b.made[1] - h)):
                rows = 1 if job.fold else min(job.rows, (b.made[1] - h - first + job.apart - 1) // job.apart)
                run_rows(r, job, b, d, h + first, rows, s)
                if poll_after(r.call, b.thread, rows * b.made[2] * (job.taps * r.cg * r.mg // 16 + 1)):
                    return
            h += block


cdef inline View outputs_of(const Run *r, View v, const Job *job, const Box *b) noexcept nogil:
    """A job's outputs of a box in an array."""
    cdef int i
    v.data += b.n * v.sn + b.group * r.mg * v.sc
    for i in range(3):
        v.data += (job.ax[i].out_start + b.start[i] * job.ax[i].out_step) * v.s[i]
        v.s[i] *= job.ax[i].out_step
    return v


cdef void run_unit(const void *task, ptrdiff_t unit, int thread) noexcept nogil:
    """One box of every job: all filters of a group. What they read is found, or gathered, once for all."""
    cdef const Run *r = <const Run *> task
    cdef Scratch s
    cdef const JobAxis *a
    cdef const Span *span
    cdef ptrdiff_t i, j, last
    cdef const Job *job
    cdef Box b
    b.direct = r.direct
    for i in range(2, -1, -1):
        span = &r.span[i]
        a = &r.ax[i]
        j = unit % span.boxes - (span.first > 0)
        unit //= span.boxes
        b.start[i] = min(span.first + j * span.box, span.last) if j >= 0 else 0
        last = span.first if j < 0 else min(b.start[i] + span.box, span.last) if b.start[i] < span.last else a.out
        b.count[i] = last - b.start[i]
        # A row outside the input has a place of its own; several channels of it have not.
        b.lo[i], b.extent[i] = b.start[i] * a.stride - a.lo, span_of(a, b.count[i])
        if (i == 2 or r.cg > 1 and not r.mode) and not 0 <= b.lo[i] <= a.size - b.extent[i]:
            b.direct = False
    b.direct = b.direct and b.count[2] >= r.k.lanes
    b.lead = max(0, r.ax[2].lo - b.start[2]) * r.csize
    b.lead = (64 - b.lead % 64) % 64 if r.ax[2].stride == 1 else 0
    b.group, b.n, b.thread = unit % r.groups, unit // r.groups, thread
    lay_out(r, r.scratch + thread * r.own, &s)
    memset(s.rows, 0, b.extent[0] * b.extent[1] * sizeof(char *))
    for j in range(r.njobs):
        job = r.jobs + j
        for i in range(3):
            b.made[i] = min(b.count[i], job.ax[i].out - b.start[i])
            b.ahead[i] = r.ax[i].lo - job.ax[i].lo
        if b.made[0] > 0 and b.made[1] > 0 and b.made[2] > 0:
            b.out, b.residual = outputs_of(r, r.out, job, &b), outputs_of(r, r.residual, job, &b)
            run_job(r, job, &b, &s)


# ---- how a job is cut -------------------------------------------------------------------------------------------

cdef void arrange(const Run *r, Job *job) noexcept nogil:
    """Which rows meet: what is packed follows from the taps, the dilation and the stride alone."""
    cdef const JobAxis *h = &job.ax[1]
    cdef const JobAxis *w = &job.ax[2]
    cdef ptrdiff_t lanes = r.k.lanes
    job.wide = 2
    job.apart = job.step = 1
    job.tail, job.period = 0, w.taps
    job.fold = w.stride == 1 and h.taps == 1 and (h.out < r.k.rows[r.filters][2] or w.out >= LONG_ROW)
    if w.stride == 1 and w.dilation == 1 and w.taps >= 2 * lanes and w.taps > 4 * lanes * (h.taps - 1):
        job.fold, job.period = True, lanes
    while not job.fold and job.wide > 0 and r.k.wide[job.wide] * lanes > w.out:
        job.wide -= 1
    job.rows = r.k.rows[r.filters][job.wide]
    job.outer, job.height = job.ax[0].taps, h.taps
    if job.fold:
        job.outer, job.height = job.ax[0].taps * h.taps, w.taps // lanes if job.period == lanes else 0
        job.tail = w.taps - job.height * job.period
    elif h.stride == 1:
        job.apart = h.dilation
    elif h.dilation == 1:
        job.step = h.stride
    else:
        job.rows = 1
    if not job.fold:
        job.rows = min(job.rows, ceil_div(h.out, job.apart))
    job.run = job.period * r.cg
    job.slots = ceil_div(w.taps, max(job.period, 1)) if job.fold else job.height
    if not job.fold and job.height > 1:  # a row by itself is packed alike, folded or not
        job.slots = ceil_div(job.height, job.step) * job.step
    if job.taps == 0:
        job.outer = 0
    job.image = NULL
    if (r.cg == r.mg == job.step == w.stride == w.dilation == 1 and not job.fold and job.ax[0].taps == 1
            and h.taps == w.taps < 6 and job.rows == r.k.rows[1][2]):
        job.image = r.k.image[w.taps]


cdef inline ptrdiff_t slot_of(const Job *job, ptrdiff_t row) noexcept nogil:
    """Where a row of the filter is packed: next to those that meet the same row of input."""
    return row % job.step * (job.slots // job.step) + row // job.step


cdef void meet(const Run *r, Job *job, ptrdiff_t rows, meeting *m, Source *source) noexcept nogil:
    """The meetings of a tile of so many output rows, in the order of the taps, and their sources."""
    cdef ptrdiff_t outer, d, h, i, first, last, tap, filters
    # From one row of input to the next: in the array or, where a row of taps is folded, in the row.
    cdef ptrdiff_t down = 0 if job.fold else job.ax[1].dilation if job.step == 1 else 1
    cdef ptrdiff_t along = r.k.lanes * r.csize if job.fold else 0
    cdef bint together = rows == r.k.rows[r.filters][job.wide] and (job.tail > 0 if job.fold else job.height == 1)
    cdef meeting *m0 = m
    cdef Source *source0 = source
    for outer in range(job.outer):
        d, h, filters = outer * job.ax[0].dilation, 0, outer * job.run * job.slots
        if job.fold:
            d, h = outer // job.ax[1].taps * job.ax[0].dilation, outer % job.ax[1].taps * job.ax[1].dilation
        for i in range((rows - 1) * job.step + job.height if job.fold or not together else 0):
            first = ceil_div(i - job.height + 1, job.step) if i >= job.height else 0
            last = min(rows - 1, i // job.step)
            if first > last:
                continue
            tap = i - first * job.step
            m.range, m.taps = <int> (first * ROWS + last), <int> job.run
            m.filter = filters + slot_of(job, tap)
            source.d, source.h, source.shift = d, h + i * down, i * along
            m += 1
            source += 1
        # The tail of a folded row, or a row by itself: each row of output meets its own.
        for i in range(rows if job.tail > 0 or not job.fold and together else 0):
            source.d, source.h, source.shift = d, h + i * job.step * down, (job.height + i) * along
            source += 1
            if i == 0 or not together:
                m.range = ALL if together else <int> (i * ROWS + i)
                m.taps = <int> (job.tail * r.cg if job.fold else job.run)
                m.filter = filters + (job.height if job.fold else 0)
                m += 1
    job.count[rows], job.inputs[rows] = m - m0, source - source0


cdef void join(Run *r) noexcept nogil:
    """The windows of all jobs as those of one."""
    cdef const JobAxis *one
    cdef JobAxis *a
    cdef ptrdiff_t end
    cdef int i, j
    for i in range(3):
        a = &r.ax[i]
        a[0] = r.jobs.ax[i]
        end = span_of(a, 1) - a.lo
        for j in range(1, r.njobs):  # of stride 1, as the first
            one = &r.jobs[j].ax[i]
            a.out, a.lo, end = max(a.out, one.out), max(a.lo, one.lo), max(end, span_of(one, 1) - one.lo)
        if r.njobs > 1:
            a.taps, a.dilation = end + a.lo, 1


cdef void measure(Run *r) noexcept nogil:
    """The strip that the boxes need: rows of planes, each an odd number of cache lines long, so that planes do not
    share the same sets of L1."""
    cdef const Job *job = r.jobs
    cdef ptrdiff_t line = 64 // r.csize, columns = max(r.span[2].box, r.k.lanes), rows = r.span[1].box
    r.tile_pitch = ceil_div(columns, r.k.lanes) * r.k.lanes
    columns = ceil_div(span_of(&r.ax[2], columns), r.ax[2].stride)
    r.pitch = (ceil_div(columns, line) + 1 | 1) * line
    r.row_bytes = r.ax[2].stride * r.cg * r.pitch * r.csize
    if not read_again(r):
        rows = min(rows, job.apart * (1 if job.fold else job.rows))
    r.ring = span_of(&r.ax[1], rows) * span_of(&r.ax[0], r.span[0].box)


cdef inline bint read_again(const Run *r) noexcept nogil:
    """Whether a row of a box is read when the next ones have been: by another plane of outputs, or another job."""
    return r.ax[0].taps > 1 or r.njobs > 1


cdef ptrdiff_t cut(Run *r, int threads) noexcept nogil:
    """The boxes: rows as long as L1 holds a window of them, as many as the strip may hold and a thread may take. Returns
    how many."""
    cdef ptrdiff_t units, widest = 0, each = 1, pixels = 1, most, flops = 0, strip = STRIP_BYTES if r.njobs == 1 else STRIP_LIMIT // 2
    cdef Span *span
    cdef const Job *job
    cdef const JobAxis *a = &r.ax[2]
    cdef int i, j
    join(r)
    r.direct = r.direct and a.stride == 1
    for i in range(3):
        r.span[i].first, r.span[i].last, r.span[i].box = 0, r.ax[i].out, 1
        pixels *= max(r.ax[i].out, 1)
    r.rows, span = 1, &r.span[1]
    for j in range(r.njobs):
        job = r.jobs + j
        r.rows, flops = max(r.rows, job.rows), flops + 2 * job.taps * r.cg * r.mg
        most = max(1, (job.rows - 1) * job.step + job.height) * max(1, job.ax[0].taps) * a.stride * r.cg
        each = max(each, 1 if job.fold else most)
        widest = max(widest, r.k.wide[job.wide] * r.k.lanes * (job.rows if job.fold else 1))
        if not job.fold:
            span.box = max(span.box, min(job.rows * job.apart, r.ax[1].out))
    most = pixels // (4 * threads) if threads > 1 else pixels
    most = max(r.rows * widest, min(most, UNIT_FLOPS // max(1, flops)))
    span = &r.span[2]
    span.box = min(max(widest, WINDOW_BYTES // (each * r.csize) // widest * widest), a.out)
    measure(r)
    while span.box > r.k.lanes and r.ring * r.row_bytes > STRIP_LIMIT:
        span.box = ceil_div(span.box, 2 * r.k.lanes) * r.k.lanes
        measure(r)
    if r.direct:
        # Where no window leaves the input, whole vectors of it: only what is left and right of that needs a strip.
        span.first = min(a.out, ceil_div(max(a.lo, 0), r.k.lanes) * r.k.lanes)
        span.last = a.size - max(a.taps - 1, 0) * a.dilation + a.lo
        span.last = a.out if span.last >= a.out else min(span.last, a.out - r.k.lanes)
        if span.last - span.first < DIRECT_PIXELS or max(span.first, a.out - span.last) > span.box:
            r.direct = r.jobs.fold
            span.first, span.last = 0, a.out
    # Rows first, then planes of a volume: as long as each shares more of its input than it adds.
    pixels = span.box * r.span[1].box
    while pixels < most:
        i = 1
        if r.span[0].box < r.ax[0].out and r.ax[0].taps > 1 and (
                r.span[1].box >= r.ax[1].out or r.span[1].box >= 4 * r.ax[1].taps * r.span[0].box):
            i = 0
        each = r.span[i].box
        if each >= r.ax[i].out:
            break
        r.span[i].box = min(r.ax[i].out, 2 * each)
        measure(r)
        if (r.ring * r.row_bytes > strip and read_again(r) and not (r.direct and r.cg == 1)
                or span_of(&r.ax[0], r.span[0].box) > ROWS_MOST // span_of(&r.ax[1], r.span[1].box)):
            r.span[i].box = each
            measure(r)
            break
        pixels = pixels // each * r.span[i].box
    units = r.x.n * r.groups
    for i in range(3):
        span = &r.span[i]
        span.boxes = ceil_div(span.last - span.first, span.box) + (span.first > 0) + (span.last < r.ax[i].out)
        units *= span.boxes
    return units


cdef ptrdiff_t lay_out(const Run *r, char *p, Scratch *s) noexcept nogil:
    """One thread's scratch from p on; returns its bytes."""
    cdef ptrdiff_t planes = span_of(&r.ax[0], r.span[0].box), filters = r.mg if r.store == INTERLEAVED else r.filters
    s.rows = <const char **> p
    s.input = s.rows + planes * span_of(&r.ax[1], r.span[1].box)
    s.tile = p + aligned(<char *> (s.input + r.inputs) - p)
    s.strip = s.tile + aligned(r.rows * r.tile_pitch * filters * r.csize)
    return s.strip - p + aligned(r.ring * r.row_bytes)


cdef inline ptrdiff_t most_inputs(const Job *job, ptrdiff_t rows) noexcept nogil:
    """Of a tile of so many output rows, and meetings."""
    return job.outer * ((rows - 1) * job.step + job.height + rows)


# ---- filters ----------------------------------------------------------------------------------------------------

cdef void pack_block(const void *task, ptrdiff_t item, int thread) noexcept nogil:
    """Pack some filters of one job and group as the tiles read them."""
    cdef const Run *r = <const Run *> task
    cdef const Filters *f = r.weights
    cdef ptrdiff_t blocks = ceil_div(r.mg, r.filters), block = item % blocks, group = item // blocks % r.groups
    cdef const Job *job = r.jobs + item // (blocks * r.groups)
    cdef ptrdiff_t first = block * r.filters, filters = min(r.filters, r.mg - first)
    cdef ptrdiff_t outer_size = job.run * job.slots, outer, row, at, c
    cdef ptrdiff_t[3] k
    cdef const char *w
    cdef char *dst = r.panels + (group * r.panel_group + job.panel + first * job.outer * outer_size) * r.csize
    cdef bint finite = True
    for k[0] in range(job.ax[0].taps):
        for k[1] in range(job.ax[1].taps):
            for k[2] in range(job.ax[2].taps):
                w = f.data + group * f.group + first * f.column
                for c in range(3):
                    w += (job.ax[c].tap_start + k[c] * job.ax[c].tap_step) * f.s[c]
                outer, row = k[0], k[1]
                if job.fold:
                    outer, row = k[0] * job.ax[1].taps + k[1], k[2] // job.period
                for c in range(r.cg):
                    at = outer * outer_size + (k[2] % job.period * r.cg + c) * job.slots + slot_of(job, row)
                    finite &= r.k.pack[r.dtype](dst + at * filters * r.csize, filters, w + c * f.row, 1, 0, filters,
                                                f.column) != 0
    if not finite:
        r.call.not_finite = 1


cdef class Pixels(Driver):
    """A Problem of few filters a group. Of those that are not finite, zeros of the padding would meet an infinity: the general
    driver can leave them out."""
    cdef Job *jobs
    cdef int njobs, filters, mode
    cdef double constant
    cdef ptrdiff_t images
    cdef readonly object general

    def __cinit__(self, problem):
        cdef int i, j
        self.general = Convolution(problem)
        self.mode, self.constant, self.images = problem.padding_mode, problem.padding_value, prod(problem.batch)
        self.filters = next((m for m in (4, 3, 2, 1) if self.mg % m == 0), 4) if self.mg < 4 or self.mg % 3 == 0 else 4
        self.layout = ("pixels", tuple(a[1:2] + a[3:5] + a[6:8] for axes in problem.jobs for a in axes))
        self.njobs = len(problem.jobs)
        self.jobs = <Job *> calloc(self.njobs, sizeof(Job))
        if self.jobs == NULL:
            raise MemoryError
        for i, axes in enumerate(problem.jobs):
            self.jobs[i].taps = axes[0].taps * axes[1].taps * axes[2].taps
            for j, axis in enumerate(axes):
                copy_axis(axis, &self.jobs[i].ax[j])
                self.finite_only |= problem.zeros_outside and leaves_input(&self.jobs[i].ax[j])

    def __dealloc__(self):
        free(self.jobs)

    cdef int describe(self, Run *r, Call *call, int isa) except -1:
        """What does not depend on a call's arrays."""
        cdef int j
        cdef ptrdiff_t total = 0
        cdef Job *jobs = <Job *> take(call, self.njobs * sizeof(Job), "scratch")
        memset(r, 0, sizeof(Run))
        memcpy(jobs, self.jobs, self.njobs * sizeof(Job))
        r.k = pixel_kernels_of(isa) + compute_type(self.dtype)
        r.dtype, r.size, r.csize = self.dtype, storage_bytes(self.dtype), compute_bytes(self.dtype)
        r.jobs, r.njobs, r.filters = jobs, self.njobs, self.filters
        r.groups, r.cg, r.mg = self.groups, self.cg, self.mg
        r.mode, r.constant, r.x.n, r.call = self.mode, self.constant, self.images, call
        for j in range(r.njobs):
            arrange(r, jobs + j)
            jobs[j].panel = total
            total += jobs[j].outer * jobs[j].run * jobs[j].slots * r.mg
        r.panel_group = total
        return 0

    cdef ptrdiff_t packed_bytes(self, const Run *r) noexcept:
        return r.panel_group * r.groups * r.csize

    cdef void pack_all(self, Run *r, cnp.ndarray w, char *panels, int team) noexcept:
        cdef Filters f
        read_filters(w, self.ndim, self.problem.filters, self.cg, self.mg, False, &f)
        r.weights, r.panels = &f, panels
        with nogil:
            run_units(pack_block, r, r.njobs * r.groups * ceil_div(r.mg, r.filters), team, r.call)

    cdef int pack_into(self, Panels panels, cnp.ndarray w, Call *call, int isa) except -1:
        cdef Run r
        self.describe(&r, call, isa)
        self.pack_all(&r, w, panels.room(self.packed_bytes(&r), self.op), 1)
        return 0

    cdef ptrdiff_t scratch(self, int threads, int isa, Call *call) except -1:
        cdef Run r
        cdef ptrdiff_t most = 0
        if 0 in self.out_shape:
            return 0
        for direct in (False, True):
            self.describe(&r, call, isa)
            r.direct, r.store = direct, FINISHED if self.mg > INTERLEAVED_MOST else INTERLEAVED
            cut(&r, threads)
            most = max(most, self.place(&r, NULL, threads))
        return most + aligned(self.njobs * sizeof(Job))

    cdef int compute(self, const Operands *o, cnp.ndarray x, filters, cnp.ndarray bias, cnp.ndarray out, int threads, int isa,
                     Call *call) except -1:
        cdef Run r
        cdef ptrdiff_t units
        cdef int team = team_of(self.flops, threads, prepare)
        self.describe(&r, call, isa)
        r.x, r.out, r.residual = o.x, o.out, o.residual
        r.activation, r.low, r.high = o.activation, o.low, o.high
        r.deferred = o.residual.data != NULL or o.activation > CLAMP
        r.bare = bias is None and (r.deferred or o.activation != CLAMP)
        r.least, r.most = -INFINITY, INFINITY
        if self.dtype == 2:
            r.least, r.most = -2147483648.0, 2147483647.0
        if not r.deferred:
            r.least, r.most = r.low, r.high
        self.choose_store(&r)
        units = cut(&r, team)
        self.place(&r, take(call, self.place(&r, NULL, team), "scratch"), team)
        copy_bias(bias, <char *> r.bias, r.groups * r.mg * r.csize, 1, FILTERS * r.csize)
        if isinstance(filters, Panels):
            r.panels = (<Panels> filters).data
        else:
            self.pack_all(&r, filters, take(call, self.packed_bytes(&r) + PANEL_END, "packed filters"), team)
        with nogil:
            run_units(run_unit, &r, units, team, call)
        return 0

    cdef void choose_store(self, Run *r) noexcept:
        """Where the input's pixels lie side by side, rows are read in place; where the output's do, they are stored so."""
        cdef bint native = self.dtype < 3 and not r.deferred
        r.direct = self.dtype < 3 and r.x.s[2] == r.size
        r.store = FINISHED
        if native and self.njobs == 1 and r.out.s[2] == r.size and r.jobs[0].ax[2].out_step == 1:
            r.store = PLAIN
        elif native and r.out.sc == r.size and 1 < r.mg <= INTERLEAVED_MOST:
            r.store = INTERLEAVED

    cdef ptrdiff_t place(self, Run *r, char *base, int threads) except -1:
        """Lay out a call's memory; with base NULL only count its bytes."""
        cdef ptrdiff_t used = aligned((r.groups * r.mg + FILTERS) * r.csize), i, n, q, phase, outside = r.row_bytes
        cdef int j
        cdef Job *job
        cdef Scratch s
        r.bias, r.inputs = base, 0
        for j in range(r.njobs):
            job = r.jobs + j
            r.inputs = max(r.inputs, most_inputs(job, job.rows))
            for n in range(1, job.rows + 1):
                i = most_inputs(job, n)
                job.meetings[n] = <meeting *> (base + used)
                job.source[n] = <Source *> (job.meetings[n] + i)
                used += i * (sizeof(meeting) + sizeof(Source))
                if base != NULL:
                    meet(r, job, n, job.meetings[n], job.source[n])
            for i in range(2):
                job.offset[i] = <ptrdiff_t *> (base + used)
                used += job.run * sizeof(ptrdiff_t)
                for q in range(job.run if base != NULL else 0):
                    n = q // r.cg * job.ax[2].dilation
                    phase = n % job.ax[2].stride
                    job.offset[i][q] = (n * r.size + q % r.cg * r.x.sc if i else
                                        ((phase * r.cg + q % r.cg) * r.pitch + n // job.ax[2].stride) * r.csize)
        used, r.own = aligned(used), lay_out(r, NULL, &s)
        r.outside, r.scratch = base + used, base + used + aligned(outside)
        if base != NULL:
            r.k.fill(base + used, outside // r.csize, r.constant)
        return used + aligned(outside) + threads * r.own


include "gradient.pxi"
