# The gradient of maxima. A box of the input's positions takes what the windows that meet it send to their maxima, row by
# row of windows. Input and gradient lie alike: they are the arrays themselves where lanes are channels, or in scratch,
# where a row of a plane lies by the phases of its stride (`planar`), so that a tap's inputs of neighbouring outputs are
# neighbours too.

cdef enum:
    MOST_COLUMNS = 64        # taps of a row whose places are listed


cdef struct Routes:
    const Run *r
    const Sweep *box
    Sweep around             # the windows that meet the box
    Field x, grad, dx
    ptrdiff_t lo[3]          # their input
    ptrdiff_t count[3]
    ptrdiff_t first          # of a row, the windows [first, last) that have all their taps inside the input, and in the box
    ptrdiff_t last
    ptrdiff_t pitch          # planar: from a phase of a row to the next, elements
    bint clear               # whether rows of dx are cleared before the first window that meets them
    bint adjacent            # whether a row's taps are next to each other, in one plane
    ptrdiff_t column[MOST_COLUMNS]
    route_args a


cdef bint lay_out_routes(Run *r, bint native, bint few, bint pixels, ptrdiff_t lanes) noexcept nogil:
    """Choose what the lanes are, and whether the arrays are worked on; False where a window is too large for scratch."""
    cdef const JobAxis *w = r.forward + 2
    cdef bint alike = r.x.s[0] == r.out.s[0] and r.x.s[1] == r.out.s[1]
    r.direct = (native and alike and pixels and r.channels >= lanes and r.x.s[2] == r.out.s[2] and r.out.sc == r.size
                and r.grad.sc == r.size)
    # Columns in pairs, two vectors of them or more, as such; a half pair takes as long as a vector.
    r.pairs = (native and alike and not r.direct and r.tiled and w.taps == 2 and w.lo == 0 and r.x.s[2] == r.size
               and r.out.s[2] == r.size and r.grad.s[2] == r.size and w.size >= (2 + w.size % 2) * lanes)
    # A phase without taps would have no place, and no padding is less than all with a weight.
    r.planar = r.pairs or ((few or not pixels and r.channels < lanes) and (2 * w.out > lanes or r.large)
                           and w.stride <= (w.taps - 1) * w.dilation + 1 and w.taps <= MOST_COLUMNS and r.weights == NULL)
    r.plain = r.direct
    return r.direct or r.planar or not r.large


