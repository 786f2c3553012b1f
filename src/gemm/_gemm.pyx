"""The forward driver: every convolution, dense, grouped, depthwise or transposed, as jobs of implicit GEMM.

A job's output pixels are cut into boxes (n, d, h, w); a box is walked in register tiles of up to TILE_ROWS pixels by
one or two vectors of output channels; of a few channels, pixels are the lanes. A tile reads its input through pointers,
one for each pixel and tap: there is no im2col buffer. Where the input can be read where it lies (right dtype, channels
next to each other) the pointers go into the array; else into a strip, the box's input gathered once into scratch,
padding included; else, for filters too large for that, into a gathered copy of the tile's own windows, some taps at a
time. The order of every sum is the same in all three, (tap, channel), so the result does not depend on how the array
lies in memory, nor on threads or boxes.
"""

from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from itertools import product
from math import prod

import numpy as np

cimport numpy as cnp
from common cimport (
    L1_PERIOD, MOVE, Call, Filters, JobAxis, Memory, View, aligned, begin, ceil_div, compute_bytes, compute_type, copy_axis,
    even_parts, give_back, l1_ways, l2_bytes, leaves_input, map_index, no_memory, odd_lines, output, poll, read_filters,
    readable, run_units, storage_bytes, take, take_large, team_of, view_of
)
from kernels cimport NARROW, TILE_ROWS, add_args, conv_kernels, conv_kernels_of, spare_bytes, tile_args, tile_fn
from move cimport CLAMP, NONE, Gathering, finish_args, gather_box

from cyconv._geometry import zones
from cyconv._runtime import empty, packed, prepare

cnp.import_array()

cdef enum:
    RUNS = 512              # taps a tile takes at a time
    WINDOW_BYTES = 1 << 16  # of each pixel's window, gathered at a time
    STRIP_BYTES = 1 << 20   # the most a strip may hold
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
    PANEL_END = 256         # bytes to spare behind packed filters: vectors are read whole
    UNITS = 6               # wanted for each thread
    SHARED_FILTERS = 400000  # bytes of filters that every thread's L2 holds beside its pixels
    TINY = 100000           # floating-point operations that are done sooner than the GIL is given to others and had again
    FOLD_CHANNELS = 16      # up to so many channels, a row of taps is one run of a strip

cdef long WAYS = l1_ways()
# Bytes of filters that a box's tiles go through at once, for L2 keeps them; where they are more, so many at a time, and the
# box's input, which several taps read again for the next ones, has to stay, too.
cdef ptrdiff_t L2 = min(max(l2_bytes(), 1 << 19), 1 << 21), ALL_FILTERS = L2 * 5 // 8, SOME_FILTERS = L2 * 2 // 7
cdef ptrdiff_t INPUT_BYTES = L2 // 5

cdef enum Source:
    DIRECT, STRIP, WINDOWS


cdef struct Job:
    JobAxis ax[3]
    ptrdiff_t taps
    ptrdiff_t together       # phases side by side along the last axis, all with the same input: they are more columns


cdef struct Tiling:
    # How one call cuts a job.
    int source
    bint fold, rows_first
    ptrdiff_t box[4]
    ptrdiff_t boxes[4]
    ptrdiff_t extent[3]      # of a strip
    ptrdiff_t splits         # of the columns
    ptrdiff_t first          # its first unit
    ptrdiff_t units
    ptrdiff_t panel          # where its packed filters start, in elements of a group's
    ptrdiff_t columns        # of a group, and blocks of them
    ptrdiff_t blocks
    ptrdiff_t packed         # the first of those whose filters are not read where they lie
    ptrdiff_t together       # blocks at a time, as many as keep their filters in L2


cdef struct Scratch:
    # One thread's.
    const char **a           # [RUNS][TILE_ROWS]
    ptrdiff_t *tap_offset    # [RUNS]
    ptrdiff_t *no_offset     # [RUNS] zeros
    char *tile               # LINE_ROWS rows of two vectors
    char *area               # a strip, or windows


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
    Scratch *scratch         # each thread's
    const char *bias         # one value a column of every group, zeros where there is none
    const char *no_bias
    const char *outside      # a run of the padding constant
    int mode, activation
    double constant, low, high
    Call *call


# ---- indices ----------------------------------------------------------------------------------------------------

cdef inline ptrdiff_t block_start(const Run *r, ptrdiff_t columns, ptrdiff_t b, int *wide) noexcept nogil:
    """The first column of block b of a group, and how many vectors wide the block is.

    Depthwise blocks end at the last channel, overlapping the one before: all their loads stay inside the row.
    """
    cdef ptrdiff_t lanes = r.k.lanes, start = b * 2 * lanes, rest = columns - start
    wide[0] = 2 if rest > lanes else 1
    if not r.depthwise or rest >= wide[0] * lanes or columns < lanes:
        return start
    if columns < wide[0] * lanes:  # between one vector and two: two blocks of one
        wide[0] = 1
        return 0
    return columns - wide[0] * lanes


cdef inline ptrdiff_t panel_place(const Run *r, const Job *job, const Tiling *t, ptrdiff_t group,
                                  ptrdiff_t block) noexcept nogil:
    """Where a block's packed filters start, in bytes."""
    cdef ptrdiff_t rows = job.taps * (1 if r.depthwise else r.cg)
    return (group * r.panel_group + t.panel + (block - t.packed) * rows * 2 * r.k.lanes) * r.csize


cdef inline const char *filters_at(const Run *r, const Job *job, const Tiling *t, ptrdiff_t group, ptrdiff_t block,
                                   ptrdiff_t start, ptrdiff_t width, ptrdiff_t *ldb) noexcept nogil:
    """A block's filters, packed or not, and the elements from one of their rows to the next."""
    cdef const Filters *f
    if block >= t.packed:
        ldb[0] = width
        return r.panels + panel_place(r, job, t, group, block)
    f = r.filters + (job - r.jobs)
    ldb[0] = f.row // r.csize
    return f.data + group * f.group + start * r.csize


# ---- gathering --------------------------------------------------------------------------------------------------

cdef void gather_strip(const Run *r, const Job *job, const Tiling *t, ptrdiff_t group, const ptrdiff_t *start,
                       const ptrdiff_t *count, char *area) noexcept nogil:
    """The input of a box, every position read once."""
    cdef Gathering g
    cdef ptrdiff_t[3] first, step
    cdef int i
    for i in range(3):
        first[i], step[i] = start[i + 1] * job.ax[i].stride - job.ax[i].lo, 1
    g.gather, g.fill, g.mode, g.csize, g.constant = r.k.gather[r.dtype], r.k.fill, r.mode, r.csize, r.constant
    g.channels, g.repeat, g.pitch = r.cg, r.repeat, r.pitch
    gather_box(&g, &r.x, r.x.data + start[0] * r.x.sn + group * r.cg * r.x.sc, count[0], first, step, t.extent, area)


# ---- one tile ---------------------------------------------------------------------------------------------------

cdef struct Tile:
    int rows, full           # pixels in it, and the most that a kernel which computes them takes
    bint inside              # no window leaves the input
    ptrdiff_t first_run, end_run  # those at which any window is inside; the others, zeros, are left out
    int stretches            # of pixels side by side in a row of the output,
    int first[TILE_ROWS + 1]  # and where they start
    ptrdiff_t[3] at[TILE_ROWS]
    char *out[TILE_ROWS]
    char *residual[TILE_ROWS]
    const char *base[TILE_ROWS]


