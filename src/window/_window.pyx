"""The window driver: pooling, morphology, their gradients, and local response normalisation.

A job's outputs are cut into boxes, a box into stretches whose windows meet the same taps, and a stretch goes to a kernel
in one call. The lanes of a kernel's vectors are channels, or, where pixels lie next to each other or channels are few,
the outputs of a row (`planar`: then a box is of some channel planes). The input is read where it lies or, if it has
another type or order, from a strip: the box's part of it, gathered into scratch. A window too large for that is taken in
pieces. Maxima and sums go row by row of outputs (`by_rows`): the rows of taps become one row in scratch, and that the
outputs; or, where lanes are channels and windows share two or three columns or none, with a column's taps first, all in
registers (`by_columns`). The order of every sum is the same in both, each column's taps and then along the row; only
the geometry decides, so the result does not depend on memory order, boxes or threads.

Gradients are cut by the input's positions: each box takes what the windows around it send, so that every value is
written by one thread. A mean's is gathered: as in a transposed convolution each phase of the stride is a stride-1 job. A
maximum's (max_pool, dilation2d) goes window by window to the first tap that has it (route.pxi).
"""

from libc.stdint cimport int64_t
from libc.string cimport memset

cimport numpy as cnp
from common cimport (
    F16, I32, Call, JobAxis, View, aligned, begin_call, ceil_div, compute_bytes, compute_type, end_call, leaves_input, poll,
    run_units, storage_bytes, take, team_of, view_of
)
from move cimport gather_fn

from itertools import chain

import numpy as np

from cyconv._runtime import prepare

cnp.import_array()

include "kernels.pxi"

cdef enum:
    STRIP_BYTES = 1 << 19   # what a box's scratch should not exceed, and the most a window's input may take of it
    SCRATCH_BYTES = 1 << 21  # what it may not
    PLANE_BYTES = 1 << 14   # of planes of outputs taken together,
    ROWS_PLANES = 1 << 17   # and where they go row by row
    ROW_BYTES = 1 << 13     # of rows between the two steps
    LRN_BYTES = 1 << 14     # of pixels normalised together
    PLANAR_LANES = 2        # vectors of outputs in a row that beat vectors of channels
    BOX_WORK = 1 << 20      # elements read and written that a box may take
    LEAST_WORK = 1 << 15    # and those that make it worth a place in the queue
    DIRECT_TAPS = 1 << 18   # windows beyond are taken in pieces, with an eye on Ctrl-C between them

cdef enum:
    # what a call makes, numbered as in _windows.py
    MAX, MEAN, ARGMAX, MAX_GRAD, MEAN_GRAD, FILTER_GRAD

cdef enum:
    # and where ARGMAX's positions are, also as there: taps of the window
    IN_IMAGE, IN_BATCH, TAP

cdef enum:
    # the parts of a thread's scratch
    INPUT, WINNERS, GRADS, RESULT, ROWS, AREAS

cdef double ELEMENT = 12.5  # floating-point operations that take as long as an element read or written,
cdef double LRN_ELEMENT = 30.52  # or normalised


cdef struct Field:
    # Where values lie: index (d, h, w) of the first lane or plane, and the step to the next; in bytes.
    char *at
    ptrdiff_t s[3]
    ptrdiff_t unit


cdef struct Run:
    # Everything a unit of work needs to know.
    const window_kernels *k
    const JobAxis *forward
    const JobAxis *phases[3]  # of a gradient, along each axis
    int kind, reduction, dtype, size, csize
    bint planar, direct, plain, large, pieces, by_rows, by_columns
    bint tiled, pairs        # of MAX_GRAD: each input is in one window; that is read where it lies, lanes are outputs
    ptrdiff_t channels, chunk, chunks, pitch
    ptrdiff_t together       # rows of outputs
    ptrdiff_t frame[3]       # what is cut into boxes: the outputs, or the input's positions
    ptrdiff_t box[3]
    ptrdiff_t boxes[3]
    ptrdiff_t area[6]        # where each part of the scratch starts, and its end
    View x, grad, out, positions
    int position_size
    ptrdiff_t position[4]    # how it grows along each axis and the channels, and from an image to the next
    ptrdiff_t image
    ptrdiff_t numbers[3]     # how a tap's number does
    const char *weights
    ptrdiff_t weight_step[3]
    double sign
    char *scratch            # each thread's, of so many bytes
    ptrdiff_t scratch_bytes
    Call *call


cdef struct Sweep:
    # Some outputs of a job, and where their input and their result are.
    const JobAxis *ax
    Field src, dst
    char *by                 # beside dst for FIRST and SUMMIT
    bint accumulate, last_piece
    ptrdiff_t start[3]
    ptrdiff_t count[3]
    ptrdiff_t first[3]       # the taps that are taken: [first, last)
    ptrdiff_t last[3]
    ptrdiff_t units, channel  # lanes or planes, and the first one's channel
    const JobAxis *along     # row by row: the jobs that take turns along a row
    ptrdiff_t phases
    char *rows
    int thread


# ---- indices ----------------------------------------------------------------------------------------------------

cdef inline ptrdiff_t covered(const JobAxis *a, ptrdiff_t o) noexcept nogil:
    """How many taps of output o lie inside the input."""
    cdef ptrdiff_t k0, k1
    stretch_of(a, o, o + 1, 0, a.taps, &k0, &k1)
    return k1 - k0


