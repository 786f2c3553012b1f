"""The pointwise driver: 1x1 windows of planes, channels first, as one product of matrices for every image and group.

    y[m, p] = sum over c of w[m, c] * x[c, p]

Filters are the rows of the register tiles and pixels their columns: nothing is turned round, as the general driver would
have to, and rows of the image that follow each other in memory are one. A strip of columns is read where it lies, or, where
pixels lie apart, gathered once for all filters. Every sum is in the general driver's order.
"""

cdef enum:
    STRIP_INPUT = 1 << 15     # bytes of a strip's input, about: a few channels' strips are long, and stored so
    MOST_BLOCKS = 16
    STRIP_UNITS = 4           # wanted for each thread


cdef struct Planes:
    # Everything a unit of work needs to know.
    const conv_kernels *k
    int dtype, size, csize, activation
    bint plain                # outputs are stored as they are, and their residual is added as it is
    bint joined               # the input's pixels lie at one distance,
    bint in_place             # and strips are read so
    ptrdiff_t outs[3]
    ptrdiff_t strides[3]
    ptrdiff_t groups, cg, mg
    ptrdiff_t pitch           # from one packed filter to the next, in elements
    ptrdiff_t lines[2]        # along the depth and the height,
    ptrdiff_t pixels          # of so many each
    ptrdiff_t columns         # of a strip: blocks of a tile's side by side
    bint broad                # of one filter or two, all at once
    ptrdiff_t strips, parts   # of a line, of the filters
    ptrdiff_t bytes           # a thread's: a gathered strip and a tile
    View x, out, residual
    const Filters *filters    # when they are packed by this call
    char *panels              # [group][filter][channel]
    char *scratch
    const char *bias          # [group][filter] rows as wide as a tile of one value, or NULL
    ptrdiff_t bias_row
    double low, high
    Call *call


cdef inline bint in_a_row(const View *v, const ptrdiff_t *outs, int axis) noexcept nogil:
    """Whether what lies behind each other along an axis and the ones after it lies so in memory, too."""
    return v.data == NULL or outs[axis] == 1 or v.s[axis] == v.s[2] * outs[2] * (outs[1] if axis == 0 else 1)


cdef inline void join_rows(Planes *s) noexcept nogil:
    """Lines as long as outputs and their residual lie at one distance; strips are read in place where the input does, too."""
    cdef int i
    s.joined, s.pixels = True, s.outs[2]
    for i in range(1, -1, -1):
        s.joined &= in_a_row(&s.x, s.outs, i)
        s.lines[i] = s.outs[i]
        if s.pixels == s.outs[2] * (s.outs[1] if i == 0 else 1) and in_a_row(&s.out, s.outs, i) and in_a_row(&s.residual, s.outs, i):
            s.pixels, s.lines[i] = s.pixels * s.outs[i], 1


cdef void gather_columns(const Planes *s, const char *x, ptrdiff_t pixel, ptrdiff_t count, ptrdiff_t columns,
                         char *panel) noexcept nogil:
    """So many pixels of an image from one on, of all channels."""
    cdef ptrdiff_t end = pixel + count, some, row, w
    if count < columns:  # nobody reads the other columns' products, but subnormal numbers would take long
        memset(panel, 0, s.cg * columns * s.csize)
    while pixel < end:
        row, w = pixel // s.outs[2], pixel % s.outs[2]
        some = end - pixel if s.joined else min(end - pixel, s.outs[2] - w)
        s.k.gather[s.dtype](panel, columns, 1,
                            x + row // s.outs[1] * s.x.s[0] + row % s.outs[1] * s.x.s[1] + w * s.x.s[2],
                            s.cg, s.x.sc, some, s.x.s[2])
        panel += some * s.csize
        pixel += some


cdef ptrdiff_t cut_strips(Planes *s, int threads) noexcept nogil:
    """Strips, by parts of the filters where threads want more units. Returns how many units."""
    cdef ptrdiff_t lines = s.x.n * s.groups * s.lines[0] * s.lines[1], units, tiles = ceil_div(s.mg, s.k.rows[2])
    cdef ptrdiff_t block = 2 * s.k.lanes, blocks = STRIP_INPUT // (s.cg * block * s.csize), wanted = STRIP_UNITS * threads
    s.broad = s.mg < 3 and s.in_place and s.plain and s.pixels >= 4 * block
    blocks = 4 // s.mg if s.broad else max(1, min(blocks, MOST_BLOCKS, ceil_div(s.pixels, block)))
    while not s.broad and threads > 1 and blocks > 1 and lines * ceil_div(s.pixels, blocks * block) < wanted:
        blocks = ceil_div(blocks, 2)
    s.columns = blocks * block
    s.strips = ceil_div(s.pixels, s.columns)
    units = lines * s.strips
    s.parts = min(tiles, ceil_div(wanted, units)) if threads > 1 else 1
    s.bytes = 0 if s.broad else aligned((s.cg * s.columns + TILE_ROWS * block) * s.csize)
    return units * s.parts