cdef void locate(const Run *r, const Job *job, const Tiling *t, ptrdiff_t group, const ptrdiff_t *start,
                 const ptrdiff_t *count, ptrdiff_t *c, Tile *tile, char *area) noexcept nogil:
    """The tile's pixels from c on, a stretch of a row at a time: their windows' corners in the input or the strip, and
    where they go in the output. c moves on to the next tile's first pixel."""
    cdef ptrdiff_t o, p, stretch, w_step, out_step, residual_step
    cdef ptrdiff_t[3] corner
    cdef char *out
    cdef char *residual
    cdef const char *base
    cdef int i = 0, j
    cdef bint strip = t.source == STRIP
    tile.inside, tile.stretches = True, 0
    w_step = job.ax[2].stride * (r.pitch * r.csize if strip else r.x.s[2])
    out_step, residual_step = job.ax[2].out_step * r.out.s[2], job.ax[2].out_step * r.residual.s[2]
    while i < tile.rows:
        stretch = min(tile.rows - i, count[3] - c[3])
        out = r.out.data + (start[0] + c[0]) * r.out.sn + group * r.mg * r.out.sc
        residual = r.residual.data + (start[0] + c[0]) * r.residual.sn + group * r.mg * r.residual.sc
        base = r.x.data + (start[0] + c[0]) * r.x.sn + group * r.cg * r.x.sc
        p = c[0]
        for j in range(3):
            o = start[j + 1] + c[j + 1]
            corner[j] = o * job.ax[j].stride - job.ax[j].lo
            p = p * t.extent[j] + c[j + 1] * job.ax[j].stride
            base += corner[j] * r.x.s[j]
            if corner[j] < 0 or (corner[j] + (job.ax[j].taps - 1) * job.ax[j].dilation
                                 + (job.ax[j].stride * (stretch - 1) if j == 2 else 0) >= job.ax[j].size):
                tile.inside = False
            o = job.ax[j].out_start + o * job.ax[j].out_step
            out += o * r.out.s[j]
            residual += o * r.residual.s[j]
        if strip:
            base = area + p * r.pitch * r.csize
        for j in range(<int> stretch):
            tile.base[i + j] = base + j * w_step
            tile.out[i + j] = out + j * out_step
        if r.residual.data != NULL:
            for j in range(<int> stretch):
                tile.residual[i + j] = residual + j * residual_step
        if not strip:
            tile.first[tile.stretches] = i
            tile.stretches += 1
            for j in range(<int> stretch):
                tile.at[i + j][0], tile.at[i + j][1] = corner[0], corner[1]
                tile.at[i + j][2] = corner[2] + j * job.ax[2].stride
        i += <int> stretch
        c[3] += stretch
        for j in range(3, 0, -1):
            if c[j] < count[j]:
                break
            c[j] = 0
            c[j - 1] += 1
    tile.inside |= strip
    tile.first[tile.stretches] = tile.rows
    for i in range(tile.rows, tile.full):
        tile.base[i] = tile.base[0]


cdef inline void tap_of(const Job *job, ptrdiff_t tap, ptrdiff_t *k) noexcept nogil:
    k[2] = tap % job.ax[2].taps
    tap //= job.ax[2].taps
    k[1] = tap % job.ax[1].taps
    k[0] = tap // job.ax[1].taps


cdef void tap_offsets(const Run *r, const Job *job, const Tiling *t, ptrdiff_t first, ptrdiff_t runs,
                      ptrdiff_t *offset) noexcept nogil:
    """How far each tap's pixel lies from the window's corner, in bytes."""
    cdef ptrdiff_t i, pixel = r.pitch * r.csize
    cdef ptrdiff_t[3] k
    for i in range(runs):
        tap_of(job, (first + i) * (job.ax[2].taps if t.fold else 1), k)
        if t.source == STRIP:
            offset[i] = ((k[0] * job.ax[0].dilation * t.extent[1] + k[1] * job.ax[1].dilation) * t.extent[2]
                         + k[2] * job.ax[2].dilation) * pixel
        else:
            offset[i] = (k[0] * job.ax[0].dilation * r.x.s[0] + k[1] * job.ax[1].dilation * r.x.s[1]
                         + k[2] * job.ax[2].dilation * r.x.s[2])


cdef const char *read_at(const Run *r, const Job *job, const Tile *tile, int i, const ptrdiff_t *k) noexcept nogil:
    """Pixel i's input at tap k where the window may leave the input; NULL for the constant."""
    cdef const char *p = tile.base[i]
    cdef ptrdiff_t corner, at
    cdef int j
    for j in range(3):
        corner = tile.at[i][j]
        at = map_index(corner + k[j] * job.ax[j].dilation, job.ax[j].size, r.mode)
        if at < 0:
            return NULL
        p += (at - corner) * r.x.s[j]
    return p


cdef void point(const Run *r, const Job *job, Tile *tile, ptrdiff_t first, ptrdiff_t runs, tile_args *args,
                Scratch *s) noexcept nogil:
    """Where a tile's pixels are for every run: at the same distances from their corners, or, where windows leave the
    input, one by one."""
    cdef ptrdiff_t q, w, w_step = job.ax[2].stride
    cdef bint zeros = r.mode == 0 and r.constant == 0
    cdef size_t size = job.ax[2].size
    cdef ptrdiff_t[3] k
    cdef const char **a = s.a
    cdef const char *p
    cdef const ptrdiff_t *corner
    cdef int i, j, g
    tile.first_run, tile.end_run = 0, runs
    if tile.inside:
        args.a, args.a_step, args.offset = tile.base, 0, s.tap_offset
        return
    if zeros:
        tile.first_run, tile.end_run = runs, 0
    args.a, args.a_step, args.offset = s.a, TILE_ROWS, s.no_offset
    for q in range(runs):
        tap_of(job, first + q, k)
        if r.mode == 0:
            for g in range(tile.stretches):
                i, j = tile.first[g], tile.first[g + 1]
                corner = tile.at[i]
                if (<size_t> (corner[0] + k[0] * job.ax[0].dilation) >= <size_t> job.ax[0].size
                        or <size_t> (corner[1] + k[1] * job.ax[1].dilation) >= <size_t> job.ax[1].size):
                    for i in range(i, j):
                        a[i] = r.outside
                    continue
                w = corner[2] + k[2] * job.ax[2].dilation
                if zeros and w < job.ax[2].size and w + (j - i - 1) * w_step >= 0:
                    tile.first_run, tile.end_run = min(q, tile.first_run), q + 1
                for i in range(i, j):
                    a[i] = tile.base[i] + s.tap_offset[q] if <size_t> w < size else r.outside
                    w += w_step
        else:
            for i in range(tile.rows):
                p = read_at(r, job, tile, i, k)
                a[i] = p if p != NULL else r.outside
        for i in range(tile.rows, tile.full):
            a[i] = a[0]
        a += TILE_ROWS


cdef void point_windows(const Run *r, const Job *job, const Tile *tile, ptrdiff_t first, ptrdiff_t taps,
                        ptrdiff_t channel, ptrdiff_t channels, Scratch *s) noexcept nogil:
    """Gather some taps, or some channels of one tap, of a tile's windows into scratch, and point there."""
    cdef ptrdiff_t q, width = channels * r.repeat
    cdef ptrdiff_t[3] k
    cdef char *dst = s.area
    cdef const char *p
    cdef int i
    for q in range(taps):
        tap_of(job, first + q, k)
        for i in range(tile.full):
            p = read_at(r, job, tile, i, k) if i < tile.rows else NULL
            if p == NULL:
                r.k.fill(dst, width, r.constant)
            else:
                r.k.gather[r.dtype](dst, width, r.repeat, p + channel * r.x.sc, 1, 0, channels, r.x.sc)
            s.a[q * TILE_ROWS + i] = dst
            dst += width * r.csize


