"""The Winograd driver: filters along one or two axes as fewer multiplications in a transformed domain.

A box of tiles is transformed at once, V = B^T d B, into L2; for each block of output channels and each of the alpha^2
points xi there is a product V[xi] U[xi] by the same register tiles as the general driver's, filters U = G g G^T having
been transformed when they were packed; then Y = A^T M A goes to the output. A third axis with taps (the depth of
3x3x3), filters longer than one transform takes (7 taps as 4 + 3), and the phases of strided ones (of stride 2, even
inputs meet even taps and odd ones odd taps) add up in the transformed domain: they are only more rows of the product.
Dilated filters take every dilation-th pixel.

NaN and infinity would reach a whole tile: a tile whose outputs are not all finite is computed again directly, by the
same tiles in the same order as the general driver does it.
"""

from math import prod

from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

import numpy as np

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from common cimport (
    Call, Filters, JobAxis, View, aligned, allocate_large, ceil_div, copy_axis, map_index, odd_lines, poll, read_filters,
    readable, run_units, take, take_large, team_of
)
from kernels cimport FEW_VECTORS, TILE_ROWS, conv_kernels, conv_kernels_fn, tile_args, tile_rows
from move cimport CLAMP, NONE, Gathering, finish_args, gather_box
from transforms cimport (
    M_MAX, filter_args, filter_fn, first_output, first_tap, input_args, input_fn, output_args, output_fn, winograd_kernels
)

from cyconv._gemm import Convolution, _kernels_of
from cyconv._geometry import terms_inside

cnp.import_array()

include "driver.pxi"

cdef conv_kernels_fn conv_kernels_of = <conv_kernels_fn> PyCapsule_GetPointer(_kernels_of, NULL)

cdef extern from "kernels.h" nogil:
    const winograd_kernels *winograd_kernels_of(int isa)

cdef enum:
    V_BYTES = 1100000         # of transformed input a thread holds at a time
    SCRATCH_BYTES = 2 << 20   # of all that a thread holds
    U_NEAR = 4000000          # of U that every box may read:
    V_FAR = 1900000           # of more than that, V is better larger than L2 than boxes many
    STRIP_BYTES = 300000
    TILES = 56                # of a box, in one plane
    FINISHED = 80             # outputs of tiles side by side, at most, that are finished together where channels are apart
    BOXES = 8                 # for a thread, or some of their columns
    CHANNELS = 64             # whose filters are transposed at a time
    AHEAD = 4                 # channels' filters that are on their way meanwhile
    TILES_AHEAD = 2           # whose pixels are
    DEPTHS = 4                # planes of a box
    U_BYTES = 48 << 20        # of filters that a call transforms at a time, so that their memory is kept for the next call's

cdef ptrdiff_t OUTSIDE = -(<ptrdiff_t> 1 << 61)      # further than any array is long, in the direction of no strides
cdef ptrdiff_t FAR_OUTSIDE = -(<ptrdiff_t> 1 << 60)


cdef struct Axis:
    # One spatial axis of the job, as JobAxis, and what Winograd makes of it.
    ptrdiff_t size, taps, out, stride, dilation, lo, tap_start, tap_step, out_start, out_step
    int alpha, m, r           # 1, 1, taps where it is not transformed
    ptrdiff_t chunks          # of r taps each, every stride-th: for each phase of the input so many
    ptrdiff_t tiles           # positions along it: tiles, or outputs
    ptrdiff_t box, boxes
    ptrdiff_t reach           # positions of V beyond the last output's first: taps that add up without a transform

cdef struct Along:
    # What a tile meets along one axis: its distances in bytes from the axis's first position.
    ptrdiff_t read[6]
    ptrdiff_t out[6]
    ptrdiff_t residual[6]
    int count                 # of outputs that lie in the image
    bint inside               # no input lies outside


cdef struct Box:
    ptrdiff_t n0, n
    ptrdiff_t start[3]
    ptrdiff_t count[3]
    View x                    # of its group's input from image n0 on: the array's, or the strip that was gathered
    ptrdiff_t plane, planes   # the first position of V along the first axis, and how many
    ptrdiff_t rows
    Along last[TILES]         # what each of its tiles meets along the last axis

cdef struct Run

cdef struct Scratch:
    # One thread's.
    char *v                   # [xi][plane][row][pitch]
    char *m                   # [xi][row][2 vectors]
    char *strip
    char *u                   # one block of U, where filters are transformed when they are met
    char *some                # filters of some channels, [tap][c][column]
    char *whole               # those of all channels, for tiles that are computed again; NULL before the first
    const Run *whole_of       # whose they are
    ptrdiff_t whole_block
    char *tile                # outputs of a tile, or of several
    const char **rows         # [rows] a row of V[0] for every row of the product
    const char **taps         # [taps] for a tile that is computed again
    ptrdiff_t *offset         # [max(slices, taps)]
    Box box                   # what V is made of,
    const Run *box_of         # and whose and which that is; NULL before the first
    ptrdiff_t box_unit

cdef struct Run:
    # One job: what a unit of its work needs to know.
    const conv_kernels *k
    const winograd_kernels *w
    Axis ax[3]
    ptrdiff_t n_box, n_boxes
    int axes, rows_axis, columns_axis, xis, m2, alpha
    ptrdiff_t groups, cg, mg, blocks, slices, pitch, splits, first, units, planes
    ptrdiff_t from_block, to_block  # those whose filters are transformed and met before the others
    ptrdiff_t rows, outs      # of V in a plane of one box, at most, and of the product
    bint inside               # what lies outside along the first axis is no part of V: zeros
    ptrdiff_t strip           # bytes of the largest; none where the array itself is read
    int size
    bint direct, deferred, plain_store
    bint fresh                # this call transforms the filters
    bint together             # units of one box follow each other, those of some columns else
    View x, out, residual
    char *panels              # U, from from_block on: [group][block][xi][slice][c][width]; NULL where each block is met but once
    Filters filters
    Scratch *scratch          # each thread's
    const char *bias
    const char *none          # zeros
    const char *outside
    int mode, activation
    double constant, low, high
    Call *call


# ---- one box ----------------------------------------------------------------------------------------------------

cdef inline ptrdiff_t v_step(const Axis *a) noexcept nogil:
    """Positions of V from one of the axis's to the next: all inputs have one where taps add up without a transform."""
    return a.stride if a.reach else 1