cdef void multiply_through(const Planes *s, tile_args *args, int wide, ptrdiff_t taken, bint later, const char *filters,
                           ptrdiff_t count, char *out, char *residual, char *tile) noexcept nogil:
    """Outputs that may not be stored as they are, through a buffer; `later`: their residual and activation are still to come."""
    cdef ptrdiff_t width = wide * s.k.lanes, columns = 0, done, some, i
    cdef const char *bias = args.bias
    cdef char *places[TILE_ROWS]
    cdef char *added[TILE_ROWS]
    cdef finish_args end
    end.tile, end.pitch, end.bias, end.out, end.out_step = tile, 2 * s.k.lanes, NULL, places, s.out.s[2]
    end.residual, end.residual_step = added if s.residual.data != NULL else NULL, s.residual.s[2]
    end.activation, end.low, end.high = s.activation if later else NONE, s.low, s.high
    args.out_pixel, args.blocks = end.pitch * s.csize, 1
    while columns < taken:
        end.columns, done = <int> min(width, taken - columns), 0
        while done < count:
            some = min(count - done, TILE_ROWS)
            args.bias, end.rows = bias + done * args.bias_row, <int> some
            multiply(s.k, args, wide, filters + done * args.pixel, some, tile, NULL)
            for i in range(some):
                places[i] = out + (done + i) * s.out.sc + columns * s.out.s[2]
                added[i] = residual + (done + i) * s.residual.sc + columns * s.residual.s[2]
            s.k.finish[s.dtype](&end)
            done += some
        args.b += args.panel
        columns += width


