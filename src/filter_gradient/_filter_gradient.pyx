"""The filter gradient: dw[k,c,m] = sum_{n,o} x[n, o*s + k*d - lo, c] g[n,o,m], the sum over pixels in registers.

For every tap it is a product of matrices whose long side is the pixels, and both operands lie pixel by pixel as they are
wanted: a tile of rows (channels c) by one or two vectors of columns (output channels m) takes, a pixel at a time, a few
elements of x and a vector or two of g. No im2col. Pixels go in runs, the part of an output row for which the tap is
inside the input, so that a padding of zeros costs nothing and meets nothing. Three variations keep the tile full:

* few input channels: the taps along w and the channels, which lie side by side, are the rows together (`fold`);
* few output channels: x and g change places (`swap`);
* depthwise: the rows are the taps along w, and their elements are vectors;
* groups of 2, 4 or 8 channels and as many filters: so, too, as many times (`turns`), with the filters in another order each
  time: channel c of a group meets its filter c + turn, round.

Where several taps are rows of one tile, the pixels at the ends of a row have some of those rows only, and the kernel asks.
Where they are few, several rows of them are rows of one tile (`tall`): all of 3x3 filters of one channel, or of each.

The order of every sum depends on the problem alone: pixels are cut into chunks (boxes of about CHUNK outputs), a tile's
sum over a chunk is added to what the chunks before gave, and where there are few tiles, `splits` parts of the chunks add
up on their own and then in order. Threads share (part, rows, columns, taps) between them.
"""

from cython.parallel cimport prange
from libc.stdint cimport INTPTR_MAX
from libc.string cimport memcpy, memset

cimport numpy as cnp
from common cimport JobAxis as Axis
from common cimport (
    Call, View, aligned, begin_call, ceil_div, compute_bytes, compute_type, copy_axis, end_call, leaves_input, map_index, odd_lines,
    poll, poll_after, readable, run_units, span_of, storage_bytes, take, team_of, vector_block, vector_blocks
)
from move cimport Gathering, fill_fn, gather_box, gather_fn
from transforms cimport filter_args, first_output, first_tap, input_args, output_args, winograd_kernels

from cyconv._runtime import prepare

cnp.import_array()

cdef extern from "kernels.h" nogil:
    enum: SLIDES, STRIDES, TILE_HIGH
    ctypedef struct pixel_run:
        ptrdiff_t a, b
        int count
        short high[2]
    ctypedef struct tile_args:
        const char *a
        const char *b
        const pixel_run *runs
        ptrdiff_t count, a_step, b_step, row_step, each, turn, high_step, high, stride, dilation
        ptrdiff_t inside[2]
        void *out
        ptrdiff_t pitch
        int accumulate
        const char *later
        ptrdiff_t later_step
    ctypedef void (*tile_fn)(const tile_args *) noexcept nogil
    ctypedef void (*add_fn)(void *, const void *, ptrdiff_t) noexcept nogil
    ctypedef void (*store_fn)(char *, ptrdiff_t, const void *, ptrdiff_t, ptrdiff_t) noexcept nogil
    ctypedef void (*slope_fn)(void *, const void *, const void *, ptrdiff_t, int, double, double) noexcept nogil
    ctypedef struct gradient_kernels:
        int lanes
        int rows[3]
        tile_fn outer[3][15]
        int high[15]
        tile_fn folded[4][3][15]
        tile_fn depthwise[3][4][3][15]
        add_fn add
        fill_fn fill
        gather_fn gather[5]
        store_fn store[5]
        slope_fn slope[5]
        winograd_kernels winograd
    const gradient_kernels *gradient_kernels_of(int isa)

cdef enum:
    CHUNK = 208              # pixels whose sum a tile keeps in registers: 4 x 7 x 7, 14 x 14, 7 x 28 fit
    DEPTHWISE_CHUNK = 512
    DEPTHWISE_ROW = 64       # of it at most, so that L1 holds what the taps read again
    TURNED_CHUNK = 512       # whose input stays in cache from turn to turn
    RUNS = 2048              # of a chunk at most
    FOLD_CHUNK = RUNS        # where a tile is small, and has to be called and stored the less often
    MOST_TALL = 64           # rows of taps at most
    TILES = 64               # so many tiles and parts, if there are pixels for them, make work for every thread
    PARTIAL_BYTES = 1 << 20  # of all the parts together
    SUM_BYTES = 1 << 18      # of a thread's sums
    STRIP_BYTES = 1 << 20    # of a thread's gathered input
    MANY_TURNS = 4           # from which on it pays to gather both operands
    APART = 2048             # bytes from pixel to pixel, for which few sets of L1 would have them all: they are gathered

cdef enum Source:
    DIRECT, STRIP, TAP       # x is read where it lies; gathered a box at a time; a tap at a time


cdef struct Reader:
    # Some channels of x or of g, and where to read them: base + n*image + sum over axes of (o*out + k*tap) - origin, in bytes.
    ptrdiff_t channel, channels, pitch  # pitch: elements from pixel to pixel where they are gathered
    char *room                          # for them
    const char *base
    ptrdiff_t image, origin
    ptrdiff_t[3] out, tap


