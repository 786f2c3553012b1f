"""The depthwise driver: windows that slide along the rows, each vector of input loaded once for all the taps it meets;
and the separable driver, which multiplies a box of such outputs by the pointwise filters while they are in L2.

A tile is some rows of up to seven outputs, walked over all channels in vectors: where it lies in the image, and which of
its input rows and columns lie outside, is worked out once for all channels. Nothing outside is read: such taps are left
out. Where the input can be read where it lies (right dtype, channels next to each other, padded with zeros) the windows
slide over the array; else over a strip, a box's input gathered once into scratch. The order of every sum is the general
driver's, (plane, row, column), so its bits are the same.

Groups of 2, 4 or 8 channels and as many filters are such windows, too, some for each channel of a group: a shuffle puts that
channel under all outputs of its group, once for all the taps that it meets (`each`; the order: plane, row, channel, column).

A strided transposed convolution is several stride-1 jobs, each with some of the taps and every so many outputs; units of
one box go through all of them in turn, while its input and the lines of its outputs are in cache. Along the row, the two
phases of a stride of 2 may be one job of two outputs a position (`up`).

Channels first, and of 3x3 or 5x5 taps at stride 1 or 2, the lanes are pixels of a row, as nothing has to be turned round then
(`planes.pxi`).

Channels fewer than a vector has, as of an RGB image, are taken with their neighbours' along the row: as many pixels as
make whole vectors of them are one pixel of many channels, whose windows lie so many pixels apart (`fold`). Of a stride, a
strip has the columns of every residue together, so that what a tap meets lies densely.
"""

from libc.stdint cimport INTPTR_MAX
from libc.string cimport memset

from math import prod

import numpy as np

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from common cimport JobAxis as Axis
from common cimport (
    L1_PERIOD, MOVE, Call, View, aligned, ceil_div, compute_bytes, compute_type, copy_axis, even_parts, leaves_input, loads_suffer,
    odd_lines, poll, poll_after, run_units, span_of, storage_bytes, take, team_of
)
from kernels cimport TILE_ROWS, conv_kernels, conv_kernels_fn, spare_bytes, tile_args, tile_rows
from move cimport CLAMP, NONE, Gathering, finish_args, gather_box

from cyconv._gemm import _kernels_of
from cyconv._geometry import in_pairs, pairs_of_outputs

cnp.import_array()

include "driver.pxi"

cdef conv_kernels_fn conv_kernels_of = <conv_kernels_fn> PyCapsule_GetPointer(_kernels_of, NULL)

cdef extern from "kernels.h" nogil:
    enum: SLIDE_PIXELS, SLIDE_ROWS
    ctypedef struct slide_args:
        const char *x
        ptrdiff_t plane, row, column
        ptrdiff_t planes, top, bottom, left, right, each
        ptrdiff_t rows, taps_h, stride_h
        ptrdiff_t taps_w, stride_w, dilation_w
        const char *w
        ptrdiff_t w_block
        const ptrdiff_t *at
        ptrdiff_t blocks
        char *out
        ptrdiff_t out_row, out_column
        const char *bias
        const char *added
        ptrdiff_t added_row, added_column
        int clamp
        double low, high
        int half
        ptrdiff_t residues, residue
    ctypedef void (*slide_fn)(const slide_args *) noexcept nogil
    ctypedef struct plane_args:
        const char *x
        ptrdiff_t row, height, width, first, top, left
        const void *w
        ptrdiff_t w_step
        const void *bias
        char *out
        ptrdiff_t out_row, rows, columns
        int half, clamp
        double low, high
        void *room
        ptrdiff_t pitch
    ctypedef void (*plane_fn)(const plane_args *) noexcept nogil
    ctypedef struct depthwise_kernels:
        const slide_fn slide[3][2][8]
        const slide_fn any[8]
        const slide_fn up[6][2][8]
        void (*arrange)(void *, const void *, ptrdiff_t, ptrdiff_t, const ptrdiff_t *, ptrdiff_t) noexcept nogil
        const plane_fn plane[6][3]
        const plane_fn plane_up[6][2]
    const depthwise_kernels *depthwise_kernels_of(int isa)

cdef enum:
    STRIP_BYTES = 1 << 18     # what a strip should hold; windows are gathered one by one where they hold less together
    STRIP_MOST = 1 << 20      # or where a strip would hold more than that
    PANEL_BYTES = 1 << 19     # of pointwise filters taken at a time: they and the box they meet fit L2
    MANY_ROWS = 7             # of outputs, which make a part
    MANY_TAPS = 1000          # from here on, signals are looked for between tiles, not rows of them
    PHASE_BYTES = 1 << 18     # of the outputs of a box that several phases make together
    ABREAST = 16              # positions that are finished together
    WORTH_A_SHIFT = 5         # vectors of channels: from here on, one more pays for most of them being aligned

cdef bint LOADS_SUFFER = loads_suffer()


cdef struct Scratch:
    # One thread's.
    char *tile
    char *strip
    char *middle               # what the depthwise stage makes of a box, where that is not stored as it is


cdef struct Product:
    # The pointwise stage of a separable call.
    ptrdiff_t columns, blocks
    ptrdiff_t rows                         # of its filters, the channels between the stages,
    ptrdiff_t pitch                        # and of a pixel there
    bint plain_store, deferred
    View out, residual
    const char *panels
    const char *bias
    const char *zeros
    int activation
    double low, high


