# The filter gradient by Winograd: dw = A^T [sum over tiles of (B^T x B) (G g G^T)] A.
#
# Of the taps of a filter, m x m ("outputs" of the transform) meet tiles of r x r gradients (its "filter"),
# alpha = m + r - 1: 3x3 taps and tiles of 4x4 take 36 multiplications of 144. Along an axis of more taps they go in chunks
# of m, every stride-th of them; an axis that is not transformed has chunks of one tap. A unit of work is a chunk's sum for
# some channels by some columns: tiles are transformed a box at a time into V[xi][tile][channel] and W[xi][tile][column], and each xi adds
# V[xi]^T W[xi] to its sum by the same register tiles as the sums over pixels. Few units are made more by parts of the
# tiles that add up on their own and then in order: the order of every sum depends on the problem alone.
#
# NaN and infinity would reach taps that they do not belong to: where the result has some, the caller sums up directly.

cdef enum:
    MOST_ALPHA = 6
    WIDE_BOX = 56             # tiles transformed at a time where two axes are,
    LONG_BOX = 112            # and where one is
    WIDE_BLOCK = 64           # channels, or columns, of a unit at most: V, W and the sums take 1.6 MB,
    LONG_BLOCK = 128          # or 1.1
    PARTS = 4                 # so many units make work for several threads
    PARTS_BYTES = 2 << 20     # of all the parts together
    ADDED = 1 << 14           # bytes of them that are added up at a time
    TILES_AHEAD = 2           # whose pixels are on their way


cdef struct Transform:
    # What becomes of one axis: (alpha, m, r), or 1, 1, 1.
    ptrdiff_t alpha, m, r, chunks, tiles


cdef struct Piece:
    # One thread's scratch.
    char *v                  # [xi][tile][channel]
    char *w                  # [xi][tile][column]
    char *sum                # [xi][channel][column]
    char *pixels             # a tile's, where they are gathered
    char *taps               # of a channel, where they do not fit into the gradient


cdef struct Product:
    # Everything a unit of work needs to know.
    const Task *t
    Transform f[3]
    int axes, rows_axis, columns_axis, alpha, xis
    ptrdiff_t ahead                             # outputs from a tile to the one whose pixels are fetched meanwhile
    ptrdiff_t chunks, tiles, box, parts
    ptrdiff_t blocks, wide, v_pitch             # of channels
    ptrdiff_t column_blocks, columns, w_pitch   # of columns
    ptrdiff_t v_plane, w_plane, sum_plane       # from xi to xi + 1, in bytes
    ptrdiff_t splits, units                     # of the columns' blocks
    char *partial                               # the gradients of all parts but the first
    ptrdiff_t partial_bytes                     # of a part
    const char *zeros                           # a tile's row
    const char *outside                         # a run of the padding constant
    char *scratch                               # each thread's
    ptrdiff_t piece_bytes                       # and how much that is


cdef struct Part:
    # One unit of work.
    ptrdiff_t group, part, channel, channels, column, columns
    ptrdiff_t[3] tap                            # the first one


cdef ptrdiff_t place_piece(const Product *p, char *start, Piece *s) noexcept nogil:
    """One thread's scratch from start on; how many bytes it takes."""
    cdef ptrdiff_t size = p.t.size, spare = 2 * p.t.k.lanes * size
    s.v, s.w = start, start + p.xis * p.v_plane
    s.sum = s.w + p.xis * p.w_plane
    s.pixels = s.sum + p.xis * p.sum_plane
    s.taps = s.pixels + p.xis * max(p.v_pitch, p.w_pitch) * size + spare
    return aligned(s.taps + 4 * 4 * spare - start)


# ---- one tile ---------------------------------------------------------------------------------------------------