cdef inline ptrdiff_t phase_pitch(const JobAxis *w, ptrdiff_t outs, ptrdiff_t columns, ptrdiff_t lanes) noexcept nogil:
    """The columns of a phase: so many of the input, and what whole vectors of outputs meet."""
    return max(ceil_div(columns, w.stride), ceil_div(outs, lanes) * lanes + (w.taps - 1) * w.dilation // w.stride)


cdef inline void taps_of(const JobAxis *a, ptrdiff_t o, ptrdiff_t start, ptrdiff_t count, ptrdiff_t *first, ptrdiff_t *taps,
                         ptrdiff_t *own) noexcept nogil:
    """An output's taps inside the input, and which of them lie in [start, start + count)."""
    cdef ptrdiff_t last, at
    stretch_of(a, o, o + 1, 0, a.taps, first, &last)
    taps[0] = last - first[0]
    at = o * a.stride - a.lo + first[0] * a.dilation
    own[0] = max(0, min(taps[0], -floor_div(at - start, a.dilation)))
    own[1] = max(own[0], min(taps[0], floor_div(start + count - 1 - at, a.dilation) + 1))


cdef void clear(const Routes *t, ptrdiff_t d, ptrdiff_t to_d, ptrdiff_t h, ptrdiff_t to_h, ptrdiff_t first,
                ptrdiff_t last) noexcept nogil:
    """Columns [first, last) of rows [h, to_h) of planes [d, to_d) of dx."""
    cdef ptrdiff_t i, j, w, size = t.box.units * t.r.csize
    cdef char *at
    for i in range(d, to_d):
        for j in range(h, to_h):
            at = place(&t.dx, 0, i, j, first)
            if t.dx.s[2] == size:
                memset(at, 0, max(0, last - first) * size)
            else:
                for w in range(last - first):
                    memset(at + w * t.dx.s[2], 0, size)


cdef void clear_rows(Routes *t, ptrdiff_t d, ptrdiff_t to_d, ptrdiff_t h, ptrdiff_t to_h, ptrdiff_t rows) noexcept nogil:
    """Rows that no window before the next row of windows, of so many rows of taps, meets. Where these slide, they take the
    columns that they come to as zeros (`newer`), but for the first window's."""
    cdef const JobAxis *x = t.r.forward
    cdef ptrdiff_t start = t.box.start[2], end = t.box.start[2] + t.box.count[2]
    t.a.windows, t.a.newer = t.last - t.first, rows
    t.a.columns = t.a.own[2][1] = x[2].taps
    t.a.own[2][0] = 0
    if t.adjacent and to_d - d == 1 and rows == x[1].taps and to_h - h <= rows and slide_of(&t.a):
        t.a.newer = rows - (to_h - h)
        clear(t, d, to_d, h, to_h, start, t.first * x[2].stride - x[2].lo)
        start = t.last * x[2].stride - x[2].lo
    clear(t, d, to_d, h, to_h, start, end)


cdef void route_row(Routes *t, const char *x, char *dx, const char *grad, const char *weights) noexcept nogil:
    """A row of windows, whose x and dx are at column 0 and whose grad at the first one, from the last to the first."""
    cdef const JobAxis *w = t.r.forward + 2
    cdef ptrdiff_t o = t.around.start[2] + t.around.count[2], start, first, at
    while o > t.around.start[2]:
        start = o - 1 if o > t.last or o <= t.first else t.first
        taps_of(w, start, t.box.start[2], t.box.count[2], &first, &t.a.columns, t.a.own[2])
        at = (start * w.stride - w.lo + first * w.dilation) * t.x.s[2]
        t.a.src, t.a.dst, t.a.grad = x + at, dx + at, grad + (start - t.around.start[2]) * t.grad.s[2]
        t.a.weights = weights + first * t.r.weight_step[2]
        t.a.windows, t.a.column = o - start, t.column if t.a.columns <= MOST_COLUMNS else NULL
        t.r.k.route[t.r.weights != NULL](&t.a)
        o = start


cdef void route_rows(Routes *t) noexcept nogil:
    """All windows around the box, of all its channels or of one plane."""
    cdef const JobAxis *x = t.r.forward
    cdef const Sweep *box = t.box
    cdef ptrdiff_t d, h, first_d, first_h, at, ready = box.start[0], next, done, rows
    cdef ptrdiff_t end = box.start[0] + box.count[0], bottom = box.start[1] + box.count[1]
    cdef const char *weights
    for d in range(t.around.start[0], t.around.start[0] + t.around.count[0]):
        taps_of(x, d, box.start[0], box.count[0], &first_d, t.a.taps, t.a.own[0])
        next = max(ready, min(end, d * x[0].stride - x[0].lo + (x[0].taps - 1) * x[0].dilation + 1))
        done = box.start[1]
        for h in range(t.around.start[1], t.around.start[1] + t.around.count[1]):
            if t.r.call.cancelled:
                return
            taps_of(x + 1, h, box.start[1], box.count[1], &first_h, t.a.taps + 1, t.a.own[1])
            if t.clear:
                rows = max(done, min(bottom, h * x[1].stride - x[1].lo + (x[1].taps - 1) * x[1].dilation + 1))
                clear_rows(t, ready, next, done, rows, t.a.taps[1])
                done = rows
            at = (d * x[0].stride - x[0].lo + first_d * x[0].dilation) * t.x.s[0]
            at += (h * x[1].stride - x[1].lo + first_h * x[1].dilation) * t.x.s[1]
            weights = t.r.weights + box.channel * t.r.csize + first_d * t.r.weight_step[0] + first_h * t.r.weight_step[1]
            t.a.src, t.a.dst, t.a.grad = t.x.at + at, t.dx.at + at, place(&t.grad, 0, d, h, t.around.start[2])
            if t.r.pairs:
                t.r.k.route_pairs(&t.a)
            elif t.r.planar:
                t.r.k.route[0](&t.a)
            else:
                route_row(t, t.a.src, t.a.dst, t.a.grad, weights)
            if h % 16 == 0:
                poll(t.r.call, box.thread)
        if t.clear:
            clear(t, ready, next, done, bottom, box.start[2], box.start[2] + box.count[2])
        ready = next
    if t.clear:
        clear(t, ready, end, box.start[1], bottom, box.start[2], box.start[2] + box.count[2])


# ---- planes by phases -------------------------------------------------------------------------------------------

cdef void move_columns(const Routes *t, ptrdiff_t first, ptrdiff_t count, char *row, char *at, ptrdiff_t step,
                       bint back) noexcept nogil:
    """Columns [first, first + count) of a row of pixels into its phases, or back."""
    cdef const Run *r = t.r
    cdef ptrdiff_t i, start, s = r.forward[2].stride
    cdef char *here
    cdef char *there
    start = first + r.forward[2].lo - t.around.start[2] * s
    if s == 2 and r.dtype < F16 and step == r.size:
        here = row + (start % 2 * t.pitch + start // 2) * r.csize
        there = row + ((start + 1) % 2 * t.pitch + (start + 1) // 2) * r.csize
        if back:
            r.k.merge(at, here, there, count)
        else:
            r.k.split(here, there, at, count)
        return
    for i in range(start, start + min(s, count)):
        here = row + (i % s * t.pitch + i // s) * r.csize
        there = at + (i - start) * step
        if back:
            r.k.scatter[r.dtype](there, 0, s * step, here, 0, 1, 1, ceil_div(count - (i - start), s))
        else:
            r.k.gather[r.dtype](here, 0, 1, there, 1, 0, ceil_div(count - (i - start), s), s * step)


cdef void move_rows(const Routes *t, const Field *plane, const Field *phases, const ptrdiff_t *lo, const ptrdiff_t *count,
                    bint back) noexcept nogil:
    """Positions [lo, lo + count) of a plane into its phases, or back."""
    cdef ptrdiff_t d, h
    for d in range(lo[0], lo[0] + count[0]):
        for h in range(lo[1], lo[1] + count[1]):
            move_columns(t, lo[2], count[2], place(phases, 0, d, h, 0), place(plane, 0, d, h, lo[2]), plane.s[2], back)


cdef void pad(const Routes *t, char *area, ptrdiff_t rows) noexcept nogil:
    """What windows meet outside of the input: less than all numbers, but zeros where only lanes without an output do."""
    cdef const JobAxis *w = t.r.forward + 2
    cdef ptrdiff_t row, phase, reach, left, right, start = t.lo[2] + w.lo - t.around.start[2] * w.stride
    cdef int size = t.r.csize
    cdef char *at
    for phase in range(w.stride):
        left = max(0, ceil_div(start - phase, w.stride))
        right = max(left, ceil_div(start + t.count[2] - phase, w.stride))
        reach = (t.around.count[2] - 1) * w.stride + (w.taps - 1) * w.dilation + 1
        reach = max(right, ceil_div(reach - phase, w.stride))
        for row in range(rows):
            at = area + (row * w.stride + phase) * t.pitch * size
            t.r.k.fill(at, left, t.r.k.least)
            t.r.k.fill(at + right * size, reach - right, t.r.k.least)
            t.r.k.fill(at + reach * size, t.pitch - reach, 0)


cdef void route_planes(Routes *t, char *scratch) noexcept nogil:
    """Plane by plane: into scratch, route, and out of it."""
    cdef const Run *r = t.r
    cdef const JobAxis *w = r.forward + 2
    cdef Field x = t.x, grad = t.grad, dx = t.dx
    cdef ptrdiff_t p, row, outs = ceil_div(t.around.count[2], r.k.lanes) * r.k.lanes
    cdef ptrdiff_t[3] windows = [t.around.count[0], t.around.count[1], outs]
    t.pitch = phase_pitch(w, t.around.count[2], t.lo[2] + t.count[2] + w.lo - t.around.start[2] * w.stride, r.k.lanes)
    row = w.stride * t.pitch * r.csize
    t.x.s[0], t.x.s[1] = t.count[1] * row, row
    t.x.at = scratch + r.area[INPUT] - t.lo[0] * t.x.s[0] - t.lo[1] * row
    t.dx = t.x
    t.dx.at += r.area[RESULT] - r.area[INPUT]
    dense(r, t.around.start, windows, scratch + r.area[GRADS], &t.grad)
    t.a.step[0], t.a.step[1] = r.forward[0].dilation * t.x.s[0], r.forward[1].dilation * row
    t.a.lanes, t.a.windows = outs, 1
    t.a.along, t.a.position = w, t.around.start[2]
    for p in range(w.taps):
        t.column[p] = (p * w.dilation % w.stride * t.pitch + p * w.dilation // w.stride) * r.csize
    pad(t, scratch + r.area[INPUT], t.count[0] * t.count[1])
    memset(scratch + r.area[GRADS], 0, t.around.count[0] * t.grad.s[0])
    for p in range(t.box.units):
        move_rows(t, &x, &t.x, t.lo, t.count, False)
        move(r, &grad, &t.grad, t.around.start, t.around.count, 1, False)
        if not t.a.fresh:
            memset(scratch + r.area[RESULT], 0, t.count[0] * t.x.s[0])
        route_rows(t)
        move_rows(t, &dx, &t.dx, t.box.start, t.box.count, True)
        x.at, grad.at, dx.at = x.at + x.unit, grad.at + grad.unit, dx.at + dx.unit


cdef void route_box(const Run *r, Sweep *box, ptrdiff_t n, char *scratch) noexcept nogil:
    """A box of the input's gradient: MAX_GRAD."""
    cdef const JobAxis *x = r.forward
    cdef Field result
    cdef Routes t
    cdef ptrdiff_t end
    cdef int i
    memset(&t, 0, sizeof(Routes))
    t.r, t.box = r, box
    t.around = box[0]
    around_of(r, box, &t.around)
    for i in range(3):  # the box, and what the windows around it meet
        reach(x + i, t.around.start[i], t.around.count[i], 0, x[i].taps, t.lo + i, t.count + i)
        if t.around.count[i] == 0:
            t.lo[i], t.count[i] = box.start[i], 0
        end = max(t.lo[i] + t.count[i], box.start[i] + box.count[i])
        t.lo[i] = min(t.lo[i], box.start[i])
        t.count[i] = end - t.lo[i]
        t.a.weight_step[i] = r.weight_step[i]
    end = box.start[2] + box.count[2] - 1 + x[2].lo - (x[2].taps - 1) * x[2].dilation
    t.first = max(t.around.start[2], ceil_div(x[2].lo + box.start[2], x[2].stride))
    t.last = min(t.around.start[2] + t.around.count[2], floor_div(end, x[2].stride) + 1)
    t.a.sign, t.a.fresh, t.a.lane_step, t.a.newer = r.sign, r.tiled, 1, x[1].taps
    t.a.columns, t.a.column, t.a.own[2][1] = x[2].taps, t.column, x[2].taps
    image_of(&r.x, n, box.channel, &t.x)
    image_of(&r.grad, n, box.channel, &t.grad)
    image_of(&r.out, n, box.channel, &t.dx)
    if r.planar and not r.pairs:
        route_planes(&t, scratch)
        return
    result = t.dx
    if not r.direct and not r.pairs:
        fetch(r, &r.x, n, box, t.lo, t.count, scratch + r.area[INPUT], &t.x)
        fetch(r, &r.grad, n, box, t.around.start, t.around.count, scratch + r.area[GRADS], &t.grad)
        dense(r, t.lo, t.count, scratch + r.area[RESULT], &t.dx)
    t.clear = not r.tiled
    t.adjacent = r.weights == NULL and x[0].taps == 1 and x[1].dilation == 1 and x[2].dilation == 1
    t.a.step[0], t.a.step[1] = x[0].dilation * t.x.s[0], x[1].dilation * t.x.s[1]
    t.a.column_step = x[2].dilation * t.x.s[2]
    for i in range(min(x[2].taps, MOST_COLUMNS)):
        t.column[i] = i * t.a.column_step
    if r.pairs:
        t.a.lanes, t.a.lane_step, t.a.windows = x[2].size // 2, 2, x[2].out
        for i in range(box.units):
            route_rows(&t)
            t.x.at, t.dx.at, t.grad.at = t.x.at + t.x.unit, t.dx.at + t.dx.unit, t.grad.at + t.grad.unit
        return
    t.a.src_step, t.a.grad_step, t.a.lanes = x[2].stride * t.x.s[2], t.grad.s[2], box.units
    route_rows(&t)
    if not r.direct:
        box.dst = t.dx
        store(r, box, &result)
