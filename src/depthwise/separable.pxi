# The separable driver: boxes of depthwise outputs in scratch, multiplied by the pointwise filters while they are in L2.

cdef void multiply_tile(const Run *r, const Product *p, ptrdiff_t block, int rows, ptrdiff_t tiles,
                        const char *const *pixels, char **out, char **residual, Scratch *s) noexcept nogil:
    """Some pixels of a box by one block of columns, and those of the tiles that follow in one line."""
    cdef ptrdiff_t lanes = r.k.lanes, start = block * 2 * lanes, taken = min(2 * lanes, p.columns - start), no_offset = 0
    cdef int wide = 2 if taken > lanes else 1, i
    cdef int spare = spare_bytes(r.k, taken, wide, r.csize)
    cdef bint plain = p.plain_store and spare >= 0
    cdef char *places[TILE_ROWS]
    cdef char *added[TILE_ROWS]
    cdef tile_args args
    cdef finish_args end
    for i in range(TILE_ROWS):
        places[i] = out[i] + start * p.out.sc if plain and i < rows else s.tile + i * 2 * lanes * r.csize
    args.a, args.a_step, args.offset, args.runs, args.run, args.column = pixels, 0, &no_offset, 1, p.rows, 0
    args.b, args.ldb, args.added = p.panels + block * p.rows * 2 * lanes * r.csize, wide * lanes, NULL
    args.out, args.accumulate, args.spare = places, 0, spare if plain else 0
    args.bias, args.bias_row = p.zeros if p.deferred else p.bias + start * r.csize, 0
    args.clamp, args.low, args.high, args.ahead = p.activation == CLAMP and not p.deferred, p.low, p.high, 0
    if tiles > 0:
        args.tiles, args.blocks, args.pixel, args.out_pixel = tiles, 1, p.pitch * r.csize, p.out.s[2]
        args.later, args.later_step = args.b, 0
        r.k.along[wide][rows](&args)
    else:
        r.k.gemm[wide][rows](&args)
    if plain:
        return
    for i in range(rows):
        places[i] = out[i] + start * p.out.sc
        added[i] = residual[i] + start * p.residual.sc
    end.tile, end.pitch, end.rows, end.columns = s.tile, 2 * lanes, rows, <int> taken
    end.out, end.out_step = places, p.out.sc
    end.residual, end.residual_step = added if p.residual.data != NULL else NULL, p.residual.sc
    end.bias, end.activation = p.bias + start * r.csize if p.deferred else NULL, p.activation if p.deferred else NONE
    end.low, end.high = p.low, p.high
    r.k.finish[r.dtype](&end)


cdef inline ptrdiff_t row_pixels(const Run *r, const Box *b) noexcept nogil:
    """Of the image, in a row of a box."""
    return b.count[2] if r.fold == 1 else b.count[2] * r.fold - r.lag


