# A unit of work: a box of one job by some of its columns, tile by tile, or row by row where no window leaves the input and
# rows are long enough for tiles side by side.

# ---- a box ------------------------------------------------------------------------------------------------------

cdef struct Line:
    # Pixels side by side: where the first one's window starts, where it goes and what is added to it; and how many.
    const char *base
    char *out
    char *residual
    ptrdiff_t count


cdef struct Box:
    # Pixels (n, d, h, w) of a job for a group, and where they lie: read from the input, or from a strip.
    const Job *job
    const Tiling *t
    ptrdiff_t group
    bint strip               # as the tiling's, but for the part that is read where it lies
    int thread               # that computes it
    bint inside              # no window leaves what is read
    ptrdiff_t[4] start, count
    Line line                # the first pixel,
    ptrdiff_t[4] step, out_step, residual_step  # bytes from pixel to pixel,
    ptrdiff_t[3] tap_step    # and from tap to tap


cdef void place_box(const Run *r, Box *b, char *area) noexcept nogil:
    """Where a box lies, of which are known the job, the group and its pixels; into the area if it is a strip."""
    cdef const JobAxis *a
    cdef ptrdiff_t first, place
    cdef int i
    cdef Line *line = &b.line
    line.base = r.x.data + b.start[0] * r.x.sn + b.group * r.cg * r.x.sc
    line.out = r.out.data + b.start[0] * r.out.sn + b.group * r.mg * r.out.sc
    line.residual = r.residual.data + b.start[0] * r.residual.sn + b.group * r.mg * r.residual.sc
    b.step[0], b.out_step[0], b.residual_step[0] = r.x.sn, r.out.sn, r.residual.sn
    b.inside = not b.strip
    for i in range(3):
        a = &b.job.ax[i]
        first, place = b.start[i + 1] * a.stride - a.lo, a.out_start + b.start[i + 1] * a.out_step
        b.inside &= 0 <= first and first + span_of(a, b.count[i + 1]) <= a.size
        b.step[i + 1], b.tap_step[i] = a.stride * r.x.s[i], a.dilation * r.x.s[i]
        line.base += first * r.x.s[i]
        line.out += place * r.out.s[i]
        line.residual += place * r.residual.s[i]
        b.out_step[i + 1], b.residual_step[i + 1] = a.out_step * r.out.s[i], a.out_step * r.residual.s[i]
    if b.strip:
        line.base, b.inside = area, True
        gather_strip(r, b, area)


cdef void gather_strip(const Run *r, Box *b, char *area) noexcept nogil:
    """The input of a box in one piece, every position read once; along an axis of far taps, a piece for each output."""
    cdef Gathering g
    cdef const JobAxis *a
    cdef ptrdiff_t[3] first, step, extent
    cdef ptrdiff_t[4] c, pieces
    cdef ptrdiff_t piece = r.pitch * r.csize, bytes
    cdef int i
    memcpy(pieces, b.count, sizeof(pieces))
    for i in range(2, -1, -1):
        a = &b.job.ax[i]
        extent[i], step[i], b.tap_step[i] = a.taps, a.dilation, piece
        if not far_taps(a, b.count[i + 1]):
            pieces[i + 1], extent[i], step[i] = 1, extent_of(a, b.count[i + 1]), 1
            b.step[i + 1], b.tap_step[i] = a.stride * piece, a.dilation * piece
        piece *= extent[i]
    bytes = piece
    for i in range(3, -1, -1):
        if pieces[i] > 1:
            b.step[i] = bytes
        bytes *= pieces[i]
    g.gather, g.fill, g.mode, g.csize, g.constant = r.k.gather[r.dtype], r.k.fill, r.mode, r.csize, r.constant
    g.channels, g.repeat, g.pitch = r.cg, r.repeat, r.pitch
    c[0] = c[1] = c[2] = c[3] = 0
    while c[0] < b.count[0]:
        for i in range(3):
            first[i] = (b.start[i + 1] + c[i + 1]) * b.job.ax[i].stride - b.job.ax[i].lo
        gather_box(&g, &r.x, r.x.data + (b.start[0] + c[0]) * r.x.sn + b.group * r.cg * r.x.sc, 1, first, step, extent, area)
        area += piece
        c[3] += 1
        carry(c, pieces)