cdef inline ptrdiff_t v_extent(const Axis *a, ptrdiff_t count) noexcept nogil:
    """How many positions of V so many of the axis's meet."""
    return (count - 1) * v_step(a) + 1 + a.reach


cdef inline ptrdiff_t v_most(const Run *r, int axis, ptrdiff_t count) noexcept nogil:
    """The same but for those outside."""
    cdef ptrdiff_t extent = v_extent(&r.ax[axis], count)
    return max(1, min(extent, r.ax[axis].size)) if axis == 0 and r.inside else extent


cdef inline ptrdiff_t box_start(const Axis *a, ptrdiff_t i) noexcept nogil:
    """The first position of box i, or one past the last box's."""
    return ceil_div(a.tiles * i, a.boxes)


cdef inline ptrdiff_t boxes_alike(const Axis *a, ptrdiff_t last, ptrdiff_t *count) noexcept nogil:
    """How many boxes there are of each of the two sizes along an axis, the larger ones or the last, smaller ones, and that size."""
    cdef ptrdiff_t more = a.tiles % a.boxes
    count[0] = a.tiles // a.boxes + 1 - last
    return a.boxes - more if last else more


cdef inline ptrdiff_t v_bytes(const Run *r) noexcept nogil:
    """From V[xi] to V[xi + 1]."""
    return odd_lines(r.planes * r.rows * r.pitch * r.size)


cdef inline ptrdiff_t m_bytes(const Run *r) noexcept nogil:
    """From M[xi] to M[xi + 1]."""
    return odd_lines(r.outs * 2 * r.k.lanes * r.size)