cdef void multiply_box(const Run *r, const Product *p, const Box *b, int thread, Scratch *s) noexcept nogil:
    """The pointwise outputs of a box whose depthwise outputs are in scratch."""
    cdef ptrdiff_t row = row_pixels(r, b), pixels = b.count[1] * row, block = 0, last, first, h, w, i, q
    cdef ptrdiff_t together = max(1, PANEL_BYTES // (p.rows * 2 * r.k.lanes * r.csize))
    cdef ptrdiff_t rest = p.columns - (p.blocks - 1) * 2 * r.k.lanes, tiles = 0
    cdef int rows, wide = 2 if rest > r.k.lanes else 1, full = r.k.rows[2 if p.blocks > 1 else wide]
    cdef bint line = (p.plain_store and p.out.s[1] == row * p.out.s[2] and r.k.rows[wide] == full
                      and spare_bytes(r.k, rest, wide, r.csize) >= 0)
    cdef const char *middle[TILE_ROWS]
    cdef char *out[TILE_ROWS]
    cdef char *residual[TILE_ROWS]
    while block < p.blocks:
        last = min(block + together, p.blocks)
        first, h, w = 0, b.start[1], b.start[2]
        while first < pixels:
            if line:
                tiles = (pixels - first) // full
            rows = full if tiles else tile_rows(pixels - first, full)
            for i in range(TILE_ROWS):  # a tile may read more than its rows
                middle[i] = s.middle + min(first + i, pixels - 1) * p.pitch * r.csize
            for i in range(rows):
                out[i] = p.out.data + b.n * p.out.sn + h * p.out.s[1] + w * p.out.s[2]
                residual[i] = p.residual.data + b.n * p.residual.sn + h * p.residual.s[1] + w * p.residual.s[2]
                w += 1
                if w == b.start[2] + row:
                    h, w = h + 1, b.start[2]
            if tiles > 1:  # h does not matter where rows follow each other
                w += (tiles - 1) * rows
            for q in range(block, last):
                multiply_tile(r, p, q, rows, tiles, middle, out, residual, s)
            first += max(1, tiles) * rows
            if poll(r.call, thread):
                return
        block = last


cdef class Stages:
    """Both filters packed, and what happens between the stages."""
    cdef Taps depthwise
    cdef Panels pointwise
    cdef object bias, epilogue

    @property
    def nbytes(self):
        return self.depthwise.nbytes + self.pointwise.nbytes


cdef class Separable(Driver):
    """A depthwise Problem and the pointwise one that follows."""
    cdef Depthwise first

    def __cinit__(self, problem):
        self.first, self.layout = Depthwise(problem.first), ("separable",)
        self.flops += self.first.flops
        self.work = self.flops

    cdef void describe(self, Run *r, Product *p, int isa) noexcept:
        self.first.describe(r, isa)
        memset(p, 0, sizeof(Product))
        r.product = p
        r.out_dtype = compute_type(r.dtype)
        p.columns, p.blocks, p.rows = self.mg, ceil_div(self.mg, 2 * r.k.lanes), r.columns
        p.pitch = ceil_div(r.columns, r.k.lanes) * r.k.lanes
        if p.pitch * r.csize % 1024 == 0:  # pixels a multiple of 1 KiB apart would share few sets of L1
            p.pitch += r.k.lanes

    cdef bint fold(self, Run *r, Product *p) noexcept:
        """As Depthwise.fold, between the stages without a gap from pixel to pixel; only boxes of whole rows."""
        cdef ptrdiff_t row = r.ax[2].out, strip = r.csize * r.columns * (row + r.ax[2].taps + r.k.lanes)
        strip *= r.ax[1].taps + (SLIDE_ROWS - 1) * r.ax[1].stride
        if row > box_pixels(r) or strip + 64 > STRIP_BYTES or r.ax[2].stride > 1 or not self.first.fold(r):
            return False
        p.pitch = p.rows
        return True

    def pack(self, filters, int isa):
        """Both filters packed once, for `run` on the same ISA."""
        cdef Run r
        cdef Product p
        cdef Stages stages = Stages.__new__(Stages)
        cdef ptrdiff_t block, row, column, wide
        cdef cnp.ndarray w
        cdef char *panels
        depthwise, w, stages.bias, stages.epilogue = filters
        self.describe(&r, &p, isa)
        row, column = w.strides[2], w.strides[3]
        stages.depthwise, stages.pointwise = self.first.pack(depthwise, isa), Panels.__new__(Panels)
        panels = stages.pointwise.room(panel_bytes(&r), self.op)
        with nogil:
            for block in range(p.blocks):
                wide = min(2 * r.k.lanes, p.columns - block * 2 * r.k.lanes)
                r.k.pack[r.dtype](panels + block * p.rows * 2 * r.k.lanes * r.csize,
                                  (2 if wide > r.k.lanes else 1) * r.k.lanes,
                                  <const char *> cnp.PyArray_DATA(w) + block * 2 * r.k.lanes * column, p.rows, row,
                                  wide, column)
        return stages

    cdef ptrdiff_t scratch(self, int threads, int isa, Call *call) except -1:
        cdef Run r
        cdef Product p
        cdef ptrdiff_t most = 0
        for folded in range(2):
            self.describe(&r, &p, isa)
            if not folded or self.fold(&r, &p):
                most = max(most, most_scratch(&r, threads))
        return most + aligned((p.blocks + 1) * 2 * r.k.lanes * r.csize)

    cdef int compute(self, const Operands *o, cnp.ndarray x, filters, cnp.ndarray bias, cnp.ndarray out, int threads, int isa,
                     Call *call) except -1:
        cdef Run r
        cdef Product p
        cdef Operands between
        cdef ptrdiff_t tail
        cdef char *shared
        cdef Stages stages = filters if isinstance(filters, Stages) else self.pack(filters, isa)
        self.describe(&r, &p, isa)
        if stages.depthwise.finite or not r.clipped or self.first.whole:
            self.fold(&r, &p)
        self.first.take_input(&r, &o.x)
        p.out, p.residual, p.activation, p.low, p.high = o.out, o.residual, o.activation, o.low, o.high
        p.deferred = o.residual.data != NULL or o.activation > CLAMP
        p.plain_store = r.dtype < 3 and p.out.sc == r.size and not p.deferred
        self.take_epilogue(stages.epilogue, &between)
        r.activation, r.low, r.high = between.activation, between.low, between.high
        r.deferred = r.activation > CLAMP
        r.plain_store = not r.deferred
        count_blocks(&r)
        tail = aligned((p.blocks + 1) * 2 * r.k.lanes * r.csize)
        p.bias = shared = take(call, tail, "scratch")
        copy_bias(bias, shared, p.columns * r.csize, 1, tail - p.columns * r.csize)
        p.zeros = shared + p.blocks * 2 * r.k.lanes * r.csize
        p.panels = stages.pointwise.data
        return run_all(&r, [self.first], [stages.depthwise], stages.bias, work_of(self.flops, x, out), threads, call)