cdef void read_pixels(const Product *p, const ptrdiff_t[3][MOST_ALPHA] place, const char *x, ptrdiff_t channels,
                      const char **pixels, char *room) noexcept nogil:
    """Where each input of a tile is: in the array, gathered into room where channels lie apart, or outside."""
    cdef const Task *t = p.t
    cdef ptrdiff_t rows = p.alpha if p.axes == 2 else 1, i, j, at
    cdef ptrdiff_t apart = t.ax[p.columns_axis].dilation * t.ax[p.columns_axis].stride
    cdef ptrdiff_t step = apart * t.x.s[p.columns_axis]
    cdef int axis
    cdef ptrdiff_t pitch = p.v_pitch * t.size
    cdef const ptrdiff_t *along = place[p.columns_axis]
    cdef const char *row
    cdef bint inside = along[0] >= 0 and along[p.alpha - 1] - along[0] == (p.alpha - 1) * apart
    for i in range(rows):
        row = x
        for axis in range(3):
            at = 0 if axis == p.columns_axis else place[axis][i if axis == p.rows_axis else 0]
            if at < 0:
                row = NULL
                break
            row += at * t.x.s[axis]
        if row != NULL and inside and t.x.sc != t.size:
            t.k.gather[0](room, p.v_pitch, 1, row + along[0] * t.x.s[p.columns_axis], p.alpha, step, channels, t.x.sc)
        for j in range(p.alpha):
            pixels[j] = p.outside
            if row != NULL and along[j] >= 0:
                pixels[j] = row + along[j] * t.x.s[p.columns_axis]
                if t.x.sc != t.size:
                    if not inside:
                        t.k.gather[0](room + j * pitch, p.v_pitch, 1, pixels[j], 1, 0, channels, t.x.sc)
                    pixels[j] = room + j * pitch
        pixels += p.alpha
        room += p.alpha * pitch


cdef void transform_tile(const Product *p, const Part *u, bint input, ptrdiff_t tile, ptrdiff_t at,
                         const Piece *s) noexcept nogil:
    """G g G^T of one tile, the at-th of its box, and B^T x B if wanted."""
    cdef const Task *t = p.t
    cdef ptrdiff_t[3][MOST_ALPHA] place
    cdef ptrdiff_t[3] left
    cdef ptrdiff_t n, i, first
    cdef const char *g = t.g.data + (u.group * t.mg + u.column) * t.g.sc
    cdef const char *pixels[MOST_ALPHA * MOST_ALPHA]
    cdef const Axis *a
    cdef const Transform *f
    cdef int axis
    cdef input_args x
    cdef filter_args w
    for axis in range(2, -1, -1):
        a = &t.ax[axis]
        f = &p.f[axis]
        n = tile % f.tiles
        tile //= f.tiles
        first = first_output(n, a.dilation, f.r)
        left[axis] = min(f.r, ceil_div(max(0, a.out - first), a.dilation))
        g += first * t.g.s[axis]
        for i in range(f.alpha):
            place[axis][i] = map_index(first * a.stride + (u.tap[axis] + i * a.stride) * a.dilation - a.lo, a.size, t.mode)
    if input:
        read_pixels(p, place, t.x.data + tile * t.x.sn + (u.group * t.cg + u.channel) * t.x.sc, u.channels, pixels,
                    s.pixels)
        x.pixels, x.channels, x.ahead = pixels, u.channels, 0
        if t.x.sc == t.size:
            x.ahead = p.ahead * t.ax[2].stride * t.x.s[2]
        x.v, x.xi = s.v + at * p.v_pitch * t.size, p.v_plane
        t.k.winograd.input[p.alpha - 4][p.axes - 1](&x)

    g += tile * t.g.sn
    f = &p.f[p.columns_axis]
    w.ahead, w.taps_h, w.taps_w = p.ahead * t.g.s[2], 1, <int> left[p.columns_axis]
    w.step_h, w.step_w = 0, t.ax[p.columns_axis].dilation * t.g.s[p.columns_axis]
    if p.axes == 2:
        w.taps_h, w.step_h = <int> left[p.rows_axis], t.ax[p.rows_axis].dilation * t.g.s[p.rows_axis]
    w.w = g
    if t.g.sc != t.size:
        for i in range(w.taps_h):
            t.k.gather[0](s.pixels + i * f.r * p.w_pitch * t.size, p.w_pitch, 1, g + i * w.step_h, w.taps_w, w.step_w,
                          u.columns, t.g.sc)
        w.w, w.step_w, w.ahead = s.pixels, p.w_pitch * t.size, 0
        w.step_h = f.r * w.step_w
    w.columns, w.width = u.columns, p.w_pitch
    w.u, w.xi = s.w + at * p.w_pitch * t.size, p.w_plane
    t.k.winograd.filter[p.alpha - 4][f.m][p.axes - 1](&w)


# ---- one unit ---------------------------------------------------------------------------------------------------