cdef inline ptrdiff_t window_bytes(const Run *r, const Job *job) noexcept nogil:
    """The most that `chunked` gathers of a pixel's window at a time: one tap of a tile's columns at least where each channel
    goes by itself, and else of some channels."""
    cdef ptrdiff_t tap = r.cg * r.csize
    if r.depthwise:
        tap = min(r.cg, 2 * r.k.lanes // r.repeat + 2) * r.repeat * r.csize
    return max(tap if r.depthwise else 0, min(WINDOW_BYTES, tap * (1 if r.exact else job.taps)))


cdef void chunked(const Run *r, const Job *job, const Tiling *t, Tile *tile, tile_args *args,
                  tile_fn tile_of_full, tile_fn tile_of_one, Scratch *s) noexcept nogil:
    """A tile some taps at a time, adding up in its buffer: every filter too large for a column of pointers or for the
    scratch, and filters with NaN or infinite values, which the zeros of the padding must not meet: those go tap by
    tap and pixel by pixel, leaving out what lies outside the input."""
    cdef ptrdiff_t first = 0, taps, channel, channels, first_channel = 0, end_channel = r.cg, some
    cdef ptrdiff_t row = args.ldb * r.csize, most = WINDOW_BYTES // r.csize
    cdef ptrdiff_t runs = job.taps // job.ax[2].taps if t.fold else job.taps
    cdef ptrdiff_t[3] k
    cdef const char *b = args.b
    cdef char *const *out = args.out
    cdef int i
    if t.source != WINDOWS:
        while first < runs:
            args.runs = min(RUNS, runs - first)
            tap_offsets(r, job, t, first, args.runs, s.tap_offset)
            point(r, job, tile, first, args.runs, args, s)
            tile_of_full(args)
            args.b += args.runs * args.run * row
            args.accumulate = 1
            first += args.runs
        return
    some = min(r.cg, most)
    if r.depthwise:  # those of the tile's columns, all at a time
        first_channel = args.column // r.repeat
        end_channel = min(r.cg, ceil_div(args.column + args.ldb, r.repeat))
        args.column -= first_channel * r.repeat
        some = end_channel - first_channel
    taps = 1 if r.exact else max(1, min(RUNS, most // max(1, some * r.repeat)))
    args.a, args.a_step, args.offset = s.a, TILE_ROWS, s.no_offset
    while first < job.taps:
        args.runs = min(taps, job.taps - first)
        channel = first_channel
        while channel < end_channel:
            channels = min(some, end_channel - channel)
            args.run = 1 if r.depthwise else channels
            args.b = b + (first if r.depthwise else first * r.cg + channel) * row
            point_windows(r, job, tile, first, args.runs, channel, channels, s)
            if r.exact:
                tap_of(job, first, k)
                for i in range(tile.rows):
                    if read_at(r, job, tile, i, k) != NULL:
                        s.a[0] = s.area + i * channels * r.repeat * r.csize
                        args.out, args.accumulate = out + i, 1
                        tile_of_one(args)
            else:
                tile_of_full(args)
                args.accumulate = 1
            channel += channels
        first += args.runs


cdef inline void finish(const Run *r, const char *tile, int rows, ptrdiff_t columns, char *const *out,
                        char *const *residual, const char *bias) noexcept nogil:
    """A tile that may not be stored as it is, from its buffer; where its bias is still to come, so is the activation."""
    cdef finish_args end
    end.tile, end.pitch, end.rows, end.columns = tile, 2 * r.k.lanes, rows, <int> columns
    end.out, end.out_step = out, r.out.sc
    end.residual, end.residual_step = residual if r.residual.data != NULL else NULL, r.residual.sc
    end.bias, end.activation, end.low, end.high = bias, r.activation if bias != NULL else NONE, r.low, r.high
    r.k.finish[r.dtype](&end)


cdef void run_tile(const Run *r, const Job *job, const Tiling *t, ptrdiff_t group, ptrdiff_t block, Tile *tile,
                   tile_args *pointed, bint in_pieces, Scratch *s) noexcept nogil:
    """One block of columns of a tile, and its end: stored as it is, or through a buffer."""
    cdef int wide, i
    cdef ptrdiff_t start = block_start(r, t.columns, block, &wide), width = wide * r.k.lanes
    cdef ptrdiff_t taken = min(width, t.columns - start), row = 2 * r.k.lanes * r.csize
    cdef tile_fn kernel = r.k.depthwise[wide][tile.rows] if r.depthwise else r.k.gemm[wide][tile.rows]
    cdef tile_fn one = r.k.depthwise[wide][1] if r.depthwise else r.k.gemm[wide][1]
    cdef const char *bias = r.bias + (group * t.columns + start) * r.csize
    cdef int spare = spare_bytes(r.k, taken, wide, r.csize)
    cdef bint plain = r.plain_store and spare >= 0 and not in_pieces
    cdef bint deferred = r.deferred or in_pieces or r.residual.data != NULL and not plain
    cdef char *out[TILE_ROWS]
    cdef char *residual[TILE_ROWS]
    cdef tile_args args = pointed[0]
    if r.residual.data != NULL:
        for i in range(tile.full):
            residual[i] = tile.residual[min(i, tile.rows - 1)] + start * r.residual.sc
    if plain and tile.rows == tile.full:
        for i in range(tile.full):
            out[i] = tile.out[i] + start * r.out.sc
    else:
        for i in range(tile.full):
            out[i] = tile.out[i] + start * r.out.sc if plain and i < tile.rows else s.tile + i * row
    args.out = out
    args.b = filters_at(r, job, t, group, block, start, width, &args.ldb)
    args.column, args.accumulate, args.spare = start if r.depthwise else 0, 0, spare if plain else 0
    args.runs, args.run = job.taps, 1 if r.depthwise else r.cg
    args.ahead, args.pixel = block == 0 and t.source == DIRECT and r.cg >= FOLD_CHANNELS, job.ax[2].stride * r.x.s[2]
    if t.fold:
        args.runs, args.run = job.taps // job.ax[2].taps if job.taps else 0, job.ax[2].taps * r.cg
    args.bias, args.added = r.no_bias if deferred else bias, NULL if deferred or r.residual.data == NULL else residual
    args.clamp, args.low, args.high = r.activation == CLAMP and not deferred, r.low, r.high
    if in_pieces:
        memset(s.tile, 0, tile.full * row)
        chunked(r, job, t, tile, &args, kernel, one, s)
    else:
        args.runs = max(0, tile.end_run - tile.first_run)
        args.a += tile.first_run * args.a_step
        args.b += tile.first_run * args.run * args.ldb * r.csize
        kernel(&args)
    if plain:
        return
    for i in range(tile.rows):
        out[i] = tile.out[i] + start * r.out.sc
    finish(r, s.tile, tile.rows, taken, out, residual, bias if deferred else NULL)


cdef inline int tile_rows(ptrdiff_t pixels, int full) noexcept nogil:
    """How many of so many pixels the next tile takes. Of one or two more than a full one, 8: a tile of those alone would take
    as long as one of four."""
    return 8 if 8 < full < pixels <= min(full + 2, 16) else <int> min(pixels, full)


cdef inline ptrdiff_t filter_bytes(const Run *r, const Job *job) noexcept nogil:
    """Of one block of columns."""
    return job.taps * (1 if r.depthwise else r.cg) * 2 * r.k.lanes * r.csize


cdef inline ptrdiff_t input_bytes(const Job *job) noexcept nogil:
    """The most of a box's input that several blocks of filters meet in turn."""
    return STREAM_BYTES if job.taps == 1 else INPUT_BYTES


cdef struct Line:
    # Pixels at one distance from each other: the first one's window, how many, and bytes to the next.
    const char *base
    char *out
    char *residual
    ptrdiff_t count, step, out_step, residual_step


cdef void run_line(const Run *r, const Job *job, const Tiling *t, ptrdiff_t group, ptrdiff_t block, ptrdiff_t blocks,
                   const Line *line, tile_args *args, Scratch *s) noexcept nogil:
    """A block of columns of a line of pixels, or several that are stored as they are: full tiles, and what is left."""
    cdef int wide, i, _c, rows, done
    cdef ptrdiff_t start = block_start(r, t.columns, block, &wide), width = wide * r.k.lanes, first = 0
    cdef ptrdiff_t taken = min(width, t.columns - start), row = 2 * r.k.lanes * r.csize, rest
    cdef const char *bias = r.bias + (group * t.columns + start) * r.csize
    cdef int spare = spare_bytes(r.k, taken, wide, r.csize)
    # Few columns: pixels as lanes, where the channels are so many that turning them takes less than it saves.
    cdef bint narrow = (4 * taken <= r.k.lanes <= line.count and taken <= NARROW
                        and args.run >= (2 if spare >= 0 else 1) * r.k.lanes), plain, deferred
    cdef const char *base[LINE_ROWS]
    cdef char *out[LINE_ROWS]
    cdef char *residual[LINE_ROWS]
    cdef tile_fn kernel = r.k.narrow[taken] if narrow else r.k.along[wide]
    rows = r.k.lanes if narrow else r.k.rows[wide]
    args.a, args.a_step, args.out, args.pixel = base, 0, out, line.step
    cdef const char *b = filters_at(r, job, t, group, block, start, width, &args.ldb)
    args.b, args.accumulate = b, 0
    args.blocks, args.panel = blocks, filter_bytes(r, job) if block >= t.packed else row
    args.added_pixel = line.residual_step
    # Meanwhile, the next block's filters come to L2 by and by: at once they would take what L3 gives.
    args.later, args.later_step = args.b, 0
    if t.packed <= block < t.blocks - 1:
        args.later, args.later_step = args.b + job.taps * r.cg * row, max(1, row * rows // line.count)
    while first < line.count:
        rest = line.count - first
        if 8 < rest < rows:  # moved back: as fast as a tile of fewer pixels
            first, rest = line.count - rows, rows
        done = tile_rows(rest, rows)
        plain = r.plain_store and (r.residual.data == NULL if narrow and done == rows else spare >= 0)
        deferred = r.deferred or r.residual.data != NULL and not plain
        args.bias, args.clamp = r.no_bias if deferred else bias, r.activation == CLAMP and not deferred
        args.added = NULL if deferred or r.residual.data == NULL else residual
        residual[0] = line.residual + first * line.residual_step + start * r.residual.sc
        args.tiles = 1
        if plain and done == rows:
            args.tiles = rest // rows
            if tile_rows(rows + rest % rows, rows) < rows:
                args.tiles = max(1, args.tiles - 1)
        args.out_pixel, args.spare = line.out_step if plain else row, spare if plain else 0
        base[0] = line.base + first * line.step
        out[0] = line.out + first * line.out_step + start * r.out.sc if plain else s.tile
        if done == rows:
            kernel(args)
        else:
            for i in range(rows if done > 8 else 8):
                base[i] = base[0] + min(i, done - 1) * line.step
                out[i] = out[0] + i * line.out_step if plain and i < done else s.tile + i * row
                residual[i] = residual[0] + min(i, done - 1) * line.residual_step
            args.b = b
            for _c in range(blocks):
                r.k.gemm[wide][done](args)
                args.b += args.panel
                args.bias += row
                for i in range(rows if done > 8 else 8):
                    out[i] += row if i < done else 0
                    residual[i] += row
        if not plain:
            for i in range(done):
                out[i] = line.out + (first + i) * line.out_step + start * r.out.sc
                residual[i] = line.residual + (first + i) * line.residual_step + start * r.residual.sc
            finish(r, s.tile, done, taken, out, residual, bias if deferred else NULL)
        first += args.tiles * done


cdef bint run_lines(const Run *r, const Job *job, const Tiling *t, ptrdiff_t group, const ptrdiff_t *start,
                    const ptrdiff_t *box, ptrdiff_t b0, ptrdiff_t b1, bint owner, Scratch *s) noexcept nogil:
    """A box row by row, where rows are long enough and no window leaves the input; False where it may not be so."""
    cdef ptrdiff_t n, d, h, w, b, rows = max(r.k.rows[1], r.k.rows[2]), most, spent = 0, first, last, windows
    cdef ptrdiff_t whole = b0, blocks
    cdef ptrdiff_t[4] count
    cdef ptrdiff_t[4] step
    cdef const JobAxis *a
    cdef const char *base = s.area
    cdef char *out = r.out.data + start[0] * r.out.sn + group * r.mg * r.out.sc
    cdef char *residual = r.residual.data + start[0] * r.residual.sn + group * r.mg * r.residual.sc
    cdef Line line
    cdef tile_args args
    cdef int i, ahead
    cdef bint fresh
    memcpy(count, box, sizeof(count))
    step[3] = r.pitch * r.csize
    for i in range(2, -1, -1):
        step[i] = step[i + 1] * t.extent[i]
    if t.source == DIRECT:
        base = r.x.data + start[0] * r.x.sn + group * r.cg * r.x.sc
        step[0] = r.x.sn
    for i in range(3):
        a = &job.ax[i]
        first = start[i + 1] * a.stride - a.lo
        last = first + (count[i + 1] - 1) * a.stride + (a.taps - 1) * a.dilation
        if t.source == DIRECT:
            if first < 0 or last >= a.size:
                return False
            base += first * r.x.s[i]
            step[i + 1] = r.x.s[i]
        step[i + 1] *= a.stride
        first = a.out_start + start[i + 1] * a.out_step
        out += first * r.out.s[i]
        residual += first * r.residual.s[i]
    a = job.ax
    line.step, line.out_step, line.residual_step = step[3], a[2].out_step * r.out.s[2], a[2].out_step * r.residual.s[2]
    if (step[2] == count[3] * step[3] and a[1].out_step * r.out.s[1] == count[3] * line.out_step
            and (r.residual.data == NULL or a[1].out_step * r.residual.s[1] == count[3] * line.residual_step)):
        count[3] *= count[2]
        count[2] = 1
    if count[3] < rows and (count[3] != 8 or t.columns > r.k.lanes):  # tiles of 8 by one vector keep the FMAs busy, too
        return False
    fresh = t.source == DIRECT and job.taps == 1 and line.step == r.cg * r.csize
    if t.columns <= NARROW and count[3] >= r.k.lanes:
        rows = max(rows, r.k.lanes)
    # As many pixels at a time as L1 holds the windows of, for every block of columns; but where these are many, block by
    # block, so that their filters come one after the other.
    windows = max(1, step[3]) * max(1, a[0].taps * a[1].taps) * rows
    most = max(1, LINE_BYTES // 2 // windows) * rows
    if (b1 - b0) * filter_bytes(r, job) > FEW_FILTERS and count[3] * windows // rows <= input_bytes(job):
        most = count[3]
    elif windows > LINE_BYTES and b1 - b0 > 1:
        return False
    if b1 - b0 > 1 and (b1 - b0) * filter_bytes(r, job) <= FEW_FILTERS:
        # Outputs are stored pixel by pixel, as the hardware fetches lines ahead.
        whole = min(b1, t.columns // (2 * r.k.lanes)) if r.plain_store else b0
        if fresh and whole < b1:
            most = rows
    ahead = 1 if fresh else 2 if t.source == DIRECT and r.cg >= FOLD_CHANNELS and count[3] >= 2 * rows else 0
    args.offset, args.runs, args.run, args.low, args.high = s.tap_offset, job.taps, r.cg, r.low, r.high
    if t.fold:
        args.runs, args.run = job.taps // a[2].taps, a[2].taps * r.cg
    for n in range(count[0]):
        for d in range(count[1]):
            for h in range(count[2]):
                w = 0
                while w < count[3]:
                    line.count = most if count[3] - w >= 2 * most else count[3] - w
                    line.base = base + n * step[0] + d * step[1] + h * step[2] + w * step[3]
                    line.out = (out + n * r.out.sn + d * a[0].out_step * r.out.s[0] + h * a[1].out_step * r.out.s[1]
                                + w * line.out_step)
                    line.residual = (residual + n * r.residual.sn + d * a[0].out_step * r.residual.s[0]
                                     + h * a[1].out_step * r.residual.s[1] + w * line.residual_step)
                    w += line.count
                    b = b0
                    while b < b1:
                        blocks = max(1, whole - b)
                        args.ahead = ahead if b == b0 else 0
                        run_line(r, job, t, group, b, blocks, &line, &args, s)
                        b += blocks
                        if owner:
                            spent += line.count * blocks * (job.taps * r.cg + 16)
                            if spent > 40000:
                                spent = 0
                                poll(r.call)
                        if r.call.cancelled:
                            return True
    return True


cdef void run_unit(const void *task, ptrdiff_t unit, int thread) noexcept nogil:
    """One box of one job: a group's columns, or some of them."""
    cdef const Run *r = <const Run *> task
    cdef Scratch *s = r.scratch + thread
    cdef int j = 0, i, rows
    cdef ptrdiff_t group, split, pixels, first, b0, b1, b, together, runs, spent = 0
    cdef ptrdiff_t[4] start
    cdef ptrdiff_t[4] c
    cdef tile_args args
    cdef ptrdiff_t[4] count
    cdef Job *job
    cdef Tiling *t
    cdef Tile tile
    cdef bint in_pieces
    while unit >= r.tilings[j].first + r.tilings[j].units:
        j += 1
    job, t = r.jobs + j, r.tilings + j
    unit -= t.first
    if t.rows_first:
        split, unit = unit % t.splits, unit // t.splits
    for i in range(3, -1, -1):
        start[i] = unit % t.boxes[i] * t.box[i]
        unit //= t.boxes[i]
        count[i] = min(t.box[i], (r.x.n if i == 0 else job.ax[i - 1].out) - start[i])
    if not t.rows_first:
        split, unit = unit % t.splits, unit // t.splits
    group = unit
    b0, b1 = t.blocks * split // t.splits, t.blocks * (split + 1) // t.splits
    pixels = count[0] * count[1] * count[2] * count[3]
    if t.source == STRIP:
        gather_strip(r, job, t, group, start, count, s.area)
    runs = job.taps // job.ax[2].taps if t.fold else job.taps
    in_pieces = runs > RUNS or t.source == WINDOWS
    if not in_pieces:
        tap_offsets(r, job, t, 0, runs, s.tap_offset)
    while b0 < b1:
        together = min(t.together, b1 - b0)
        if not in_pieces and not r.depthwise and run_lines(r, job, t, group, start, count, b0, b0 + together,
                                                           thread == 0, s):
            b0 += together
            continue
        rows = r.k.rows[2]
        if b0 + together == t.blocks == 1:
            block_start(r, t.columns, b0, &rows)
            rows = r.k.rows[rows]
        first = c[0] = c[1] = c[2] = c[3] = 0
        while first < pixels:
            tile.rows = tile_rows(pixels - first, rows)
            tile.full = rows if tile.rows > 8 else 8 if tile.rows > 4 else 4 if tile.rows > 2 else tile.rows
            locate(r, job, t, group, start, count, c, &tile, s.area)
            if not in_pieces:
                point(r, job, &tile, 0, runs, &args, s)
            for b in range(b0, b0 + together):
                run_tile(r, job, t, group, b, &tile, &args, in_pieces, s)
                if thread == 0:
                    spent += tile.rows * (job.taps * r.cg + 16)
                    if spent > 40000:
                        spent = 0
                        poll(r.call)
                if r.call.cancelled:
                    return
            first += tile.rows
        b0 += together


# ---- how a call is cut ------------------------------------------------------------------------------------------

cdef ptrdiff_t strip_bytes(const Run *r, const Job *job, const ptrdiff_t *box, ptrdiff_t *extent) noexcept nogil:
    """Of a box's input from its first position to its last."""
    cdef double bytes = box[0] * r.pitch * r.csize
    cdef int i
    for i in range(3):
        extent[i] = (box[i + 1] - 1) * job.ax[i].stride + (job.ax[i].taps - 1) * job.ax[i].dilation + 1
        extent[i] = extent[i] if job.ax[i].taps else 0
        bytes *= extent[i]
    return <ptrdiff_t> min(bytes, 1e15)


cdef ptrdiff_t read_bytes(const Run *r, const Job *job, const ptrdiff_t *box) noexcept nogil:
    """Of the positions that a box's windows read: of far dilations the gaps are left out."""
    cdef double bytes = box[0] * r.pitch * r.csize
    cdef ptrdiff_t[3] extent
    cdef int i
    strip_bytes(r, job, box, extent)
    for i in range(3):
        bytes *= min(min(extent[i], box[i + 1] * job.ax[i].taps), job.ax[i].size)
    return <ptrdiff_t> min(bytes, 1e15)


cdef ptrdiff_t cut_boxes(const Run *r, const Job *job, ptrdiff_t wanted, ptrdiff_t bytes, int threads,
                         Tiling *t) noexcept nogil:
    """Boxes of one size, nearly, whole rows first: `wanted` pixels and `bytes` of input at most. Returns how many."""
    cdef ptrdiff_t pixels = 1, boxes = 1, out, others
    cdef ptrdiff_t[3] extent
    cdef bint whole = True
    cdef int i
    for i in range(4):
        t.box[i] = 1
    for i in range(3, -1, -1):
        out = r.x.n if i == 0 else job.ax[i - 1].out
        if whole:
            t.box[i] = max(1, min(out, wanted // pixels))
            while t.box[i] > 1 and (read_bytes(r, job, t.box) if t.source == DIRECT else
                                    strip_bytes(r, job, t.box, extent)) > bytes:
                t.box[i] = (t.box[i] + 1) // 2
            whole = t.box[i] >= out
        t.boxes[i] = ceil_div(out, t.box[i])
        boxes *= t.boxes[i]
        pixels *= t.box[i]
    for i in range(4):
        out = r.x.n if i == 0 else job.ax[i - 1].out
        if t.boxes[i] > 1 and t.box[i] > 1:
            boxes //= t.boxes[i]
            pixels //= t.box[i]
            others = boxes * t.splits * r.groups
            t.box[i] = ceil_div(out, even_parts(out, t.boxes[i], others, pixels, r.k.rows[2], threads))
            t.boxes[i] = ceil_div(out, t.box[i])
            boxes *= t.boxes[i]
    return boxes


cdef inline bint evict_each_other(const Run *r, ptrdiff_t step) noexcept nogil:
    """Whether a tile's pixels, so many bytes apart, leave no room for each other in L1. A few too many do no harm."""
    return step != 0 and step % L1_PERIOD == 0 and 4 * WAYS < 3 * r.k.rows[2]


cdef void cut(const Run *r, const Job *job, int threads, Tiling *t) noexcept nogil:
    """Where a job's input is read, and its units: boxes of pixels by parts of the columns.

    Whatever is larger is cut first, filters or input. Where it is the input, each thread has rows of its own: those that it
    had in the layer before, and what another core has written comes slowly (a layer of 0.1 ms took 0.04 longer).
    """
    cdef ptrdiff_t pixels = max(r.x.n, 1), bytes = STRIP_BYTES, boxes, units, most = BOX_PIXELS
    cdef ptrdiff_t[4] all
    cdef bint direct = r.dtype < 3 and r.repeat == 1 and (r.x.sc == r.size or r.cg == 1 and not r.depthwise)
    cdef int i
    all[0] = pixels
    for i in range(3):
        all[i + 1] = max(job.ax[i].out, 1)
        pixels *= all[i + 1]
    t.fold = not r.depthwise and r.cg <= FOLD_CHANNELS and job.ax[2].taps > 1 and job.ax[2].dilation == 1
    if r.depthwise and t.columns < r.k.lanes:
        direct = False
    if (not r.depthwise and evict_each_other(r, job.ax[2].stride * r.x.s[2])
            and job.taps * t.columns > 16 * (job.ax[0].stride * job.ax[1].stride * job.ax[2].stride - 1) + NARROW):
        direct = False  # a strip's pixels lie apart; making one must take less than it saves
    t.source = WINDOWS if r.exact else DIRECT if direct and not t.fold else STRIP
    if t.fold:  # rows of a strip that two boxes share are gathered twice
        most *= 4
    t.together = max(1, t.blocks)
    if t.blocks * filter_bytes(r, job) > ALL_FILTERS:
        t.together = max(1, min(t.blocks, SOME_FILTERS // filter_bytes(r, job)))
        t.together = ceil_div(t.blocks, ceil_div(t.blocks, t.together))
    if t.source == DIRECT and t.together < t.blocks:  # the input is read again for the next blocks
        bytes = input_bytes(job)
    t.splits = 1
    boxes = cut_boxes(r, job, most, bytes, threads, t)
    units = ceil_div(UNITS * threads, r.groups) if threads > 1 else 0
    t.rows_first = (t.source != DIRECT
                    or t.blocks * filter_bytes(r, job) <= max(SHARED_FILTERS, 2 * read_bytes(r, job, all)))
    if boxes < units:
        if not t.rows_first:
            t.splits = min(t.blocks, max(ceil_div(units, boxes), ceil_div(t.blocks, t.together)))
            t.splits = even_parts(t.blocks, t.splits, boxes * r.groups, 1, 1, threads)
        if boxes * t.splits < units:
            boxes = cut_boxes(r, job, max(LEAST_PIXELS, min(most, pixels * t.splits // units)), bytes, threads, t)
        if 0 < boxes * t.splits < (units * 3 // 4 if t.source == DIRECT else units // 4):
            units = units if t.source == DIRECT else units // 4
            t.splits = even_parts(t.blocks, min(t.blocks, ceil_div(units, boxes)), boxes * r.groups, 1, 1, threads)
    t.units = r.groups * boxes * t.splits
    if t.source == STRIP:
        if strip_bytes(r, job, t.box, t.extent) > STRIP_BYTES:
            t.source = WINDOWS
    t.fold = t.fold and t.source == STRIP


# ---- filters -----------------------------------------------------------------------------------------------------

cdef inline ptrdiff_t tap_parts(const Run *r) noexcept nogil:
    """Into how many parts the filters of a tap are packed, for as many threads."""
    return 1 if r.depthwise else ceil_div(max(1, r.cg * r.mg), PACKED)


cdef void pack_tap(const void *task, ptrdiff_t unit, int thread) noexcept nogil:
    """Pack a part of one tap of one job and group: of its channels or of its blocks of columns, whichever are read whole."""
    cdef const Run *r = <const Run *> task
    cdef ptrdiff_t rows = 1 if r.depthwise else r.cg, some = rows, first = 0, last = rows, block, start, width, row_bytes
    cdef ptrdiff_t parts = tap_parts(r), part = unit % parts, group = unit // parts % r.groups
    cdef ptrdiff_t tap = unit // (parts * r.groups), first_block, last_block
    cdef const Job *job = r.jobs
    cdef const Tiling *t
    cdef const Filters *f
    cdef ptrdiff_t[3] k
    cdef const char *w
    cdef char *dst
    cdef int wide, i
    cdef bint finite = True
    while tap >= job.taps:
        tap -= job.taps
        job += 1
    t, f = r.tilings + (job - r.jobs), r.filters + (job - r.jobs)
    w = f.data + group * f.group
    tap_of(job, tap, k)
    for i in range(3):
        w += k[i] * f.s[i]
    first_block, last_block = t.packed, t.blocks
    if f.column == r.size:  # a filter's row lies whole in memory: read it whole, a few rows at a time
        first, last, some = rows * part // parts, rows * (part + 1) // parts, 4
    else:
        first_block += (t.blocks - t.packed) * part // parts
        last_block = t.packed + (t.blocks - t.packed) * (part + 1) // parts
    while first < last:
        some = min(some, last - first)
        for block in range(first_block, last_block):
            start = block_start(r, t.columns, block, &wide)
            width = wide * r.k.lanes
            row_bytes = width * r.csize
            dst = r.panels + panel_place(r, job, t, group, block) + (tap * rows + first) * row_bytes
            finite &= r.k.pack[r.dtype](dst, width, w + first * f.row + start * f.column, some, f.row,
                                        min(width, t.columns - start), f.column) != 0
        first += some
    if not finite:
        r.call.not_finite = 1


cdef void compute(Run *r, ptrdiff_t packs, ptrdiff_t units, int team) noexcept nogil:
    if packs:
        run_units(pack_tap, r, packs, team, r.call)
    run_units(run_unit, r, units, team, r.call)


cdef class Panels:
    """Packed filters: for every group, job and block of columns, rows (tap, channel) of a block's values."""
    cdef char *data
    cdef readonly Py_ssize_t nbytes
    cdef object memory
    cdef readonly bint finite


cdef list merge_phases(problem):
    """(axes, how many) of each job: phases that are neighbours along the last axis and read the same input, with the
    next taps of the filter, are one job with as many times the columns. Far dilations are cut into zones."""
    merged = []
    first, count = None, 0
    together = problem.filters == "transposed" and problem.channels_last and problem.groups == 1
    for axes in problem.jobs:
        if together and count and axes[2].taps:
            a, b = first[2], axes[2]
            if (first[:2] == axes[:2] and a[:6] == b[:6] and a.tap_step == b.tap_step
                    and (b.tap_start, b.out_start) == (a.tap_start + count, a.out_start + count)):
                count += 1
                continue
        if count:
            merged.append((first, count))
        first, count = axes, 1
    if count:
        merged.append((first, count))
    if problem.zeros_outside:
        merged = [(axes, count) for job, count in merged for axes in product(*map(zones, job))]
    return merged


cdef class Convolution:
    """A Problem as the driver wants it. Immutable; `pack` and `run` may be called from many threads."""
    cdef Job *jobs
    cdef int njobs, dtype, ndim, mode
    cdef ptrdiff_t together  # the most phases that any job merges
    cdef bint channels_last, depthwise
    cdef ptrdiff_t groups, cg, mg
    cdef double constant
    cdef readonly object problem, layout
    cdef str op
    cdef cnp.npy_intp out_shape[32]
    cdef int out_ndim
    cdef double weights      # that a call reads
    cdef readonly double flops, work  # as one direct sum; without the zones that are left out

    def __cinit__(self, problem):
        cdef int j, i
        cdef double pixels
        self.problem, self.op = problem, problem.op
        self.dtype, self.ndim, self.channels_last = problem.dtype, problem.ndim, problem.channels_last
        self.mode, self.constant = problem.padding_mode, problem.padding_value
        self.groups = problem.groups
        self.cg, self.mg = problem.in_channels // self.groups, problem.out_channels // self.groups
        self.depthwise = self.cg == 1 < self.groups and (self.mg == 1 or not problem.filters.endswith("transposed"))
        merged = merge_phases(problem)
        self.njobs = len(merged)
        self.jobs = <Job *> calloc(self.njobs, sizeof(Job))
        if self.jobs == NULL:
            raise MemoryError
        pixels = 2.0 * self.cg * self.mg * self.groups
        for n in problem.batch:
            pixels *= n
        for axes in problem.jobs:
            self.flops += pixels * prod([axis.out * axis.taps for axis in axes])
        self.together = 1
        for j, (axes, together) in enumerate(merged):
            self.jobs[j].taps, self.jobs[j].together = 1, together
            self.together = max(self.together, together)
            for i, axis in enumerate(axes):
                copy_axis(axis, &self.jobs[j].ax[i])
                self.jobs[j].taps *= axis.taps
            self.weights += <double> self.jobs[j].taps * together * self.cg * self.mg * self.groups
            self.work += pixels * together * prod([axis.out * axis.taps for axis in axes])
        self.layout = ("direct", tuple(a[1:2] + a[6:8] for axes, _ in merged for a in axes))
        self.out_ndim = len(problem.out_shape)
        for i in range(self.out_ndim):
            self.out_shape[i] = problem.out_shape[i]

    def __dealloc__(self):
        free(self.jobs)

    cdef void describe(self, Run *r, int isa) noexcept:
        cdef int j
        r.k = conv_kernels_of(isa) + compute_type(self.dtype)
        r.dtype, r.size, r.csize = self.dtype, storage_bytes(self.dtype), compute_bytes(self.dtype)
        r.depthwise = self.depthwise
        r.jobs, r.groups, r.cg, r.mg, r.repeat = self.jobs, self.groups, self.cg, self.mg, 1
        if self.depthwise:
            r.groups, r.cg, r.mg, r.repeat = 1, self.groups, self.groups * self.mg, self.mg
        r.pitch = r.cg * r.repeat
        if r.depthwise:
            r.pitch = max(r.pitch, r.k.lanes)
        elif r.cg > FOLD_CHANNELS:
            for j in range(self.njobs):
                if evict_each_other(r, self.jobs[j].ax[2].stride * r.pitch * r.csize):
                    r.pitch += 64 // r.csize

    cdef ptrdiff_t place_panels(self, Run *r) noexcept:
        """Where each job's panels start in a group's; returns the elements of all groups."""
        cdef int j
        cdef Tiling *t
        cdef ptrdiff_t total = 0
        for j in range(self.njobs):
            t = &r.tilings[j]
            t.panel, t.columns = total, r.mg * self.jobs[j].together
            t.blocks = ceil_div(t.columns, 2 * r.k.lanes)
            if r.depthwise and r.k.lanes < t.columns < 2 * r.k.lanes:
                t.blocks = 2
            t.packed = 0
            if r.filters_in_place:  # but for a last block that is not whole: what follows it is no filter
                t.packed = t.columns // r.k.lanes // 2 if t.columns % (2 * r.k.lanes) != r.k.lanes else t.blocks
            total += self.jobs[j].taps * (1 if r.depthwise else r.cg) * 2 * r.k.lanes * (t.blocks - t.packed)
        r.panel_group = total
        return total * r.groups

    cdef ptrdiff_t pack_units(self, const Run *r) noexcept:
        cdef ptrdiff_t taps = 0
        cdef int j
        for j in range(self.njobs):
            taps += self.jobs[j].taps
        return taps * r.groups * tap_parts(r)

    cdef bint side_by_side(self, const View *v) noexcept:
        """Whether the columns of phases that are computed together are next to each other in memory."""
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

    def pack(self, cnp.ndarray w, int isa):
        """The filters packed once, for `run` on the same ISA."""
        cdef Run r
        cdef Call call
        cdef Filters *f
        cdef Memory memory
        cdef ptrdiff_t count
        cdef Panels panels = Panels.__new__(Panels)
        memset(&r, 0, sizeof(Run))
        self.describe(&r, isa)
        begin(&call, [])
        r.call = &call
        no_memory(&memory)
        try:
            r.tilings = self.take_tilings(&memory)
            f = <Filters *> take(&memory, self.njobs * sizeof(Filters), self.op, "scratch")
            held = self.read_jobs(w, f)
            count = self.place_panels(&r) * r.csize
            panels.memory = packed(count + PANEL_END, self.op)
            panels.data = <char *> cnp.PyArray_DATA(<cnp.ndarray> panels.memory)
            r.filters, r.panels, panels.nbytes = f, panels.data, count
            run_units(pack_tap, &r, self.pack_units(&r), 1, &call)
            panels.finite = not call.not_finite
        finally:
            give_back(&memory)
        del held
        return panels

    def workspace(self, int threads, int isa):
        """The most bytes of scratch of a call by so many threads, packed filters apart, whatever the array's strides."""
        cdef Run r
        cdef Memory memory
        cdef ptrdiff_t most = 0, shared
        cdef bint exact = self.dtype != 2 and self.has_padding()
        cdef int source
        memset(&r, 0, sizeof(Run))
        self.describe(&r, isa)
        r.x.n = prod(self.problem.batch)
        no_memory(&memory)
        try:
            r.tilings = self.take_tilings(&memory)
            self.place_panels(&r)
            for source in range(WINDOWS + 1 if exact else WINDOWS):
                # The strides that let most jobs read their input where it lies, and those that let the fewest.
                r.x.sc, r.x.s[2], r.exact = r.size * (source == DIRECT), L1_PERIOD * (source == STRIP), source == WINDOWS
                self.cut_all(&r, threads)
                most = max(most, self.scratch_bytes(&r, threads))
            if exact:  # once more
                self.cut_all(&r, 1)
                most += self.scratch_bytes(&r, 1)
        finally:
            give_back(&memory)
        shared = self.padded(&r) + r.cg + 8 * r.k.lanes
        return most + self.njobs * (sizeof(Tiling) + sizeof(Filters)) + shared * r.csize + 3 * 64

    def run(self, cnp.ndarray x, filters, cnp.ndarray bias, cnp.ndarray residual, epilogue, cnp.ndarray out,
            int threads, int isa):
        """Compute the problem on x into out (made when None) and return it.

        filters is an array or `Panels`; bias a dense vector of the compute type; epilogue (activation, low, high).
        """
        cdef Run r
        cdef Filters *f
        cdef Call call
        cdef Memory memory
        cdef Panels panels = None
        cdef ptrdiff_t units = 0, packs = 0, panel_bytes, padded
        cdef int team
        cdef list raised = [], held = []
        memset(&r, 0, sizeof(Run))
        if out is None:
            out = output(self.out_ndim, self.out_shape, x, empty)
        x = readable(x, self.ndim, self.channels_last, &r.x)
        if not view_of(out, self.ndim, self.channels_last, &r.out) or not self.side_by_side(&r.out):
            out[...] = self.run(x, filters, bias, residual, epilogue, None, threads, isa)
            return out
        if residual is not None:
            residual = readable(residual, self.ndim, self.channels_last, &r.residual)
            if not self.side_by_side(&r.residual):
                residual = residual.copy()
                view_of(residual, self.ndim, self.channels_last, &r.residual)
        if cnp.PyArray_SIZE(out) == 0:
            return out
        self.describe(&r, isa)
        r.mode, r.constant = self.mode, self.constant
        r.activation, r.low, r.high = epilogue
        if self.dtype == 2:
            r.low, r.high = max(r.low, -2147483648.0), min(r.high, 2147483647.0)
        r.deferred = r.activation > CLAMP or residual is not None and r.residual.sc != r.size
        r.plain_store = self.dtype < 3 and r.out.sc == r.size and not r.deferred
        begin(&call, raised)
        r.call = &call
        work = self.work + MOVE * (self.weights + cnp.PyArray_SIZE(x) + cnp.PyArray_SIZE(out))
        team = team_of(work, threads, prepare)
        no_memory(&memory)
        try:
            r.tilings = self.take_tilings(&memory)
            padded = self.padded(&r)
            self.place_shared(&r, take(&memory, (padded + r.cg + 8 * r.k.lanes) * r.csize, self.op, "scratch"),
                              bias, padded)
            if isinstance(filters, Panels):
                panels = <Panels> filters
                self.place_panels(&r)
                r.panels, r.exact = panels.data, not panels.finite and self.has_padding()
            else:
                r.filters = f = <Filters *> take(&memory, self.njobs * sizeof(Filters), self.op, "scratch")
                held.append(self.read_jobs(filters, f))
                r.filters_in_place = self.may_stay(&r, cnp.PyArray_SIZE(out) // (r.mg * r.groups))
                panel_bytes = self.place_panels(&r) * r.csize
                r.panels = take_large(&memory, panel_bytes + PANEL_END, self.op, "packed filters", empty, held)
                packs = self.pack_units(&r) if panel_bytes else 0
            units = self.cut_all(&r, team)
            r.scratch = self.take_scratch(&r, team, &memory)
            if work < TINY:
                compute(&r, packs, units, team)
            else:
                with nogil:
                    compute(&r, packs, units, team)
            if r.filters_in_place and self.dtype != 2 and self.has_padding() and np.isnan(out).any():
                call.not_finite |= not np.isfinite(filters).all()
            if call.not_finite and not call.cancelled and self.has_padding():
                # Once more, pixel by pixel: the zeros of the padding have met an infinity.
                r.exact = True
                units = self.cut_all(&r, 1)
                r.scratch = self.take_scratch(&r, 1, &memory)
                with nogil:
                    run_units(run_unit, &r, units, 1, &call)
        finally:
            give_back(&memory)
        if raised:
            raise raised[0]
        return out

    cdef ptrdiff_t padded(self, const Run *r) noexcept:
        """Elements of the bias and the zeros behind it."""
        return r.groups * r.mg * self.together + 4 * r.k.lanes

    cdef void place_shared(self, Run *r, char *shared, cnp.ndarray bias, ptrdiff_t padded) noexcept:
        """The bias with a tile's width of zeros behind it, a tile's width of zeros, and a run of the constant."""
        cdef ptrdiff_t size = r.csize, used = r.groups * r.mg * size, i
        memset(shared, 0, (padded + 2 * r.k.lanes) * size)
        if bias is not None:
            for i in range(self.together):
                memcpy(shared + i * used, cnp.PyArray_DATA(bias), used)
        r.bias = shared
        r.no_bias = shared + (padded - 2 * r.k.lanes) * size
        r.outside = shared + padded * size
        r.k.fill(shared + padded * size, r.cg + 2 * r.k.lanes, r.constant)

    cdef bint may_stay(self, const Run *r, ptrdiff_t pixels) noexcept:
        """Whether every job's filters lie as a tile reads them, rows of columns at one distance; and packing them takes
        longer than to read them so for each tile of so many pixels, and to ask the outputs for NaN."""
        cdef const Filters *f
        cdef bint kept = self.weights * r.csize < KEPT_FILTERS
        cdef ptrdiff_t row, most = SOME_PIXELS if kept else FEW_PIXELS, period = L1_PERIOD if kept else L1_PERIOD // 2
        cdef int i, j
        if self.dtype > 2 or self.depthwise or self.weights < LEAST_WEIGHTS and self.has_padding():
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

    cdef bint has_padding(self) noexcept:
        """Whether a window may meet the nothing outside the input; a constant there is a term like any other."""
        cdef int i, j
        if self.mode or self.constant != 0:
            return False
        for j in range(self.njobs):
            for i in range(3):
                if leaves_input(&self.jobs[j].ax[i]):
                    return True
        return False

    cdef ptrdiff_t cut_all(self, Run *r, int threads) noexcept:
        cdef ptrdiff_t units = 0
        cdef int j
        for j in range(self.njobs):
            cut(r, self.jobs + j, threads, r.tilings + j)
            r.tilings[j].first = units
            units += r.tilings[j].units
        return units

    cdef ptrdiff_t scratch_parts(self, const Run *r, ptrdiff_t *area, ptrdiff_t *runs) noexcept:
        """One thread's bytes: a tile, a strip or windows, pointers and offsets."""
        cdef ptrdiff_t[3] extent
        cdef int j
        area[0], runs[0] = 0, 1
        for j in range(self.njobs):
            runs[0] = max(runs[0], min(self.jobs[j].taps, RUNS))
            if r.tilings[j].source == STRIP:
                area[0] = max(area[0], strip_bytes(r, self.jobs + j, r.tilings[j].box, extent))
            elif r.tilings[j].source == WINDOWS:
                area[0] = max(area[0], TILE_ROWS * window_bytes(r, self.jobs + j))
        runs[0] = (runs[0] + 7) // 8 * 8
        area[0] = aligned(area[0] + 4 * r.k.lanes * r.csize)
        return (LINE_ROWS * 2 * r.k.lanes * r.csize + area[0]
                + runs[0] * (TILE_ROWS * sizeof(void *) + 2 * sizeof(ptrdiff_t)))

    cdef ptrdiff_t scratch_bytes(self, const Run *r, int threads) noexcept:
        """All threads'."""
        cdef ptrdiff_t area, runs
        return aligned(threads * sizeof(Scratch)) + threads * self.scratch_parts(r, &area, &runs)

    cdef Tiling *take_tilings(self, Memory *memory) except NULL:
        cdef ptrdiff_t size = self.njobs * sizeof(Tiling)
        return <Tiling *> memset(take(memory, size, self.op, "scratch"), 0, size)

    cdef Scratch *take_scratch(self, const Run *r, int threads, Memory *memory) except NULL:
        """Each thread's scratch, all in one piece."""
        cdef ptrdiff_t area, runs, tile = LINE_ROWS * 2 * r.k.lanes * r.csize
        cdef ptrdiff_t each = self.scratch_parts(r, &area, &runs), head = aligned(threads * sizeof(Scratch))
        cdef Scratch *scratch = <Scratch *> take(memory, self.scratch_bytes(r, threads), self.op, "scratch")
        cdef int j
        cdef char *p
        for j in range(threads):
            p = <char *> scratch + head + j * each
            scratch[j].tile = p
            scratch[j].area = p + tile
            scratch[j].a = <const char **> (p + tile + area)
            scratch[j].tap_offset = <ptrdiff_t *> (p + tile + area + runs * TILE_ROWS * sizeof(void *))
            scratch[j].no_offset = scratch[j].tap_offset + runs
            memset(scratch[j].no_offset, 0, runs * sizeof(ptrdiff_t))
        return scratch


include "columns.pxi"