cdef inline void reach(const JobAxis *a, ptrdiff_t start, ptrdiff_t count, ptrdiff_t first, ptrdiff_t last, ptrdiff_t *lo,
                       ptrdiff_t *n) noexcept nogil:
    """The inputs [lo, lo + n) that some outputs' taps [first, last) span."""
    lo[0] = max(0, start * a.stride - a.lo + first * a.dilation)
    n[0] = max(0, min(a.size, (start + count - 1) * a.stride - a.lo + (last - 1) * a.dilation + 1) - lo[0])


cdef inline ptrdiff_t lanes_of(const Run *r, const Sweep *t) noexcept nogil:
    """The lanes of a pixel: in a strip, whole vectors, but not those of channels that the last chunk has not."""
    return t.units if r.direct else ceil_div(t.units, r.k.lanes) * r.k.lanes


cdef inline void image_of(const View *v, ptrdiff_t n, ptrdiff_t channel, Field *f) noexcept nogil:
    """An image of an array, from a channel on."""
    cdef int i
    f.at, f.unit = v.data + n * v.sn + channel * v.sc, v.sc
    for i in range(3):
        f.s[i] = v.s[i]


cdef inline char *place(const Field *f, ptrdiff_t p, ptrdiff_t d, ptrdiff_t h, ptrdiff_t w) noexcept nogil:
    return f.at + p * f.unit + d * f.s[0] + h * f.s[1] + w * f.s[2]


# ---- stretches --------------------------------------------------------------------------------------------------

cdef void across(const Run *r, const Sweep *t, window_args *a, const char *src, char *dst, ptrdiff_t number,
                 const char *weights, double divisor) noexcept nogil:
    """The stretches of some rows. src, dst, number, weights are those of index 0, output 0, tap 0 of the row."""
    cdef const JobAxis *w = t.ax + 2
    cdef ptrdiff_t o = t.start[2], end = o + t.count[2], next, k0, k1, step = t.src.s[2]
    cdef bint none = a.taps[0] * a.taps[1] == 0
    while o < end:
        next = stretch_of(w, o, end, t.first[2], t.last[2], &k0, &k1)
        a.taps[2], a.step[2] = k1 - k0, w.dilation * step
        a.src = src + (o * w.stride - w.lo + k0 * w.dilation) * step
        a.dst = dst + o * t.dst.s[2]
        if r.planar:
            a.lanes, a.lane_step = next - o, w.stride * step // r.csize
        else:
            a.count[1], a.src_step[1], a.dst_step[1] = next - o, w.stride * step, t.dst.s[2]
        if t.by != NULL:
            a.by = t.by + (a.dst - t.dst.at)
        a.number = -1 if none or k1 == k0 else number + k0 * r.numbers[2]
        a.weights = weights + k0 * r.weight_step[2]
        a.divisor = max(1.0, divisor * covered(w, o)) if divisor > 0 else 1
        a.outside = k1 - k0 < w.taps
        if r.kind == FILTER_GRAD:  # the taps alone
            a.dst = NULL
        r.k.window[r.reduction](a)
        poll(r.call, t.thread)
        o = next


cdef void sweep(const Run *r, const Sweep *t) noexcept nogil:
    """All outputs of a sweep: rows that meet the same rows of taps, and those row by row or stretch by stretch."""
    cdef const JobAxis *x = t.ax
    cdef ptrdiff_t d, h, next, end = t.start[1] + t.count[1], k0, k1, number
    cdef int axis = 1 if r.planar or r.by_rows else 0
    cdef double divisor
    cdef const char *src
    cdef const char *weights
    cdef char *dst
    cdef window_args a
    memset(&a, 0, sizeof(window_args))
    a.accumulate, a.sign, a.weight_lane = t.accumulate, r.sign, r.weights != NULL and not r.planar
    a.lanes, a.lane_step, a.by_columns = 1 if r.planar else lanes_of(r, t), 1, r.by_columns
    a.count[0], a.src_step[0], a.dst_step[0] = t.units if r.planar else 1, t.src.unit, t.dst.unit
    a.row, a.together, a.column, a.position = t.rows, r.together, t.src.s[2], t.dst.s[2]
    a.counts, a.spare = r.forward + 2, not r.direct or r.kind == MEAN_GRAD
    a.jobs, a.phases, a.start, a.positions = t.along, t.phases, t.start[2], t.count[2]
    for d in range(3):
        a.numbers[d], a.weight_step[d] = r.numbers[d], r.weight_step[d]
    for d in range(t.start[0], t.start[0] + t.count[0]):
        h = t.start[1]
        while h < end and not r.call.cancelled:
            stretch_of(x, d, d + 1, t.first[0], t.last[0], &k0, &k1)
            a.taps[0], a.step[0] = k1 - k0, x[0].dilation * t.src.s[0]
            src = t.src.at + (d * x[0].stride - x[0].lo + k0 * x[0].dilation) * t.src.s[0]
            number = k0 * r.numbers[0]
            weights = r.weights + t.channel * r.csize + k0 * r.weight_step[0]
            next = stretch_of(x + 1, h, end, t.first[1], t.last[1], &k0, &k1)
            a.taps[1], a.step[1] = k1 - k0, x[1].dilation * t.src.s[1]
            src += (h * x[1].stride - x[1].lo + k0 * x[1].dilation) * t.src.s[1]
            number += k0 * r.numbers[1]
            weights += k0 * r.weight_step[1]
            dst = place(&t.dst, 0, d, h, 0)
            divisor = 0
            if t.last_piece and r.kind == MEAN:
                divisor = <double> covered(x, d) * covered(x + 1, h)
            a.count[axis], a.src_step[axis], a.dst_step[axis] = next - h, x[1].stride * t.src.s[1], t.dst.s[1]
            if r.by_rows:
                a.src, a.dst, a.divisor = src, dst, divisor
                r.k.rows[r.reduction](&a)
                poll(r.call, t.thread)
            else:
                across(r, t, &a, src, dst, number, weights, divisor)
            h = next


