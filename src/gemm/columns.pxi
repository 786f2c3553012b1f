"""The columns driver: few output channels and windows that overlap, every input pixel multiplied once by all taps.

    y[i*stride + k*dilation - lo, m] += sum over c of x[i, c] * w[k, c, m]

A stride-1 forward convolution is the same with its taps walked downwards. The pairs (k, m) are columns: the register tiles
multiply them, broadcast, by vectors of neighbouring pixels, which a transposition of a few pixels makes. So a column's
products lie along the row, and are added to a row of outputs, shifted; of a stride, to the row of one residue. Nothing is
gathered twice, there are no empty lanes however few the outputs are, and a product is that of a real pair: neither zeros of
the padding nor what lies beyond a row meet an infinity.

Outputs are added up box by box. A box goes through the input that reaches it in its order in memory, and each pixel's taps
from the last to the first, so every output is a sum over rising positions of the input, however boxes are cut.
"""

cdef enum:
    SUM_BYTES = 1 << 18       # of a box's outputs
    SHORT_SUM_BYTES = 1 << 15  # of those that a row of input is added to: L1 keeps them
    PRODUCT_BYTES = 1 << 15   # wanted of a row's products,
    PRODUCT_PIXELS = 64       # which are of so many pixels at least
    UNITS_EACH = 4            # wanted for each thread


cdef struct Spreading:
    # Everything a unit of work needs to know.
    const conv_kernels *k
    JobAxis ax[3]             # pixel i reaches output i*stride + k*dilation - lo by tap k
    ptrdiff_t box[3]          # outputs,
    ptrdiff_t boxes[3]        # and how many
    int dtype, size, csize, activation
    ptrdiff_t groups, cg, mg, columns
    ptrdiff_t chunk           # pixels whose products are added together,
    ptrdiff_t pitch           # and from one column's products to the next's, in elements
    ptrdiff_t residues        # of an output modulo the last stride that a box has,
    ptrdiff_t along           # and from one residue's row to the next's, in elements
    ptrdiff_t bytes           # a thread's
    View x, out, residual
    const Filters *filters    # when they are packed by this call
    char *panels              # [group][tap][output][channel]
    char *scratch             # each thread's sums, products and block of pixels
    const char *bias          # a row of each, or NULL
    double low, high
    Call *call


cdef inline ptrdiff_t up(ptrdiff_t a, ptrdiff_t b) noexcept nogil:
    """a/b rounded up; b is positive."""
    return (a + b - 1) // b if a > 0 else -(-a // b)


cdef inline ptrdiff_t first_from(const JobAxis *a, ptrdiff_t output) noexcept nogil:
    """The first pixel whose last tap reaches an output or one behind it."""
    return min(a.size, max(0, up(output + a.lo - (a.taps - 1) * a.dilation, a.stride)))


cdef inline ptrdiff_t end_before(const JobAxis *a, ptrdiff_t output) noexcept nogil:
    """Behind the last pixel whose first tap reaches an output before this one."""
    return min(a.size, max(0, up(output + a.lo, a.stride)))


cdef inline ptrdiff_t tap_from(const JobAxis *a, ptrdiff_t i, ptrdiff_t output) noexcept nogil:
    """The first tap by which pixel i reaches this output or one behind it."""
    return min(a.taps, max(0, up(output + a.lo - i * a.stride, a.dilation)))


cdef void multiply(const conv_kernels *k, const tile_args *like, int wide, const char *panel, ptrdiff_t count, char *to,
                   char *added) noexcept nogil:
    """Some rows, `pixel` bytes apart, by blocks of columns into rows `out_pixel` apart; and what is added to them, or NULL."""
    cdef ptrdiff_t done = 0, left
    cdef int rows = k.rows[wide], size
    cdef tile_args args = like[0]
    cdef const char *a
    cdef char *out
    cdef char *term
    args.a, args.out, args.added = &a, &out, &term if added != NULL else NULL
    while done < count:
        left = count - done
        size = min(rows, tile_size(tile_rows(left, rows), rows))
        if size > count:
            size = 4 if count >= 4 else 2 if count >= 2 else 1
        args.tiles = 1
        if size == rows and left > rows:
            args.tiles = left // rows
            if tile_rows(rows + left % rows, rows) < rows:
                args.tiles = max(1, args.tiles - 1)
        done -= max(0, size - left)  # moved back: as fast as a tile of fewer rows
        a, out, term = panel + done * args.pixel, to + done * args.out_pixel, added + done * args.added_pixel
        args.bias = like.bias + done * args.bias_row
        k.along[wide][size](&args)
        done += args.tiles * size