cdef void multiply_tiles(const Product *p, const Part *u, ptrdiff_t tiles, bint accumulate, const Piece *s) noexcept nogil:
    """sum[xi] += V[xi]^T W[xi] of a box of tiles."""
    cdef const Task *t = p.t
    cdef ptrdiff_t lanes = t.k.lanes, xi, column, i, row, row_tiles
    cdef pixel_run[LONG_BOX] runs
    cdef tile_args args
    cdef int wide
    runs[0].a, runs[0].b, runs[0].count = 0, 0, tiles
    args.runs, args.count, args.row_step, args.accumulate = runs, 1, 0, accumulate
    args.later = NULL
    args.a_step, args.b_step, args.pitch = p.v_pitch * t.size, p.w_pitch * t.size, p.w_pitch
    for xi in range(p.xis):
        column = 0
        while column < u.columns:
            wide = 2 if u.columns - column > lanes else 1
            row_tiles = ceil_div(u.channels, t.k.rows[wide])
            if u.channels // row_tiles < 4 and args.count < tiles:
                # Fewer than four rows have several sums each of a run, but the order may not depend on how threads share.
                args.count = tiles
                for i in range(tiles):
                    runs[i].a, runs[i].b, runs[i].count = i * args.a_step, i * args.b_step, 1
            for i in range(row_tiles):
                row = u.channels * i // row_tiles
                args.a = s.v + xi * p.v_plane + row * t.size
                args.b = s.w + xi * p.w_plane + column * t.size
                args.out = s.sum + xi * p.sum_plane + (row * p.w_pitch + column) * t.size
                t.k.outer[wide][u.channels * (i + 1) // row_tiles - row](&args)
            column += wide * lanes


cdef void store_taps(const Product *p, const Part *u, const Piece *s) noexcept nogil:
    """A^T sum A into the gradient, channel by channel."""
    cdef const Task *t = p.t
    cdef ptrdiff_t lanes = t.k.lanes, row = t.groups * t.mg * t.size, step = t.cg * row, c, column, taken, i, j, k
    cdef ptrdiff_t m = p.f[p.columns_axis].m, rows = m if p.axes == 2 else 1
    cdef const Axis *columns = &t.ax[p.columns_axis]
    cdef ptrdiff_t[3] tap_step
    cdef ptrdiff_t[4 * 4] tap               # from the chunk's first tap, or -1
    cdef char *base = t.out if u.part == 0 else p.partial + (u.part - 1) * p.partial_bytes
    cdef char *out[4 * 4]
    cdef output_args args
    for i in range(2, -1, -1):
        tap_step[i] = step
        step *= t.ax[i].taps
        base += u.tap[i] * tap_step[i]
        tap_step[i] *= t.ax[i].stride
    for i in range(rows):
        for j in range(m):
            tap[i * m + j] = j * tap_step[p.columns_axis] + (i * tap_step[p.rows_axis] if p.axes == 2 else 0)
            if (u.tap[p.columns_axis] + j * columns.stride >= columns.taps
                    or p.axes == 2 and u.tap[p.rows_axis] + i * t.ax[p.rows_axis].stride >= t.ax[p.rows_axis].taps):
                tap[i * m + j] = -1
    args.xi, args.bias, args.clamp, args.low, args.high = p.sum_plane, p.zeros, 0, 0, 0
    args.out, args.added, args.ahead = out, NULL, 0
    base += u.channel * row + (u.group * t.mg + u.column) * t.size
    for c in range(u.channels):
        for k in range(ceil_div(u.columns, 2 * lanes)):
            column = 2 * lanes * k
            args.wide = 2 if u.columns - column > lanes else 1
            taken = min(args.wide * lanes, u.columns - column)
            for i in range(rows * m):
                out[i] = base + tap[i] + column * t.size
                if tap[i] < 0 or taken < args.wide * lanes:
                    out[i] = s.taps + i * 2 * lanes * t.size
            args.m = s.sum + (c * p.w_pitch + column) * t.size
            if t.k.winograd.output[p.alpha - 4][m][p.axes - 1](&args):
                t.call.not_finite = 1
            if taken < args.wide * lanes:
                for i in range(rows * m):
                    if tap[i] >= 0:
                        memcpy(base + tap[i] + column * t.size, out[i], taken * t.size)
        base += row


cdef void run_part(const void *task, ptrdiff_t unit, int thread) noexcept nogil:
    """A chunk of taps of some channels by some blocks of columns, summed over a part of the tiles."""
    cdef const Product *p = <const Product *> task
    cdef Piece s
    cdef const Task *t = p.t
    cdef ptrdiff_t boxes = ceil_div(p.tiles, p.box), box, first, tiles, i, block, end  # first: the box that V holds
    cdef Part u
    cdef int axis
    block = p.column_blocks * (unit % p.splits) // p.splits
    end = p.column_blocks * (unit % p.splits + 1) // p.splits
    unit //= p.splits
    u.channel = unit % p.blocks * p.wide
    u.channels = min(p.wide, t.cg - u.channel)
    unit //= p.blocks
    for axis in range(2, -1, -1):
        u.tap[axis] = first_tap(unit % p.f[axis].chunks, t.ax[axis].stride, p.f[axis].m)
        unit //= p.f[axis].chunks
    u.part, u.group = unit % p.parts, unit // p.parts
    place_piece(p, p.scratch + thread * p.piece_bytes, &s)
    first = -1
    while block < end:
        u.column = block * p.columns
        u.columns = min(p.columns, t.mg - u.column)
        for box in range(boxes * u.part // p.parts, boxes * (u.part + 1) // p.parts):
            tiles = min(p.box, p.tiles - box * p.box)
            for i in range(tiles):
                transform_tile(p, &u, box != first, box * p.box + i, i, &s)
            first = box
            multiply_tiles(p, &u, tiles, box > boxes * u.part // p.parts, &s)
            if poll(t.call, thread) or t.call.not_finite:
                return
        store_taps(p, &u, &s)
        block += 1


cdef void add_parts(const void *task, ptrdiff_t piece, int thread) noexcept nogil:
    """A piece of the parts' gradients, added up in order."""
    cdef const Product *p = <const Product *> task
    cdef ptrdiff_t start = piece * ADDED, part
    for part in range(p.parts - 1):
        p.t.k.add(p.t.out + start, p.partial + part * p.partial_bytes + start,
                  min(ADDED, p.partial_bytes - start) // p.t.size)


# ---- how a call is cut ------------------------------------------------------------------------------------------

cdef void cut_product(Product *p, int threads) noexcept nogil:
    """Boxes and parts by the problem alone; blocks of channels and columns also by the threads."""
    cdef const Task *t = p.t
    cdef ptrdiff_t lanes = t.k.lanes, units, block = WIDE_BLOCK if p.axes == 2 else LONG_BLOCK
    cdef Piece s
    p.box = WIDE_BOX if p.axes == 2 else LONG_BOX
    p.box = ceil_div(p.tiles, ceil_div(p.tiles, p.box))  # of one size, nearly
    p.partial_bytes = t.ax[0].taps * t.ax[1].taps * t.ax[2].taps * t.cg * t.groups * t.mg * t.size
    units = t.groups * p.chunks * ceil_div(t.cg, block) * ceil_div(t.mg, block)
    p.parts = max(1, min(min(ceil_div(PARTS, units), ceil_div(p.tiles, p.box) // 2), 1 + PARTS_BYTES // p.partial_bytes))
    p.blocks, p.columns = ceil_div(t.cg, block), block
    while True:
        p.wide = ceil_div(t.cg, p.blocks)
        p.blocks = ceil_div(t.cg, p.wide)
        p.column_blocks = ceil_div(t.mg, p.columns)
        units = t.groups * p.parts * p.chunks * p.blocks
        # One box stays for all the columns that its unit has.
        p.splits = p.column_blocks if p.box < p.tiles else min(p.column_blocks, ceil_div(2 * threads, units))
        p.units = units * p.splits
        if threads == 1 or p.units >= 2 * threads:
            break
        if p.columns > 2 * lanes and p.columns >= p.wide and t.mg > 2 * lanes:
            p.columns = ceil_div(p.columns // 2, 2 * lanes) * 2 * lanes
        elif p.wide > lanes:
            p.blocks *= 2
        else:
            break
    p.ahead = first_output(TILES_AHEAD, t.ax[2].dilation, p.f[2].r)
    p.v_pitch = ceil_div(p.wide, lanes) * lanes
    p.w_pitch = ceil_div(min(p.columns, t.mg), lanes) * lanes
    p.v_plane, p.w_plane = odd_lines(p.box * p.v_pitch * t.size), odd_lines(p.box * p.w_pitch * t.size)
    p.sum_plane = odd_lines(p.wide * p.w_pitch * t.size)
    p.piece_bytes = place_piece(p, <char *> &s, &s)