cdef void multiply_strip(const void *task, ptrdiff_t unit, int thread) noexcept nogil:
    """A strip of one line by a part of the filters."""
    cdef const Planes *s = <const Planes *> task
    cdef ptrdiff_t part, strip, h, d, group, n, tiles = ceil_div(s.mg, s.k.rows[2]), i
    cdef ptrdiff_t start, columns = s.columns, taken, first, end
    cdef int wide = 2
    cdef char *out
    cdef char *residual
    cdef char *panel = s.scratch + thread * s.bytes
    cdef const char *x
    cdef const char *filters
    cdef const char *rows[2]
    cdef char *places[2]
    cdef char *added[2]
    cdef bint plain, later
    cdef tile_args args
    part, unit = unit % s.parts, unit // s.parts
    strip, unit = unit % s.strips, unit // s.strips
    h, unit = unit % s.lines[1], unit // s.lines[1]
    d, unit = unit % s.lines[0], unit // s.lines[0]
    group, n = unit % s.groups, unit // s.groups
    start = strip * s.columns
    taken = min(columns, s.pixels - start)
    if not s.broad:
        wide = 1 if taken <= s.k.lanes else 2
        columns = ceil_div(taken, wide * s.k.lanes) * wide * s.k.lanes
    start = max(0, start - (columns - taken))  # moved back rather than cut
    taken = min(columns, s.pixels)
    plain = s.plain and taken == columns
    later = s.activation > CLAMP or s.residual.data != NULL and not plain
    x = s.x.data + n * s.x.sn + group * s.cg * s.x.sc
    out = s.out.data + n * s.out.sn + d * s.out.s[0] + h * s.out.s[1] + group * s.mg * s.out.sc + start * s.out.s[2]
    residual = (s.residual.data + n * s.residual.sn + d * s.residual.s[0] + h * s.residual.s[1]
                + group * s.mg * s.residual.sc + start * s.residual.s[2])
    first, end = part * tiles // s.parts * s.k.rows[2], min(s.mg, (part + 1) * tiles // s.parts * s.k.rows[2])
    memset(&args, 0, sizeof(args))
    args.b, args.ldb = x + d * s.x.s[0] + h * s.x.s[1] + start * s.x.s[2], s.x.sc // s.csize
    if not s.in_place or taken < columns:
        gather_columns(s, x, (d * s.outs[1] + h) * s.outs[2] + start, taken, columns, panel)
        args.b, args.ldb = panel, columns
    args.offset, args.runs, args.run, args.later = ZEROS, 1, s.cg, args.b
    args.bias = <const char *> ZEROS
    if s.bias != NULL:
        args.bias_row = s.bias_row
        args.bias = s.bias + (group * s.mg + first) * s.bias_row
    args.clamp, args.low, args.high = s.activation == CLAMP and not later, s.low, s.high
    args.blocks, args.pixel, args.panel = columns // (wide * s.k.lanes), s.pitch * s.csize, wide * s.k.lanes * s.csize
    filters = s.panels + (group * s.mg + first) * args.pixel
    args.out_pixel, args.added_pixel = s.out.sc, s.residual.sc
    out, residual = out + first * s.out.sc, residual + first * s.residual.sc
    poll_after(s.call, thread, (end - first) * args.blocks * (s.cg + 16))
    if s.broad:
        for i in range(s.mg):
            rows[i], places[i], added[i] = filters + i * args.pixel, out + i * s.out.sc, residual + i * s.residual.sc
        args.a, args.out, args.added = rows, places, added if s.residual.data != NULL else NULL
        s.k.broad[4 // s.mg][s.mg](&args)
        return
    if plain:
        multiply(s.k, &args, wide, filters, end - first, out, residual if s.residual.data != NULL else NULL)
        return
    multiply_through(s, &args, wide, taken, later, filters, end - first, out, residual, panel + s.cg * s.columns * s.csize)


cdef void pack_filters(const void *task, ptrdiff_t group, int thread) noexcept nogil:
    """A group's."""
    cdef const Planes *s = <const Planes *> task
    s.k.pack[s.dtype](s.panels + group * s.mg * s.pitch * s.csize, s.pitch, s.filters.data + group * s.filters.group, s.mg,
                      s.filters.column, s.cg, s.filters.row)


cdef class Pointwise(Driver):
    """A Problem of 1x1 windows, channels first."""
    cdef Planes start         # what does not depend on a call

    def __cinit__(self, problem):
        cdef int i
        cdef Planes *s = &self.start
        s.dtype, s.size, s.csize = self.dtype, storage_bytes(self.dtype), compute_bytes(self.dtype)
        s.groups, s.cg, s.mg = self.groups, self.cg, self.mg
        s.pitch, s.x.n = odd_lines(s.cg * s.csize) // s.csize, prod(problem.batch)
        for i, axis in enumerate(problem.jobs[0]):
            s.outs[i], s.strides[i] = axis.out, axis.stride
        self.layout = ("pointwise",)

    cdef void describe(self, Planes *s, Call *call, int isa) noexcept:
        s[0] = self.start
        s.k, s.call = conv_kernels_of(isa) + compute_type(s.dtype), call

    cdef ptrdiff_t packed_bytes(self) noexcept:
        return self.start.groups * self.start.mg * self.start.pitch * self.start.csize

    cdef void pack_all(self, Planes *s, cnp.ndarray w, char *panels, int team) noexcept:
        cdef Filters f
        read_filters(w, self.ndim, self.problem.filters, s.cg, s.mg, False, &f)
        s.filters, s.panels = &f, panels
        with nogil:
            run_units(pack_filters, s, s.groups, team, s.call)

    cdef int pack_into(self, Panels panels, cnp.ndarray w, Call *call, int isa) except -1:
        cdef Planes s
        self.describe(&s, call, isa)
        self.pack_all(&s, w, panels.room(self.packed_bytes(), self.op), 1)
        return 0

    cdef ptrdiff_t scratch(self, int threads, int isa, Call *call) except -1:
        cdef Planes s
        self.describe(&s, call, isa)
        s.lines[0], s.lines[1], s.pixels = s.outs[0], s.outs[1], s.outs[2]
        cut_strips(&s, threads)
        return aligned(s.groups * s.mg * (8 if s.mg < 3 else 2) * s.k.lanes * s.csize) + threads * s.bytes

    cdef int compute(self, const Operands *o, cnp.ndarray x, filters, cnp.ndarray bias, cnp.ndarray out, int threads, int isa,
                     Call *call) except -1:
        cdef Planes s
        cdef ptrdiff_t units, i, shared = 0
        cdef int team = team_of(self.flops, threads, prepare)
        self.describe(&s, call, isa)
        s.x, s.out, s.residual = o.x, o.out, o.residual
        s.activation, s.low, s.high = o.activation, o.low, o.high
        for i in range(3):
            s.x.s[i] *= s.strides[i]
        join_rows(&s)
        s.plain = (s.dtype < 3 and s.out.s[2] == s.size and s.activation <= CLAMP
                   and (s.residual.data == NULL or s.residual.s[2] == s.size))
        s.in_place = (s.joined and s.dtype < 3 and s.x.s[2] == s.size and s.x.sc % s.size == 0
                      and (s.mg < 3 or s.x.sc % (L1_PERIOD // 2) != 0))  # whose channels share few sets of L1
        units = cut_strips(&s, team)
        s.bias_row = (s.columns if s.broad else 2 * s.k.lanes) * s.csize
        if bias is not None:
            shared = aligned(s.groups * s.mg * s.bias_row)
        s.scratch = take(call, shared + team * s.bytes, "scratch") + shared
        if bias is not None:
            s.bias = s.scratch - shared
            for i in range(s.groups * s.mg):
                s.k.fill(s.scratch - shared + i * s.bias_row, s.bias_row // s.csize, bias[i])
        if isinstance(filters, Panels):
            s.panels = (<Panels> filters).data
        else:
            self.pack_all(&s, filters, take(call, self.packed_bytes() + PANEL_END, "packed filters"), team)
        with nogil:
            run_units(multiply_strip, &s, units, team, call)
        return 0