cdef struct SumBox:
    ptrdiff_t[3] start, count
    ptrdiff_t n, group
    char *sums                # [d][h][m][residue][w]
    char *products
    char *block


cdef void spread_row(const Spreading *s, const SumBox *b, ptrdiff_t id, ptrdiff_t ih) noexcept nogil:
    """What a row of input adds to the box."""
    cdef const JobAxis *w = &s.ax[2]
    cdef ptrdiff_t first = first_from(w, b.start[2]), end = end_before(w, b.start[2] + b.count[2]), count, at, i, j, k
    cdef ptrdiff_t d0 = tap_from(&s.ax[0], id, b.start[0]), d1 = tap_from(&s.ax[0], id, b.start[0] + b.count[0]), d
    cdef ptrdiff_t h0 = tap_from(&s.ax[1], ih, b.start[1]), h1 = tap_from(&s.ax[1], ih, b.start[1] + b.count[1])
    cdef ptrdiff_t columns = (h1 - h0) * w.taps * s.mg, block = 2 * s.k.lanes, from_, to, shift, row = s.residues * s.along
    cdef const char *x = s.x.data + b.n * s.x.sn + b.group * s.cg * s.x.sc + id * s.x.s[0] + ih * s.x.s[1]
    cdef const char *panel = s.panels + b.group * s.columns * s.cg * s.csize
    cdef add_args add
    cdef tile_args args
    cdef ptrdiff_t top = ih * s.ax[1].stride + h0 * s.ax[1].dilation - s.ax[1].lo - b.start[1]
    add.ni, add.si, add.ti = h1 - h0, s.ax[1].dilation * s.mg * row, w.taps * s.mg * s.pitch
    add.nj, add.sj, add.tj = s.mg, row, s.pitch
    memset(&args, 0, sizeof(args))
    args.offset, args.runs, args.run, args.b, args.ldb = ZEROS, 1, s.cg, b.block, block
    args.bias, args.later, args.blocks = <const char *> ZEROS, b.block, 1
    args.pixel, args.out_pixel = s.cg * s.csize, s.pitch * s.csize
    while first < end:
        count = min(s.chunk, end - first)
        i = 0
        while i < count:
            if count - i < block:  # nobody reads the other lanes' products, but subnormal numbers would take long
                memset(b.block, 0, s.cg * block * s.csize)
            s.k.gather[s.dtype](b.block, block, 1, x + (first + i) * s.x.s[2], s.cg, s.x.sc, min(block, count - i),
                                s.x.s[2])
            for d in range(d0, d1):
                multiply(s.k, &args, 2 if count - i > s.k.lanes else 1,
                         panel + (d * s.ax[1].taps + h0) * w.taps * s.mg * s.cg * s.csize, columns,
                         b.products + ((d - d0) * columns * s.pitch + i) * s.csize, NULL)
            i += block
        for k in range(w.taps - 1, -1, -1):
            at = k * w.dilation - w.lo - b.start[2]
            from_, to = max(first, up(-at, w.stride)), min(first + count, up(b.count[2] - at, w.stride))
            if from_ >= to:
                continue
            shift = -up(-at, w.stride)
            add.n = to - from_
            for d in range(d0, d1):
                i = id * s.ax[0].stride + d * s.ax[0].dilation - s.ax[0].lo - b.start[0]
                add.sum = b.sums + ((i * b.count[1] + top) * s.mg * row + (at - shift * w.stride) * s.along
                                    + from_ + shift) * s.csize
                add.term = b.products + ((d - d0) * columns * s.pitch + k * add.ti // w.taps + from_ - first) * s.csize
                s.k.add(&add)
        first += count


cdef void store_sums(const Spreading *s, const SumBox *b) noexcept nogil:
    """A box's outputs, with bias, residual and activation."""
    cdef ptrdiff_t d, h, m, residue, i, j, count, most = 2 * s.k.lanes, stride = s.ax[2].stride
    cdef char *out
    cdef char *added
    cdef char *place
    cdef char *residual
    cdef finish_args end
    end.pitch, end.rows, end.activation, end.low, end.high = 0, 1, s.activation, s.low, s.high
    end.out, end.residual = &place, &residual if s.residual.data != NULL else NULL
    end.out_step, end.residual_step = stride * s.out.s[2], stride * s.residual.s[2]
    for i in range(b.count[0] * b.count[1]):
        d, h = b.start[0] + i // b.count[1], b.start[1] + i % b.count[1]
        out = s.out.data + b.n * s.out.sn + d * s.out.s[0] + h * s.out.s[1] + b.start[2] * s.out.s[2]
        added = (s.residual.data + b.n * s.residual.sn + d * s.residual.s[0] + h * s.residual.s[1]
                 + b.start[2] * s.residual.s[2])
        for m in range(s.mg):
            j = b.group * s.mg + m
            end.bias = s.bias + j * most * s.csize if s.bias != NULL else NULL
            for residue in range(min(s.residues, b.count[2])):
                place, residual = out + j * s.out.sc + residue * s.out.s[2], added + j * s.residual.sc + residue * s.residual.s[2]
                end.tile = b.sums + ((i * s.mg + m) * s.residues + residue) * s.along * s.csize
                count = ceil_div(b.count[2] - residue, stride)
                while count > 0:
                    end.columns = <int> min(count, most)
                    s.k.finish[s.dtype](&end)
                    place += most * end.out_step
                    residual += most * end.residual_step
                    end.tile = <const char *> end.tile + most * s.csize
                    count -= most


cdef void spread_unit(const void *task, ptrdiff_t unit, int thread) noexcept nogil:
    """One box of one group's outputs."""
    cdef const Spreading *s = <const Spreading *> task
    cdef ptrdiff_t id, ih
    cdef SumBox b
    cdef int i
    for i in range(2, -1, -1):
        b.start[i] = unit % s.boxes[i] * s.box[i]
        b.count[i] = min(s.box[i], s.ax[i].out - b.start[i])
        unit //= s.boxes[i]
    b.group, b.n = unit % s.groups, unit // s.groups
    b.sums = s.scratch + thread * s.bytes
    b.products = b.sums + sum_bytes(s)
    b.block = b.products + product_bytes(s)
    memset(b.sums, 0, b.count[0] * b.count[1] * s.mg * s.residues * s.along * s.csize)
    for id in range(first_from(&s.ax[0], b.start[0]), end_before(&s.ax[0], b.start[0] + b.count[0])):
        for ih in range(first_from(&s.ax[1], b.start[1]), end_before(&s.ax[1], b.start[1] + b.count[1])):
            spread_row(s, &b, id, ih)
            if poll_after(s.call, thread, s.columns * s.ax[2].size * (s.cg + 16) // 100):
                return
    store_sums(s, &b)


cdef inline ptrdiff_t sum_bytes(const Spreading *s) noexcept nogil:
    return s.box[0] * s.box[1] * s.mg * s.residues * s.along * s.csize


cdef inline ptrdiff_t product_bytes(const Spreading *s) noexcept nogil:
    return aligned(s.columns * s.pitch * s.csize)


cdef void measure_sums(Spreading *s) noexcept nogil:
    cdef const JobAxis *w = &s.ax[2]
    s.residues = min(w.stride, s.box[2])
    s.along = odd_lines(ceil_div(s.box[2], w.stride) * s.csize) // s.csize


cdef inline double read_twice(const Spreading *s, int i) noexcept nogil:
    """What boxes that are neighbours along an axis both read, to what one stores."""
    return (s.ax[i].taps - 1) * <double> s.ax[i].dilation / s.box[i]


cdef ptrdiff_t cut_sums(Spreading *s, int threads) noexcept nogil:
    """Boxes of whole rows, where L1 keeps what a row of input adds to, and of as many as L2 keeps and threads can share: an
    axis along which boxes read most of their input twice is doubled. Returns how many."""
    cdef ptrdiff_t units = s.x.n * s.groups
    cdef double most = 1.0 * units * s.ax[0].out * s.ax[1].out * s.ax[2].out
    cdef const JobAxis *w = &s.ax[2]
    cdef int i, longest
    most /= UNITS_EACH * threads if threads > 1 else 1
    s.box[0] = s.box[1] = 1
    s.box[2] = <ptrdiff_t> min(most, SHORT_SUM_BYTES // (s.ax[1].taps * s.mg * s.csize))
    s.box[2] = min(w.out, max(s.box[2], PRODUCT_PIXELS * w.stride))
    measure_sums(s)
    while True:
        longest = -1
        for i in range(2):
            if s.box[i] < s.ax[i].out and (longest < 0 or read_twice(s, i) > read_twice(s, longest)):
                longest = i
        if longest < 0 or 2.0 * s.box[0] * s.box[1] * s.box[2] > most or 2 * sum_bytes(s) > SUM_BYTES:
            break
        s.box[longest] = min(s.ax[longest].out, 2 * s.box[longest])
    for i in range(3):
        s.boxes[i] = ceil_div(s.ax[i].out, s.box[i])
        s.box[i] = ceil_div(s.ax[i].out, s.boxes[i])
        units *= s.boxes[i]
    measure_sums(s)
    s.chunk = max(PRODUCT_PIXELS, PRODUCT_BYTES // (s.columns * s.csize))
    s.chunk = ceil_div(min(s.chunk, min(s.ax[2].size, ceil_div(s.box[2], s.ax[2].stride) + s.ax[2].taps)), 2 * s.k.lanes)
    s.chunk *= 2 * s.k.lanes
    s.pitch = odd_lines(s.chunk * s.csize) // s.csize
    s.bytes = sum_bytes(s) + product_bytes(s) + aligned(s.cg * 2 * s.k.lanes * s.csize)
    return units


cdef void pack_columns(const void *task, ptrdiff_t unit, int thread) noexcept nogil:
    """One tap of a group."""
    cdef const Spreading *s = <const Spreading *> task
    cdef ptrdiff_t taps = s.columns // s.mg, group = unit // taps, tap = unit % taps
    cdef const char *w = s.filters.data + group * s.filters.group
    cdef char *dst = s.panels + unit * s.mg * s.cg * s.csize
    cdef int i
    for i in range(2, -1, -1):
        w += (s.ax[i].tap_start + tap % s.ax[i].taps * s.ax[i].tap_step) * s.filters.s[i]
        tap //= s.ax[i].taps
    s.k.pack[s.dtype](dst, s.cg, w, s.mg, s.filters.column, s.cg, s.filters.row)


cdef class Columns(Driver):
    """A Problem of overlapping windows."""
    cdef Spreading start      # what does not depend on a call

    def __cinit__(self, problem):
        cdef int i
        cdef Spreading *t = &self.start
        t.dtype, t.size, t.csize = self.dtype, storage_bytes(self.dtype), compute_bytes(self.dtype)
        t.groups, t.cg, t.mg = self.groups, self.cg, self.mg
        t.columns, t.x.n = t.mg, prod(problem.batch)
        transposed = problem.filters.endswith("transposed")
        for i, a in enumerate(problem.axes):
            copy_axis(spread(a, transposed), &t.ax[i])
            t.columns *= a.taps
        self.layout = ("columns",)

    cdef void describe(self, Spreading *s, Call *call, int isa) noexcept:
        s[0] = self.start
        s.k, s.call = conv_kernels_of(isa) + compute_type(s.dtype), call

    cdef ptrdiff_t packed_bytes(self) noexcept:
        return self.start.groups * self.start.columns * self.start.cg * self.start.csize

    cdef ptrdiff_t shared_bytes(self, const Spreading *s) noexcept:
        """Of rows of the bias."""
        return s.groups * s.mg * 2 * s.k.lanes * s.csize

    cdef void pack_all(self, Spreading *s, cnp.ndarray w, char *panels, int team) noexcept:
        cdef Filters f
        read_filters(w, self.ndim, self.problem.filters, s.cg, s.mg, False, &f)
        s.filters, s.panels = &f, panels
        with nogil:
            run_units(pack_columns, s, s.groups * s.columns // s.mg, team, s.call)

    cdef int pack_into(self, Panels panels, cnp.ndarray w, Call *call, int isa) except -1:
        cdef Spreading s
        self.describe(&s, call, isa)
        self.pack_all(&s, w, panels.room(self.packed_bytes(), self.op), 1)
        return 0

    cdef ptrdiff_t scratch(self, int threads, int isa, Call *call) except -1:
        cdef Spreading s
        self.describe(&s, call, isa)
        cut_sums(&s, threads)
        return aligned(self.shared_bytes(&s)) + threads * s.bytes

    cdef int compute(self, const Operands *o, cnp.ndarray x, filters, cnp.ndarray bias, cnp.ndarray out, int threads, int isa,
                     Call *call) except -1:
        cdef Spreading s
        cdef char *shared
        cdef ptrdiff_t units, i, row
        cdef int team = team_of(self.flops, threads, prepare)
        self.describe(&s, call, isa)
        s.x, s.out, s.residual = o.x, o.out, o.residual
        s.activation, s.low, s.high = o.activation, o.low, o.high
        units, row = cut_sums(&s, team), 2 * s.k.lanes * s.csize
        shared = take(call, aligned(self.shared_bytes(&s)) + team * s.bytes, "scratch")
        s.scratch = shared + aligned(self.shared_bytes(&s))
        if bias is not None:
            s.bias = shared
            for i in range(s.groups * s.mg):
                s.k.fill(shared + i * row, 2 * s.k.lanes, bias[i])
        if isinstance(filters, Panels):
            s.panels = (<Panels> filters).data
        else:
            self.pack_all(&s, filters, take(call, self.packed_bytes() + PANEL_END, "packed filters"), team)
        with nogil:
            run_units(spread_unit, &s, units, team, call)
        return 0