cdef inline void find_line(const Box *b, const ptrdiff_t *c, ptrdiff_t count, Line *line) noexcept nogil:
    """So many pixels of the box from c on."""
    cdef int i
    line[0] = b.line
    line.count = count
    for i in range(4):
        line.base += c[i] * b.step[i]
        line.out += c[i] * b.out_step[i]
        line.residual += c[i] * b.residual_step[i]


cdef inline void carry(ptrdiff_t *c, const ptrdiff_t *count) noexcept nogil:
    """From behind the end of a row to the next one's start."""
    cdef int i
    for i in range(3, 0, -1):
        if c[i] < count[i]:
            break
        c[i] = 0
        c[i - 1] += 1


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


cdef inline void add_line(const Run *r, const Box *b, const Line *line, int at, Tile *tile) noexcept nogil:
    """A line of pixels into a tile, which has some already."""
    cdef int i
    for i in range(<int> line.count):
        tile.base[at + i] = line.base + i * b.step[3]
        tile.out[at + i] = line.out + i * b.out_step[3]
    if r.residual.data != NULL:
        for i in range(<int> line.count):
            tile.residual[at + i] = line.residual + i * b.residual_step[3]
    for i in range(tile.rows, tile.full):
        tile.base[i] = tile.base[0]


cdef void locate(const Run *r, const Box *b, ptrdiff_t *c, Tile *tile) noexcept nogil:
    """The tile's pixels from c on, a stretch of a row at a time. c moves on to the next tile's first pixel."""
    cdef const JobAxis *a
    cdef ptrdiff_t[3] corner
    cdef Line line
    cdef int i = 0, j
    tile.inside, tile.stretches = True, 0
    while i < tile.rows:
        find_line(b, c, min(tile.rows - i, b.count[3] - c[3]), &line)
        add_line(r, b, &line, i, tile)
        if not b.inside or r.exact:
            for j in range(3):
                a = &b.job.ax[j]
                corner[j] = (b.start[j + 1] + c[j + 1]) * a.stride - a.lo
                tile.inside &= 0 <= corner[j] and corner[j] + span_of(a, line.count if j == 2 else 1) <= a.size
            tile.first[tile.stretches] = i
            tile.stretches += 1
            for j in range(<int> line.count):
                tile.at[i + j][0], tile.at[i + j][1] = corner[0], corner[1]
                tile.at[i + j][2] = corner[2] + j * a.stride
        i += <int> line.count
        c[3] += line.count
        carry(c, b.count)
    tile.first[tile.stretches] = tile.rows


cdef inline void tap_of(const Job *job, ptrdiff_t tap, ptrdiff_t *k) noexcept nogil:
    k[2] = tap % job.ax[2].taps
    tap //= job.ax[2].taps
    k[1] = tap % job.ax[1].taps
    k[0] = tap // job.ax[1].taps


cdef void tap_offsets(const Box *b, ptrdiff_t first, ptrdiff_t runs, ptrdiff_t *offset) noexcept nogil:
    """How far each tap's pixel lies from the window's corner, in bytes."""
    cdef ptrdiff_t i
    cdef ptrdiff_t[3] k
    cdef int j
    for i in range(runs):
        tap_of(b.job, (first + i) * (b.job.ax[2].taps if b.t.fold else 1), k)
        offset[i] = 0
        for j in range(3):
            offset[i] += k[j] * b.tap_step[j]