cdef void gather_strip(const Run *r, Box *b, char *strip) noexcept nogil:
    """All inputs that the box reads, of its one image, padding in place."""
    cdef Gathering g
    cdef const Axis *a
    cdef ptrdiff_t[3] lo
    cdef ptrdiff_t[3] extent
    cdef ptrdiff_t[3] step
    cdef const char *src = b.x.data
    cdef ptrdiff_t apart = r.cg * r.size
    cdef int j
    b.x.data = strip
    for j in range(2, -1, -1):
        a = &r.ax[j]
        lo[j], step[j] = b.start[j] * a.stride - a.lo, 1
        if a.alpha > 1:  # the first residue of the first tile's row of residues
            lo[j] = first_output(b.start[j] // a.dilation * a.dilation, a.dilation, a.m) * a.stride - a.lo
        extent[j] = strip_extent(a, b.start[j], b.count[j])
        b.x.s[j] = apart
        b.x.data -= lo[j] * apart
        apart *= extent[j]
    g.gather, g.fill, g.mode, g.csize, g.constant = r.k.gather[0], r.k.fill, r.mode, r.size, r.constant
    g.channels, g.repeat, g.pitch = r.cg, 1, r.cg
    gather_box(&g, &r.x, src, b.n, lo, step, extent, strip)


cdef void reads_along(const Run *r, const Box *b, int axis, ptrdiff_t q, ptrdiff_t chunk, Along *along) noexcept nogil:
    """Where the inputs of tile q of the box are read along an axis; negative numbers are for the constant."""
    cdef const Axis *a = &r.ax[axis]
    cdef ptrdiff_t first = first_output(b.start[axis] + q, a.dilation, a.m) * a.stride
    cdef ptrdiff_t apart = a.stride * a.dilation, at
    cdef int i
    along.inside = True
    if a.reach:  # every position of V
        first = b.start[axis] * a.stride + q
    first += first_tap(chunk, a.stride, a.r) * a.dilation - a.lo
    for i in range(a.alpha):
        at = first + i * apart
        if r.direct:
            at = map_index(at, a.size, r.mode)
        along.read[i] = at * b.x.s[axis]
        if r.direct and at < 0:
            along.read[i], along.inside = OUTSIDE, False


cdef void transform_input(const Run *r, Box *b, Scratch *s) noexcept nogil:
    """V of every position of the box, for every chunk of the filter."""
    cdef ptrdiff_t n, plane, row, far
    cdef ptrdiff_t[3] q
    cdef ptrdiff_t[3] chunk
    cdef Along[2] along
    cdef const Along *last
    cdef int i, j, k, count
    cdef const char *pixels[36]
    cdef const char *base
    cdef const char *line
    cdef input_args args
    cdef input_fn transform = r.w.input[r.alpha - 4][r.axes - 1]
    args.pixels, args.channels, args.xi = pixels, r.cg, v_bytes(r)
    args.ahead = first_output(TILES_AHEAD, r.ax[2].dilation, r.ax[2].m) * r.ax[2].stride * r.x.s[2] if r.direct else 0
    for plane in range(r.planes):
        chunk[0] = chunk[1] = chunk[2] = 0
        chunk[r.columns_axis] = plane % r.ax[r.columns_axis].chunks
        if r.axes == 2:
            chunk[r.rows_axis] = plane // r.ax[r.columns_axis].chunks
        row = plane * r.rows
        for i in range(<int> b.count[2]):
            reads_along(r, b, 2, i, chunk[2], &b.last[i])
        for n in range(b.n):
            base = b.x.data + n * b.x.sn
            for q[0] in range(b.plane, b.plane + b.planes):
                reads_along(r, b, 0, q[0], chunk[0], &along[0])
                for q[1] in range(b.count[1]):
                    reads_along(r, b, 1, q[1], chunk[1], &along[1])
                    for q[2] in range(b.count[2]):
                        last = &b.last[q[2]]
                        count = 0
                        for i in range(r.ax[0].alpha):
                            for j in range(r.ax[1].alpha):
                                far = along[0].read[i] + along[1].read[j]
                                if along[0].inside and along[1].inside and last.inside:
                                    line = base + far
                                    for k in range(r.ax[2].alpha):
                                        pixels[count + k] = line + last.read[k]
                                else:
                                    for k in range(r.ax[2].alpha):
                                        pixels[count + k] = r.outside
                                        if far > FAR_OUTSIDE and last.read[k] > FAR_OUTSIDE:
                                            pixels[count + k] = base + far + last.read[k]
                                count += r.ax[2].alpha
                        args.v = s.v + row * r.pitch * r.size
                        transform(&args)
                        row += 1


cdef void gather_filters(const Run *r, ptrdiff_t item, ptrdiff_t first, ptrdiff_t channels, char *dst) noexcept nogil:
    """Some channels' filters of one block of columns, [tap][c][column]."""
    cdef const Filters *f = &r.filters
    cdef ptrdiff_t columns = 2 * r.k.lanes, start = item % r.blocks * columns
    cdef ptrdiff_t[3] k
    cdef const char *w = f.data + item // r.blocks * f.group + first * f.row + start * f.column
    for k[0] in range(r.ax[0].taps):
        for k[1] in range(r.ax[1].taps):
            for k[2] in range(r.ax[2].taps):
                r.k.gather[0](dst, columns, 1, w + k[0] * f.s[0] + k[1] * f.s[1] + k[2] * f.s[2], channels, f.row,
                              min(columns, r.mg - start), f.column)
                dst += channels * columns * r.size


cdef inline ptrdiff_t all_taps(const Run *r) noexcept nogil:
    return r.ax[0].taps * r.ax[1].taps * r.ax[2].taps


cdef inline ptrdiff_t gathered_bytes(const Run *r, ptrdiff_t channels) noexcept nogil:
    """Of a block's filters of so many channels."""
    return all_taps(r) * channels * 2 * r.k.lanes * r.size


cdef const char *whole_filters(const Run *r, ptrdiff_t item, Scratch *s) noexcept nogil:
    """A block's filters of all channels; NULL where there is no memory for them."""
    if s.whole_of == r and s.whole_block == item:
        return s.whole
    if s.whole == NULL:
        s.whole = <char *> allocate_large(gathered_bytes(r, r.cg))
    if s.whole != NULL:
        gather_filters(r, item, 0, r.cg, s.whole)
        s.whole_of, s.whole_block = r, item
    return s.whole


cdef void again(const Run *r, const Box *b, ptrdiff_t group, ptrdiff_t n, const ptrdiff_t *tile, ptrdiff_t block,
                int wide, char **out, char *const *added, bint clamp, const char *bias, Scratch *s) noexcept nogil:
    """One tile's block of columns directly, pixel by pixel."""
    cdef ptrdiff_t[3] o
    cdef ptrdiff_t[3] k
    cdef ptrdiff_t taps = all_taps(r), m = r.ax[r.columns_axis].m, tap, at
    cdef const char *here
    cdef const Axis *a
    cdef tile_args args
    cdef int i, j
    memset(&args, 0, sizeof(args))
    memset(s.offset, 0, taps * sizeof(ptrdiff_t))
    args.a, args.a_step, args.offset, args.runs, args.run = s.taps, 1, s.offset, taps, r.cg
    args.b, args.ldb = whole_filters(r, group * r.blocks + block, s), 2 * r.k.lanes
    if args.b == NULL:  # no memory: the caller computes everything again
        r.call.not_finite = 1
        return
    args.bias, args.clamp, args.low, args.high = bias, clamp, r.low, r.high
    for i in range(r.m2):
        for j in range(3):
            o[j] = first_output(tile[j], r.ax[j].dilation, r.ax[j].m)
        if r.axes == 2:
            o[r.rows_axis] += r.ax[r.rows_axis].dilation * (i // m)
        o[r.columns_axis] += r.ax[r.columns_axis].dilation * (i % m)
        tap = 0
        for k[0] in range(r.ax[0].taps):
            for k[1] in range(r.ax[1].taps):
                for k[2] in range(r.ax[2].taps):
                    here = b.x.data + n * b.x.sn
                    for j in range(3):
                        a = &r.ax[j]
                        at = o[j] * a.stride - a.lo + k[j] * a.dilation
                        if r.direct:
                            at = map_index(at, a.size, r.mode)
                        if o[j] >= a.out or r.direct and at < 0:
                            here = r.outside
                            break
                        here += at * b.x.s[j]
                    s.taps[tap] = here
                    tap += 1
        args.out, args.added = out + i, added + i if added != NULL else NULL
        r.k.gemm[wide][1](&args)


cdef void outputs_along(const Run *r, const Box *b, int axis, ptrdiff_t q, Along *along) noexcept nogil:
    """Where the outputs of tile q of the box go along an axis."""
    cdef const Axis *a = &r.ax[axis]
    cdef ptrdiff_t o = first_output(b.start[axis] + q, a.dilation, a.m), at
    along.count = 0
    while along.count < a.m and o < a.out:
        at = a.out_start + o * a.out_step
        along.out[along.count] = at * r.out.s[axis]
        along.residual[along.count] = at * r.residual.s[axis]
        along.count += 1
        o += a.dilation


cdef void store_block(const Run *r, const Box *b, ptrdiff_t group, ptrdiff_t block, Scratch *s) noexcept nogil:
    """Y of every tile of the box, one block of columns."""
    cdef ptrdiff_t lanes = r.k.lanes, start = block * 2 * lanes, taken = min(2 * lanes, r.mg - start), n, row = 0, together
    cdef ptrdiff_t wide_row = 2 * lanes * r.size
    cdef ptrdiff_t[3] q
    cdef ptrdiff_t[3] tile
    cdef Along[2] along
    cdef const Along *last
    cdef char *out[M_MAX * M_MAX]
    cdef char *place[FINISHED]
    cdef char *residual[FINISHED]
    cdef char *to
    cdef char *added
    cdef int i, j, k, which, at, wide = 0, done = 0
    cdef bint plain, deferred
    cdef output_args args
    cdef finish_args end
    cdef const char *bias = r.bias + (group * r.mg + start) * r.size
    cdef output_fn transform = r.w.output[r.alpha - 4][r.ax[r.columns_axis].m][r.axes - 1]
    args.wide = 2 if taken > lanes else 1
    plain = r.plain_store and taken == args.wide * lanes
    deferred = r.deferred or r.residual.data != NULL and not plain
    args.xi, args.bias, args.out = m_bytes(r), r.none if deferred else bias, out
    args.clamp, args.low, args.high = r.activation == CLAMP and not deferred, r.low, r.high
    args.added = residual if r.residual.data != NULL and plain else NULL
    args.ahead = first_output(TILES_AHEAD, r.ax[2].dilation, r.ax[2].m) * r.ax[2].out_step * r.out.s[2] if plain else 0
    together = 1 if plain else max(1, min(lanes // r.ax[2].m, FINISHED // r.m2))
    for n in range(b.n):
        to = r.out.data + (b.n0 + n) * r.out.sn + (group * r.mg + start) * r.out.sc
        added = r.residual.data + (b.n0 + n) * r.residual.sn + (group * r.mg + start) * r.residual.sc
        for q[0] in range(b.count[0]):
            outputs_along(r, b, 0, q[0], &along[0])
            for q[1] in range(b.count[1]):
                outputs_along(r, b, 1, q[1], &along[1])
                for q[2] in range(b.count[2]):
                    last = &b.last[q[2]]
                    if q[2] % together == 0:
                        wide, done = 0, 0  # outputs of a line of these tiles, and of the tiles before
                        for i in range(<int> min(together, b.count[2] - q[2])):
                            wide += b.last[q[2] + i].count
                    if along[0].count * along[1].count * last.count < r.m2:
                        for i in range(r.m2):
                            out[i] = s.tile + FINISHED * wide_row  # beyond the image: thrown away
                            if plain:
                                residual[i] = added
                    for i in range(along[0].count):
                        for j in range(along[1].count):
                            for k in range(last.count):
                                which = (i * r.ax[1].m + j) * r.ax[2].m + k
                                at = which if plain else (i * along[1].count + j) * wide + done + k
                                place[at] = to + along[0].out[i] + along[1].out[j] + last.out[k]
                                if r.residual.data != NULL:
                                    residual[at] = added + along[0].residual[i] + along[1].residual[j] + last.residual[k]
                                out[which] = place[at] if plain else s.tile + at * wide_row
                    done += last.count
                    args.m = s.m + row * wide_row
                    row += 1
                    if transform(&args):
                        for i in range(3):
                            tile[i] = b.start[i] + q[i]
                        again(r, b, group, n, tile, block, args.wide, out, args.added, args.clamp, args.bias, s)
                    if plain or (q[2] + 1) % together and q[2] + 1 < b.count[2]:
                        continue
                    end.tile, end.pitch, end.rows = s.tile, 2 * lanes, along[0].count * along[1].count * wide
                    end.columns, end.out, end.out_step = <int> taken, place, r.out.sc
                    end.residual, end.residual_step = residual if r.residual.data != NULL else NULL, r.residual.sc
                    end.bias, end.activation = bias if deferred else NULL, r.activation if deferred else NONE
                    end.low, end.high = r.low, r.high
                    r.k.finish[0](&end)


cdef ptrdiff_t taps_inside(const Run *r, const Box *b, ptrdiff_t row, ptrdiff_t *first, ptrdiff_t *last) noexcept nogil:
    """The taps along the first axis that a row of the product meets inside the input; and the end of the rows that meet the
    same ones."""
    cdef const Axis *a = &r.ax[0]
    cdef ptrdiff_t each = b.count[1] * b.count[2], end = row, o, at, k0, k1
    first[0], last[0] = 0, r.slices
    if not r.inside:
        return b.rows
    for o in range(row // each % b.count[0], b.count[0]):
        at = (b.start[0] + o) * a.stride - a.lo
        k0 = min(a.taps, ceil_div(max(-at, 0), a.dilation))
        k1 = max(k0, min(a.taps, ceil_div(max(a.size - at, 0), a.dilation)))
        if end > row and (k0 != first[0] or k1 != last[0]):
            break
        first[0], last[0] = k0, k1
        end += each
    return end


cdef void multiply_block(const Run *r, const Box *b, ptrdiff_t block, const char *u, Scratch *s) noexcept nogil:
    """M[xi] = V[xi] U[xi] for one block of columns."""
    cdef ptrdiff_t lanes = r.k.lanes, wide_row = 2 * lanes * r.size, first, end, xi, i, c, k, tap0, tap1, some
    cdef ptrdiff_t width = lanes if r.mg - block * 2 * lanes <= lanes else 2 * lanes
    cdef ptrdiff_t plane = r.rows * r.pitch * r.size
    cdef ptrdiff_t tap = r.ax[0].dilation * b.count[1] * b.count[2] * r.pitch * r.size
    cdef int wide = <int> (width // lanes), full = r.k.rows[wide], rows
    cdef char *out[TILE_ROWS]
    cdef const char *at[TILE_ROWS]
    cdef const Axis *depth = &r.ax[0]
    cdef tile_args args
    memset(&args, 0, sizeof(args))
    args.a_step, args.run, args.ldb = 0, r.cg, width
    args.out, args.bias, args.blocks, args.pixel, args.out_pixel = out, r.none, 1, r.pitch * r.size, wide_row
    for xi in range(r.xis):
        k = 0
        for c in range(r.planes):
            for i in range(depth.taps if depth.reach else 1):
                s.offset[k] = xi * v_bytes(r) + c * plane + i * tap
                k += 1
        first = end = 0
        while first < b.rows:
            if first == end:
                end = taps_inside(r, b, first, &tap0, &tap1)
                args.offset, args.runs, args.b = s.offset + tap0, tap1 - tap0, u + tap0 * r.cg * width * r.size
            some = end - first
            rows, args.a, out[0] = tile_rows(some, full), s.rows + first, s.m + xi * m_bytes(r) + first * wide_row
            if (some >= full and args.runs * r.cg * wide <= FEW_VECTORS
                    and s.rows[end - 1] - s.rows[first] == (some - 1) * args.pixel):  # side by side: none lies nearer
                args.tiles = some // full
                r.k.along[wide][full](&args)
                first += args.tiles * full
                continue
            for i in range(1, TILE_ROWS):
                out[i] = out[0] + i * wide_row
            if rows < full and rows & (rows - 1):  # the tile has more; what follows may not meet these taps
                args.a = at
                for i in range(TILE_ROWS):
                    at[i] = s.rows[first + min(i, rows - 1)]
            r.k.gemm[wide][rows](&args)
            first += rows
        u += u_bytes(r, width)


cdef void meet_box(const Run *r, ptrdiff_t unit, ptrdiff_t group, Scratch *s) noexcept nogil:
    """V of one of a group's boxes."""
    cdef Box *b = &s.box
    cdef ptrdiff_t block, i, n, o, row = 0
    cdef int j
    for j in range(2, -1, -1):
        i = unit % r.ax[j].boxes
        unit //= r.ax[j].boxes
        b.start[j] = box_start(&r.ax[j], i)
        b.count[j] = box_start(&r.ax[j], i + 1) - b.start[j]
    b.n0 = unit * r.n_box
    b.n = min(r.n_box, r.x.n - b.n0)
    b.rows = b.n * b.count[0] * b.count[1] * b.count[2]
    b.plane, b.planes, i = 0, v_extent(&r.ax[0], b.count[0]), b.start[0] * r.ax[0].stride - r.ax[0].lo
    if r.inside:
        b.plane = max(0, -i)
        b.planes = max(0, min(b.planes, r.ax[0].size - i) - b.plane)
    for n in range(b.n):
        for o in range(b.count[0]):
            for i in range(b.count[1] * b.count[2]):
                block = (n * b.planes + o * v_step(&r.ax[0]) - b.plane) * b.count[1] * b.count[2] + i
                s.rows[row] = s.v + block * r.pitch * r.size
                row += 1
    b.x = r.x
    b.x.data += b.n0 * r.x.sn + group * r.cg * r.x.sc
    if not r.direct:
        gather_strip(r, b, s.strip)
    transform_input(r, b, s)
    for j in range(<int> b.count[2]):
        outputs_along(r, b, 2, j, &b.last[j])


cdef void run_unit(const void *task, ptrdiff_t unit, int thread) noexcept nogil:
    """One box of a job: a group's columns, or some of them."""
    cdef const Run *r = <const Run *> task
    cdef Scratch *s = r.scratch + thread
    cdef ptrdiff_t boxes, group, split, block
    cdef const char *u
    while unit >= r.first + r.units:
        r += 1
    unit -= r.first
    boxes = r.n_boxes * r.ax[0].boxes * r.ax[1].boxes * r.ax[2].boxes
    if r.together:
        split, unit = unit % r.splits, unit // r.splits
        group = unit // boxes
    else:
        split, group = unit // boxes % r.splits, unit // (boxes * r.splits)
        unit = group * boxes + unit % boxes
    if s.box_of != r or s.box_unit != unit:
        s.box_of, s.box_unit = r, unit
        meet_box(r, unit % boxes, group, s)
    for block in range(r.from_block + (r.to_block - r.from_block) * split // r.splits,
                       r.from_block + (r.to_block - r.from_block) * (split + 1) // r.splits):
        if poll(r.call, thread) or r.call.not_finite:
            return
        u = r.panels + (group * r.blocks + block - r.from_block) * block_bytes(r)
        if r.panels == NULL:
            u = s.u
            if not pack_block(r, group * r.blocks + block, s.u, s):
                r.call.not_finite = 1
        multiply_block(r, &s.box, block, u, s)
        store_block(r, &s.box, group, block, s)


cdef inline ptrdiff_t strip_extent(const Axis *a, ptrdiff_t start, ptrdiff_t count) noexcept nogil:
    """How many input positions a stretch of tiles or outputs reads along an axis, from its first residue on."""
    cdef ptrdiff_t whole
    if a.alpha == 1:
        return (count - 1) * a.stride + a.reach + 1
    whole = (start + count - 1) // a.dilation - start // a.dilation + 1  # rows of residues
    return (((whole - 1) * a.m + a.alpha) * a.dilation - 1) * a.stride + first_tap(a.chunks - 1, a.stride, a.r) * a.dilation + 1


cdef inline ptrdiff_t strip_bytes(const Run *r, int first, ptrdiff_t depth) noexcept nogil:
    """Of the strip for one tile along the axes before the first, so many along the depth, and the largest box along the others."""
    cdef ptrdiff_t strip = r.cg * r.size
    cdef int j
    for j in range(3):
        # From the last residue on, a stretch of tiles meets the most rows of residues.
        strip *= strip_extent(&r.ax[j], r.ax[j].dilation - 1, r.ax[j].box if j >= first else 1 if j else depth)
    return strip


cdef inline bint far_apart(const Run *r) noexcept nogil:
    """Whether the strip for a single tile, or of a dilated depth for a few, would be too large: it is nearly all gaps. The
    whole input is copied then (64x64x64 at rate 16, channels first, took 26 ms, 10 times the direct driver's)."""
    return strip_bytes(r, 3, 1) > (STRIP_BYTES // 4 if r.ax[0].reach >= r.ax[0].taps > 1 else STRIP_BYTES)


# ---- filters ----------------------------------------------------------------------------------------------------

cdef inline ptrdiff_t u_bytes(const Run *r, ptrdiff_t width) noexcept nogil:
    """From U[xi] to U[xi + 1] of a block of so many columns."""
    return odd_lines(r.slices * r.cg * width * r.size)


cdef inline ptrdiff_t block_bytes(const Run *r) noexcept nogil:
    """Of one block of columns of U."""
    return r.xis * u_bytes(r, 2 * r.k.lanes)


cdef inline ptrdiff_t packed_bytes(const Run *r) noexcept nogil:
    """Of a whole job."""
    return r.groups * r.blocks * block_bytes(r)


cdef inline ptrdiff_t some_channels(const Run *r) noexcept nogil:
    """Those whose filters of a block are gathered at a time; fewer where the taps are very many."""
    return max(1, min(CHANNELS, SCRATCH_BYTES // 4 // gathered_bytes(r, 1)))


cdef bint pack_block(const Run *r, ptrdiff_t item, char *u, const Scratch *s) noexcept nogil:
    """U of one block of columns of one group of a job; False where a value is not finite."""
    cdef ptrdiff_t lanes = r.k.lanes, start = item % r.blocks * 2 * lanes, slice_, first = 0, count = r.cg, c, plane, i
    cdef ptrdiff_t[3] strides
    cdef ptrdiff_t k[3]
    cdef filter_args f
    cdef filter_fn transform = r.w.filter[r.alpha - 4][r.ax[r.columns_axis].m][r.axes - 1]
    cdef const Axis *rows = &r.ax[r.rows_axis]
    cdef const Axis *columns = &r.ax[r.columns_axis]
    cdef const char *w = r.filters.data + item // r.blocks * r.filters.group + start * r.filters.column
    cdef ptrdiff_t row = r.filters.row
    cdef bint finite = True, there = r.filters.column == r.size
    f.columns = min(2 * lanes, r.mg - start)
    f.width = lanes if f.columns <= lanes else 2 * lanes
    f.xi = u_bytes(r, f.width)
    f.ahead = AHEAD * row if there else 0
    for i in range(3):
        strides[i] = r.filters.s[i]
    while first < r.cg:
        if not there:
            count, w, row = min(some_channels(r), r.cg - first), s.some, 2 * lanes * r.size
            gather_filters(r, item, first, count, s.some)
            strides[2] = count * row
            strides[1] = r.ax[2].taps * strides[2]
            strides[0] = r.ax[1].taps * strides[1]
        f.step_h, f.step_w = strides[r.rows_axis] * rows.stride if r.axes == 2 else 0, strides[r.columns_axis] * columns.stride
        slice_ = 0
        for plane in range(r.planes):
            for i in range(r.ax[0].taps if r.ax[0].reach else 1):
                k[0] = k[1] = k[2] = 0
                k[0] = i
                k[r.columns_axis] = first_tap(plane % columns.chunks, columns.stride, columns.r)
                f.taps_h, f.taps_w = 1, <int> min(columns.r, ceil_div(columns.taps - k[r.columns_axis], columns.stride))
                if r.axes == 2:
                    k[r.rows_axis] = first_tap(plane // columns.chunks, rows.stride, rows.r)
                    f.taps_h = <int> min(rows.r, ceil_div(rows.taps - k[r.rows_axis], rows.stride))
                for c in range(count):
                    f.w = w + k[0] * strides[0] + k[1] * strides[1] + k[2] * strides[2] + c * row
                    f.u = u + (slice_ * r.cg + first + c) * f.width * r.size
                    finite &= transform(&f) == 0
                slice_ += 1
        first += count
    return finite


cdef void pack_unit(const void *task, ptrdiff_t unit, int thread) noexcept nogil:
    """One block of all jobs' packed filters."""
    cdef const Run *r = <const Run *> task
    cdef ptrdiff_t each = r.groups * (r.to_block - r.from_block)
    if not pack_block(r + unit // each, r.from_block + unit % each, r.panels + unit * block_bytes(r), r.scratch + thread):
        r.call.not_finite = 1


# ---- how a call is cut ------------------------------------------------------------------------------------------

cdef void cut_for(Run *r, int threads, ptrdiff_t bytes) noexcept nogil:
    """As many tiles as keep V in L2; fewer, or some of the columns, where threads would wait."""
    cdef ptrdiff_t each = r.xis * r.planes * r.pitch * r.size, total = r.x.n, most, n = 1, depth = 1
    cdef ptrdiff_t u = r.blocks * block_bytes(r)
    cdef bint own
    cdef int i
    for i in range(3):
        total *= max(r.ax[i].tiles, 1)
    most = max(1, bytes // each)
    if r.ax[0].reach:  # positions of V beyond the box count, too: of several depths, fewer are transformed twice
        depth = max(1, min(r.ax[0].tiles, DEPTHS))
        while not r.direct and depth > 1 and strip_bytes(r, 3, depth) > STRIP_BYTES:
            depth = (depth + 1) // 2
        most = max(1, most // v_most(r, 0, depth))
    elif most < 2 * TILE_ROWS and bytes >= V_BYTES:  # every box reads all of U: better few boxes than V in L2
        most = SCRATCH_BYTES * 7 // 8 // (each + r.xis * 2 * r.k.lanes * r.size)
        most = max(1, min(2 * TILE_ROWS, most))
    elif most >= TILE_ROWS:
        most = most // TILE_ROWS * TILE_ROWS
    most = min(most, TILES)
    # U that is more than V: each thread takes some of its columns and meets all boxes with them, if its L2 keeps those,
    # or if U is new, for what another thread has written comes slowly; else U must be much more.
    own = (threads > 1 and r.blocks % threads == 0
           and u > (1 if r.fresh or u <= threads * V_BYTES else 2) * total * each)
    if threads > 1 and total < most * 4 * threads and not own:
        most = max(min(most, 2 * TILE_ROWS), min(most, total // (4 * threads)))
    for i in range(2, -1, -1):
        r.ax[i].box = depth if r.ax[i].reach else max(1, min(r.ax[i].tiles, most // n))
        while not r.direct and strip_bytes(r, i, depth) > STRIP_BYTES and r.ax[i].box > 1:
            r.ax[i].box = (r.ax[i].box + 1) // 2
        r.ax[i].boxes = ceil_div(max(r.ax[i].tiles, 1), r.ax[i].box)
        r.ax[i].box = ceil_div(max(r.ax[i].tiles, 1), r.ax[i].boxes)  # the largest
        n *= v_most(r, i, r.ax[i].box)
        if r.ax[i].boxes > 1:
            most = n
    r.n_box = max(1, min(r.x.n, most // n)) if most > n and r.direct else 1
    r.n_boxes = ceil_div(r.x.n, r.n_box)
    r.rows, r.outs = r.n_box * n, r.n_box * r.ax[0].box * r.ax[1].box * r.ax[2].box
    r.strip = 0 if r.direct else strip_bytes(r, 0, 1)
    r.units = r.groups * r.n_boxes
    for i in range(3):
        r.units *= r.ax[i].boxes
    # Threads meet whole boxes, and the last ones some of their columns; where there are few boxes, and U is more than
    # stays in L2, the columns are shared instead.
    r.splits, r.together = 1, not own and (r.units == r.groups or r.units >= 2 * threads or u < V_BYTES)
    if own:
        r.splits = threads
    elif threads > 1 and r.units > 0:
        n = (BOXES if r.together else 2) * threads
        r.splits = max(1, min(r.blocks, ceil_div(n, r.units)))
    r.units *= r.splits


cdef ptrdiff_t lay_out(Scratch *s, char *start, const Run *r) noexcept nogil:
    """Place a thread's scratch from start on; how many bytes it takes but for filters."""
    cdef ptrdiff_t wide_row = 2 * r.k.lanes * r.size
    cdef ptrdiff_t taps = max(all_taps(r), r.slices)
    s.v = start
    s.m = s.some = s.v + r.xis * v_bytes(r)  # filters are transformed before the product
    s.tile = s.m + max(r.xis * m_bytes(r) + TILE_ROWS * wide_row, aligned(gathered_bytes(r, some_channels(r))))
    s.rows = <const char **> (s.tile + (FINISHED + 1) * wide_row)
    s.taps = s.rows + r.outs
    s.offset = <ptrdiff_t *> (s.taps + taps)
    s.strip = start + aligned(<char *> (s.offset + taps) - start)
    s.u = s.strip + aligned(r.strip)
    return s.u - start


cdef void cut(Run *r, int threads) noexcept nogil:
    """Boxes of tiles, smaller ones until a thread's scratch is within its bound."""
    cdef ptrdiff_t bytes = V_BYTES if r.blocks * block_bytes(r) < U_NEAR else V_FAR
    cdef Scratch s
    cut_for(r, threads, bytes)
    while lay_out(&s, <char *> &s, r) > SCRATCH_BYTES and bytes > 1000:
        bytes = bytes * 3 // 4
        cut_for(r, threads, bytes)


cdef ptrdiff_t shared_bytes(const Run *r) noexcept nogil:
    """Of the bias, a tile's width of zeros, which may be read behind it, and a run of the constant."""
    return (r.groups * r.mg + 2 * r.k.lanes + r.cg) * r.size


cdef class Winograd(Driver):
    """A Problem of jobs with equal taps, with what `shape` says of their axes."""
    cdef Axis *ax  # three for every job
    cdef Run first  # what the first job's is for every ISA
    cdef int njobs
    cdef readonly object shape
    cdef object made_general

    def __cinit__(self, problem, shape):
        """shape: the transformed axes, one or two, and alpha, m, r of each."""
        cdef int i, j
        cdef double products
        cdef Axis *a
        cdef Run *first = &self.first
        transformed, alpha, m, r = shape
        self.shape, self.finite_only, self.work = shape, True, 0
        self.layout = ("winograd", shape, tuple(a[1:2] + a[3:4] + a[6:8] for axes in problem.jobs for a in axes))
        first.groups, first.cg, first.mg, first.size = self.groups, self.cg, self.mg, 4
        first.mode, first.constant = problem.padding_mode, problem.padding_value
        first.axes, first.columns_axis = len(transformed), max(transformed)
        first.rows_axis = transformed[0] if first.axes == 2 else 0
        first.alpha, first.xis, first.m2 = alpha, alpha ** first.axes, m ** first.axes
        self.njobs = len(problem.jobs)
        self.ax = <Axis *> calloc(3 * self.njobs, sizeof(Axis))
        if self.ax == NULL:
            raise MemoryError
        for j, axes in enumerate(problem.jobs):
            products = 2.0 * prod(problem.batch) * first.groups * first.cg * first.mg * first.xis
            for i, axis in enumerate(axes):
                a = self.ax + 3 * j + i
                copy_axis(axis, <JobAxis *> a)
                a.alpha, a.m, a.r, a.chunks = 1, 1, axis.taps, 1
                a.tiles, a.reach = axis.out, (axis.taps - 1) * axis.dilation
                if i in transformed:
                    a.alpha, a.m, a.r, a.reach = alpha, m, r, 0
                    a.chunks = a.stride * ceil_div(ceil_div(a.taps, a.stride), r)
                    a.tiles = a.dilation * ceil_div(ceil_div(a.out, a.dilation), m)
                products *= a.tiles * a.chunks * (a.taps if a.alpha == 1 else 1)
            self.work += products
        first.planes = self.ax[first.columns_axis].chunks * (self.ax[first.rows_axis].chunks if first.axes == 2 else 1)
        first.slices = first.planes * (self.ax[0].taps if self.ax[0].reach else 1)
        first.inside = self.ax[0].reach > 0 and first.planes == 1 and problem.zeros_outside

    def __dealloc__(self):
        free(self.ax)

    @property
    def general(self):
        """The driver of tiles and calls that cannot be transformed; not made for a mere estimate."""
        if self.made_general is None:
            self.made_general = Convolution(self.problem)
        return self.made_general

    cdef void describe(self, Run *r, Call *call, int isa) noexcept:
        """The first job's Run but for its arrays."""
        r[0] = self.first
        r.call = call
        r.k, r.w = conv_kernels_of(isa), winograd_kernels_of(isa)
        memcpy(r.ax, self.ax, sizeof(r.ax))
        r.blocks = r.to_block = ceil_div(r.mg, 2 * r.k.lanes)
        r.pitch = ceil_div(r.cg, r.k.lanes) * r.k.lanes
        if r.pitch * r.size % 1024 == 0:  # rows a multiple of 1 KiB apart would share few sets of L1
            r.pitch += r.k.lanes

    cdef Run *cut_all(self, const Run *r, int threads) except NULL:
        """A Run for each job, like that one, cut into units; their scratch has room for the largest box of any."""
        cdef Run *runs = <Run *> take(r.call, self.njobs * sizeof(Run), "scratch")
        cdef ptrdiff_t rows = 0, outs = 0, strip = 0, units = 0
        cdef int j
        for j in range(self.njobs):
            runs[j] = r[0]
            memcpy(runs[j].ax, self.ax + 3 * j, sizeof(r.ax))
            cut(runs + j, threads)
            runs[j].first = units
            units += runs[j].units
            rows, outs, strip = max(rows, runs[j].rows), max(outs, runs[j].outs), max(strip, runs[j].strip)
        for j in range(self.njobs):
            runs[j].rows, runs[j].outs, runs[j].strip = rows, outs, strip
        return runs

    cdef void place(self, Run *runs, char *packed, cnp.ndarray w) noexcept:
        """Where each job's transformed filters are, and how it reads its filters, by their role."""
        cdef int n = self.ndim, j, i
        cdef Filters *f
        cdef Axis *a
        for j in range(self.njobs):
            runs[j].panels = NULL if packed == NULL else packed + j * packed_bytes(runs)
            f = &runs[j].filters
            read_filters(w, n, self.problem.filters, runs.cg, runs.mg, False, f)
            for i in range(3 - n, 3):
                a = self.ax + 3 * j + i
                f.data += a.tap_start * f.s[i]
                f.s[i] *= a.tap_step

    cdef int take_scratch(self, Run *runs, int threads, bint filters) except -1:
        """Each thread's scratch, all in one piece; with room for filters if wanted."""
        cdef ptrdiff_t head = aligned(threads * sizeof(Scratch)), each
        cdef Scratch *scratch
        cdef Scratch s
        cdef int j
        each = lay_out(&s, <char *> &s, runs) + (block_bytes(runs) + 256 if filters else 0)
        scratch = <Scratch *> take(runs.call, head + threads * each, "scratch")
        for j in range(threads):
            lay_out(scratch + j, <char *> scratch + head + j * each, runs)
            scratch[j].whole, scratch[j].whole_of, scratch[j].box_of = NULL, NULL, NULL
        for j in range(self.njobs):
            runs[j].scratch = scratch
        return 0

    cdef int pack_into(self, Panels panels, cnp.ndarray w, Call *call, int isa) except -1:
        cdef Run r
        cdef Run *runs
        self.describe(&r, call, isa)
        r.direct = True  # there is no input, nor a strip of it
        runs = self.cut_all(&r, 1)
        self.place(runs, panels.room(self.njobs * packed_bytes(&r), self.op), w)
        panels.nbytes += w.nbytes
        self.take_scratch(runs, 1, False)
        run_units(pack_unit, runs, self.njobs * r.groups * r.blocks, 1, call)
        return 0

    def counts(self, int isa):
        """What the first job takes of one image and group, on one thread.

        As `cut` has it, in vectors: of filters, of filters times rows (as many of a full register tile as take as long), of
        filters that boxes read again, of transformed input (and whether it is more than stays in L2) and of sums; in
        numbers: tiles met, for their addresses, and calls of kernels.
        """
        cdef Run r
        cdef ptrdiff_t[3] n
        cdef ptrdiff_t rows, rest, tall, columns, filters
        cdef double alike, boxes = 0, full = 0, tiles = 0, made = 0, calls = 0
        cdef int i, j
        self.describe(&r, NULL, isa)
        r.x.n, r.direct, tall = 1, True, r.k.rows[2]
        cut(&r, 1)
        for i in range(8):  # boxes of two sizes along each axis
            alike = 1
            for j in range(3):
                alike *= boxes_alike(&r.ax[j], i >> j & 1, n + j)
            rows = n[0] * n[1] * n[2]
            rest = rows % tall  # a few rows leave a tile empty, or wait for their sums
            full += alike * (rows - rest + min(tall, 4 * ceil_div(rest, 4)))
            boxes += alike
            tiles += alike * rows
            made += alike * v_most(&r, 0, n[0]) * n[1] * n[2] * r.planes
            calls += alike * ceil_div(rows, tall) * r.xis * r.blocks * r.slices
        columns = ceil_div(r.mg, r.k.lanes)
        filters = r.xis * r.slices * r.cg * columns
        if r.inside:
            full *= <double> terms_inside(self.problem.jobs[0][0]) / (r.ax[0].out * r.ax[0].taps)
        return (filters, full * filters, boxes * filters, made * r.xis * ceil_div(r.cg, r.k.lanes),
                r.rows * r.planes * r.xis * r.pitch * r.size > V_BYTES, tiles * r.xis * columns,
                made + tiles * r.blocks, calls)

    cdef ptrdiff_t scratch(self, int threads, int isa, Call *call) except -1:
        cdef Run r
        cdef Scratch s
        cdef ptrdiff_t most = 0, copied = 0
        self.describe(&r, call, isa)
        r.x.n = prod(self.problem.batch)
        for r.direct in range(2):
            if not r.direct and far_apart(&r):
                copied = r.x.n * r.groups * r.cg * r.size * prod(self.problem.sizes)
            else:
                most = max(most, lay_out(&s, <char *> &s, self.cut_all(&r, threads)))
        most = aligned(threads * sizeof(Scratch)) + threads * (most + aligned(gathered_bytes(&r, r.cg))) + copied
        return most + aligned(shared_bytes(&r)) + aligned(self.njobs * sizeof(Run))

    cdef int compute(self, const Operands *o, cnp.ndarray x, filters, cnp.ndarray bias, cnp.ndarray out, int threads, int isa,
                     Call *call) except -1:
        cdef Run r
        cdef Run *runs
        cdef char *panels = NULL
        cdef char *shared
        cdef ptrdiff_t j, items = 0, units, together, first = 0
        cdef list held = []
        # With few channels it is all transforms.
        cdef int team = team_of(max(1.5 * self.work, 0.6 * self.flops), threads, prepare)
        self.describe(&r, call, isa)
        r.x, r.out, r.residual = o.x, o.out, o.residual
        r.activation, r.low, r.high = o.activation, o.low, o.high
        r.deferred = o.activation > CLAMP or o.residual.data != NULL and o.residual.sc != r.size
        r.plain_store = o.out.sc == r.size and not r.deferred
        r.direct, r.fresh, together = r.x.sc == r.size, not isinstance(filters, Panels), r.blocks
        if not r.direct and far_apart(&r):
            x = readable((x if self.channels_last else np.moveaxis(x, -1 - self.ndim, -1)).copy(), self.ndim, True, &r.x)
            r.direct = True
        r.bias = shared = take(call, shared_bytes(&r), "scratch")
        r.outside = shared = copy_bias(bias, shared, r.groups * r.mg * r.size, 1, 2 * r.k.lanes * r.size)
        r.none = shared - 2 * r.k.lanes * r.size
        r.k.fill(shared, r.cg, r.constant)
        runs = self.cut_all(&r, team)
        units = runs[self.njobs - 1].first + runs[self.njobs - 1].units
        if not r.fresh:
            panels, filters = (<Panels> filters).data, (<Panels> filters).filters
        else:
            for j in range(self.njobs):
                if runs[j].units > r.groups * runs[j].splits:  # several boxes meet the same filters
                    items = self.njobs * r.groups * r.blocks
            if items:
                if items == r.blocks:
                    together = ceil_div(together, ceil_div(together * block_bytes(&r), U_BYTES))
                panels = take_large(call, items // r.blocks * together * block_bytes(&r) + PANEL_END, "transformed filters",
                                    large_output, held)
        self.place(runs, panels, filters)
        self.take_scratch(runs, team, panels == NULL)
        with nogil:
            while first < r.blocks and not call.not_finite:
                runs.from_block, runs.to_block = first, min(first + together, r.blocks)
                if items:
                    run_units(pack_unit, runs, items // r.blocks * (runs.to_block - first), team, call)
                if not call.not_finite:
                    run_units(run_unit, runs, units, team, call)
                first += together
        for j in range(team):
            free(runs.scratch[j].whole)
        return 0
