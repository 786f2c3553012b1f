# A unit of work: a box of one job by some of its columns, tile by tile, or row by row where no window leaves the input and
# rows are long enough for tiles side by side.

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