# ---- strips -----------------------------------------------------------------------------------------------------

cdef void dense(const Run *r, const ptrdiff_t *start, const ptrdiff_t *count, char *area, Field *f) noexcept nogil:
    """Positions [start, start + count) one behind the other in scratch: rows of pixels, or planes of rows."""
    f.s[2] = r.csize if r.planar else r.pitch * r.csize
    f.s[1] = count[2] * f.s[2]
    f.s[0] = count[1] * f.s[1]
    f.unit = count[0] * f.s[0] if r.planar else r.csize
    f.at = area - start[0] * f.s[0] - start[1] * f.s[1] - start[2] * f.s[2]


cdef void move(const Run *r, const Field *array, const Field *strip, const ptrdiff_t *lo, const ptrdiff_t *count,
               ptrdiff_t units, bint back) noexcept nogil:
    """Positions [lo, lo + count) of an array into scratch, in the compute type, or back."""
    cdef ptrdiff_t p, d, i, rows = 1, n
    cdef char *at
    cdef char *row
    if array.s[1] == count[2] * array.s[2] and strip.s[1] == count[2] * strip.s[2]:
        rows = max(1, count[1])  # of pixels, one behind the other
    n = rows * count[2]
    for p in range(units if r.planar else 1):
        for d in range(lo[0], lo[0] + count[0]):
            for i in range(count[1] // rows):
                at, row = place(array, p, d, lo[1] + i, lo[2]), place(strip, p, d, lo[1] + i, lo[2])
                if r.planar and back:
                    r.k.scatter[r.dtype](at, 0, array.s[2], row, 0, 1, 1, n)
                elif r.planar:
                    r.k.gather[r.dtype](row, 0, 1, at, 1, 0, n, array.s[2])
                elif back:
                    r.k.scatter[r.dtype](at, array.s[2], array.unit, row, r.pitch, 1, n, units)
                else:
                    r.k.gather[r.dtype](row, r.pitch, 1, at, n, array.s[2], units, array.unit)


cdef void fetch(const Run *r, const View *v, ptrdiff_t n, const Sweep *t, const ptrdiff_t *lo, const ptrdiff_t *count,
                char *area, Field *f) noexcept nogil:
    """Positions of an array into scratch, one behind the other."""
    cdef Field array
    image_of(v, n, t.channel, &array)
    dense(r, lo, count, area, f)
    move(r, &array, f, lo, count, t.units, False)


cdef inline void store(const Run *r, const Sweep *t, const Field *f) noexcept nogil:
    """A sweep's outputs from scratch into the array."""
    move(r, f, &t.dst, t.start, t.count, t.units, True)


cdef void share(const Run *r, const Sweep *t, ptrdiff_t n, const ptrdiff_t *lo, const ptrdiff_t *count, char *area,
                Field *f) noexcept nogil:
    """The gradients of outputs [lo, lo + count) into scratch, divided by the inputs that each was the mean of."""
    cdef const JobAxis *x = r.forward
    cdef const View *v = &r.grad
    cdef bint in_place = r.dtype >= F16 or (v.s[2] if r.planar else v.sc) != r.size
    cdef ptrdiff_t d, h, next, k0, k1, step, i, end = lo[1] + count[1]
    cdef JobAxis itself = x[2]
    cdef Field source
    cdef window_args a
    itself.size, itself.taps, itself.stride, itself.dilation, itself.lo = x[2].out, 1, 1, 1, 0
    memset(&a, 0, sizeof(window_args))
    if in_place:
        fetch(r, v, n, t, lo, count, area, f)
        source = f[0]
    else:
        dense(r, lo, count, area, f)
        image_of(v, n, t.channel, &source)
    a.lanes = 1 if r.planar else r.pitch if in_place else t.units
    a.column, a.position = source.s[2], f.s[2]
    a.taps[0] = a.taps[1] = 1
    a.count[0], a.src_step[0], a.dst_step[0] = t.units if r.planar else 1, source.unit, f.unit
    a.src_step[1], a.dst_step[1] = source.s[1], f.s[1]
    a.jobs, a.counts, a.phases, a.row = &itself, x + 2, 1, t.rows
    step = max(1, min(count[2], ROW_BYTES // (a.lanes * r.csize)))
    a.together = max(1, ROW_BYTES // ((step * a.lanes + 2 * r.k.lanes) * r.csize))
    for d in range(lo[0], lo[0] + count[0]):
        h = lo[1]
        while h < end:
            next = stretch_of(x + 1, h, end, 0, x[1].taps, &k0, &k1)
            a.count[1], a.divisor = next - h, max(1.0, <double> covered(x, d) * (k1 - k0))
            a.dst, a.src = place(f, 0, d, h, 0), place(&source, 0, d, h, 0)
            for i in range(ceil_div(count[2], step)):
                a.start = lo[2] + i * step
                a.positions = min(step, lo[2] + count[2] - a.start)
                r.k.rows[TOTAL](&a)
            h = next


cdef void in_pieces(const Run *r, Sweep *t, const View *v, ptrdiff_t n, char *area) noexcept nogil:
    """The one window of a sweep, some of its taps at a time, in order; the result adds up in scratch."""
    cdef ptrdiff_t room = STRIP_BYTES // (r.pitch * r.csize), i, k0, k1
    cdef bint inside
    cdef ptrdiff_t[3] lo
    cdef ptrdiff_t[3] count
    cdef ptrdiff_t[3] each
    cdef const JobAxis *x = t.ax
    for i in range(2, -1, -1):
        each[i] = 1
        if i == 2 or each[i + 1] == x[i + 1].taps:
            each[i] = max(1, min(x[i].taps, (room - 1) // x[i].dilation + 1))
            room = max(1, room // ((each[i] - 1) * x[i].dilation + 1))
        t.first[i], t.last[i] = 0, min(each[i], x[i].taps)
    t.accumulate = False
    while not r.call.cancelled:
        t.last_piece = inside = True
        for i in range(3):
            reach(x + i, t.start[i], 1, t.first[i], t.last[i], lo + i, count + i)
            stretch_of(x + i, t.start[i], t.start[i] + 1, t.first[i], t.last[i], &k0, &k1)
            t.last_piece = t.last_piece and t.last[i] == x[i].taps
            inside = inside and k1 > k0
        if r.kind == MEAN_GRAD:
            share(r, t, n, lo, count, area, &t.src)
        else:
            fetch(r, v, n, t, lo, count, area, &t.src)
        sweep(r, t)
        t.accumulate = t.accumulate or inside  # what has no tap has no first one
        for i in range(2, -1, -1):
            t.first[i] += each[i]
            if t.first[i] < x[i].taps:
                break
            t.first[i] = 0
        else:
            return
        for i in range(3):
            t.last[i] = min(t.first[i] + each[i], x[i].taps)


cdef void windows(const Run *r, Sweep *t, ptrdiff_t n, char *scratch) noexcept nogil:
    """Outputs of the forward job, from the array itself, a strip of it, or pieces."""
    cdef ptrdiff_t[3] lo
    cdef ptrdiff_t[3] count
    cdef int i
    t.ax, t.accumulate, t.last_piece = r.forward, False, True
    t.along, t.phases = t.ax + 2, 1
    for i in range(3):
        t.first[i], t.last[i] = 0, t.ax[i].taps
        reach(t.ax + i, t.start[i], t.count[i], 0, t.ax[i].taps, lo + i, count + i)
    if r.direct:
        image_of(&r.x, n, t.channel, &t.src)
        sweep(r, t)
    elif not r.pieces:
        fetch(r, &r.x, n, t, lo, count, scratch + r.area[INPUT], &t.src)
        sweep(r, t)
    else:
        in_pieces(r, t, &r.x, n, scratch + r.area[INPUT])


# ---- results ----------------------------------------------------------------------------------------------------

cdef void of_phase(const Field *f, const JobAxis *x, Field *phase) noexcept nogil:
    """A job's outputs among all positions."""
    cdef int i
    phase.at, phase.unit = f.at, f.unit
    for i in range(3):
        phase.at += x[i].out_start * f.s[i]
        phase.s[i] = x[i].out_step * f.s[i]


cdef void store_positions(const Run *r, const Sweep *t, ptrdiff_t n) noexcept nogil:
    """The winners of a sweep as flat positions of the image, ((d*H + h)*W + w)*C + c, or of the batch; or as tap numbers."""
    cdef const JobAxis *x = r.forward
    cdef ptrdiff_t d, h, p, base, first = n * r.image
    cdef Field winners = t.dst, array
    cdef char *out
    cdef const char *by
    winners.at = t.by
    image_of(&r.positions, n, t.channel, &array)
    for p in range(t.units if r.planar else 1):
        for d in range(t.start[0], t.start[0] + t.count[0]):
            for h in range(t.start[1], t.start[1] + t.count[1]):
                out, by = place(&array, p, d, h, t.start[2]), place(&winners, p, d, h, t.start[2])
                base = (first + (t.channel + p) * r.position[3] + (d * x[0].stride - x[0].lo) * r.position[0]
                        + (h * x[1].stride - x[1].lo) * r.position[1]
                        + (t.start[2] * x[2].stride - x[2].lo) * r.position[2])
                if r.planar:
                    r.k.positions(out, 0, array.s[2], r.position_size, by, 0, 1, t.count[2], base, 0,
                                  x[2].stride * r.position[2], first - 1)
                else:
                    r.k.positions(out, array.s[2], array.unit, r.position_size, by, r.pitch, t.count[2], t.units, base,
                                  x[2].stride * r.position[2], r.position[3], first - 1)


# ---- units of work ----------------------------------------------------------------------------------------------

cdef void forward_box(const Run *r, Sweep *t, ptrdiff_t n, char *scratch) noexcept nogil:
    """A box of outputs: MAX, MEAN, ARGMAX."""
    cdef Field result
    image_of(&r.out, n, t.channel, &result)
    if r.plain:
        t.dst = result
    else:
        dense(r, t.start, t.count, scratch + r.area[RESULT], &t.dst)
    if r.kind == ARGMAX:
        t.by = t.dst.at + (r.area[WINNERS] - r.area[RESULT])
    windows(r, t, n, scratch)
    if not r.plain:
        store(r, t, &result)
    if r.kind == ARGMAX:
        store_positions(r, t, n)


cdef void around_of(const Run *r, const Sweep *box, Sweep *around) noexcept nogil:
    """The outputs whose windows meet a box of the input's positions."""
    cdef const JobAxis *x = r.forward
    cdef ptrdiff_t last
    cdef int i
    for i in range(3):
        around.start[i] = max(0, ceil_div(box.start[i] + x[i].lo - (x[i].taps - 1) * x[i].dilation, x[i].stride))
        last = min(x[i].out - 1, floor_div(box.start[i] + box.count[i] - 1 + x[i].lo, x[i].stride))
        around.count[i] = max(0, last + 1 - around.start[i])


include "route.pxi"


cdef void backward_box(const Run *r, Sweep *box, ptrdiff_t n, char *scratch) noexcept nogil:
    """A box of the input's gradient: MEAN_GRAD."""
    cdef const JobAxis *x = r.forward
    cdef const JobAxis *a
    cdef JobAxis[3] job
    cdef Field result, where
    cdef Sweep around = box[0], t = box[0]
    cdef ptrdiff_t[3] phase
    cdef int i
    around_of(r, box, &around)
    if not r.pieces:
        share(r, box, n, around.start, around.count, scratch + r.area[GRADS], &t.src)
    t.ax = job
    image_of(&r.out, n, box.channel, &result)
    box.dst = result
    if not r.plain:
        dense(r, box.start, box.count, scratch + r.area[RESULT], &box.dst)
    for phase[0] in range(min(box.count[0], x[0].stride)):
        for phase[1] in range(min(box.count[1], x[1].stride)):
            for phase[2] in range(1 if r.by_rows else min(box.count[2], x[2].stride)):
                for i in range(3):
                    job[i] = r.phases[i][(box.start[i] + phase[i]) % x[i].stride]
                    a = job + i
                    t.start[i] = (box.start[i] + phase[i]) // a.out_step
                    t.count[i] = (box.count[i] - phase[i] - 1) // a.out_step + 1
                    t.first[i], t.last[i] = 0, a.taps
                if r.by_rows:  # all phases along the row at once
                    job[2].out_start, job[2].out_step = 0, 1
                    t.start[2], t.count[2], t.along, t.phases = box.start[2], box.count[2], r.phases[2], x[2].stride
                if r.planar and not r.by_rows:
                    dense(r, t.start, t.count, scratch + r.area[RESULT], &t.dst)
                else:
                    of_phase(&box.dst, job, &t.dst)
                if r.pieces:
                    in_pieces(r, &t, &r.grad, n, scratch + r.area[GRADS])
                else:
                    sweep(r, &t)
                if r.planar and not r.by_rows:
                    of_phase(&result, job, &where)
                    store(r, &t, &where)
    if not r.plain and (r.by_rows or not r.planar):
        store(r, box, &result)


cdef void start_box(const Run *r, ptrdiff_t box, Sweep *t) noexcept nogil:
    cdef int i
    for i in range(2, -1, -1):
        t.start[i] = box % r.boxes[i] * r.box[i]
        t.count[i] = min(r.box[i], r.frame[i] - t.start[i])
        box //= r.boxes[i]


cdef void filter_grads(const Run *r, Sweep *chunk, char *scratch) noexcept nogil:
    """Some channels of the filters' gradient, over all outputs in their order: FILTER_GRAD."""
    cdef ptrdiff_t n, box
    cdef ptrdiff_t[3] start = [0, 0, 0], taps = [r.forward[0].taps, r.forward[1].taps, r.forward[2].taps]
    cdef char *totals = scratch + r.area[RESULT]
    cdef Field sums, result
    cdef Sweep t
    memset(totals, 0, r.area[RESULT + 1] - r.area[RESULT])
    for n in range(r.x.n):
        for box in range(r.boxes[0] * r.boxes[1] * r.boxes[2]):
            if r.call.cancelled:
                return
            t = chunk[0]
            start_box(r, box, &t)
            fetch(r, &r.grad, n, &t, t.start, t.count, scratch + r.area[GRADS], &t.src)
            dense(r, t.start, t.count, scratch + r.area[WINNERS], &t.dst)
            t.by = t.dst.at
            windows(r, &t, n, scratch)
            r.k.tally(totals, scratch + r.area[WINNERS], scratch + r.area[GRADS], r.pitch,
                      t.count[0] * t.count[1] * t.count[2], t.units)
    dense(r, start, taps, totals, &sums)
    image_of(&r.out, 0, chunk.channel, &result)
    move(r, &result, &sums, start, taps, chunk.units, True)


cdef void run_unit(const void *task, ptrdiff_t unit, int thread) noexcept nogil:
    """A box of some channels of one image; all boxes of all images for the filters' gradient."""
    cdef const Run *r = <const Run *> task
    cdef char *scratch = r.scratch + thread * r.scratch_bytes
    cdef ptrdiff_t boxes = 1 if r.kind == FILTER_GRAD else r.boxes[0] * r.boxes[1] * r.boxes[2]
    cdef ptrdiff_t chunk = unit // boxes % r.chunks, n = unit // boxes // r.chunks
    cdef Sweep t
    memset(&t, 0, sizeof(Sweep))
    t.thread, t.last_piece, t.rows = thread, True, scratch + r.area[ROWS]
    t.channel = chunk * r.chunk
    t.units = r.chunk if chunk < r.chunks - 1 else r.channels - t.channel
    if r.kind == FILTER_GRAD:
        filter_grads(r, &t, scratch)
        return
    start_box(r, unit % boxes, &t)
    if r.kind == MAX_GRAD:
        route_box(r, &t, n, scratch)
    elif r.kind == MEAN_GRAD:
        backward_box(r, &t, n, scratch)
    else:
        forward_box(r, &t, n, scratch)


# ---- how a call is cut ------------------------------------------------------------------------------------------

cdef inline double span(const JobAxis *a, ptrdiff_t outs) noexcept nogil:
    """The most inputs that some neighbouring outputs meet along an axis."""
    return max(0.0, min(<double> a.size, <double> (outs - 1) * a.stride + <double> (a.taps - 1) * a.dilation + 1))


cdef double measure(Run *r) noexcept nogil:
    """Lay out a thread's scratch for the boxes as they are; returns its bytes."""
    cdef const JobAxis *x = r.forward
    cdef double[5] bytes
    cdef double unit = r.csize * (r.pitch if not r.planar else 1 if r.kind == MAX_GRAD else r.chunk)
    cdef double outs = 1, inputs = 1, results = 1, total = 0, columns
    cdef ptrdiff_t n, reached
    cdef int i
    for i in range(3):
        n = r.box[i]
        results *= n
        reached = (x[i].taps - 1) * x[i].dilation
        if r.kind == MAX_GRAD or r.kind == MEAN_GRAD:
            n = min(x[i].out, (n - 1 + reached) // x[i].stride + 1)
        if r.kind == MAX_GRAD:  # the box, and what is around it
            columns = min(<double> x[i].size, r.box[i] + 2.0 * reached)
            if i == 2 and r.planar:
                columns = x[2].stride * <double> phase_pitch(x + 2, n, r.box[2] + 2 * reached, r.k.lanes)
                n = ceil_div(n, r.k.lanes) * r.k.lanes
            inputs *= columns
        else:
            inputs *= span(x + i, n)
        outs *= n
    if r.kind == FILTER_GRAD:
        results = <double> x[0].taps * x[1].taps * x[2].taps
    elif r.kind == MAX_GRAD:
        results = inputs
    bytes[INPUT] = 0 if r.direct or r.kind == MEAN_GRAD else STRIP_BYTES if r.pieces else inputs * unit
    bytes[WINNERS] = outs * unit if r.kind == ARGMAX or r.kind == FILTER_GRAD else 0
    bytes[GRADS] = 0 if r.kind < MAX_GRAD or r.direct and r.kind == MAX_GRAD else STRIP_BYTES if r.pieces else outs * unit
    bytes[RESULT] = 0 if r.plain else results * unit
    bytes[ROWS] = 0
    if r.by_rows:  # the columns that a row of the box meets, inside or not
        columns = (x[2].taps - 1) * x[2].dilation
        if r.kind == MEAN_GRAD:
            columns = (r.box[2] + columns) / x[2].stride + 3
        else:
            columns += (r.box[2] - 1) * <double> x[2].stride + 1
        bytes[ROWS] = r.csize * (columns * (1 if r.planar else r.pitch) + 2 * r.k.lanes)
        r.together = <ptrdiff_t> max(1.0, min(<double> r.box[1], ROW_BYTES / bytes[ROWS]))
        bytes[ROWS] *= r.together
    if r.by_rows or r.kind == MEAN_GRAD:  # and divisors
        bytes[ROWS] = max(bytes[ROWS], <double> ROW_BYTES + unit) + r.csize * (max(r.box[2], ROW_BYTES // r.csize) + 4 * r.k.lanes)
    if r.pairs:
        bytes[INPUT] = bytes[GRADS] = bytes[RESULT] = 0
    for i in range(AREAS):
        r.area[i] = <ptrdiff_t> min(total, 1e15)
        total += (min(bytes[i], 1e15) // 64 + 3) * 64
    r.area[AREAS] = <ptrdiff_t> min(total, 1e15)
    return total


cdef bint lay_out(Run *r, const View *v, bint native, ptrdiff_t lanes) noexcept nogil:
    """Choose what the lanes are, and where input is read and results are written; False where a window is too large."""
    cdef const JobAxis *x = r.forward
    cdef double window = 1, gathered = 1
    cdef int i
    for i in range(3):
        window *= x[i].taps
        if r.kind == MEAN_GRAD:
            gathered *= min(<double> x[i].out, <double> (x[i].taps - 1) * x[i].dilation / x[i].stride + 1)
        else:
            gathered *= span(x + i, 1)
    cdef bint backward = r.kind >= MAX_GRAD, pixels = v.sc == r.size and r.channels > 1
    cdef bint few = 4 * r.channels <= lanes and (not pixels or backward), wide
    # Maxima and sums go row by row unless windows are far from each other, or taps, or most taps are outside.
    cdef bint by_rows = ((r.kind < ARGMAX and r.weights == NULL or r.kind == MEAN_GRAD) and x[2].stride <= 2 * x[2].taps
                         and (x[2].taps - 1) * x[2].dilation < 2 * min(x[2].taps, x[2].size)
                         and (not backward or x[2].out * x[2].stride >= x[2].taps))
    r.large = gathered * lanes * r.csize > STRIP_BYTES
    if r.kind == MAX_GRAD:
        return lay_out_routes(r, native and window < DIRECT_TAPS, few, pixels, lanes)
    # Lanes are outputs where these are plenty and next to each other, or where channels are few.
    if by_rows:
        wide = x[2].stride <= 2 and x[2].out >= lanes if backward else x[2].size >= lanes and 2 * x[2].out >= lanes
    else:
        wide = x[2].out >= (PLANAR_LANES * lanes if r.channels >= lanes else lanes)
    r.planar = r.kind != FILTER_GRAD and (few and x[2].out >= lanes or not pixels and v.s[2] == r.size and wide and (
        by_rows or not backward or r.channels < lanes))
    r.direct = native and window < DIRECT_TAPS and (v.s[2] == r.size and x[2].stride <= 2 if r.planar else pixels and (
        r.channels >= lanes or v.s[2] > 0 and r.kind < MAX_GRAD))
    r.by_rows = by_rows and not r.large
    # What no second window meets gains nothing by rows, and what two or three meet waits in registers. (A sum with what
    # stands for the outside may be another zero, which only those kernels mind.)
    r.by_columns = r.by_rows and not r.planar and (not backward or x[2].stride == 1) and (
        windows_slide(x + 2) if r.dtype != I32 and (r.channels >= lanes or not r.direct) else
        r.direct and x[2].stride >= x[2].taps and not leaves_input(x + 2))
    r.by_rows = r.by_rows and not r.by_columns
    # (Whether a sum goes by rows hangs on the geometry alone; whether its input fits the scratch, on the lanes too.)
    if gathered * r.csize * (1 if r.planar else lanes) > STRIP_BYTES and (not r.direct or r.kind == MEAN_GRAD):
        r.pieces, r.planar, r.direct = True, False, False
    r.plain = native and r.kind != ARGMAX and r.kind != FILTER_GRAD and (
        r.out.s[2] == r.size and (r.by_rows or not backward) if r.planar else r.direct and r.out.sc == r.size)
    return not r.pieces or r.kind != FILTER_GRAD


cdef bint cut(Run *r, const View *v, bint native, int threads) noexcept nogil:
    """Boxes that fit L2 and are worth a place in the queue, and some for each thread; False where that cannot be."""
    cdef ptrdiff_t lanes = r.k.lanes, units, wanted = 4 * threads if threads > 1 else 1
    cdef const JobAxis *x = r.forward
    cdef double[3] window
    cdef double work, room, few, each = 1
    cdef int i
    if not lay_out(r, v, native, lanes):
        return False
    for i in range(3):
        r.box[i] = 1 if r.pieces else max(1, r.frame[i])
        # The winners around a box are found again for each: no box smaller than a few windows, or one where the scratch has
        # no room. (Boxes of a pixel each, to fit L2, took 25 s for one window of 83 x 131.)
        window[i] = (x[i].taps - 1) * <double> x[i].dilation + 1 if r.kind == MAX_GRAD else 0
        each *= min(<double> x[i].taps, x[i].size)
    each = 1 + (each if r.kind < MAX_GRAD else each / (x[0].stride * x[1].stride * x[2].stride)) / 8
    r.chunk = r.channels if r.direct or r.planar else min(r.channels, 4 * lanes)
    if r.planar:  # some planes that L1 holds together; each of them has its own weight
        r.chunk = (ROWS_PLANES if r.by_rows else PLANE_BYTES) // (r.csize * max(1, x[1].out * x[2].out))
        r.chunk = 1 if r.weights != NULL else max(1, min(r.channels, r.chunk))
    while True:
        r.pitch = r.chunk if r.direct or r.planar else ceil_div(r.chunk, lanes) * lanes
        r.chunks = ceil_div(r.channels, r.chunk)
        if r.kind == MAX_GRAD and r.direct:  # none of less than a vector
            r.chunks = max(1, r.channels // r.chunk)
        work, units = each * r.chunk, r.chunks * r.x.n
        for i in range(3):
            r.boxes[i] = ceil_div(r.frame[i], r.box[i])
            work *= r.box[i]
            units *= r.boxes[i]
        room = measure(r)
        if room <= STRIP_BYTES and (r.kind == FILTER_GRAD or work < LEAST_WORK or (work < BOX_WORK and units >= wanted)):
            return True
        few = 4 if room <= SCRATCH_BYTES else 1
        if r.planar and r.chunk > 1:
            r.chunk = (r.chunk + 1) // 2
        elif not r.planar and r.kind == MAX_GRAD and r.chunk > (4 * lanes if r.direct else lanes):
            r.chunk = ceil_div(r.chunk // 2, lanes) * lanes
        elif r.box[0] > max(1.0, few * window[0]):
            r.box[0] = (r.box[0] + 1) // 2
        elif r.box[1] > max(1.0, few * window[1]):
            r.box[1] = (r.box[1] + 1) // 2
        elif r.box[2] > max(<double> lanes if r.planar and (few == 4 or r.kind == MAX_GRAD) else 1.0, few * window[2]):
            r.box[2] = (r.box[2] + 1) // 2
            r.pairs = False
        elif not r.planar and r.chunk > lanes:
            r.chunk = max(lanes, r.chunk // 2 // lanes * lanes)
        else:
            return room <= SCRATCH_BYTES


cdef class Window:
    """A pooling or morphology problem as the driver wants it. Immutable; `run` may be called from many threads."""
    cdef cnp.ndarray jobs  # a JobAxis each: those of the forward op, then the phases along each axis
    cdef const JobAxis *forward
    cdef const JobAxis *phases[3]
    cdef int kind, dtype, ndim
    cdef bint channels_last
    cdef ptrdiff_t channels
    cdef double work
    cdef readonly object problem

    def __cinit__(self, problem):
        cdef const JobAxis *job
        cdef int i
        self.problem = problem
        self.kind, self.dtype = problem.kind, problem.dtype
        self.ndim, self.channels_last = problem.ndim, problem.channels_last
        self.channels, self.work = problem.channels, problem.work * ELEMENT
        self.jobs = np.fromiter(chain.from_iterable(chain(problem.forward, *problem.phases)), np.intp)
        self.forward = job = <const JobAxis *> cnp.PyArray_DATA(self.jobs)
        job += 3
        for i in range(3):
            self.phases[i] = job
            job += len(problem.phases[i])

    cdef void see(self, cnp.ndarray a, View *v) noexcept:
        if a is not None:
            view_of(a, self.ndim, self.channels_last, v)

    def run(self, cnp.ndarray x, cnp.ndarray grad, cnp.ndarray weights, double sign, cnp.ndarray out,
            cnp.ndarray positions, int counted, int threads, int isa):
        """Compute into out (and positions); False, and nothing done, where a gradient's windows are too large for scratch.

        weights are dense, of the compute type, with memory for a vector more but one. MEAN_GRAD takes no x.
        Of ARGMAX, `counted` says what the positions are.
        """
        cdef Run r
        cdef Call call
        cdef const JobAxis *a
        cdef ptrdiff_t units, each, taps
        cdef int team, i
        cdef bint native = self.dtype < 3
        memset(&r, 0, sizeof(Run))
        if cnp.PyArray_SIZE(out) == 0:
            return True
        r.k = window_kernels_of(isa) + compute_type(self.dtype)
        r.kind, r.dtype, r.size, r.csize = self.kind, self.dtype, storage_bytes(self.dtype), compute_bytes(self.dtype)
        r.forward = self.forward
        self.see(x, &r.x)
        self.see(grad, &r.grad)
        self.see(out, &r.out)
        self.see(positions, &r.positions)
        r.position_size = 8 if positions is None else positions.itemsize
        r.channels = self.channels
        each, taps = r.channels, 1
        for i in range(2, -1, -1):
            a = self.forward + i
            r.weight_step[i] = taps * r.channels * r.csize
            if counted == TAP or r.kind == FILTER_GRAD:
                r.numbers[i] = taps
            else:
                r.position[i], r.numbers[i] = each, a.dilation * each
            taps, each = taps * a.taps, each * a.size
        r.position[3] = counted != TAP
        r.image = each if counted == IN_BATCH else 0
        r.reduction = (SUMMIT if weights is not None else TOTAL if r.kind == MEAN or r.kind == MEAN_GRAD
                       else MAXIMUM if r.kind == MAX else FIRST)
        r.sign = sign
        if weights is not None:
            r.weights = <const char *> cnp.PyArray_DATA(weights)
        if r.kind == MEAN_GRAD:
            r.x.n = r.grad.n
        r.call = &call
        team = team_of(self.work, threads, prepare)
        r.tiled = weights is None
        for i in range(3):
            a = self.forward + i
            r.tiled = r.tiled and a.taps == a.stride and a.dilation == 1 and a.out * a.stride - a.lo >= a.size
            r.phases[i] = self.phases[i]
            r.frame[i] = a.size if r.kind == MAX_GRAD or r.kind == MEAN_GRAD else a.out
        if not cut(&r, &r.grad if r.kind == MEAN_GRAD else &r.x, native, team):
            return False
        units = r.x.n * r.chunks * r.boxes[0] * r.boxes[1] * r.boxes[2]
        if r.kind == FILTER_GRAD:
            units = r.chunks
        r.scratch_bytes = aligned(r.area[AREAS])
        begin_call(&call, self.problem.op)
        try:
            r.scratch = take(&call, team * r.scratch_bytes, "scratch")
            with nogil:
                run_units(run_unit, &r, units, team, &call)
        finally:
            end_call(&call)
        return True


include "lrn.pxi"