cdef void step_offsets(const Run *r, const Tiling *t, const Scratch *s) noexcept nogil:
    """The same for each step of short runs."""
    cdef ptrdiff_t i
    for i in range(t.runs * t.run):
        s.step_offset[i] = s.tap_offset[i // t.run] + i % t.run * r.csize


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
    args.a, args.a_step, args.offset = s.a, TILE_ROWS, ZEROS
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


cdef void chunked(const Run *r, const Box *b, Tile *tile, tile_args *args, const tile_fn *kernels,
                  Scratch *s) noexcept nogil:
    """A tile some taps at a time, adding up in its buffer: where they are more than a column of pointers holds, and of
    filters with NaN or infinite values, which the zeros of the padding must not meet: those go tap by tap and pixel by
    pixel, leaving out what lies outside the input."""
    cdef ptrdiff_t first = 0, most = 1 if r.exact else RUNS
    cdef char *const *out = args.out
    cdef ptrdiff_t[3] k
    cdef int i
    args.accumulate = 1
    while first < b.t.runs:
        args.runs = min(most, b.t.runs - first)
        tap_offsets(b, first, args.runs, s.tap_offset)
        if r.exact:
            tap_of(b.job, first, k)
            args.a_step, args.offset = 0, s.tap_offset
            for i in range(tile.rows):
                if read_at(r, b.job, tile, i, k) != NULL:
                    args.a, args.out = tile.base + i, out + i
                    kernels[1](args)
        else:
            point(r, b.job, tile, first, args.runs, args, s)
            kernels[tile.rows](args)
        args.b += args.runs * args.run * args.ldb * r.csize
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


cdef struct Block:
    # Columns that are computed together.
    int wide                 # vectors of them,
    ptrdiff_t start, taken   # from which one on, and how many there are
    int spare                # of their tiles; -1 where these cannot store just what is there
    const char *bias         # where it is still to come when a tile is done, with the activation; else NULL


cdef inline void find_block(const Run *r, const Box *b, ptrdiff_t number, Block *of, tile_args *args) noexcept nogil:
    of.start = block_start(r, b.t.columns, number, &of.wide)
    of.taken = min(of.wide * r.k.lanes, b.t.columns - of.start)
    of.spare = spare_bytes(r.k, of.taken, of.wide, r.csize)
    args.b = filters_at(r, b.job, b.t, b.group, number, of.start, of.wide * r.k.lanes, &args.ldb)


cdef inline void end_tiles(const Run *r, const Box *b, Block *of, bint plain, bint deferred, char **residual,
                           tile_args *args) noexcept nogil:
    """How a block's tiles end: stored as they are or not, with bias, residual and activation or not."""
    cdef const char *bias = r.bias + (b.group * b.t.columns + of.start) * r.csize
    deferred |= r.deferred or r.residual.data != NULL and not plain
    of.bias = bias if deferred else NULL
    args.bias, args.added = <const char *> ZEROS if deferred else bias, NULL if deferred or r.residual.data == NULL else residual
    args.clamp, args.low, args.high = r.activation == CLAMP and not deferred, r.low, r.high
    args.bias_row, args.accumulate, args.spare = 0, 0, of.spare if plain else 0


cdef inline ptrdiff_t broad_blocks(const Run *r, const Box *b, ptrdiff_t number, ptrdiff_t end, int rows,
                                   Block *of) noexcept nogil:
    """How many blocks a tile of one row or two takes at a time, so that eight FMAs are under way; 1 where they are too few."""
    cdef ptrdiff_t blocks = 4 // rows, columns = 2 * r.k.lanes, left = b.t.columns - of.start, spare
    while blocks > 1:
        # The last one packed as wide as the others, or, in place, not moved back.
        if number + blocks <= end and left > blocks * columns - (1 if b.t.in_place else r.k.lanes):
            spare = spare_bytes(r.k, min(left, blocks * columns), 2 * blocks, r.csize)
            if spare >= 0:
                of.taken, of.spare = min(left, blocks * columns), spare
                break
        blocks //= 2
    return blocks


cdef ptrdiff_t run_tile(const Run *r, const Box *b, ptrdiff_t number, ptrdiff_t end, Tile *tile, tile_args *pointed,
                        bint in_pieces, Scratch *s) noexcept nogil:
    """A tile's next block of columns, or several of one row or two, and their end: stored as they are, or through a buffer.
    Returns how many."""
    cdef Block block
    cdef ptrdiff_t row = 2 * r.k.lanes * r.csize
    cdef ptrdiff_t blocks = 1
    cdef bint plain
    cdef tile_fn *kernels
    cdef char *out[TILE_ROWS]
    cdef char *residual[TILE_ROWS]
    cdef tile_args args = pointed[0]
    cdef int i
    find_block(r, b, number, &block, &args)
    kernels = <tile_fn *> r.k.depthwise[block.wide] if r.depthwise else <tile_fn *> r.k.gemm[block.wide]
    plain = r.plain_store and not in_pieces
    if plain and tile.rows < 3 and not r.depthwise:
        blocks = broad_blocks(r, b, number, end, tile.rows, &block)
        kernels = <tile_fn *> r.k.broad[blocks] if blocks > 1 else kernels
    plain &= block.spare >= 0
    args.panel = row if b.t.in_place else filter_bytes(r, b.job)
    end_tiles(r, b, &block, plain, in_pieces, residual, &args)
    if r.residual.data != NULL:
        for i in range(tile.full):
            residual[i] = tile.residual[min(i, tile.rows - 1)] + block.start * r.residual.sc
    if plain and tile.rows == tile.full:
        for i in range(tile.full):
            out[i] = tile.out[i] + block.start * r.out.sc
    else:
        for i in range(tile.full):
            out[i] = tile.out[i] + block.start * r.out.sc if plain and i < tile.rows else s.tile + i * row
    args.out, args.column = out, block.start if r.depthwise else 0
    args.ahead, args.pixel = number == 0 and not b.strip and r.cg >= FOLD_CHANNELS, b.step[3]
    args.run = b.t.run
    if in_pieces:
        memset(s.tile, 0, tile.full * row)
        chunked(r, b, tile, &args, kernels, s)
    else:
        args.runs = max(0, tile.end_run - tile.first_run)
        args.a += tile.first_run * args.a_step
        args.b += tile.first_run * args.run * args.ldb * r.csize
        kernels[tile.rows](&args)
    if plain:
        return blocks
    for i in range(tile.rows):
        out[i] = tile.out[i] + block.start * r.out.sc
    finish(r, s.tile, tile.rows, block.taken, out, residual, block.bias)
    return 1


cdef inline ptrdiff_t tile_steps(ptrdiff_t pixels, int full) noexcept nogil:
    """How long the tiles of so many pixels take, in pixels of full ones: a small one's filters come no faster."""
    cdef ptrdiff_t rest = pixels % full + (full if pixels >= full else 0), steps = pixels - rest
    cdef int rows
    while rest > 0:
        rows = tile_rows(rest, full)
        steps += full if rows > 8 else min(full, 9 if rows > 4 else 5 if rows > 2 else 2 * rows)
        rest -= rows
    return steps


cdef inline ptrdiff_t filter_bytes(const Run *r, const Job *job) noexcept nogil:
    """Of one block of columns."""
    return job.taps * (1 if r.depthwise else r.cg) * 2 * r.k.lanes * r.csize


cdef inline ptrdiff_t input_bytes(const Job *job) noexcept nogil:
    """The most of a box's input that several blocks of filters meet in turn."""
    return STREAM_BYTES if job.taps == 1 else INPUT_BYTES


cdef struct Pass:
    # A block of columns along lines, or several that are stored as they are; and the tiles that a kernel takes next.
    ptrdiff_t number
    Block block
    bint narrow, plain
    int rows
    ptrdiff_t later          # bytes of the next block's filters that a line of one pixel would fetch meanwhile
    Line some
    char *place


cdef void find_pass(const Run *r, const Box *b, ptrdiff_t number, ptrdiff_t blocks, ptrdiff_t shortest, Pass *of,
                    tile_args *args) noexcept nogil:
    """Of lines of so many pixels at least."""
    cdef ptrdiff_t row = 2 * r.k.lanes * r.csize
    cdef Block *block = &of.block
    find_block(r, b, number, block, args)
    # Few columns: pixels as lanes, where the channels are so many that turning them takes less than it saves.
    of.narrow = (4 * block.taken <= r.k.lanes <= shortest and block.taken <= NARROW
                 and args.run >= (2 if block.spare >= 0 else 1) * r.k.lanes)
    of.number, of.rows = number, r.k.lanes if of.narrow else r.k.rows[block.wide]
    of.plain = r.plain_store and (r.residual.data == NULL if of.narrow else block.spare >= 0)
    end_tiles(r, b, block, of.plain, False, &of.some.residual, args)
    args.blocks, args.panel = blocks, row if b.t.in_place else filter_bytes(r, b.job)
    args.pixel, args.added_pixel, args.out_pixel = b.step[3], b.residual_step[3], b.out_step[3] if of.plain else row
    args.a, args.out = &of.some.base, &of.place
    # Meanwhile, the next block's filters come to L2 by and by: at once they would take what L3 gives.
    args.later, args.later_step, of.later = args.b, 0, 0
    if number < b.t.blocks - 1 and not b.t.in_place:
        args.later, of.later = args.b + b.job.taps * r.cg * row, row * of.rows


cdef void run_line(const Run *r, const Box *b, Pass *of, const Line *line, tile_args *args, Scratch *s) noexcept nogil:
    """A line of pixels: full tiles, and what is left."""
    cdef ptrdiff_t first = 0, left
    cdef int i, rows = of.rows, size
    cdef Line *some = &of.some
    cdef char *out[LINE_ROWS]
    cdef char *residual[LINE_ROWS]
    if of.later > 0:
        args.later_step = max(1, of.later // line.count)
    while first < line.count:
        left = line.count - first
        size = rows if of.narrow or 8 < left < rows else min(rows, tile_size(tile_rows(left, rows), rows))
        if left < size:  # moved back: as fast as a tile of fewer pixels
            first, left = line.count - size, size
        args.tiles = 1
        if of.plain and size == rows:
            args.tiles = left // rows
            if tile_rows(rows + left % rows, rows) < rows:
                args.tiles = max(1, args.tiles - 1)
        some.base = line.base + first * b.step[3]
        some.out = line.out + first * b.out_step[3] + of.block.start * r.out.sc
        some.residual = line.residual + first * b.residual_step[3] + of.block.start * r.residual.sc
        of.place = some.out if of.plain else s.tile
        (r.k.narrow[of.block.taken] if of.narrow else r.k.along[of.block.wide][size])(args)
        if not of.plain:
            for i in range(size):
                out[i], residual[i] = some.out + i * b.out_step[3], some.residual + i * b.residual_step[3]
            finish(r, s.tile, size, of.block.taken, out, residual, of.block.bias)
        first += args.tiles * size


cdef inline ptrdiff_t steps_of(const Run *r, const Box *b, ptrdiff_t pixels) noexcept nogil:
    """What so many pixels of a block of columns take."""
    return pixels * (b.job.taps * r.cg + 16)


cdef bint run_lines(const Run *r, Box *b, ptrdiff_t b0, ptrdiff_t b1, Scratch *s) noexcept nogil:
    """A box row by row, where rows are long enough and no window leaves the input; False where it may not be so."""
    cdef const JobAxis *a = &b.job.ax[0]
    cdef ptrdiff_t rows = max(r.k.rows[1], r.k.rows[2]), most, windows, whole = b0, blocks, number, lost
    cdef ptrdiff_t bytes = (b1 - b0) * filter_bytes(r, b.job)
    cdef ptrdiff_t[4] count
    cdef ptrdiff_t[4] c
    cdef Line line
    cdef Pass of
    cdef tile_args args
    cdef int ahead
    cdef bint direct = not b.strip, fresh
    if not b.inside:
        return False
    memcpy(count, b.count, sizeof(count))
    if (b.step[2] == count[3] * b.step[3] and b.out_step[2] == count[3] * b.out_step[3]
            and (r.residual.data == NULL or b.residual_step[2] == count[3] * b.residual_step[3])):
        count[3] *= count[2]
        count[2] = 1
    if count[3] < rows and (count[3] != 8 or b.t.columns > r.k.lanes):  # tiles of 8 by one vector keep the FMAs busy, too
        return False
    # Lines that leave much of their last tile empty: better tiles from one line to the next, whose pixels have to be found.
    number = count[0] * count[1] * count[2]
    lost = number * tile_steps(count[3], <int> rows) - tile_steps(number * count[3], <int> rows)
    if lost * b.job.taps * r.cg > FIND_TILE * number * count[3] and b.t.columns > NARROW:
        return False
    fresh = direct and b.job.taps == 1 and b.step[3] == r.cg * r.csize
    if b.t.columns <= NARROW and count[3] >= r.k.lanes:
        rows = max(rows, r.k.lanes)
    # As many pixels at a time as L1 holds the windows of, for every block of columns; but where these are many, block by
    # block, so that their filters come one after the other.
    windows = max(1, b.step[3]) * max(1, a[0].taps * a[1].taps) * rows
    most = max(1, LINE_BYTES // 2 // windows) * rows
    if bytes > FEW_FILTERS and count[3] * windows // rows <= input_bytes(b.job):
        most = count[3]
    elif windows > LINE_BYTES and b1 - b0 > 1:
        return False
    if b1 - b0 > 1 and bytes <= FEW_FILTERS:
        # Outputs are stored pixel by pixel, as the hardware fetches lines ahead.
        whole = min(b1, b.t.columns // (2 * r.k.lanes)) if r.plain_store else b0
        if fresh and whole < b1:
            most = rows
    ahead = 1 if fresh else 2 if direct and r.cg >= FOLD_CHANNELS and count[3] >= 2 * rows else 0
    args.offset, args.a_step, args.runs, args.run = s.tap_offset, 0, b.t.runs, b.t.run
    if short_steps(b.t):
        step_offsets(r, b.t, s)
        args.offset, args.runs, args.run = s.step_offset, short_steps(b.t), 1
    of.number = -1
    c[0] = c[1] = c[2] = c[3] = 0
    while c[0] < count[0]:
        find_line(b, c, most if count[3] - c[3] >= 2 * most else count[3] - c[3], &line)
        c[3] += line.count
        carry(c, count)
        number = b0
        while number < b1:
            blocks = max(1, whole - number)
            if number != of.number:
                find_pass(r, b, number, blocks, min(most, count[3]), &of, &args)
                args.ahead = ahead if number == b0 else 0
            run_line(r, b, &of, &line, &args, s)
            number += blocks
            poll_after(r.call, b.thread, steps_of(r, b, line.count * blocks))
        if r.call.cancelled:
            break
    return True


cdef void run_box(const Run *r, Box *b, ptrdiff_t b0, ptrdiff_t b1, Scratch *s) noexcept nogil:
    """Some blocks of a box's columns."""
    cdef const Tiling *t = b.t
    cdef ptrdiff_t pixels = b.count[0] * b.count[1] * b.count[2] * b.count[3], first, number, together
    cdef ptrdiff_t[4] c
    cdef tile_args args
    cdef Tile tile
    cdef int rows
    cdef bint in_pieces = t.runs > RUNS or r.exact
    place_box(r, b, s.area)
    if not in_pieces:
        tap_offsets(b, 0, t.runs, s.tap_offset)
    while b0 < b1 and not r.call.cancelled:
        together = min(t.together, b1 - b0)
        if not in_pieces and not r.depthwise and run_lines(r, b, b0, b0 + together, s):
            b0 += together
            continue
        rows = r.k.rows[2]
        if b0 + together == t.blocks == 1:
            block_start(r, t.columns, b0, &rows)
            rows = r.k.rows[rows]
        first = c[0] = c[1] = c[2] = c[3] = 0
        while first < pixels:
            tile.rows = tile_rows(pixels - first, rows)
            tile.full = tile_size(tile.rows, rows)
            locate(r, b, c, &tile)
            if not in_pieces:
                point(r, b.job, &tile, 0, t.runs, &args, s)
            number = b0
            while number < b0 + together:
                number += run_tile(r, b, number, b0 + together, &tile, &args, in_pieces, s)
                if poll_after(r.call, b.thread, steps_of(r, b, tile.rows)):
                    return
            first += tile.rows
        b0 += together


cdef void run_edges(const Run *r, Box *b, ptrdiff_t b0, ptrdiff_t b1, Scratch *s) noexcept nogil:
    """Those parts of a box of folded taps whose windows leave the input, if the others, which are left and can be read
    where they lie, are most of it."""
    cdef const JobAxis *a
    cdef ptrdiff_t[3] first, end
    cdef double inside = 1, all = 1
    cdef int i, rows = r.k.rows[2]
    cdef Box edge
    for i in range(3):
        a = &b.job.ax[i]
        first[i] = min(b.count[i + 1], max(0, ceil_div(a.lo, a.stride) - b.start[i + 1]))
        end[i] = 0
        if a.size + a.lo >= span_of(a, 1):
            end[i] = min(b.count[i + 1], (a.size + a.lo - span_of(a, 1)) // a.stride + 1 - b.start[i + 1])
        if i == 2:  # whole tiles
            first[i] = min(b.count[3], ceil_div(first[i], rows) * rows)
            if end[i] < b.count[3]:
                end[i] = first[i] + max(0, end[i] - first[i]) // rows * rows
        inside *= max(0, end[i] - first[i])
        all *= b.count[i + 1]
    if 2 * inside < all:
        return
    for i in range(3):
        edge = b[0]
        edge.count[i + 1] = first[i]
        if first[i] > 0:
            run_box(r, &edge, b0, b1, s)
        edge.start[i + 1], edge.count[i + 1] = b.start[i + 1] + end[i], b.count[i + 1] - end[i]
        if edge.count[i + 1] > 0:
            run_box(r, &edge, b0, b1, s)
        b.start[i + 1] += first[i]
        b.count[i + 1] = end[i] - first[i]
    b.strip = False


cdef void run_unit(const void *task, ptrdiff_t unit, int thread) noexcept nogil:
    """One box of one job: a group's columns, or some of them."""
    cdef const Run *r = <const Run *> task
    cdef int j = 0, i
    cdef ptrdiff_t split, b0, b1
    cdef const Job *job
    cdef const Tiling *t
    cdef Scratch s
    cdef Box box
    lay_out(r, r.scratch + thread * r.own, &s)
    while unit >= r.tilings[j].first + r.tilings[j].units:
        j += 1
    box.job, box.t = job, t = r.jobs + j, r.tilings + j
    unit -= t.first
    if t.rows_first:
        split, unit = unit % t.splits, unit // t.splits
    for i in range(3, -1, -1):
        box.start[i] = unit % t.boxes[i] * t.box[i]
        unit //= t.boxes[i]
        box.count[i] = min(t.box[i], (r.x.n if i == 0 else job.ax[i - 1].out) - box.start[i])
    if not t.rows_first:
        split, unit = unit % t.splits, unit // t.splits
    box.group, box.thread, box.strip = unit, thread, t.strip
    b0, b1 = t.blocks * split // t.splits, t.blocks * (split + 1) // t.splits
    if t.lies:
        run_edges(r, &box, b0, b1, &s)
    run_box(r, &box, b0, b1, &s)
