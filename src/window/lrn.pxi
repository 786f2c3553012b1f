# Local response normalisation: pixels are gathered, some at a time, and each is normalised along its channels.

cdef struct Pixels:
    # Rows of pixels, and a thread's scratch for some of them: the inputs, out, then the kernel's.
    const window_kernels *k
    int dtype, csize
    View inputs[3]           # x; of a gradient dy and y, too
    View out
    int count
    ptrdiff_t pitch, together, blocks
    lrn_args args
    char *scratch            # each thread's, of so many bytes
    ptrdiff_t scratch_bytes
    Call *call


cdef void normalise(const void *task, ptrdiff_t unit, int thread) noexcept nogil:
    """Some pixels of a row."""
    cdef const Pixels *r = <const Pixels *> task
    cdef char *scratch = r.scratch + thread * r.scratch_bytes
    cdef ptrdiff_t first = unit % r.blocks * r.together, i, area = r.together * r.pitch * r.csize
    cdef ptrdiff_t n = unit // r.blocks // r.out.size[1], h = unit // r.blocks % r.out.size[1]
    cdef ptrdiff_t count = min(r.together, r.out.size[2] - first), row = r.pitch * r.csize
    cdef const View *v
    cdef lrn_args a = r.args
    for i in range(r.count):
        v = r.inputs + i
        r.k.gather[r.dtype](scratch + i * area, r.pitch, 1, v.data + n * v.sn + h * v.s[1] + first * v.s[2], count, v.s[2],
                            v.c, v.sc)
    a.norm = scratch + 4 * area
    a.squares = <char *> a.norm + row + (a.radius + r.k.lanes) * r.csize
    memset(<char *> a.norm + row, 0, row + 2 * (a.radius + r.k.lanes) * r.csize)
    for i in range(count):
        poll(r.call, thread)
        a.x, a.out = scratch + i * row, scratch + 3 * area + i * row
        if r.count > 1:
            a.dy, a.y = scratch + area + i * row, scratch + 2 * area + i * row
        r.k.lrn(&a)
    r.k.scatter[r.dtype](r.out.data + n * r.out.sn + h * r.out.s[1] + first * r.out.s[2], r.out.s[2], r.out.sc,
                         scratch + 3 * area, r.pitch, 1, count, r.out.c)


def lrn(int dtype, inputs, cnp.ndarray out, ptrdiff_t radius, double bias, double alpha, double beta, int threads, int isa):
    """Local response normalisation of (x,), or of (x, dy, y) its gradient, into out; all (n, h, w, c)."""
    cdef Pixels r
    cdef Call call
    cdef ptrdiff_t units
    cdef int team
    memset(&r, 0, sizeof(Pixels))
    if cnp.PyArray_SIZE(out) == 0:
        return
    r.k, r.dtype, r.csize = window_kernels_of(isa) + compute_type(dtype), dtype, compute_bytes(dtype)
    view_of(out, 2, True, &r.out)
    for a in inputs:
        view_of(a, 2, True, r.inputs + r.count)
        r.count += 1
    r.args.channels, r.args.radius = r.out.c, min(radius, r.out.c - 1)
    r.args.bias, r.args.alpha, r.args.beta = bias, alpha, beta
    r.pitch = ceil_div(r.out.c, r.k.lanes) * r.k.lanes
    r.together = max(1, min(r.out.size[2], LRN_BYTES // (r.pitch * r.csize)))
    r.blocks = ceil_div(r.out.size[2], r.together)
    units = r.out.n * r.out.size[1] * r.blocks
    r.call = &call
    team = team_of(cnp.PyArray_SIZE(out) * LRN_ELEMENT, <int> min(<ptrdiff_t> threads, units), prepare)
    r.scratch_bytes = ((4 * r.together + 2) * r.pitch + 2 * (r.args.radius + r.k.lanes)) * r.csize
    r.scratch_bytes = aligned(r.scratch_bytes + 64)
    begin_call(&call, "lrn")
    try:
        r.scratch = take(&call, team * r.scratch_bytes, "scratch")
        with nogil:
            run_units(normalise, &r, units, team, &call)
    finally:
        end_call(&call)
