# The filter gradient of few channels and filters: dw[k,c,m] = sum_p x[p + k, c] g[p, m], with pixels p as the lanes.
#
# Both operands are made planes, a chunk of rows at a time, with equally long rows: zeros behind those of g, so that all rows
# of a chunk are one run. A tap is then one distance in the planes, and it is the sum of two: x is moved by its part along w
# (or along the depth, or to another channel), g by its part along h (or to another filter). Taps along w alone are i + j*R,
# the one part x's, the other g's. So a tile of rows by columns loads a vector for each of them and multiplies all pairs.
#
# Every lane adds up for itself over a part of the chunks; the lanes, then the parts are added in order: what the order
# depends on is the problem alone. A NaN would meet the zeros behind the rows: where the result is not finite, the caller
# sums up elsewhere.

cdef enum:
    CHUNK_BYTES = 3 << 17     # of planes, wanted,
    CHUNK_MOST = 1 << 20      # and at most
    CHUNK_ROW = 4096          # pixels of a row at a time
    SUM_BYTES = 1 << 18       # of the lanes' sums, at most
    PARTS = 32                # which threads share


cdef struct Gradient:
    # Everything a unit of work needs to know.
    Run r                     # as a row of input is gathered: every group's channels
    View g
    ptrdiff_t groups, cg, mg
    ptrdiff_t along, steps    # parts of a tap that move x and that move g,
    ptrdiff_t move            # elements that such a step moves it
    bint by_height            # along h; else along w
    ptrdiff_t rows, columns   # of a group's product
    ptrdiff_t count[2]        # rows and columns of pixels of a chunk
    ptrdiff_t chunks[2]
    ptrdiff_t parts, all      # parts, and chunks of all images and depths
    ptrdiff_t pitch, margin, x_plane, g_plane, each
    char *scratch             # each thread's: planes of x, planes of g, sums
    char *totals              # [part][group][row][column]


cdef void gather_chunk(const Gradient *t, ptrdiff_t n, ptrdiff_t d, Box *b, char *x, char *g) noexcept nogil:
    """The planes of a chunk: of x for every tap along the depth, [tap][channel], and of g."""
    cdef const Run *r = &t.r
    cdef const JobAxis *a = &t.r.ax[0]
    cdef ptrdiff_t k, i, id, ih, j, size = r.csize
    for k in range(a[0].taps):
        id = map_index(d * a[0].stride + k * a[0].dilation - a[0].lo, a[0].size, r.mode)
        for i in range(b.extent[1]):
            ih = map_index(b.lo[1] + i, a[1].size, r.mode)
            if id < 0 or ih < 0:
                for j in range(r.cg):
                    r.k.fill(x + (j * t.x_plane + i * t.pitch) * size, t.pitch, r.constant)
            else:
                gather_row(r, b, r.x.data + n * r.x.sn + id * r.x.s[0] + ih * r.x.s[1], x + i * t.pitch * size)
        x += r.cg * t.x_plane * size
    memset(g, 0, t.groups * t.mg * t.g_plane * size)
    for i in range(b.count[1]):
        r.k.planes[r.dtype](g + (t.margin + i * t.pitch) * size, t.g_plane,
                            t.g.data + n * t.g.sn + d * t.g.s[0] + (b.start[1] + i) * t.g.s[1] + b.start[2] * t.g.s[2],
                            b.count[2], t.g.s[2], t.groups * t.mg, t.g.sc)


