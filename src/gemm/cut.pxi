# Before the units: how a call is cut into them, and filters packed for them.

# ---- how a call is cut ------------------------------------------------------------------------------------------

cdef inline bint far_taps(const JobAxis *a, ptrdiff_t outputs) noexcept nogil:
    """Whether a window's taps lie so far apart that so many outputs begin between two: a strip has window after window then."""
    return a.taps > 1 and a.dilation >= outputs * a.stride


cdef inline ptrdiff_t extent_of(const JobAxis *a, ptrdiff_t outputs) noexcept nogil:
    """Positions of a strip for so many outputs: those from the first to the last, or without the gaps of far dilations."""
    return outputs * a.taps if far_taps(a, outputs) else span_of(a, outputs) if a.taps else 0


cdef ptrdiff_t input_of(const Run *r, const Job *job, const ptrdiff_t *box, bint strip) noexcept nogil:
    """Bytes of a box's input: as a strip all of it, else what windows read."""
    cdef double bytes = box[0] * r.pitch * r.csize
    cdef ptrdiff_t extent
    cdef int i
    for i in range(3):
        extent = extent_of(&job.ax[i], box[i + 1])
        bytes *= extent if strip else min(min(extent, box[i + 1] * job.ax[i].taps), job.ax[i].size)
    return <ptrdiff_t> min(bytes, 1e15)


cdef ptrdiff_t cut_boxes(const Run *r, const Job *job, ptrdiff_t wanted, ptrdiff_t bytes, int threads,
                         Tiling *t) noexcept nogil:
    """Boxes of one size, nearly, whole rows first: `wanted` pixels and `bytes` of input at most. Returns how many."""
    cdef ptrdiff_t pixels = 1, boxes = 1, out, others
    cdef bint whole = True
    cdef int i
    for i in range(4):
        t.box[i] = 1
    for i in range(3, -1, -1):
        out = r.x.n if i == 0 else job.ax[i - 1].out
        if whole:
            t.box[i] = max(1, min(out, wanted // pixels))
            while t.box[i] > 1 and input_of(r, job, t.box, t.strip) > bytes:
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


cdef inline ptrdiff_t short_steps(const Tiling *t) noexcept nogil:
    """How many steps of a window are found one by one: those of several short runs whose filters L1 keeps; else 0."""
    cdef ptrdiff_t steps = t.runs * t.run
    return steps if t.runs > 1 and t.run <= SHORT_RUN and 2 * steps <= FEW_VECTORS else 0


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
    t.strip = t.fold or not direct
    if t.fold:  # rows of a strip that two boxes share are gathered twice
        most *= 4
    t.together = max(1, t.blocks)
    if t.blocks * filter_bytes(r, job) > ALL_FILTERS and pixels > 2:  # a broad tile's are read once
        t.together = max(1, min(t.blocks, SOME_FILTERS // filter_bytes(r, job)))
        t.together = ceil_div(t.blocks, ceil_div(t.blocks, t.together))
    if not t.strip and t.together < t.blocks:  # the input is read again for the next blocks
        bytes = input_bytes(job)
    t.splits = 1
    boxes = cut_boxes(r, job, most, bytes, threads, t)
    units = ceil_div(UNITS * threads, r.groups) if threads > 1 else 0
    t.rows_first = (t.strip
                    or t.blocks * filter_bytes(r, job) <= max(SHARED_FILTERS, 2 * input_of(r, job, all, False)))
    if boxes < units:
        if not t.rows_first:
            t.splits = min(t.blocks, max(ceil_div(units, boxes), ceil_div(t.blocks, t.together)))
            t.splits = even_parts(t.blocks, t.splits, boxes * r.groups, 1, 1, threads)
        if boxes * t.splits < units:
            boxes = cut_boxes(r, job, max(LEAST_PIXELS, min(most, pixels * t.splits // units)), bytes, threads, t)
        if 0 < boxes * t.splits < (units // 4 if t.strip else units * 3 // 4):
            units = units // 4 if t.strip else units
            t.splits = even_parts(t.blocks, min(t.blocks, ceil_div(units, boxes)), boxes * r.groups, 1, 1, threads)
    t.units = r.groups * boxes * t.splits
    t.lies = (t.fold and direct and r.x.s[2] == r.cg * r.size
              and job.taps * t.columns <= GATHERED * (job.ax[0].stride * job.ax[1].stride * job.ax[2].stride - 1))
    find_runs(r, job, t)


cdef inline void find_runs(const Run *r, const Job *job, Tiling *t) noexcept nogil:
    """Taps, or rows of them where these are folded and none has to be left out."""
    t.fold = t.fold and not r.exact
    t.runs, t.run = job.taps, 1 if r.depthwise else r.cg
    if t.fold:
        t.runs, t.run = job.taps // job.ax[2].taps, r.cg * job.ax[2].taps


cdef inline ptrdiff_t lay_out(const Run *r, char *start, Scratch *s) noexcept nogil:
    """One thread's scratch from start on; how many bytes it takes."""
    s.tile, s.area = start, start + LINE_ROWS * 2 * r.k.lanes * r.csize
    s.a = <const char **> (s.area + aligned(r.area + 4 * r.k.lanes * r.csize))
    s.tap_offset = <ptrdiff_t *> (s.a + r.windows * TILE_ROWS)
    s.step_offset = s.tap_offset + r.windows
    return aligned(<char *> (s.step_offset + r.steps) - start)


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
    first_block, last_block = 0, 0 if t.in_place else t.blocks
    if f.column == r.size:  # a filter's row lies whole in memory: read it whole, a few rows at a time
        first, last, some = rows * part // parts, rows * (part + 1) // parts, 4
    else:
        first_block, last_block = last_block * part // parts, last_block * (part + 1) // parts
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


cdef void run_all(Run *r, ptrdiff_t packs, ptrdiff_t units, int team) noexcept nogil:
    if packs:
        run_units(pack_tap, r, packs, team, r.call)
    run_units(run_unit, r, units, team, r.call)