cdef struct Task:
    # Everything a unit of work needs to know.
    const gradient_kernels *k
    Axis ax[3]
    int dtype, size, csize, mode, source
    double constant
    bint padded              # what lies outside the input counts: any padding but zeros
    bint depthwise, fold, swap, g_direct, in_place
    ptrdiff_t groups, cg, mg, repeat
    ptrdiff_t row_taps       # taps along w that are rows together, a tap group: 1 but for fold and depthwise
    ptrdiff_t turns          # channels of a small group, each of which meets as many filters; else 1
    ptrdiff_t tall           # rows of taps that are rows together, too: of one tile, or of several
    int slide                # depthwise: the stride, where taps share inputs, else 0
    ptrdiff_t tap_groups
    ptrdiff_t rows, columns  # of a tap group
    ptrdiff_t row_tiles, column_tiles, most_rows
    ptrdiff_t[4] box, boxes
    ptrdiff_t chunks, splits
    ptrdiff_t by_taps, by_rows, by_columns  # what a unit takes: tap groups, tiles of rows, tiles of columns
    ptrdiff_t units
    View x, g
    char *out
    char *partial            # the parts' sums, each [group][tap group][row][column tile], when there are several
    ptrdiff_t partial_bytes  # of a part
    char *scratch            # each thread's: x and g where they are gathered, sums, runs and lists
    ptrdiff_t x_bytes, g_bytes, sum_bytes, each
    Call *call


cdef struct Unit:
    # One unit of work, and the chunk it is at.
    ptrdiff_t group, t0, t1, r0, r1, b0, b1, row0, column0
    pixel_run *runs
    ptrdiff_t *lists         # where each tap group's runs start
    char *sum                # of tap group t0, row row0, tile b0
    ptrdiff_t pitch, tap_pitch
    ptrdiff_t[4] start, count
    Reader x, g
    ptrdiff_t a_step, b_step  # as tile_args has them
    const char *later        # what the next chunk reads: so many bytes of one operand, and then of the other
    const char *later_still
    ptrdiff_t later_left
    ptrdiff_t later_step, later_tile  # how much a tile fetches while it reads a pixel, and all of them
    int thread


# ---- indices ----------------------------------------------------------------------------------------------------

cdef inline ptrdiff_t tile_start(const Task *t, ptrdiff_t b, int *wide) noexcept nogil:
    """The first column of tile b and its vectors."""
    return vector_block(t.columns, t.k.lanes, b, wide)


cdef inline ptrdiff_t row_start(const Task *t, ptrdiff_t tile) noexcept nogil:
    """The first row of a tile; of several rows of taps each is in one tile."""
    cdef ptrdiff_t taps = t.rows // t.tall
    return t.rows * tile // t.row_tiles if t.tall == 1 else t.tall * tile // t.row_tiles * taps