cdef struct Run:
    # A depthwise call: everything that a unit of work needs to know.
    const conv_kernels *k
    const depthwise_kernels *d
    const slide_fn *slides                 # by pixels
    Axis ax[3]
    ptrdiff_t column                       # of the input to the next that a tile counts
    ptrdiff_t step[3]                      # from an output to the next of its tile
    ptrdiff_t rows                         # of outputs, the most a tile takes
    int dtype, out_dtype, size, csize
    bint direct, clipped, sparse, plain_store, deferred
    ptrdiff_t channels, repeat, columns
    ptrdiff_t each                         # channels that are summed
    ptrdiff_t taps                         # by all of them
    ptrdiff_t blocks, chunk, chunks        # vectors of channels; how many a unit takes
    ptrdiff_t fold                         # pixels of the image that are one here,
    ptrdiff_t residues                     # and the stride between them: a strip has the columns of each residue together,
    ptrdiff_t margin                       # the first of which lies so far before the image
    ptrdiff_t taps_w                       # along the row, of all residues
    ptrdiff_t lag                          # of them that the last one shares with the one before
    ptrdiff_t shift                        # where the second starts, if not after the whole first
    ptrdiff_t pitch                        # of a strip's pixel
    ptrdiff_t box[3]
    ptrdiff_t boxes[3]
    ptrdiff_t units
    ptrdiff_t phases                       # jobs of the call, whose Runs follow each other
    ptrdiff_t up                           # outputs of a row for each position: 2 where both phases of a stride go together,
    bint half                              # the last of which may not be there
    int first                              # of the taps that the first output of a position meets
    View x, out, residual
    const ptrdiff_t *at
    const char *w
    const char *bias
    const char *zeros
    int mode, activation
    double constant, low, high
    const Product *product                 # the second stage, if there is one
    char *scratch                          # every thread's
    ptrdiff_t own                          # bytes of each
    Call *call


cdef struct Box:
    ptrdiff_t n, chunk, blocks
    ptrdiff_t start[3]
    ptrdiff_t count[3]


cdef struct Source:
    # The input of one unit: where position (0, 0, 0) would lie, steps in bytes, and what positions there are; a single
    # window's positions are its taps.
    const char *x
    ptrdiff_t s[3]
    ptrdiff_t residue          # from the columns of one to those of the next
    ptrdiff_t first[3]
    ptrdiff_t last[3]


# ---- input ------------------------------------------------------------------------------------------------------

cdef void gather_strip(const Run *r, const Box *b, Source *source, char *strip) noexcept nogil:
    """The input of a box, [residue][plane][row][column][channel]; what lies outside is in it too, unless it is left out."""
    cdef ptrdiff_t i, c0 = r.at[b.chunk] // r.repeat, count, residue
    cdef ptrdiff_t[3] first
    cdef ptrdiff_t[3] step
    cdef ptrdiff_t[3] whole
    cdef Gathering g
    c0 -= c0 % r.each
    count = ceil_div(ceil_div(r.at[b.chunk + b.blocks - 1] + r.k.lanes, r.repeat), r.each) * r.each
    g.gather, g.fill, g.mode, g.csize, g.constant = r.k.gather[r.dtype], r.k.fill, r.mode, r.csize, r.constant
    g.channels, g.repeat, g.pitch = min(r.channels, count) - c0, r.repeat, r.pitch
    for i in range(3):
        first[i], step[i] = b.start[i] * r.ax[i].stride - r.ax[i].lo, r.ax[i].dilation
        source.first[i], source.last[i] = 0, r.ax[i].taps
        if not r.sparse:
            source.first[i] = first[i]
            source.last[i] = first[i] + span_of(&r.ax[i], b.count[i])
            first[i], step[i] = 0, 1
            if i == 2:
                source.last[2] += r.fold - 1
                if b.start[2] + b.count[2] == r.ax[2].out:
                    source.last[2] -= r.lag
                    if b.count[2] == 1:
                        source.first[2] -= r.lag
        if r.clipped:
            source.last[i] = min(source.last[i], steps_before(first[i], r.ax[i].size, step[i]))
            source.first[i] = min(max(source.first[i], steps_before(first[i], 0, step[i])), source.last[i])
        first[i] += source.first[i] * step[i]
        whole[i] = source.last[i] - source.first[i]
    source.s[2] = r.pitch * r.csize
    source.s[1] = source.s[2] * whole[2]
    source.s[0] = source.s[1] * whole[1]
    source.residue = source.s[0] * whole[0]
    source.x = strip - c0 * r.repeat * r.csize
    for i in range(3):
        source.x -= source.first[i] * source.s[i]
    for residue in range(min(r.residues, r.taps_w)):
        if r.residues > 1:
            first[2], step[2] = source.first[2] * r.residues + residue - r.margin, r.residues
        gather_box(&g, &r.x, r.x.data + b.n * r.x.sn + c0 * r.x.sc, 1, first, step, whole, strip + residue * source.residue)


cdef inline ptrdiff_t steps_before(ptrdiff_t corner, ptrdiff_t edge, ptrdiff_t step) noexcept nogil:
    """How many steps from `corner` on come before the position `edge`."""
    return 0 if corner >= edge else ceil_div(edge - corner, step)


# ---- one tile ---------------------------------------------------------------------------------------------------

cdef inline int tile_pixels(ptrdiff_t rest, ptrdiff_t count) noexcept nogil:
    """How many outputs the next tile takes: the fewest that end the row, though some be computed twice."""
    cdef int pixels = 1 if rest == 1 else 2 if rest == 2 else 4 if rest <= 4 or rest == 8 else SLIDE_PIXELS
    if pixels <= count:
        return pixels
    return 1 if rest == 1 else 2 if rest < 4 else 4