cdef void multiply_planes(const Gradient *t, ptrdiff_t group, ptrdiff_t count, const char *x, const char *g,
                          char *sums) noexcept nogil:
    """Every tile of a group's product over a chunk of so many rows."""
    cdef ptrdiff_t tall = ceil_div(t.rows, t.r.k.products), wide = ceil_div(t.columns, t.r.k.products)
    cdef ptrdiff_t i, j, q, row, rows, column, columns, at, least, size = t.r.csize, lanes = t.r.k.lanes
    cdef product_args args
    args.pitch = t.columns
    for j in range(wide):
        column, columns = t.columns * j // wide, t.columns * (j + 1) // wide - t.columns * j // wide
        least = column // t.mg * t.move
        for q in range(columns):
            at = (group * t.mg + (column + q) % t.mg) * t.g_plane + t.margin + least - (column + q) // t.mg * t.move
            args.g[q] = g + at * size
        args.vectors = ceil_div(count * t.pitch + (column + columns - 1) // t.mg * t.move - least, lanes)
        for i in range(tall):
            row, rows = t.rows * i // tall, t.rows * (i + 1) // tall - t.rows * i // tall
            for q in range(rows):
                at = (row + q) // t.along  # tap along the depth and channel
                at = at // t.cg * t.groups * t.cg + group * t.cg + at % t.cg
                at = at * t.x_plane + (row + q) % t.along * t.r.ax[2].dilation + least
                args.x[q] = x + at * size
            args.sums = sums + (row * t.columns + column) * lanes * size
            t.r.k.product[rows][columns](&args)


cdef void run_part(const void *task, ptrdiff_t part, int thread) noexcept nogil:
    """Some chunks' sums."""
    cdef const Gradient *t = <const Gradient *> task
    cdef const JobAxis *a = &t.r.ax[0]
    cdef char *x = t.scratch + thread * t.each
    cdef char *g = x + aligned(a[0].taps * t.r.cg * t.x_plane * t.r.csize)
    cdef char *sums = g + aligned(t.groups * t.mg * t.g_plane * t.r.csize)
    cdef ptrdiff_t chunk, rest, group, cells = t.rows * t.columns, bytes = cells * t.r.k.lanes * t.r.csize
    cdef Box b
    cdef int i
    memset(x, 0, t.each)
    b.lead = 0
    for chunk in range(t.all * part // t.parts, t.all * (part + 1) // t.parts):
        rest = chunk
        for i in range(1, -1, -1):
            b.start[i + 1] = rest % t.chunks[i] * t.count[i]
            b.count[i + 1] = min(t.count[i], a[i + 1].out - b.start[i + 1])
            b.lo[i + 1], b.extent[i + 1] = b.start[i + 1] - a[i + 1].lo, span_of(&a[i + 1], b.count[i + 1])
            rest //= t.chunks[i]
        gather_chunk(t, rest // a[0].out, rest % a[0].out, &b, x, g)
        for group in range(t.groups):
            multiply_planes(t, group, b.count[1], x, g, sums + group * bytes)
            if poll(t.r.call, thread):
                return
    t.r.k.totals(t.totals + part * t.groups * cells * t.r.csize, sums, t.groups * cells)


cdef class PixelsGradient:
    """A Problem's filter gradient as this driver wants it. Immutable; `run` may be called from many threads."""
    cdef Gradient task        # what every call has
    cdef int ndim
    cdef bint channels_last
    cdef ptrdiff_t images
    cdef readonly object problem
    cdef object general

    def __cinit__(self, problem, general):
        """general: the driver that sums up where this one's result is not finite, or its scratch too small."""
        cdef Gradient *t = &self.task
        self.problem, self.general, self.ndim, self.channels_last = problem, general, problem.ndim, problem.channels_last
        t.r.dtype, t.r.csize, t.r.mode = problem.dtype, compute_bytes(problem.dtype), problem.padding_mode
        t.r.constant, self.images = problem.padding_value, prod(problem.batch)
        t.groups, t.r.cg = problem.groups, problem.in_channels  # a row is gathered with every group's channels
        t.cg, t.mg = t.r.cg // t.groups, problem.out_channels // t.groups
        for i, axis in enumerate(problem.jobs[0]):
            copy_axis(axis, &t.r.ax[i])

    cdef bint describe(self, Gradient *t, int isa) noexcept:
        """How the sums are cut, by the problem alone; False where they do not fit the scratch."""
        cdef const JobAxis *a = t.r.ax
        cdef ptrdiff_t lanes, planes, most, extent
        cdef int i
        t.r.k = pixel_kernels_of(isa) + compute_type(t.r.dtype)
        lanes, t.by_height = t.r.k.lanes, a[1].taps > 1
        t.along = a[2].taps if t.by_height else min(a[2].taps, t.r.k.products)
        t.steps = a[1].taps if t.by_height else ceil_div(a[2].taps, t.along)
        t.rows, t.columns = a[0].taps * t.cg * t.along, t.steps * t.mg
        planes, extent = a[0].taps * t.r.cg + t.groups * t.mg, (a[2].taps - 1) * a[2].dilation
        t.count[1] = ceil_div(a[2].out, ceil_div(a[2].out, CHUNK_ROW))
        t.pitch = t.count[1] + extent
        if <double> (a[0].taps * t.r.cg) * (1 + (a[1].taps - 1) * a[1].dilation) * t.pitch > CHUNK_MOST:
            return False  # one row's windows; nor would what follows fit an integer
        t.move = a[1].dilation * t.pitch if t.by_height else t.along * a[2].dilation
        t.margin = min(t.steps - 1, t.r.k.products - 1) * t.move
        most = max((a[1].taps - 1) * a[1].dilation, CHUNK_BYTES // (t.r.csize * planes * t.pitch))
        t.count[0] = ceil_div(a[1].out, ceil_div(a[1].out, max(1, most)))
        # Behind a plane of x come what the last vector reads, and the taps that are none.
        t.x_plane = (t.count[0] + (a[1].taps - 1) * a[1].dilation) * t.pitch + t.steps * t.along * a[2].dilation + 2 * lanes
        t.g_plane = t.margin + t.count[0] * t.pitch + t.margin + lanes
        t.each = aligned(a[0].taps * t.r.cg * t.x_plane * t.r.csize) + aligned(t.groups * t.mg * t.g_plane * t.r.csize)
        if t.each > CHUNK_MOST or t.groups * t.rows * t.columns * lanes * t.r.csize > SUM_BYTES:
            return False
        t.each = aligned(t.each + t.groups * t.rows * t.columns * lanes * t.r.csize)
        t.all = self.images * a[0].out
        for i in range(2):
            t.chunks[i] = ceil_div(a[i + 1].out, t.count[i])
            t.all *= t.chunks[i]
        t.parts = max(1, min(t.all, PARTS))
        t.r.pitch = t.x_plane
        return True

    def run(self, cnp.ndarray x, cnp.ndarray g, cnp.ndarray out, int threads, int isa):
        """Write the gradient for input x and output gradient g into out, C-contiguous and of their dtype."""
        cdef Gradient t = self.task
        cdef Call call
        cdef int team
        cdef cnp.ndarray totals
        if cnp.PyArray_SIZE(g) == 0 or cnp.PyArray_SIZE(out) == 0 or not self.describe(&t, isa):
            self.general.run(x, g, out, threads, isa)
            return
        x = readable(x, self.ndim, self.channels_last, &t.r.x)
        g = readable(g, self.ndim, self.channels_last, &t.g)
        totals = np.empty((t.parts, t.groups, t.r.ax[0].taps, t.cg, t.along, t.steps, t.mg),
                          ("f4", "f8", "i4")[compute_type(t.r.dtype)])
        t.r.call, t.totals = &call, <char *> cnp.PyArray_DATA(totals)
        team = team_of(self.general.flops, threads, prepare)
        begin_call(&call, self.problem.op)
        try:
            t.scratch = take(&call, team * t.each, "scratch")
            with nogil:
                run_units(run_part, &t, t.parts, team, &call)
        finally:
            end_call(&call)
        with np.errstate(all="ignore"):  # 16 bits may overflow
            # [depth][step][along][channel][group][filter]
            sums = totals.sum(axis=0, dtype=totals.dtype).transpose(1, 4, 3, 2, 0, 5)
            if not t.by_height:
                sums = sums.reshape(t.r.ax[0].taps, -1, t.cg, t.groups, t.mg)[:, :t.r.ax[2].taps]
            if totals.dtype.kind == "i" or np.isfinite(sums).all():
                out.reshape(sums.shape)[...] = sums
                return
        self.general.run(x, g, out, threads, isa)