cdef inline void tap_of(const Task *t, ptrdiff_t group, ptrdiff_t *k) noexcept nogil:
    """The first tap of a tap group."""
    cdef ptrdiff_t along = t.ax[2].taps // t.row_taps
    group //= t.turns
    k[2] = group % along * t.row_taps
    group //= along
    k[1] = group % (t.ax[1].taps // t.tall) * t.tall
    k[0] = group // (t.ax[1].taps // t.tall)


cdef inline void inside(const Task *t, const Unit *u, int axis, ptrdiff_t k, ptrdiff_t *o) noexcept nogil:
    """The chunk's outputs o[0] <= o < o[1] whose tap k lies inside the input; all of them where the padding counts."""
    cdef const Axis *a = &t.ax[axis]
    o[0], o[1] = u.start[axis + 1], u.start[axis + 1] + u.count[axis + 1]
    if not t.padded:
        o[0] = min(o[1], max(o[0], ceil_div(max(0, a.lo - k * a.dilation), a.stride)))
        o[1] = max(o[0], min(o[1], ceil_div(max(0, a.size + a.lo - k * a.dilation), a.stride)))


# ---- reading ----------------------------------------------------------------------------------------------------

cdef void read(const Task *t, const Unit *u, const View *v, Reader *r, ptrdiff_t repeat, const ptrdiff_t *first,
               const ptrdiff_t *step, const ptrdiff_t *extent, bint direct) noexcept nogil:
    """Make the chunk's positions first + j*step, j < extent, of every axis readable: where they lie, or gathered, padding in
    place. r.out and r.tap are positions and become bytes."""
    cdef ptrdiff_t s, bytes = r.pitch * t.csize
    cdef Gathering g
    cdef int i
    r.origin = 0
    for i in range(2, -1, -1):
        s = v.s[i] if direct else bytes
        r.origin += (u.start[i + 1] * r.out[i] - (first[i] if direct else 0)) * s
        r.out[i] *= s
        r.tap[i] *= s
        bytes *= extent[i]
    r.image = v.sn
    if not direct:
        g.gather, g.fill, g.mode, g.csize, g.constant = t.k.gather[t.dtype], t.k.fill, t.mode, t.csize, t.constant
        g.channels, g.repeat, g.pitch = r.channels, repeat, r.pitch
        gather_box(&g, v, r.base + u.start[0] * v.sn, u.count[0], first, step, extent, r.room)
        r.base, r.image = r.room, bytes
        r.origin += u.start[0] * bytes


cdef void read_x(const Task *t, Unit *u, ptrdiff_t group) noexcept nogil:
    """Make the chunk's input readable, after read_g: where it lies, gathered as a strip, or what one tap group wants."""
    cdef ptrdiff_t[3] first, step, extent, k
    cdef const Axis *a
    cdef int i
    u.x.base = t.x.data + (u.group * t.cg + u.x.channel) * t.x.sc
    tap_of(t, group, k)
    for i in range(3):
        a = &t.ax[i]
        first[i] = u.start[i + 1] * a.stride - a.lo
        u.x.out[i], u.x.tap[i], step[i] = a.stride, a.dilation, 1
        extent[i] = span_of(a, u.count[i + 1])
        if t.source == TAP and not (t.fold and i == 2):
            first[i] += k[i] * a.dilation
            u.x.out[i], u.x.tap[i], step[i], extent[i] = 1, 0, a.stride, u.count[i + 1]
    read(t, u, &t.x, &u.x, t.repeat, first, step, extent, t.source == DIRECT)
    u.a_step, u.b_step = u.x.out[2], u.g.out[2]
    if t.swap:
        u.a_step, u.b_step = u.b_step, u.a_step


cdef void read_g(const Task *t, Unit *u) noexcept nogil:
    """The same for the gradient of the output."""
    cdef ptrdiff_t[3] step
    cdef int i
    u.g.base = t.g.data + (u.group * t.mg + u.g.channel) * t.g.sc
    for i in range(3):
        u.g.out[i], u.g.tap[i], step[i] = 1, 0, 1
    read(t, u, &t.g, &u.g, 1, u.start + 1, step, u.count + 1, t.g_direct)


cdef inline ptrdiff_t offset(const Reader *r, ptrdiff_t n, ptrdiff_t d, ptrdiff_t h, ptrdiff_t w,
                             const ptrdiff_t *k) noexcept nogil:
    return (n * r.image + d * r.out[0] + h * r.out[1] + w * r.out[2]
            + k[0] * r.tap[0] + k[1] * r.tap[1] + k[2] * r.tap[2] - r.origin)


# ---- one chunk --------------------------------------------------------------------------------------------------

cdef ptrdiff_t find_runs(const Task *t, const Unit *u, ptrdiff_t group, ptrdiff_t first, ptrdiff_t step,
                         pixel_run *runs) noexcept nogil:
    """The runs of the chunk's pixels for which some of a tap group is inside the input, from the first along w on. Returns how
    many."""
    cdef ptrdiff_t n, d, h, a, b, many = 0
    # Fewer than four rows have several sums each, and which pixel goes to which depends on where its run starts.
    cdef bint merge = t.row_taps == 1 and (t.depthwise or t.rows // t.row_tiles >= 4)
    cdef const Axis *high = &t.ax[1]
    cdef ptrdiff_t[3] k
    cdef ptrdiff_t[2] od, oh, ow, inside_h
    cdef pixel_run *last = runs
    tap_of(t, group, k)
    inside(t, u, 0, k[0], od)
    oh[0], oh[1], inside_h[0], inside_h[1] = u.start[2], u.start[2] + u.count[2], 0, t.tall
    ow[0], ow[1] = first, u.start[3] + u.count[3]
    if t.tall == 1:
        inside(t, u, 1, k[1], oh)
    if t.row_taps == 1:
        inside(t, u, 2, k[2], ow)
    if ow[0] >= ow[1]:
        return 0
    for n in range(u.start[0], u.start[0] + u.count[0]):
        for d in range(od[0], od[1]):
            for h in range(oh[0], oh[1]):
                a, b = offset(&u.x, n, d, h, ow[0], k), offset(&u.g, n, d, h, ow[0], k)
                if t.swap:
                    a, b = b, a
                if t.tall > 1 and not t.padded:
                    inside_h[0] = max(0, ceil_div(max(0, high.lo - h * high.stride), high.dilation))
                    inside_h[1] = min(t.tall, ceil_div(max(0, high.size + high.lo - h * high.stride), high.dilation))
                    if inside_h[0] >= inside_h[1]:
                        continue
                if merge and many and last.a + last.count * u.a_step == a and last.b + last.count * u.b_step == b:
                    last.count += <int> (ow[1] - ow[0])
                else:
                    last = runs + many
                    last.a, last.b, last.count = a, b, <int> ceil_div(ow[1] - ow[0], step)
                    last.high[0], last.high[1] = <short> inside_h[0], <short> inside_h[1]
                    many += 1
    return many


cdef void multiply(const Task *t, Unit *u, ptrdiff_t group, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t b, bint accumulate,
                   ptrdiff_t first, ptrdiff_t step, const pixel_run *runs, ptrdiff_t many) noexcept nogil:
    """One tile over its runs, which begin at the first output along w and take one in so many."""
    cdef int wide
    cdef ptrdiff_t start = tile_start(t, b, &wide), taps = t.rows // t.tall, tap = row % taps, high = ceil_div(rows, taps)
    cdef ptrdiff_t each = t.cg if t.fold else 1  # the rows of a tap
    cdef const Axis *w = &t.ax[2]
    cdef const char *x = u.x.base
    cdef const char *g = u.g.base
    cdef tile_args args
    args.runs, args.count, args.accumulate = runs, many, accumulate
    args.a_step, args.b_step, args.row_step, args.high_step = step * u.a_step, step * u.b_step, u.x.tap[2], u.x.tap[1]
    args.each, args.turn, args.high = t.turns, group % t.turns, row // taps
    args.stride, args.dilation, args.inside[0], args.inside[1] = w.stride * step * each, w.dilation, 0, INTPTR_MAX // 2
    if t.row_taps > 1 and not t.padded:
        args.inside[0] = (w.lo - first * w.stride) * each - tap * w.dilation
        args.inside[1] = args.inside[0] + w.size * each
    if t.depthwise:
        args.a = x + (start - u.x.channel * t.repeat) * t.csize + tap * args.row_step + args.high * args.high_step
        args.b = g + (start - u.g.channel) * t.csize
    elif t.swap:
        args.a, args.b = g + (row - u.g.channel) * t.csize, x + (start - u.x.channel) * t.csize
    else:
        args.a = x + (tap - u.x.channel) * t.csize + args.high * args.high_step
        args.b = g + (start - u.g.channel) * t.csize
    args.later, args.later_step = u.later, u.later_step
    u.later += u.later_tile
    u.later_left -= u.later_tile
    if u.later_left <= 0:
        u.later, u.later_left = u.later_still, <ptrdiff_t> INTPTR_MAX
    args.out = u.sum + ((group - u.t0) * u.tap_pitch + (row - u.row0) * u.pitch
                        + (start - u.column0 if t.in_place else (b - u.b0) * 2 * t.k.lanes)) * t.csize
    args.pitch = u.pitch
    if t.depthwise:
        t.k.depthwise[t.slide if rows // high <= SLIDES else 0][high][wide][rows // high](&args)
    elif t.fold:
        t.k.folded[high][wide][rows // high](&args)
    else:
        t.k.outer[wide][rows](&args)
    poll_after(t.call, u.thread, (rows + 8) * 80)


cdef void run_groups(const Task *t, Unit *u, ptrdiff_t g0, ptrdiff_t g1, bint add) noexcept nogil:
    """Some tap groups. Dilated taps that share inputs take one output in so many at a time, then the ones between."""
    cdef ptrdiff_t group, b, i, many, first, row, step = t.ax[2].dilation if t.slide == 1 else 1
    for first in range(u.start[3], u.start[3] + min(step, u.count[3])):
        u.lists[0] = 0
        for group in range(g0, g1):
            u.lists[group - g0 + 1] = u.lists[group - g0] + find_runs(t, u, group, first, step, u.runs + u.lists[group - g0])
        for b in range(u.b0, u.b1):
            for i in range(u.r0, u.r1):
                row = row_start(t, i)
                for group in range(g0, g1):
                    many = u.lists[group - g0 + 1] - u.lists[group - g0]
                    if many or not add:
                        multiply(t, u, group, row, row_start(t, i + 1) - row, b, add, first, step,
                                 u.runs + u.lists[group - g0], many)
        add = True


cdef void run_chunk(const Task *t, Unit *u, bint accumulate) noexcept nogil:
    """Add one chunk's pixels to the unit's sums, or begin with them."""
    cdef ptrdiff_t most = u.count[0] * u.count[1] * u.count[2], g0 = u.t0, g1
    cdef ptrdiff_t batch = 1 if t.source == TAP else max(1, RUNS // most)
    read_g(t, u)
    if t.source != TAP:
        read_x(t, u, 0)
    while g0 < u.t1 and not t.call.cancelled:
        g1 = min(g0 + batch, u.t1)
        if t.source == TAP:
            read_x(t, u, g0)
        run_groups(t, u, g0, g1, accumulate)
        g0 = g1


cdef void plan_ahead(const Task *t, Unit *u, bint last) noexcept nogil:
    """What this chunk's tiles fetch for the next one, if it is read where it lies, by rows and most of their channels.
    They do so evenly: where the tiles that read it first waited for L3, that took a seventh of the time."""
    cdef ptrdiff_t x_bytes = 0, g_bytes = 0, pixels = u.count[0] * u.count[1] * u.count[2] * u.count[3]
    cdef int i
    u.later, u.later_still = t.g.data + u.start[0] * t.g.sn, t.x.data + u.start[0] * t.x.sn
    for i in range(3):
        u.later += u.start[i + 1] * t.g.s[i]
        u.later_still += u.start[i + 1] * t.ax[i].stride * t.x.s[i]
    if not last and t.boxes[3] == 1:
        if t.g_direct and u.g.channels * t.size * 2 > t.g.s[2] > 0:
            g_bytes = pixels * t.g.s[2]
        if t.source == DIRECT and u.x.channels * t.size * 2 > t.x.s[2] > 0:
            x_bytes = pixels * t.ax[1].stride * t.ax[2].stride * t.x.s[2]
    u.later += g_bytes
    u.later_still += x_bytes
    u.later_left = g_bytes
    u.later_step = ceil_div(x_bytes + g_bytes, (u.t1 - u.t0) * (u.r1 - u.r0) * (u.b1 - u.b0) * pixels)
    u.later_tile = u.later_step * pixels
    if u.later_step == 0:
        u.later = u.later_still = NULL


cdef void run_unit(const void *task, ptrdiff_t unit, int thread) noexcept nogil:
    """Some tap groups, tiles of rows and tiles of columns of a group, over one part of the chunks."""
    cdef const Task *t = <const Task *> task
    cdef Unit u
    cdef ptrdiff_t part = unit % t.splits, chunk, rest, row, group
    cdef int i, wide
    unit //= t.splits
    u.b0 = unit % ceil_div(t.column_tiles, t.by_columns) * t.by_columns
    unit //= ceil_div(t.column_tiles, t.by_columns)
    u.r0 = unit % ceil_div(t.row_tiles, t.by_rows) * t.by_rows
    unit //= ceil_div(t.row_tiles, t.by_rows)
    u.t0 = unit % ceil_div(t.tap_groups, t.by_taps) * t.by_taps
    u.group = unit // ceil_div(t.tap_groups, t.by_taps)
    u.b1, u.r1 = min(u.b0 + t.by_columns, t.column_tiles), min(u.r0 + t.by_rows, t.row_tiles)
    u.t1 = min(u.t0 + t.by_taps, t.tap_groups)
    u.row0, u.column0, u.thread = row_start(t, u.r0), tile_start(t, u.b0, &wide), thread
    channels_of(t, &u)
    rest = row_start(t, u.r1) - u.row0
    u.x.room = t.scratch + thread * t.each
    u.g.room = u.x.room + t.x_bytes
    u.sum = u.g.room + t.g_bytes
    u.runs = <pixel_run *> (u.sum + t.sum_bytes)
    u.lists = <ptrdiff_t *> (u.runs + RUNS)
    u.pitch = (u.b1 - u.b0) * 2 * t.k.lanes
    u.tap_pitch = rest * u.pitch
    if t.in_place:
        u.pitch = t.groups * t.mg
        u.tap_pitch = t.rows * u.pitch
        u.sum = t.out + (u.t0 * u.tap_pitch + u.row0 * u.pitch + u.group * t.mg + u.column0) * t.size
    elif t.splits > 1:
        u.pitch = t.column_tiles * 2 * t.k.lanes
        u.tap_pitch = t.rows * u.pitch
        u.sum = (t.partial + part * t.partial_bytes
                 + ((u.group * t.tap_groups + u.t0) * u.tap_pitch + u.row0 * u.pitch + u.b0 * 2 * t.k.lanes) * t.csize)
    for chunk in range(t.chunks * part // t.splits, t.chunks * (part + 1) // t.splits):
        rest = chunk
        for i in range(3, -1, -1):
            u.start[i] = rest % t.boxes[i] * t.box[i]
            rest //= t.boxes[i]
            u.count[i] = min(t.box[i], (t.g.n if i == 0 else t.ax[i - 1].out) - u.start[i])
        plan_ahead(t, &u, chunk + 1 == t.chunks * (part + 1) // t.splits)
        run_chunk(t, &u, chunk > t.chunks * part // t.splits)
        if t.call.cancelled:
            return
    if t.splits == 1 and not t.in_place:
        for group in range(u.t0, u.t1):
            for row in range(u.row0, row_start(t, u.r1)):
                store_row(t, u.group, group, row, u.b0, u.b1,
                          u.sum + ((group - u.t0) * u.tap_pitch + (row - u.row0) * u.pitch) * t.csize)


cdef void channels_of(const Task *t, Unit *u) noexcept nogil:
    """Which channels of x and of g a unit reads, and how far apart gathered pixels lie."""
    cdef int wide
    cdef ptrdiff_t column0 = tile_start(t, u.b0, &wide), column1 = tile_start(t, u.b1 - 1, &wide)
    column1 = min(column1 + wide * t.k.lanes, t.columns)
    u.x.channel, u.x.channels = 0, t.cg
    u.g.channel, u.g.channels = column0, column1 - column0
    if t.depthwise:
        u.x.channel = column0 // t.repeat
        u.x.channels = ceil_div(column1, t.repeat) - u.x.channel
    elif t.swap:
        u.g.channel, u.g.channels = u.row0, row_start(t, u.r1) - u.row0
        u.x.channel, u.x.channels = column0, column1 - column0
    elif not t.fold:
        u.x.channel, u.x.channels = u.row0, row_start(t, u.r1) - u.row0
    u.x.pitch = max(u.x.channels * t.repeat, t.k.lanes if t.depthwise else 1)
    u.g.pitch = max(u.g.channels, 1 if t.swap else t.k.lanes)


cdef void store_row(const Task *t, ptrdiff_t group, ptrdiff_t tap_group, ptrdiff_t row, ptrdiff_t b0, ptrdiff_t b1,
                    const char *sums) noexcept nogil:
    """One row of sums into the filter gradient: of small groups each group's i-th channel, by the filter `turn` later."""
    cdef ptrdiff_t b, start, columns, i, turn = tap_group % t.turns
    cdef ptrdiff_t out_row = t.groups * t.mg * t.size, step = out_row if t.swap else t.turns * t.size
    cdef int wide
    cdef char *to
    tap_group //= t.turns
    for b in range(b0, b1):
        start = tile_start(t, b, &wide)
        columns = min(wide * t.k.lanes, t.columns - start)
        to = t.out + group * t.mg * t.size
        if t.swap:
            to += (tap_group * t.cg + start) * out_row + row * t.size
        else:
            to += (tap_group * t.rows + row) * t.turns * out_row + start * t.size
        for i in range(t.turns):
            t.k.store[t.dtype](to + i * out_row + (i + turn) % t.turns * t.size, step, sums + i * t.csize, t.turns,
                               columns // t.turns)
        sums += 2 * t.k.lanes * t.csize


cdef void store_parts(const void *task, ptrdiff_t row, int thread) noexcept nogil:
    """One row of the parts' sums, added up in order, into the filter gradient."""
    cdef const Task *t = <const Task *> task
    cdef ptrdiff_t part, pitch = t.column_tiles * 2 * t.k.lanes
    cdef char *sums = t.partial + row * pitch * t.csize
    for part in range(1, t.splits):
        t.k.add(sums, sums + part * t.partial_bytes, pitch)
    store_row(t, row // (t.rows * t.tap_groups), row // t.rows % t.tap_groups, row % t.rows, 0, t.column_tiles, sums)


# ---- how a call is cut ------------------------------------------------------------------------------------------

cdef void describe(Task *t, int together) noexcept nogil:
    """What the order of the sums depends on: the problem alone. together: along how many axes the taps may be rows of one
    tile; a folded tile always has those along w."""
    cdef ptrdiff_t lanes = t.k.lanes, taps, high, chunk, n = 1, i, out
    cdef Axis *w = &t.ax[2]
    cdef int wide
    cdef bint short
    t.swap = not t.depthwise and t.mg < lanes <= t.cg
    # The limits keep what must be gathered of a chunk small.
    t.fold = (not t.depthwise and not t.swap and t.cg <= 4 and w.taps > 1 and w.dilation == 1
              and w.stride <= w.taps <= 256 // t.cg and w.stride * t.cg <= 128)
    t.row_taps = w.taps if t.fold or (t.depthwise and together > 0) else 1
    t.columns = t.cg if t.swap else t.mg
    t.column_tiles = vector_blocks(t.columns, lanes)
    tile_start(t, 0, &wide)
    t.most_rows = t.k.rows[wide]
    t.tall = high = 1
    if together > 1 and t.row_taps > 1:
        taps = t.row_taps * (1 if t.depthwise else t.cg)
        if t.ax[1].taps == taps == TILE_HIGH if t.depthwise else taps <= min(SLIDES, t.most_rows) and t.ax[1].taps <= MOST_TALL:
            high = t.k.high[taps]
            t.tall = t.ax[1].taps if high > 1 else 1
    t.slide = 0
    if t.depthwise and t.row_taps > 1 and w.stride < STRIDES and (
            w.dilation == 1 or w.stride == 1 and w.out >= 4 * w.dilation):  # of farther taps runs are too short
        t.slide = w.stride
    t.tap_groups = t.ax[0].taps * t.ax[1].taps * w.taps // (t.row_taps * t.tall) * t.turns
    t.rows = t.mg if t.swap else t.row_taps * t.tall * (1 if t.depthwise else t.cg)
    t.row_tiles = ceil_div(t.tall, high) if t.tall > 1 else ceil_div(t.rows, t.most_rows)
    t.chunks, chunk = 1, DEPTHWISE_CHUNK if t.depthwise else FOLD_CHUNK if t.fold else CHUNK
    if t.fold and t.groups * t.mg * t.size >= APART:  # of a tile's columns L2 has few lines
        chunk //= 4
    if t.turns > 1:
        chunk = max(1, TURNED_CHUNK // (w.stride * t.ax[1].stride))
    for i in range(3, -1, -1):
        out = t.g.n if i == 0 else t.ax[i - 1].out
        short = i == 3 and t.depthwise and t.row_taps > 1
        t.box[i] = ceil_div(out, ceil_div(out, max(1, min(chunk // n, DEPTHWISE_ROW if short else chunk))))
        n = chunk if t.box[i] < out and not short else n * t.box[i]
        t.boxes[i] = ceil_div(out, t.box[i])
        t.chunks *= t.boxes[i]
    t.partial_bytes = t.groups * t.tap_groups * t.rows * t.column_tiles * 2 * lanes * t.csize
    n = ceil_div(TILES, t.groups * t.tap_groups * t.row_tiles * t.column_tiles)
    t.splits = max(1, min(n, min(PARTIAL_BYTES // t.partial_bytes, t.chunks // 2)))
    t.source, t.by_columns = STRIP, 1
    if strip_bytes(t) > STRIP_BYTES and (t.tall > 1 or t.depthwise and together > 0):
        describe(t, 1 if t.tall > 1 else 0)


cdef inline ptrdiff_t box_pixels(const Task *t) noexcept nogil:
    return t.box[0] * t.box[1] * t.box[2] * t.box[3]


cdef inline ptrdiff_t unit_rows(const Task *t) noexcept nogil:
    return ceil_div(t.rows * t.by_rows, t.row_tiles)


cdef ptrdiff_t strip_bytes(const Task *t) noexcept nogil:
    """What x gathered a box (or a tap) at a time takes."""
    cdef ptrdiff_t columns = t.by_columns * 2 * t.k.lanes
    cdef double bytes = t.box[0] * t.csize * <double> (
        columns + 2 * t.repeat if t.depthwise else columns if t.swap else t.cg if t.fold else unit_rows(t))
    cdef int i
    for i in range(3):
        if t.source == TAP and not (t.fold and i == 2):
            bytes *= t.box[i + 1]
        else:
            bytes *= (t.box[i + 1] - 1) * t.ax[i].stride + (t.ax[i].taps - 1) * t.ax[i].dilation + 1
    return <ptrdiff_t> min(bytes, 1e15)


cdef void cut_units(Task *t, int threads) noexcept nogil:
    """How x is read, and what a unit takes: as much as its scratch holds, but something for every thread."""
    cdef bint dense = t.x.sc == t.size or (t.cg == 1 and not t.depthwise), small, apart
    cdef ptrdiff_t sums, tile = 2 * t.k.lanes
    describe(t, 2)
    t.source = STRIP
    apart = (t.x.s[2] >= APART and t.tap_groups == 1 and t.column_tiles >= 8
             and not t.swap and not t.depthwise and not t.fold)
    if (t.dtype < 3 and not t.padded and t.repeat == 1 and dense and not apart
            and t.turns < MANY_TURNS
            and (t.x.s[2] == t.cg * t.size or not t.fold) and (t.columns >= t.k.lanes or not t.depthwise)):
        t.source = DIRECT
    # Tiles that overlap have the same sums, which may be stored twice, but not added to.
    t.in_place = t.dtype < 3 and not t.swap and t.turns == 1 and t.splits == 1 and (
        t.columns % t.k.lanes == 0 or t.chunks == 1 and t.columns >= t.k.lanes and not t.depthwise)
    t.g_direct = t.dtype < 3 and t.turns < MANY_TURNS and (t.g.sc == t.size or t.swap and t.mg == 1) and (t.swap or t.columns >= t.k.lanes)
    t.by_taps, t.by_rows, t.by_columns = t.tap_groups, t.row_tiles, t.column_tiles
    if apart:
        t.by_rows = min(t.by_rows, 4)
    while True:
        sums = t.by_taps * unit_rows(t) * t.by_columns * tile * t.csize
        small = t.splits > 1 or sums <= SUM_BYTES
        if not t.g_direct and not t.swap and box_pixels(t) * t.by_columns * tile * t.csize > STRIP_BYTES // 2:
            small = False
        if t.source != DIRECT and strip_bytes(t) > STRIP_BYTES:
            if t.source == STRIP and not (t.by_columns > 1 if t.swap or t.depthwise else t.by_rows > 1 and not t.fold):
                t.source = TAP
                continue
            small = False
        t.units = (t.splits * t.groups * ceil_div(t.tap_groups, t.by_taps) * ceil_div(t.row_tiles, t.by_rows)
                   * ceil_div(t.column_tiles, t.by_columns))
        if small and (threads == 1 or t.units >= 3 * threads):
            return
        if t.by_columns > 1 and (t.row_taps > 1 or t.by_columns * tile >= unit_rows(t)):
            t.by_columns = (t.by_columns + 1) // 2
        elif t.by_rows > 1 and t.row_taps == 1:
            t.by_rows = (t.by_rows + 1) // 2
        elif t.by_columns > 1:
            t.by_columns = (t.by_columns + 1) // 2
        elif t.by_taps > 1:
            t.by_taps = (t.by_taps + 1) // 2
        else:
            return


cdef void cut(Task *t, int threads) noexcept nogil:
    """All of it, and what scratch each thread takes: with a vector more, which the last load may read."""
    cdef ptrdiff_t columns, rows
    cut_units(t, threads)
    columns, rows = t.by_columns * 2 * t.k.lanes, unit_rows(t)
    t.x_bytes = aligned(0 if t.source == DIRECT else strip_bytes(t)) + 64
    t.g_bytes = aligned(0 if t.g_direct else box_pixels(t) * max(rows if t.swap else columns, t.k.lanes) * t.csize) + 64
    t.sum_bytes = aligned(0 if t.splits > 1 or t.in_place else t.by_taps * rows * columns * t.csize) + 64
    t.each = aligned(t.x_bytes + t.g_bytes + t.sum_bytes + RUNS * sizeof(pixel_run) + (RUNS + 1) * sizeof(ptrdiff_t))


include "winograd.pxi"


cdef class FilterGradient:
    """A Problem's filter gradient as the driver wants it. Immutable; `run` may be called from many threads."""
    cdef Task task  # what every call has
    cdef int ndim
    cdef bint channels_last, small_groups
    cdef readonly object problem, transform
    cdef readonly double flops

    def __cinit__(self, problem, transform=None):
        """transform: the axes that Winograd's transform takes, one or two, its alpha and m; None to sum up directly."""
        cdef Task *t = &self.task
        self.problem, self.transform = problem, transform
        self.ndim, self.channels_last, self.small_groups = problem.ndim, problem.channels_last, problem.small_groups
        t.dtype, t.mode, t.constant = problem.dtype, problem.padding_mode, problem.padding_value
        t.size, t.csize = storage_bytes(t.dtype), compute_bytes(t.dtype)
        t.groups, t.repeat, t.turns = problem.groups, 1, 1
        t.cg, t.mg = problem.in_channels // t.groups, problem.out_channels // t.groups
        self.flops = problem.flops
        for i, axis in enumerate(problem.jobs[0]):
            copy_axis(axis, &t.ax[i])
            t.padded |= leaves_input(&t.ax[i]) and not problem.zeros_outside
        t.depthwise = t.cg == 1 and t.groups > 1
        if t.depthwise:
            t.groups, t.cg, t.mg, t.repeat = 1, t.groups, problem.out_channels, t.mg

    def run(self, cnp.ndarray x, cnp.ndarray g, cnp.ndarray out, int threads, int isa):
        """Write the gradient for input x and output gradient g into out, C-contiguous and of their dtype."""
        cdef Task t = self.task
        cdef Call call
        x = readable(x, self.ndim, self.channels_last, &t.x)
        g = readable(g, self.ndim, self.channels_last, &t.g)
        t.out = <char *> cnp.PyArray_DATA(out)
        if cnp.PyArray_SIZE(out) == 0 or cnp.PyArray_SIZE(g) == 0:
            memset(t.out, 0, cnp.PyArray_NBYTES(out))
            return
        t.k = gradient_kernels_of(isa) + compute_type(t.dtype)
        if self.small_groups and self.transform is None and t.cg <= t.k.lanes:
            t.groups, t.cg, t.mg, t.turns, t.depthwise = 1, t.groups * t.cg, t.groups * t.mg, t.cg, True
        t.call = &call
        threads = team_of((4 if t.depthwise else 1) * self.flops, threads, prepare)  # depthwise, it is all loads
        begin_call(&call, self.problem.op)
        try:
            if self.transform is not None:
                self.sum_tiles(&t, threads)
            if self.transform is None or call.not_finite:
                self.sum_up(&t, threads)
        finally:
            end_call(&call)

    cdef void sum_tiles(self, Task *t, int team) except *:
        """Compute by Winograd in a team of threads; t.call.not_finite where that will not do."""
        cdef Product p
        cdef char *shared
        cdef ptrdiff_t added
        cdef int axis
        memset(&p, 0, sizeof(p))
        p.t, p.tiles, p.chunks, p.xis = t, t.g.n, 1, 1
        transformed, p.alpha, m = self.transform
        p.axes, p.rows_axis, p.columns_axis = len(transformed), min(transformed), max(transformed)
        for axis in range(3):
            p.f[axis].alpha = p.f[axis].m = p.f[axis].r = 1
            p.f[axis].chunks, p.f[axis].tiles = t.ax[axis].taps, t.ax[axis].out
            if axis in transformed:
                p.f[axis].alpha, p.f[axis].m, p.f[axis].r = p.alpha, m, p.alpha + 1 - m
                p.f[axis].chunks = t.ax[axis].stride * ceil_div(ceil_div(t.ax[axis].taps, t.ax[axis].stride), m)
                p.f[axis].tiles = t.ax[axis].dilation * ceil_div(ceil_div(t.ax[axis].out, t.ax[axis].dilation), p.f[axis].r)
                p.xis *= p.alpha
            p.chunks *= p.f[axis].chunks
            p.tiles *= p.f[axis].tiles
        cut_product(&p, team)
        added = ceil_div(p.partial_bytes, ADDED) if p.parts > 1 else 0
        shared = take(t.call, (2 * t.k.lanes + LONG_BLOCK + t.k.lanes) * t.size, "scratch")
        if p.parts > 1:
            p.partial = take(t.call, (p.parts - 1) * p.partial_bytes, "sums")
        memset(shared, 0, 2 * t.k.lanes * t.size)
        p.zeros, p.outside = shared, shared + 2 * t.k.lanes * t.size
        t.k.fill(shared + 2 * t.k.lanes * t.size, LONG_BLOCK + t.k.lanes, t.constant)
        p.scratch = take(t.call, team * p.piece_bytes, "scratch")
        with nogil:
            run_units(run_part, &p, p.units, team, t.call)
            run_units(add_parts, &p, added, team, t.call)

    cdef void sum_up(self, Task *t, int team) except *:
        """Compute in a team of threads."""
        cdef int thread
        cut(t, team)
        if t.splits > 1:
            t.partial = take(t.call, t.splits * t.partial_bytes, "sums")
        t.scratch = take(t.call, team * t.each, "scratch")
        for thread in range(team):  # what is gathered does not fill the last vector
            memset(t.scratch + thread * t.each, 0, t.x_bytes + t.g_bytes)
        with nogil:
            run_units(run_unit, t, t.units, team, t.call)
            if t.splits > 1:
                run_units(store_parts, t, t.groups * t.tap_groups * t.rows, team, t.call)


def activation_gradient(cnp.ndarray y, cnp.ndarray g, cnp.ndarray out, epilogue, int dtype, int threads, int isa):
    """out = g * f'(y), all C-contiguous: f an activation, y its result (silu and gelu: its argument)."""
    cdef const gradient_kernels *k = gradient_kernels_of(isa) + compute_type(dtype)
    cdef ptrdiff_t n = cnp.PyArray_SIZE(out), piece = 1 << 14, i, pieces = ceil_div(n, piece), size = storage_bytes(dtype)
    cdef int activation
    cdef double low, high
    cdef const char *from_y = <const char *> cnp.PyArray_DATA(y)
    cdef const char *from_g = <const char *> cnp.PyArray_DATA(g)
    cdef char *to = <char *> cnp.PyArray_DATA(out)
    activation, low, high = epilogue
    if threads > 1:
        threads = prepare(<int> max(1, min(threads, pieces // 16)))
    for i in prange(pieces, nogil=True, schedule="static", num_threads=threads):
        k.slope[dtype](to + i * piece * size, from_g + i * piece * size, from_y + i * piece * size,
                       min(piece, n - i * piece), activation, low, high)