cdef inline char *place(const Run *r, const View *v, const Box *b, ptrdiff_t d, ptrdiff_t h, ptrdiff_t o,
                        ptrdiff_t lag) noexcept nogil:
    """An output of a box: folded pixels that end with the row may start so many before their place."""
    return v.data + b.n * v.sn + d * v.s[0] + h * v.s[1] + (o * r.fold - lag) * (v.s[2] // r.fold)


cdef void run_rows(const Run *r, const Box *b, const Source *source, slide_args *a, const char *plane, ptrdiff_t d,
                   ptrdiff_t h, int thread) noexcept nogil:
    """Some rows of outputs of a box, in tiles; plane is the first one inside that their windows meet."""
    cdef ptrdiff_t phase, done, count, o, lag, corner, corner_h = h * r.ax[1].stride - r.ax[1].lo
    cdef bint overlaps = r.lag > 0 and b.start[2] + b.count[2] == r.ax[2].out  # the last one, which goes by itself
    cdef int pixels
    a.top = steps_before(corner_h, source.first[1], r.ax[1].dilation)
    a.bottom = steps_before(corner_h, source.last[1], r.ax[1].dilation)
    for phase in range(min(r.step[2], b.count[2])):
        count = ceil_div(b.count[2] - phase, r.step[2]) - overlaps
        done = 0
        while done < count + overlaps:
            if poll(r.call, thread):
                return
            pixels, lag = 1, r.lag
            if done < count:
                pixels, lag = tile_pixels(count - done, count), 0
                done = min(done, count - pixels)
            o = b.start[2] + phase + done * r.step[2]
            done += pixels
            corner = o * r.ax[2].stride - r.ax[2].lo - lag
            a.left, a.right = 0, <ptrdiff_t> INTPTR_MAX  # a strip of folded pixels has all that they read
            if r.fold == 1:
                a.left = steps_before(corner, source.first[2], r.column)
                a.right = steps_before(corner, source.last[2], r.column)
            a.x = plane + corner_h * source.s[1] + corner * source.s[2]
            a.out = place(r, &r.out, b, d, h, o, lag)
            if r.residual.data != NULL:
                a.added = place(r, &r.residual, b, d, h, o, lag)
            a.half = r.half and o + pixels == r.ax[2].out
            r.slides[pixels](a)


cdef void slide_box(const Run *r, const Box *b, int thread, Scratch *s) noexcept nogil:
    """The depthwise outputs of a box."""
    cdef Run window
    cdef Box one
    cdef Source source
    cdef slide_args a
    cdef ptrdiff_t d, phase, row, count, corner, before
    cdef const char *plane
    cdef int i
    if r.direct:
        source.x, source.residue = r.x.data + b.n * r.x.sn, 0
        for i in range(3):
            source.s[i], source.first[i], source.last[i] = r.x.s[i], 0, r.ax[i].size
    else:
        gather_strip(r, b, &source, s.strip)
    if r.sparse:  # the window alone, its taps side by side
        window, one = r[0], b[0]
        for i in range(3):
            window.out.data += b.start[i] * r.out.s[i]
            window.residual.data += b.start[i] * r.residual.s[i]
            window.ax[i].stride, window.ax[i].dilation, window.ax[i].lo, window.step[i], one.start[i] = 1, 1, 0, 1, 0
        r, b = &window, &one
    a.plane, a.row, a.column = r.ax[0].dilation * source.s[0], r.ax[1].dilation * source.s[1], r.column * source.s[2]
    a.taps_h, a.stride_h = r.ax[1].taps, r.ax[1].stride
    a.taps_w, a.stride_w, a.dilation_w = r.taps_w, r.ax[2].stride, r.ax[2].dilation
    a.residues, a.residue = r.residues, source.residue
    a.each, a.w_block = r.each, r.taps * r.k.lanes * r.csize
    a.at, a.blocks = r.at + b.chunk, b.blocks
    a.out_row, a.out_column = r.step[1] * r.out.s[1], r.step[2] * r.out.s[2] // r.up
    a.added, a.added_row, a.added_column = NULL, r.step[1] * r.residual.s[1], r.step[2] * r.residual.s[2] // r.up
    a.bias = r.zeros if r.deferred else r.bias
    a.clamp, a.low, a.high = r.activation == CLAMP and not r.deferred, r.low, r.high
    for d in range(b.start[0], b.start[0] + b.count[0]):
        corner = d * r.ax[0].stride - r.ax[0].lo
        before = min(steps_before(corner, source.first[0], r.ax[0].dilation), r.ax[0].taps)
        a.planes = max(0, min(r.ax[0].taps, steps_before(corner, source.last[0], r.ax[0].dilation)) - before)
        a.w = r.w + (b.chunk * r.taps + before * r.each * r.ax[1].taps * r.taps_w) * r.k.lanes * r.csize
        plane = source.x + (corner + before * r.ax[0].dilation) * source.s[0]
        for phase in range(min(r.step[1], b.count[1])):
            count = ceil_div(b.count[1] - phase, r.step[1])
            row = 0
            while row < count:
                # an even share of what is left
                a.rows = ceil_div(count - row, ceil_div(count - row, r.rows))
                run_rows(r, b, &source, &a, plane, d, b.start[1] + phase + row * r.step[1],
                         thread if r.taps > MANY_TAPS else -1)
                row += a.rows
                if poll(r.call, thread):
                    return


cdef inline ptrdiff_t stage_pitch(const Run *r) noexcept nogil:
    """Elements from one position of a box to the next in scratch."""
    return r.columns if r.fold > 1 else r.chunk * r.k.lanes


cdef inline ptrdiff_t stage_bytes(const Run *r) noexcept nogil:
    """Of a box that cannot be stored as it is. Where the last pixels are computed twice, they may start a position early."""
    if r.plain_store or r.product != NULL:
        return 0
    return aligned(r.box[1] * (r.box[2] + 1) * r.up * stage_pitch(r) * r.csize)


cdef void finish_box(const Run *r, const Box *b, const View *stage) noexcept nogil:
    """A box that may not be stored as it is, from scratch to where it belongs: what lies abreast there goes together."""
    cdef ptrdiff_t h, o, column, lag, rows, i, first = r.at[b.chunk]
    cdef ptrdiff_t columns = min(r.columns, r.at[b.chunk + b.blocks - 1] + r.k.lanes) - first
    cdef char *outs[ABREAST]
    cdef char *residuals[ABREAST]
    cdef finish_args end
    end.pitch, end.out, end.out_step = stage.s[2] // r.csize, outs, r.out.sc
    end.residual, end.residual_step = residuals if r.residual.data != NULL else NULL, r.residual.sc
    end.bias, end.activation, end.low, end.high = NULL, r.activation if r.deferred else NONE, r.low, r.high
    for h in range(b.start[1], b.start[1] + b.count[1]):
        o = b.start[2]
        while o < b.start[2] + b.count[2]:
            rows, lag = min(ABREAST, b.start[2] + b.count[2] - o), 0
            if r.lag and o + rows == r.ax[2].out:  # the last one goes by itself
                rows -= 1
                if rows == 0:
                    rows, lag = 1, r.lag
            column = first
            while column < first + columns:
                for i in range(rows):
                    outs[i] = place(r, &r.out, b, b.start[0], h, o + i, lag) + column * r.out.sc
                    residuals[i] = place(r, &r.residual, b, b.start[0], h, o + i, lag) + column * r.residual.sc
                end.tile = place(r, stage, b, b.start[0], h, o, lag) + column * r.csize
                end.rows, end.columns = <int> rows, <int> min(first + columns - column, 2 * r.k.lanes)
                if r.deferred:
                    end.bias = r.bias + column * r.csize
                r.k.finish[r.out_dtype](&end)
                column += 2 * r.k.lanes
            o += rows


cdef void run_unit(const void *task, ptrdiff_t unit, int thread) noexcept nogil:
    """A box of one phase, through both stages where there are two; after it comes that of the next phase."""
    cdef const Run *r = <const Run *> task
    cdef const Product *p
    cdef Scratch s
    cdef Box b, all
    cdef Run stage
    cdef Run one
    cdef ptrdiff_t row
    cdef int i
    r += unit % r.phases
    unit //= r.phases
    if unit >= r.units:
        return
    p = r.product
    lay_out(r, r.scratch + thread * r.own, &s)
    b.chunk = unit % r.chunks * r.chunk
    b.blocks = min(r.chunk, r.blocks - b.chunk)
    unit //= r.chunks
    for i in range(2, -1, -1):
        b.start[i] = unit % r.boxes[i] * r.box[i]
        b.count[i] = min(r.box[i], r.ax[i].out - b.start[i])
        unit //= r.boxes[i]
    b.n = unit
    if p == NULL and r.plain_store:
        slide_box(r, &b, thread, &s)
        return
    stage, row = r[0], stage_pitch(r) * r.csize
    memset(&stage.residual, 0, sizeof(View))  # it is added when the box is finished
    stage.out.sn, stage.out.s[0], stage.out.s[2], stage.out.sc = 0, 0, row * r.up, r.csize
    stage.out.s[1] = (b.count[2] + 1) * stage.out.s[2]
    stage.out.data = s.middle + row - r.at[b.chunk] * r.csize
    if p != NULL:
        stage.out.s[1], stage.out.s[2] = row_pixels(r, &b) * p.pitch * r.csize, r.fold * p.pitch * r.csize
        stage.out.data = s.middle
    stage.out.data -= b.start[1] * stage.out.s[1] + b.start[2] * stage.out.s[2]
    while True:
        slide_box(&stage, &b, thread, &s)
        if p == NULL or b.chunk + b.blocks == r.blocks:
            break
        b.chunk += r.chunk
        b.blocks = min(r.chunk, r.blocks - b.chunk)
    if r.call.cancelled:
        return
    if p == NULL:  # output by output
        one, all = r[0], b
        one.out.s[2], one.residual.s[2], stage.out.s[2] = r.out.s[2] // r.up, r.residual.s[2] // r.up, stage.out.s[2] // r.up
        all.start[2], all.count[2] = b.start[2] * r.up, b.count[2] * r.up
        all.count[2] -= r.half and b.start[2] + b.count[2] == r.ax[2].out
        finish_box(&one, &all, &stage.out)
        return
    if r.deferred:  # where it is, pixel by pixel of the image
        all = b
        all.chunk, all.blocks, all.count[2] = 0, r.blocks, row_pixels(r, &b)
        stage.columns, stage.fold, stage.lag, stage.out.s[2] = p.rows, 1, 0, p.pitch * r.csize
        finish_box(&stage, &all, &stage.out)
    multiply_box(r, p, &b, thread, &s)


# ---- how a call is cut ------------------------------------------------------------------------------------------

cdef inline ptrdiff_t strip_pitch(const Run *r) noexcept nogil:
    """Elements of a strip's pixel: a chunk's vectors, and what a multiplier adds at the ends."""
    if r.fold > 1:
        return r.channels * r.repeat
    return ceil_div(r.chunk * r.k.lanes + 2 * (max(r.repeat, r.each) - 1), r.k.lanes) * r.k.lanes


cdef double strip_positions(const Run *r) noexcept nogil:
    cdef double positions = 1, span
    cdef int i
    for i in range(3):
        span = r.ax[i].taps if r.sparse else span_of(&r.ax[i], r.box[i]) + (r.fold - 1 if i == 2 else 0)
        positions *= min(span, <double> r.ax[i].size) if r.clipped else span
    return positions * min(r.residues, r.taps_w)


cdef ptrdiff_t strip_bytes(const Run *r) noexcept nogil:
    return aligned(<ptrdiff_t> min(r.csize * strip_pitch(r) * strip_positions(r), 1e15))


cdef void shrink(ptrdiff_t *size, const Run *r, ptrdiff_t least) noexcept nogil:
    while size[0] > least and max(0 if r.direct else strip_bytes(r), stage_bytes(r)) > STRIP_BYTES:
        size[0] = (size[0] + 1) // 2


cdef ptrdiff_t panel_bytes(const Run *r) noexcept nogil:
    """Of the pointwise filters."""
    return r.product.blocks * r.product.rows * 2 * r.k.lanes * r.csize


cdef ptrdiff_t box_pixels(const Run *r) noexcept nogil:
    """What the stages pass on stays in cache: more of it where each box has to bring in many filters."""
    cdef ptrdiff_t budget = (1 << 20) if panel_bytes(r) > PANEL_BYTES else 1 << 17
    return max(TILE_ROWS, budget // (r.fold * r.product.pitch * r.csize))


cdef void cut(Run *r, int threads) noexcept nogil:
    """Boxes of whole rows, as few as the threads need; strips in L2. Where channels are summed afterwards, pixels are
    counted and a unit takes all channels."""
    cdef ptrdiff_t pixels = 0 if r.product == NULL else box_pixels(r), units, parts, wanted
    cdef int i
    r.chunk = r.blocks
    r.box[0], r.box[1], r.box[2] = 1, max(1, r.ax[1].out), max(1, r.ax[2].out)
    if pixels and r.box[2] > pixels:
        r.box[2] = max(1, pixels // SLIDE_PIXELS * SLIDE_PIXELS)
    if pixels:
        r.box[1] = ceil_div(r.box[1], ceil_div(r.box[1], max(1, pixels // r.box[2])))
    units = max(1, r.x.n * r.phases * r.ax[0].out * ceil_div(r.ax[2].out, r.box[2]))
    if pixels and threads > 1:  # each box meets all pointwise filters: better few, but evenly
        parts = max(ceil_div(r.ax[1].out, r.box[1]), min(r.box[1], ceil_div(threads, units)))
        r.box[1] = max(1, ceil_div(r.ax[1].out, even_parts(r.ax[1].out, parts, units, r.box[2], TILE_ROWS, threads)))
    units *= max(1, ceil_div(r.ax[1].out, r.box[1]))
    wanted = (1 if pixels else 4) * threads
    if threads > 1 and units < wanted:
        # Each thread has rows of its own, as in the layers around; channels are cut where rows are few.
        if not pixels:
            parts = min(ceil_div(wanted, units), max(1, r.box[1] // MANY_ROWS))
            parts -= parts % threads if parts > threads else 0
            r.box[1] = ceil_div(r.box[1], parts)
            units *= max(1, ceil_div(r.ax[1].out, r.box[1]))
        parts = ceil_div(wanted, units)
        if not pixels and r.fold == 1 and r.box[2] < parts * 4 * SLIDE_PIXELS:
            r.chunk = ceil_div(r.blocks, min(parts, ceil_div(r.blocks, 2)))
            parts = ceil_div(parts, ceil_div(r.blocks, r.chunk))
        if parts > 1 and not (pixels and r.fold > 1):
            r.box[2] = min(r.box[2], max(ceil_div(r.box[2], parts), 4 * SLIDE_PIXELS))
            if not pixels:
                r.box[1] = ceil_div(r.box[1], ceil_div(parts, max(1, ceil_div(r.ax[2].out, r.box[2]))))
    if not r.direct or stage_bytes(r):
        shrink(&r.box[1], r, SLIDE_ROWS)
        if r.fold == 1:
            shrink(&r.chunk, r, 4)
        shrink(&r.box[2], r, 1)
        shrink(&r.box[1], r, 1)
        if r.fold == 1:
            shrink(&r.chunk, r, 1)
        if not r.direct and r.fold == 1 and (strip_bytes(r) > STRIP_MOST or strip_positions(r) > r.taps * r.box[1] * r.box[2]):
            r.sparse, r.chunk, r.box[1], r.box[2] = True, r.blocks, 1, 1
            r.slides, r.column = r.d.any, 1
            shrink(&r.chunk, r, 1)
    if r.phases > 1:  # enough for each thread to have all phases of some boxes
        r.box[1] = ceil_div(r.box[1], threads)
        r.box[1] = min(r.box[1], max(2 * SLIDE_ROWS, PHASE_BYTES // (r.phases * r.up * r.box[2] * r.columns * r.csize)))
    r.pitch = strip_pitch(r)
    r.chunks = 1 if pixels else ceil_div(r.blocks, r.chunk)
    r.units = r.x.n * r.chunks
    for i in range(3):
        r.boxes[i] = ceil_div(r.ax[i].out, r.box[i])
        r.units *= r.boxes[i]


cdef void count_blocks(Run *r) noexcept nogil:
    """How many vectors of channels there are. The last one ends with the channels; the first ends where the next is aligned,
    in the array that suffers more when vectors cross lines: the input, but for 3x3 filters at stride 1, which load so little,
    on Intel, or where all pixels' stores share a set of L1 (7x7x1024: 13 us, not 22; else AMD takes 0.8 to 0.95)."""
    cdef bint stores = (r.plain_store and r.ax[2].taps == 3 and r.ax[2].stride == 1
                        and (not LOADS_SUFFER or r.out.s[2] % L1_PERIOD == 0))
    r.shift = 0
    if (stores or r.direct) and r.each == 1 and r.columns >= WORTH_A_SHIFT * r.k.lanes:
        r.shift = -(<ptrdiff_t> (r.out.data if stores else r.x.data) // r.csize) % r.k.lanes
        r.shift += r.k.lanes if r.shift < 0 else 0
    r.blocks = ceil_div(r.columns - r.shift, r.k.lanes) + (1 if r.shift else 0)


cdef inline ptrdiff_t shared_bytes(const Run *r) noexcept nogil:
    """A bias that is no vector wide, or has to be repeated."""
    return aligned((r.columns if r.fold > 1 else r.k.lanes) * r.csize)


cdef ptrdiff_t lay_out(const Run *r, char *p, Scratch *s) noexcept nogil:
    """One thread's scratch from p on: a tile, a strip, and between two stages what the first makes of a box. Returns its
    bytes."""
    cdef ptrdiff_t pixels = r.box[1] * r.box[2] * r.fold
    s.tile = p
    s.strip = p + (aligned(2 * TILE_ROWS * r.k.lanes * r.csize) if r.product != NULL else 0)
    s.middle = s.strip + (0 if r.direct else strip_bytes(r))
    return s.middle - p + (aligned(pixels * r.product.pitch * r.csize) if r.product != NULL else stage_bytes(r))


cdef ptrdiff_t most_scratch(const Run *r, int threads) noexcept:
    """The most that a call may take, and share, wherever its arrays start: read as they lie or not, and with a vector more
    or not."""
    cdef Run one
    cdef Scratch s
    cdef ptrdiff_t most = 0
    cdef int lie
    for lie in range(4):
        one = r[0]
        one.direct, one.blocks = lie % 2, ceil_div(r.columns, r.k.lanes) + lie // 2
        cut(&one, threads)
        most = max(most, shared_bytes(&one) + threads * lay_out(&one, NULL, &s))
    return most


include "planes.pxi"


# ---- the drivers --------------------------------------------------------------------------------------------------

cdef class Taps:
    """Depthwise filters as [taps][channels] in the compute type, a vector wide at least; and as the last call's vectors of
    channels took them, which depends on where its arrays start: ((shift, blocks), bytes never changed once they are here):
    the filters in vectors, a vector of zeros for each block and where the blocks start."""
    cdef cnp.ndarray dense
    cdef bint finite
    cdef tuple arranged
    cdef list phases         # those of each, instead

    @property
    def nbytes(self):
        if self.phases:
            return sum([taps.nbytes for taps in self.phases]) + (0 if self.dense is None else self.dense.nbytes)
        return self.dense.nbytes + (self.arranged[1].nbytes if self.arranged else 0)


cdef class Depthwise(Driver):
    """A depthwise Problem."""
    cdef Run common          # what it is for every ISA and call
    cdef list phases         # one driver for each of several jobs
    cdef bint whole
    cdef ptrdiff_t plane_width
    cdef tuple order

    def __cinit__(self, problem, pairs=None):
        """Of `pairs`, the forward axis of the rows, both phases in one."""
        cdef int i
        cdef Run *r = &self.common
        r.dtype = r.out_dtype = self.dtype
        r.size, r.csize = storage_bytes(r.dtype), compute_bytes(r.dtype)
        r.channels, r.columns = problem.in_channels, problem.out_channels
        r.each = r.taps = self.cg
        r.repeat = r.columns // max(1, r.channels)
        r.fold = r.phases = r.residues = r.up = 1
        r.mode, r.constant = problem.padding_mode, problem.padding_value
        r.x.n = prod(problem.batch)
        self.whole = True
        job = problem.jobs[0]
        taps = [range(axis.tap_start, axis.tap_start + axis.taps * axis.tap_step, axis.tap_step) for axis in job]
        if pairs is not None:
            r.up, r.half, r.first = 2, pairs.size % 2, pairs.lo % 2
            job, taps[2] = (*job[:2], pairs_of_outputs(pairs)), range(pairs.taps)
        for i, axis in enumerate(job):
            copy_axis(axis, &r.ax[i])
            r.taps *= len(taps[i])
            self.whole &= not leaves_input(&r.ax[i])
            r.step[i] = r.ax[i].dilation if r.ax[i].stride == 1 else 1
        r.taps_w = len(taps[2])
        r.clipped = self.whole or r.mode == 0 and r.constant == 0
        if len(problem.jobs) > 1:
            pairs, jobs = problem.axes[2], problem.jobs
            if r.clipped and r.each == 1 and r.dtype < 2 and in_pairs(pairs):
                jobs = [job for job in jobs if job[2].out_start == 0]
            else:
                pairs = None
            self.phases = [Depthwise(problem._replace(jobs=(job,)), pairs) for job in jobs]
            if problem.plane_width:  # all phases in one
                r.up, r.first = 2, pairs.lo % 2
                for i in range(1, 3):
                    taps[i] = range(problem.taps[i])
                    copy_axis(pairs_of_outputs(problem.axes[i]), &r.ax[i])
                r.taps_w, r.taps = problem.taps[2], problem.taps[1] * problem.taps[2]
        self.order = tuple(slice(r.start, r.stop if r.stop >= 0 else None, r.step) for r in taps[3 - self.ndim:])
        self.layout = ("depthwise", *taps, *[phase.layout for phase in self.phases or ()])
        self.plane_width = problem.plane_width

    cdef void describe(self, Run *r, int isa) noexcept:
        """What does not depend on a call's arrays."""
        cdef int k = compute_type(self.common.dtype)
        cdef const Axis *w = &r.ax[2]
        r[0] = self.common
        r.k, r.d = conv_kernels_of(isa) + k, depthwise_kernels_of(isa) + k
        r.rows = 1 if r.ax[1].stride > 1 and r.ax[1].dilation > 1 else SLIDE_ROWS if w.stride == 1 else SLIDE_ROWS - 1
        # Kernels that know their windows do not expect one that lies outside as a whole.
        if (r.up == 1 and w.taps in (3, 5, 7) and (r.each == 1 or w.taps == 3) and k < 2 and
                (w.stride == 1 or w.stride == 2 and w.dilation == 1) and
                (not r.clipped or 0 < w.size and w.lo <= (w.taps - 1) * w.dilation and (w.out - 1) * w.stride - w.lo < w.size)):
            r.slides, r.column = r.d.slide[(w.taps - 3) // 2][w.stride - 1], w.dilation
        elif r.up > 1:
            r.slides, r.column = r.d.up[r.taps_w][r.first], 1
        else:
            r.slides, r.column, r.step[2] = r.d.any, 1, 1

    cdef bint fold(self, Run *r) noexcept:
        """Where channels are fewer than a vector has and windows slide densely: pixels whose channels are whole vectors are
        taken for one, and what lies outside becomes part of a strip; of a stride, its residues one after the other. False
        where that cannot be."""
        cdef ptrdiff_t pixels = 1, last = r.ax[2].out, stride = r.ax[2].stride
        if (r.columns >= r.k.lanes or not self.channels_last or stride > 1 and (r.repeat > 1 or 2 * r.columns > r.k.lanes)
                or r.ax[0].dilation > 1 or r.ax[1].dilation > 1 or r.ax[2].dilation > 1):
            return False
        while pixels * r.columns % r.k.lanes:
            pixels += 1
        if pixels > last or r.csize * r.columns * r.ax[0].taps * r.ax[1].taps * (pixels + r.ax[2].taps) > STRIP_BYTES:
            return False
        if stride > 1:
            r.residues, r.margin, r.ax[2].lo, r.ax[2].taps = stride, r.ax[2].lo, 0, ceil_div(r.ax[2].taps, stride)
        r.ax[2].out, r.ax[2].stride = ceil_div(last, pixels), pixels
        r.fold, r.lag = pixels, r.ax[2].out * pixels - last
        r.columns *= pixels
        r.clipped, r.slides, r.column, r.step[2] = False, r.d.any, 1, 1
        r.out.s[2] *= pixels
        r.residual.s[2] *= pixels
        return True

    cdef void take_input(self, Run *r, const View *x) noexcept:
        r.x = x[0]
        r.direct = r.dtype < 3 and r.repeat == 1 and x.sc == r.size and r.columns >= r.k.lanes and r.clipped
        if r.fold > 1:
            r.direct = (r.dtype < 3 and r.repeat == r.residues == 1 and x.sc == r.size and x.s[2] == r.channels * x.sc
                        and self.whole)

    cdef cnp.ndarray place_shared(self, Run *r, char *shared, cnp.ndarray bias, Taps taps):
        """What threads share, and nobody writes again: it stays in every core's cache. The array returned holds it."""
        cdef ptrdiff_t vector = r.k.lanes * r.csize, start = 0, i
        cdef ptrdiff_t *at
        cdef cnp.ndarray arranged
        key = (r.shift, r.blocks, r.fold)
        kept, fresh = taps.arranged, False
        if kept is None or kept[0] != key:
            fresh = True
            kept = key, np.zeros(r.blocks * ((r.taps + 1) * vector + sizeof(ptrdiff_t)) + 64, np.uint8)
        arranged = kept[1]
        r.w = <char *> aligned(<ptrdiff_t> cnp.PyArray_DATA(arranged))
        r.zeros = r.w + r.blocks * r.taps * vector
        r.at = at = <ptrdiff_t *> (r.zeros + r.blocks * vector)
        if fresh:
            for i in range(r.blocks):
                at[i] = max(0, min(start, r.columns - r.k.lanes))
                start += r.k.lanes if i or not r.shift else r.shift
            dense = taps.dense
            if r.fold > 1:  # np.tile takes as long as a small layer
                dense = np.empty((r.taps, r.fold, self.common.columns), dense.dtype)
                dense[...] = taps.dense[:, None, :self.common.columns]
            r.d.arrange(<char *> r.w, cnp.PyArray_DATA(dense), r.taps, max(r.columns, r.k.lanes), at, r.blocks)
            taps.arranged = kept
        r.bias = r.zeros
        if bias is not None:
            r.bias = <const char *> cnp.PyArray_DATA(bias)
            if r.columns < r.k.lanes or r.fold > 1:
                copy_bias(bias, shared, self.common.columns * r.csize, r.fold, max(0, vector - r.columns * r.csize))
                r.bias = shared
        return arranged

    cdef bint in_planes(self, int isa) noexcept:
        """Whether lanes may be pixels: rows fill a vector."""
        return self.plane_width >= conv_kernels_of(isa)[compute_type(self.common.dtype)].lanes

    cdef bint run_in_planes(self, const Operands *o, Taps taps, cnp.ndarray bias, double work, int threads, int isa,
                            Call *call) except -1:
        """Where x and out have their pixels side by side; whether that is so."""
        cdef Planes p
        cdef const Axis *h = &self.common.ax[1]
        cdef const Axis *w = &self.common.ax[2]
        cdef int k = compute_type(self.common.dtype), team
        cdef ptrdiff_t planes = o.out.n * o.out.c, size = self.common.size
        if (not self.in_planes(isa) or not taps.finite or o.activation > CLAMP or not o.x.s[2] == size == o.out.s[2]
                or o.residual.data != NULL):
            return False
        p.compute, p.csize, p.taps, p.step = depthwise_kernels_of(isa)[k].plane[w.taps][w.stride], self.common.csize, w.taps * w.taps, 1
        if self.phases:
            p.compute, p.step = depthwise_kernels_of(isa)[k].plane_up[self.common.taps_w][self.common.first], 2
        p.x, p.out, p.repeat, p.call = o.x, o.out, self.common.repeat, call
        p.args.row, p.args.height, p.args.width = o.x.s[1], o.x.size[1], o.x.size[2]
        p.args.top, p.args.left = h.lo, w.lo
        p.args.clamp, p.args.low, p.args.high = o.activation == CLAMP, o.low, o.high
        p.args.w, p.args.w_step = cnp.PyArray_DATA(taps.dense), taps.dense.shape[1]
        p.args.bias = NULL if bias is None else cnp.PyArray_DATA(bias)
        p.args.out_row, p.args.columns = o.out.s[1], o.out.size[2]
        cut_planes(&p, h, w, conv_kernels_of(isa)[k].lanes)
        team = team_of(work, threads, prepare)
        p.together = max(1, min(PLANE_UNIT // (p.taps * w.out * h.out), planes // (4 * team)))
        p.parts = 1 if planes >= 4 * team or team == 1 else min(ceil_div(4 * team, planes), ceil_div(h.out, PLANE_LEAST))
        p.rooms = take(call, team * p.room, "scratch")
        with nogil:
            run_units(run_planes, &p, ceil_div(planes, p.together) * p.parts, team, call)
        return True

    def pack(self, cnp.ndarray w, int isa):
        """The filters as the driver reads them, for `run` on the same ISA."""
        cdef int k = compute_type(self.common.dtype)
        cdef Taps made = Taps.__new__(Taps)
        if self.phases:
            made.phases = [phase.pack(w, isa) for phase in self.phases]
            if not self.in_planes(isa):
                return made
        taps = w[self.order]
        if self.common.each > 1:  # taps along the first of three axes, channels, taps along the others, columns
            shape = (self.common.ax[0].taps, self.common.ax[1].taps, self.common.ax[2].taps, self.common.each)
            if self.problem.filters == "transposed":  # (taps..., outputs of a group, inputs)
                taps = taps.reshape(shape + (-1, self.common.each)).transpose(0, 5, 1, 2, 4, 3)
            else:
                taps = taps.reshape(shape + (-1,)).transpose(0, 3, 1, 2, 4)
        dense = np.ascontiguousarray(taps.reshape(self.common.taps, self.common.columns), dtype=("f4", "f8", "i4")[k])
        lanes = (conv_kernels_of(isa) + k).lanes
        if self.common.columns < lanes or self.in_planes(isa):
            made.finite = k == 2 or np.isfinite(dense).all()
        if self.common.columns < lanes:
            narrow, dense = dense, np.zeros((self.common.taps, lanes), dense.dtype)
            dense[:, :self.common.columns] = narrow
        made.dense = dense
        return made

    cdef ptrdiff_t scratch(self, int threads, int isa, Call *call) except -1:
        cdef Run r
        cdef Planes p
        cdef ptrdiff_t total = 0, most
        cdef Depthwise driver
        cdef list drivers = self.phases or [self]
        for driver in drivers:
            most = 0
            for folded in range(2):
                driver.describe(&r, isa)
                r.phases = len(drivers)
                if not folded or driver.fold(&r):
                    most = max(most, most_scratch(&r, threads))
            if driver.in_planes(isa):
                p.csize = driver.common.csize
                cut_planes(&p, &driver.common.ax[1], &driver.common.ax[2], r.k.lanes)
                most = max(most, threads * p.room)
            total += most + sizeof(Run)
        if self.phases and self.in_planes(isa):
            cut_planes(&p, &self.common.ax[1], &self.common.ax[2], r.k.lanes)
            total = max(total, threads * p.room)
        return total

    cdef void set_up(self, Run *r, const Operands *o, Taps taps, int phases, int isa) noexcept:
        """Everything of a call that comes before its threads are known."""
        cdef bint residual = o.residual.data != NULL
        cdef int i
        cdef Axis *a
        self.describe(r, isa)
        r.out, r.residual, r.phases = o.out, o.residual, phases
        for i in range(3):
            a = &self.common.ax[i]
            r.out.data += a.out_start * r.out.s[i]
            r.residual.data += a.out_start * r.residual.s[i]
            r.out.s[i] *= a.out_step
            r.residual.s[i] *= a.out_step
        if (r.out.s[2] == self.common.columns * r.out.sc and (not residual or r.residual.s[2] == self.common.columns * r.residual.sc)
                and (taps.finite or not r.clipped or self.whole)):
            self.fold(r)
        self.take_input(r, &o.x)
        r.activation, r.low, r.high = o.activation, o.low, o.high
        r.deferred = o.activation > CLAMP or residual and r.residual.sc != r.size
        r.plain_store = r.dtype < 3 and r.out.sc == r.size and not r.deferred and r.columns >= r.k.lanes
        r.deferred |= residual and not r.plain_store
        count_blocks(r)

    cdef int compute(self, const Operands *o, cnp.ndarray x, filters, cnp.ndarray bias, cnp.ndarray out, int threads, int isa,
                     Call *call) except -1:
        cdef Run one
        cdef Run *runs = &one
        cdef Taps taps = filters if isinstance(filters, Taps) else self.pack(filters, isa)
        cdef list drivers = self.phases or [self], parts = taps.phases or [taps]
        cdef double work = work_of(self.flops, x, out)
        cdef int j
        if self.run_in_planes(o, taps, bias, work, threads, isa, call):
            return 0
        if self.phases:
            runs = <Run *> take(call, len(drivers) * sizeof(Run), "scratch")
        for j in range(len(drivers)):
            (<Depthwise> drivers[j]).set_up(runs + j, o, parts[j], len(drivers), isa)
        return run_all(runs, drivers, parts, bias, work, threads, call)


cdef double work_of(double flops, cnp.ndarray x, cnp.ndarray out) noexcept:
    return flops + MOVE * (<double> cnp.PyArray_SIZE(x) + cnp.PyArray_SIZE(out))


cdef int run_all(Run *runs, list drivers, list taps, cnp.ndarray bias, double work, int threads, Call *call) except -1:
    """What a call's runs describe, one for each driver: box by box, all runs in turn."""
    cdef ptrdiff_t head = 0, own = 0, units = 0
    cdef int team = team_of(work, threads, prepare), j
    cdef list held = []
    cdef Scratch s
    cdef char *p
    for j in range(runs.phases):
        cut(runs + j, team)
        head += shared_bytes(runs + j)
        own, units = max(own, lay_out(runs + j, NULL, &s)), max(units, runs[j].units)
    p = take(call, head + team * own, "scratch")
    for j in range(runs.phases):
        runs[j].call, runs[j].scratch, runs[j].own = call, p + head, own
        held.append((<Depthwise> drivers[j]).place_shared(runs + j, p, bias, taps[j]))
        head -= shared_bytes(runs + j)
        p += shared_bytes(runs + j)
    with nogil:
        run_units(run_unit, runs, units * runs.phases, team, call)
    return 0


include "separable.pxi"
